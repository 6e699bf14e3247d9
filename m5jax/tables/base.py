"""The settings that a table's runs share: small enough for two cores, and what fine-tuning changes.

A config file asks for `config(number)` and may change anything; every row then changes what it is about.
"""

from typing import Any

from m5jax import config as config_lib


def config(number: int) -> Any:
    """A configuration (ConfigDict) whose command makes table `number` of the SCALE paper on the embedded catalogue."""
    c = config_lib.default()
    c.mode = "table"
    c.table.number = number
    c.workdir = "runs/tables"  # one for all tables: they have rows in common
    # A catalogue that leaves room between a good and a bad model: many small categories, and careless sellers.
    c.data.toy.listings = 1200
    c.data.toy.categories = 24
    c.data.toy.noise_text = 0.1
    c.data.toy.noise_image = 0.1
    c.steps = 200
    c.batch_size = 64
    # Few tokens, so that a row takes less than a minute.
    c.inputs.image.patch = 16
    c.inputs.text.length = 16
    c.inputs.table.length = 32
    c.inputs.video.frames = 4
    c.inputs.audio.block = 16
    c.model.width = 64
    c.model.projection = 64
    for tower in (c.model.tokens, c.model.grids, c.model.fusion):
        tower.layers = 1
    c.model.scan = False
    for task in ("region", "language", "entity", "frame", "audio"):
        c.objective[f"masked_{task}"] = 0.3  # enough for the joint transformer, little enough for the encoders
    c.optimizer.learning_rate = 2e-3
    c.checkpoint.every = 1000
    c.evaluate.probe = False
    c.evaluate.cluster = False
    c.evaluate.studies = ()
    c.export.after_training = False
    c.logging.tensorboard = False
    return c


def finetune(c: Any, run: str) -> None:
    """Changes the settings of a pre-training into those of its fine-tuning (SCALE: cross-entropy, all weights)."""
    c.initialize.run, c.initialize.weights = run, ""
    c.steps, c.epochs = c.table.finetune_steps, 0.0
    c.optimizer.learning_rate = c.table.finetune_learning_rate
    for name in ("contrastive", *(name for name in c.objective if name.startswith("masked_"))):
        c.objective[name] = 0.0
    c.objective.harmony = "off"
    c.objective.classification = 1.0
    c.inputs.mask_rate = 0.0
    c.model.readout = "dense"
    c.evaluate.cluster = True
