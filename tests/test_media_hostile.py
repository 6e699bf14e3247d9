"""Files that are meant to harm, or were harmed: fuzzed ones, bombs, bit rot, nothing, what they are not."""

import ast
import hashlib
import json
import pathlib
import subprocess
import sys

import fuzz_media  # (it lies in tools/)
import hostile_decoders
import media_bombs
import numpy as np
import pytest
from media_files import film, picture, reason, scene, sound, sound_in
from small import small_config

from m5jax import media
from m5jax.catalogues import catalogue
from m5jax.media import files
from m5jax.media.files import MediaRef
from m5jax.preparing import convert

ROOT = pathlib.Path(__file__).parents[1]
DECODERS = fuzz_media.DECODERS


def test_five_hundred_damaged_files_end_decoded_or_with_a_reason(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "fuzz_media.py"), "--files", "500", "--save", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert (done.returncode, report["saved"], report["files"], report["seeds"]) == (0, [], 500, 24)
    assert sum(report["outcomes"].values()) == 500
    assert report["outcomes"].keys() <= {*media.REASONS, "decoded"}
    assert {"decoded", "truncated", "undecodable", "format_not_allowed", "empty"} <= report["outcomes"].keys()
    assert report["slowest_s"] < 20
    assert report["peak_mb"] < 1500


def test_the_fuzzer_saves_what_must_not_be(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_media, "timed", hostile_decoders.timed)
    seeds = [("image", "a.jpg", hostile_decoders.WHOLE), ("image", "no seed", b"x")]
    report = fuzz_media.fuzz(seeds, 6, 4, 1, tmp_path)
    assert report["outcomes"].keys() == {"decoded", "truncated", "raised KeyError", "decoder_crashed"}
    bad = report["outcomes"]["raised KeyError"] + report["outcomes"]["decoder_crashed"]
    assert len(report["saved"]) == len(list(tmp_path.iterdir())) == bad
    for path in tmp_path.iterdir():
        number = int(path.name.split("-")[1])
        assert path.read_bytes() == fuzz_media.mutate(hostile_decoders.WHOLE, np.random.default_rng((4, number)))


def test_the_fuzzer_tells_what_is_no_answer(monkeypatch):
    def answer(value):
        monkeypatch.setitem(DECODERS, "image", lambda data: value(data) if callable(value) else value)
        return fuzz_media.outcome("image", b"")

    def raising(error):
        def decode(data):
            raise error

        return decode

    assert answer(raising(KeyError("x"))) == "raised KeyError"
    assert answer(raising(media.MediaError("bored", "detail"))) == "unknown reason 'bored'"
    assert answer(raising(media.MediaError("empty", "detail"))) == "empty"
    assert answer(np.zeros((24, 24), np.uint8)) == "gave uint8 [24, 24]"
    assert answer(np.zeros((24, 24, 3), np.uint8)) == "decoded"


def test_truncated_pictures_are_never_allowed_and_never_only_glanced_at():
    """Pillow's LOAD_TRUNCATED_IMAGES fills up with grey, and its verify() takes half a JPEG for whole."""
    for path in (ROOT / "m5jax").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "LOAD_TRUNCATED_IMAGES" not in source, path
        calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        called = {call.attr for call in calls if isinstance(call, ast.Attribute)}
        assert "verify" not in called or "PIL" not in source, path


def test_bits_that_rot_are_noticed_by_the_digest(tmp_path):
    """Of 300 JPEGs with a bit flipped most decode, to other pixels: only the catalogue's SHA-256 sees it."""
    data, rng, noticed, decoded = picture("JPEG", scene(120, 160)), np.random.default_rng(0), 0, 0
    ref = MediaRef("a.jpg", sha256=hashlib.sha256(data).hexdigest())
    for _ in range(300):
        changed = bytearray(data)
        changed[rng.integers(700, len(data) - 2)] ^= 1 << rng.integers(8)  # behind the tables
        (tmp_path / "a.jpg").write_bytes(changed)
        noticed += reason(files.read, tmp_path, ref, 1 << 20) == "changed"
        decoded += reason(DECODERS["image"], bytes(changed)) == "decoded"
    assert noticed == 300
    assert decoded > 200
    (tmp_path / "a.jpg").write_bytes(data)
    assert files.read(tmp_path, ref, 1 << 20) == data


