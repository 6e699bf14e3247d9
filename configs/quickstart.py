"""SCALE on the embedded catalogue: five modalities, from nothing to a report.

python -m m5jax.main --config configs/quickstart.py
"""

from m5jax import config


def get_config():
    c = config.default()
    c.workdir = "runs/quickstart"
    c.steps = 500
    c.batch_size = 64
    return c
