"""Reading a seller's files: what is found, what is refused, and that nothing outside the root is opened."""

import concurrent.futures
import hashlib
import io
import multiprocessing
import os
import pathlib
import sys
import tarfile
import time

import pytest

from m5jax.media import files
from m5jax.media.files import MediaError, MediaRef

LIMIT = 1 << 20
opened: list[str] | None = None


def note_open(event: str, arguments: tuple) -> None:
    if opened is not None and event == "open":
        opened.append(str(arguments[0]))


sys.addaudithook(note_open)


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "catalogue"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.jpg").write_bytes(b"picture")
    (folder / "empty.jpg").touch()
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def tar(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5  # a time with a fraction makes POSIX archives write records
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def refusal(root: pathlib.Path, ref: MediaRef, limit: int = LIMIT) -> MediaError:
    with pytest.raises(MediaError) as caught:
        files.read(root, ref, limit)
    assert caught.value.reason in files.REASONS
    return caught.value


def test_reads_a_file_and_checks_its_digest(root):
    digest = hashlib.sha256(b"picture").hexdigest()
    assert files.read(root, MediaRef("images/a.jpg"), LIMIT) == b"picture"
    assert files.read(root, MediaRef("images/a.jpg", sha256=digest), 7) == b"picture"
    error = refusal(root, MediaRef("images/a.jpg", sha256="0" * 64))
    assert error.reason == "changed"
    assert digest in error.detail


@pytest.mark.parametrize(
    ("path", "reason"),
    [("no.jpg", "missing_file"), ("images/a.jpg/b", "missing_file"), ("empty.jpg", "empty"), ("images", "not_a_file")],
)
def test_what_is_not_a_file_with_content(root, path, reason):
    error = refusal(root, MediaRef(path))
    assert error.reason == reason
    assert path in error.detail


def test_a_file_larger_than_the_limit_is_not_read(root):
    with (root / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    start = time.process_time()
    assert refusal(root, MediaRef("huge.jpg")).reason == "too_large"
    assert time.process_time() - start < 0.5
    assert refusal(root, MediaRef("images/a.jpg"), limit=6).reason == "too_large"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/passwd", "outside_root"),
        ("//etc/passwd", "outside_root"),
        ("../secret", "outside_root"),
        ("images/../../secret", "outside_root"),
        ("images/../images/a.jpg", "outside_root"),
        ("./../secret", "outside_root"),
        ("link-to-secret", "outside_root"),
        ("linked-folder/secret", "outside_root"),
        ("images/a.jpg\0.png", "bad_path"),
        ("n" * 300, "bad_path"),
        ("d/" * 5000 + "a.jpg", "missing_file"),
        ("images/\ud800.jpg", "bad_path"),
        ("loop", "bad_path"),
        ("pipe", "not_a_file"),
        ("", "not_a_file"),
        ("~/secret", "missing_file"),
        ("file:///etc/passwd", "missing_file"),
        ("concat:images/a.jpg|../secret", "missing_file"),
    ],
)
def test_no_path_leads_outside(root, path, reason):
    (root / "link-to-secret").symlink_to("../secret")
    (root / "linked-folder").symlink_to("..")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    global opened
    opened = []
    try:
        for ref in (MediaRef(path), MediaRef(path, "member")):
            error = refusal(root, ref)
            assert error.reason == reason
            assert len(error.detail) < 2000
        assert opened == []
    finally:
        opened = None


def test_a_link_that_stays_inside_is_followed(root):
    (root / "b.jpg").symlink_to("images/a.jpg")
    assert files.read(root, MediaRef("b.jpg"), LIMIT) == b"picture"


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_reads_members_of_every_tar_format(root, form):
    members = {
        "a.jpg": b"first",
        "./b.jpg": b"x" * 1000,
        "folder/c.jpg": b"",
        "deep/" * 25 + "d.jpg": b"split by ustar into prefix and name",
        "e" * 90 + ".jpg": b"nearly too long",
    }
    if form != tarfile.USTAR_FORMAT:
        members |= {"l" * 180 + ".jpg": b"too long for a header", "\u00e4\u4ea7.jpg": b"beyond ASCII"}
    (root / "shard.tar").write_bytes(tar(members, form))
    for name, data in members.items():
        if data:
            assert files.read(root, MediaRef("shard.tar", name), LIMIT) == data
            assert files.read(root, MediaRef("shard.tar", name.removeprefix("./")), LIMIT) == data
    assert refusal(root, MediaRef("shard.tar", "folder/c.jpg")).reason == "empty"
    assert refusal(root, MediaRef("shard.tar", "b.jpg"), limit=999).reason == "too_large"
    assert refusal(root, MediaRef("shard.tar", "no.jpg")).reason == "missing_file"


