"""The training loop, top to bottom. Every turn: evaluate, save, fetch, step, log, in this order.

The state at the top of turn `step` has seen batches 0 to step - 1, and that is what is evaluated and saved;
turn `step` fetches batch `step` of the stream. Resuming is therefore nothing but starting at another step.
"""

import contextlib
import time
from typing import Any

import jax

from m5jax import (
    distributed,
    evaluate,
    export,
    initialize,
    optim,
    profiling,
    settings,
    sharding,
    step,
    watchdog,
    writers,
)
from m5jax.config import Config
from m5jax.data import pipeline
from m5jax.errors import ConfigError, DataError, NumericError, Preempted
from m5jax.models import flops
from m5jax.run import Run, open_run

SKIPPED_IN_A_ROW = 10  # updates that were not finite before the run gives up


def train(config: Config) -> None:
    """Trains for `config.steps` or `config.epochs`, from the newest good checkpoint of the run folder or the start.

    Raises:
      M5Error: see `errors`; the state on disk stays usable whatever is raised.
    """
    with open_run(config, training=True) as run:
        run.say(f"run folder {run.folder.path}, records {run.prepared.folder} {run.prepared.splits}")
        evaluate.check(run)
        began = time.monotonic()
        state = _loop(run)
        trained = time.monotonic()
        evaluate.final(run, state["params"], run.config.steps)
        if distributed.is_lead():
            run.folder.write_cost(_cost(run, state, trained - began, time.monotonic() - trained))
        if config.export.after_training:
            export.write(run, state["params"], run.config.steps)
        run.say(f"done: {run.folder.report}, {run.folder.scores}, {run.folder.embeddings}")


def _cost(run: Run, state: step.State, training: float, evaluation: float) -> dict[str, float]:
    """What the model and its run cost, as `cost.json` holds it; the seconds are those of this attempt."""
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state["params"])),
        "flops": run.model.flops,
        "training_s": round(training, 1),
        "evaluation_s": round(evaluation, 1),
    }


def _loop(run: Run) -> step.State:
    config = run.config

    # ---- state, step and stream
    optimizer = optim.optimizer(config)
    state, start = _restore_or_init(run, optimizer)
    if distributed.is_lead():
        run.folder.write_config(config)
        writers.trim(run.folder.evaluations, start)
    train_step = step.make_train_step(
        run.model, optimizer, seed=config.seed, accumulate=config.accumulate, mesh=run.mesh
    )
    share = pipeline.Share(*distributed.share())
    batches = pipeline.training_batches(run.prepared, config, mixed=run.mixed, start=start, share=share)
    checkpoints = run.checkpoints
    trace = profiling.Trace(config.logging.profile, run.folder.profile)

    with (
        contextlib.closing(_Log(run, start)) as log,
        distributed.preemption() as preemption,
        watchdog.watchdog(config.logging.hang_s) as dog,
    ):
        compiled = None
        for number in range(start, config.steps + 1):
            last = number == config.steps

            # ---- evaluate
            if config.evaluate.every and number % config.evaluate.every == 0 and start < number < config.steps:
                dog.beat("evaluating", factor=10)
                log.flush()
                jax.block_until_ready(state)  # steps still under way count as steps
                with log.timer.paused():
                    evaluate.during(run, state["params"], number)

            # ---- save
            stop = preemption.at(number)
            if number > start and (last or stop or number % config.checkpoint.every == 0):
                dog.beat("saving", factor=3)
                log.flush()
                jax.block_until_ready(state)
                with log.timer.paused():
                    checkpoints.save(number, state, run.facts)
            if last:
                break
            if stop:
                raise Preempted(
                    f"asked to stop; the state of step {number} is saved, the same command goes on from there"
                )

            # ---- fetch
            dog.beat(f"fetching batch {number}", factor=3 if compiled is None else 1)
            with log.timer.waiting():
                batch = distributed.to_devices(next(batches), run.mesh)

            # ---- step
            if compiled is None:
                compiled = train_step.lower(state, batch).compile()
                run.say(profiling.describe_step(compiled, run.model.flops, flops.TRAINING, run.mesh.local_devices[0]))
                log.timer = profiling.StepTimer(start)  # compilation is not a step
            dog.beat(f"running step {number}", factor=3 if number == start else 1)
            trace.at(number)
            with jax.profiler.StepTraceAnnotation("train", step_num=number):
                state, metrics = compiled(state, batch)

            # ---- log: the previous logged step, now that this one is on its way
            log.flush()
            log.step(number + 1, metrics)
        trace.close()
    return state


