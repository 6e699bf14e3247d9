"""Which source runs: its digest and its commit."""

import pathlib
import subprocess

from m5jax import settings

PACKAGE = pathlib.Path(__file__).parent


def digest() -> str:
    """Of the package's files; equal files, equal digests, wherever they lie."""
    files = sorted(PACKAGE.rglob("*.py"))
    return settings.digest({str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in files})


def commit() -> str | None:
    """The commit of the package, marked if files differ from it; None outside a repository, or without git."""
    command = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return None
    return done.stdout.strip() or None
