"""Eight virtual devices, shapes checked, and one tiny prepared catalogue that many tests share."""

import os

from xla import QUICK

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {QUICK}"

import atexit
import io
import json
import pathlib
import shutil
import socket
import sys
import tempfile

import hypothesis
import jax
import numpy as np
import pytest
from absl import flags
from PIL import Image
from small import small_config

from m5jax.data.prepared import Prepared
from m5jax.preparing import prepare

# The workers of one run of the suite share what they compile; the next run starts afresh.
if "M5JAX_TEST_CACHE" not in os.environ:
    os.environ["M5JAX_TEST_CACHE"] = tempfile.mkdtemp(prefix="m5jax-test-cache-")
    atexit.register(shutil.rmtree, os.environ["M5JAX_TEST_CACHE"], ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", os.environ["M5JAX_TEST_CACHE"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

# The same examples every time, without a clock that a busy machine would stop.
hypothesis.settings.register_profile("m5jax", deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("m5jax")

SHARED = pathlib.Path(__file__).parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the reference data ../shared is not beside the project")


calls: list[str] = []


def note_call(event: str, arguments: tuple) -> None:
    """Keeps every address outside this machine that something wants to reach, or to know the number of."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):  # a path is a socket of this machine
        address = str(arguments[1][0])
    elif event == "socket.getaddrinfo" and arguments[0]:
        address = arguments[0].decode() if isinstance(arguments[0], bytes) else str(arguments[0])
    else:
        return
    if not address.startswith("127.") and address not in ("::1", "localhost", "0.0.0.0", socket.gethostname()):  # noqa: S104
        calls.append(address)


sys.addaudithook(note_call)


@pytest.fixture(autouse=True)
def nobody_is_called():
    """m5jax opens no URL, in whatever a test does (in this process)."""
    calls.clear()
    yield
    assert calls == []


# What takes longest begins, so that the workers end together (xdist would begin with the files of most tests).
LONGEST = ("train", "distributed", "presets", "scale", "two_stream", "step", "finetune", "sweeps", "golden_methods")


def pytest_collection_modifyitems(items):
    longest = [f"test_{name}.py" for name in LONGEST]
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))


def pytest_configure(config):
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's workers read absl flags


COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 60, 220), "black": (20, 20, 20)}
KINDS = ("shoe", "shirt", "watch")


def write_catalogue(folder, listings=48, tail=None):
    """A catalogue of pictures, titles and tables in which some modality is now and then missing."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(listings):
        product, copy = i % 12, i // 12
        colour, kind = list(COLOURS)[product % len(COLOURS)], KINDS[product % len(KINDS)]
        # Whole products train, validate or are searched for: the first listing of a product asks for the others.
        split = "train" if product < 6 else "val" if product < 8 else "gallery" if copy else "query"
        pixels = np.clip(rng.normal(COLOURS[colour], 10, (24, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.jpg")
        rows.append(
            {
                "id": f"item-{i}",
                "split": split,
                "source": "shop",
                "instance_id": f"product-{product}",
                "category": ["goods", kind],
                "title": f"{kind} number {i}" if i % 5 else None,
                "attributes": [["colour", colour], ["kind", kind], ["weight", i]] if i % 4 else None,
                "images": [f"images/{i}.jpg"] if i % 3 or not i % 5 or not i % 4 else [],
            }
        )
    text = "".join(json.dumps(row) + "\n" for row in rows) + (tail or "")
    (folder / "catalogue.jsonl").write_text(text, encoding="utf-8")
    return rows


@pytest.fixture(scope="session")
def catalogue_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue")
    write_catalogue(folder)
    return folder


@pytest.fixture(scope="session")
def three_modalities(catalogue_folder, tmp_path_factory):
    """A configuration on the shared tiny catalogue, already prepared."""
    config = small_config(
        inputs__modalities=("image", "text", "table"),
        data__catalogue=str(catalogue_folder),
        data__root=str(tmp_path_factory.mktemp("prepared")),
    )
    prepare.prepare(config, quiet=True)
    return config


@pytest.fixture(scope="session")
def prepared(three_modalities) -> Prepared:
    return prepare.prepare(three_modalities, quiet=True)


def random_batch(config, vocabulary, size, seed=0, present=None):
    """A training batch of random content; `present` bool [size, M] says which modalities each listing has."""
    from m5jax.token_spec import token_specs

    rng = np.random.default_rng(seed)
    specs = token_specs(config.inputs)
    present = np.ones((size, len(specs)), bool) if present is None else present
    batch = {"valid": np.ones(size, bool)}
    for m, (name, spec) in enumerate(specs.items()):
        count = rng.integers(2, spec.length + 1, size) if spec.kind == "tokens" else np.full(size, spec.length)
        mask = (np.arange(spec.length) < count[:, None]) & present[:, m, None]
        positions = np.stack([rng.choice(spec.length, spec.masked, replace=False) for _ in range(size)]).astype(
            np.int32
        )
        valid = np.take_along_axis(mask, positions, 1)
        arrays = {"mask": mask, "masked": {"positions": positions, "valid": valid}}
        if spec.kind == "tokens":
            arrays["ids"] = rng.integers(7, vocabulary, (size, spec.length)).astype(np.int32)
            arrays["masked"]["targets"] = rng.integers(7, vocabulary, (size, spec.masked)).astype(np.int32)
        elif spec.dtype == "uint8":
            arrays["values"] = rng.integers(0, 256, (size, *spec.grid)).astype(np.uint8)
        else:
            arrays["values"] = rng.normal(size=(size, *spec.grid)).astype(np.float16)
        if spec.kind == "grid":  # a generator of its own: other draws stay what they were
            shown = np.random.default_rng([seed, m]).random((size, spec.masked)) < (0.1 if name == "image" else 0.0)
            arrays["masked"]["hidden"] = valid & ~shown
        if spec.geometry:
            arrays["boxes"] = random_boxes(rng, (size, spec.length)) * mask[..., None]
        batch[name] = arrays
    return batch


def random_boxes(rng, shape):
    """Boxes anywhere in a picture: float16 [*shape, 5], corners and area as shares."""
    corners = np.sort(rng.uniform(size=(*shape, 2, 2)), -2)  # [..., first or second, x or y]
    area = np.prod(corners[..., 1, :] - corners[..., 0, :], -1)
    return np.concatenate([corners.reshape(*shape, 4), area[..., None]], -1).astype(np.float16)


def jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()
