"""The decode boundary as a whole: every sample file, missing decoders, features, limits of the process."""

import io
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from media_files import SAMPLES, film, needs_samples, picture, reason, sound

from m5jax import media
from m5jax.media import image

# What a person finds right for the samples that are not simply pictures, films or sounds: the decoder and its
# answer. MPEG-TS names no length, so that half of one is a shorter film.
SPECIAL = {
    "audio/speech-1-sample.wav": ("audio", "too_short"),
    "audio/speech-20ms.wav": ("audio", "too_short"),
    "malformed/corrupted-original.mp4": ("video", "undecodable"),
    "malformed/cut-30pc.m4a": ("audio", "truncated"),
    "malformed/cut-40pc-moov-first.mp4": ("video", "truncated"),
    "malformed/cut-50pc.flac": ("audio", "truncated"),
    "malformed/cut-50pc.jpg": ("image", "truncated"),
    "malformed/cut-50pc.mp3": ("audio", "truncated"),
    "malformed/cut-50pc.ogg": ("audio", "truncated"),
    "malformed/cut-50pc.png": ("image", "truncated"),
    "malformed/cut-50pc.ts": ("video", "decoded"),
    "malformed/cut-50pc.wav": ("audio", "truncated"),
    "malformed/cut-50pc.webm": ("video", "truncated"),
    "malformed/cut-50pc.webp": ("image", "truncated"),
    "malformed/cut-60pc.avi": ("video", "truncated"),
    "malformed/cut-header-only.jpg": ("image", "undecodable"),
    "malformed/cut-header-only.mp4": ("video", "truncated"),
    "malformed/cut-header-only.wav": ("audio", "truncated"),
    "malformed/cut-header-only.webm": ("video", "truncated"),
    "malformed/cut-mid-header.wav": ("audio", "truncated"),
    "malformed/cut-no-moov.mp4": ("video", "truncated"),
    "malformed/empty.jpg": ("image", "empty"),
    "malformed/empty.mp4": ("video", "empty"),
    "malformed/empty.wav": ("audio", "empty"),
    "malformed/jpeg-named.png": ("image", "decoded"),
    "malformed/ogg-named.mp4": ("video", "format_not_allowed"),
}
DECODERS = {
    "image": lambda data: media.decode_image(data, 24),
    "video": lambda data: media.decode_video(data, 5, 24),
    "audio": lambda data: media.decode_audio(data, 16000, 2.0),
}


@needs_samples
def test_damaged_and_misnamed_samples_end_with_the_reason_a_person_gives():
    found = {
        name: (decoder, reason(DECODERS[decoder], (SAMPLES / name).read_bytes()))
        for name, (decoder, _) in SPECIAL.items()
    }
    assert found == SPECIAL


# Where a library, by the manifest, saw nothing wrong in a file that is refused here, and why that is right.
REFUSED_ALL_THE_SAME = {
    "audio/speech-1-sample.wav": "nothing can be heard in a sample",
    "audio/speech-20ms.wav": "nor in 20 ms",
    "malformed/cut-50pc.mp3": "half is missing, which the library passes over in silence; likewise in the next four",
    "malformed/cut-50pc.ogg": "",
    "malformed/cut-50pc.wav": "",
    "malformed/cut-50pc.webm": "",
    "malformed/cut-60pc.avi": "",
    "malformed/ogg-named.mp4": "a whole sound, but named where a film is to be",
}


@needs_samples
def test_samples_are_taken_or_refused_as_was_observed_of_them():
    """What is taken has the size, frames and samples that the manifest notes; what had an error is refused."""
    entries = json.loads((SAMPLES / "manifest.json").read_text())
    assert len(entries) == 88
    assert SPECIAL.keys() | REFUSED_ALL_THE_SAME.keys() <= {entry["file"] for entry in entries}
    assert {entry["file"] for entry in entries if entry["file"].startswith("malformed/")} <= SPECIAL.keys()
    for entry in entries:
        name, observed = entry["file"], entry["observed"]
        kind, data = name.partition("/")[0], (SAMPLES / name).read_bytes()
        decoder = SPECIAL[name][0] if name in SPECIAL else kind
        broken = "error" in observed or "errors" in observed or name in REFUSED_ALL_THE_SAME
        assert (reason(DECODERS[decoder], data) != "decoded") == broken, name
        if broken:
            continue
        if decoder == "image":
            assert image._open(data).size == (observed["width"], observed["height"]), name
            assert DECODERS["image"](data).std() > 10 or name == "image/shoes-1x1.png", name
        elif decoder == "video":
            wanted = 512 if len(data) < 120_000 else 5  # all, or where that takes long some
            frames = media.decode_video(data, wanted, 8)
            assert frames.shape == (min(wanted, observed["video"]["frames"]), 8, 8, 3), name
        if "audio" in observed:
            samples = media.decode_audio(data, 16000, 100.0)
            seconds = observed["audio"]["samples"] / observed["audio"]["rate"]
            assert len(samples) == pytest.approx(seconds * 16000, abs=1), name
            assert 0.01 < np.abs(samples).max() < 1.2 or name == "video/bunny-silent.mp4", name


