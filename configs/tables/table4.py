"""Table 4 of the SCALE paper: thirteen combinations of modalities, fine-tuned.

python -m m5jax.main --config configs/tables/table4.py
"""

from m5jax.tables import base


def get_config():
    return base.config(4)
