"""`tools/score.py`: what scripts can rely on; and saved ranks, which it scores again without vectors."""

import json

import numpy as np
import pytest
import score as tool
from conftest import SHARED, needs_shared
from rankings import random, unit

from m5jax.errors import DataError
from m5jax.evals import ranks
from m5jax.evals.ranks import Ranks

CASES = SHARED / "golden" / "retrieval_metrics"
LABELS = {f"g{n}": n % 4 for n in range(9)} | {"q0": "0", "q1": ["1", 2], "q2": None, "q3": 3, "g9": None, "away": "3"}


@pytest.fixture
def folder(tmp_path):
    """Three queries that have a positive and one that has no label; the last gallery row is the fourth query."""
    arrays = {
        "query_ids": np.asarray(["q0", "q1", "q2", "q3"]),
        "query": random((4, 6), 1),
        "gallery_ids": np.asarray([f"g{n}" for n in range(10)] + ["q3"]),
        "gallery": random((11, 6), 2),
    }
    write(tmp_path, arrays, LABELS)
    return tmp_path


def write(folder, arrays, labels):
    np.savez(folder / "e.npz", **arrays)
    (folder / "l.json").write_text(json.dumps(labels), encoding="utf-8")


def held(folder):
    with np.load(folder / "e.npz") as file:
        return dict(file)


def run(capsys, folder, *flags, vectors=True):
    flags = (f"--embeddings={folder / 'e.npz'}", f"--labels={folder / 'l.json'}", *flags) if vectors else flags
    code = tool.main(list(flags))
    (line,) = capsys.readouterr().out.splitlines()
    return code, json.loads(line)


def test_scores_counts_and_passport_are_one_object(folder, capsys):
    code, said = run(capsys, folder, "--k=2,1")
    assert code == 0
    metrics = {f"{name}@{k}" for name in ("p", "map", "recall", "hit", "ndcg") for k in (1, 2)}
    counts = {"queries": 4, "answerable": 3, "gallery": 11, "distractors": 1, "coverage": 1}
    counts |= {f"{side}_{why}": 0 for side in ("query", "gallery") for why in ("zero", "not_finite")}
    assert set(said) == metrics | set(counts) | {"mrr", "map", "passport"}
    assert {name: said[name] for name in counts} == counts
    assert (said["passport"]["protocol"], said["passport"]["label"]) == ("standard", "l.json")
    assert len(said["passport"]["digest"]) == 16
    assert run(capsys, folder, "--k=1,2", "--protocol=trec")[1]["passport"]["digest"] == said["passport"]["digest"]


@needs_shared
@pytest.mark.parametrize("case", ["disjoint", "gallery_is_query"])
def test_the_release_finds_its_own_layout(case, capsys):
    files = (f"--embeddings={CASES / case / 'embeddings.npz'}", f"--labels={CASES / case / 'labels.json'}")
    code, said = run(capsys, None, *files, "--protocol=released", vectors=False)
    assert code == 0
    for top, official in json.loads((CASES / case / "official_metrics.json").read_text()).items():
        assert said[top] == pytest.approx(official, abs=1e-6)


def test_ranks_give_every_protocol_that_the_vectors_give(folder, capsys):
    arrays = held(folder)
    lengthened = arrays | {side: unit(arrays[side]).astype(np.float32) for side in ("query", "gallery")}
    write(folder, lengthened, LABELS)
    saved = f"--ranks={folder / 'r.npz'}"
    run(capsys, folder, f"--save-ranks={folder / 'r.npz'}", "--k=3")
    for protocol in ("standard", "released", "trec"):
        for ks in ("--k=3", "--k=1,2"):
            code, again = run(capsys, folder, saved, f"--protocol={protocol}", ks, vectors=False)
            assert code == 0
            _, direct = run(capsys, folder, f"--protocol={protocol}", ks)
            direct.pop("map", None), direct.pop("left_out", None)
            left_out = again.pop("left_out", {})
            assert ("map" in left_out) == (protocol != "released")
            assert again == {name: value for name, value in direct.items() if not name.endswith(WRONG)}
    other = LABELS | {"g0": 1}
    write(folder, lengthened, other)
    _, relabelled = run(capsys, folder, saved, f"--labels={folder / 'l.json'}", "--k=3", vectors=False)
    _, direct = run(capsys, folder, "--k=3")
    assert relabelled["recall@3"] == direct["recall@3"]
    assert relabelled["passport"] == direct["passport"]


