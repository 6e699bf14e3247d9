"""One method of the two papers on the embedded catalogue, small: any name of m5jax/methods.py.

python -m m5jax.main --config configs/method.py:vilbert
python -m m5jax.main --config configs/method.py:vilbert+pkg
"""

from m5jax import config, methods, presets
from m5jax.errors import ConfigError
from m5jax.settings import suggest


def get_config(name="k3m"):
    if name not in methods.METHODS:
        raise ConfigError(f"configs/method.py:{name}{suggest(name, methods.METHODS)}: must be one of {known()}")
    c = config.default()
    c.workdir = f"runs/method-{name}"
    c.inputs.modalities = ("image", "text", "table")
    presets.embedded_size(c)
    c.model.pool = "mean"
    methods.at_budget(c, name)
    return c


def known():
    return ", ".join(methods.METHODS)
