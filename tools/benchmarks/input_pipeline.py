"""The input pipeline: listings a second, stage by stage and whole, for 0 and more worker processes.

A catalogue of the config's shapes is made and prepared (`--listings`, `--pattern`); it stays below config.data.root for
the next time, and in the page cache, as far as memory reaches: what is measured is processors, not a disk.
`--step measure` also runs the config's own training step, on batches of `--step-batch`; `--step 3339` is that rate.
Per core means by processor seconds: 1,000 / (CPU s per 1,000). On a busy machine they are what can be relied on.
"""

import argparse
import contextlib
import dataclasses
import itertools
import pathlib
import statistics
import time
from typing import Any

import numpy as np
import rich.console
import rich.table

from benchmarks import clocks, synthetic
from m5jax import inputs, settings
from m5jax.config import Config
from m5jax.errors import ConfigError

OFFICIAL_BYTES = 1_162 * 1024  # what the released loader sends to the device for a listing, float32 features twice
STAGE_LISTINGS = 256
ROUNDS = 5  # in which the time of one number of workers is divided; the median counts
MEASURE = "measure"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--workers", default="0,1,2,4", help="numbers of worker processes, each measured")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each of them")
    parser.add_argument("--listings", type=int, default=1024, help="in the catalogue that is made")
    parser.add_argument("--pattern", choices=tuple(synthetic.PATTERNS), default="m5product", help="what is missing")
    parser.add_argument("--step", help=f"examples/s of the training step, or {MEASURE!r}")
    parser.add_argument("--step-batch", type=int, help="listings in a measured step; default: config.batch_size")


