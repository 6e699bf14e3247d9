"""Sounds: a seller's bytes to samples."""

import contextlib
import fractions
import io
import math
from typing import TYPE_CHECKING

import numpy as np

from m5jax.media.files import MediaError
from m5jax.media.format import MISSING_SHARE, boundary, first_stream, identify, open_container

if TYPE_CHECKING:
    import av
    import soundfile

SOUNDFILE_FORMATS = {
    "wav": ("WAV", "WAVEX"),
    "aiff": ("AIFF",),
    "flac": ("FLAC",),
    "ogg": ("OGG",),
    "mp3": ("MP3", "FLAC"),  # either may begin with an ID3 tag
}
"""Formats that libsndfile decodes, and its names for them."""

UNKNOWN_LENGTH = 2**63 - 1  # what libsndfile says of a FLAC whose header leaves its length open
LIBAV_FORMATS = ("mp4", "matroska", "avi", "mpegts", "gif", "ac3")  # a GIF is a film, and always without sound
RATES = (8_000, 192_000)  # samples per second
MAX_CHANNELS = 8
MIN_SECONDS = 0.05  # two analysis windows of speech: less is a click
MARGIN_SECONDS = 0.05  # decoded beyond the wanted end, so that the resampling filter has something to stand on


def decode_audio(data: bytes, sample_rate: int, seconds: float) -> np.ndarray:
    """The beginning of a sound, as the mean of its channels.

    Args:
      data: a WAV, AIFF, FLAC, Ogg or MP3 file, or the sound in an MP4, Matroska, AVI, MPEG-TS or AC-3 file.
      sample_rate: of the result, samples per second.
      seconds: take at most so much.

    Returns:
      float32 [n], about -1 to 1, with n <= seconds * sample_rate.

    Raises:
      MediaError: empty, format_not_allowed, truncated, undecodable, too_short, no_audio, non_finite, too_large
        or decoder_missing.
    """
    with boundary():
        kind = identify(data, (*SOUNDFILE_FORMATS, *LIBAV_FORMATS))
        read = _read_soundfile if kind in SOUNDFILE_FORMATS else _read_libav
        channels, rate = read(data, kind, seconds + MARGIN_SECONDS)
        if not channels.size:
            raise MediaError("empty", "not a single sample")
        if len(channels) < MIN_SECONDS * rate:
            raise MediaError("too_short", f"{1e3 * len(channels) / rate:.3g} ms; at least {1e3 * MIN_SECONDS:g} needed")
        if not np.isfinite(channels).all():
            raise MediaError("non_finite", "some samples are NaN or infinite")
        mono = np.clip(channels, -1.0, 1.0).mean(axis=1)  # louder than 1 is what a player cuts off as well
        return _resample(mono, rate, sample_rate)[: math.ceil(seconds * sample_rate)]


class _Bytes(io.BytesIO):
    """Bytes as a file. A place that is none is not gone to; an error would be printed, out of C, and not raised."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with contextlib.suppress(ValueError, OverflowError):
            super().seek(offset, whence)
        return self.tell()


def _read_soundfile(data: bytes, kind: str, seconds: float) -> tuple[np.ndarray, int]:
    """The first seconds as float32 [n, channels], and their rate, through libsndfile."""
    import soundfile

    with soundfile.SoundFile(_Bytes(data)) as file:
        if file.format not in SOUNDFILE_FORMATS[kind]:
            raise MediaError("format_not_allowed", f"begins like {kind} but is {file.format}")
        _check_format(file.samplerate, file.channels)
        samples = file.read(math.ceil(seconds * file.samplerate), dtype="float32", always_2d=True)
        if len(samples) and file.frames != UNKNOWN_LENGTH:
            _check_length(file)
        return samples, file.samplerate


def _check_length(file: "soundfile.SoundFile") -> None:
    """Raises `MediaError` if there is nothing to read towards the end that the header declares."""
    from soundfile import LibsndfileError

    try:
        file.seek(int((1 - MISSING_SHARE) * file.frames))
        found = len(file.read(1))
    except LibsndfileError:
        found = 0
    if not found:
        raise MediaError("truncated", f"fewer than the {file.frames} samples that its header declares")


def _read_libav(data: bytes, kind: str, seconds: float) -> tuple[np.ndarray, int]:
    """The first seconds as float32 [n, channels], and their rate, through libav."""
    with open_container(data, kind) as container:
        stream = first_stream(container.streams.audio, "no_audio")
        rate, count, parts = 0, 0, [np.zeros((0, stream.codec_context.channels), np.float32)]
        for frame in container.decode(stream):
            rate, count = frame.sample_rate, count + frame.samples
            _check_format(rate, frame.layout.nb_channels)
            parts.append(_floats(frame))
            if count >= seconds * rate:
                break
        declared = min(float((stream.duration or 0) * (stream.time_base or 0)), seconds)
        found = count / rate if rate else 0.0
        if found < (1 - MISSING_SHARE) * declared:
            raise MediaError("truncated", f"{found:.2f} s are there of {declared:.2f} s declared")
        return np.concatenate(parts), rate


def _floats(frame: "av.AudioFrame") -> np.ndarray:
    """The samples of a frame as float32 [n, channels], -1 to 1.

    Not av.AudioResampler, which starts a thread per core.
    """
    samples = frame.to_ndarray()  # planar [channels, n] or packed [1, n * channels]
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    zero = 128 if samples.dtype == np.uint8 else 0
    return (samples.astype(np.float32) - zero) / 2 ** (8 * samples.dtype.itemsize - 1)


def _check_format(rate: int, channels: int) -> None:
    if not RATES[0] <= rate <= RATES[1] or not 1 <= channels <= MAX_CHANNELS:
        limits = f"{RATES[0]} to {RATES[1]} Hz and at most {MAX_CHANNELS} channels are taken"
        raise MediaError("format_not_allowed", f"{rate} Hz, {channels} channels; {limits}")


def _resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Samples at another rate by polyphase filtering; the ratio is one of small numbers, at most a cent off."""
    from scipy import signal

    ratio = fractions.Fraction(wanted, rate).limit_denominator(1000)
    return signal.resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)
