"""Media of records as a person sees them."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from reports import listing
from small import small_config

from m5jax.report.pictures import SPECTROGRAM, STRIP_HEIGHT, THUMBNAIL, pictures

CONFIG = small_config(inputs__image__size=512, inputs__video__size=16, inputs__video__frames=4)


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def pixels(uri):
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_picture_is_made_small():
    large = encoded(np.full((576, 576, 3), (200, 30, 30), np.uint8))
    seen = pixels(pictures(listing(0, CONFIG, image=large), CONFIG.inputs)["image"])
    assert seen.shape == (THUMBNAIL, THUMBNAIL, 3)
    assert seen.mean((0, 1)) == pytest.approx((200, 30, 30), abs=6)


def test_film_strip_shows_the_frames_in_order_side_by_side():
    shades = np.asarray([20, 90, 160, 230], np.uint8)
    strip = encoded(np.repeat(shades, 16)[:, None, None].repeat(16, 1).repeat(3, 2))
    seen = pixels(pictures(listing(0, CONFIG, video=strip), CONFIG.inputs)["video"])
    assert seen.shape[0] <= STRIP_HEIGHT
    quarters = np.array_split(seen.mean((0, 2)), 4)
    assert [quarter.mean() for quarter in quarters] == pytest.approx(shades, abs=8)


def test_spectrogram_has_time_to_the_right_and_low_sounds_below():
    loud = np.full((300, 64), -1.0, np.float16)
    loud[150:, :32] = 2.0  # the second half has low sounds
    seen = pixels(pictures(listing(0, CONFIG, audio=loud), CONFIG.inputs)["audio"]).astype(float).mean(2)
    assert seen.shape == SPECTROGRAM[::-1]
    half, middle = seen.shape[0] // 2, seen.shape[1] // 2
    below_right = seen[half + 2 :, middle + 2 :].mean()
    assert below_right > 1.3 * max(seen[: half - 2].mean(), seen[half + 2 :, : middle - 2].mean())


def test_silence_is_drawn():
    still = np.zeros((16, 16), np.float16)
    seen = pixels(pictures(listing(0, CONFIG, audio=still), CONFIG.inputs)["audio"])
    assert np.ptp(seen.reshape(-1, 3), axis=0).max() < 5


def test_what_is_not_present_or_was_never_a_picture_is_not_drawn():
    assert set(pictures(listing(0, CONFIG, present=("text", "audio")), CONFIG.inputs)) == {"audio"}
    features = small_config(inputs__image__source="features", inputs__image__feature_dim=8)
    assert set(pictures(listing(0, features), features.inputs)) == {"video", "audio"}
