"""The decode boundary as a whole: every sample file, mutated files, missing decoders, limits of the process."""

import io
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from media_files import SAMPLES, film, needs_samples, picture, reason, sound, tone

from m5jax.data import media

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


@needs_samples
def test_healthy_samples_decode_to_what_was_observed_of_them():
    entries = json.loads((SAMPLES / "manifest.json").read_text())
    assert SPECIAL.keys() <= {entry["file"] for entry in entries}
    assert {entry["file"] for entry in entries if entry["file"].startswith("malformed/")} <= SPECIAL.keys()
    for entry in entries:
        name, observed = entry["file"], entry["observed"]
        if name in SPECIAL:
            continue
        kind = name.partition("/")[0]
        decoded = DECODERS[kind]((SAMPLES / name).read_bytes())
        if kind == "image":
            assert decoded.shape == (24, 24, 3), name
            assert decoded.std() > 10 or name == "image/shoes-1x1.png", name
        elif kind == "video":
            assert decoded.shape == (min(5, observed["video"]["frames"]), 24, 24, 3), name
        else:
            seconds = min(2.0, observed["audio"]["samples"] / observed["audio"]["rate"])
            assert len(decoded) == pytest.approx(seconds * 16000, abs=1), name
            assert 0.01 < np.abs(decoded).max() < 1.2, name


@needs_samples
def test_the_sound_of_sample_films_decodes_too():
    for entry in json.loads((SAMPLES / "manifest.json").read_text()):
        name, observed = entry["file"], entry["observed"]
        if name.startswith("video/"):
            found = reason(DECODERS["audio"], (SAMPLES / name).read_bytes())
            assert found == ("decoded" if "audio" in observed else "no_audio"), name


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage as it happens and as attackers do it: flipped bits, cuts, smashed headers, lost and doubled parts."""
    changed, kind, at = bytearray(data), rng.integers(6), int(rng.integers(len(data)))
    if kind == 0:
        for _ in range(rng.integers(1, 40)):
            changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
    elif kind == 1:
        del changed[at:]
    elif kind == 2:
        for _ in range(8):
            changed[rng.integers(min(len(data), 256))] = rng.integers(256)
    elif kind == 3:
        changed[at : at + 500] = bytes(len(changed[at : at + 500]))
    elif kind == 4:
        del changed[at : at + int(rng.integers(1, 200))]
    else:
        changed[at:at] = changed[at : at + int(rng.integers(1, 200))]
    return bytes(changed)


def test_mutated_files_end_decoded_or_with_a_reason():
    stereo = np.stack([tone(), tone(hertz=660.0)], axis=1)
    features = io.BytesIO()
    np.save(features, np.ones((4, 8), np.float32))
    seeds = [
        *((picture(kind), DECODERS["image"]) for kind in ("JPEG", "PNG", "WEBP", "GIF")),
        *((sound(kind, stereo), DECODERS["audio"]) for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF")),
        *((film(kind, samples=tone(48000)), DECODERS["video"]) for kind in ("mp4", "matroska", "mpegts")),
        (film("avi", codec="mpeg4"), DECODERS["video"]),
        (film("mp4", samples=tone(48000)), DECODERS["audio"]),
        (features.getvalue(), lambda data: media.decode_features(data, 8, 3)),
    ]
    rng, found, start = np.random.default_rng(0), set(), time.process_time()
    for data, decode in seeds:
        assert reason(decode, data) == "decoded"
        found |= {reason(decode, mutate(data, rng)) for _ in range(30)}
    assert time.process_time() - start < 20
    assert {"decoded", "truncated", "undecodable"} <= found


@pytest.mark.parametrize(
    "script",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nneighbour.ts\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile neighbour.mp4\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>",
        b"<!DOCTYPE html><title>404</title>",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"BM" + bytes(100),
    ],
)
def test_what_could_open_other_files_is_refused_at_once(script):
    start = time.process_time()
    for decode in DECODERS.values():
        assert reason(decode, script) == "format_not_allowed"
    assert time.process_time() - start < 0.5


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
from m5jax.data import media
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
