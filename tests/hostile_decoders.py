"""A decoder that ends in every way, importable in fresh processes at little cost."""

import os
import signal
import zlib

WHOLE = b"whole" * 100


def timed(task: tuple[str, bytes]) -> tuple[str, float]:
    """`fuzz_media.timed`: what becomes of a file is in its checksum, but `WHOLE` is whole and a byte is none."""
    _, data = task
    if data == WHOLE:
        return "decoded", 0.0
    found = ("decoded", "truncated", "raised KeyError", "segfault")[zlib.crc32(data) % 4] if len(data) > 1 else "empty"
    if found == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    return found, 0.0
