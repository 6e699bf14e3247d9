"""Damages media files in every way that comes to mind and decodes them: no crash, no hang, no error without a reason.

python tools/fuzz_media.py --files 20000 --seed 0

Every file is a function of seed and number. It is decoded as preparation decodes, in a process with limits of time and
memory; one that ends its process, takes too long, raises what is no `MediaError` or yields what is no picture, film or
sound is saved, so that it can go to tests/corpus/. Prints one line of JSON; exit code 1 if anything was saved.
Needs the development environment.
"""

import argparse
import io
import json
import pathlib
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import ImageCms

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from media_files import film, picture, scene, sound, sound_in, tone  # (it lies in tests/)

from m5jax import media
from m5jax.media.pool import Failure, KillablePool

SIDE, FRAMES, RATE, SECONDS, DIM = 24, 5, 16000, 1.0, 8
LIMIT_SECONDS, LIMIT_BYTES = 20.0, 1_500_000_000  # what preparation allows a file
KINDS = {"flip": 0.35, "cut": 0.25, "smash": 0.15, "zero": 0.1, "lose": 0.075, "double": 0.075}
"""Kinds of damage and their shares."""

DECODERS: dict[str, Callable[[bytes], Any]] = {
    "image": lambda data: media.decode_image(data, SIDE),
    "video": lambda data: media.decode_video(data, FRAMES, SIDE),
    "audio": lambda data: media.decode_audio(data, RATE, SECONDS),
    "features": lambda data: media.decode_features(data, DIM, 3)[0],
}
RESULTS = {
    "image": lambda array: array.dtype == np.uint8 and array.shape == (SIDE, SIDE, 3),
    "video": lambda array: (
        array.dtype == np.uint8 and array.shape in [(n, SIDE, SIDE, 3) for n in range(1, FRAMES + 1)]
    ),
    "audio": lambda array: array.dtype == np.float32 and 0 < array.size <= RATE * SECONDS and np.isfinite(array).all(),
    "features": lambda array: array.dtype == np.float16 and array.shape[1:] == (DIM,) and np.isfinite(array).all(),
}
"""What a decoder may give."""

Seed = tuple[str, str, bytes]  # decoder, name, content


