"""How importers turn what names a medium into a file of the catalogue's folder.

No URL is ever opened: its file lies on this disk, or the medium is absent.
"""

import os
import pathlib
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from m5jax.data.catalogue import Rejection

EXTENSIONS = {
    "images": ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "heic", "avif"),
    "videos": ("mp4", "mov", "m4v", "webm", "mkv", "avi", "ts", "mpg", "mpeg"),
    "audios": ("wav", "mp3", "flac", "ogg", "oga", "opus", "m4a", "aac", "ac3", "aif", "aiff"),
}
"""How files of a kind are called. What they are, and whether they can be used, their content says."""

_URL = re.compile(r"\s*(?:(?:[a-z][a-z0-9+.-]*:)?//|data:)", re.IGNORECASE)


def resolve(row: dict[str, Any], media: pathlib.Path | None) -> Iterator[Rejection]:
    """Puts files in the place of a row's URLs, and gives a note if that leaves one of its modalities without file.

    Args:
      row: changed in place.
      media: the folder where the file of a URL lies under the last part of its path or, if that is not there, under
        the id of the listing with an extension of `EXTENSIONS`; None if nothing was downloaded.
    """
    unopened = []
    for key in EXTENSIONS:
        named = [row[key]] if isinstance(row.get(key), str) else row.get(key)
        if not isinstance(named, list):
            continue
        urls = [name for name in named if isinstance(name, str) and _URL.match(name)]
        if not urls:
            continue
        found = [_file(name, media) if name in urls else name for name in named]
        row[key] = [name for name in found if name] or _files_of(row.get("id"), key, media)
        if not row[key]:
            unopened += urls
    if unopened:
        where = f"{media} has no file of it" if media else "--media DIR names a folder of downloaded files"
        detail = f"no URL is opened, and {where}: {unopened[0][:200]}"
        identity = row["id"] if isinstance(row.get("id"), str) else ""
        yield Rejection(identity, "url_not_opened", detail, lost=False)


def place(row: dict[str, Any], folder: str) -> None:
    """Makes a row's relative paths begin with a folder, if it has a name. Absolute ones stay, to be refused."""

    def placed(ref: Any) -> Any:
        if isinstance(ref, list):
            return [placed(part) for part in ref]
        if isinstance(ref, dict):
            return ref | {key: placed(ref[key]) for key in ("path", "shard") if ref.get(key)}
        return f"{folder.rstrip('/')}/{ref}" if isinstance(ref, str) and ref and not ref.startswith("/") else ref

    if folder:
        row.update({key: placed(row[key]) for key in EXTENSIONS if key in row})


def _file(url: str, media: pathlib.Path | None) -> str:
    """The name of a URL's file if it lies in the folder, or nothing."""
    name = re.split(r"[?#]", url.strip(), maxsplit=1)[0].rpartition("/")[2]
    return next((known for known in (name, urllib.parse.unquote(name)) if _lies_in(media, known)), "")


def _files_of(identity: Any, key: str, media: pathlib.Path | None) -> list[str]:
    """The one file that has the listing's id for a name, if it lies in the folder."""
    names = (f"{identity}.{extension}" for extension in EXTENSIONS[key] if isinstance(identity, str) and identity)
    return [name for name in names if _lies_in(media, name)][:1]


def _lies_in(media: pathlib.Path | None, name: str) -> bool:
    """Whether there is a file of this name, which is no path, directly in the folder."""
    plain = bool(name.strip(".")) and not {"/", "\\", "\0"} & set(name)
    return plain and media is not None and os.path.lexists(media / name)
