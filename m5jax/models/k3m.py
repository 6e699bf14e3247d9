"""K3M: pictures and titles that attend to each other, fused with what they were before, and a graph of knowledge.

Zhu et al., Knowledge Perceived Multi-modal Pretraining in E-commerce, ACM MM 2021, as its figure has it (the release is
another model: docs/k3m.md). An encoder for the picture, one for title, properties and values alike; co-attention
between title and picture; per token a choice between what its encoder said and what the other modality made of it; c,
the mean of all tokens; attention over the star of c, its properties and its values; c*, which is the product vector.
Objectives: masked language, masked objects, and link prediction, <c*, property, ?>.

Faithful: that structure, shared weights, mean-pooled properties and values, eight heads, hard choice, the asked triple
hidden from the graph. Ours, where the paper's text says nothing that we know: docs/k3m.md. Clips and sounds, which K3M
does not know, are further partners of the title.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from m5jax.config import Config
from m5jax.errors import ConfigError
from m5jax.models import flops
from m5jax.models.coattention import CoStack
from m5jax.models.encoders import embedder
from m5jax.models.gates import Gates
from m5jax.models.heads import pool
from m5jax.models.interface import Batch, Model
from m5jax.models.layers import Stack, encoder_layout, linear
from m5jax.models.pretraining import Masks, Network, States
from m5jax.models.pretraining import build as build_model
from m5jax.models.structure import Structure, asked_vectors, own_triple, shown_spans, span_means
from m5jax.token_spec import TokenSpec


def build(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int = 0) -> Model:
    """K3M for the given modalities, vocabulary size and number of classes (0 = none to tell).

    Raises:
      ConfigError: there is no title and no picture, clip or sound; the table is no graph; an objective or a readout is
        not K3M's.
    """
    _check(config, specs)
    return build_model(
        lambda rngs: K3M(config, specs, vocabulary, classes, rngs),
        config,
        specs,
        classes,
        _flops(config, specs, vocabulary, classes),
    )


class K3M(Network):
    """Encoders, interactors, gates, and the structure encoder."""

    def __init__(self, config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int, rngs: nnx.Rngs):
        super().__init__(config, specs, vocabulary, rngs)
        model, dtype, layout = config.model, self.dtype, encoder_layout(config.model)
        self.names = tuple(name for name in specs if name != "table")
        self.partners = tuple(name for name in self.names if specs[name].kind == "grid")
        wide = dataclasses.replace(model, width=model.grids.width or model.width)
        embedders = {name: embedder(specs[name], specs[name].sequence, wide, dtype, rngs) for name in self.partners}
        encoders = {name: Stack(model.grids, layout, model, dtype, rngs) for name in self.partners}
        words = [spec for spec in specs.values() if spec.kind == "tokens"]
        if words:  # one encoder for all that is text, with positions for the longest of it
            longest = max(spec.sequence for spec in words)
            embedders["text"] = embedder(specs.get("text", words[0]), longest, model, dtype, rngs)
            encoders["text"] = Stack(model.tokens, layout, model, dtype, rngs)
        self.embedders, self.encoders = nnx.Dict(embedders), nnx.Dict(encoders)
        met = self.partners if "text" in self.names else ()
        self.interactors = nnx.Dict(
            {name: CoStack(model.fusion, model.tokens, model.grids, layout, model, dtype, rngs) for name in met}
        )
        gates = {name: Gates(1, wide.width, model, dtype, rngs) for name in met}
        if met:
            gates["text"] = Gates(len(met), model.width, model, dtype, rngs)
        self.gates = nnx.Dict(gates)
        narrowed = self.partners if wide.width != model.width else ()
        self.maps = nnx.Dict({name: linear(wide.width, model.width, layout, dtype, rngs) for name in narrowed})
        if "table" in specs:
            self.structure = Structure(model.width, model, dtype, rngs)
        self.make_heads(classes, rngs, dict.fromkeys(self.partners, wide.width))

    def encode(self, batch: Batch, key: Array | None) -> tuple[States, Masks]:
        """Fused states of title and grids; under "table" the text encoder's of the triples, each by itself."""
        most = 4 * len(self.specs) + 2  # for each modality before and after its encoder, one to meet, one to fuse
        keys = iter([None] * most if key is None else jax.random.split(key, most))
        states, masks = {}, {}
        for name in self.names:
            states[name], masks[name] = self._encoded(name, batch[name], next(keys), next(keys))
        if self.interactors:
            versions = {
                name: interactor(states["text"], states[name], masks["text"], masks[name], next(keys))
                for name, interactor in self.interactors.items()
            }
            there = {name: masks[name].any(1, keepdims=True) for name in ("text", *versions)}
            fused = {
                name: self.gates[name](states[name], [version], there["text"], next(keys))
                for name, (_, version) in versions.items()
            }
            partners = jnp.concatenate([there[name] for name in versions], 1)
            fused["text"] = self.gates["text"](
                states["text"], [version for version, _ in versions.values()], partners, next(keys)
            )
            states |= fused
        if "table" in self.specs:
            states["table"], masks["table"] = self._triples(batch["table"], next(keys), next(keys))
        return states, masks

    def _encoded(
        self, name: str, arrays: dict, before: Array | None, after: Array | None
    ) -> tuple[Float[Array, "b l d"], Bool[Array, "b l"]]:
        embedded, mask = self.embedders[name](arrays, self.vocabulary, before)
        return self.encoders[name](embedded, mask, after), mask

    def _triples(
        self, table: dict, before: Array | None, after: Array | None
    ) -> tuple[Float[Array, "b l d"], Bool[Array, "b l"]]:
        """States of the table's tokens, of which each sees its own triple and nothing else, at its place in that."""
        alone = own_triple(shown_spans(table))
        table = {"ids": table["ids"], "mask": alone.seen.any(-1), "positions": alone.positions}
        embedded, mask = self.embedders["text"](table, self.vocabulary, before)
        return self.encoders["text"](embedded, alone.seen, after), mask

    def vector(self, batch: Batch, states: States, masks: Masks) -> Float[Array, "b d"]:
        """c*: the mean of all fused tokens, c, and what the triples add to it."""
        total, count = jnp.zeros(()), jnp.zeros(())
        for name in self.names:
            mean, tokens = pool(states[name], masks[name], "mean"), masks[name].sum(1, keepdims=True)
            mapped = self.maps[name](mean).astype(jnp.float32) if name in self.maps else mean
            total, count = total + tokens * mapped, count + tokens
        centre = total / jnp.maximum(count, 1)
        if "table" not in self.specs:
            return centre
        return self.structure(
            centre, *span_means(states["table"], shown_spans(batch["table"]), self.specs["table"].triples)
        )

    def asked(self, batch: Batch) -> tuple[Float[Array, "b t d"], Float[Array, "b t d"]]:
        """The mean states of the asked names and values, each text by itself, from the encoder of all text."""
        return asked_vectors(batch["table"]["asked"], lambda arrays: self._encoded("text", arrays, None, None))


