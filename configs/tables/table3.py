"""Table 3 of the SCALE paper: modalities added one by one, pre-trained and fine-tuned.

python -m m5jax.main --config configs/tables/table3.py
"""

from m5jax.tables import base


def get_config():
    return base.config(3)
