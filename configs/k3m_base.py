"""K3M at the size of its release, on regions extracted beforehand with the classes that their detector saw.

python -m m5jax.main --config configs/k3m_base.py --config.data.catalogue=M5PRODUCT

36 regions of 2048 numbers with boxes and shares of 1601 classes, titles of 36 pieces, tables of 128. For the start of
its text encoder: --config.initialize.weights=BERT (a folder with model.safetensors)
--config.data.vocabulary_file=BERT/vocab.txt

Not trained here: shapes, sizes and work are what the tests check.
"""

from m5jax import config, presets


def get_config():
    c = config.default()
    presets.k3m_paper(c)
    presets.k3m_full_size(c)
    c.workdir = "runs/k3m_base"
    c.inputs.modalities = ("image", "text", "table")
    c.inputs.image.source, c.inputs.image.boxes, c.inputs.image.classes = "features", True, 1601
    c.inputs.image.feature_rows, c.inputs.image.feature_dim = 36, 2048
    c.objective.region_target = "classes"
    return c
