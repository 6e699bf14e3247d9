"""What validation finds in a catalogue, by catalogues of which it is known and by slow twins."""

import collections
import dataclasses
import json

import numpy as np
import pytest
from reports import jpeg, listing, write_prepared
from test_near import slow as near_by_comparing_all
from validated import IMAGE_TOO, TEXT_AND_TABLE, found_in, ready

from m5jax import media
from m5jax.data import tokenizer, transforms
from m5jax.inputs import Corruption
from m5jax.modalities import State
from m5jax.validation import budgets, columns, duplicates, findings, states, survey, suspicious, tail

SPLITS = ("train", "val", "gallery", "query")
PICTURES = [jpeg(18, 18, seed) for seed in range(6)]


def texts(number, **fields):
    return listing(number, TEXT_AND_TABLE, present=("text", "table"), **fields)


@pytest.fixture(scope="module")
def mixed():
    """Listings that draw title, table, picture and product from few: everything is there several times."""
    rng, splits = np.random.default_rng(0), {}
    for split, count in zip(SPLITS, (30, 12, 12, 9), strict=True):
        splits[split] = []
        for number in range(count):
            present = [name for name in ("image", "text", "table") if rng.random() < 0.8] or ["text"]
            drawn = {
                "title": f"title {rng.integers(18)}" if "text" in present else "",
                "fields": (("kind", f"{rng.integers(25)}"),) if "table" in present else (),
                "image": PICTURES[rng.integers(6)] if "image" in present else b"",
                "instance_id": f"{rng.integers(15)}" if rng.random() < 0.7 else "",
                "category": (f"kind {rng.integers(12)}",) if rng.random() < 0.9 else (),
            }
            splits[split].append(listing(len(splits) * 100 + number, IMAGE_TOO, present=present, **drawn))
    twins = [(splits["train"][number], {"id": f"twin-{number}", "instance_id": ""}) for number in range(4)]
    splits["val"] += [dataclasses.replace(record, **changed) for record, changed in twins]
    return splits


@pytest.fixture(scope="module")
def mixed_ready(mixed, tmp_path_factory):
    return ready(tmp_path_factory.mktemp("mixed"), mixed)


@pytest.fixture(scope="module")
def found(mixed_ready):
    return survey.survey(mixed_ready)


WHAT = {
    "title": lambda record: record.title,
    "picture": lambda record: record.image,
    "table": lambda record: record.fields,
    "product": lambda record: record.instance_id,
    "listing": lambda record: (record.title, record.image, record.fields),
}


@pytest.mark.parametrize("kind", WHAT)
def test_repeats_are_those_of_counting_one_by_one(found, mixed, kind):
    (repeats,) = [repeats for repeats in found.repeats if repeats.kind == kind]
    of, everything = WHAT[kind], [record for listings in mixed.values() for record in listings]
    counts = collections.Counter(of(record) for record in everything if of(record))
    assert repeats.listings == sum(counts.values())
    assert repeats.repeated == sum(n for n in counts.values() if n > 1) > 0
    assert repeats.groups == sum(n > 1 for n in counts.values())
    assert repeats.largest == max(counts.values())
    for group in repeats.examples:
        records = [found.shown[row].record for row in group]
        assert len(records) >= 2
        assert len({of(record) for record in records}) == 1
    for leak in repeats.leaks:
        there = {of(record) for record in mixed[leak.into]}
        asked = [record for record in mixed[leak.split] if of(record)]
        assert (leak.asked, leak.listings) == (len(asked), sum(of(record) in there for record in asked))
        assert bool(leak.examples) == bool(leak.listings)
        for row, twin in leak.examples:
            assert (found.shown[row].split, found.shown[twin].split) == (leak.split, leak.into)
            assert of(found.shown[row].record) == of(found.shown[twin].record)
    assert [(leak.split, leak.into) for leak in repeats.leaks] == list(duplicates.CROSSINGS)


