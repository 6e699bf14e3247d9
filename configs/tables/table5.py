"""Table 5 of the SCALE paper: pictures with text, beside other methods.

python -m m5jax.main --config configs/tables/table5.py
"""

from m5jax.tables import base


def get_config():
    return base.config(5)
