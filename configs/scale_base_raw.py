"""SCALE at the size of the paper, from raw media: what the encoders read is trained with them.

python -m m5jax.main --config configs/scale_base_raw.py --config.data.catalogue=PATH

Pictures of 224 pixels in patches of 16, clips of 16 frames of 112 pixels in tubelets of 2 x 16 x 16, twelve seconds of
log-mel sound with time as the token axis, titles of 36 and tables of 64 tokens: 766 tokens in the joint transformer.

Not trained here: one full-width step on two CPU cores is what the tests run.
"""

from m5jax import config, presets


def get_config():
    c = config.default()
    presets.scale_paper(c)
    presets.full_size(c)
    c.workdir = "runs/scale_base_raw"
    c.precision = "bfloat16"
    c.model.remat = "dots"
    c.inputs.image.size, c.inputs.image.patch = 224, 16
    c.inputs.video.frames, c.inputs.video.size, c.inputs.video.tubelet, c.inputs.video.patch = 16, 112, 2, 16
    c.inputs.audio.frames, c.inputs.audio.mels, c.inputs.audio.block = 1200, 80, 16
    c.data.loader_workers = 8
    return c