def test_near_pictures_are_those_of_comparing_all_with_all(mixed_ready, monkeypatch):
    """Each of twelve looks four bits from the next: a chain, of which neighbours are twins and all are one group."""
    table = columns.read(mixed_ready)
    rng, hashes = np.random.default_rng(0), rows_of_hashes(12)
    table = dataclasses.replace(table, pictures=hashes[rng.integers(0, 24, len(table))])
    monkeypatch.setattr(duplicates, "EDGES", 5)  # merged again and again, as among millions
    (repeats,) = [repeats for repeats in duplicates.find(table) if repeats.kind == "near picture"]
    rows = np.flatnonzero(table.pictured)
    pairs = [(rows[i], rows[j]) for i, j in near_by_comparing_all(table.pictures[rows])]
    twins, group = collections.defaultdict(set), {row: {row} for row in rows}
    for i, j in pairs:
        twins[i].add(j)
        twins[j].add(i)
        for row in (merged := group[i] | group[j]):
            group[row] = merged
    groups = {frozenset(one) for one in group.values() if len(one) > 1}
    assert (repeats.listings, repeats.repeated) == (len(rows), len(twins))
    assert (repeats.groups, repeats.largest) == (len(groups), max(map(len, groups)))
    for leak in repeats.leaks:
        inside, into = set(rows_of(table, leak.split)), set(rows_of(table, leak.into))
        assert leak.listings == sum(bool(twins[row] & into) for row in inside & set(rows))
        assert leak.examples
        assert all(twin in twins[row] and row in inside and twin in into for row, twin in leak.examples)


def rows_of(table, split):
    return range(*table.rows(split).indices(len(table)))


def rows_of_hashes(count):
    """A chain of hashes, each four bits from the one before; and as many that are like no other."""
    chain = np.zeros((count, 4), np.uint64)
    for number in range(1, count):
        chain[number] = chain[number - 1]
        chain[number, number % 4] |= np.uint64(15 << (4 * number))
    return np.concatenate([chain, np.random.default_rng(1).integers(0, 2**64, (count, 4), dtype=np.uint64)])


def test_states_and_combinations_are_counted(found, mixed):
    for name in ("image", "text", "table"):
        for split, listings in mixed.items():
            counts = collections.Counter(record.state(name).name.lower() for record in listings)
            assert {state: n for state, n in found.states[name][split].items() if n} == counts
    everything = [record for listings in mixed.values() for record in listings]
    subsets = collections.Counter(
        tuple(name for name in ("image", "text", "table") if record.state(name) == State.PRESENT)
        for record in everything
    )
    assert {one.names: one.count for one in found.combinations} == subsets
    assert [one.count for one in found.combinations] == sorted(subsets.values(), reverse=True)


def test_every_state_is_told_apart():
    held = np.asarray([[0, 1, 2, 3, 1], [0, 1, 3, 2, 0], [0, 1, 1, 1, 0]], np.uint8)
    assert [(one.names, one.count) for one in states.combinations(held)] == [
        (("text",), 1), (("text", "table", "video"), 1), (("text", "audio"), 1),
    ]  # fmt: skip


def test_codes_number_the_names_without_gaps(mixed_ready, mixed):
    table, everything = columns.read(mixed_ready), [record for listings in mixed.values() for record in listings]
    for row, record in enumerate(everything):
        code = table.categories.codes[row]
        assert (table.categories.names[code] if code >= 0 else "") == record.category_path
        split, position = table.place(row)
        assert mixed[split][position] == record
    assert table.categories.sizes.min() > 0
    assert table.products.codes.max() + 1 == len({record.instance_id for record in everything} - {""})
    assert table.rows("nowhere") == slice(0, 0)


def test_tail_says_how_uneven_classes_are():
    sizes = [2000, 500, 40, 7, 4, *[1] * 15]
    codes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    spread = tail.tail("categories", columns.Coded(np.append(codes, -1), [f"kind {n:02}" for n in range(len(sizes))]))
    assert spread is not None
    assert spread.sizes.tolist() == sizes
    assert (spread.classes, spread.unknown, spread.rare) == (20, 1, 16)
    assert spread.top == {10: pytest.approx(sum(sizes[:10]) / sum(sizes))}
    assert spread.deciles == [1, 1, 1, 1, 1, 1, 1, 1, 4, 40, 2000]
    assert spread.largest[:2] == [("kind 00", 2000), ("kind 01", 500)]
    assert spread.smallest[-1] == ("kind 19", 1)
    assert tail.tail("categories", columns.Coded(np.asarray([-1, -1]), [])) is None


