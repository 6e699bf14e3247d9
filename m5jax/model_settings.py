"""What is trained: the network (section `config.model`) and what it minimises (section `config.objective`).

Nothing here imports jax.
"""

import dataclasses

from m5jax.settings import section, setting


@dataclasses.dataclass(frozen=True)
class Tower:
    """One stack of transformer blocks."""

    layers: int = setting(2, "blocks", low=1, high=100)
    heads: int = setting(4, "attention heads; divides config.model.width", low=1)
    hidden: int = setting(0, "hidden units of the feed-forward; 0 = four times the width", low=0)
    width: int = setting(0, "size of its states; 0 = config.model.width; SCALE knows one width", low=0)


@dataclasses.dataclass(frozen=True)
class Positions:
    """Rows of the tables of learned positions; 0 = as many as there are tokens. Pretrained tables have their own."""

    text: int = setting(0, "title", low=0)
    table: int = setting(0, "table", low=0)
    image: int = setting(0, "picture; unused where boxes say where a region lies", low=0)
    video: int = setting(0, "clip", low=0)
    audio: int = setting(0, "sound", low=0)
    fusion: int = setting(0, "joint sequence, with blocks=released", low=0)


FAMILIES = (
    "scale",
    "k3m",
    "unimodal",
    "vl_bert",
    "visualbert",
    "uniter",
    "vilbert",
    "lxmert",
    "clip",
    "capture",
)


@dataclasses.dataclass(frozen=True)
class Structure:
    """K3M's structure aggregation: what a listing's triples add to its vector."""

    heads: int = setting(0, "attention heads over the triples; 0 = without, K3M has 8", low=0)
    slope: float = setting(0.01, "of the leaky ReLU in its scores", low=0.0, high=1.0)


@dataclasses.dataclass(frozen=True)
class Model:
    """The network."""

    family: str = setting("scale", "which model (m5jax/models/families.py)", choices=FAMILIES)
    blocks: str = setting(
        "pre_norm",
        "pre_norm: every tower normalises before its sublayers and at its end, the joint transformer tells modalities"
        " apart by a learned state; released: encoders as BERT, joint transformer as CLIP4Clip's, one position a place",
        choices=("pre_norm", "released"),
    )
    width: int = setting(128, "size of a token's state", low=1)
    tokens: Tower = section(Tower)
    grids: Tower = section(Tower)
    fusion: Tower = section(Tower)
    fuse: str = setting(
        "none",
        "initial-interactive fusion, what a modality's encoder says with what the others made of it: the latter alone,"
        " their mean, gates that weigh both, gates that choose one (K3M)",
        choices=("none", "mean", "soft", "hard"),
    )
    fuse_temperature: float = setting(1.0, "of the choice, with fuse=hard", low=1e-3, high=100.0)
    fuse_per: str = setting("dimension", "what a gate is about", choices=("dimension", "token"))
    structure: Structure = section(Structure)
    share: bool = setting(
        False, "as released: the table is read by the text's encoder and head, the clip by the picture's encoder"
    )
    masked_on: str = setting(
        "fusion",
        "what the masked objectives read: the joint transformer's output (the paper), or the encoders' (the release)",
        choices=("fusion", "encoders"),
    )
    stem: str = setting(
        "patch",
        "what turns a raw picture into tokens: one linear map of a patch, or convolutions, which learn from fewer"
        " pictures; with blocks=pre_norm",
        choices=("patch", "convolutions"),
    )
    positions: Positions = section(Positions)
    token_types: int = setting(2, "rows of BERT's table of token types, with blocks=released", low=1)
    projection: int = setting(128, "size of the contrastive embeddings", low=1)
    pool: str = setting(
        "first", "what stands for a sequence of states: its first (SCALE), or their mean", choices=("mean", "first")
    )
    readout: str = setting(
        "fusion",
        "product vector from: the joint transformer's first states (SCALE); the encoders' mean states, alike or weighed"
        " by how far the modalities agree; what the contrastive objective compares, in which a picture finds its title;"
        " the classifier's dense layer (SCALE, fine-tuned); the structure aggregation over the table's triples (K3M)",
        choices=("fusion", "encoders", "agreement", "contrastive", "dense", "structure"),
    )
    dropout: float = setting(0.0, "dropout rate in training", low=0.0, high=0.9)
    remat: str = setting(
        "none",
        "what the backward pass recomputes: nothing, all but matrix products, whole blocks",
        choices=("none", "dots", "full"),
    )
    scan: bool = setting(
        True, "run the blocks of a tower in one scanned loop; off: longer to compile, faster where there are few"
    )


