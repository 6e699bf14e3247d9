"""Prepared folders to validate."""

from reports import write_prepared
from small import small_config

from m5jax.data import tokenizer
from m5jax.validation import survey

TEXT_AND_TABLE = small_config(inputs__modalities=("text", "table"))
IMAGE_TOO = small_config(inputs__modalities=("image", "text", "table"))


def ready(folder, splits, config=IMAGE_TOO, rejections=()):
    """A prepared folder with a tokenizer that learned from its titles."""
    made = write_prepared(folder, splits, config, rejections)
    texts = [record.title for listings in splits.values() for record in listings if len(record.title) < 100]
    tokenizer.train(texts, 400, folder / tokenizer.TRAINED)
    return made


def found_in(folder, splits, config=IMAGE_TOO, rejections=()):
    return survey.survey(ready(folder, splits, config, rejections))
