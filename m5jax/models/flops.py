"""Floating-point operations by formula.

XLA's cost analysis counts a scanned block once, so utilisation is computed from these; a test holds them
against XLA's count of the unrolled model. A product [m, k] x [k, n] counts 2 m k n; elementwise work is left out.
"""

from collections.abc import Mapping

from m5jax import modalities
from m5jax.config import Config
from m5jax.model_settings import Model, Tower
from m5jax.models.stem import TAPS, channels
from m5jax.token_spec import TokenSpec

TRAINING = 3  # a training step costs a forward pass and, for both factors of each product, a backward one


def stack(tokens: int, tower: Tower, width: int) -> float:
    """A tower over one listing's sequence: projections, feed-forward, and the attention products."""
    width = tower.width or width
    hidden = tower.hidden or 4 * width
    per_token = 2 * width * (4 * width + 2 * hidden)
    return tower.layers * (tokens * per_token + 4 * tokens * tokens * width)


def co_attention(text: int, grid: int, model: Model) -> float:
    """Co-attention between `text` and `grid` tokens of one listing: a stack of `model.fusion.layers`."""
    width = model.fusion.width or model.width
    total = 8 * text * grid * width
    for tokens, tower in ((text, model.tokens), (grid, model.grids)):
        own = tower.width or model.width
        total += tokens * 2 * own * (4 * width + 2 * (tower.hidden or 4 * own))
    return model.fusion.layers * total


def gate(tokens: int, versions: int, width: int, model: Model) -> float:
    """The scores by which one modality's versions are fused."""
    if model.fuse not in ("soft", "hard"):
        return 0
    outputs = width if model.fuse_per == "dimension" else 1
    return 2 * tokens * (versions * width) * (versions * outputs)


def structure(table: TokenSpec, width: int) -> float:
    """Means of the spans, and attention over the triples."""
    return 2 * width * (2 * table.triples * table.length + 3 * table.triples * width + width)


def asked(table: TokenSpec, model: Model) -> float:
    """The names and values that link prediction asks for, each by itself."""
    return 2 * table.asked * stack(table.asked_length, model.tokens, model.width)


def stem(spec: TokenSpec, width: int) -> float:
    """The convolutions over one picture, and the linear map behind them."""
    total, before, side = 2 * spec.length * width * width, spec.grid[-1], spec.grid[0]
    for after in channels(spec.block[0], width):
        side //= 2
        total += 2 * side * side * TAPS * TAPS * before * after
        before = after
    return total


def embedding(spec: TokenSpec, width: int) -> float:
    """From one listing's blocks, and their boxes, to states; a table of embeddings is read, not computed."""
    return 2 * spec.sequence * (spec.dim + spec.geometry) * width if spec.kind == "grid" else 0


def masked_head(spec: TokenSpec, width: int, vocabulary: int, outputs: int = 0) -> float:
    """The masked objective's head at the selected positions; `outputs` as in `heads.MaskedHead`."""
    told = vocabulary if spec.kind == "tokens" else outputs or spec.dim
    return 2 * spec.masked * width * (width + told)


def heads(
    config: Config,
    specs: Mapping[str, TokenSpec],
    vocabulary: int,
    classes: int,
    widths: Mapping[str, int] | None = None,
    vector: int = 0,
    matcher: bool = True,
) -> float:
    """What `pretraining.Network.make_heads` makes, which says what `widths` and `vector` are, and `heads.Matcher`."""
    model, objective, width = config.model, config.objective, config.model.width
    total = 2 * width * (width + 1) if matcher and objective.matching else 0
    for name, spec in specs.items():
        if getattr(objective, modalities.TABLE[name].objective):
            told = spec.classes if name == "image" and objective.region_target == "classes" else 0
            total += masked_head(spec, (widths or {}).get(name, width), vocabulary, told)
    if classes and objective.classification:
        total += 2 * model.projection * ((vector or width) + classes)
    return total


def scale(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int) -> float:
    """Forward pass of SCALE over one listing with everything present and the configured objectives on."""
    model, width, objective = config.model, config.model.width, config.objective
    total = stack(sum(spec.sequence for spec in specs.values()), model.fusion, width)
    for name, spec in specs.items():
        total += stack(spec.sequence, model.tokens if spec.kind == "tokens" else model.grids, width)
        if name == "image" and model.stem == "convolutions":
            total += stem(spec, width)
        else:
            total += embedding(spec, width)
        if objective.contrastive:
            total += 2 * width * model.projection
        if getattr(objective, modalities.TABLE[name].objective):
            total += masked_head(spec, width, vocabulary)
        total += gate(spec.sequence, 2, width, model)
    if model.structure.heads:
        total += structure(specs["table"], width) + asked(specs["table"], model)
    if objective.classification:
        total += 2 * model.projection * (len(specs) * width + classes)
    return float(total)
