"""A table as a graph: what a batch shows of its triples, what is asked for, and that nothing asked for is shown."""

import itertools

import numpy as np
import pytest
from conftest import SHARED, needs_shared
from importing import read as read_listings
from small import small_config
from test_tokenizer import trained, wordpiece
from test_transforms import WHOLE, flat, rng

from m5jax import config as config_lib
from m5jax.data import triples
from m5jax.data.corruption import Corrupted, Plan
from m5jax.data.records import DAMAGED, Record
from m5jax.data.transforms import Transform
from m5jax.errors import ConfigError
from m5jax.modalities import NAMES, State

GRAPH = {"triples": 3, "asked": 2, "asked_length": 6, "length": 60}
REPEATED = (("Colour", "red"), ("size", "30"), ("colour ", "black"), ("kind", "shoe"), ("colour", " RED "))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return wordpiece(tmp_path_factory.mktemp("words"))


def transform(words, **table):
    table = GRAPH | {"masking": "none"} | table
    return Transform(small_config(**{f"inputs__table__{name}": value for name, value in table.items()}).inputs, words)


def record(*fields, states=None):
    there = (State.ABSENT, State.PRESENT, State.PRESENT, State.ABSENT, State.ABSENT)
    return Record(id="a", title="a red shoe", fields=fields, states=states or there)


def read(words, table):
    """The triples of a table's arrays, read piece by piece: pairs of ids."""
    spans, shown = table["spans"], table["mask"]
    assert not spans[~shown].any()
    special = words.is_special[table["ids"]] & (table["ids"] != words.special.unk)
    assert (spans[special] == 0).all()
    assert (spans[shown & ~special] > 0).all()
    found = []
    for k in itertools.count():
        pair = tuple(tuple(table["ids"][spans == 2 * k + part].tolist()) for part in (1, 2))
        if not any(pair):
            assert spans.max() == 2 * k
            return found
        assert all(pair)
        found.append(pair)


def pairs(words, fields):
    return [tuple(tuple(words.encode(part)) for part in field) for field in fields]


@pytest.mark.parametrize("markers", [True, False])
def test_spans_are_the_pieces_of_whole_triples_in_the_order_of_the_catalogue(words, markers):
    for length, most in itertools.product((1, 2, 5, 9, 12, 17, 30, 59), (1, 2, 9)):
        chosen = transform(words, length=length, triples=most, markers=markers, asked=0)
        table = chosen.evaluation(WHOLE)["table"]
        assert "asked" not in table
        found, room, expected = read(words, table), length - 2, []
        for pair in pairs(words, WHOLE.fields):  # the twin: what fits is taken, what does not is passed over
            size = sum(map(len, pair)) + 2 * markers
            if len(expected) < most and size <= room:
                expected.append(pair)
                room -= size
        assert found == expected
        assert table["mask"].any() == bool(expected)
        if expected:
            shown = table["ids"][table["mask"]]
            assert (shown[0], shown[-1]) == (words.special.cls, words.special.sep)
            names = (shown == words.special.name).sum(), (shown == words.special.value).sum()
            assert names == (len(expected) * markers,) * 2


def test_training_draws_which_triples_of_a_long_table_are_shown(words):
    fields = tuple((f"kind {n}", "shoe") for n in range(9))
    chosen, seen = transform(words, asked=0), set()
    for seed in range(30):
        seen |= set(read(words, chosen.training(record(*fields), rng(seed))["table"]))
    assert seen == set(pairs(words, fields))
    still = transform(words, asked=0, shuffle=False)
    assert read(words, still.training(record(*fields), rng())["table"]) == pairs(words, fields[:3])


def answers(words, asked):
    """What is asked for, as (name ids, value ids, key, others)."""
    for t in np.flatnonzero(asked["valid"]):
        ids = [tuple(asked[name]["ids"][t][asked[name]["mask"][t]].tolist()) for name in ("names", "values")]
        yield *ids, int(asked["key"][t]), {int(key) for key in asked["others"][t]} - {0}


def test_an_asked_property_is_nowhere_in_the_table_and_all_its_values_are_true(words):
    chosen, seen = transform(words, triples=9), set()
    keys = {value: triples.key(value) for value in ("red", "black", "30", "shoe")}
    for seed in range(60):
        table = chosen.training(record(*REPEATED), rng(seed))["table"]
        asked, shown = list(answers(words, table["asked"])), read(words, table)
        assert len(asked) == 2  # of three properties, so that one is left
        assert len({name for name, *_ in asked}) == 2
        for name, value, key, others in asked:
            assert name not in {shown_name for shown_name, _ in shown}
            assert (name, value) in pairs(words, REPEATED)
            if name == tuple(words.encode("colour")):
                assert {key} | others == {keys["red"], keys["black"]}
                assert key not in others
            else:
                assert not others
            seen.add((name, key))
        assert {name for name, *_ in asked} | {name for name, _ in shown} == {n for n, _ in pairs(words, REPEATED)}
    assert len(seen) == 4  # both colours among them


