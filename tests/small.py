"""The configuration that most tests use."""

from m5jax import config as config_lib
from m5jax import settings


def small_config(**changes):
    """A configuration that trains in seconds; `changes` are dotted paths with __ for the dot."""
    values = settings.to_dict(config_lib.Config())
    values |= {"steps": 4, "batch_size": 8}
    values["model"] |= {"width": 32, "projection": 16}
    for tower in ("tokens", "grids", "fusion"):
        values["model"][tower] |= {"heads": 2, "layers": 1}
    values["inputs"]["image"] |= {"size": 16, "patch": 8}
    values["inputs"]["video"] |= {"size": 16, "patch": 8, "frames": 4}
    values["inputs"]["audio"] |= {"frames": 16, "block": 8, "mels": 16}
    values["inputs"]["text"]["length"] = 12
    values["inputs"]["table"]["length"] = 20
    values["data"] |= {"vocabulary": 400, "prepare_workers": 1}
    values["evaluate"] |= {"batch_size": 16, "ks": (1, 3)}
    for path, value in changes.items():
        *sections, name = path.split("__")
        target = values
        for section in sections:
            target = target[section]
        assert name in target, path
        target[name] = value
    return config_lib.freeze(values)
