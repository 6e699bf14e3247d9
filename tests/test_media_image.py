"""Pictures: as a browser shows them, whatever the file's mode; bombs and cut files are refused."""

import struct
import time

import numpy as np
import pytest
from media_files import picture, png, reason, scene
from PIL import ExifTags, Image

from m5jax import media

UPRIGHT = scene(24, 24)

# The EXIF specification says where the first row and the first column of the stored picture belong; written out
# as what a camera stores of an upright picture.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: UPRIGHT.swapaxes(0, 1)[::-1],
    7: UPRIGHT.swapaxes(0, 1)[::-1, ::-1],
    8: UPRIGHT.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_orientation_is_applied(kind, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    np.testing.assert_array_equal(media.decode_image(picture(kind, stored, exif=exif, lossless=True), 24), UPRIGHT)


def test_exif_orientation_holds_for_oblong_jpegs_and_impossible_values_are_ignored():
    exif, wide = Image.Exif(), scene(160, 240)
    exif[ExifTags.Base.Orientation] = 6
    turned = media.decode_image(picture("JPEG", wide, exif=exif, quality=95), 24)
    straight = media.decode_image(picture("JPEG", wide, quality=95), 24)
    np.testing.assert_allclose(turned.astype(int), np.rot90(straight.astype(int), -1), atol=2)
    exif[ExifTags.Base.Orientation] = 99
    np.testing.assert_array_equal(media.decode_image(picture("JPEG", wide, exif=exif, quality=95), 24), straight)


def test_broken_metadata_does_not_cost_the_picture():
    data = picture("JPEG")
    whole = media.decode_image(data, 24)
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(40)):
        np.testing.assert_array_equal(media.decode_image(picture("JPEG", exif=exif), 24), whole)
    several_pictures = data[:2] + b"\xff\xe2\x00\x0cMPF\0garbag" + data[2:]
    np.testing.assert_array_equal(media.decode_image(several_pictures, 24), whole)


def test_sixteen_bit_grey_keeps_its_levels():
    gradient = np.linspace(0, 65535, 256 * 256).astype(np.uint16).reshape(256, 256)
    decoded = media.decode_image(picture("PNG", Image.fromarray(gradient)), 256)
    assert len(np.unique(decoded)) > 200
    np.testing.assert_allclose(decoded[:, :, 0], gradient / 257, atol=1.01)
    assert (decoded[:, :, 0] == decoded[:, :, 2]).all()


def rgba(red: int, green: int, blue: int, alpha: int) -> Image.Image:
    return Image.new("RGBA", (8, 8), (red, green, blue, alpha))


def palette(transparency: int | bytes | None = None) -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize(
    ("kind", "image", "colour"),
    [
        ("PNG", rgba(255, 0, 0, 128), (255, 127, 127)),
        ("PNG", rgba(0, 0, 0, 0), (255, 255, 255)),
        ("WEBP", rgba(0, 0, 0, 0), (255, 255, 255)),
        ("PNG", Image.new("LA", (8, 8), (0, 128)), (127, 127, 127)),
        ("PNG", Image.new("L", (8, 8), 77), (77, 77, 77)),
        ("PNG", Image.new("1", (8, 8), 1), (255, 255, 255)),
        ("PNG", Image.new("I;16", (8, 8), 257 * 100), (100, 100, 100)),
        ("PNG", palette(), (200, 100, 50)),
        ("PNG", palette(1), (255, 255, 255)),
        ("PNG", palette(b"\xff\x80"), (227, 177, 152)),
        ("GIF", palette(), (200, 100, 50)),
        ("GIF", palette(1), (255, 255, 255)),
        ("JPEG", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), (255, 0, 0)),
        ("JPEG", Image.new("L", (8, 8), 77), (77, 77, 77)),
        ("JPEG", Image.new("RGB", (8, 8), (200, 100, 50)), (200, 100, 50)),
    ],
)
def test_every_mode_shows_the_colour_a_browser_shows(kind, image, colour):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    decoded = media.decode_image(picture(kind, image, **options), 16)
    assert decoded.shape == (16, 16, 3)
    assert decoded.dtype == np.uint8
    np.testing.assert_allclose(decoded.reshape(-1, 3), np.tile(colour, (256, 1)), atol=2)


