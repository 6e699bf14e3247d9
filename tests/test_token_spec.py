"""Shapes of the modalities, and the blocks that grids are cut into."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from small import small_config

from m5jax import modalities
from m5jax.models.encoders import to_blocks
from m5jax.token_spec import TokenSpec, token_specs


def test_specs_follow_the_table_order_whatever_the_setting_says():
    config = small_config(inputs__modalities=("audio", "image", "text"))
    assert tuple(token_specs(config.inputs)) == ("image", "text", "audio")
    assert modalities.NAMES == ("image", "text", "table", "video", "audio")


@pytest.mark.parametrize(
    ("changes", "name", "length", "dim"),
    [
        ({}, "image", 4, 8 * 8 * 3),
        ({}, "video", 2 * 4, 2 * 8 * 8 * 3),
        ({}, "audio", 2, 8 * 16),
        ({"inputs__image__source": "features"}, "image", 36, 2048),
        ({"inputs__video__source": "features"}, "video", 12, 1024),
        ({"inputs__audio__source": "features"}, "audio", 80, 751),
    ],
)
def test_lengths_and_block_sizes(changes, name, length, dim):
    spec = token_specs(small_config(**changes).inputs)[name]
    assert (spec.length, spec.dim) == (length, dim)


def test_released_shapes_of_scale():
    config = small_config(
        inputs__image__source="features", inputs__video__source="features", inputs__audio__source="features"
    )
    specs = token_specs(config.inputs)
    lengths = {name: spec.length + 1 for name, spec in specs.items() if spec.kind == "grid"}
    assert lengths == {"image": 37, "video": 13, "audio": 81}  # each with its global token


def blocks_by_hand(values, spec):
    """Cuts one grid into blocks with loops."""
    *sizes, _ = spec.grid
    corners = itertools.product(*(range(0, size, block) for size, block in zip(sizes, spec.block, strict=True)))
    cuts = []
    for corner in corners:
        where = tuple(slice(c, c + b) for c, b in zip(corner, spec.block, strict=True))
        cuts.append(values[where].ravel())
    return np.stack(cuts)


@pytest.mark.parametrize(
    "spec",
    [
        TokenSpec("image", "grid", 6, 1, (4, 6, 3), (2, 2), "float16"),
        TokenSpec("video", "grid", 8, 1, (4, 4, 4, 3), (2, 2, 2), "float16"),
        TokenSpec("audio", "grid", 3, 1, (6, 5, 1), (2, 5), "float16"),
        TokenSpec("image", "grid", 5, 1, (5, 7), (1,), "float16"),
    ],
)
def test_blocks_equal_the_loop(spec):
    values = np.random.default_rng(0).normal(size=(2, *spec.grid)).astype(np.float32)
    expected = np.stack([blocks_by_hand(v, spec) for v in values])
    np.testing.assert_array_equal(to_blocks(jnp.array(values), spec), expected)


def test_pixels_come_out_between_minus_one_and_one():
    spec = TokenSpec("image", "grid", 1, 1, (2, 2, 3), (2, 2), "uint8")
    blocks = to_blocks(jnp.array([[[[0, 255, 51]] * 2] * 2], jnp.uint8), spec)
    np.testing.assert_allclose(np.unique(blocks), [-1.0, -0.6, 1.0], atol=1e-6)


@pytest.mark.parametrize(("rows", "present"), [(0, 0), (1, 4), (2, 4), (3, 8), (4, 8), (9, 8)])
def test_a_short_clip_makes_its_leading_tokens_present(rows, present):
    spec = token_specs(small_config().inputs)["video"]  # 4 frames of 16 x 16 in tubelets of 2 x 8 x 8
    assert spec.present_tokens(rows) == present
