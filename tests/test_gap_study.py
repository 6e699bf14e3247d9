"""The studies of gap and contradictions, on listings that are embedded by what they show."""

import dataclasses
import json
import re

import numpy as np
import pytest
from rankings import random, unit
from reports import Page, listing, make_scored
from small import small_config

from m5jax.embed import Embeddings
from m5jax.modalities import State
from m5jax.report import contradictions as shown_contradictions
from m5jax.report import gap as shown_gap
from m5jax.report import page
from m5jax.studies import contradictions, gap
from m5jax.studies.subject import Subject

NAMES = ("text", "image", "table")  # not in the order of the alphabet, in which embeddings come
GALLERY, TRAIN = 80, 30


def embed_contents(pictures):
    """Embeds every modality as a vector of the listing whose content is shown, each modality in a cone of its own."""
    contents, cones = random((GALLERY + TRAIN, 12)), 0.8 * random((3, 12), 1)

    def number(record, name):
        return {
            "text": lambda: int(record.title.split()[1]),
            "table": lambda: int(record.fields[1][1]),
            "image": lambda: pictures[bytes(record.image)],
        }[name]()

    def again(prepared, split, wanted, rows):
        records = prepared.records(split)
        rows = range(len(records)) if rows is None else rows
        vectors, valid = {}, {}
        for title, (name,) in sorted(wanted.items()):
            noise = 0.1 * random((GALLERY + TRAIN, 12), 2 + NAMES.index(name))
            there = [records[int(row)].state(name) == State.PRESENT for row in rows]
            found = [number(records[int(row)], name) if ok else 0 for row, ok in zip(rows, there, strict=True)]
            valid[title] = np.asarray(there, bool)
            made = unit(contents[found] + noise[found] + cones[NAMES.index(name)])
            vectors[title] = np.where(valid[title][:, None], made, 0).astype(np.float32)
        return Embeddings(vectors, valid, None)

    return again


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    config = small_config(inputs__modalities=NAMES, evaluate__probe=False)
    there = [NAMES if n % 8 else ("text",) for n in range(GALLERY + TRAIN)]
    made = [listing(n, config, present, instance_id=f"product-{n}") for n, present in enumerate(there)]
    splits = {"gallery": made[:GALLERY], "train": made[GALLERY:]}
    scored = make_scored(tmp_path_factory.mktemp("studied"), splits, config)
    again = embed_contents({bytes(record.image): n for n, record in enumerate(made) if record.state("image")})
    wanted = {name: (name,) for name in NAMES}
    embedded = {
        split: dataclasses.replace(of, embeddings=again(scored.prepared, split, wanted, None))
        for split, of in scored.embedded.items()
    }
    return scored, Subject(config, scored.prepared, embedded, {}, {}, again, again)


def plain(finding):
    return json.loads(json.dumps(finding, allow_nan=False))


def test_gap_is_told_of_both_readouts_before_and_after(subject):
    scored, asked = subject
    found = plain(gap.study(asked))
    assert found["modalities"] == list(NAMES)
    assert found["listings"] == {"text": 80, "image": 70, "table": 70}
    assert found["both"] == [[None, 70, 70], [70, None, 70], [70, 70, None]]
    assert found["chance"]["recall@10"][0] == [None, pytest.approx(1 / 7, abs=1e-4), pytest.approx(1 / 7, abs=1e-4)]
    assert list(found["readouts"]) == ["fusion", "contrastive"]
    for kinds in found["readouts"].values():
        assert kinds["none"]["mean"]["recall@1"] < kinds["mean_shift"]["mean"]["recall@1"]
        assert kinds["mean_shift"]["gap"][0][1] < 0.3 < kinds["none"]["gap"][0][1]
        assert kinds["whitening"]["fitted_on"] == {"text": 30, "image": 26, "table": 26}
    view = shown_gap.view(found, scored)
    assert "Asked with a photo, its own title comes first in " in view["headline"]
    assert "config.export.correction=" in " ".join(view["sentences"])


def test_without_training_listings_nothing_is_corrected(subject):
    _, asked = subject
    alone = dataclasses.replace(asked, embedded={"gallery": asked.embedded["gallery"]}, aligned=None)
    found = plain(gap.study(alone))
    assert {name: list(kinds) for name, kinds in found["readouts"].items()} == {"fusion": ["none"]}
    assert "without a training split" in " ".join(shown_gap.view(found, subject[0])["sentences"])


def test_planted_contradictions_are_found_and_named(subject, monkeypatch):
    _, asked = subject
    monkeypatch.setattr(contradictions, "RATIO", 0.1)
    found = plain(contradictions.study(asked))
    assert (found["split"], found["listings"], found["judged"]) == ("gallery", 80, 70)
    planted = found["planted"]
    assert planted["exchanged"] == ["image", "text", "table"]
    assert 10 <= planted["planted"] <= 35
    assert planted["precision@10"] > 0.8
    assert planted["auc"] > 0.93
    assert planted["pair_named"] > 0.9
    assert planted["odd_named"] > 0.8 > planted["odd_by_chance"] + 0.2


def test_a_donor_of_the_same_product_is_no_contradiction(subject):
    scored, asked = subject
    index = scored.prepared.index("gallery")
    same = dataclasses.replace(index, instance_ids=np.full(len(index), "one", object))

    class Same(type(scored.prepared)):
        def index(self, split):
            return same

    prepared = Same(scored.prepared.folder, scored.prepared.manifest, scored.prepared.inputs)
    planted = contradictions.study(dataclasses.replace(asked, prepared=prepared))["planted"]
    assert planted["planted"] == 0
    assert planted["left_out"] > 3
    assert planted["auc"] is None


def test_the_worst_listing_of_the_catalogue_is_named(subject):
    scored, asked = subject
    odd = dataclasses.replace(scored.prepared.records("gallery")[5], title="listing 33")

    class Odd(type(scored.prepared)):
        def records(self, split, words=None):
            return [odd if record.id == odd.id else record for record in map(real.__getitem__, range(len(real)))]

    real = scored.prepared.records("gallery")
    prepared = Odd(scored.prepared.folder, scored.prepared.manifest, scored.prepared.inputs)
    found = plain(contradictions.study(dataclasses.replace(asked, prepared=prepared)))
    first = found["worst"][0]
    assert (first["id"], first["row"], first["odd"]) == ("id-005", 5, "text")
    assert "text" in first["pair"]
    assert len(found["worst"]) == 70
    view = shown_contradictions.view(found, scored)
    assert view["worst"][0]["card"].id == "id-005"
    assert re.search("1 .*title", view["worst"][0]["mark"])


def test_both_are_shown(subject):
    scored, asked = subject
    findings = plain({"gap": gap.study(asked), "contradictions": contradictions.study(asked)})
    shown = Page(page.render(dataclasses.replace(scored, findings=findings)))
    assert {"gap", "contradictions"} <= set(shown.ids("section"))
    assert "After whitening: recall@10" in shown.text
    assert "≠" in shown.text
    assert not re.search(r"\b(nan|inf|None|NaN)\b", shown.text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"config": small_config(inputs__modalities=("text",))}, "the model sees one"),
        ({"embedded": {}}, "the catalogue has no"),
        ({"aligned": None}, "not trained to compare"),
    ],
)
def test_what_cannot_be_asked_says_why(subject, change, reason):
    _, asked = subject
    without = dataclasses.replace(asked, **change)
    assert reason in contradictions.study(without)["skipped"]
    if "aligned" not in change:
        assert reason in gap.study(without)["skipped"]
