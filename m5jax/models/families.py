"""Model families by name. A new method is one file here and one line below."""

from m5jax.config import Config
from m5jax.models import capture, clip, k3m, lxmert, scale, unimodal, uniter, vilbert, visualbert, vl_bert
from m5jax.models.interface import Model
from m5jax.token_spec import token_specs

FAMILIES = {
    "scale": scale.build,
    "k3m": k3m.build,
    "unimodal": unimodal.build,
    "vl_bert": vl_bert.build,
    "visualbert": visualbert.build,
    "uniter": uniter.build,
    "vilbert": vilbert.build,
    "lxmert": lxmert.build,
    "clip": clip.build,
    "capture": capture.build,
}


def build(config: Config, vocabulary: int, classes: int = 0) -> Model:
    """The configured model for a tokenizer of `vocabulary` ids and a catalogue of `classes` categories."""
    return FAMILIES[config.model.family](config, token_specs(config.inputs), vocabulary, classes)
