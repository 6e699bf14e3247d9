"""Fingerprints of a listing: by these, validation finds the same thing twice without reading a record.

Computed once, where the listing is decoded, and kept in the index of its split.
"""

import dataclasses
import hashlib
import io
import unicodedata
from typing import Any

import numpy as np
from PIL import Image

from m5jax import modalities
from m5jax.data.records import MEDIA, Record

SIDE = 16  # of the difference hash: SIDE * SIDE bits
MARGIN = 1.0  # of 255 levels of grey
WORDS = SIDE * SIDE // 64  # of 64 bits


@dataclasses.dataclass(frozen=True)
class Fingerprints:
    """What is kept of a listing to compare it by.

    Attributes:
      content: per modality of `modalities.NAMES` 64 bits that equal content has in common, 0 where there is nothing.
        Of text it is the title that counts, of a table its rows in any order, both as `normal` leaves them; of media
        what the record holds.
      picture: `difference_hash` of the picture as four words of 64 bits; zeros without one, and of features.
      spread: largest less smallest value of the picture's most varied channel, 0 to 255: 0 is one colour.
      fields, values: rows of the table, and how many different values they have.
    """

    content: tuple[int, ...]
    picture: tuple[int, ...] = (0,) * WORDS
    spread: int = 0
    fields: int = 0
    values: int = 0


def of(record: Record) -> Fingerprints:
    """The fingerprints of a record."""
    rows = sorted({(normal(name), normal(value)) for name, value in record.fields})
    payloads: dict[str, Any] = {name: getattr(record, name) for name in MEDIA}
    payloads["text"] = normal(record.title).encode()
    payloads["table"] = "\x1e".join("\x1f".join(row) for row in rows).encode()
    content = tuple(_digest(payloads[name]) for name in modalities.NAMES)
    fields, values = len(record.fields), len({value for _, value in rows})
    if not isinstance(record.image, bytes) or not record.image:
        return Fingerprints(content, fields=fields, values=values)
    with Image.open(io.BytesIO(record.image), formats=("JPEG",)) as image:
        pixels = np.asarray(image).reshape(-1, 3)
        return Fingerprints(content, difference_hash(image), int(np.ptp(pixels, axis=0).max()), fields, values)


def normal(text: str) -> str:
    """The text as it is compared: compatibility forms folded (NFKC), in lower case, one blank between words."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def difference_hash(image: Image.Image) -> tuple[int, ...]:
    """Where a neighbour in a row is brighter, at 17 x 16 pixels (Krawetz, Kind of Like That, 2013).

    Brighter by more than `MARGIN`, in numbers that are not rounded: otherwise rounding and the traces of compression
    decide where a picture is flat. A picture saved a tenth darker is then within four bits 9 times of 10, not 3.

    Returns:
      256 bits, row by row, as four words of 64 bits, the first pixel in the highest bit of the first word.
    """
    grey = np.asarray(image.convert("F").resize((SIDE + 1, SIDE), Image.Resampling.LANCZOS))
    bits = np.packbits(grey[:, 1:] > grey[:, :-1] + MARGIN)
    return tuple(bits.view(">u8").tolist())


def _digest(payload: bytes | np.ndarray) -> int:
    """64 bits of BLAKE2b: of 100 million listings, two that differ agree with a chance of 1 : 3,700."""
    if not len(payload):
        return 0
    data = payload if isinstance(payload, bytes) else payload.tobytes()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") or 1
