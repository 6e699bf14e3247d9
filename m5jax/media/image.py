"""Pictures: a seller's bytes to pixels, and our own JPEGs."""

import contextlib
import functools
import io
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageCms

from m5jax.media.files import MediaError
from m5jax.media.format import MAX_PIXELS, boundary, identify

FORMATS = ("jpeg", "png", "webp", "gif")
JPEG_QUALITY = 95

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture upright, by its EXIF orientation (EXIF 2.32, tag 0x0112)."""


def decode_image(data: bytes, side: int) -> np.ndarray:
    """A picture as a browser shows it, squeezed into a square: nothing of a product is cropped away.

    Of an animation the first frame; transparency lies on white.

    Args:
      data: a JPEG, PNG, WebP or GIF file.
      side: pixels.

    Returns:
      uint8 [side, side, 3], RGB.

    Raises:
      MediaError: empty, format_not_allowed, truncated, undecodable or too_large.
    """
    with boundary(), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)  # broken metadata: a browser shows such a picture as well
        with _open(data) as image:
            image.draft(None, (2 * side, 2 * side))  # JPEG decodes to 1/2, 1/4 or 1/8 at a fraction of the cost
            upright = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
            profile = image.info.get("icc_profile", b"")
            # A profile speaks of the numbers in the file, not of an RGB made of them.
            own = profile and image.mode in ("CMYK", "L") and not image.has_transparency_data
            square = _as_srgb(fit(image if own else flatten(image), side), profile)
            return np.asarray(square if upright is None else square.transpose(upright))


def _open(data: bytes) -> Image.Image:
    """A picture of bounded size, not decoded yet."""
    kind = identify(data, FORMATS)
    if kind == "webp":  # Pillow 12 has all of it in memory before it tells the size
        _check_size(*_webp_size(data))
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError("too_large", str(error)) from error
    _check_size(image.width, image.height)
    return image


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        size = f"{width} x {height} pixels"
        raise MediaError("too_large", f"{size}; the limit is {MAX_PIXELS / 1e6:g} megapixels")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height that the first chunk of a WebP declares (RFC 9649, sections 2.5 to 2.7)."""
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _as_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The RGB that a screen is sent; a colour profile that cannot be used, or not for this mode, does not count."""
    if not profile:
        return image
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
        image = ImageCms.applyTransform(image, _from_profile(profile, image.mode)) or image
    return image.convert("RGB")


@functools.lru_cache(maxsize=16)  # most pictures of a shop have the same
def _from_profile(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    described = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(described, ImageCms.createProfile("sRGB"), mode, "RGB")


def flatten(image: Image.Image) -> Image.Image:
    """Any mode as RGB, with transparency on white and 16 bits scaled to 8."""
    if image.mode == "I;16":
        deep, colour_key = np.asarray(image), image.info.get("transparency", -1)
        return Image.fromarray(np.where(deep == colour_key, 255, deep >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def fit(image: Image.Image, side: int) -> Image.Image:
    """The whole picture as a square of `side` pixels."""
    return image.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)


def encode_jpeg(array: np.ndarray) -> bytes:
    """A picture as our records keep it: baseline JPEG with full colour resolution.

    Args:
      array: uint8 [height, width, 3], RGB; no axis longer than 65,500 (a limit of JPEG).
    """
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def decode_jpeg(data: bytes) -> np.ndarray:
    """The picture in a JPEG that `encode_jpeg` wrote: uint8 [height, width, 3], RGB, read-only."""
    return np.asarray(Image.open(io.BytesIO(data), formats=("JPEG",)))
