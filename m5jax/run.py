"""What training, evaluation and export all begin with: processes, records, mesh, model, and facts that must agree."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import jax

from m5jax import distributed, inputs, run_folder, settings, sharding, source
from m5jax.checkpoint import Check, Checkpoints
from m5jax.config import Config
from m5jax.data import pipeline, sampling, seals, tokenizer
from m5jax.data.prepared import Prepared
from m5jax.errors import ConfigError, DataError, RunFolderError
from m5jax.models import families
from m5jax.models.interface import Model, Params
from m5jax.preparing.prepare import prepare
from m5jax.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Run:
    """An opened run.

    Attributes:
      config: the settings; of a run that trains with `steps` and without `epochs`, whichever were given.
      folder: the run folder, held by this run.
      prepared: the catalogue's records.
      mixed: records of the catalogues that are trained on as well; none where nothing is trained.
      mesh: all devices of all processes.
      model: the network, for the catalogue's vocabulary.
      facts: what must be the same when a checkpoint is used again, see `facts_of`.
    """

    config: Config
    folder: RunFolder
    prepared: Prepared
    mixed: tuple[Prepared, ...]
    mesh: jax.sharding.Mesh
    model: Model
    facts: dict[str, Any]

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints."""
        return Checkpoints(self.folder.checkpoints, self.config.checkpoint.keep)

    def say(self, text: str) -> None:
        """Prints on the first process only."""
        if distributed.is_lead():
            print(text, flush=True)

    def trained_params(self) -> tuple[int, Params]:
        """Step and parameters of the newest good checkpoint.

        Raises:
          CheckpointError: there is none, or it does not fit the configuration.
          ConfigError: it was trained with another tokenizer, preprocessing or list of classes.
        """
        abstract = jax.eval_shape(lambda: self.model.init(jax.random.key(0)))
        places = sharding.shardings({"params": abstract}, self.mesh)["params"]
        placed = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, places)
        restored = self.checkpoints.restore_params(placed, self.check("tokenizer", "preprocessing", "classes"))
        return restored.step, restored.state

    def reading(self, readout: str) -> "Run":
        """The same run with its product vectors read from elsewhere (`config.model.readout`), of the same weights."""
        config = dataclasses.replace(self.config, model=dataclasses.replace(self.config.model, readout=readout))
        return dataclasses.replace(self, config=config, model=_model(config, self.prepared))

    def check(self, *names: str) -> Check:
        """Raises ConfigError for a checkpoint that was written under other facts of these names."""
        return lambda saved: require_same(saved, self.facts, names, self.folder.checkpoints)


@contextlib.contextmanager
def open_run(config: Config, training: bool = False) -> Iterator[Run]:
    """Opens a run: joins the other processes, takes the folder, prepares the records, builds mesh and model.

    Training, the catalogues of `config.data.mix` are prepared as well, and epochs become steps. Every process verifies
    the records: each may read a copy of its own.

    Raises:
      M5Error: of the kind that fits what is wrong, before anything is computed.
    """
    distributed.initialize(config.distributed)
    with contextlib.ExitStack() as stack:
        if distributed.is_lead():
            print(distributed.device_table(), flush=True)
        distributed.require_agreement({"configuration": _shared_digest(config), "code": source.digest()})
        folder = _hold(config, stack)
        mesh = sharding.make_mesh(config.mesh)
        _check_batches(config, mesh)
        prepared, mixed = prepare(config, quiet=not distributed.is_lead()), ()
        if training:
            mixed = prepare_mixed(config, quiet=not distributed.is_lead())
            config = with_steps(config, prepared)
        for ready in (prepared, *mixed):
            seals.verify(ready, config.data.verify, quiet=not distributed.is_lead())
        facts = facts_of(config, prepared, mixed)
        distributed.require_agreement({"records": settings.digest(facts["data"]), "tokenizer": facts["tokenizer"]})
        stack.enter_context(jax.set_mesh(mesh))
        yield Run(config, folder, prepared, mixed, mesh, _model(config, prepared), facts)


def _model(config: Config, prepared: Prepared) -> Model:
    """The configured network for a catalogue's vocabulary and classes."""
    vocabulary = tokenizer.load(prepared.tokenizer_path).size
    return families.build(config, vocabulary, len(classes_of(config, prepared)))


def prepare_mixed(config: Config, quiet: bool = False) -> tuple[Prepared, ...]:
    """The prepared catalogues of `config.data.mix`, in its order.

    Raises:
      DataError: as `prepare`.
    """
    data = [dataclasses.replace(config.data, catalogue=path) for path, _ in config.data.mixed]
    return tuple(prepare(dataclasses.replace(config, data=chosen), quiet) for chosen in data)


def with_steps(config: Config, prepared: Prepared) -> Config:
    """The configuration with the steps that its epochs come to, rounded up: no listing is left out of the last one.

    Raises:
      DataError: there is nothing to train on.
    """
    if not config.epochs:
        return config
    listings = Fraction(str(config.epochs)) * pipeline.epoch(prepared, config)
    return dataclasses.replace(config, steps=math.ceil(listings / config.batch_size), epochs=0.0)


