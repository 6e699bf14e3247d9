"""What a figure was measured with: source, machine and libraries."""

import importlib.metadata
import os
import pathlib
import platform
from typing import Any

from m5jax import source

LIBRARIES = ("jax", "jaxlib", "numpy", "grain", "array-record", "pillow", "sentencepiece", "tokenizers")


def of_this_machine() -> dict[str, Any]:
    """commit, hardware and versions."""
    import jax  # not before the settings are checked

    hardware = {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "devices": [device.device_kind for device in jax.local_devices()],
    }
    versions = {"python": platform.python_version(), "m5jax": importlib.metadata.version("m5jax")}
    versions |= {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"commit": source.commit(), "hardware": hardware, "versions": versions}


def _cpu() -> str:
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
