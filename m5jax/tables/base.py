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
    c.data.toy.listings = 1200
    c.steps = 300
    c.batch_size = 64
    c.inputs.image.patch = 16
    c.model.width = 64
    c.model.projection = 64
    for tower in (c.model.tokens, c.model.grids, c.model.fusion):
        tower.layers = 1
    c.model.scan = False
    c.objective.harmony = "both"  # on logits and on losses (paper, equation 3)
    c.objective.harmony_detach = True
    for task in ("region", "language", "entity", "frame", "audio"):
        c.objective[f"masked_{task}"] = 0.1  # short runs gain from one that only accompanies the contrastive one
    c.optimizer.learning_rate = 2e-3
    c.checkpoint.every = 1000
    c.evaluate.probe = False
    c.evaluate.cluster = False
    c.export.after_training = False
    c.logging.tensorboard = False
    return c


def finetune(c: Any, run: str) -> None:
    """Changes the settings of a pre-training into those of its fine-tuning (SCALE: cross-entropy, all weights)."""
    c.initialize.run, c.initialize.weights = run, ""
    c.steps = c.table.finetune_steps
    c.optimizer.learning_rate = c.table.finetune_learning_rate
    for name in ("contrastive", *(name for name in c.objective if name.startswith("masked_"))):
        c.objective[name] = 0.0
    c.objective.harmony = "off"
    c.objective.classification = 1.0
    c.inputs.mask_rate = 0.0
    c.model.readout = "dense"
    c.evaluate.cluster = True
