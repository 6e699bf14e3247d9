"""Where listings come from and how they become batches: the section `config.data`.

Nothing here imports jax.
"""

import dataclasses
from fractions import Fraction

from m5jax.errors import ConfigError
from m5jax.inputs import Corruption
from m5jax.settings import section, setting


@dataclasses.dataclass(frozen=True)
class Toy:
    """Dials of the embedded catalogue (catalogues/toy.py)."""

    listings: int = setting(2000, "listings", low=20, high=1_000_000)
    categories: int = setting(12, "leaf categories", low=2, high=24)
    variants: int = setting(5, "listings per product, on average", low=1, high=100)
    tail: float = setting(0.7, "long-tail exponent of the category sizes; 0 = all alike", low=0.0, high=3.0)
    missing_image: float = setting(0.05, "share of listings without a picture", low=0.0, high=1.0)
    missing_text: float = setting(0.05, "share without title", low=0.0, high=1.0)
    missing_table: float = setting(0.15, "share without table", low=0.0, high=1.0)
    missing_video: float = setting(0.2, "share without video", low=0.0, high=1.0)
    missing_audio: float = setting(0.2, "share without sound", low=0.0, high=1.0)
    noise_text: float = setting(0.05, "share with another product's title", low=0.0, high=1.0)
    noise_image: float = setting(0.05, "share with another product's picture", low=0.0, high=1.0)
    seed: int = setting(0, "seed of every draw", low=0)


@dataclasses.dataclass(frozen=True)
class Data:
    """Where listings come from and how they become batches."""

    catalogue: str = setting("toy", 'catalogue to train on: a folder or listing file (docs/data.md), or "toy"')
    root: str = setting("data", "folder that keeps toy catalogues and prepared records, each under its digest")
    toy: Toy = section(Toy)
    vocabulary: int = setting(4096, "most pieces of the tokenizer trained on the catalogue", low=300, high=250_000)
    vocabulary_file: str = setting(
        "",
        "vocab.txt or tokenizer.json of a BERT, or a sentencepiece .model of tools/train_tokenizer.py, whose pieces"
        " and ids are used as they are; empty = train a tokenizer on the catalogue",
    )
    vocabulary_lowercase: bool = setting(
        True, "text loses case and accents first; off for the vocab.txt of a cased BERT"
    )
    prepare_workers: int = setting(0, "decoding processes; 0 = one a core", low=0, high=512)
    decode_seconds: float = setting(20.0, "time limit for one file, seconds", low=0.1)
    decode_memory_gb: float = setting(2.0, "memory limit of one decoding process, GB", low=0.5)
    shard_listings: int = setting(2048, "listings in one shard of records", low=1)
    max_rejected: float = setting(
        0.1, "stop preparing when more than this share of listings lost a row or a file", low=0.0, high=1.0
    )
    loader_workers: int = setting(0, "processes that build training batches; 0 = a thread", low=0, high=256)
    max_damaged: float = setting(
        0.001, "stop training when more than this share of records cannot be read", low=0.0, high=1.0
    )
    verify: str = setting(
        "ends",
        "what a run reads of every shard of records at its start, to see that it is the one prepared: size, beginning"
        " and end, or every byte",
        choices=("ends", "whole"),
    )
    complete_only: bool = setting(
        False, "train only on listings that have every modality in use, with what config.data.corruption left of them"
    )
    corruption: Corruption = section(Corruption)
    sampling: str = setting(
        "uniform",
        "how often the listings of a class are drawn; all once, or a class (category path, or source) as often as any"
        " other, or by the square root of its listings",
        choices=("uniform", "class_balanced", "square_root", "by_source"),
    )
    mix: str = setting(
        "",
        "path=weight,path=weight...: other catalogues to train on as well; so many of their listings for each one of"
        " config.data.catalogue, which alone gives tokenizer, classes and scores",
    )

    @property
    def mixed(self) -> tuple[tuple[str, Fraction], ...]:
        """The other catalogues and their weights beside the first one's 1, exactly as written.

        Raises:
          ConfigError: an entry is not a path and a number above 0.
        """
        return tuple(map(_weighted, self.mix.split(","))) if self.mix else ()


def _weighted(entry: str) -> tuple[str, Fraction]:
    path, _, number = entry.rpartition("=")
    try:
        weight = Fraction(number)
    except (ValueError, ZeroDivisionError):
        weight = Fraction(0)
    if not path or weight <= 0:
        raise ConfigError(f"config.data.mix has {entry!r}: give a path and a weight above 0, as in mine=0.5")
    return path, weight
