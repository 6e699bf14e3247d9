"""Model families by name. A new method is one file here and one line below."""

from m5jax.config import Config
from m5jax.models import scale, unimodal
from m5jax.models.interface import Model
from m5jax.token_spec import token_specs

FAMILIES = {"scale": scale.build, "unimodal": unimodal.build}


def build(config: Config, vocabulary: int, classes: int = 0) -> Model:
    """The configured model for a tokenizer of `vocabulary` ids and a catalogue of `classes` categories."""
    return FAMILIES[config.model.family](config, token_specs(config.inputs), vocabulary, classes)
