"""Fine-tuning of the quickstart's model: it learns to tell the category, and its product vector becomes that layer's.

python -m m5jax.main --config configs/finetune.py --config.initialize.run=runs/quickstart

As SCALE: cross-entropy alone, every weight trained, a batch of 64, 18 passes; a larger rate, for so few steps.
"""

from m5jax import config


def get_config():
    c = config.default()
    c.workdir = "runs/finetune"
    c.steps = 400
    c.batch_size = 64
    # The network and what it sees are those of configs/quickstart.py.
    c.inputs.image.patch = 16
    c.model.fusion.layers = 1
    c.model.scan = False
    c.model.readout = "dense"
    c.model.dropout = 0.1
    c.inputs.mask_rate = 0.0
    for task in ("region", "language", "entity", "frame", "audio"):
        c.objective[f"masked_{task}"] = 0.0
    c.objective.contrastive = 0.0
    c.objective.harmony = "off"
    c.objective.classification = 1.0
    c.optimizer.learning_rate = 5e-4
    return c