@needs_samples
def test_films_without_a_sound_track_say_so():
    for entry in json.loads((SAMPLES / "manifest.json").read_text()):
        if entry["file"].startswith("video/") and "audio" not in entry["observed"]:
            assert reason(DECODERS["audio"], (SAMPLES / entry["file"]).read_bytes()) == "no_audio", entry["file"]


@pytest.mark.parametrize(("library", "decoder"), [("av", "video"), ("soundfile", "audio")])
def test_a_missing_decoder_names_the_extra_to_install(monkeypatch, library, decoder):
    data = film() if decoder == "video" else sound("WAV")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(media.MediaError, match=rf"decoder_missing: {library}.*pip install 'm5jax\[media\]'"):
        DECODERS[decoder](data)


def npy(array: np.ndarray, **changes) -> bytes:
    """A .npy file, with fields of its header replaced."""
    file = io.BytesIO()
    fields = np.lib.format.header_data_from_array_1_0(array) | changes
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue() + array.tobytes("A")


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_features_of_every_float_and_order(dtype):
    array = (np.arange(24).reshape(6, 4) / 8).astype(dtype)
    for order in "CF":
        features, _ = media.decode_features(npy(np.asarray(array, order=order)), 4, 5)
        assert features.dtype == np.float16
        np.testing.assert_array_equal(features, array[:5])
    np.testing.assert_array_equal(media.decode_features(npy(array[0]), 4, 5)[0], array[:1])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (npy(np.ones((0, 4), np.float32)), "empty"),
        (npy(np.ones((3, 5), np.float32)), "wrong_shape"),
        (npy(np.ones((3, 4, 1), np.float32)), "wrong_shape"),
        (npy(np.float32(1)), "wrong_shape"),
        (npy(np.ones((3, 4), np.float32))[:-1], "truncated"),
        (npy(np.ones((3, 4), np.float32), shape=(1 << 50, 4)), "truncated"),
        (npy(np.ones((3, 4), np.float32), shape=(1 << 70, 4)), "truncated"),
        (npy(np.ones((3, 4), np.float32), shape=(-3, 4)), "undecodable"),
        (npy(np.ones((3, 4), np.float32))[:20], "undecodable"),
        (npy(np.ones((3, 4), np.int32)), "format_not_allowed"),
        (npy(np.ones((3, 4), "U4")), "format_not_allowed"),
        (npy(np.ones((3, 4), np.complex64)), "format_not_allowed"),
        (picture("PNG"), "format_not_allowed"),
        (npy(np.full((3, 4), np.nan, np.float32)), "non_finite"),
        (npy(np.full((3, 4), 7e4, np.float32)), "non_finite"),
    ],
)
def test_features_that_are_none(data, expected):
    start = time.process_time()
    assert reason(media.decode_features, data, 4, 5) == expected
    assert time.process_time() - start < 0.5


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickled_features_are_refused_without_running_them(tmp_path):
    trap, file = tmp_path / "trap", io.BytesIO()
    np.save(file, np.array([[Trap(str(trap))] * 4], dtype=object))
    assert reason(media.decode_features, file.getvalue(), 4, 5) == "format_not_allowed"
    assert not trap.exists()


LIMITED = """
import os, resource, sys
from m5jax import media
large, small = (open(path, "rb").read() for path in sys.argv[1:])
media.limit_process(64 << 20)
os.write(2, b"chatter of a library\\n")
print("a message of Python", file=sys.stderr)
print(resource.getrlimit(resource.RLIMIT_CORE)[0])
try:
    media.decode_image(large, 24)
except media.MediaError as error:
    print(error.reason)
print(media.decode_image(small, 24).shape)
"""


def test_a_limited_process_survives_what_needs_too_much_memory(tmp_path):
    for name, side in (("large", 6300), ("small", 600)):
        (tmp_path / name).write_bytes(picture("PNG", np.zeros((side, side), np.uint8), compress_level=1))
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "large"), str(tmp_path / "small")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "a message of Python\n"
    assert done.stdout.split("\n") == ["0", "too_large", "(24, 24, 3)", ""]
