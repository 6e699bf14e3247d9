"""Table 8 of the SCALE paper: title and table in one encoder, or in one each.

python -m m5jax.main --config configs/tables/table8.py
"""

from m5jax.tables import base


def get_config():
    return base.config(8)
