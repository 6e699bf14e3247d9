"""Files that are whole or not there, also where several makers write the same one at the same time."""

import contextlib
import pathlib
import re
import uuid
from collections.abc import Iterator

SUFFIX = ".tmp"


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path beside the given one, no other maker's, that takes its name when all is written, and goes if it is not."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{SUFFIX}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def finished(name: str) -> str:
    """The name that a file will have once it is whole."""
    return re.sub(rf"\.[0-9a-f]{{12}}{re.escape(SUFFIX)}$", "", name)


def clear(folder: pathlib.Path) -> None:
    """Takes away what killed makers left in a folder and those below."""
    for path in folder.rglob(f"*{SUFFIX}"):
        path.unlink(missing_ok=True)
