"""How importers turn what names a medium into a file of the catalogue's folder.

No URL is ever opened: its file lies on this disk, or the medium is absent.
"""

import os
import pathlib
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from m5jax.catalogues.catalogue import Rejection

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
      media: the folder where the file of a URL lies under the last part of its path, or under the id of the listing
        with an extension of `EXTENSIONS`; None if nothing was downloaded. Two files that could be it are none.
    """
    why, unopened = "--media DIR names a folder of downloaded files", []
    for key in EXTENSIONS:
        named = [row[key]] if isinstance(row.get(key), str) else row.get(key)
        if not isinstance(named, list) or not any(map(_is_url, named)):
            continue
        by_name = {name: _file(name, media) for name in named if _is_url(name)}
        by_id = _files_of(row.get("id"), key, media)
        if clash := [name for name in by_name.values() if name and by_id and by_id[0] not in by_name.values()]:
            why = f"both {by_id[0]!r} and {clash[0]!r} could be the file"
            by_id, by_name = [], dict.fromkeys(by_name, "")
        elif media:
            why = f"{media} has no file of it"
        row[key] = [file for name in named if (file := by_name[name] if _is_url(name) else name)] or by_id
        if not row[key]:
            unopened += by_name
    if unopened:
        identity = row["id"] if isinstance(row.get("id"), str) else ""
        yield Rejection(identity, "url_not_opened", f"no URL is opened, and {why}: {unopened[0][:200]}", lost=False)


def _is_url(name: Any) -> bool:
    return isinstance(name, str) and _URL.match(name) is not None


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
