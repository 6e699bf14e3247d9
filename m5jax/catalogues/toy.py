"""The embedded catalogue: made-up products with real media files, for a first run and for tests that know the truth.

Products form a hierarchy, department -> category -> product, and a product is one value of each attribute. Every
modality tells the category (a sound: the department), and one attribute that no other modality tells:

    picture: colour    title: maker    table: material    video: motion    sound: pitch

So no modality identifies a product alone, and all of them together nearly do. Makers have habits: most of their
products take usual values of the attributes, so that modalities have more in common than the category, as in any
real catalogue. Listings of a product differ in view, wording, row order and timing. What was drawn, swapped or
left out is in `ground_truth.jsonl`.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import json
import multiprocessing
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from m5jax import modalities, settings
from m5jax.catalogues import toy_media, toy_page, toy_words
from m5jax.data_settings import Toy
from m5jax.errors import DataError

DEPARTMENTS = {
    "Kitchen": ("kettle", "mug", "frying pan", "goblet"),
    "Furniture": ("chair", "table lamp", "sofa", "bookcase"),
    "Fashion": ("T-shirt", "handbag", "trousers", "cap"),
    "Electronics": ("headphones", "camera", "loudspeaker", "game controller"),
    "Toys": ("rubber duck", "toy truck", "kite", "teddy bear"),
    "Garden": ("watering can", "flower pot", "spade", "birdhouse"),
}
EVALUATION, VALIDATION = 0.23, 0.05  # share of the products; the rest trains
HABIT = 0.6  # how often an attribute of a product takes one of its maker's three usual values
PAGE_LISTINGS = 120
_PLAN, _PRODUCT, _LISTING = range(3)  # independent streams of random numbers of one seed


@dataclasses.dataclass(frozen=True)
class Product:
    """What the listings of one product have in common; `pitch` in Hz."""

    id: str
    department: str
    category: str
    maker: str
    colour: str
    material: str
    motion: str
    pitch: int


@dataclasses.dataclass(frozen=True)
class Draft:
    """A listing before it is written.

    Attributes:
      id: of the listing.
      split: train, val, gallery or query.
      product: what it sells.
      titled, pictured: the product its title and its picture are of; another one where the listing is noisy.
      absent: modalities it lacks.
      rng: generator of its remaining draws.
    """

    id: str
    split: str
    product: Product
    titled: Product
    pictured: Product
    absent: tuple[str, ...]
    rng: np.random.Generator


def make(dials: Toy, folder: pathlib.Path, workers: int = 0, advance: Callable[[int], None] = lambda n: None) -> None:
    """Writes the catalogue into `folder`, all of it or nothing; a folder that exists is complete and left alone.

    The bytes depend on the dials alone, not on `workers`. Fewer than `dials.categories` categories appear where there
    are fewer products; with one listing per product nothing can be a query.

    Args:
      dials: what to make.
      folder: receives catalogue.jsonl, images/, videos/, audios/, ground_truth.jsonl, dials.json and index.html.
      workers: processes that draw; 0 = one a core, 1 = this one.
      advance: called with the number of listings that were finished since the last call.

    Raises:
      DataError: PyAV, which encodes clips and sounds, is not installed.
    """
    if folder.exists():
        return
    if importlib.util.find_spec("av") is None:
        raise DataError("the embedded catalogue encodes video and sound with PyAV: pip install 'm5jax[media]'")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        unfinished = pathlib.Path(scratch) / folder.name
        _fill(unfinished, dials, workers, advance)
        try:
            os.rename(unfinished, folder)
        except OSError:
            if not folder.exists():  # if it does, another process made the same catalogue first
                raise


def _fill(folder: pathlib.Path, dials: Toy, workers: int, advance: Callable[[int], None]) -> None:
    for name in ("images", "videos", "audios"):
        (folder / name).mkdir(parents=True)
    shown = []
    with (
        (folder / "catalogue.jsonl").open("w", encoding="utf-8") as catalogue,
        (folder / "ground_truth.jsonl").open("w", encoding="utf-8") as ground_truth,
        _mapper(workers) as mapper,
    ):
        written = mapper(functools.partial(_write_listing, folder), _drafts(dials))
        for done, (row, truth) in enumerate(written, start=1):
            catalogue.write(json.dumps(row, ensure_ascii=False) + "\n")
            ground_truth.write(json.dumps(truth, ensure_ascii=False) + "\n")
            if done <= PAGE_LISTINGS:
                shown.append((row, truth))
            advance(1)
    (folder / "index.html").write_text(toy_page.render(shown, dials.listings), encoding="utf-8")
    (folder / "dials.json").write_text(json.dumps(settings.to_dict(dials), indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _mapper(workers: int) -> Iterator[Callable[[Callable, Iterable], Iterator]]:
    """A `map` that keeps the order, over that many processes."""
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        yield map
        return
    # Spawned, not forked: the caller may hold threads and an accelerator.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:  # notices a process that dies
        yield functools.partial(pool.map, chunksize=8)


def _rng(dials: Toy, stream: int, index: int = 0) -> np.random.Generator:
    return np.random.default_rng((dials.seed, stream, index))


def _drafts(dials: Toy) -> Iterator[Draft]:
    """Every listing of the catalogue, in order."""
    products = _products(dials)
    for index, (which, split) in enumerate(_places(dials, len(products))):
        rng = _rng(dials, _LISTING, index)
        # Every number is drawn, used or not: turning one dial leaves the rest of the catalogue as it was.
        absent = _absent(dials, rng.uniform(size=len(modalities.NAMES)))
        noisy = rng.uniform(size=2) < (dials.noise_text, dials.noise_image)
        others = (which + 1 + rng.integers(len(products) - 1, size=2)) % len(products)
        titled, pictured = (products[i] for i in np.where(noisy, others, which))
        yield Draft(f"toy-{index:06d}", split, products[which], titled, pictured, absent, rng)


def _products(dials: Toy) -> list[Product]:
    """The products, category by category, the largest first."""
    count = max(2, round(dials.listings / dials.variants))
    sizes = category_sizes(count, min(count, dials.categories), dials.tail)
    # In turn through the departments, so that few categories already differ much.
    columns = zip(*DEPARTMENTS.values(), strict=True)
    names = [pair for column in columns for pair in zip(DEPARTMENTS, column, strict=True)]
    ranks = np.repeat(np.arange(len(sizes)), sizes)
    return [_product(dials, index, *names[rank]) for index, rank in enumerate(ranks)]


def category_sizes(products: int, categories: int, tail: float) -> np.ndarray:
    """Products in each category, [categories] int, in all `products`: one each, the rest by Zipf's law, rank^-tail."""
    weights = np.arange(1.0, categories + 1) ** -tail
    ideal = (products - categories) * weights / weights.sum()
    sizes = 1 + ideal.astype(int)
    most_cut = np.argsort(np.floor(ideal) - ideal, kind="stable")
    sizes[most_cut[: products - sizes.sum()]] += 1
    return sizes


