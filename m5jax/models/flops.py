"""Floating-point operations by formula.

XLA's cost analysis counts a scanned block once, so utilisation is computed from these; a test holds them
against XLA's count of the unrolled model. A product [m, k] x [k, n] counts 2 m k n; elementwise work is left out.
"""

from m5jax.config import Model
from m5jax.token_spec import TokenSpec

TRAINING = 3  # a training step costs a forward pass and, for both factors of each product, a backward one


def stack(tokens: int, layers: int, model: Model) -> float:
    """A tower over one listing's sequence: projections, feed-forward, and the attention products."""
    hidden = round(model.width * model.mlp_ratio)
    per_token = 2 * model.width * (4 * model.width + 2 * hidden)
    return layers * (tokens * per_token + 4 * tokens * tokens * model.width)


def sequence(spec: TokenSpec) -> int:
    """Tokens of a modality inside the model: a grid has its mean block in front."""
    return spec.length + (spec.kind == "grid")


def scale(model: Model, specs: dict[str, TokenSpec], vocabulary: int) -> float:
    """Forward pass of SCALE over one listing with everything present and the masked objectives on."""
    total = stack(sum(map(sequence, specs.values())), model.fusion_layers, model)
    for spec in specs.values():
        total += stack(sequence(spec), model.encoder_layers, model)
        total += 2 * model.width * model.projection
        output = vocabulary if spec.kind == "tokens" else spec.dim
        total += 2 * spec.masked * model.width * (model.width + output)
        if spec.kind == "grid":
            total += 2 * sequence(spec) * spec.dim * model.width
    return float(total)
