"""What the M5Product release keeps in one file a product, media or features: which product has which file."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from m5jax.catalogues.catalogue import RowError
from m5jax.errors import ConfigError
from m5jax.inputs import Inputs


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the files of a modality lie.

    Attributes:
      folder: beside the listing file.
      suffixes: behind an id, the first of which there is a file counts.
      key: of a product, what its media were fetched from: a file may also be called as that ends. It is never opened.
    """

    folder: str
    suffixes: tuple[str, ...]
    key: str = ""


FEATURES = {"video": Place("video_feature", (".npy",)), "audio": Place("audio_feature", (".npy",))}
RAW = {
    "image": Place("images", (".jpg", ".jpeg", ".png", ".webp", ".gif"), "url"),
    "video": Place("videos", (".mp4", ".mov", ".webm", ".mkv", ".avi", ".ts", ".gif"), "video"),
    "audio": Place("audios", (".mp3", ".wav", ".flac", ".ogg", ".m4a", ".aiff", ".ac3"), "audio"),
}


def check(inputs: Inputs, root: pathlib.Path) -> None:
    """Whether the settings ask for what the release has: features of a modality, unless its media are there.

    Raises:
      ConfigError: naming what to set.
    """
    kept = [name for name in RAW if name in inputs.kept]
    wrong = [name for name in kept if getattr(inputs, name).source == "raw" and not (root / RAW[name].folder).is_dir()]
    needed = [f"config.inputs.{name}.source=features" for name in wrong]
    if "image" in kept and not inputs.image.boxes and (inputs.image.source == "features" or "image" in wrong):
        needed.append("config.inputs.image.boxes=True")
    if needed:
        media = "".join(f", or put media into {root / RAW[name].folder}" for name in wrong)
        raise ConfigError(f"the M5Product release holds features instead of media: set {', '.join(needed)}{media}")


class Files:
    """The files of a modality."""

    def __init__(self, root: pathlib.Path, place: Place):
        names = (entry.name for entry in scan(root, place))
        self._place, self._names = place, {name for name in names if _is_text(name)}

    def find(self, identity: str, product: dict[str, Any]) -> str:
        """The file of a product, relative to the release's folder; empty if it has none.

        Raises:
          RowError: what it was fetched from is neither text nor a list of texts.
        """
        fetched = product.get(self._place.key) if self._place.key else None
        fetched = [fetched] if isinstance(fetched, str) else fetched or []
        if not isinstance(fetched, list) or not all(isinstance(url, str) for url in fetched):
            raise RowError("invalid_field", f"{self._place.key} must be a string, a list of strings, or null")
        names = [f"{identity}{suffix}" for suffix in self._place.suffixes]
        names += [url.partition("?")[0].rpartition("/")[2] for url in fetched]
        return next((f"{self._place.folder}/{name}" for name in names if name in self._names), "")


def files(root: pathlib.Path, inputs: Inputs) -> dict[str, Files]:
    """The files of the modalities that records keep; pictures have some only if they are media."""
    chosen = {name: (RAW if getattr(inputs, name).source == "raw" else FEATURES).get(name) for name in RAW}
    return {name: Files(root, place) for name, place in chosen.items() if place and name in inputs.kept}


def scan(root: pathlib.Path, place: Place) -> Iterator[os.DirEntry[str]]:
    """The files in a place whose folder may be missing."""
    if (root / place.folder).is_dir():
        with os.scandir(root / place.folder) as entries:
            suffixes = place.suffixes if not place.key else ()  # media may be called anything
            yield from (entry for entry in entries if entry.name.endswith(suffixes or ""))


def _is_text(name: str) -> bool:
    """Whether a file's name is text; of bytes that are none Python makes half characters, which nobody could write."""
    return name.encode("utf-8", "replace").decode() == name
