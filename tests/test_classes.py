"""What a classifier tells apart beside categories: the products that several training listings show."""

import itertools

import numpy as np
import pytest
from reports import listing, write_prepared
from test_finetune import changed

from m5jax.data import pipeline
from m5jax.data.transforms import UNLABELLED, Classes
from m5jax.errors import DataError
from m5jax.models import families
from m5jax.run import classes_of


def test_products_that_several_training_listings_show_are_classes_too(prepared, three_modalities):
    tuned = changed(three_modalities, objective__classification=1.0, objective__classes="product")
    names = classes_of(tuned, prepared)
    assert names == prepared.products == tuple(f"product-{number}" for number in range(6))
    batches = itertools.islice(pipeline.training_batches(prepared, tuned), 3)  # one pass over 24 listings
    found = np.concatenate([batch["label"] for batch in batches])
    known = {name: number for number, name in enumerate(names)}
    assert sorted(found) == sorted(known.get(name, -1) for name in prepared.index("train").instance_ids)
    assert families.build(tuned, 100, len(names)).classify is None  # what is held out shows other products


def test_a_product_of_one_listing_or_without_a_name_is_no_class(tmp_path, three_modalities):
    products = ("b", "a", "", "a", "", "c", "b")
    listings = [listing(number, three_modalities, instance_id=name) for number, name in enumerate(products)]
    made = write_prepared(tmp_path / "made", {"train": listings}, three_modalities)
    assert made.products == ("a", "b")
    classes = Classes("product", {"a": 0, "b": 1})
    assert [classes.label(of) for of in listings] == [1, 0, UNLABELLED, 0, UNLABELLED, UNLABELLED, 1]


def test_a_catalogue_without_a_product_of_several_listings_is_refused(tmp_path, three_modalities):
    listings = [listing(number, three_modalities, instance_id=f"{number}") for number in range(4)]
    alone = write_prepared(tmp_path / "alone", {"train": listings}, three_modalities)
    tuned = changed(three_modalities, objective__classification=1.0, objective__classes="product")
    assert alone.products == ()
    with pytest.raises(DataError, match=r"no two training listings of .* are of one product"):
        classes_of(tuned, alone)
    held_out = write_prepared(tmp_path / "none", {"query": listings}, three_modalities)
    assert held_out.products == ()
