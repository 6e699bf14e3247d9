"""SCALE on the embedded catalogue: five modalities, from nothing to a report.

python -m m5jax.main --config configs/quickstart.py
"""

from m5jax import config


def get_config():
    c = config.default()
    c.workdir = "runs/quickstart"
    c.steps = 500
    c.batch_size = 64
    c.inputs.image.patch = 16
    c.model.fusion_layers = 1
    c.model.scan = False  # two blocks run a fifth faster unrolled
    # Short runs gain from a masked objective that only accompanies the contrastive one.
    for task in ("region", "language", "entity", "frame", "audio"):
        c.objective[f"masked_{task}"] = 0.1
    c.objective.harmony = "loss"
    c.objective.harmony_detach = True
    c.optimizer.learning_rate = 2e-3
    return c
