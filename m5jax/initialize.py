"""Whose weights training begins with: its own draw, those of another run, or those of another implementation."""

import pathlib
from typing import Any

import jax

from m5jax import distributed
from m5jax.checkpoint import Checkpoints, Tree
from m5jax.data import tokenizer
from m5jax.errors import CheckpointError, ConfigError
from m5jax.models.interface import Params
from m5jax.optim import path_of
from m5jax.run import Run, require_same
from m5jax.run_folder import RunFolder
from m5jax.weights import huggingface, released

CLASSIFIER = "classifier/"


def params(run: Run, drawn: Params) -> Params:
    """The parameters that step 0 begins with, each placed as the drawn one is.

    With `config.initialize.run` those of that run's newest good checkpoint: only a classifier may be new; parameters
    that this configuration has no use for are named and left behind. With `config.initialize.weights` those of a
    released SCALE, or of a BERT for the text encoder.

    Args:
      run: an opened run.
      drawn: the parameters of `Model.init`.

    Raises:
      CheckpointError: there are no good ones, or they do not fit, by name.
      ConfigError: they were trained with another tokenizer or preprocessing.
    """
    chosen = run.config.initialize
    if chosen.run:
        return _from_run(run, drawn)
    return _from_weights(run, drawn) if chosen.weights else drawn


def _from_run(run: Run, drawn: Params) -> Params:
    folder = RunFolder(run.config.initialize.run).checkpoints
    wanted = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), drawn)
    dropped: list[str] = []

    def choose(saved: Tree) -> Params:
        shapes = {
            path_of(keys): [list(a.shape), str(a.dtype)] for keys, a in jax.tree_util.tree_leaves_with_path(wanted)
        }
        _require_fit(saved, shapes, folder)
        dropped.extend(sorted(saved.keys() - shapes.keys()))
        return _only(wanted, saved.keys())

    def check(facts: dict[str, Any]) -> None:
        fix = "initialise from a run on the same catalogue with the same config.inputs"
        require_same(facts, run.facts, ("tokenizer", "preprocessing"), folder, fix)

    restored = Checkpoints(folder, read_only=True).restore_chosen(choose, check)
    taken = {path_of(keys): array for keys, array in jax.tree_util.tree_leaves_with_path(restored.state)}
    begun = jax.tree_util.tree_map_with_path(lambda keys, array: taken.get(path_of(keys), array), drawn)
    if distributed.is_lead():
        new = sorted(
            path_of(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(drawn) if path_of(keys) not in taken
        )
        print(f"starting from step {restored.step} of {folder.parent}: {len(taken)} arrays taken over", flush=True)
        for what, names in (("new", new), ("left behind", dropped)):
            if names:
                print(f"  {what}: {', '.join(names)}", flush=True)
    return begun


def _from_weights(run: Run, drawn: Params) -> Params:
    """Every process reads the file, and keeps its part of each parameter."""
    path = pathlib.Path(run.config.initialize.weights)
    host = jax.tree.map(distributed.to_host, drawn)
    if path.is_dir():
        _require_vocabulary(run, path)
        loaded, report = huggingface.load(path, host)
    else:
        loaded, report = released.load(path, host)
    run.say(f"starting from {path}: {report}")
    for what, names in (("dropped", report.dropped), ("missing, left as drawn", report.missing)):
        if names:
            run.say(f"  {what}: {', '.join(names)}")
    return jax.tree.map(
        lambda values, like: jax.make_array_from_callback(like.shape, like.sharding, lambda part: values[part]),
        loaded,
        drawn,
    )


def _require_vocabulary(run: Run, folder: pathlib.Path) -> None:
    """Raises ConfigError unless ids mean the pieces that the BERT was trained on."""
    chosen = run.config.data
    files = [folder / name for name in (tokenizer.VOCABULARY, tokenizer.JSON) if (folder / name).exists()]
    if not files and not chosen.vocabulary_file:
        raise ConfigError(
            f"config.initialize.weights = {str(folder)!r} has no {tokenizer.VOCABULARY} and no {tokenizer.JSON}: name"
            " the vocabulary that it was trained with as config.data.vocabulary_file"
        )
    theirs = (tokenizer.load(file, chosen.vocabulary_lowercase).digest for file in files)
    if files and run.facts["tokenizer"] not in theirs:
        raise ConfigError(
            f"config.initialize.weights = {str(folder)!r}: its ids are those of {files[0]}; set"
            f" config.data.vocabulary_file = {str(files[0])!r}"
        )


def _require_fit(saved: Tree, wanted: Tree, folder: pathlib.Path) -> None:
    """Raises CheckpointError if a wanted array is not there, unless it is the classifier's, or is not alike."""
    missing = [path for path in wanted if path not in saved and not path.startswith(CLASSIFIER)]
    unlike = [path for path in wanted if path in saved and saved[path] != wanted[path]]
    lines = [
        f"\n  {path}: saved {saved.get(path, 'nothing')}, wanted {wanted[path]}" for path in sorted(missing + unlike)
    ]
    if lines:
        more = f"\n  and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise CheckpointError(
            f"config.initialize.run: {folder} does not fit this configuration; give config.model the settings that it"
            f" was trained with:{''.join(lines[:10])}{more}"
        )


def _only(tree: Any, paths: Any, prefix: str = "") -> Any:
    """The nested dict with the leaves of the given paths alone."""
    kept = {}
    for name, branch in tree.items():
        path = f"{prefix}{name}"
        if not isinstance(branch, dict):
            kept |= {name: branch} if path in paths else {}
        elif below := _only(branch, paths, f"{path}/"):
            kept[name] = below
    return kept
