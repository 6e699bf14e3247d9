"""Films: a seller's bytes to a few frames, evenly spaced in time or so many a second."""

import dataclasses
import fractions
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from m5jax.media.files import MediaError
from m5jax.media.format import MAX_PIXELS, MISSING_SHARE, boundary, first_stream, identify, open_container
from m5jax.media.image import fit, flatten

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

FORMATS = ("mp4", "matroska", "avi", "mpegts", "gif")
MAX_SECONDS = 120.0  # of a longer film, the beginning counts
MAX_PACKETS = 60_000  # what 120 s of film, sound and subtitles may come in


def decode_video(data: bytes, frames: int, side: int, per_second: float = 0.0) -> np.ndarray:
    """Frames on show at chosen times of a film, upright, each squeezed into a square.

    Only what those frames need is decoded: the packets from the key frame before each.

    Args:
      data: an MP4 or QuickTime, Matroska or WebM, AVI, MPEG-TS or GIF file; its first two minutes count.
      frames: how many to take at most.
      side: pixels.
      per_second: 0 takes the middles of `frames` equal parts of the film, and all its frames if it has fewer;
        otherwise the middles of its first parts of 1 / per_second seconds, be a frame on show once or twice.

    Returns:
      uint8 [n, side, side, 3], RGB, with 1 <= n <= frames.

    Raises:
      MediaError: empty, format_not_allowed, truncated, undecodable, too_large, no_video or decoder_missing.
    """
    with boundary(), open_container(data, identify(data, FORMATS)) as container:
        stream = first_stream(container.streams.video, "no_video")
        codec = stream.codec_context
        if codec.width * codec.height > MAX_PIXELS:
            raise MediaError("too_large", f"{codec.width} x {codec.height} pixels a frame")
        codec.options = {"max_pixels": str(MAX_PIXELS)}  # the size may change on the way
        film = _demux(container, stream)
        few = len(film.packets) <= frames and not per_second
        shown = _decode(stream, film.packets) if few else _shown_at(_spaced(film, frames, per_second), stream, film)
        pictures = [_picture(frame, side) for frame in itertools.islice(shown, frames)]
        if not pictures:
            raise MediaError("undecodable", f"{len(film.packets)} packets, and no frame came of them")
        return np.stack(pictures)


@dataclasses.dataclass(frozen=True)
class _Film:
    """The packets of a video stream in decoding order.

    Attributes:
      packets: compressed frames.
      times: float64 [packets], when each is shown, seconds.
      keys: int [keys], the packets that decode without those before them.
      end: when the film is over, seconds.
      tick: unit of time stamps, seconds.
    """

    packets: "list[av.Packet]"
    times: np.ndarray
    keys: np.ndarray
    end: float
    tick: fractions.Fraction

    def time(self, frame: "av.VideoFrame") -> float:
        """When a frame is shown, seconds. (`frame.time` is NaN for those that only the end brings out.)"""
        return -math.inf if frame.pts is None else float(frame.pts * self.tick)

    def on_show(self, time: float, packets: np.ndarray) -> int:
        """Which of the given packets is on show at a time: the last that has begun, or the first."""
        begun = packets[self.times[packets] <= time]
        return int(begun[np.argmax(self.times[begun])]) if begun.size else 0


def _demux(container: "InputContainer", stream: "av.VideoStream") -> _Film:
    """The considered part of a film, all of which is there."""
    packets, times, ends = [], [], []
    for count, packet in enumerate(container.demux()):
        stamp = packet.dts if packet.pts is None else packet.pts
        if not packet.size or stamp is None:
            continue
        time = float(stamp * packet.time_base)
        ends.append(time + float((packet.duration or 0) * packet.time_base))
        if packet.stream is stream:
            packets.append(packet)
            times.append(time)
            if time > times[0] + MAX_SECONDS:
                break
        if count > MAX_PACKETS:
            raise MediaError("too_large", f"more than {MAX_PACKETS} packets in two minutes")
    if not packets:
        raise MediaError("empty", "a video stream without a single frame")
    times = np.array(times)
    end = times.max() + (np.median(np.diff(np.sort(times))) if len(times) > 1 else 0.0)
    found = max(end, *ends) - times.min()
    declared = min(float(container.duration or 0) / 1e6, MAX_SECONDS)
    if found < (1 - MISSING_SHARE) * declared:
        raise MediaError("truncated", f"{found:.2f} s are there of {declared:.2f} s declared")
    keys = np.flatnonzero([packet.is_keyframe for packet in packets])
    return _Film(packets, times, keys, end, packets[0].time_base)


def _spaced(film: _Film, frames: int, per_second: float) -> np.ndarray:
    """The middles of `frames` equal parts of a film, or of as many 1 / per_second long as it has, seconds."""
    start, rounding = film.times.min(), 1e-6  # a frame that begins at the very time has begun
    length = min(film.end - start, MAX_SECONDS)
    if per_second:  # of the last part the middle may be missing; a film always has one part
        frames = min(frames, max(1, math.ceil(length * per_second - 0.5)))
    part = min(1 / per_second, length) if per_second else length / frames
    return start + (np.arange(frames) + 0.5) * part + rounding


def _shown_at(targets: np.ndarray, stream: "av.VideoStream", film: _Film) -> "Iterator[av.VideoFrame]":
    """The frame on show at each of the times, which ascend.

    Raises:
      MediaError: frames that the container lists do not come out of the decoder.
    """
    every, late = np.arange(len(film.times)), MISSING_SHARE * np.ptp(film.times)
    for key, group in itertools.groupby(targets, lambda target: film.on_show(target, film.keys)):
        wanted = list(group)
        stream.codec_context.flush_buffers()
        frames = _decode(stream, itertools.islice(film.packets, key, None))
        shown, upcoming = None, next(frames, None)
        if key and (upcoming is None or film.time(upcoming) > wanted[0]):
            # A key frame in name only: the picture builds up over several frames. From the first packet, then.
            rest, whole = targets[targets >= wanted[0]], dataclasses.replace(film, keys=np.zeros(1, int))
            yield from _shown_at(rest, stream, whole)
            return
        for target in wanted:
            while upcoming is not None and film.time(upcoming) <= target:
                shown, upcoming = upcoming, next(frames, None)
            frame = shown or upcoming
            if frame is None or film.time(frame) < film.times[film.on_show(target, every)] - late:
                raise MediaError("truncated", f"nothing decodes at {target:.2f} s")
            yield frame


def _decode(stream: "av.VideoStream", packets: "Iterable[av.Packet]") -> "Iterator[av.VideoFrame]":
    for packet in itertools.chain(packets, [None]):  # None: no more are coming, give out what is held back
        yield from stream.decode(packet)


def _picture(frame: "av.VideoFrame", side: int) -> np.ndarray:
    """uint8 [side, side, 3] of a frame, as a player shows it."""
    transparent = any(component.is_alpha for component in frame.format.components)
    coloured = frame.reformat(format="rgba" if transparent else "rgb24", threads=1)
    image = Image.fromarray(coloured.to_ndarray())
    return np.rot90(np.asarray(fit(flatten(image), side)), round(frame.rotation / 90))