def test_a_single_property_is_asked_only_where_there_is_something_else(words):
    chosen = transform(words)
    beside = chosen.training(record(("kind", "shoe")), rng())["table"]
    assert beside["asked"]["valid"].tolist() == [True, False]
    assert not beside["mask"].any()
    states = (State.ABSENT, State.EMPTY, State.PRESENT, State.ABSENT, State.ABSENT)
    alone = chosen.training(record(("kind", "shoe"), states=states), rng())["table"]
    assert not alone["asked"]["valid"].any()
    assert read(words, alone) == pairs(words, [("kind", "shoe")])


def test_what_is_no_triple_is_neither_shown_nor_asked_for_but_hidden_with_its_property(words):
    odd = (("", "red"), ("size", ""), (" ", " "), ("size", "30"), ("red:black;", "30#:#40"), ("kind", "a;b:c"))
    chosen = transform(words, triples=9, asked_length=20)
    whole = [pair for pair in pairs(words, odd) if all(pair)]
    assert len(whole) == 3
    assert read(words, chosen.evaluation(record(*odd))["table"]) == whole
    for seed in range(20):
        table = chosen.training(record(*odd), rng(seed))["table"]
        asked = [(name, value) for name, value, *_ in answers(words, table["asked"])]
        assert sorted([*asked, *read(words, table)]) == sorted(whole)
    bare = chosen.training(record(("size", ""), ("", "")), rng())["table"]
    assert not bare["mask"].any()
    assert not bare["spans"].any()
    assert not bare["asked"]["valid"].any()


def test_shapes_do_not_depend_on_the_record_and_nothing_is_asked_where_there_is_nothing(words):
    chosen = transform(words)
    shapes = set()
    for shown in (WHOLE, DAMAGED, record(), record(*(("kind", f"{n}") for n in range(158)))):
        arrays = chosen.training(shown, rng())
        shapes.add(tuple((name, np.shape(value), np.asarray(value).dtype) for name, value in flat(arrays)))
        assert not arrays["table"]["masked"]["valid"].any()  # masking="none"
    assert len(shapes) == 1
    asked = chosen.training(DAMAGED, rng())["table"]["asked"]
    for _, value in flat({name: asked[name] for name in ("valid", "key", "others")}):
        assert not value.any()
    for name in ("names", "values"):
        assert not asked[name]["mask"].any()
        assert (asked[name]["ids"] == words.special.pad).all()
    batch = chosen.batch([chosen.draft(shown, rng()) for shown in (WHOLE, DAMAGED)], 2)
    assert batch["table"]["asked"]["values"]["ids"].shape == (2, 2, 6)
    assert batch["table"]["asked"]["others"].shape == (2, 2, triples.OTHERS)


def test_a_property_with_many_values_names_as_many_others_as_fit_and_long_names_are_cut(words):
    fields = (*(("size", str(n)) for n in range(140)), ("kind", "shoe"))
    chosen = transform(words, asked=1, asked_length=1)
    for seed in range(6):
        asked = chosen.training(record(*fields), rng(seed))["table"]["asked"]
        ((name, value, key, others),) = answers(words, asked)
        assert len(name) == len(value) == 1
        assert len(others) == (triples.OTHERS if name == tuple(words.encode("size")[:1]) else 0)
        assert others < {triples.key(str(n)) for n in range(140)} - {key} or not others


def test_keys_fold_case_and_blanks_and_are_positive():
    assert triples.key(" Red ") == triples.key("ｒｅｄ") == triples.key("red") != triples.key("black")
    keys = [triples.key(str(n)) for n in range(2000)]
    assert min(keys) > 0
    assert max(keys) < 2**31
    assert len(set(keys)) == 2000


def test_entities_are_masked_in_a_graph_as_well(words):
    chosen = transform(words, masking="entity", asked=1)
    told = 0
    for seed in range(10):
        table = chosen.training(WHOLE, rng(seed))["table"]
        positions = table["masked"]["positions"][table["masked"]["valid"]]
        assert (table["spans"][positions] > 0).all()
        assert (table["ids"][positions] == words.special.mask).all()
        told += len(positions)
    assert told


