"""SCALE at the size of the paper, on features extracted beforehand: the M5Product release as it is.

python -m m5jax.main --config configs/scale_base.py --config.data.catalogue=M5PRODUCT
python -m m5jax.main --config configs/scale_base.py:released --config.data.catalogue=M5PRODUCT

The first is what the paper means (`presets.scale_paper`), the second what its code computes. 36 regions of 2048 numbers
with boxes, titles of 36 and tables of 64 tokens, 12 video chunks of 1024, 80 rows of sound of 751. One epoch of
4,423,160 listings is 69,112 steps; the paper trains five. For its text encoder's start:
--config.initialize.weights=BERT (a folder with model.safetensors) --config.data.vocabulary_file=BERT/vocab.txt

Not trained here: the tests lower one step of it and run one at full width, a block deep, on two CPU cores.
"""

from m5jax import config, presets

PRESETS = {"paper": presets.scale_paper, "released": presets.scale_released}


def get_config(preset="paper"):
    c = config.default()
    PRESETS[preset](c)
    presets.full_size(c)
    c.workdir = f"runs/scale_base_{preset}"
    for name in ("image", "video", "audio"):
        c.inputs[name].source = "features"
    c.inputs.image.boxes = True
    c.inputs.image.feature_rows, c.inputs.image.feature_dim = 36, 2048
    c.inputs.video.feature_rows, c.inputs.video.feature_dim = 12, 1024
    c.inputs.audio.feature_rows, c.inputs.audio.feature_dim = 80, 751
    # The rows of the release's position tables.
    c.model.positions.video, c.model.positions.audio, c.model.positions.fusion = 50, 100, 512
    return c
