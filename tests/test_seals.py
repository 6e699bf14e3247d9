"""Records that are not those that were prepared are refused: another catalogue, or other files in the folder."""

import json
import random
import shutil

import pytest
from small import small_config
from test_prepare_again import in_process  # noqa: F401 (a fixture)

from m5jax import run
from m5jax.data import records, seals, tokenizer
from m5jax.data.prepared import MANIFEST
from m5jax.errors import DataError
from m5jax.preparing import prepare


def rows(count):
    rng = random.Random(0)  # texts that do not compress, so that shards are longer than their ends
    text = [f"{number:04} " + "".join(rng.choices("abcdefghijklmnop", k=60_000)) for number in range(count)]
    return [{"id": f"item-{n:04}", "split": "train", "title": title} for n, title in enumerate(text)]


def config_of(folder, listings):
    folder.mkdir(exist_ok=True)
    (folder / "catalogue.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listings))
    return small_config(
        inputs__modalities=("text",),
        data__catalogue=str(folder),
        data__root=str(folder.parent / "root"),
        data__shard_listings=4,
    )


@pytest.mark.usefixtures("in_process")
def test_a_catalogue_with_one_byte_one_row_or_the_order_changed_is_refused(tmp_path):
    before = rows(6)
    facts = {}
    changes = {
        "same": before,
        "byte": [*before[:3], before[3] | {"title": before[3]["title"][:-1] + "z"}, *before[4:]],
        "shorter": before[:-1],
        "longer": [*before, {"id": "more", "split": "train", "title": "more"}],
        "order": [before[1], before[0], *before[2:]],
    }
    for name, listings in changes.items():
        config = config_of(tmp_path / name, listings)
        facts[name] = run.facts_of(config, prepare.prepare(config, quiet=True))
    again = config_of(tmp_path / "elsewhere", before)
    run.require_same(facts["same"], run.facts_of(again, prepare.prepare(again, quiet=True)), ("data",), "runs/x")
    for name in changes.keys() - {"same"}:
        with pytest.raises(DataError, match=r"the records changed since the checkpoints in runs/x.*digest") as refused:
            run.require_same(facts["same"], facts[name], ("data",), "runs/x")
        assert refused.value.exit_code == 65, name


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return prepare.prepare(config_of(tmp_path_factory.mktemp("sealed") / "mine", rows(9)), quiet=True)


@pytest.fixture
def sealed(made, tmp_path):
    """A prepared folder to damage, and its three shards, of which two are as long as one another."""
    folder = shutil.copytree(made.folder, tmp_path / "copy")
    ready = prepare.prepared.Prepared.open(folder, made.inputs)
    return ready, [folder / records.shard_name("train", number, 3) for number in range(3)]


@pytest.mark.parametrize("how", [seals.ENDS, seals.WHOLE])
def test_what_was_prepared_passes(sealed, how):
    seals.verify(sealed[0], how, quiet=True)


def exchange(paths):
    first, second = (path.read_bytes() for path in paths[:2])
    assert len(first) == len(second)
    paths[0].write_bytes(second)
    paths[1].write_bytes(first)


def cut(paths):
    paths[0].write_bytes(paths[0].read_bytes()[:-1])


def flip(where):
    def damage(paths):
        data = bytearray(paths[0].read_bytes())
        data[where] ^= 1
        paths[0].write_bytes(data)

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (exchange, r"2 of 3 shards in .* not those that were prepared: m5jax-train.*00000-of-00003 \(changed\)"),
        (cut, r"1 of 3 .*\([\d,]+ bytes, not [\d,]+\)"),
        (lambda paths: paths[2].unlink(), r"1 of 3 .*00002-of-00003 \(missing\)"),
        (flip(0), r"1 of 3 .*\(changed\)"),
        (flip(-1), r"1 of 3 .*\(changed\)"),
    ],
)
def test_a_shard_that_was_exchanged_cut_or_lost_is_named_at_once(sealed, damage, told):
    damage(sealed[1])
    with pytest.raises(DataError, match=told):
        seals.verify(sealed[0], seals.ENDS, quiet=True)


def test_a_byte_in_the_middle_is_found_by_reading_all_or_with_its_record(sealed):
    ready, paths = sealed
    middle = seals.END_BYTES + 10_000
    assert middle + seals.END_BYTES < paths[0].stat().st_size
    flip(middle)(paths)
    seals.verify(ready, seals.ENDS, quiet=True)
    with pytest.raises(DataError, match=r"1 of 3 shards .*\(changed\)"):
        seals.verify(ready, seals.WHOLE, quiet=True)
    damaged = [record.id for record in map(ready.records("train").__getitem__, range(9)) if record == records.DAMAGED]
    assert len(damaged) == 1


def test_another_tokenizer_in_the_folder_is_refused(sealed):
    texts = [row["title"] for row in rows(3)]
    tokenizer.train(texts, 300, sealed[0].folder / tokenizer.TRAINED)
    with pytest.raises(DataError, match=r"tokenizer\.model is not the one that was prepared"):
        seals.verify(sealed[0], seals.ENDS, quiet=True)


@pytest.mark.usefixtures("in_process")
def test_preparing_again_mends_the_shards_that_are_wrong(tmp_path):
    config = config_of(tmp_path / "mine", rows(9))
    sealed = prepare.prepare(config, quiet=True)
    paths = sorted(sealed.folder.glob("*.array_record*"))
    exchange(paths)
    (ids,) = sealed.folder.glob("pieces-train-*.ids")
    tokenised = ids.read_bytes()
    ids.write_bytes(tokenised[::-1])
    times = [path.stat().st_mtime_ns for path in paths]
    (sealed.folder / MANIFEST).unlink()
    again = prepare.prepare(config, quiet=True)
    seals.verify(again, seals.WHOLE, quiet=True)
    assert again.manifest == sealed.manifest
    assert ids.read_bytes() == tokenised
    assert [path.stat().st_mtime_ns == time for path, time in zip(paths, times, strict=True)] == [False, False, True]