def _product(dials: Toy, index: int, department: str, category: str) -> Product:
    rng = _rng(dials, _PRODUCT, index)
    maker = int(rng.integers(len(toy_words.MAKERS)))

    def value(values: Sequence[Any]) -> Any:
        usual = 3 * maker + int(rng.integers(3))
        anything = int(rng.integers(len(values)))
        return values[usual % len(values) if rng.uniform() < HABIT else anything]

    return Product(
        id=f"product-{index:05d}",
        department=department,
        category=category,
        maker=toy_words.MAKERS[maker],
        colour=value(tuple(toy_media.COLOURS)),
        material=value(toy_words.MATERIALS),
        motion=value(tuple(toy_media.MOTIONS)),
        pitch=value(toy_media.PITCHES),
    )


def _places(dials: Toy, products: int) -> list[tuple[int, str]]:
    """(product, split) of each listing. Whole products train, validate or evaluate.

    Of those that evaluate, a third of the listings are queries, so each query leaves its product in the gallery. A
    product with one listing answers no query: it trains, or only fills the gallery.
    """
    rng = _rng(dials, _PLAN)
    sizes = 1 + rng.multinomial(dials.listings - products, np.full(products, 1 / products))
    places = []
    for alone in (False, True):
        group = rng.permutation(np.flatnonzero((sizes == 1) == alone))
        evaluate = max(round(EVALUATION * len(group)), 0 if alone else 1)
        validate = round(VALIDATION * len(group))
        for rank, product in enumerate(group):
            size = int(sizes[product])
            if rank < evaluate:
                queries = 0 if alone else max(1, size // 3)
                splits = ["query"] * queries + ["gallery"] * (size - queries)
            else:
                splits = ["val" if rank < evaluate + validate else "train"] * size
            places += [(int(product), split) for split in splits]
    return [places[i] for i in rng.permutation(len(places))]


def _absent(dials: Toy, draws: np.ndarray) -> tuple[str, ...]:
    """The modalities that a listing lacks, from one number in 0..1 for each; one always stays."""
    shares = {name: getattr(dials, f"missing_{name}") for name in modalities.NAMES}
    lost = [name for draw, (name, share) in zip(draws, shares.items(), strict=True) if draw < share]
    if len(lost) == len(shares):
        # A modality that no listing shall have stays out where another can come back.
        lost.remove(max(lost, key=lambda name: (shares[name] < 1, draws[modalities.NAMES.index(name)])))
    return tuple(lost)


def _write_listing(folder: pathlib.Path, draft: Draft) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes the media of one listing. Returns its catalogue row and its ground truth."""
    product, pictured, stem = draft.product, draft.pictured, draft.id.removeprefix("toy-")
    title = toy_words.title(draft.titled.category, draft.titled.maker, draft.rng)
    attributes = toy_words.attributes(product.department, product.category, product.material, draft.rng)
    take = toy_media.Take.draw(draft.rng)
    row = {
        "id": draft.id,
        "source": "toy",
        "split": draft.split,
        "instance_id": product.id,
        "category": [product.department, product.category],
        "title": None if "text" in draft.absent else title,
        "description": None,
        "attributes": None if "table" in draft.absent else attributes,
    }
    files = {
        "image": (f"{stem}.jpg", lambda: toy_media.picture(pictured.category, pictured.colour, take.picture)),
        "video": (f"{stem}.mp4", lambda: toy_media.clip(product.category, product.motion, take)),
        "audio": (
            f"{stem}.{take.sound}",
            lambda: toy_media.sound(product.department, product.pitch, take, draft.rng),
        ),
    }
    for modality, (name, encode) in files.items():
        field = modalities.TABLE[modality].field
        row[field] = [] if modality in draft.absent else [_write_file(folder, f"{field}/{name}", encode())]
    truth = {
        "id": draft.id,
        "product": dataclasses.asdict(product),
        "title_of": _swapped(draft, "text", draft.titled),
        "picture_of": _swapped(draft, "image", pictured),
        "absent": draft.absent,
        "take": dataclasses.asdict(take),
    }
    return row, truth


def _write_file(folder: pathlib.Path, path: str, data: bytes) -> dict[str, str]:
    (folder / path).write_bytes(data)
    return {"path": path, "sha256": hashlib.sha256(data).hexdigest()}


def _swapped(draft: Draft, modality: str, shown: Product) -> str | None:
    """The product that a noisy modality shows instead; None if it is the right one or there is nothing to see."""
    return None if shown == draft.product or modality in draft.absent else shown.id
