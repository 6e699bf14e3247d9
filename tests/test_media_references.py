"""Files that name other files or addresses: nothing else is opened, and nobody is called."""

import ctypes
import os
import socket
import struct
import sys
import time

import av
import conftest
import pytest
from media_files import film
from small import small_config

from m5jax.catalogues import catalogue
from m5jax.preparing import convert

IN_OPEN = 0x20  # inotify(7)
INPUTS = small_config().inputs
linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


class Watch:
    """The names of the files of a folder that are opened, by whatever language: an audit hook sees Python's only."""

    def __init__(self, folder):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._queue = self._libc.inotify_init1(os.O_NONBLOCK)
        assert self._libc.inotify_add_watch(self._queue, os.fsencode(folder), IN_OPEN) >= 0

    def opened(self) -> set[str]:
        try:
            events = os.read(self._queue, 1 << 16)
        except BlockingIOError:
            return set()
        names, position = set(), 0
        while position < len(events):
            length = struct.unpack_from("iIII", events, position)[3]
            names.add(events[position + 16 : position + 16 + length].rstrip(b"\0").decode())
            position += 16 + length
        return names - {""}  # the folder itself

    def close(self) -> None:
        os.close(self._queue)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a good film in it, watched; and a server at 127.0.0.1 that nobody is to call."""
    (tmp_path / "neighbour.ts").write_bytes(film("mpegts", codec="mpeg2video", rate=25))
    (tmp_path / "neighbour.mov").write_bytes(film("mov", codec="mjpeg"))
    monkeypatch.chdir(tmp_path)
    watch = Watch(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield tmp_path, watch, server
    watch.close()


def called(server) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def alias(neighbour: str) -> bytes:
    """A QuickTime film whose pictures lie in another file, by an alias (QuickTime File Format, data references)."""
    data = film("mov", codec="mjpeg")
    record = bytearray(150)
    struct.pack_into(">B27s", record, 10, 0, b"")  # the volume
    struct.pack_into(">B63s", record, 50, len(neighbour), neighbour.encode())
    struct.pack_into(">hh", record, 130, 1, 1)  # so many folders up and down
    path = neighbour.encode() + b"\0" * (len(neighbour) % 2)
    record += struct.pack(">hh", 2, len(neighbour)) + path + struct.pack(">hh", -1, 0)
    reference = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + bytes(record)
    at = data.index(b"dref") + 12
    changed = bytearray(data[:at] + reference + data[at + struct.unpack_from(">I", data, at)[0] :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = data.index(box) - 4
        struct.pack_into(">I", changed, start, struct.unpack_from(">I", data, start)[0] + len(changed) - len(data))
    return bytes(changed)


def playlist(name: str) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n".encode()


REFERENCES = {
    "a playlist of a file": lambda url: playlist("neighbour.ts"),
    "a playlist of an address": lambda url: playlist(f"{url}/a.ts"),
    "a playlist behind an ID3 tag": lambda url: b"ID3\4\0\0\0\0\0\0" + playlist("neighbour.ts"),
    "a playlist that begins like MPEG-TS": lambda url: b"G" * 564 + b"\n" + playlist("neighbour.ts"),
    "a script of films": lambda url: b"ffconcat version 1.0\nfile neighbour.ts\n",
    "a session": lambda url: b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    "a manifest": lambda url: f"<?xml version='1.0'?><MPD><BaseURL>{url}/</BaseURL></MPD>".encode(),
    "a page": lambda url: f"<!DOCTYPE html><img src='{url}/a.png'><title>404</title>".encode(),
    "a drawing": lambda url: f"<svg xmlns='http://www.w3.org/2000/svg'><image href='{url}/a.png'/></svg>".encode(),
    "a program for printers": lambda url: b"%!PS-Adobe-3.0 EPSF-3.0\n(neighbour.ts) run\n",
    "a film whose pictures lie elsewhere": lambda url: alias("neighbour.mov"),
}


@linux
@pytest.mark.parametrize("name", REFERENCES)
def test_no_second_file_is_opened_and_nobody_is_called(place, name):
    folder, watch, server = place
    (folder / "video.mp4").write_bytes(REFERENCES[name](f"http://127.0.0.1:{server.getsockname()[1]}"))
    row = {"id": "x", "title": "x", "images": "video.mp4", "videos": "video.mp4", "audios": "video.mp4"}
    watch.opened()
    start = time.process_time()
    conversion = convert.convert(catalogue.parse(row), folder, INPUTS)
    assert time.process_time() - start < 0.5
    assert watch.opened() == {"video.mp4"}
    assert not called(server)
    reasons = {rejection.modality: rejection.reason for rejection in conversion.rejections}
    assert reasons.keys() == {"image", "video", "audio"}
    disguised = set() if reasons["video"] == reasons["audio"] == "format_not_allowed" else {name}
    assert disguised <= {
        name for name in REFERENCES if "behind" in name or "begins like" in name or "elsewhere" in name
    }


@linux
def test_the_watch_sees_what_libav_opens(place):
    """Such files do lead libav elsewhere when it is left to guess: the test above could fail."""
    folder, watch, server = place
    (folder / "list.m3u8").write_bytes(playlist("neighbour.ts"))
    (folder / "alias.mov").write_bytes(alias("neighbour.mov"))
    watch.opened()
    with av.open("list.m3u8") as container:
        assert any(container.decode(video=0))
    assert watch.opened() == {"list.m3u8", "neighbour.ts"}
    with av.open("alias.mov", options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert any(container.decode(video=0))
    assert watch.opened() == {"alias.mov", "neighbour.mov"}
    with socket.create_connection(server.getsockname()):
        assert called(server)


def test_a_call_would_be_noticed():
    """Every test ends with a look at these (tests/conftest.py)."""
    for host in ("192.0.2.1", "127.0.0.1", "::1"):
        conftest.note_call("socket.connect", (None, (host, 443)))
    conftest.note_call("socket.connect", (None, "/run/a.sock"))
    conftest.note_call("socket.getaddrinfo", (b"example.org", 443))
    assert conftest.calls == ["192.0.2.1", "example.org"]
    conftest.calls.clear()