def measure(config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures, prints the tables, and gives the figures.

    Raises:
      ConfigError: an argument is no number, or too small.
    """
    workers = [_number(value, "--workers", 0) for value in arguments.workers.split(",")]
    if arguments.step not in (None, MEASURE):
        _number(arguments.step, "--step", 0.0)
    if arguments.listings < config.batch_size:
        raise ConfigError(f"--listings {arguments.listings} are less than config.batch_size = {config.batch_size}")
    prepared, config = _prepared(config, arguments)
    stages = _stages(prepared, config)
    rows = [_pipeline(prepared, config, count, arguments.seconds) for count in workers]
    step = _step(prepared, config, arguments) if arguments.step == MEASURE else arguments.step and float(arguments.step)
    per_core = max(row["examples_per_s_per_core"] for row in rows)
    best = max(row["examples_per_s"] for row in rows)
    figures = {
        "pattern": arguments.pattern,
        "listings": arguments.listings,
        "examples_per_s_per_core": per_core,
        "bytes_per_example": stages["bytes_per_example"],
        "bytes_over_official": stages["bytes_per_example"] / OFFICIAL_BYTES,
        "record_bytes": stages["record_bytes"],
        "stages_us": stages["us"],
        "workers": rows,
        "step_examples_per_s": step,
        "ratio_to_step": best / step if step else None,
        "ratio_to_step_per_core": per_core / step if step else None,
    }
    _say(figures)
    return figures


def _number(value: str, name: str, least: float) -> Any:
    try:
        number = type(least)(value)
    except ValueError:
        number = None
    if number is None or number < least:
        raise ConfigError(
            f"{name} {value!r} must be {'integers' if isinstance(least, int) else 'a number'} from {least}"
        )
    return number


def _prepared(config: Config, arguments: argparse.Namespace) -> tuple[Any, Config]:
    """The prepared catalogue of this config's shapes, and the config that reads it."""
    from m5jax.preparing import prepare

    dials = {"inputs": inputs.preprocessing(config.inputs), "listings": arguments.listings, "of": arguments.pattern}
    folder = pathlib.Path(config.data.root) / f"benchmark-{settings.digest(dials)[:12]}"
    if not (folder / "catalogue.jsonl").exists():
        synthetic.write(folder, config.inputs, arguments.listings, synthetic.PATTERNS[arguments.pattern])
    data = dataclasses.replace(config.data, catalogue=str(folder), mix=(), max_rejected=0.0)
    config = dataclasses.replace(config, data=data)
    return prepare.prepare(config), config


def _stages(prepared: Any, config: Config) -> dict[str, Any]:
    """Every stage alone on the same listings: microseconds of processor time a listing; bytes a listing."""
    import jax

    from m5jax import distributed, sharding
    from m5jax.data import pieces, records, tokenizer
    from m5jax.data.transforms import Transform

    words = tokenizer.load(prepared.tokenizer_path)
    transform, rng = Transform(config.inputs, words), np.random.default_rng(0)
    plain = records.Records(prepared.folder, "train", len(prepared.manifest["shard_lengths"]["train"]), config.inputs)
    known = pieces.find(prepared.folder, "train", words, prepared.texts("train"))
    source: Any = plain._source  # the stages are the inside of `Records`
    codec = records.RecordCodec(config.inputs)
    size = config.batch_size
    order = rng.permutation(len(plain))[: max(1, min(STAGE_LISTINGS, len(plain)) // size) * size].tolist()
    read = [source[i] for i in order]
    parsed = [codec.decode(data, {} if known is None else known[i]) for data, i in zip(read, order, strict=True)]
    drafts = [transform.draft(record, rng) for record in parsed]
    mesh = sharding.make_mesh(config.mesh)

    def batches() -> list[Any]:
        return [transform.batch(drafts[start : start + size], size) for start in range(0, len(drafts), size)]

    made = batches()
    calls = {
        "raw read": lambda: [source[i] for i in order],
        "parse": lambda: [codec.decode(data) for data in read],
        "ids kept beside": lambda: [known[i] for i in order] if known is not None else None,
        "crop, shuffle, mask": lambda: [transform.draft(record, rng) for record in parsed],
        "batch": batches,
        "device put": lambda: jax.block_until_ready([distributed.to_devices(batch, mesh) for batch in made]),
        "(tokenise anew)": lambda: [(pieces.of_text(r, words), pieces.of_table(r, words)) for r in map(_bare, parsed)],
    }
    return {
        "us": {name: 1e6 * clocks.cpu_per_call(call) / len(order) for name, call in calls.items()},
        "bytes_per_example": sum(leaf.nbytes for leaf in jax.tree.leaves(made)) / len(order),
        "record_bytes": sum(map(len, read)) / len(order),
    }


def _bare(record: Any) -> Any:
    return dataclasses.replace(record, text_pieces=None, table_pieces=None)


def _pipeline(prepared: Any, config: Config, workers: int, seconds: float) -> dict[str, Any]:
    """The whole pipeline with so many worker processes."""
    import jax

    from m5jax.data import pipeline

    config = dataclasses.replace(config, data=dataclasses.replace(config.data, loader_workers=workers))
    started = time.perf_counter()
    batches = pipeline.training_batches(prepared, config)
    next(batches)
    first = time.perf_counter() - started
    # What was made ahead while nothing was asked for must not count.
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(next(batches))) / config.batch_size
    for _ in range(pipeline.PREFETCH * (1 + 2 * workers)):
        next(batches)
    rounds = []
    for _ in range(ROUNDS):
        start, made = clocks.Reading.now(), 0
        while time.perf_counter() - start.wall < seconds / ROUNDS:
            next(batches)
            made += 1
        rounds.append((clocks.Reading.now() - start, made * config.batch_size))
    with contextlib.suppress(AttributeError):
        batches.close()  # pyright: ignore[reportAttributeAccessIssue] (ends the workers)
    examples_per_s = statistics.median(examples / taken.wall for taken, examples in rounds)
    cpu = statistics.median(1e3 * taken.cpu / examples for taken, examples in rounds)
    return {
        "workers": workers,
        "examples_per_s": examples_per_s,
        "mb_per_s": examples_per_s * size / 1e6,
        "cpu_s_per_1000": cpu,
        "examples_per_s_per_core": 1e3 / cpu,
        "first_batch_s": first,
    }


def _step(prepared: Any, config: Config, arguments: argparse.Namespace) -> float:
    """Examples a second of the config's training step: the median of some steps after the first."""
    import jax

    from m5jax import distributed, optim, sharding, step
    from m5jax.data import pipeline, tokenizer
    from m5jax.models import families

    config = dataclasses.replace(config, batch_size=arguments.step_batch or config.batch_size)
    mesh = sharding.make_mesh(config.mesh)
    with jax.set_mesh(mesh):
        model = families.build(config, tokenizer.load(prepared.tokenizer_path).size, len(prepared.classes))
        optimizer = optim.optimizer(config)
        state = step.sharded_init(model, optimizer, config.seed, mesh)
        run = step.make_train_step(model, optimizer, seed=config.seed, accumulate=config.accumulate, mesh=mesh)
        taken = []
        for batch in itertools.islice(pipeline.training_batches(prepared, config), 5):
            placed = distributed.to_devices(batch, mesh)
            start = time.perf_counter()
            state, metrics = run(state, placed)
            jax.block_until_ready(metrics)
            taken.append(time.perf_counter() - start)
    return config.batch_size / statistics.median(taken[1:])


def _say(figures: dict[str, Any]) -> None:
    console = rich.console.Console(width=110)
    stages = rich.table.Table("stage", "CPU µs a listing", title=f"stages, alone ({figures['pattern']})")
    for name, taken in figures["stages_us"].items():
        stages.add_row(name, f"{taken:,.1f}")
    console.print(stages)
    whole = rich.table.Table(
        "workers", "examples/s", "MB/s", "CPU s per 1,000", "examples/s/core", "first batch s", title="whole pipeline"
    )
    for row in figures["workers"]:
        whole.add_row(
            str(row["workers"]), f"{row['examples_per_s']:,.0f}", f"{row['mb_per_s']:,.0f}",
            f"{row['cpu_s_per_1000']:.3f}", f"{row['examples_per_s_per_core']:,.0f}", f"{row['first_batch_s']:.1f}",
        )  # fmt: skip
    console.print(whole)
    kib, share = figures["bytes_per_example"] / 1024, figures["bytes_over_official"]
    console.print(f"to the device {kib:,.1f} KiB a listing, {share:.3f} of the released loader's", highlight=False)
    if figures["step_examples_per_s"]:
        console.print(
            f"the step takes {figures['step_examples_per_s']:,.1f} examples/s: the input gives"
            f" {figures['ratio_to_step']:,.1f} times that, a core {figures['ratio_to_step_per_core']:,.1f} times",
            highlight=False,
        )