def deep(*colour: int, kind: int, key: bytes = b"") -> bytes:
    """A PNG of one colour of 16 bits a channel; `kind` as PNG counts: 0 grey, 2 RGB, 4 and 6 with alpha."""
    row = b"\0" + 8 * b"".join(struct.pack(">H", level) for level in colour)
    return png(8, 8, depth=16, colour=kind, pixels=8 * row, extra=(b"tRNS", key) if key else ())


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (deep(25_700, kind=0), (100, 100, 100)),
        (deep(25_700, kind=0, key=struct.pack(">H", 25_700)), (255, 255, 255)),
        (deep(25_700, kind=0, key=struct.pack(">H", 25_701)), (100, 100, 100)),
        (deep(51_400, 25_700, 2570, kind=2), (200, 100, 10)),
        (deep(51_400, 25_700, 2570, kind=2, key=struct.pack(">HHH", 51_400, 25_700, 2570)), (255, 255, 255)),
        (deep(25_700, 32_896, kind=4), (177, 177, 177)),
        (deep(51_400, 25_700, 2570, 32_896, kind=6), (227, 177, 132)),
        (png(8, 8, depth=2, pixels=8 * b"\0\x55\x55"), (85, 85, 85)),
        (png(8, 8, depth=4, pixels=8 * b"\0\xaa\xaa\xaa\xaa"), (170, 170, 170)),
        (png(8, 8, pixels=8 * (b"\0" + 8 * b"\x4d"), extra=(b"tRNS", b"\0\x4d")), (255, 255, 255)),
        (png(8, 8, depth=1, pixels=8 * b"\0\xff", extra=(b"tRNS", b"\0\1")), (255, 255, 255)),
    ],
)
def test_every_depth_of_png_shows_the_colour_a_browser_shows(data, colour):
    np.testing.assert_allclose(media.decode_image(data, 8).reshape(-1, 3), np.tile(colour, (64, 1)), atol=2)


ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
"""From linear red, green, blue to XYZ under D50: Adobe RGB (1998), section 4.3.5, adapted; IEC 61966-2-1, adapted."""