def make_seeds() -> list[Seed]:
    """A small whole file of every format that is taken."""
    stereo, pixels = np.stack([tone(), tone(hertz=660.0)], axis=1), scene()
    with_sound, profile = {"samples": tone(48000)}, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    array = io.BytesIO()
    np.save(array, np.ones((4, DIM), np.float32))
    return [
        ("image", "baseline.jpg", picture("JPEG", pixels)),
        ("image", "progressive.jpg", picture("JPEG", pixels, progressive=True)),
        ("image", "profile.jpg", picture("JPEG", pixels, icc_profile=profile)),
        *(("image", f"picture.{kind.lower()}", picture(kind, pixels)) for kind in ("PNG", "WEBP", "GIF")),
        *(("audio", f"sound.{kind.lower()}", sound(kind, stereo)) for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF")),
        ("audio", "sound.opus", sound("OGG", tone(48000), 48000, "OPUS")),
        ("audio", "sound.m4a", sound_in("ipod", "aac")),
        ("audio", "sound.ac3", sound_in("ac3", "ac3")),
        *(("video", f"film.{name}", film(name, **with_sound)) for name in ("mp4", "matroska", "mpegts")),
        ("video", "film.webm", film("webm", codec="libvpx", audio="libopus", **with_sound)),
        ("video", "film.avi", film("avi", codec="mpeg4")),
        ("video", "film.mov", film("mov", codec="mjpeg")),
        ("video", "hevc.mp4", film("mp4", codec="libx265", options={"x265-params": "log-level=none"})),
        ("video", "film.gif", film("gif", codec="gif")),
        ("audio", "sound in film.mp4", film("mp4", **with_sound)),
        ("features", "features.npy", array.getvalue()),
    ]


def read_seeds(folder: pathlib.Path) -> list[Seed]:
    """The files of a folder and of those below, once for every decoder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return [(decoder, path.name, path.read_bytes()) for path in files for decoder in DECODERS]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage as it happens and as attackers do it: flipped bits, cuts, smashed headers, lost and doubled parts."""
    changed, kind, at = bytearray(data), rng.choice(list(KINDS), p=list(KINDS.values())), int(rng.integers(len(data)))
    if kind == "flip":
        for _ in range(rng.integers(1, 40)):
            changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
    elif kind == "cut":
        del changed[at:]
    elif kind == "smash":
        for _ in range(rng.integers(1, 9)):
            changed[rng.integers(min(len(data), 256))] = rng.integers(256)
    elif kind == "zero":
        changed[at : at + 500] = bytes(len(changed[at : at + 500]))
    elif kind == "lose":
        del changed[at : at + int(rng.integers(1, 200))]
    else:
        changed[at:at] = changed[at : at + int(rng.integers(1, 200))]
    return bytes(changed)


def outcome(decoder: str, data: bytes) -> str:
    """What becomes of a file: "decoded", a reason of `media.REASONS`, or what must not be."""
    try:
        result = DECODERS[decoder](data)
    except media.MediaError as error:
        return error.reason if error.reason in media.REASONS and error.detail else f"unknown reason {error.reason!r}"
    except Exception as error:
        return f"raised {type(error).__name__}"
    return "decoded" if RESULTS[decoder](result) else f"gave {result.dtype} {list(result.shape)}"


def timed(task: tuple[str, bytes]) -> tuple[str, float]:
    """The outcome of a file and the seconds it took, for decoding processes."""
    start = time.perf_counter()
    return outcome(*task), time.perf_counter() - start


def fuzz(seeds: list[Seed], files: int, seed: int, workers: int, save: pathlib.Path) -> dict[str, Any]:
    """Damages those of the seeds that decode; gives the counts, and saves every file that must not be."""
    counts, saved, slowest, start = Counter(), [], 0.0, time.perf_counter()
    with KillablePool(workers, LIMIT_SECONDS, media.limit_process, (LIMIT_BYTES,)) as processes:
        ends = processes.map(timed, [(decoder, data) for decoder, _, data in seeds])
        seeds = [whole for whole, end in zip(seeds, ends, strict=True) if end[0] == "decoded"]

        def task(number: int) -> tuple[str, bytes]:
            decoder, _, data = seeds[number % len(seeds)]
            return decoder, mutate(data, np.random.default_rng((seed, number)))

        for number, result in enumerate(processes.map(timed, map(task, range(files)))):
            found, seconds = (result.reason, LIMIT_SECONDS) if isinstance(result, Failure) else result
            counts[found], slowest = counts[found] + 1, max(slowest, seconds)
            if found != "decoded" and found not in media.REASONS:
                save.mkdir(parents=True, exist_ok=True)
                path = save / f"{seed}-{number}-{seeds[number % len(seeds)][1]}"
                path.write_bytes(task(number)[1])
                saved.append(f"{path}: {found}")
    return {
        "files": files,
        "seed": seed,
        "seeds": len(seeds),
        "outcomes": dict(counts.most_common()),
        "saved": saved,
        "slowest_s": round(slowest, 3),
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="damaged files to decode")
    parser.add_argument("--seed", type=int, default=0, help="which ones they are")
    parser.add_argument("--seeds", type=pathlib.Path, help="folder of whole files to damage beside those made here")
    parser.add_argument("--workers", type=int, default=1, help="decoding processes; 0 = one a core")
    parser.add_argument("--save", type=pathlib.Path, default="fuzzed", help="folder for files that must not be")
    arguments = parser.parse_args()
    seeds = make_seeds() + (read_seeds(arguments.seeds) if arguments.seeds else [])
    report = fuzz(seeds, arguments.files, arguments.seed, arguments.workers, arguments.save)
    print(json.dumps(report))
    return 1 if report["saved"] else 0


if __name__ == "__main__":
    sys.exit(main())
