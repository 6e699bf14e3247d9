"""Pictures, clips and sounds of the embedded catalogue: real files that tell what they should, and nothing else."""

import colorsys
import io
import itertools

import av
import numpy as np
import pytest
from PIL import Image

from m5jax.catalogues import toy, toy_media, toy_shapes

CATEGORIES = [name for names in toy.DEPARTMENTS.values() for name in names]


def upright(**changes: float) -> toy_media.View:
    plain = {"x": 0.0, "y": 0.0, "scale": 0.8, "angle": 0.0, "light": 225.0, "backdrop": 220.0}
    return toy_media.View(**plain | changes)


def take(sound: str = "wav", **changes: float) -> toy_media.Take:
    return toy_media.Take(upright(), upright(**changes), 16, 1.5, 0.2, 1.0, 0.0, sound)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_picture_tells_its_colour(category):
    rng = np.random.default_rng(0)
    for name, (hue, _, _) in toy_media.COLOURS.items():
        with Image.open(io.BytesIO(toy_media.picture(category, name, toy_media.View.draw(rng)))) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (96, 96), "RGB")
            pixels = np.asarray(image) / 255
        colourful = pixels[np.ptp(pixels, axis=-1) > 0.3]
        assert len(colourful) > 150, "the colour is there to be seen"
        shift = [(360 * colorsys.rgb_to_hsv(*pixel)[0] - hue + 180) % 360 - 180 for pixel in colourful]
        assert abs(np.median(shift)) < 6


def test_silhouettes_differ():
    assert set(toy_shapes.SHAPES) == set(CATEGORIES)
    assert len(CATEGORIES) == 24
    masks = {}
    for category in CATEGORIES:
        pixels = np.asarray(Image.open(io.BytesIO(toy_media.picture(category, "red", upright()))))
        masks[category] = pixels.min(axis=-1) < 150
    for one, other in itertools.combinations(CATEGORIES, 2):
        overlap = (masks[one] & masks[other]).sum() / (masks[one] | masks[other]).sum()
        assert overlap < 0.85, f"{one} looks like {other}"


def frames(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data), "r") as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].average_rate == toy_media.CLIP_RATE
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def movement(motion: str) -> dict[str, float]:
    """How the dark pixels of a clip of a goblet (wide at the top) move, in shares of the side and of their number."""
    clip = frames(toy_media.clip("goblet", motion, take()))
    assert clip.shape == (16, 64, 64, 3)
    dark = [np.argwhere(frame.mean(axis=-1) < 175) / 64 for frame in clip]
    centres, areas = np.array([points.mean(axis=0) for points in dark]), np.array([len(points) for points in dark])
    lean = [points[:, 0].mean() - (points[:, 0].min() + points[:, 0].max()) / 2 for points in dark]
    widths = [np.ptp(points[:, 1]) for points in dark]
    return {
        "y": np.ptp(centres[:, 0]),
        "x": np.ptp(centres[:, 1]),
        "area": np.ptp(areas) / areas.mean(),
        "width": np.ptp(widths),
        "upside_down": max(lean),
    }


def test_a_clip_tells_its_motion():
    seen = {motion: movement(motion) for motion in toy_media.MOTIONS}
    moves_x = {motion for motion, move in seen.items() if move["x"] > 0.25}
    moves_y = {motion for motion, move in seen.items() if move["y"] > 0.25}
    assert (moves_x, moves_y) == ({"slide", "orbit"}, {"bounce", "orbit"})
    assert {motion for motion, move in seen.items() if move["area"] > 0.8} == {"pulse"}
    assert {motion for motion, move in seen.items() if move["width"] > 0.1} == {"pulse", "spin", "swing"}
    assert {motion for motion, move in seen.items() if move["upside_down"] > 0.04} == {"spin"}


def test_a_clip_does_not_tell_the_colour():
    clips = [frames(toy_media.clip(category, "orbit", take(backdrop=0))) for category in CATEGORIES]
    assert max(np.ptp(clip, axis=-1).max() for clip in clips) < 60, "a painted product would be near 200"


def samples(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels) == (toy_media.SAMPLE_RATE, 1)
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return wave / 32768 if wave.dtype == np.int16 else wave


@pytest.mark.parametrize("coding", ["wav", "m4a"])
@pytest.mark.parametrize("department", toy.DEPARTMENTS)
def test_a_sound_tells_its_pitch(department, coding):
    rng = np.random.default_rng(0)
    for pitch in toy_media.PITCHES:
        wave = samples(toy_media.sound(department, pitch, take(coding), rng))
        assert len(wave) == pytest.approx(toy_media.SAMPLE_RATE, abs=2048)
        assert 0.05 < np.abs(wave).max() < 1
        loudest = np.abs(np.fft.rfft(wave)).argmax() * toy_media.SAMPLE_RATE / len(wave)
        assert loudest == pytest.approx(pitch, rel=0.03)


def test_the_timbre_tells_the_department():
    def fingerprint(department, pitch, seed):
        wave = samples(toy_media.sound(department, pitch, take(), np.random.default_rng(seed)))
        envelope = np.sqrt((wave.reshape(50, -1) ** 2).mean(axis=1))
        return envelope / np.linalg.norm(envelope)

    assert set(toy_media.TIMBRES) == set(toy.DEPARTMENTS)
    known = {department: fingerprint(department, 600, 0) for department in toy.DEPARTMENTS}
    for department in toy.DEPARTMENTS:
        heard = fingerprint(department, 952, 1)
        assert max(known, key=lambda name: known[name] @ heard) == department