def _check(config: Config, specs: Mapping[str, TokenSpec]) -> None:
    objective, model = config.objective, config.model
    if not specs.keys() - {"table"}:
        raise ConfigError("config.model.family = 'k3m' needs title, picture, clip or sound: its triples describe them")
    if "table" in specs and not (specs["table"].triples and model.structure.heads):
        raise ConfigError(
            "config.model.family = 'k3m' reads the table as a graph: set config.inputs.table.triples and"
            " config.model.structure.heads, or take table out of config.inputs.modalities"
        )
    if "table" in specs and config.inputs.table.masking != "none":
        raise ConfigError(
            f"config.inputs.table.masking = {config.inputs.table.masking!r}: config.model.family = 'k3m' asks for links"
            " instead of hiding pieces of the table; set 'none'"
        )
    if model.tokens.width not in (0, model.width):
        raise ConfigError(
            f"config.model.tokens.width = {model.tokens.width}: text has the width of its vocabulary,"
            f" config.model.width = {model.width}; set 0"
        )
    for name in ("contrastive", "matching", "word_region", "masked_entity" if "table" in specs else ""):
        if name and getattr(objective, name):
            raise ConfigError(f"config.objective.{name} is no objective of config.model.family = 'k3m': set it to 0")
    if model.readout not in ("structure", "dense"):
        raise ConfigError(
            f"config.model.readout = {model.readout!r}: the product vector of config.model.family = 'k3m' is c*,"
            " 'structure', or the classifier's, 'dense'"
        )


def _flops(config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int) -> float:
    model, width, objective = config.model, config.model.width, config.objective
    wide, total = model.grids.width or width, 0.0
    grids = [spec for spec in specs.values() if spec.kind == "grid"]
    for spec in grids:
        total += flops.embedding(spec, wide) + flops.stack(spec.sequence, model.grids, width)
        total += 2 * wide * width * (wide != width)
    text, table = specs.get("text"), specs.get("table")
    if text:
        total += flops.stack(text.sequence, model.tokens, width)
        for spec in grids:
            total += flops.co_attention(text.sequence, spec.sequence, model) + flops.gate(spec.sequence, 2, wide, model)
        total += flops.gate(text.sequence, 1 + len(grids), width, model) if grids else 0
    if table:
        total += flops.stack(table.sequence, model.tokens, width) + flops.structure(table, width)
        if objective.link_prediction:
            total += flops.asked(table, model)
    named = {name: spec for name, spec in specs.items() if name != "table"}
    widths = {spec.name: wide for spec in grids}
    total += flops.heads(config, named, vocabulary, classes, widths, matcher=False)
    return float(total)
