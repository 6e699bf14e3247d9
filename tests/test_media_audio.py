"""Sounds: the beginning of each, at its pitch and loudness, from every format; crafted and cut files are refused."""

import struct
import time

import numpy as np
import pytest
from media_files import film, picture, reason, sound, sound_in, tone

from m5jax import media

RATE = 16000


def pitch(samples: np.ndarray) -> float:
    """The loudest frequency, Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * RATE / len(samples))


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if size is None else size) + content


def wav(
    content: bytes = bytes(16000), *, rate: int = 8000, channels: int = 1, bits: int = 16, kind: int = 1, **sizes: int
) -> bytes:
    """A WAV file by hand; `riff` and `data` are sizes to claim instead of the true ones."""
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * align % 2**32, align % 2**16, bits)
    body = b"WAVE" + chunk(b"fmt ", form) + chunk(b"data", content, sizes.get("data"))
    return chunk(b"RIFF", body, sizes.get("riff"))


FORMATS = {
    "WAV": sound("WAV", tone()),
    "WAV 24": sound("WAV", tone(), subtype="PCM_24"),
    "WAV 8": sound("WAV", tone(), subtype="PCM_U8"),
    "WAV float": sound("WAV", tone(), subtype="FLOAT"),
    "WAV u-law": sound("WAV", tone(8000), 8000, subtype="ULAW"),
    "WAV 44.1": sound("WAV", tone(44100), 44100),
    "WAV 192": sound("WAV", tone(192000), 192000),
    "AIFF": sound("AIFF", tone(48000), 48000),
    "FLAC": sound("FLAC", tone(48000), 48000),
    "Vorbis": sound("OGG", tone(22050), 22050),
    "Opus": sound("OGG", tone(48000), 48000, subtype="OPUS"),
    "MP3": sound("MP3", tone(44100), 44100),
    "M4A": sound_in("ipod", "aac"),
    "MP4": film("mp4", samples=tone(48000)),
    "WebM": sound_in("webm", "libopus"),
    "AC-3": sound_in("ac3", "ac3"),
    "MPEG-TS": sound_in("mpegts", "mp2"),
    "AVI": sound_in("avi", "pcm_s16le"),
    "Matroska 8": sound_in("matroska", "pcm_u8"),
    "Matroska 32": sound_in("matroska", "pcm_s32le"),
    "MOV double": sound_in("mov", "pcm_f64le"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_pitch_and_loudness(name):
    samples = media.decode_audio(FORMATS[name], RATE, 10.0)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(0.5 * RATE, abs=0.04 * RATE)  # codecs fill up their last frame
    assert pitch(samples[: RATE // 2]) == pytest.approx(440, abs=3)
    middle = samples[RATE // 8 : 3 * RATE // 8]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("name", ["WAV", "WAV 44.1", "Opus", "M4A"])
def test_only_the_wanted_seconds_are_kept(name):
    beginning = media.decode_audio(FORMATS[name], RATE, 0.2)
    assert len(beginning) == 0.2 * RATE
    np.testing.assert_allclose(beginning, media.decode_audio(FORMATS[name], RATE, 10.0)[: len(beginning)], atol=1e-4)


@pytest.mark.parametrize(("rate", "tolerance"), [(8000, 2e-3), (11025, 2e-3), (44100, 2e-3), (47999, 0.02)])
def test_resampling_equals_the_tone_drawn_at_the_new_rate(rate, tolerance):
    samples = media.decode_audio(sound("WAV", tone(rate), rate, subtype="FLOAT"), RATE, 0.4)
    np.testing.assert_allclose(samples[500:], tone(RATE, 0.4)[500:], atol=tolerance)


def test_channels_are_averaged():
    stereo = np.stack([tone(), np.zeros(8000, np.float32)], axis=1)
    np.testing.assert_allclose(media.decode_audio(sound("WAV", stereo), RATE, 1.0), tone() / 2, atol=1e-3)
    opposite = np.stack([tone(), -tone()], axis=1)
    assert np.abs(media.decode_audio(sound("WAV", opposite), RATE, 1.0)).max() < 1e-3


def test_what_is_louder_than_full_scale_is_cut_off():
    samples = media.decode_audio(sound("WAV", 1e30 * tone(), subtype="FLOAT"), RATE, 1.0)
    assert np.abs(samples).max() == 1.0


def test_silence_is_a_sound():
    assert not media.decode_audio(sound("WAV", np.zeros(8000)), RATE, 1.0).any()


NAN = np.full(4000, np.nan, "<f4").tobytes()
ID3 = b"ID3\4\0\0\0\0\0\x10" + bytes(16)
CRAFTED = {
    "0 Hz": (wav(rate=0), {"undecodable", "format_not_allowed"}),
    "1 Hz": (wav(rate=1), {"format_not_allowed"}),
    "4 GHz": (wav(rate=4_000_000_000), {"undecodable", "format_not_allowed"}),
    "65535 channels": (wav(channels=65535), {"undecodable", "format_not_allowed"}),
    "9 channels": (wav(bytes(9 * 2 * 8000), channels=9), {"format_not_allowed"}),
    "0 channels": (wav(channels=0), {"undecodable", "format_not_allowed"}),
    "NaN": (wav(NAN, bits=32, kind=3), {"non_finite"}),
    "infinite": (wav(np.full(4000, np.inf, "<f4").tobytes(), bits=32, kind=3), {"non_finite"}),
    "4 GB of data": (wav(data=0xFFFFFFF0), {"truncated"}),
    "4 GB in all": (wav(riff=0xFFFFFFF0), {"truncated"}),
    "no samples": (wav(b""), {"empty"}),
    "one sample": (wav(b"\1\0"), {"too_short"}),
    "49 ms": (wav(bytes(2 * 392)), {"too_short"}),
    "50 ms": (wav(bytes(2 * 400)), {"decoded"}),
    "unknown codec": (wav(kind=0x7777), {"undecodable"}),
    "no data chunk": (chunk(b"RIFF", b"WAVE" + chunk(b"fmt ", bytes(16))), {"undecodable"}),
    "only a name": (b"RIFF\4\0\0\0WAVE", {"undecodable"}),
    "RIFF of something else": (chunk(b"RIFF", b"RMID" + bytes(100)), {"format_not_allowed"}),
    "ID3 before no music": (b"ID3\4\0\0\0\0\0\0" + bytes(4000), {"undecodable", "format_not_allowed"}),
    "ID3 before FLAC": (ID3 + sound("FLAC"), {"decoded"}),
    "ID3 before another format": (ID3 + sound("AU"), {"format_not_allowed"}),
    "picture": (picture("JPEG"), {"format_not_allowed"}),
    "nothing": (b"", {"empty"}),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_files(name):
    data, expected = CRAFTED[name]
    start = time.process_time()
    assert reason(media.decode_audio, data, RATE, 1.0) in expected
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("name", ["WAV", "AIFF", "FLAC", "Vorbis", "Opus", "MP3", "M4A", "MP4", "WebM", "AVI"])
def test_a_cut_sound_is_never_taken_for_a_whole_one(name):
    data = FORMATS[name]
    for share in np.linspace(0.01, 0.95, 20):
        cut = data[: int(share * len(data))]
        found = reason(media.decode_audio, cut, RATE, 0.1)  # even if the wanted beginning is there
        # Too little may be left to tell the format by.
        assert found in ({"truncated", "undecodable"} if len(cut) > 200 else {"truncated", "undecodable", "empty"})


def test_an_ogg_cut_between_its_pages_is_truncated():
    data = sound("OGG", tone(seconds=3.0))
    pages = [at for at in range(1, len(data)) if data.startswith(b"OggS", at)]
    assert len(pages) >= 2
    for page in pages:
        assert reason(media.decode_audio, data[:page], RATE, 0.1) == "truncated"


def test_a_sound_shorter_than_its_container_declares_is_truncated():
    data = bytearray(FORMATS["M4A"])
    table = data.index(b"stts") + 8  # how long each packet lasts: entries of (packets, ticks)
    for entry in range(struct.unpack_from(">I", data, table)[0]):
        struct.pack_into(">I", data, table + 8 + 8 * entry, 10240)
    assert reason(media.decode_audio, bytes(data), RATE, 10.0) == "truncated"


def test_a_flac_may_leave_its_length_open():
    data = bytearray(FORMATS["FLAC"])
    data[21] &= 0xF0  # the number of samples: the last four bits here and the next four bytes
    data[22:26] = bytes(4)
    assert len(media.decode_audio(bytes(data), RATE, 0.4)) == 0.4 * RATE


def test_a_film_without_sound():
    assert reason(media.decode_audio, film("mp4"), RATE, 1.0) == "no_audio"
    assert reason(media.decode_audio, film("gif", codec="gif"), RATE, 1.0) == "no_audio"
