"""Shards made by Apache Beam: on one machine, or wherever Flink, Spark or Dataflow run (docs/data.md).

Every worker sees the prepared folder and the catalogue under the same paths, on a file system that they share, and has
m5jax. What Beam moves is the name of a shard; each is made as `shards.make` makes it anywhere, so that the folder is
the one that the local runner gives. Nothing else here imports Beam: it is the extra `m5jax[beam]`.
"""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from m5jax.errors import ConfigError, DataError
from m5jax.preparing import shards
from m5jax.preparing.shards import Key, Part, Work

try:
    import apache_beam as beam
    from apache_beam.options import pipeline_options
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
    from apache_beam.runners.runner import PipelineState
except ImportError as error:
    raise ConfigError("Apache Beam is not installed: pip install 'm5jax[beam]'") from error

POLL_SECONDS = 1.0
ASKED = ("PortableRunner", "FlinkRunner", "SparkRunner")  # whose job service has options that only it knows


class BeamRunner:
    """A runner of shards (`shards.Runner`) for `prepare.prepare_into`.

    Args:
      options: of Beam, "name=value" or "name" each, as its documentation has them behind "--". Without `runner` it is
        Beam's own on this machine; so it is with DirectRunner, which else would first try to download another one.

    Raises:
      ConfigError: Beam has no such option.
    """

    def __init__(self, options: Sequence[str] = ()):
        flags = ["--" + option.removeprefix("--") for option in options]
        self._options = pipeline_options.PipelineOptions(flags)  # not those of the command line, which are ours
        named = self._options.view_as(pipeline_options.StandardOptions).runner
        known = self._options.get_all_options()
        for name in (flag[2:].partition("=")[0] for flag in flags):
            if name not in known and named not in ASKED:
                raise ConfigError(f"--beam-option {name}: Apache Beam has no such option")
        self._runner: Any = FnApiRunner() if named in (None, "DirectRunner") else named

    def __call__(self, work: Work, keys: list[Key], advance: Callable[[int], None]) -> Iterator[Part]:
        """Makes shards in any order, and gives each when its note is there.

        Raises:
          DataError: Beam could not finish. Shards that are finished stay.
        """
        if not keys:
            return
        work = dataclasses.replace(work, folder=work.folder.resolve(), root=work.root.resolve(), config=_alone(work))
        for key in keys:
            work.note(key).unlink(missing_ok=True)  # one that is there is of another file
        pipeline = beam.Pipeline(self._runner, self._options)
        _ = pipeline | "shards" >> beam.Create(keys) | beam.Reshuffle() | "make" >> beam.ParDo(_Make(work))
        waiting = dict.fromkeys(keys)
        with contextlib.ExitStack() as stack, _explained():
            result: Any = pipeline.run()
            stack.callback(_cancel, result)
            ended = False
            while not ended:
                ended = PipelineState.is_terminal(result.state)
                notes = _names(work.folder)  # asked for behind the state: none is overlooked
                for key in [key for key in waiting if work.note(key).name in notes]:
                    del waiting[key]
                    advance(work.length(key))
                    yield shards.read_part(work, key)
                if not ended:
                    time.sleep(POLL_SECONDS)
            state = result.wait_until_finish()
        if state != PipelineState.DONE or waiting:
            raise DataError(_why(f"ended as {state} with {len(waiting)} of {len(keys)} shards not made"))


class _Make(beam.DoFn):
    """Makes the shards it is given, with processes of its own."""

    def __init__(self, work: Work):
        self._work = work

    def setup(self) -> None:
        self._open = contextlib.ExitStack()
        self._workers = self._open.enter_context(shards.processes(self._work.config, self._work.root))

    def process(self, key: Key) -> None:
        shards.make(self._work, key, self._workers)

    def teardown(self) -> None:
        self._open.close()


def _alone(work: Work) -> Any:
    """The configuration with one decoding process, unless it says how many: Beam has a worker a core already."""
    data = work.config.data
    return dataclasses.replace(work.config, data=dataclasses.replace(data, prepare_workers=data.prepare_workers or 1))


def _names(folder: pathlib.Path) -> set[str]:
    with contextlib.suppress(FileNotFoundError):
        return set(os.listdir(folder / "parts"))
    return set()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Of what runners raise, which is anything, the words."""
    try:
        yield
    except Exception as error:
        raise DataError(_why(str(error))) from error


def _why(what: str) -> str:
    return (
        f"Apache Beam did not make all shards: {what}. Those it made are kept: the same command goes on with the rest"
    )


def _cancel(result: Any) -> None:
    """Ends a pipeline that nobody waits for any more."""
    if not PipelineState.is_terminal(result.state):
        result.cancel()