def _hold(config: Config, stack: contextlib.ExitStack) -> RunFolder:
    """The run folder, held by process 0 as long as the stack lasts; every process is refused if it is."""
    refused = None
    if distributed.is_lead():
        try:
            stack.enter_context(run_folder.hold(config.workdir))
        except RunFolderError as error:
            refused = error
    if distributed.from_lead(int(refused is not None)):
        raise refused or RunFolderError(f"process 0 could not take config.workdir = {config.workdir}")
    return RunFolder(config.workdir)


def facts_of(config: Config, prepared: Prepared, mixed: Sequence[Prepared] = ()) -> dict[str, Any]:
    """Digests of the data stream, the tokenizer, the preprocessing and the classes, as checkpoints carry them."""
    classes = classes_of(config, prepared)
    return {
        "data": _data_facts(config, prepared) | _stream_facts(config, mixed),
        "tokenizer": prepared.manifest["tokenizer"],
        "preprocessing": settings.digest(inputs.preprocessing(config.inputs)),
        "classes": settings.digest(classes) if classes else "",
        "config": settings.to_dict(config),
    }


def classes_of(config: Config, prepared: Prepared) -> tuple[str, ...]:
    """What the classifier tells apart; nothing without a classifier.

    Raises:
      DataError: there is to be one, and no training listing has a category, or no two are of one product.
    """
    if not config.objective.classification:
        return ()
    products = config.objective.classes == "product"
    classes = prepared.products if products else prepared.classes
    if not classes:
        lacks = "no two training listings of" if products else "no training listing of"
        raise DataError(
            f"config.objective.classification = {config.objective.classification:g}, but {lacks}"
            f" {prepared.manifest['catalogue']} {'are of one product' if products else 'has a category'}"
        )
    return classes


def _data_facts(config: Config, prepared: Prepared) -> dict[str, Any]:
    """The digest of what the listings hold, and by name what was chosen from it or done to it on purpose."""
    data, digest = config.data, prepared.manifest["digest"]
    done = {"corruption": data.corruption.active(config.inputs), "complete_only": data.complete_only}
    done = {name: value for name, value in done.items() if value}
    return {"digest": settings.digest({"records": digest} | done)} | done if done else {"digest": digest}


def _stream_facts(config: Config, mixed: Sequence[Prepared]) -> dict[str, Any]:
    """What decides the order besides what the listings hold."""
    facts: dict[str, Any] = {"seed": config.seed, "batch_size": config.batch_size}
    if config.data.sampling != sampling.UNIFORM:
        facts["sampling"] = config.data.sampling
    for number, prepared in enumerate(mixed):
        facts[f"mix {number + 1} weight"] = str(config.data.mixed[number][1])
        facts[f"mix {number + 1} digest"] = prepared.manifest["digest"]
    return facts


def require_same(
    saved: dict[str, Any],
    now: dict[str, Any],
    names: tuple[str, ...],
    where: Any,
    fix: str = "go back to the old setting, or use another config.workdir",
) -> None:
    """Refuses to go on from a checkpoint under other facts, and says how that is mended.

    Raises:
      ConfigError: naming what differs.
      DataError: the settings of the stream are the same, and what the records hold is not.
    """
    for name in names:
        pair = saved.get(name, ""), now[name]  # what an older version did not know of was not there
        if pair[0] == pair[1]:
            continue
        before, after = ({"": fact or "none"} if isinstance(fact, str) else fact for fact in pair)
        pairs = {key: (before.get(key, "none"), after.get(key, "none")) for key in before | after}
        pairs = {key: (old, new) for key, (old, new) in pairs.items() if old != new}
        changes = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in pairs.items())
        if name == "data" and all(key.endswith("digest") for key in pairs):
            raise DataError(
                f"the records changed since the checkpoints in {where} were written ({changes}): bring the catalogue"
                " and the settings of its records back to what they were, or use another config.workdir, which can"
                " begin with these weights (config.initialize.run)"
            )
        raise ConfigError(
            f"the {name} changed since the checkpoints in {where} were written ({changes.strip()}); {fix}"
        )


def _shared_digest(config: Config) -> str:
    """Of the configuration without what every process has for itself."""
    return settings.digest(dataclasses.replace(config, distributed=type(config.distributed)()))


def _check_batches(config: Config, mesh: jax.sharding.Mesh) -> None:
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    if len(mesh.local_devices) % mesh.shape["model"]:
        raise ConfigError(
            f"config.mesh.model = {mesh.shape['model']} must divide the {len(mesh.local_devices)} devices of a process:"
            " the devices that share a listing must be of one process"
        )
    for name, size in (
        ("config.batch_size", config.batch_size // config.accumulate),
        ("config.evaluate.batch_size", config.evaluate.batch_size),
    ):
        if size % ways:
            raise ConfigError(f"{name}: {size} listings do not divide over {ways} devices (data x fsdp)")
