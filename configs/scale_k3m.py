"""SCALE with K3M's structure aggregation, gates and link prediction, on the embedded catalogue.

python -m m5jax.main --config configs/scale_k3m.py
"""

from m5jax import config, presets


def get_config():
    c = config.default()
    presets.embedded_size(c)
    presets.scale_k3m(c)
    c.workdir = "runs/scale_k3m"
    # As in configs/quickstart.py: short runs gain from masked objectives that only accompany the contrastive one.
    for task in presets.TASKS:
        c.objective[task] = 0.1
    return c
