"""Films: which frames are taken, that they are upright, and that a cut film is not taken for a whole one."""

import io
import itertools
import time

import av
import numpy as np
import pytest
from av.stream import Disposition
from media_files import SAMPLES, film, greys, needs_samples, reason, scene, sound_in, tone
from PIL import Image

from m5jax import media
from m5jax.media import video

CONTAINERS = [
    ("mp4", "libx264"),
    ("mov", "mjpeg"),
    ("matroska", "libx264"),
    ("webm", "libvpx"),
    ("avi", "mpeg4"),
    ("mpegts", "mpeg2video"),
    ("gif", "gif"),
]


def numbers(data: bytes, frames: int, per_second: float = 0.0) -> list[int]:
    """Which of the frames of `greys` were taken."""
    return [round(float(picture.mean()) / 8) for picture in media.decode_video(data, frames, 16, per_second)]


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_frames_are_spaced_evenly_over_the_film(container, codec):
    data = film(container, codec=codec, rate=25)
    assert numbers(data, 1) == [8]
    assert numbers(data, 4) == [2, 6, 10, 14]
    assert numbers(data, 8) == list(range(1, 16, 2))
    assert numbers(data, 16) == list(range(16))
    assert numbers(data, 40) == list(range(16))
    assert numbers(film(container, greys(1), codec=codec, rate=25), 4) == [0]


def test_spacing_is_in_time_not_in_frames():
    # Ten frames in one second, then the last of them stays for nine.
    stamps = [*range(9), 9, 100]
    assert numbers(film("matroska", greys(11), rate=10, stamps=stamps), 5) == [9] * 5
    assert numbers(film("matroska", greys(11), rate=10, stamps=stamps), 10) == [5, *[9] * 9]


def test_so_many_frames_a_second_from_the_start():
    data = film("mp4", greys(30), rate=10)  # three seconds; the middle of the first is where frame 5 begins
    assert numbers(data, 8, 1.0) == [5, 15, 25]
    assert numbers(data, 2, 1.0) == [5, 15]
    assert numbers(data, 8, 2.0) == [2, 7, 12, 17, 22, 27]
    assert numbers(film("mp4", greys(24), rate=10), 8, 1.0) == [5, 15]  # 2.4 s: the third second has no middle
    assert numbers(film("mp4", greys(3), rate=10), 8, 1.0) == [1]  # and the middle of what is shorter than one
    slides = film("matroska", greys(3), rate=10, stamps=[0, 1, 30])  # the second stays for 2.9 s, the third for 1.5 s
    assert numbers(slides, 8, 1.0) == [1, 1, 1, 2]
    assert numbers(slides, 8, 30.0) == [0] * 3 + [1] * 5


@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "3", "g": "250"}, {"bf": "3", "g": "5"}, {"g": "1"}])
def test_skipping_to_key_frames_takes_the_frames_that_decoding_everything_takes(options):
    data = film("mp4", greys(30), rate=30, options=options)
    for frames in (1, 2, 3, 7, 12, 29):
        assert numbers(data, frames) == [int((i + 0.5) * 30 / frames) for i in range(frames)]


