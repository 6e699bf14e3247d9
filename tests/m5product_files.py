"""Writes folders in the layout of the M5Product release: regions as its detector and its converter left them."""

import base64
import json

import lmdb
import msgpack
import numpy as np

from m5jax.media.regions import COLUMNS, ITEMS

DIM = 6


def regions(identity, rows=3, title="a shoe", dim=DIM, seed=0, **changes):
    """The parts of an entry; boxes lie inside a picture of 100 x 50 pixels."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(size=(rows, 2, 2)), 1) * [100, 50]
    parts = {
        "image_id": identity,
        "image_w": 100,
        "image_h": 50,
        "num_boxes": rows,
        "boxes": corners.reshape(rows, 4).astype(np.float32),
        "features": rng.normal(size=(rows, dim)).astype(np.float32),
        "title": title,
    }
    assert changes.keys() <= parts.keys()
    return parts | changes


def packed(parts, names=ITEMS):
    """An entry as tensorpack's serializer writes it: msgpack-numpy."""

    def encode(part):
        if not isinstance(part, np.ndarray):
            return part
        kind = b"O" if part.dtype.hasobject else b""
        data = part.tobytes() if not kind else b"pickled"
        return {b"nd": True, b"type": part.dtype.str, b"kind": kind, b"shape": list(part.shape), b"data": data}

    items = [str(parts[name]) if name == "num_boxes" else encode(parts[name]) for name in names]
    return msgpack.packb(items, use_bin_type=True)


def line(parts, names=COLUMNS):
    """An entry as a line of a table; K3M's, by its names, shows its arrays as Python does."""

    def encode(part):
        if not isinstance(part, np.ndarray):
            return str(part).encode()
        text = base64.b64encode(part.tobytes())
        return text if names == COLUMNS else str(text).encode()

    return b"\t".join(encode(parts[name]) for name in names) + b"\n"


def write_lmdb(path, values):
    """A database as tensorpack's LMDBSerializer leaves it; a value may be bytes or the parts of an entry."""
    keys = [f"{i:08}".encode() for i in range(len(values))]
    with lmdb.open(str(path), map_size=1 << 26, subdir=False, lock=False) as database, database.begin(write=True) as t:
        for key, value in zip(keys, values, strict=True):
            t.put(key, value if isinstance(value, bytes) else packed(value))
        t.put(b"__keys__", msgpack.packb(keys, use_bin_type=True))


def write_layout(folder, products, *, database=None, tables=None, **lists):
    """A release of these products; `lists` are JSON files by stem, `tables` bytes by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    text = products if isinstance(products, str) else json.dumps(products, ensure_ascii=False)
    (folder / "id_info_dict.json").write_text(text, encoding="utf-8")
    if database is not None:
        write_lmdb(folder / "features.lmdb", database)
    for name, data in (tables or {}).items():
        (folder / name).write_bytes(data)
    for stem, values in lists.items():
        (folder / f"{stem}.json").write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    return folder / "id_info_dict.json"


def shares(boxes, width, height):
    """Boxes in pixels to x1, y1, x2, y2 and area as shares, one by one; float16 [n, 5]."""
    rows = []
    for x1, y1, x2, y2 in boxes.astype(np.float64):
        rows.append([x1 / width, y1 / height, x2 / width, y2 / height, (x2 - x1) * (y2 - y1) / (width * height)])
    return np.asarray(rows).astype(np.float32).astype(np.float16)
