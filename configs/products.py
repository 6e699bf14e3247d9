"""Six sources of public listings with pictures, titles and tables: what we train in an hour on two cores.

python -m m5jax.main --config configs/products.py --config.data.catalogue=PATH
python -m m5jax.main --config configs/products.py:pictures --config.data.catalogue=PATH

The model learns to tell the training listings' categories (supervised, so compare with what is), while pictures, titles
and tables of one listing are drawn together. The second is of pictures alone: no title gives away what it is to learn.
What came out, beside untrained yardsticks: docs/results/products.md.
"""

from m5jax import config


def get_config(preset="whole"):
    c = config.default()
    c.workdir = "runs/products"
    c.steps = 2200
    c.batch_size = 128
    c.inputs.modalities = ("image", "text", "table")
    c.inputs.image.patch = 16
    c.inputs.image.crop = 0.35  # a photograph in a shop shows less, and in another light, than the studio's picture
    c.inputs.image.jitter = 0.3
    c.inputs.text.length = 40
    c.inputs.table.length = 64
    c.inputs.mask_rate = 0.0
    # A title gives its category away: unless it is often hidden, nothing is learnt from pictures.
    c.inputs.drop_modality = 0.45
    c.model.stem = "convolutions"
    c.model.grids.layers = 3
    c.model.tokens.layers = 1
    c.model.fusion.layers = 1
    c.model.scan = False
    c.model.pool = "mean"
    c.model.readout = "dense"
    c.model.dropout = 0.1
    for task in ("region", "language", "entity"):
        c.objective[f"masked_{task}"] = 0.0
    c.objective.classification = 1.0
    c.objective.contrastive = 0.2
    c.optimizer.learning_rate = 1.5e-3
    c.evaluate.batch_size = 256
    if preset == "pictures":
        _pictures(c)
    return c


def _pictures(c):
    """Pictures alone, from the records of the whole."""
    c.workdir = "runs/products_pictures"
    c.steps = 1500
    c.inputs.modalities, c.inputs.record = ("image",), ("text", "table")
    c.data.complete_only = True
    c.inputs.drop_modality = 0.0
    c.inputs.image.crop, c.inputs.image.jitter = 0.6, 0.2
    c.objective.contrastive = 0.0
    c.objective.harmony = "off"