def test_budgets_count_what_the_model_is_not_shown(mixed_ready, mixed):
    inputs, table = mixed_ready.inputs, columns.read(mixed_ready)
    model = transforms.Transform(inputs, tokenizer.load(mixed_ready.tokenizer_path))
    long = dataclasses.replace(
        inputs, **{name: dataclasses.replace(getattr(inputs, name), length=500) for name in ("text", "table")}
    )
    everything = [record for listings in mixed.values() for record in listings]
    whole = [transforms.Transform(long, model.tokenizer).evaluation(record) for record in everything]
    found = budgets.find(mixed_ready, table, budgets.sample(table))
    assert [budget.name for budget in found] == ["text", "table"]
    for budget in found:
        counts = np.asarray([n for arrays in whole if (n := int(arrays[budget.name]["mask"].sum()))])
        assert (budget.listings, budget.tokens.largest) == (len(counts), counts.max())
        assert budget.tokens.mean == pytest.approx(counts.mean())
        assert budget.cut == (counts > budget.length).sum()
        for share, length in budget.suggested.items():
            assert np.mean(counts <= length) >= share > np.mean(counts <= length - 1)


def test_a_budget_that_cuts_says_how_many_tokens_it_costs():
    budget = budgets._budget("text", 10, np.asarray([4, 8, 10, 12, 26]))
    assert (budget.cut, budget.share, budget.lost) == (2, 0.4, 18 / 60)
    assert budget.suggested == {0.95: 26, 0.99: 26}


@pytest.mark.parametrize(("most", "length"), [(20_000, 67), (10, 10), (1, 1)])
def test_a_sample_is_bounded_and_spread(mixed_ready, most, length):
    rows = budgets.sample(columns.read(mixed_ready), most)
    assert len(rows) == len(set(rows)) == length
    assert length < 10 or (np.diff(rows).max() <= 8 and rows[-1] == 66)


TITLES = {
    "title_one_word": (["Shoes", "B07XYZ", "鞋子", "鞋"], ["Red shoes", "真皮凉鞋", "鞋子 红", "รองเท้า"]),
    "title_html": (["<b>Red</b> shoe", "A &amp; B", "a<br/>b", "&#39;s"], ["a < b > c", "AT&T; phones", "3<4", "R&D"]),
    "title_url": (["see https://a.example/x", "WWW.shop.example sale"], ["www winner", "http is a protocol"]),
    "title_mojibake": (
        ["caf\ufffd bag", "cafÃ© bag", "itâ€™s", "å\u0087\u0089é\u009e\u008b"],
        ["café bag", "NÃO SÃO", "« Café\u00a0» noir", "凉鞋"],
    ),
    "title_without_letters": (["12345", "-- 12 --"], ["12 cm", "３５号"]),
    "title_very_long": (["x " * 250], ["x " * 249 + "y"]),
}


@pytest.mark.parametrize("rule", TITLES)
def test_rules_on_titles(tmp_path, rule):
    wrong, right = TITLES[rule]
    listings = [texts(number, title=title) for number, title in enumerate([*wrong, *right])]
    flags, characters = suspicious.titles(write_prepared(tmp_path, {"train": listings}, TEXT_AND_TABLE))
    flags |= {"title_very_long": characters >= suspicious.LONG}
    assert flags[rule].tolist() == [True] * len(wrong) + [False] * len(right)
    assert characters.tolist() == list(map(len, [*wrong, *right]))


def one_by_one(found, rule):
    """Ids of the examples of a rule, and how many listings it points at."""
    of_rule = [suspicion for suspicion in found.suspicions if suspicion.rule == rule]
    return sorted(found.shown[row].record.id for s in of_rule for (row,) in s.examples), sum(s.count for s in of_rule)


