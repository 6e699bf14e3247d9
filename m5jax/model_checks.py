"""Which settings of network, objectives and inputs go together; nothing here imports jax."""

from m5jax.errors import ConfigError
from m5jax.inputs import Inputs
from m5jax.model_settings import Model, Objective
from m5jax.token_spec import token_specs


def check_model(model: Model, objective: Objective, inputs: Inputs) -> None:
    """Which settings of network and objectives go together.

    Raises:
      ConfigError: naming those that do not.
    """
    for name in ("tokens", "grids", "fusion"):
        tower = getattr(model, name)
        where, width = (f"{name}.width", tower.width) if tower.width else ("width", model.width)
        if width % tower.heads:
            raise ConfigError(f"config.model.{name}.heads = {tower.heads} must divide config.model.{where} = {width}")
    if model.structure.heads and model.width % model.structure.heads:
        raise ConfigError(
            f"config.model.structure.heads = {model.structure.heads} must divide config.model.width = {model.width}"
        )
    _check_positions(model, inputs)
    _check_stem(model, inputs)
    _check_harmony(objective)
    _check_asked(objective, inputs)
    _check_structure(model, objective, inputs)
    if model.readout == "dense" and not objective.classification:
        raise ConfigError(
            "config.model.readout = 'dense' is a layer of the classifier: set config.objective.classification"
        )


def _check_positions(model: Model, inputs: Inputs) -> None:
    """Every token needs a row of its table; a shared table serves the longer of title and table."""
    needed = {name: spec.sequence for name, spec in token_specs(inputs).items()}
    joint = sum(needed.values())
    if (model.share or model.family == "k3m") and {"text", "table"} <= needed.keys():
        needed["text"] = max(needed["text"], needed["table"])
    for name, tokens in (needed | {"fusion": joint}).items():
        rows = getattr(model.positions, name)
        if 0 < rows < tokens:
            raise ConfigError(f"config.model.positions.{name} = {rows} is less than the {tokens} tokens there are")


def _check_stem(model: Model, inputs: Inputs) -> None:
    """Convolutions halve a picture of pixels, again and again, and every one of them needs channels."""
    patch = inputs.image.patch
    if model.stem == "patch" or "image" not in inputs.modalities:
        return
    if model.blocks == "released" or model.share or inputs.image.source != "raw":
        raise ConfigError(
            "config.model.stem = 'convolutions' needs pixels and an encoder of the picture's own:"
            " config.model.blocks = 'pre_norm', config.model.share=False and config.inputs.image.source = 'raw'"
        )
    if patch & (patch - 1) or patch < 2 or model.width % (patch // 2):
        raise ConfigError(
            f"config.inputs.image.patch = {patch} must be a power of two above 1 with config.model.stem ="
            f" 'convolutions', and half of it divide config.model.width = {model.width}"
        )


def _check_harmony(objective: Objective) -> None:
    """Which switches of the harmony weights go together."""
    name, apply, detached = "config.objective.harmony", objective.harmony, objective.harmony_detach
    if apply == "off":
        return
    if not objective.harmony_on:
        raise ConfigError(f"{name} = {apply!r} needs {name}_on: contrastive, masked, or both; or set {name} = 'off'")
    if objective.harmony_source == "free":
        if detached:
            raise ConfigError(f"{name}_source = 'free' needs {name}_detach=False: without gradient it never changes")
        if apply == "logits":
            raise ConfigError(
                f"{name}_source = 'free' needs {name} = 'loss' or 'both', whose losses its barrier weighs"
            )
        return
    if apply in ("loss", "both") and not detached:
        raise ConfigError(
            f"{name} = {apply!r} needs {name}_detach=True: through weights that scale a loss, it is lowest where the"
            " modalities of a listing agree in nothing"
        )
    if objective.harmony_weighting == "agreement" and apply != "loss":
        raise ConfigError(f"{name}_weighting = 'agreement' needs {name} = 'loss': its weights are shares of the losses")


def _check_asked(objective: Objective, inputs: Inputs) -> None:
    """What objectives need a batch to hold, beside the modalities."""
    pair, table = {"image", "text"} <= {*inputs.modalities}, "table" in inputs.modalities
    told = objective.masked_region > 0 and "image" in inputs.modalities
    needs = (
        ("config.inputs.table.asked", inputs.table.asked, "config.inputs.table.triples above 0", inputs.table.triples),
        (
            "config.objective.link_prediction",
            objective.link_prediction,
            "config.inputs.table.asked above 0, and a table in config.inputs.modalities",
            inputs.table.asked and table,
        ),
        (
            "config.objective.matching",
            objective.matching,
            "config.inputs.mismatch above 0, and image and text in config.inputs.modalities",
            inputs.mismatch and pair,
        ),
        (
            "config.objective.word_region",
            objective.word_region,
            "config.objective.matching above 0",
            objective.matching,
        ),
        (
            "config.objective.region_target",
            objective.region_target,
            "config.inputs.image.classes above 0",
            inputs.image.classes or not told or objective.region_target != "classes",
        ),
    )
    for name, value, needed, there in needs:
        if value and not there:
            raise ConfigError(f"{name} = {value!r} needs {needed}")


def _check_structure(model: Model, objective: Objective, inputs: Inputs) -> None:
    """Where K3M's parts have something to read, and something that trains them."""
    heads, scale = model.structure.heads, model.family == "scale"
    graph = inputs.table.triples > 0 and "table" in inputs.modalities
    if model.family not in ("scale", "k3m") and (heads or model.fuse != "none"):
        raise ConfigError(
            f"config.model.family = {model.family!r} has no structure aggregation and no gates: set"
            " config.model.structure.heads = 0 and config.model.fuse = 'none'"
        )
    for name in ("tokens", "grids", "fusion"):
        width = getattr(model, name).width
        if scale and width not in (0, model.width):
            raise ConfigError(
                f"config.model.{name}.width = {width}: config.model.family = 'scale' knows one width,"
                f" config.model.width = {model.width}; set 0"
            )
    if model.readout == "structure" and not heads:
        raise ConfigError("config.model.readout = 'structure' needs config.model.structure.heads above 0")
    if scale and heads and not (graph and objective.link_prediction):
        raise ConfigError(
            f"config.model.structure.heads = {heads} needs config.inputs.table.triples and"
            " config.objective.link_prediction above 0, and a table in config.inputs.modalities: nothing else reads it"
        )
    if scale and objective.link_prediction and not heads:
        raise ConfigError("config.objective.link_prediction needs config.model.structure.heads above 0")
    if inputs.table.asked and inputs.table.asked_length > inputs.table.length:
        raise ConfigError(
            f"config.inputs.table.asked_length = {inputs.table.asked_length} must be at most config.inputs.table.length"
            f" = {inputs.table.length}, whose places it has"
        )
