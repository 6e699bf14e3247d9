"""Table 10 of the SCALE paper: training on complete listings only, or on all.

python -m m5jax.main --config configs/tables/table10.py
"""

from m5jax.tables import base


def get_config():
    return base.config(10)
