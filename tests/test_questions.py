"""Retrieval and classification of named sets: who is asked, what is found, and what is refused."""

import json
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import score as tool
from reports import embedded, listing, write_prepared
from small import small_config

from m5jax import evaluate, questions
from m5jax.data.prepared import SETS
from m5jax.errors import ConfigError, DataError
from m5jax.evals import ranks
from m5jax.evals.sets import Sets
from m5jax.run_folder import RunFolder

NAMED = {
    "asked": ["id-000", "id-001", "id-012", "gone"],
    "searched": ["id-001", "id-002", "id-013", "id-020", "gone too"],
    "empty": ["gone"],
    "query": ["id-020"],
}


def config(**evaluates):
    options = {f"evaluate__{name}": value for name, value in {"probe": False, "cluster": False, **evaluates}.items()}
    return small_config(inputs__modalities=("text",), **options)


@pytest.fixture
def asked_of(tmp_path):
    """Makes a run of ten listings a split, of 3 categories and 4 products, whose embeddings are made up."""

    def make(named=NAMED, splits=("train", "gallery", "query"), **evaluates):
        chosen = config(**evaluates)
        listings = {split: [listing(10 * n + m, chosen) for m in range(10)] for n, split in enumerate(splits)}
        ready = write_prepared(tmp_path / "prepared", listings, chosen)
        if named:
            rows = [(name, one) for name, ids in named.items() for one in ids]
            columns = {"set": [name for name, _ in rows], "id": [one for _, one in rows]}
            pq.write_table(pa.table(columns), ready.folder / SETS)
        parts = {split: embedded(ready, chosen, split, harmony=False) for split in splits}
        return types.SimpleNamespace(prepared=ready, config=chosen, folder=RunFolder(tmp_path)), parts

    return make


def test_sets_lie_in_splits_and_an_id_without_record_is_counted(asked_of):
    run, parts = asked_of()
    sets = Sets(run.prepared)
    assert sets.find("searched", parts).index.ids.tolist() == ["id-001", "id-002", "id-013", "id-020"]
    assert sets.find("asked+searched", parts).index.ids.tolist() == [
        "id-000", "id-001", "id-002", "id-012", "id-013", "id-020",
    ]  # fmt: skip
    assert sets.find("gallery", parts) is parts["gallery"]
    assert sets.find("query", parts) is parts["query"], "a split goes before a set of its name"
    assert len(sets.find("gallery+asked", parts).index) == 12
    assert [sets.lost(name) for name in ("asked", "asked+searched", "gallery")] == [1, 2, 0]
    assert sets.splits(["asked", "query"]) == ("train", "gallery", "query")
    assert sets.shared("asked", "searched") == 1
    found = sets.find("searched", parts)
    expected = np.concatenate([parts["train"].embeddings.vectors["fused"][[1, 2]],
                               parts["gallery"].embeddings.vectors["fused"][[3]],
                               parts["query"].embeddings.vectors["fused"][[0]]])  # fmt: skip
    assert np.array_equal(found.embeddings.vectors["fused"], expected)


def test_a_question_about_sets_has_its_own_name_and_nobody_finds_themselves(asked_of):
    run, parts = asked_of(retrieval=("category:query:gallery", "instance:asked:searched"), ks=(1, 4))
    evaluate.check(run)
    found = evaluate._scores(run, parts)
    task = "instance/asked:searched"
    result = found.results[task, "fused"]
    # Products are numbers modulo 4: 0, 1 and 0 ask among 1 (which is itself), 2, 1 and 0.
    assert result.query_rows.tolist() == [0, 1, 2]
    neighbours = result.neighbours[1].tolist()
    assert 0 not in neighbours
    assert sorted(neighbours) == [-1, 1, 2, 3]
    scores = {name.rpartition("/")[2]: value for name, value in found.scores.items() if f"/{task}/fused/" in name}
    counts = {"queries": 3, "answerable": 3, "gallery": 4, "distractors": 1}
    assert {name: scores[name] for name in counts} == counts
    assert scores["recall@4"] == 1
    passport = found.passports[f"retrieval/{task}"]
    assert (passport.sets, passport.lost, passport.label) == ("asked:searched", 2, "instance")
    assert set(found.passports) == {"retrieval/category", f"retrieval/{task}", "classification/knn"}
    assert ("category", "fused") in found.results
    assert ("instance", "fused") not in found.results


def test_a_task_that_was_asked_for_and_cannot_be_answered_has_counts_alone(asked_of):
    run, parts = asked_of({"one": ["id-000"], "other": ["id-001"]}, retrieval=("instance:one:other",))
    scores = evaluate._scores(run, parts).scores
    prefix = "retrieval/instance/one:other/fused"
    assert {name: value for name, value in scores.items() if name.startswith(prefix)} == {
        f"{prefix}/queries": 1, f"{prefix}/answerable": 0, f"{prefix}/gallery": 1, f"{prefix}/distractors": 1,
    }  # fmt: skip


