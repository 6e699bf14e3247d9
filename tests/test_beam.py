"""Apache Beam makes the folder that the local runner makes: same records, same digest, nothing lost on the way."""

import importlib
import sys

import pytest
from small import small_config
from test_m5product import InProcess

from m5jax.catalogues import layouts
from m5jax.errors import ConfigError, DataError
from m5jax.preparing import prepare, shards

pytest.importorskip("apache_beam", reason="Apache Beam is not installed")

from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState

from m5jax.preparing import beam_runner
from m5jax.preparing.beam_runner import BeamRunner


def made(catalogue_folder, folder, runner):
    config = small_config(
        inputs__modalities=("image", "text", "table"),
        data__catalogue=str(catalogue_folder),
        data__shard_listings=10,
    )
    found = layouts.find(catalogue_folder)
    return prepare.prepare_into(folder, found, config, prepare.what_decides(found, config), quiet=True, runner=runner)


@pytest.fixture(scope="module")
def local(catalogue_folder, tmp_path_factory):
    return made(catalogue_folder, tmp_path_factory.mktemp("local"), shards.run_here)


@pytest.mark.parametrize(
    "options",
    [["runner=DirectRunner"], ["direct_running_mode=multi_processing", "--direct_num_workers=2"]],
    ids=["in memory", "two processes"],
)
def test_beam_makes_the_same_folder(catalogue_folder, local, tmp_path, options, monkeypatch):
    monkeypatch.chdir(tmp_path)
    beamed = made(catalogue_folder, tmp_path / "beam", BeamRunner(options))
    assert beamed.manifest == local.manifest
    for split in local.splits:
        assert list(beamed.ids(split)) == list(local.ids(split))
        assert [r.title for r in beamed.records(split)] == [r.title for r in local.records(split)]


def test_a_shard_that_fails_costs_no_other_and_the_same_command_goes_on(catalogue_folder, local, tmp_path, monkeypatch):
    make, tried = shards.make, []

    def failing(work, key, workers):
        tried.append(key)
        if key == ("train", 1):
            raise DataError("a decoder is missing")
        return make(work, key, workers)

    monkeypatch.setattr(shards, "make", failing)
    with pytest.raises(DataError, match=r"a decoder is missing.*the same command goes on"):
        made(catalogue_folder, tmp_path, BeamRunner())
    finished = {path.stem for path in (tmp_path / "parts").glob("*.json")}
    failed = set(tried)
    tried.clear()
    monkeypatch.setattr(shards, "make", lambda *given: tried.append(given[1]) or make(*given))
    assert made(catalogue_folder, tmp_path, BeamRunner()).manifest == local.manifest
    assert ("train", 1) in failed & set(tried)
    assert not finished & {f"{split}-{number:05d}" for split, number in tried}
    assert list(BeamRunner()(None, [], print)) == []  # with nothing to do no cluster is asked


class Cluster(PipelineRunner):
    """Runs a pipeline elsewhere: one more shard is there whenever its state is asked for, until it is done or fails."""

    def __init__(self, work, shards_of_it, last):
        super().__init__()
        self.todo, self.last, self.work, self.canceled = [*shards_of_it], last, work, False

    def run_pipeline(self, pipeline, options):
        cluster = self

        class Result(PipelineResult):
            @property
            def state(self):
                if not cluster.todo:
                    return cluster.last
                cluster.make(cluster.todo.pop())
                return PipelineState.RUNNING

            def wait_until_finish(self, duration=None):
                return cluster.last

            def cancel(self):
                cluster.canceled = True

        return Result(PipelineState.RUNNING)

    def make(self, key):
        shards.make(self.work, key, InProcess())  # pyright: ignore[reportArgumentType]


@pytest.fixture
def elsewhere(catalogue_folder, local, tmp_path, monkeypatch):
    """A preparation whose plan is made, its shards, and a function that runs them on a cluster."""
    monkeypatch.setattr(beam_runner, "POLL_SECONDS", 0.0)
    planned = []

    def stop(work, keys, advance):
        planned.append((work, keys))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(catalogue_folder, tmp_path, stop)
    ((work, keys),) = planned

    def run(last, todo=keys):
        runner, done = BeamRunner(), []
        runner._runner = Cluster(work, todo, last)
        return runner._runner, done, runner(work, keys, done.append)

    return keys, run


def test_shards_are_given_while_a_cluster_makes_the_others(elsewhere):
    keys, run = elsewhere
    cluster, done, parts = run(PipelineState.DONE)
    assert next(parts).records > 0
    assert len(cluster.todo) == len(keys) - 1
    assert len([*parts]) == len(keys) - 1
    assert sum(done) == 48
    assert not cluster.canceled


def test_a_preparation_that_stops_ends_the_cluster_s_work(elsewhere):
    _, run = elsewhere
    cluster, _, parts = run(PipelineState.DONE)
    next(parts)
    parts.close()
    assert cluster.canceled


@pytest.mark.parametrize("last", [PipelineState.FAILED, PipelineState.DONE])
def test_a_cluster_that_leaves_shards_out_is_an_error(elsewhere, last):
    keys, run = elsewhere
    with pytest.raises(DataError, match=rf"ended as {last} with {len(keys) - 1} of {len(keys)} shards not made"):
        list(run(last, todo=keys[:1])[2])


def test_an_option_that_beam_does_not_have_is_named():
    with pytest.raises(ConfigError, match="--beam-option paralelism: Apache Beam has no such option"):
        BeamRunner(["paralelism=3"])
    BeamRunner(["runner=FlinkRunner", "parallelism=3"])  # which its job service knows


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "m5jax.preparing.beam_runner")
    with pytest.raises(ConfigError, match=r"pip install 'm5jax\[beam\]'"):
        importlib.import_module("m5jax.preparing.beam_runner")