def test_a_replaced_shard_is_indexed_anew(root):
    shard = root / "shard.tar"
    shard.write_bytes(tar({"a.jpg": b"old"}))
    assert files.read(root, MediaRef("shard.tar", "a.jpg"), LIMIT) == b"old"
    shard.write_bytes(tar({"0.jpg": b"in front", "a.jpg": b"new"}))
    assert files.read(root, MediaRef("shard.tar", "a.jpg"), LIMIT) == b"new"


def test_a_shard_is_indexed_once(root, monkeypatch):
    (root / "shard.tar").write_bytes(tar({f"{i}.jpg": b"x" for i in range(50)}))
    files.read(root, MediaRef("shard.tar", "0.jpg"), LIMIT)
    monkeypatch.setattr(files, "_parse_tar_header", lambda header: pytest.fail("walked the headers again"))
    for i in range(50):
        assert files.read(root, MediaRef("shard.tar", f"{i}.jpg"), LIMIT) == b"x"


def test_links_and_folders_in_a_shard_are_no_files(root):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("dir", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("../../x"), io.BytesIO())
    (root / "shard.tar").write_bytes(file.getvalue())
    for name in ("link", "hard", "dir", "/etc/passwd"):
        assert refusal(root, MediaRef("shard.tar", name)).reason == "missing_file"


def test_a_shard_that_was_cut_gives_what_is_left(root):
    whole = tar({"a.jpg": b"a" * 600, "b.jpg": b"b" * 600}, tarfile.USTAR_FORMAT)
    (root / "shard.tar").write_bytes(whole[: 512 + 1024 + 512 + 100])
    assert files.read(root, MediaRef("shard.tar", "a.jpg"), LIMIT) == b"a" * 600
    assert refusal(root, MediaRef("shard.tar", "b.jpg")).reason == "truncated"


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A tar header with a valid checksum, whatever its other fields say."""
    block = bytearray(512)
    block[: len(name)], block[124 : 124 + len(size)], block[156:157] = name, size, kind
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


@pytest.mark.parametrize(
    "hostile",
    [
        header(b"b", b"-0000001000"),  # back to itself, for ever (CVE-2025-8194)
        header(b"b", b"\xff" * 12),
        header(b"b", b"\x80" + b"\xff" * 11),
        header(b"b", b"77777777777"),
        header(b"b", b"not a number"),
        header(b"b", b"00000000020", b"x") + b"-5 path=c\n".ljust(512, b"\0"),
        header(b"b", b"00000000020", b"x") + b"0 key=value\n".ljust(512, b"\0"),
        header(b"b", b"00000000020", b"x") + b"99999999999999999999 path=c\n".ljust(512, b"\0"),
        header(b"b", b"77777777777", b"x"),
        header(b"b", b"00000200000", b"x") + b"6 a=b\n" * 11000,
        header(b"b", b"00000000000", b"L") * 3000,
        b"\x1f\x8b compressed",
        b"x" * 4096,
    ],
)
def test_a_hostile_shard_ends_quickly(root, hostile):
    (root / "shard.tar").write_bytes(header(b"a.jpg", b"00000000003") + b"abc".ljust(512, b"\0") + hostile)
    start = time.process_time()
    assert files.read(root, MediaRef("shard.tar", "a.jpg"), LIMIT) == b"abc"
    assert refusal(root, MediaRef("shard.tar", "c")).reason == "missing_file"
    assert time.process_time() - start < 1.0


def test_a_compressed_shard_says_what_is_wrong(root):
    (root / "shard.tar").write_bytes(b"\x1f\x8b" + bytes(1000))
    assert "uncompressed tar" in refusal(root, MediaRef("shard.tar", "a.jpg")).detail


def test_a_refusal_travels_between_processes(root):
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        error = pool.submit(files.read, root, MediaRef("no.jpg"), LIMIT).exception(timeout=60)
    assert isinstance(error, MediaError)
    assert error.reason == "missing_file"
    assert "no.jpg" in error.detail
    assert str(error) == f"missing_file: {error.detail}"
