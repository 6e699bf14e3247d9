"""Features in less than float16: how far off they are, that records keep them, and what the model makes of them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from small import small_config

from m5jax.data import feature_rows, records
from m5jax.data.records import Record, RecordCodec
from m5jax.data.transforms import Transform
from m5jax.inputs import STORED
from m5jax.modalities import State
from m5jax.models.encoders import to_blocks

DIM, BOXES = 48, 5
PACKED = [stored for stored in STORED if stored != feature_rows.FLOAT16]


def rows(count=200, seed=0):
    """Rows of very different sizes, as float16 has them: some all zeros, some too small for it, one at its largest."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, DIM)) * 10.0 ** rng.uniform(-9, 4, (count, 1))
    values[::17] = 0
    values[1] = np.linspace(-65504, 65504, DIM)
    boxes = np.concatenate([rng.uniform(size=(count, 4)), rng.uniform(size=(count, 1))], 1)
    return np.concatenate([values, boxes], 1).clip(-65504, 65504).astype(np.float16)


def unpacked(packed):
    """The vectors in rows, one number after the other in Python."""
    parts = feature_rows.fields(packed, DIM)
    scale = parts.get("scale", np.ones(len(packed)))
    return np.asarray([[float(x) * float(s) for x in row] for row, s in zip(parts["values"], scale, strict=True)])


@pytest.mark.parametrize("stored", STORED)
def test_a_number_is_as_far_off_as_is_said_and_boxes_not_at_all(stored):
    given = rows()
    packed = feature_rows.pack(given, feature_rows.dtype(stored, DIM, BOXES))
    exact = given[:, :DIM].astype(np.float64)
    largest = np.abs(exact).max(1, keepdims=True)
    bound = {"float16": 0 * exact, "bfloat16": np.abs(exact) / 256, "int8": largest / 254 * (1 + 1e-6)}[stored]
    assert (np.abs(unpacked(packed) - exact) <= bound).all()
    np.testing.assert_array_equal(feature_rows.fields(packed, DIM)["boxes"], given[:, DIM:])
    assert packed.itemsize == DIM * {"float16": 2, "bfloat16": 2, "int8": 1}[stored] + 10 + 4 * (stored == "int8")


def test_int8_uses_all_of_its_range_in_every_row_and_zeros_stay_zeros():
    given = rows()
    values = feature_rows.pack(given, feature_rows.dtype("int8", DIM, BOXES))["values"].astype(int)
    there = np.abs(given[:, :DIM]).max(1) > 0
    assert (np.abs(values[there]).max(1) == 127).all()
    assert not values[~there].any()


def configured(stored, dim=DIM):
    return small_config(
        inputs__modalities=("image",), inputs__image__source="features", inputs__image__boxes=True,
        inputs__image__feature_dim=dim, inputs__image__feature_rows=6, inputs__image__stored=stored,
    ).inputs  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("stored", PACKED)
def test_records_and_tfds_keep_the_rows(stored, count, tmp_path):
    inputs, given = configured(stored), rows(count + 2)[2:]
    codec = RecordCodec(inputs)
    record = Record("x", states=(State.PRESENT,) + (State.ABSENT,) * 4, image=given)
    packed = feature_rows.pack(given, feature_rows.dtype(stored, DIM, BOXES))
    np.testing.assert_array_equal(codec.decode(codec.encode(record)).image, packed)
    records.write_shard(tmp_path / records.shard_name("train", 0, 1), [codec.encode(record)])
    records.write_tfds_metadata(tmp_path, codec, {"train": [1]})
    (example,) = tfds.builder_from_directory(tmp_path).as_data_source("train")
    assert example["image"].dtype == np.uint8
    np.testing.assert_array_equal(example["image"].view(packed.dtype)[:, 0] if count else packed, packed)


@pytest.mark.parametrize("stored", PACKED)
def test_a_batch_has_what_float16_has_but_for_the_rounding(stored):
    """Blocks of a batch in the dtype of its records against those of float16."""
    given, blocks = rows(4, seed=1), {}
    for kind in ("float16", stored):
        inputs = configured(kind)
        transform, codec = Transform(inputs, tokenizer=None), RecordCodec(inputs)  # pyright: ignore (no text here)
        made = [
            transform.draft(codec.decode(codec.encode(Record("x", states=(State.PRESENT,) * 5, image=given[:n]))))
            for n in (4, 0, 2)
        ]
        image = transform.batch(made, 3)["image"]
        assert image["values"].dtype == np.dtype(kind)
        assert image["values"].shape == (3, 6, DIM)
        assert image["mask"].sum(1).tolist() == [4, 0, 2]
        assert not image["values"][~image["mask"]].any()
        assert image["boxes"].dtype == np.float16
        scale = image.get("scale")
        assert (scale is None) == (kind != "int8")
        blocks[kind] = np.asarray(
            to_blocks(
                jnp.asarray(image["values"]), transform.specs["image"], None if scale is None else jnp.asarray(scale)
            )
        )
    largest = np.abs(blocks["float16"]).max(-1, keepdims=True)
    assert (np.abs(blocks[stored] - blocks["float16"]) <= largest / 254 * 1.01).all()
    assert np.abs(blocks[stored]).max() > 0


def test_blocks_of_int8_are_its_rows_times_their_scales_one_after_the_other():
    spec = dataclasses.replace(Transform(configured("int8"), None).specs["image"])  # pyright: ignore (no text here)
    rng = np.random.default_rng(0)
    values, scale = rng.integers(-127, 128, (2, 6, DIM)).astype(np.int8), rng.random((2, 6)).astype(np.float32)
    expected = [
        [[np.float32(x) * s for x in row] for row, s in zip(*pair, strict=True)]
        for pair in zip(values, scale, strict=True)
    ]
    np.testing.assert_array_equal(to_blocks(jnp.asarray(values), spec, jnp.asarray(scale)), expected)


@pytest.mark.parametrize("stored", STORED)
def test_shares_of_classes_are_kept_as_float16_from_the_file_to_the_batch(stored):
    inputs = configured(stored)
    inputs = dataclasses.replace(inputs, image=dataclasses.replace(inputs.image, classes=3))
    shares = np.asarray([[0.5, 0.25, 0.25], [0, 0, 0], [1e-6, 0.1, 0.9]], np.float16)
    given = np.concatenate([rows(3), shares], 1)
    transform, codec = Transform(inputs, tokenizer=None), RecordCodec(inputs)  # pyright: ignore (no text here)
    made = [
        transform.draft(codec.decode(codec.encode(Record("x", states=(State.PRESENT,) * 5, image=given[:n]))))
        for n in (3, 0)
    ]
    image = transform.batch(made, 2)["image"]
    assert (image["classes"].dtype, image["classes"].shape) == (np.float16, (2, 6, 3))
    np.testing.assert_array_equal(image["classes"][0, :3], shares)
    assert not image["classes"][0, 3:].any()
    assert not image["classes"][1].any()
    np.testing.assert_array_equal(image["boxes"][0, :3], given[:, DIM : DIM + BOXES])
