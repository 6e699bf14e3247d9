"""Table 6 of the SCALE paper: the self-harmonised weights on the contrastive and on the masked objectives.

python -m m5jax.main --config configs/tables/table6.py
"""

from m5jax.tables import base


def get_config():
    return base.config(6)