HARD = {
    "open groups": ("mp4", "libx264", {"x264-params": "open-gop=1:keyint=8:bframes=3:b-pyramid=normal"}),
    "no key frames but the first": ("matroska", "libx264", {"x264-params": "intra-refresh=1:keyint=10"}),
    "open groups of HEVC": ("mp4", "libx265", {"x265-params": "open-gop=1:keyint=8:bframes=3:log-level=none"}),
    "frames that are never shown": ("webm", "libvpx-vp9", {"g": "8", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "open groups of MPEG-2": ("mpegts", "mpeg2video", {"g": "8", "bf": "2"}),
    "packed frames": ("avi", "mpeg4", {"g": "8", "bf": "2"}),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("per_second", [0.0, 9.0])
def test_films_that_cannot_be_entered_everywhere_equal_their_slow_twin(name, per_second):
    container, codec, options = HARD[name]
    data = film(container, [scene(48, 64, seed=i) for i in range(40)], codec=codec, rate=25, options=options)
    for frames in (3, 16):
        difference = media.decode_video(data, frames, 24, per_second).astype(int)
        difference -= decode_everything(data, frames, 24, per_second)
        assert not difference.any(), frames


def decode_everything(data: bytes, frames: int, side: int, per_second: float = 0.0) -> np.ndarray:
    """The slow twin: every frame is decoded, then those on show at the wanted times are taken."""
    with av.open(io.BytesIO(data), format=media.format.sniff(data)) as container:
        decoded = [(frame.time, frame) for frame in container.decode(video=0)]
    times = np.array([time for time, _ in decoded])
    chosen = range(len(decoded))
    if len(decoded) > frames or per_second:
        length = np.ptp(times) + np.median(np.diff(times))
        middles = (np.arange(frames) + 0.5) / (per_second or frames / length)
        wanted = times[0] + middles[middles < length]
        chosen = [np.flatnonzero(times <= at + 1e-6)[-1] for at in wanted]
    pictures = [decoded[i][1].to_image() for i in chosen]
    square = (side, side), Image.Resampling.LANCZOS
    return np.stack([np.asarray(picture.resize(*square, reducing_gap=3)) for picture in pictures])


@needs_samples
@pytest.mark.parametrize("frames", [1, 7, 16])
def test_sample_films_equal_their_slow_twin(frames):
    for path in sorted((SAMPLES / "video").iterdir()):
        if path.stat().st_size < 120_000 and not path.name.startswith("rotated"):
            data = path.read_bytes()
            difference = media.decode_video(data, frames, 24).astype(int) - decode_everything(data, frames, 24)
            assert not difference.any(), path.name


@needs_samples
def test_rotation_tags_are_applied():
    # By the manifest, a player turns the frames of these files by so much; written out as where pixels go.
    turned = {
        "rotated-0.mov": lambda raw: raw,
        "rotated-90.mov": lambda raw: raw[::-1].swapaxes(0, 1),
        "rotated-180.mov": lambda raw: raw[::-1, ::-1],
        "rotated-270.mov": lambda raw: raw.swapaxes(0, 1)[::-1],
    }
    for name, turn in turned.items():
        data = (SAMPLES / "video" / name).read_bytes()
        with av.open(io.BytesIO(data), format="mov") as container:
            raw = next(container.decode(video=0)).to_ndarray(format="rgb24")
        whole = np.asarray(Image.fromarray(np.ascontiguousarray(turn(raw))).resize((24, 24), Image.Resampling.BOX))
        difference = media.decode_video(data, 3, 24)[0].astype(float) - whole
        assert np.abs(difference).mean() < 6, name


def test_frames_are_squeezed_not_cropped():
    frame = scene(48, 96)
    decoded = media.decode_video(film("mp4", [frame], options={"crf": "5"}), 1, 24)[0]
    whole = np.asarray(Image.fromarray(frame).resize((24, 24), Image.Resampling.BOX))
    assert np.abs(decoded.astype(float) - whole).mean() < 6


def test_transparent_frames_lie_on_white():
    pixels = np.full((16, 16, 4), (0, 0, 255, 0), np.uint8)
    pixels[:8] = (255, 0, 0, 255)
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as out:
        video = out.add_stream("png", rate=8)
        video.width, video.height, video.pix_fmt = 16, 16, "rgba"
        out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        out.mux(video.encode())
    decoded = media.decode_video(file.getvalue(), 2, 16)[0]
    np.testing.assert_array_equal(decoded[4, 4], (255, 0, 0))
    np.testing.assert_array_equal(decoded[12, 4], (255, 255, 255))


@pytest.mark.parametrize(("container", "codec"), [item for item in CONTAINERS if item[0] not in ("mpegts", "gif")])
def test_a_cut_film_is_never_taken_for_a_whole_one(container, codec):
    data = film(container, greys(24), codec=codec, samples=tone(48000, 3) if container == "matroska" else None)
    cuts = np.linspace(1, len(data) - 100, 50).astype(int)
    found = {reason(media.decode_video, data[:cut], 4, 16) for cut in cuts}
    assert found <= {"truncated", "undecodable", "format_not_allowed"}
    assert "truncated" in found


def test_a_film_shorter_than_it_declares_is_truncated():
    whole = film("matroska", greys(24), options={"g": "4"})
    segment = whole.index(b"\x18S\x80g") + 4
    unknown = whole[:segment] + b"\x01" + b"\xff" * 7 + whole[segment + 8 :]  # says nothing of its size in bytes
    assert numbers(unknown, 4) == numbers(whole, 4)
    with pytest.raises(media.MediaError, match=r"truncated: .* s are there of 3.00 s declared"):
        media.decode_video(unknown[: int(0.7 * len(unknown))], 4, 16)


def test_a_film_may_be_shorter_than_its_sound():
    assert len(media.decode_video(film("matroska", greys(4), samples=tone(48000, 3)), 2, 16)) == 2
    assert len(media.decode_video(film("mp4", greys(4), samples=tone(48000, 3)), 2, 16)) == 2


def test_frames_lost_inside_are_noticed():
    data = bytearray(film("mp4", [scene(64, 64, seed=i) for i in range(24)], options={"g": "6"}))
    start, end = int(0.3 * len(data)), int(0.7 * len(data))
    data[start:end] = bytes(end - start)
    assert reason(media.decode_video, bytes(data), 8, 16) in ("truncated", "undecodable")


def test_a_decoder_that_falls_silent_is_noticed(monkeypatch):
    decode = video._decode
    monkeypatch.setattr(video, "_decode", lambda *arguments: itertools.islice(decode(*arguments), 12))
    assert numbers(film("mp4", greys(13)), 4) == [1, 4, 8, 11]
    assert reason(media.decode_video, film("mp4", greys(24)), 4, 16) == "truncated"


def test_of_a_long_film_the_beginning_counts(monkeypatch):
    monkeypatch.setattr(video, "MAX_SECONDS", 1.0)
    assert numbers(film("mp4", greys(24)), 4) == [1, 3, 5, 7]
    monkeypatch.setattr(video, "MAX_PACKETS", 12)
    assert numbers(film("mp4", greys(24)), 4) == [1, 3, 5, 7]


def test_a_clip_of_very_many_frames_is_refused(monkeypatch):
    monkeypatch.setattr(video, "MAX_PACKETS", 20)
    assert reason(media.decode_video, film("mp4", greys(24)), 4, 16) == "too_large"
    assert reason(media.decode_video, film("mp4", greys(16)), 4, 16) == "decoded"


def test_large_frames_are_refused_before_decoding(monkeypatch):
    large = film("mp4", [np.zeros((1024, 1024, 3), np.uint8)] * 2)
    monkeypatch.setattr(video, "MAX_PIXELS", 1024 * 1024 - 1)
    start = time.process_time()
    assert reason(media.decode_video, large, 1, 16) == "too_large"
    assert time.process_time() - start < 0.2
    # A stream whose frames grow on the way meets the same limit inside the decoder.
    grown = _join(greys(8, side=32), greys(8, side=64))
    assert reason(media.decode_video, grown, 16, 16) == "decoded"
    monkeypatch.setattr(video, "MAX_PIXELS", 63 * 63)
    assert reason(media.decode_video, grown, 16, 16) != "decoded"


def _join(*parts: list[np.ndarray]) -> bytes:
    """An MPEG-TS file whose frames change size."""
    return b"".join(film("mpegts", frames, codec="mpeg2video", rate=25) for frames in parts)


def test_a_sound_with_a_cover_picture_is_no_film():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(greys(1)[0], format="rgb24").reformat(format="yuvj420p")
        for packet in itertools.chain(cover.encode(frame), cover.encode()):
            out.mux(packet)
    assert reason(media.decode_video, file.getvalue(), 4, 16) == "no_video"


def test_files_without_film():
    assert reason(media.decode_video, b"", 4, 16) == "empty"
    assert reason(media.decode_video, sound_in("mp4", "aac"), 4, 16) == "no_video"
    assert reason(media.decode_video, sound_in("webm", "libopus"), 4, 16) == "no_video"