def icc(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A colour profile by hand (ICC.1:2001-04, sections 6.1 and 6.2)."""
    table, content, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, at + len(content), len(value))
        content += value + b"\0" * (-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(content), b"", 0x02100000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061) + bytes(48)
    return head + table + content


def xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(65536 * value) for value in values))


def gamma(exponent: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(256 * exponent))


ADOBE = icc(
    b"RGB ",
    {name + b"XYZ": xyz(column) for name, column in zip((b"r", b"g", b"b"), ADOBE_RGB.T, strict=True)}
    | {name + b"TRC": gamma(563 / 256) for name in (b"r", b"g", b"b")}
    | {b"wtpt": xyz(np.array([0.96420, 1.0, 0.82491]))},
)
LINEAR_GREY = icc(b"GRAY", {b"kTRC": gamma(1.0), b"wtpt": xyz(np.array([0.96420, 1.0, 0.82491]))})


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """Levels of sRGB of linear light (IEC 61966-2-1)."""
    clipped = np.clip(linear, 0, 1)
    return 255 * np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("colour", [(200, 100, 50), (90, 160, 90), (20, 20, 20), (255, 255, 255), (60, 60, 220)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_colour_profile_is_applied(kind, colour):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    data = picture(kind, Image.new("RGB", (8, 8), colour), icc_profile=ADOBE, **options)
    light = ADOBE_RGB @ (np.array(colour) / 255) ** (563 / 256)
    expected = to_srgb(np.linalg.solve(SRGB, light))
    np.testing.assert_allclose(media.decode_image(data, 8)[4, 4], expected, atol=2)


def test_colour_profiles_of_grey_of_transparency_and_of_nothing_that_can_be_used():
    grey = media.decode_image(picture("PNG", Image.new("L", (8, 8), 55), icc_profile=LINEAR_GREY), 8)
    np.testing.assert_allclose(grey[4, 4], to_srgb(np.full(3, 55 / 255)), atol=2)
    clear = media.decode_image(picture("PNG", rgba(200, 100, 50, 0), icc_profile=ADOBE), 8)
    np.testing.assert_allclose(clear[4, 4], (255, 255, 255), atol=2)
    for useless in (b"no profile", ADOBE[:200], LINEAR_GREY, ADOBE[:132] + bytes(len(ADOBE) - 132)):
        for kind, options in (("PNG", {}), ("JPEG", {"quality": 100, "subsampling": 0})):
            data = picture(kind, Image.new("RGB", (8, 8), (200, 100, 50)), icc_profile=useless, **options)
            np.testing.assert_allclose(media.decode_image(data, 8)[4, 4], (200, 100, 50), atol=2)


def test_a_colour_key_without_palette_is_transparent():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[4:] = (10, 20, 30)
    decoded = media.decode_image(picture("PNG", pixels, transparency=(10, 20, 30)), 8)
    assert (decoded[0] == 0).all()
    assert (decoded[-1] == 255).all()


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.new("L", (8, 8), grey) for grey in (40, 200)]
    for kind in ("GIF", "WEBP"):
        data = picture(kind, frames[0], save_all=True, append_images=frames[1:], lossless=True)
        assert abs(int(media.decode_image(data, 8)[0, 0, 0]) - 40) <= 1


@pytest.mark.parametrize(
    ("height", "width", "side"), [(1, 1, 8), (4, 300, 24), (300, 4, 24), (533, 400, 24), (7, 7, 7)]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_whole_picture_fills_the_square(kind, height, width, side):
    """Against plain resampling of all pixels, which draft decoding and reducing in steps stand in for."""
    pixels = scene(height, width)
    decoded = media.decode_image(
        picture(kind, pixels, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {})), side
    )
    plain = Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)
    assert decoded.shape == (side, side, 3)
    assert np.abs(decoded.astype(float) - np.asarray(plain)).mean() < 4


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "WEBP", "GIF"])
def test_a_cut_picture_is_never_filled_up(kind):
    data = picture(kind.split()[-1], scene(120, 160), **({"progressive": True} if "progressive" in kind else {}))
    for share in np.linspace(0.02, 0.97, 20):
        assert reason(media.decode_image, data[: int(share * len(data))], 24) in ("truncated", "undecodable"), share


@pytest.mark.parametrize(
    "bomb",
    [
        png(13_300, 13_300, depth=1, pixels=bytes(13_300 * 1664)),
        png(7000, 7000),
        png(2**31 - 1, 2**31 - 1),
        picture("GIF")[:6] + b"\xff\xff\xff\xff" + picture("GIF")[10:],
        picture("JPEG").replace(b"\x08\x00\x30\x00\x40\x03", b"\x08\xff\xff\xff\xff\x03"),  # height and width
        picture("WEBP")[:26] + b"\xff\xff\xff\xff" + picture("WEBP")[30:],
        picture("WEBP", lossless=True)[:21] + b"\xff\xff\xff\xff" + picture("WEBP", lossless=True)[25:],
    ],
    ids=["13300", "7000", "largest", "gif", "jpeg", "webp", "lossless webp"],
)
def test_too_many_pixels_are_refused_before_decoding(bomb):
    start = time.process_time()
    assert reason(media.decode_image, bomb, 24) == "too_large"
    assert time.process_time() - start < 0.2


def test_a_picture_just_under_the_limit_decodes():
    assert media.decode_image(png(8000, 5000, depth=1, pixels=bytes(5000 * 1001)), 8).max() == 0
    assert reason(media.decode_image, png(8000, 5001, depth=1, pixels=bytes(5001 * 1001)), 8) == "too_large"


def test_other_formats_that_pillow_knows_are_refused():
    for kind in ("BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "JPEG2000", "DDS"):
        assert reason(media.decode_image, picture(kind), 24) == "format_not_allowed", kind


def test_our_own_jpegs_keep_the_picture():
    pixels = scene(64, 48)
    data = media.encode_jpeg(pixels)
    decoded = media.decode_jpeg(data)
    assert decoded.shape == (64, 48, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(float) - pixels).mean() < 1.5
    # Full colour resolution: a red line one pixel wide stays red.
    line = np.zeros((16, 16, 3), np.uint8)
    line[:, 8] = (255, 0, 0)
    assert media.decode_jpeg(media.encode_jpeg(line))[8, 8, 0] > 230
    strip = scene(64 * 8, 64)
    assert media.decode_jpeg(media.encode_jpeg(strip)).shape == strip.shape
