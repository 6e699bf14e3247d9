"""SCALE on a catalogue of pictures, text and tables.

python -m m5jax.main --config configs/catalogue.py --config.data.catalogue=PATH
"""

from m5jax import config


def get_config():
    c = config.default()
    c.workdir = "runs/catalogue"
    c.inputs.modalities = ("image", "text", "table")
    return c
