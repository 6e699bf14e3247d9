"""The embedded catalogue: what its dials promise, and that no modality says more than it should."""

import collections
import dataclasses
import hashlib
import itertools
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from m5jax import modalities
from m5jax.catalogues import catalogue, catalogue_files, toy, toy_media, toy_page, toy_words
from m5jax.data_settings import Toy
from m5jax.errors import DataError

CLEAN = {f"missing_{name}": 0.0 for name in modalities.NAMES} | {"noise_text": 0.0, "noise_image": 0.0}
WORDS_ONLY = {"missing_image": 1.0, "missing_video": 1.0, "missing_audio": 1.0}  # quick: no files
DIALS = Toy(listings=60, categories=4, seed=3)
SIZES = [(20, 2, 5), (20, 4, 2), (40, 3, 5), (60, 4, 5), (60, 4, 20), (20, 24, 100), (2000, 12, 5)]


def read(folder: pathlib.Path) -> tuple[list[catalogue.Listing], list[dict]]:
    """The listings and the ground truth of a catalogue, none of it rejected."""
    rows = list(catalogue.listings(catalogue_files.rows(catalogue_files.find(folder))))
    listings = [row for row in rows if isinstance(row, catalogue.Listing)]
    assert len(listings) == len(rows)
    truth = [json.loads(line) for line in (folder / "ground_truth.jsonl").read_text("utf-8").splitlines()]
    assert [listing.id for listing in listings] == [row["id"] for row in truth]
    return listings, truth


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A small catalogue with all its media."""
    folder = tmp_path_factory.mktemp("drawn") / "toy"
    toy.make(DIALS, folder, workers=1)
    return folder


@pytest.fixture
def sketch(tmp_path, monkeypatch):
    """Makes a catalogue whose media are stand-ins: for what does not depend on how they look."""
    monkeypatch.setattr(toy_media, "picture", lambda *drawn: str(drawn).encode())
    monkeypatch.setattr(toy_media, "clip", lambda *_: b"clip")
    monkeypatch.setattr(toy_media, "sound", lambda *_: b"sound")
    names = itertools.count()

    def make(**dials):
        folder = tmp_path / str(next(names))
        toy.make(Toy(**dials), folder, workers=1)
        return read(folder)

    return make


def test_the_media_are_what_the_catalogue_says(drawn):
    listings, _ = read(drawn)
    assert len(listings) == 60
    refs = [ref for listing in listings for ref in listing.images + listing.videos + listing.audios]
    files = [path for path in drawn.rglob("*") if path.is_file() and path.parent != drawn]
    assert {str(path.relative_to(drawn)) for path in files} == {ref.path for ref in refs}
    assert all(hashlib.sha256((drawn / ref.path).read_bytes()).hexdigest() == ref.sha256 for ref in refs)
    assert len({ref.sha256 for ref in refs}) == len(refs), "no two listings share a file"
    assert {pathlib.Path(ref.path).suffix for ref in refs} == {".jpg", ".mp4", ".wav", ".m4a"}
    assert json.loads((drawn / "dials.json").read_text()) == dataclasses.asdict(DIALS)


def test_same_dials_same_bytes_for_any_workers(drawn, tmp_path):
    calls = []
    again, other = tmp_path / "made" / "again", tmp_path / "other"
    toy.make(DIALS, again, workers=2, advance=calls.append)
    toy.make(Toy(listings=60, categories=4, seed=4), other, workers=1)
    assert sum(calls) == 60
    contents = [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (drawn, again, other)
    ]
    assert contents[0] == contents[1]
    assert all(contents[0][name] != contents[2][name] for name in ("catalogue.jsonl", "ground_truth.jsonl"))


def test_a_folder_that_exists_is_left_alone(tmp_path):
    toy.make(Toy(listings=20), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(toy_media, "sound", fail)
    with pytest.raises(OSError, match="disk full"):
        toy.make(Toy(listings=20), tmp_path / "toy", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_another_process_may_be_first(tmp_path, monkeypatch):
    folder = tmp_path / "toy"
    page = toy_page.render

    def render(shown, total):
        (folder / "theirs").mkdir(parents=True)
        return page(shown, total)

    monkeypatch.setattr(toy_page, "render", render)
    toy.make(Toy(listings=20), folder, workers=1)
    assert [path.name for path in tmp_path.rglob("*")] == ["toy", "theirs"]


def test_without_pyav_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"pip install 'm5jax\[media\]'"):
        toy.make(Toy(listings=20), tmp_path / "toy", workers=1)


def test_import_is_light():
    code = "import sys, m5jax.catalogues.toy; print({'jax', 'av', 'tensorflow', 'grain'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("modality", modalities.NAMES)
def test_missing_shares(sketch, modality):
    listings, truth = sketch(listings=1000, **CLEAN | WORDS_ONLY | {f"missing_{modality}": 0.3})
    lacking = [not getattr(row, modalities.TABLE[modality].field) for row in listings]
    assert np.mean(lacking) == pytest.approx(0.3, abs=0.05)
    assert [modality in row["absent"] for row in truth] == lacking
    assert not any(({"text", "table"} - {modality}) & set(row["absent"]) for row in truth)


def test_one_modality_always_stays(sketch):
    everything = {f"missing_{name}": 1.0 for name in modalities.NAMES}
    _, truth = sketch(listings=300, **everything)
    assert {len(row["absent"]) for row in truth} == {4}
    assert len({tuple(row["absent"]) for row in truth}) == 5, "not always the same one"
    _, truth = sketch(listings=300, **dict.fromkeys(everything, 0.9) | {"missing_image": 1.0})
    assert all("image" in row["absent"] and len(row["absent"]) < 5 for row in truth)


def test_noise_shares_and_what_is_shown_instead(sketch):
    listings, truth = sketch(listings=1000, **CLEAN | {"noise_text": 0.3, "noise_image": 0.1})
    products = {row["product"]["id"]: row["product"] for row in truth}
    for row in truth:
        assert {row["title_of"], row["picture_of"]} <= {None, *products} - {row["product"]["id"]}
    assert np.mean([row["title_of"] is not None for row in truth]) == pytest.approx(0.3, abs=0.05)
    assert np.mean([row["picture_of"] is not None for row in truth]) == pytest.approx(0.1, abs=0.03)
    for listing, row in zip(listings, truth, strict=True):
        titled = products[row["title_of"]] if row["title_of"] else row["product"]
        assert titled["maker"] in listing.title
        assert titled["category"] in listing.title
        assert listing.category == (row["product"]["department"], row["product"]["category"])


def test_noise_is_never_the_product_itself(sketch):
    _, truth = sketch(listings=20, variants=100, **CLEAN | WORDS_ONLY | {"noise_text": 1.0})
    assert {(row["product"]["id"][-1], row["title_of"][-1]) for row in truth} == {("0", "1"), ("1", "0")}


def test_a_dial_changes_only_what_it_is_for(sketch):
    base, base_truth = sketch(listings=300, **CLEAN)
    noisy, truth = sketch(listings=300, **CLEAN | {"noise_text": 0.5, "missing_video": 0.2})
    _, more_truth = sketch(listings=300, **CLEAN | {"noise_text": 0.7, "missing_video": 0.4})
    assert [row.images for row in noisy] == [row.images for row in base]
    assert [row["product"] for row in truth] == [row["product"] for row in base_truth]
    for row, old, known in zip(noisy, base, truth, strict=True):
        assert known["title_of"] or row.title == old.title
    retitled = [{row["id"] for row in rows if row["title_of"]} for rows in (truth, more_truth)]
    lacking = [{row["id"] for row in rows if row["absent"]} for rows in (truth, more_truth)]
    assert retitled[0] < retitled[1], "corruption is nested"
    assert lacking[0] < lacking[1]


@pytest.mark.parametrize("listings", [20, 123, 500])
@pytest.mark.parametrize("variants", [1, 4, 100])
def test_exact_number_of_listings_and_varied_products(sketch, listings, variants):
    rows, _ = sketch(listings=listings, variants=variants, **WORDS_ONLY)
    sizes = collections.Counter(row.instance_id for row in rows)
    assert len(rows) == listings
    assert len(sizes) == max(2, round(listings / variants))
    assert (len(set(sizes.values())) > 1) == (variants > 1)


def test_the_tail_gets_longer(sketch):
    def categories(**dials):
        listings, truth = sketch(listings=1200, **WORDS_ONLY, **dials)
        assert {row.category[1] for row in listings} == {row["product"]["category"] for row in truth}
        return collections.Counter({row["product"]["id"]: row["product"]["category"] for row in truth}.values())

    even, mild, steep = (sorted(categories(tail=tail).values()) for tail in (0.0, 0.7, 2.0))
    assert [len(sizes) for sizes in (even, mild, steep)] == [12] * 3
    assert even[-1] - even[0] <= 1
    assert even[-1] < mild[-1] < steep[-1]
    assert even[0] > mild[0] > steep[0] >= 1
    assert len(categories(categories=24)) == 24


@pytest.mark.parametrize("case", [(400, 12, 0.7), (24, 24, 3.0), (7, 3, 0.0), (1000, 24, 1.0)])
def test_category_sizes_follow_zipf(case):
    products, categories, tail = case
    sizes = toy.category_sizes(products, categories, tail)
    assert sizes.sum() == products
    assert sizes.min() >= 1
    law = [rank**-tail for rank in range(1, categories + 1)]
    ideal = [1 + (products - categories) * weight / sum(law) for weight in law]
    assert np.abs(sizes - ideal).max() < 1


@pytest.mark.parametrize(("listings", "categories", "variants"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_splits_keep_products_whole_and_queries_answerable(sketch, listings, categories, variants, seed):
    rows, _ = sketch(listings=listings, categories=categories, variants=variants, seed=seed, **WORDS_ONLY)
    splits = collections.defaultdict(set)
    for row in rows:
        splits[row.instance_id].add(row.split)
    allowed = [{"train"}, {"val"}, {"gallery"}, {"gallery", "query"}]
    assert all(used in allowed for used in splits.values())
    assert set().union(*splits.values()) >= {"train", "gallery", "query"}
    gallery = [row for row in rows if row.split == "gallery"]
    for query in (row for row in rows if row.split == "query"):
        assert query.instance_id in {row.instance_id for row in gallery}
        assert query.category in {row.category for row in gallery}


def test_split_shares(sketch):
    rows, _ = sketch(**WORDS_ONLY)
    share = {split: n / len(rows) for split, n in collections.Counter(row.split for row in rows).items()}
    assert share["train"] == pytest.approx(0.72, abs=0.04)
    assert share["val"] == pytest.approx(0.05, abs=0.02)
    assert share["query"] + share["gallery"] == pytest.approx(0.23, abs=0.04)
    assert 0.2 < share["query"] / (share["query"] + share["gallery"]) < 0.4


def test_with_one_listing_a_product_nothing_is_a_query(sketch):
    rows, _ = sketch(listings=50, variants=1, **WORDS_ONLY)
    assert {row.split for row in rows} == {"train", "val", "gallery"}


def test_each_attribute_is_told_by_one_modality_only(sketch):
    rows, truth = sketch(listings=1000, categories=24, **CLEAN | WORDS_ONLY)
    titles = [row.title.casefold() for row in rows]
    tables = [" ".join(itertools.chain(*row.attributes)).casefold() for row in rows]
    for word in (*toy_media.COLOURS, *toy_media.MOTIONS, *map(str, toy_media.PITCHES), "hz"):
        assert not any(word in text.split() for text in titles + tables), word
    assert not any(material in title for material in toy_words.MATERIALS for title in titles)
    assert not any(maker.casefold() in table for maker in toy_words.MAKERS for table in tables)
    for row, latent in zip(rows, truth, strict=True):
        table = dict(row.attributes)
        assert table.get("Material", latent["product"]["material"]) == latent["product"]["material"]
        assert table.get("Type", latent["product"]["category"]) == latent["product"]["category"]
        assert 4 <= len(table) == len(row.attributes) <= 6
    assert 0.7 < np.mean(["material" in table.split() for table in tables]) < 1.0
    for name, values in (("material", toy_words.MATERIALS), ("colour", toy_media.COLOURS)):
        assert {row["product"][name] for row in truth} == set(values)


def test_only_together_do_modalities_identify_a_product(sketch):
    _, truth = sketch(**WORDS_ONLY)
    products = {row["product"]["id"]: row["product"] for row in truth}.values()
    private = {"image": "colour", "text": "maker", "table": "material", "video": "motion", "audio": "pitch"}

    def identified(*keys):
        counts = collections.Counter(tuple(product[key] for key in keys) for product in products)
        return sum(n == 1 for n in counts.values()) / len(products)

    assert all(identified("category", attribute) < 0.1 for attribute in private.values())
    assert identified("category", *private.values()) > 0.95


def test_makers_have_habits(sketch):
    _, truth = sketch(variants=1, **WORDS_ONLY)
    for attribute in ("colour", "material", "motion", "pitch"):
        pairs = collections.Counter((row["product"]["maker"], row["product"][attribute]) for row in truth)
        makers, values = ({pair[i] for pair in pairs} for i in (0, 1))
        for maker in makers:
            shares = sorted((pairs[maker, value] for value in values), reverse=True)
            assert sum(shares[:3]) > 1.15 * sum(shares) * 3 / len(values), f"{maker} favours no {attribute}"
            assert shares[-1] > 0, f"{attribute} would give {maker} away"
