"""SCALE with the switches of the released code, small, on the embedded catalogue.

Full size: configs/scale_base.py:released.

python -m m5jax.main --config configs/scale_released.py
"""

from m5jax import config, presets


def get_config():
    c = config.default()
    presets.scale_released(c)
    presets.embedded_size(c)
    c.workdir = "runs/scale_released"
    return c