def _restore_or_init(run: Run, optimizer: Any) -> tuple[step.State, int]:
    """The newest good state of the run folder, or the first one."""
    config, checkpoints = run.config, run.checkpoints
    if config.checkpoint.from_scratch and distributed.is_lead() and _stale(run):
        aside = checkpoints.folder.with_name(f"checkpoints-{time.strftime('%Y%m%d-%H%M%S')}")
        checkpoints.folder.rename(aside)
        run.say(f"starting from scratch; the old checkpoints are in {aside}")
    distributed.barrier("from scratch")

    def init() -> step.State:
        return step.init_state(run.model, optimizer, jax.random.key(config.seed))

    abstract = jax.eval_shape(init)
    places = sharding.shardings(abstract, run.mesh)
    run.say(profiling.describe_state(abstract, places, run.mesh.local_devices[0]))
    placed = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, places)
    restored = checkpoints.restore(placed, run.check("data", "tokenizer", "preprocessing", "classes"))
    if restored is None:
        state = step.sharded_init(run.model, optimizer, config.seed, run.mesh)
        return state | {"params": initialize.params(run, state["params"])}, 0
    if restored.step > config.steps:
        raise ConfigError(
            f"{checkpoints.folder} is at step {restored.step} already, beyond config.steps = {config.steps}: set more"
            " steps, another config.workdir, or config.checkpoint.from_scratch=True"
        )
    run.say(f"resuming at step {restored.step}")
    return restored.state, restored.step


def _stale(run: Run) -> bool:
    """Whether the checkpoints are not an unfinished attempt of this very configuration, preempted, say: with
    `from_scratch` that one goes on, or a job that a cluster restarts would begin again for ever."""
    found = run.checkpoints.newest_facts()
    if found is None:
        return run.checkpoints.folder.exists()
    step, facts = found
    return step >= run.config.steps or settings.digest(facts["config"]) != settings.digest(run.facts["config"])


class _Log:
    """Rows of the log, written one step late so that reading a metric never holds up the device."""

    def __init__(self, run: Run, start: int):
        self._run, self._config = run, run.config
        self._schedule = optim.schedule(run.config)
        self._ceiling = profiling.matmul_ceiling(run.config.precision) * run.mesh.size
        self._epoch = pipeline.epoch(run.prepared, run.config)
        self._pending: tuple[int, Any] | None = None
        self.timer = profiling.StepTimer(start)
        self._writer = None
        if distributed.is_lead():
            board = run.folder.tensorboard if run.config.logging.tensorboard else None
            self._writer = writers.Metrics(run.folder.metrics, start, board)

    def step(self, number: int, metrics: step.Metrics) -> None:
        """Keeps the metrics of step `number` until the next one is on its way."""
        self._pending = (number, metrics)

    def flush(self) -> None:
        """Checks the kept metrics, if any, and writes them if their step is one to log.

        Raises:
          NumericError, DataError: the step shows that the run should not go on.
        """
        if self._pending is None:
            return
        (number, metrics), self._pending = self._pending, None
        self._check_finite(number, int(jax.device_get(metrics["skipped_in_a_row"][0])))
        if number % self._config.logging.every and number not in (1, self._config.steps):
            return
        fetched: Any = jax.device_get(metrics)  # returns when the step is done, so the time is that of whole steps
        times = self.timer.read(number)
        row: dict[str, Any] = {"step": number, "epoch": float(number * self._config.batch_size / self._epoch)}
        row |= {name: float(total) / max(float(count), 1.0) for name, (total, count) in fetched.items()}
        examples = self._config.batch_size / times["ms_per_step"] * 1e3
        row |= {"learning_rate": float(jax.device_get(self._schedule(number - 1))), "examples_per_s": examples, **times}
        row["mfu"] = flops.TRAINING * self._run.model.flops * examples / self._ceiling
        if self._writer:
            self._writer.write(row)
            left = (self._config.steps - number) * times["ms_per_step"] / 1e3
            print(writers.line(row, self._config.steps, left), flush=True)
        self._check_damaged(row)

    def _check_finite(self, number: int, skipped: int) -> None:
        if skipped >= SKIPPED_IN_A_ROW:
            raise NumericError(
                f"step {number}: {skipped} updates in a row were not finite and were not made; lower"
                " config.optimizer.learning_rate, or look at the batches of the last checkpoint on"
            )

    def _check_damaged(self, row: dict[str, Any]) -> None:
        seen = row["step"] * self._config.batch_size
        if row["damaged"] > max(self._config.data.max_damaged * seen, 1.0):
            raise DataError(
                f"{row['damaged']:.0f} of {seen} records could not be read, more than config.data.max_damaged ="
                f" {self._config.data.max_damaged:g} allows; delete {self._run.prepared.folder} to prepare again"
            )

    def close(self) -> None:
        """Ends the files, whatever ended the run; a row still kept is of a step that is not saved."""
        if self._writer:
            self._writer.close()
