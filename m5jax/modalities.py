"""THE table of the five modalities. Adding a sixth is one row here and one section of `inputs.Inputs`.

A modality reaches the model as one of two kinds of sequence:

* ``tokens``: ids of a vocabulary (text, table);
* ``grid``: a numeric array ``[rows, ..., channels]`` cut into equal blocks, one token a block. A picture is
  a grid of pixels cut into square patches, a clip a grid of pixels cut into tubelets, a sound a grid of
  log-mel frames cut into groups of frames, and pre-extracted features are a grid of vectors cut one by one.
  Raw media and features therefore share one code path from the record to the loss.

What each looks like in a batch is `token_spec.py`. This file knows neither jax nor any file format.
"""

import dataclasses
import enum
from typing import Literal

TEXT_KIND, GRID_KIND = "tokens", "grid"


class State(enum.IntEnum):
    """What a listing has of a modality. Only PRESENT enters attention and losses; all four are counted."""

    ABSENT = 0  # not in the catalogue
    PRESENT = 1
    EMPTY = 2  # there, but with nothing in it: a blank title, a file of zero bytes
    CORRUPT = 3  # there, but could not be decoded


@dataclasses.dataclass(frozen=True)
class Modality:
    """One row of the table.

    Attributes:
      name: the modality's name everywhere: config, records, batches, parameters, scores.
      kind: "tokens" or "grid".
      field: the key of a catalogue row that holds it (docs/data.md).
      objective: the masked objective of SCALE for it (paper, section 3.3).
      shown_as: how a person sees it in reports.
    """

    name: str
    kind: Literal["tokens", "grid"]
    field: str
    objective: str
    shown_as: str


TABLE = {
    row.name: row
    for row in (
        Modality("image", GRID_KIND, "images", "masked_region", "picture"),
        Modality("text", TEXT_KIND, "title", "masked_language", "title and description"),
        Modality("table", TEXT_KIND, "attributes", "masked_entity", "names and values"),
        Modality("video", GRID_KIND, "videos", "masked_frame", "film strip"),
        Modality("audio", GRID_KIND, "audios", "masked_audio", "spectrogram"),
    )
}
NAMES = tuple(TABLE)
