"""Missing and noise in training, too: four models on the embedded catalogue, side by side in one figure.

python -m m5jax.main --config configs/sweep.py

36 runs, half an hour on two CPU cores; `runs/sweep/sweep.html` has the figures. What can be swept, and how models are
named: docs/evaluation.md.
"""

from m5jax.tables import base


def get_config():
    c = base.config(3)  # catalogue and network of the paper's tables
    c.mode = "sweep"
    c.workdir = "runs/sweep"
    c.evaluate.sweeps = ("missing_text", "missing_mixed", "noise_text", "noise_mixed")
    c.sweep.models = (
        "everything",
        "hiding three in ten: inputs.drop_modality=0.3",
        "titles alone: inputs.modalities=text",
        "pictures alone: inputs.modalities=image",
    )
    c.sweep.training_ratios = (0.5,)
    c.sweep.seeds = 2
    return c