def test_rules_on_more_than_a_title(tmp_path):
    def several(start, count, **fields):
        fields = {"category": ("goods", "kind 0")} | fields
        return [listing(start + n, IMAGE_TOO, instance_id=f"p{start + n}", **fields) for n in range(count)]

    one_colour = media.encode_jpeg(np.full((18, 18, 3), (200, 30, 90), np.uint8))
    train = [
        *several(0, 2, title="id-000"),
        *several(10, 10, title="Basic shirt"),
        *several(30, 1, title="Two places", category=("a",)),
        *several(31, 1, title="two  places", category=("b",)),
        *several(40, 1, image=one_colour),
        *several(41, 2, fields=(("a", "yes"), ("b", "Yes"), ("c", "yes"))),
        *several(50, 1, fields=(("a", "yes"), ("b", "yes"))),
    ]
    train += [
        listing(60 + n, IMAGE_TOO, title=f"other {n}", image=jpeg(18, 18, 999), category=("c", f"{n}"))
        for n in range(5)
    ]
    gallery = several(100, 1, category=("goods", "kind 0"))
    query = [
        listing(200, IMAGE_TOO, instance_id="p100", category=("new",)),
        listing(201, IMAGE_TOO, instance_id="nobody", category=("goods", "kind 0")),
        listing(202, IMAGE_TOO, instance_id="nobody", category=("c", "0")),
        listing(203, IMAGE_TOO, instance_id="", category=()),
    ]
    found = found_in(tmp_path, {"train": train, "gallery": gallery, "query": query})
    assert one_by_one(found, "title_is_id") == (["id-000"], 1)
    assert one_by_one(found, "title_of_many_products") == (["id-010", "id-013", "id-016", "id-019"], 10)
    assert one_by_one(found, "title_in_several_categories")[0] == ["id-030", "id-031"]
    assert one_by_one(found, "picture_of_one_colour") == (["id-040"], 1)
    assert one_by_one(found, "table_of_one_value") == (["id-041", "id-042"], 2)
    assert one_by_one(found, "picture_of_many_titles")[1] == 5
    assert one_by_one(found, "picture_in_several_categories")[1] == 5
    assert one_by_one(found, "category_not_in_train") == (["id-200"], 1)
    assert one_by_one(found, "query_without_answer") == (["id-202"], 1)
    asked = {suspicion.rule: suspicion.asked for suspicion in found.suspicions}
    assert asked["query_without_answer"] == 3
    assert asked["category_not_in_train"] == 4  # the gallery's and three queries; one has no category


def test_concerns_are_what_is_too_frequent(tmp_path):
    train = [texts(number, title=f"a title of many more than twelve words {number} " * 4) for number in range(50)]
    val = [texts(100, title=train[0].title, fields=train[0].fields), texts(101, states=train[0].states[:1] * 5)]
    broken = dataclasses.replace(train[1], states=(State(0), State.PRESENT, State.CORRUPT, State(0), State(0)))
    rejections = [{"id": "x", "reason": "invalid_id", "detail": "", "line": 1, "modality": "", "file": ""}] * 3
    found = found_in(tmp_path, {"train": [*train, broken], "val": val}, TEXT_AND_TABLE, rejections)
    what = [(concern.count, concern.what) for concern in found.concerns]
    assert (1, "held-out listings are in all they have the same as a listing in train") in what
    assert (3, "rows were rejected") in what
    assert (1, "listings with table: theirs could not be decoded") in what
    assert any("are cut by config.inputs.text.length = 12" in sentence for _, sentence in what)


def test_a_catalogue_without_flaws_raises_no_concern(tmp_path):
    train = [texts(number, title=f"shoe {number}", fields=(("n", f"{number}"),)) for number in range(30)]
    found = found_in(tmp_path, {"train": train}, TEXT_AND_TABLE)
    assert found.concerns == found.suspicions == []


def test_findings_as_json_name_the_listings(found):
    values = json.loads(json.dumps(findings.plain(found)))
    assert values["listings"] == 67
    assert values["splits"] == {"train": 30, "val": 16, "gallery": 12, "query": 9}
    title = next(repeats for repeats in values["repeats"] if repeats["kind"] == "title")
    assert title["examples"][0][0]["title"] == title["examples"][0][1]["title"]
    assert set(title["examples"][0][0]) == {"split", "id", "title", "category", "source"}
    assert "sizes" not in values["tails"][0]


def test_what_is_taken_away_on_purpose_is_no_finding(mixed_ready, found):
    corrupted = dataclasses.replace(mixed_ready, corruption=Corruption(missing_text=1.0))
    assert columns.read(corrupted).states.tolist() == columns.read(mixed_ready).states.tolist()