NOTHING = {
    "picture of no bytes": ("image", b"", "empty"),
    "head of a picture": ("image", picture("PNG")[:33], "undecodable"),
    "picture of one pixel": ("image", picture("PNG", np.zeros((1, 1, 3), np.uint8)), "decoded"),
    "film of no bytes": ("video", b"", "empty"),
    "head of a film": ("video", film()[:44], "truncated"),
    "film of no tracks": ("video", film("mp4", []), "no_video"),
    "film of no frames": ("video", film("avi", [], codec="mpeg4"), "empty"),
    "film of no clusters": ("video", film("matroska", []), "truncated"),
    "film of one frame": ("video", film(frames=[scene(32, 32)]), "decoded"),
    "sound of no bytes": ("audio", b"", "empty"),
    "sound of no samples": ("audio", sound("WAV", np.zeros(0)), "empty"),
    "Ogg of no samples": ("audio", sound("OGG", np.zeros(0)), "empty"),
    "head of a sound": ("audio", sound_in("mp4", "aac")[:40], "truncated"),
    "sound of one sample": ("audio", sound("FLAC", np.ones(1)), "too_short"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_has_next_to_nothing_in_it(name):
    decoder, data, expected = NOTHING[name]
    assert reason(DECODERS[decoder], data) == expected


BOMBS = """
import json, pathlib, re, sys, time
sys.path[:0] = sys.argv[2:]
import fuzz_media
from m5jax import media
media.limit_process(1_500_000_000)
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    start = time.perf_counter()
    found = fuzz_media.outcome(path.suffix[1:], path.read_bytes())
    # Not ru_maxrss: that of a child begins with its parent's.
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1024
    print(json.dumps([path.stem, found, time.perf_counter() - start, peak]))
"""


def test_ten_bombs_cost_neither_memory_nor_time(tmp_path):
    bombs = media_bombs.bombs()
    assert len(bombs) == 10
    for name, (decoder, data, _) in bombs.items():
        (tmp_path / f"{name}.{decoder}").write_bytes(data)
        assert len(data) < 3 << 20
    command = [sys.executable, "-c", BOMBS, str(tmp_path), str(ROOT / "tools"), str(ROOT / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    found = {
        name: (outcome, seconds, peak) for name, outcome, seconds, peak in map(json.loads, done.stdout.splitlines())
    }
    assert {name: outcome for name, (outcome, _, _) in found.items()} == {name: bomb[2] for name, bomb in bombs.items()}
    assert max(seconds for _, seconds, _ in found.values()) < 20
    assert max(peak for _, _, peak in found.values()) < 1500


SOUNDING = ("mp4", "matroska", "mpegts", "webm")
TWO_THINGS = {"picture and archive", "picture with a script in its comment"}


def polyglots() -> dict[str, bytes]:
    jpeg = picture("JPEG")
    archive = b"PK\5\6" + bytes(18)
    return {
        "picture and archive": jpeg + archive,
        "picture with a script in its comment": jpeg[:2] + b"\xff\xfe\0\x1b<script>alert(1)</script>" + jpeg[2:],
        "document before a picture": b"%PDF-1.7\n" + jpeg,
        "page before a picture": b"<!DOCTYPE html><!--" + jpeg,
        "archive before a picture": archive + jpeg,
        "nothing found": b"<!DOCTYPE html><title>404</title>",
    }


def test_the_content_says_what_a_file_is_and_its_name_nothing(tmp_path):
    """Every format as .jpg, where a picture, a film and a sound are expected; and files that are two things at once."""
    seeds = {name: data for _, name, data in fuzz_media.make_seeds()} | polyglots()
    expected = {
        "image": {name for name in seeds if "picture." in name or name.endswith((".jpg", ".gif"))} | TWO_THINGS,
        "video": {name for name in seeds if "film" in name} | {"hevc.mp4", "picture.gif"},
        "audio": {name for name in seeds if "sound" in name} | {f"film.{kind}" for kind in SOUNDING},
    }
    inputs = small_config().inputs
    for name, data in seeds.items():
        (tmp_path / "a.jpg").write_bytes(data)
        row = {"id": "x", "images": "a.jpg", "videos": "a.jpg", "audios": "a.jpg"}
        lost = {why.modality: why.reason for why in convert.convert(catalogue.parse(row), tmp_path, inputs).rejections}
        for kind, names in expected.items():
            refused = {"format_not_allowed", "no_video", "no_audio"}
            assert lost.get(kind) in ({None} if name in names else refused), (name, kind)