@pytest.mark.parametrize("tokenised", [True, False])
def test_a_hidden_property_is_not_in_the_record_that_a_plan_gives(words, tokenised):
    listings = [record(*REPEATED), record(("size", "31"), ("colour", "blue")), record((" COLOUR", "blue")), DAMAGED]
    if tokenised:
        encoded = [[(words.encode(n), words.encode(v)) for n, v in listing.fields] for listing in listings]
        listings = [Record(**vars(a) | {"table_pieces": b}) for a, b in zip(listings, encoded, strict=True)]
    hidden = ["colour"] * 4
    view = Corrupted(listings, Plan({}, {"table": np.asarray([1, 0, -1, -1])}, hidden))
    assert view[0].fields == (("size", "31"),)  # of the donor's table, too
    assert view[1].fields == (("size", "30"), ("kind", "shoe"))
    assert (view[2].fields, view[2].state("table"), view[2].state("text")) == ((), State.ABSENT, State.PRESENT)
    assert view[3] is listings[3]
    for shown in (view[0], view[1], view[2]):
        ids = [(words.encode(n), words.encode(v)) for n, v in shown.fields]
        assert shown.table_pieces == (ids if tokenised else None)
    shown_all = Corrupted(listings, Plan({}, {}, [""] * 4))
    assert [shown_all[i] for i in range(4)] == listings


@pytest.mark.parametrize("with_table", [True, False])
def test_no_array_tells_the_value_that_a_plan_hides(words, with_table):
    names = ("image", "text") if with_table else NAMES
    inputs = small_config(inputs__modalities=names, inputs__text__with_table=with_table, inputs__text__length=40).inputs
    arrays = []
    for value in ("red", "black shoe"):
        listing = record(("kind", "shoe"), ("colour", value), ("size", "30"))
        view = Corrupted([listing], Plan({}, {}, ["Colour"]))
        arrays.append(dict(flat(Transform(inputs, words).evaluation(view[0]))))
    for name, value in arrays[0].items():
        np.testing.assert_array_equal(value, arrays[1][name])
    assert arrays[0]["text/mask" if with_table else "table/mask"].any()


@needs_shared
def test_every_table_of_the_k3m_sample_is_whole_triples_and_what_is_asked_of_it_is_hidden(tmp_path):
    listings, _, _ = read_listings("k3m", SHARED / "data" / "k3m-raw")
    tables = [listing.attributes for listing in listings.values()]
    tokens = trained(tmp_path, [part for table in tables for field in table for part in field], vocabulary=3000)
    chosen = transform(tokens, triples=16, length=80, asked_length=32)
    long, multi, drafts = 0, 0, []
    for number, fields in enumerate(tables):
        encoded = pairs(tokens, fields)
        assert all(map(all, encoded))
        shown = read(tokens, chosen.evaluation(record(*fields))["table"])
        rest = iter(encoded)
        assert all(pair in rest for pair in shown)  # in their order
        assert shown
        drafts.append(chosen.draft(record(*fields), rng(number)))
        table = drafts[-1]["table"]
        asked, seen = list(answers(tokens, table["asked"])), read(tokens, table)
        distinct = {triples.folded(name) for name, _ in fields}
        assert len(asked) == min(2, max(1, len(distinct) - 1))
        for name, value, key, others in asked:
            values = {triples.key(v) for n, v in fields if tuple(tokens.encode(n))[:32] == name}
            assert {key} | others <= values
            assert len(others) == min(len(values) - 1, triples.OTHERS)
            assert name not in {shown_name for shown_name, _ in seen}
            assert value in {v[:32] for n, v in encoded if n == name}
            multi += bool(others)
        long += len(seen) < len(fields) - len(asked)
    assert (len(tables), max(map(len, tables))) == (400, 158)
    assert long > 20
    assert multi > 5
    batch = chosen.batch(drafts[:8], 8)
    assert batch["table"]["spans"].shape == (8, 80)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"inputs.table.asked": 1}, "inputs.table.triples"),
        ({"objective.link_prediction": 1.0}, "inputs.table.asked"),
        ({"objective.matching": 1.0}, "inputs.mismatch"),
        ({"objective.matching": 1.0, "inputs.mismatch": 0.5, "inputs.modalities": ("image",)}, "inputs.modalities"),
        ({"objective.word_region": 1.0}, "objective.matching"),
        ({"objective.region_target": "classes"}, "inputs.image.classes"),
        ({"inputs.image.classes": 7}, "inputs.image.source"),
    ],
)
def test_what_an_objective_needs_is_named_where_it_is_not_there(changes, field):
    chosen = config_lib.default()
    chosen.update_from_flattened_dict(changes)
    with pytest.raises(ConfigError, match=f"needs .*config.{field}"):
        config_lib.freeze(chosen.to_dict())
