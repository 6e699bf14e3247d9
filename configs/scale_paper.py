"""SCALE with the switches of the paper, small, on the embedded catalogue.

Full size: configs/scale_base.py.

python -m m5jax.main --config configs/scale_paper.py
"""

from m5jax import config, presets


def get_config():
    c = config.default()
    presets.scale_paper(c)
    presets.embedded_size(c)
    c.workdir = "runs/scale_paper"
    return c
