"""K3M in the size of the tests."""

from small import small_config

from m5jax import config as config_lib
from m5jax import presets

PAPER = ("image", "text", "table")
VOCABULARY = 50


def small_k3m(preset=presets.k3m_paper, modalities=PAPER, **changes):
    """A preset in the size of the tests, with further changes: dotted paths with __ for the dot."""
    chosen = config_lib.default()
    preset(chosen)
    taken = {
        "model": ("family", "blocks", "pool", "readout", "fuse", "fuse_per", "structure", "stem"),
        "inputs__table": ("masking", "markers", "triples", "asked"),
        "objective": tuple(chosen.objective),
    }
    values = {}
    for section, names in taken.items():
        found = chosen
        for name in section.split("__"):
            found = found[name]
        values |= {f"{section}__{name}": found[name] for name in names}
    values["model__structure"] = {"heads": 4, "slope": chosen.model.structure.slope}
    values |= {"inputs__table__triples": 4, "inputs__table__asked_length": 3, "inputs__table__asked": 2}
    values |= {"model__grids__width": 24, "model__fusion__width": 16}
    return small_config(inputs__modalities=modalities, **(values | changes))
