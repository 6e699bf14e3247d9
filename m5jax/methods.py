"""The methods of the two papers by name: what makes each itself, whatever its size and the catalogue.

A method is one file in `models/` and one entry here; `configs/method.py:NAME` runs it, mode=leaderboard compares them.
Sizes, data and optimizer are left to the configuration. "+pkg" appends the names and values of the table to the title,
as K3M's paper compares (spec section 6.4). Nothing here imports jax.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from m5jax import presets


@dataclasses.dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
      title: as tables call it.
      modalities: those it has.
      change: turns a mutable configuration into this method's.
      knowing: the names and values of the table follow the title.
    """

    title: str
    modalities: tuple[str, ...]
    change: Callable[[Any], None]
    knowing: bool = False

    @property
    def sees(self) -> tuple[str, ...]:
        """The modalities that it sees anything of."""
        return (*self.modalities, "table") if self.knowing else self.modalities


def _unimodal(c: Any) -> None:
    _bare(c, "unimodal")
    c.objective.masked_region = c.objective.masked_language = 1.0
    for tower in (c.model.tokens, c.model.grids):
        tower.layers += c.model.fusion.layers  # as deep as the methods that encode, and then fuse


def _vl_bert(c: Any) -> None:
    _one_stream(c, "vl_bert")
    c.objective.masked_region = c.objective.masked_language = 1.0
    if c.inputs.image.classes:
        c.objective.region_target = "classes"


def _visualbert(c: Any) -> None:
    _one_stream(c, "visualbert")
    c.objective.masked_language = 1.0
    _matching(c)


def _uniter(c: Any) -> None:
    _one_stream(c, "uniter")
    c.objective.masked_region = c.objective.masked_language = 1.0
    c.objective.word_region = 0.1
    c.inputs.mask_one = True
    _matching(c)


def _one_stream(c: Any, family: str) -> None:
    """One tower, as deep as the methods that encode, and then fuse."""
    _bare(c, family)
    c.model.fusion.layers += c.model.tokens.layers


def _vilbert(c: Any) -> None:
    _bare(c, "vilbert")
    c.objective.masked_region = c.objective.masked_language = 1.0
    _matching(c)


def _lxmert(c: Any) -> None:
    _bare(c, "lxmert")
    c.objective.masked_region = c.objective.masked_language = 1.0
    _matching(c)


def _clip(c: Any) -> None:
    _bare(c, "clip")
    c.objective.contrastive, c.objective.negatives = 1.0, "cross_modal"
    c.objective.temperature, c.objective.learn_temperature = 0.07, True
    c.inputs.mask_rate = 0.0


def _capture(c: Any) -> None:
    _bare(c, "capture")
    c.objective.masked_region = c.objective.masked_language = c.objective.contrastive = 1.0
    c.objective.negatives = "simclr"
    c.objective.temperature, c.objective.learn_temperature = 0.07, False


def _k3m(c: Any) -> None:
    presets.k3m_paper(c)


def _scale(c: Any) -> None:
    presets.scale_paper(c)


def _bare(c: Any, family: str) -> None:
    """A family without any objective, in BERT's blocks, its product vector the mean of its last states."""
    c.model.family, c.model.blocks = family, "released"
    c.model.pool, c.model.readout, c.model.stem = "mean", "fusion", "patch"
    c.objective.harmony = "off"
    for name in ("contrastive", "classification", "matching", "word_region", "link_prediction", *presets.TASKS):
        c.objective[name] = 0.0


def _matching(c: Any) -> None:
    c.objective.matching = 1.0
    c.inputs.mismatch = 0.5


_PAIR = ("image", "text")
_PLAIN = {
    "image_only": Method("Image-only", ("image",), _unimodal),
    "bert": Method("BERT", ("text",), _unimodal),
    "vl_bert": Method("VL-BERT", _PAIR, _vl_bert),
    "vilbert": Method("ViLBERT", _PAIR, _vilbert),
    "visualbert": Method("VisualBERT", _PAIR, _visualbert),
    "lxmert": Method("LXMERT", _PAIR, _lxmert),
    "uniter": Method("UNITER", _PAIR, _uniter),
    "clip": Method("CLIP", _PAIR, _clip),
    "capture": Method("CAPTURE", _PAIR, _capture),
}
PKG = "+pkg"


def _with_knowledge(plain: Method) -> Method:
    def change(c: Any) -> None:
        plain.change(c)
        c.inputs.text.with_table = True
        c.inputs.text.length += c.inputs.table.length

    return Method(f"{plain.title}+PKG", plain.modalities, change, knowing=True)


METHODS: dict[str, Method] = (
    _PLAIN
    | {f"{name}{PKG}": _with_knowledge(method) for name, method in _PLAIN.items() if "text" in method.modalities}
    | {
        "scale": Method("SCALE", ("image", "text", "table"), _scale),
        "k3m": Method("K3M", ("image", "text", "table"), _k3m),
    }
)


def apply(c: Any, name: str) -> None:
    """Turns a mutable configuration into a method's, with what it sees; other modalities stay in the records."""
    method = METHODS[name]
    c.inputs.record = tuple(sorted({*c.inputs.modalities, *c.inputs.record}))
    c.inputs.modalities = method.modalities
    method.change(c)


EQUAL = (
    "steps",
    "epochs",
    "batch_size",
    "accumulate",
    "precision",
    "data",
    "optimizer",
    "evaluate",
    "model.width",
    "model.dropout",
    "model.pool",
)
"""Settings below config that no method has for itself, whatever its paper trained with; depth and readout it has."""


def at_budget(c: Any, name: str) -> None:
    """`apply`, with everything of `EQUAL` as it was: at one size, on the same data, with one optimizer."""
    given = c.to_dict()
    apply(c, name)
    for path in EQUAL:
        *sections, field = path.split(".")
        there, was = c, given
        for section in sections:
            there, was = there[section], was[section]
        there.update({field: was[field]})
