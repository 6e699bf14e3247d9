"""Table 7 of the SCALE paper: whole entities or single pieces of the table masked.

python -m m5jax.main --config configs/tables/table7.py
"""

from m5jax.tables import base


def get_config():
    return base.config(7)