WRONG = ("_zero", "_not_finite")


def test_ranks_of_a_whole_gallery_give_its_full_map(folder, capsys):
    run(capsys, folder, f"--save-ranks={folder / 'r.npz'}", "--k=11")
    _, again = run(capsys, folder, f"--ranks={folder / 'r.npz'}", vectors=False)
    assert again["map"] == pytest.approx(run(capsys, folder)[1]["map"])


def test_what_ranks_cannot_give_is_refused(folder, capsys):
    run(capsys, folder, f"--save-ranks={folder / 'r.npz'}", "--k=3")
    saved = f"--ranks={folder / 'r.npz'}"
    for flags, message in (
        (("--k=4",), "k = 4 is deeper than the 3 neighbours that were saved"),
        (("--k=2", "--protocol=released"), "by cosine, and protocol 'released' ranks by dot"),
        ((f"--save-ranks={folder / 's.npz'}",), "--save-ranks needs --embeddings"),
    ):
        code, said = run(capsys, folder, saved, *flags, vectors=False)
        assert code in (64, 65)
        assert message in said["error"]
    whole = (folder / "r.npz").read_bytes()
    for data in (
        whole[:-40],
        whole.replace(b"PK", b"KP"),
        b"",
        whole[: len(whole) // 2] + whole[len(whole) // 2 + 9 :],
    ):
        (folder / "r.npz").write_bytes(data)
        with pytest.raises(DataError, match=r"r\.npz"):
            Ranks.load(folder / "r.npz")
    with pytest.raises(DataError, match="holds no saved ranks: 'format' is missing"):
        Ranks.load(folder / "e.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": np.asarray([[99, 0]] * 4)}, "its rows (of the gallery) do not fit the rest"),
        ({"rows": np.zeros((3, 2), int)}, "its rows do not fit"),
        ({"score": "euclid"}, "its score do not fit"),
        ({"gallery_starts": np.arange(5)}, "its gallery labels do not fit"),
        ({"query_numbers": np.full(4, 99)}, "its query labels (numbers) do not fit"),
        ({"others_starts": np.asarray([0, 3, 1])}, "its others labels (starts) do not fit"),
        ({"format": 9}, "has format 9, not 1"),
        ({"names": np.asarray([{}], object)}, "holds pickled objects"),
    ],
)
def test_ranks_that_do_not_fit_together_are_named(folder, capsys, change, message):
    run(capsys, folder, f"--save-ranks={folder / 'r.npz'}", "--k=3")
    arrays = dict(np.load(folder / "r.npz"))
    np.savez(folder / "r.npz", **arrays | change)
    code, said = run(capsys, folder, f"--ranks={folder / 'r.npz'}", vectors=False)
    assert code == 65
    assert message in said["error"]
    assert str(folder / "r.npz") in said["error"]


def test_rows_that_are_no_embedding_are_counted_and_lose(folder, capsys):
    arrays = held(folder)
    _, before = run(capsys, folder, "--k=1")
    arrays["query"][0], arrays["gallery"][3], arrays["gallery"][4, 2] = 0, np.nan, np.inf
    write(folder, arrays, LABELS)
    code, said = run(capsys, folder, "--k=1")
    assert code == 0
    assert (said["query_zero"], said["query_not_finite"], said["gallery_not_finite"]) == (1, 0, 2)
    assert (said["answerable"], said["coverage"]) == (before["answerable"], pytest.approx(2 / 3))


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_cosines_of_very_short_and_very_long_vectors_are_those_of_others(folder, capsys, scale):
    arrays = held(folder)
    _, before = run(capsys, folder)
    write(folder, arrays | {side: arrays[side] * np.float32(scale) for side in ("query", "gallery")}, LABELS)
    assert run(capsys, folder)[1] == before
    write(folder, arrays | {"query": arrays["query"] * np.float32(1e30)}, LABELS)
    assert run(capsys, folder)[1]["query_not_finite"] == 4, "products would overflow: said, and not scored"


