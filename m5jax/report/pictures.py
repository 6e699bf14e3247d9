"""The media of records as small pictures inside a page: JPEG in data: URIs, encoded anew."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from m5jax.data.records import Record
from m5jax.inputs import Inputs
from m5jax.modalities import State

THUMBNAIL = 96  # side of a picture at most, pixels
STRIP_FRAMES, STRIP_HEIGHT = 6, 32
SPECTROGRAM = (120, 32)  # width and height at most, pixels
QUALITY = 70  # of JPEG
# The colours of matplotlib's "viridis" at five places: even steps in lightness, safe for the colour-blind.
VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def pictures(record: Record, inputs: Inputs) -> dict[str, str]:
    """What can be seen of a record: per modality, a data: URI.

    What is not present, and features, which were never pictures, are left out.
    """
    draw: dict[str, Callable[[Record, Inputs], Image.Image]] = {
        "image": _thumbnail,
        "video": _film_strip,
        "audio": _spectrogram,
    }
    return {
        name: _data_uri(drawn(record, inputs))
        for name, drawn in draw.items()
        if record.state(name) == State.PRESENT and getattr(inputs, name).source == "raw"
    }


def square(record: Record, side: int) -> str:
    """The picture of a record that has one, as a data: URI: its middle, a square of so many pixels at most."""
    image = _open(record.image)
    side = min(side, *image.size)
    return _data_uri(ImageOps.fit(image, (side, side)))


def _thumbnail(record: Record, inputs: Inputs) -> Image.Image:
    image = _open(record.image)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image


def _film_strip(record: Record, inputs: Inputs) -> Image.Image:
    """Frames spread over the clip, side by side; a record keeps them below one another."""
    size = inputs.video.size
    frames = np.asarray(_open(record.video)).reshape(-1, size, size, 3)
    chosen = np.linspace(0, len(frames) - 1, min(STRIP_FRAMES, len(frames))).round().astype(int)
    strip = Image.fromarray(frames[chosen].transpose(1, 0, 2, 3).reshape(size, -1, 3))
    strip.thumbnail((strip.width, STRIP_HEIGHT))
    return strip


def _spectrogram(record: Record, inputs: Inputs) -> Image.Image:
    """Log-mel frames with time to the right and low sounds below; the quietest is dark, the loudest bright."""
    loud = np.asarray(record.audio, np.float32).T[::-1]
    low, high = loud.min(), loud.max()
    share = (loud - low) / max(float(high - low), 1e-6)
    places = np.linspace(0, 1, len(VIRIDIS))
    channels = [np.interp(share, places, [colour[channel] for colour in VIRIDIS]) for channel in range(3)]
    image = Image.fromarray(np.stack(channels, -1).astype(np.uint8))
    return image.resize((min(image.width, SPECTROGRAM[0]), min(image.height, SPECTROGRAM[1])), Image.Resampling.BOX)


def _open(jpeg: Any) -> Image.Image:
    return Image.open(io.BytesIO(jpeg), formats=("JPEG",)).convert("RGB")


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
