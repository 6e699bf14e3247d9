"""Every method of the two papers at one budget, in one table: every task, clean and damaged.

python -m m5jax.main --config configs/leaderboard.py
python -m m5jax.main --config configs/leaderboard.py:products --config.data.catalogue=PATH

The first is on the embedded catalogue, the second on public listings with pictures, titles and tables. Interrupted, the
same command goes on. What it came to, and in what time: docs/results/leaderboard.md; how a method is added:
docs/leaderboard.md.
"""

from m5jax import config


def get_config(preset="embedded"):
    c = config.default()
    c.mode = "leaderboard"
    c.workdir = f"runs/leaderboard/{preset}"
    c.leaderboard.seeds = 2
    c.inputs.modalities = ("image", "text", "table")
    c.inputs.image.patch = 16
    c.inputs.text.length = 16
    c.inputs.table.length = 32
    c.steps = 300
    c.batch_size = 64
    c.model.width = c.model.projection = 64
    for tower in (c.model.tokens, c.model.grids, c.model.fusion):
        tower.layers = 1
    c.model.scan = False  # few blocks run a fifth faster unrolled
    c.model.pool = "mean"  # of all states, for every method
    c.optimizer.learning_rate = 2e-3
    c.checkpoint.every = 1000
    c.evaluate.batch_size = 256
    c.evaluate.alone = False
    c.evaluate.studies = ("matching", "answers", "robustness")
    c.evaluate.study_listings = 400
    c.export.after_training = False
    c.logging.tensorboard = False
    if preset == "products":
        _products(c)
    else:
        # A catalogue that leaves room between a good and a bad model: many small categories, and careless sellers.
        c.data.toy.listings, c.data.toy.categories = 1200, 24
        c.data.toy.noise_text = c.data.toy.noise_image = 0.1
    return c


def _products(c):
    c.leaderboard.seeds = 1
    c.inputs.text.length, c.inputs.table.length = 24, 40
    c.steps = 500
