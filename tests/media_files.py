"""Media files made on the spot, for the tests of the decode boundary."""

import io
import pathlib
import struct
import zlib

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from m5jax import media

SAMPLES = pathlib.Path(__file__).parents[2] / "shared" / "data" / "media-samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"the sample files are not at {SAMPLES}")


def scene(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """A smooth picture without symmetry, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def picture(kind: str, pixels: np.ndarray | Image.Image | None = None, **options) -> bytes:
    """A picture file of a Pillow format."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(scene() if pixels is None else pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(
    width: int, height: int, *, depth: int = 8, colour: int = 0, pixels: bytes = b"", extra: tuple[bytes, bytes] = ()
) -> bytes:
    """A PNG by hand, of any declared size; `extra` is the name and content of one more chunk."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    header += chunk(*extra) if extra else b""
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")


def tone(rate: int = 16000, seconds: float = 0.5, hertz: float = 440.0) -> np.ndarray:
    """A sine of amplitude one half, float32 [n]."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def sound(kind: str, samples: np.ndarray | None = None, rate: int = 16000, subtype: str | None = None) -> bytes:
    """A sound file of a libsndfile format."""
    file = io.BytesIO()
    soundfile.write(file, tone() if samples is None else samples, rate, subtype=subtype, format=kind)
    return file.getvalue()


def greys(count: int, side: int = 32) -> list[np.ndarray]:
    """Plain frames that tell their own number: frame i is grey 8 * i."""
    return [np.full((side, side, 3), 8 * i, np.uint8) for i in range(count)]


def film(
    container: str = "mp4",
    frames: list[np.ndarray] | None = None,
    *,
    codec: str = "libx264",
    rate: int = 8,
    stamps: list[int] | None = None,
    options: dict[str, str] | None = None,
    samples: np.ndarray | None = None,
    audio: str = "aac",
) -> bytes:
    """A film file; `stamps` are frame times in units of 1/rate, `samples` float32 at 48 kHz go beside it."""
    frames = greys(16) if frames is None else frames
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        video = out.add_stream(codec, rate=rate, options=options or {})
        video.height, video.width = frames[0].shape[:2] if frames else (32, 32)
        video.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj444p"}.get(codec, "yuv420p")
        sounding = None if samples is None else out.add_stream(audio, rate=48000, layout="mono")
        if not frames:
            out.start_encoding()  # a file all the same
        for stamp, pixels in zip(stamps or range(len(frames)), frames, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = stamp
            out.mux(video.encode(frame))
        out.mux(video.encode())
        if sounding is not None:
            _mux_sound(out, sounding, samples)
    return file.getvalue()


def sound_in(container: str, codec: str, samples: np.ndarray | None = None) -> bytes:
    """A sound, float32 at 48 kHz, in a container without film."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        _mux_sound(out, out.add_stream(codec, rate=48000, layout="mono"), tone(48000) if samples is None else samples)
    return file.getvalue()


def _mux_sound(out, stream, samples) -> None:
    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = 48000, 0
    resampler = av.AudioResampler(stream.codec_context.format, "mono", 48000, stream.codec_context.frame_size or None)
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        out.mux(stream.encode(part))
    out.mux(stream.encode())


def reason(decode, *arguments) -> str:
    """Why a decoder refuses; "decoded" if it does not."""
    try:
        decode(*arguments)
    except media.MediaError as error:
        refusal = error
    else:
        return "decoded"
    assert refusal.reason in media.REASONS
    assert refusal.detail
    return refusal.reason
