"""Product matching: titles, descriptions and tables of which some pairs are known to be one product.

python tools/prepare.py --source pairs --input PATH --config configs/matching.py --output data/matching
python -m m5jax.main --config configs/matching.py --config.data.catalogue=data/matching

Listings that matched training pairs lead to are one product, and the model learns to tell these products apart;
validation pairs choose the threshold of study `matching`. What came out, beside TF-IDF: docs/results/products.md.
"""

from m5jax import config


def get_config():
    c = config.default()
    c.workdir = "runs/matching"
    c.steps = 600
    c.batch_size = 128
    c.inputs.modalities = ("text", "table")
    c.inputs.text.length = 48
    c.inputs.table.length = 16
    c.inputs.drop_modality = 0.1
    c.inputs.mask_rate = 0.15  # words that are hidden or exchanged: no single one of them may make a product
    c.data.vocabulary = 8192  # model numbers in few pieces
    c.model.tokens.layers = 1
    c.model.fusion.layers = 1
    c.model.scan = False
    c.model.pool = "mean"
    c.model.readout = "dense"
    c.model.dropout = 0.1
    for task in ("language", "entity"):
        c.objective[f"masked_{task}"] = 0.0
    c.objective.classification = 1.0
    c.objective.classes = "product"
    c.objective.contrastive = 0.2
    c.optimizer.learning_rate = 2e-3
    c.evaluate.batch_size = 256
    return c