def test_graded_relevance_of_a_run_is_product_above_category_or_the_depth_of_the_path(asked_of):
    asked = ("category:query:gallery", "path:query:gallery")
    run, parts = asked_of(retrieval=asked, protocol="trec", ks=(10,))
    found = evaluate._scores(run, parts)
    query, gallery = parts["query"].index, parts["gallery"].index
    cosines = parts["query"].embeddings.vectors["fused"] @ parts["gallery"].embeddings.vectors["fused"].T
    discounts = 1 / np.log2(np.arange(2, 12))
    grades = {
        "category": lambda row, other: int(query.categories[row] == gallery.categories[other])
        + int(query.instance_ids[row] == gallery.instance_ids[other]),
        "path": lambda row, other: 1 + (query.categories[row] == gallery.categories[other]),
    }  # fmt: skip
    for task, grade in grades.items():
        gains = np.asarray([[grade(row, other) for other in range(10)] for row in range(10)])
        ranked = np.take_along_axis(gains, np.argsort(-cosines, axis=1, kind="stable"), 1)
        best = -np.sort(-gains, axis=1)
        expected = np.mean((ranked @ discounts) / (best @ discounts))
        assert found.scores[f"retrieval/{task}/fused/ndcg@10"] == pytest.approx(expected, abs=1e-6)
    assert found.passports["retrieval/path"].label == "path"


def test_saved_ranks_of_a_run_give_what_the_run_scores_under_every_protocol(asked_of, capsys):
    of_run = {}
    for protocol in ("trec", "released", "standard"):
        run, parts = asked_of(protocol=protocol, ks=(1, 3))
        of_run[protocol] = evaluate._scores(run, parts)
    (run.folder.ranks).mkdir()
    (run.folder.ranks / "of-another-evaluation.npz").touch()
    ranks.save_all(run.folder.ranks, of_run["standard"].ranks)
    assert {path.name for path in run.folder.ranks.iterdir()} == {
        f"{task}-{subset}.npz" for task in ("category", "instance") for subset in ("fused", "text")
    }
    for task, subset in of_run["standard"].ranks:
        path = run.folder.ranks / ranks.file_name(task, subset)
        for protocol, found in of_run.items():
            assert tool.main([f"--ranks={path}", f"--protocol={protocol}", "--k=1,3"]) == 0
            said = json.loads(capsys.readouterr().out)
            assert said["passport"] == found.passports[f"retrieval/{task}"].to_dict()
            for name, value in found.results[task, subset].scores.items():
                if name != "map":
                    assert said[name] == pytest.approx(value, abs=1e-12), name
    assert ranks.Ranks.load(path).task.label == "instance"
    assert ranks.file_name("instance/a+b:c", "image") == "instance-a+b_in_c-image.npz"


def test_classifiers_learn_and_are_asked_as_the_setting_says(asked_of):
    lists = {"few": ["id-000", "id-001", "id-002"], "tested": ["id-010", "id-003"]}
    run, parts = asked_of(lists, classification="few:tested+query", retrieval=())
    evaluate.check(run)
    found = evaluate._scores(run, parts)
    scores = {name.rpartition("/")[2]: found.scores[name] for name in found.scores if "knn/fused" in name}
    assert (scores["train"], scores["test"]) == (3, 12)
    passport = found.passports["classification/knn"]
    assert (passport.sets, passport.queries, passport.gallery) == ("few:tested+query", 12, 3)
    run, _ = asked_of(lists, classification="train:few", retrieval=())
    with pytest.raises(DataError, match="3 listings are in both"):
        evaluate.check(run)


@pytest.mark.parametrize(
    ("evaluates", "error", "message"),
    [
        ({"retrieval": ("category:quary:gallery",)}, ConfigError, 'asked, empty, searched.*did you mean "query"'),
        ({"retrieval": ("category:query:val",)}, ConfigError, "'val' is no set of"),
        ({"retrieval": ("category:query:gallery+val",)}, ConfigError, "'val' is no set of"),
        ({"retrieval": ("category:empty:gallery",)}, DataError, "none of the 1 ids of set 'empty' became a record"),
        ({"classification": "train:tested"}, ConfigError, "'tested' is no set of"),
    ],
)  # fmt: skip
def test_sets_that_are_not_there_are_refused_before_anything_is_computed(asked_of, evaluates, error, message):
    run, _ = asked_of(**evaluates)
    with pytest.raises(error, match=message):
        evaluate.check(run)


def test_a_default_question_is_asked_only_where_the_catalogue_has_its_splits(asked_of):
    run, parts = asked_of(named=None, splits=("train", "gallery"))
    evaluate.check(run)
    found = evaluate._scores(run, parts)
    assert {prefix.split("/")[0] for prefix in found.passports} == {"classification"}
    assert found.passports["classification/knn"].sets == "train:gallery"
    with pytest.raises(ConfigError, match="named sets none"):
        Sets(run.prepared).find("asked", parts)


@pytest.mark.parametrize("text", ["category", "category:query", "category::gallery", "a:b:c:d"])
def test_a_question_has_three_parts(text):
    with pytest.raises(ConfigError, match="write RELEVANCE:QUERIES:GALLERY"):
        config(retrieval=(text,))


def test_other_mistakes_of_a_question_are_named():
    with pytest.raises(ConfigError, match='did you mean "category"'):
        config(retrieval=("categori:query:gallery",))
    for text in ("train", "train:", ":val", "train:val:query"):
        with pytest.raises(ConfigError, match="write TRAIN:TEST"):
            config(classification=text)
    assert questions.question("path:query:gallery").task == "path"
    assert questions.question("category:a+b:gallery").task == "category/a+b:gallery"