HARMONISED = ("contrastive", "masked")
CLASSES = ("category", "product")


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is minimised: weights and shape of the objectives. One of weight 0 is not computed."""

    temperature: float = setting(0.07, "initial temperature of the contrastive objective", low=1e-3, high=10.0)
    learn_temperature: bool = setting(True, "train the temperature")
    negatives: str = setting(
        "cross_modal",
        "what a modality of a listing is compared with: the other modality of the other listings (the paper), or both"
        " modalities of them (SimCLR, the release)",
        choices=("cross_modal", "simclr"),
    )
    harmony: str = setting("loss", "where the harmony weights act", choices=("off", "logits", "loss", "both"))
    harmony_on: tuple[str, ...] = setting(HARMONISED, "which objectives they weigh", choices=HARMONISED)
    harmony_source: str = setting(
        "embedding",
        "where they come from: each listing's own embeddings, or a trained matrix for all (docs/scale.md)",
        choices=("embedding", "free"),
    )
    harmony_weighting: str = setting(
        "agreement",
        "how embeddings become weights, where they are the source: as released, which lets a modality that disagrees"
        " weigh most in the masked objectives, or by agreement: what agrees with nothing weighs least",
        choices=("released", "agreement"),
    )
    harmony_detach: bool = setting(True, "no gradient through the harmony weights")
    regression: str = setting(
        "normalised",
        "targets of the masked objectives on grids: blocks at zero mean and unit variance, or as they are (released)",
        choices=("normalised", "raw"),
    )
    contrastive: float = setting(1.0, "weight", low=0.0)
    masked_region: float = setting(1.0, "weight of the masked objective on the picture", low=0.0)
    masked_language: float = setting(1.0, "weight on title and description", low=0.0)
    masked_entity: float = setting(1.0, "weight on names and values of the table", low=0.0)
    masked_frame: float = setting(1.0, "weight on the video", low=0.0)
    masked_audio: float = setting(1.0, "weight on the sound", low=0.0)
    region_target: str = setting(
        "regression",
        "what the masked objective on the picture predicts: the region's numbers, the classes a detector saw in it"
        " (inputs.image.classes), or which region it is among those of the batch (noise-contrastive)",
        choices=("regression", "classes", "nce"),
    )
    matching: float = setting(
        0.0, "weight of telling whether picture and text are of one listing; needs config.inputs.mismatch", low=0.0
    )
    word_region: float = setting(
        0.0, "weight of aligning words and regions by optimal transport (UNITER); needs matching", low=0.0
    )
    link_prediction: float = setting(
        0.0, "weight of telling the value of a property that is hidden (K3M); needs config.inputs.table.asked", low=0.0
    )
    link_score: str = setting(
        "margin",
        "how link prediction is asked: translation distance with a margin, or softmax over the batch's values",
        choices=("margin", "softmax"),
    )
    link_margin: float = setting(1.0, "gap between right and wrong distances, with link_score=margin", low=0.0)
    classification: float = setting(0.0, "weight of telling the class of a listing, for fine-tuning", low=0.0)
    classes: str = setting(
        "category",
        "what the classifier tells apart: categories, or the products that several training listings show",
        choices=CLASSES,
    )