def test_without_a_positive_there_are_counts_and_a_reason(folder, capsys):
    write(folder, held(folder), {f"q{n}": f"alone {n}" for n in range(4)})
    code, said = run(capsys, folder)
    assert code == 0
    assert (said["answerable"], said["distractors"]) == (0, 10)  # q3 is in the gallery, with its own label
    assert "nothing can be scored" in said["left_out"]["scores"]
    assert not [name for name in said if "@" in name or name in ("mrr", "map", "coverage")]


def damaged(**change):
    return lambda arrays, labels: (arrays | change, labels)


FAULTS = {
    "no array 'gallery'": lambda arrays, labels: ({k: v for k, v in arrays.items() if k != "gallery"}, labels),
    "4 query_ids for 3 rows of query": damaged(query=random((3, 6))),
    "must be numbers [rows, D]": damaged(query=random(4)),
    "query (4, 5) and gallery (11, 6) must have one D": damaged(query=random((4, 5))),
    "must be strings or integers [rows]": damaged(query_ids=np.asarray([0.5, 1, 2, 3])),
    "query has no row": damaged(query=np.zeros((0, 6)), query_ids=np.asarray([], str)),
    "holds pickled objects": damaged(query_ids=np.asarray([{}, 1, 2, 3], object)),
    "id 'q0' stands more than once in the queries": damaged(query_ids=np.asarray(["q0", "q1", "q0", "q3"])),
    "id 'g1' stands more than once in the gallery": damaged(gallery_ids=np.asarray(["g1"] * 11)),
    "says nothing of 1 of 4 queries": lambda arrays, labels: (arrays, {k: v for k, v in labels.items() if k != "q1"}),
    "must be one object": lambda arrays, labels: (arrays, [labels]),
    "'g0' has the label 0.5": lambda arrays, labels: (arrays, labels | {"g0": 0.5}),
    "'g0' has the label True": lambda arrays, labels: (arrays, labels | {"g0": [True]}),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faulty_files_are_named_with_the_fix(folder, capsys, message):
    write(folder, *FAULTS[message](held(folder), LABELS))
    code, said = run(capsys, folder)
    assert code == 65
    assert message in said["error"]
    assert str(folder) in said["error"]


def test_faults_of_the_command_line_and_of_json(folder, capsys):
    for flag in ("--k=0", "--k=one", "--k=", "--protocol=mine", "--k"):
        assert run(capsys, folder, flag)[0] == 64
    assert run(capsys, folder, f"--embeddings={folder / 'e.npz'}", vectors=False)[0] == 64
    assert "there is no file" in run(capsys, folder, f"--embeddings={folder / 'nowhere.npz'}")[1]["error"]
    (folder / "l.json").write_text('{"q0": 1, "q0": 2}', encoding="utf-8")
    assert "id 'q0' stands there twice" in run(capsys, folder)[1]["error"]
    (folder / "l.json").write_text('{"q0": ', encoding="utf-8")
    assert "cannot be read as JSON" in run(capsys, folder)[1]["error"]


def test_lengths_tell_whether_both_score_functions_order_alike():
    vectors = unit(random((5, 3))).astype(np.float32)
    valid = np.ones(5, bool)
    assert ranks.same_order(vectors, valid)
    vectors[2] = 0
    assert ranks.same_order(vectors, valid)
    vectors[3] *= 1.01
    assert not ranks.same_order(vectors, valid)
    vectors[3] = np.nan
    assert ranks.same_order(vectors, np.arange(5) != 3)
