"""The tables of the paper: their rows as changes of settings, and the values printed there, in percent.

Dong et al., M5Product: Self-harmonized Contrastive Learning for E-commercial Multi-modal Pretraining, CVPR 2022
(arXiv:2109.04275v5), tables 3 to 8 and 10. "fused" is every modality of the row together; coarse retrieval looks
for the category, fine retrieval for the product. A row of several modalities is a model trained on these.
"""

import itertools
from collections.abc import Callable
from typing import Any

from m5jax.modalities import NAMES
from m5jax.tables.layout import FINETUNE, PRETRAIN, Column, Measure, Row, Table

COARSE, FINE = "retrieval/category/fused", "retrieval/instance/fused"
RANKED = {
    **{f"mAP@{k}": f"map@{k}" for k in (1, 5, 10)},
    **{f"Prec@{k}": f"p@{k}" for k in (1, 5, 10)},
}
ACCURACY = Column("Acc", (Measure(FINETUNE, "classification/head/fused/accuracy"),))
LETTERS = {"I": "image", "T": "text", "Tab": "table", "V": "video", "A": "audio"}
Change = Callable[[Any], None]


def _ranked(*measures: tuple[str, str]) -> tuple[Column, ...]:
    """Accuracy, then mean average precision and precision at every rank, each by the given (stage, task)."""
    return ACCURACY, *(
        Column(title, tuple(Measure(stage, f"{task}/{metric}") for stage, task in measures))
        for title, metric in RANKED.items()
    )


BOTH_STAGES = _ranked((PRETRAIN, COARSE), (FINETUNE, COARSE))
BOTH_TASKS = _ranked((FINETUNE, COARSE), (FINETUNE, FINE))
FINETUNED = _ranked((FINETUNE, COARSE))
# Not in the paper: fine-tuning on categories hides what pre-training knows of products.
PRODUCTS = Column("fine mAP@10", (Measure(PRETRAIN, f"{FINE}/map@10"),))
FUSED = tuple(
    Column(f"{name} mAP@{k}", tuple(Measure(stage, f"{task}/map@{k}") for stage in (PRETRAIN, FINETUNE)))
    for name, task in (("coarse", COARSE), ("fine", FINE))
    for k in (1, 10)
)
GROUPED = (
    Column("mAP@1", (Measure(PRETRAIN, f"{COARSE}/map@1"),)),
    ACCURACY,
    Column("NMI", (Measure(FINETUNE, "clustering/fused/nmi"),)),
    Column("Purity", (Measure(FINETUNE, "clustering/fused/purity"),)),
)


def _values(columns: tuple[Column, ...], text: str) -> dict[str, tuple[float, ...]]:
    """Values as the paper prints them, one a column, a/b for two measures."""
    cells = [tuple(float(value) for value in cell.split("/")) for cell in text.split()]
    return {column.title: cell for column, cell in zip(columns, cells, strict=True)} if cells else {}


def _only(combination: str) -> Change:
    """The modalities of a combination like "I+T+Tab", in the order that settings have."""
    chosen = {LETTERS[letter] for letter in combination.split("+")}

    def change(c: Any) -> None:
        c.inputs.modalities = tuple(name for name in NAMES if name in chosen)

    return change


def _settings(**values: Any) -> Change:
    """Settings by their path below config, __ for the dot."""

    def change(c: Any) -> None:
        c.update_from_flattened_dict({path.replace("__", "."): value for path, value in values.items()})

    return change


def _stacked(c: Any) -> None:
    """Title and table as one sequence for one encoder, as long as both."""
    c.inputs.modalities = tuple(name for name in c.inputs.modalities if name != "table")
    c.inputs.text.with_table = True
    c.inputs.text.length += c.inputs.table.length


def _combinations(columns: tuple[Column, ...], *lines: tuple[str, ...]) -> tuple[Row, ...]:
    """Rows of (name, combination, values, values on the whole data); a method that is not ours has no combination."""
    return tuple(
        Row(name, _only(who) if who else None, _values(columns, subset), _values(columns, "".join(whole)))
        for name, who, subset, *whole in lines
    )


def _supersets(rows: tuple[Row, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every combination over those of the table that have one modality less."""
    parts = {row.name: set(row.name.split("+")) for row in rows}
    less = {
        name: tuple(other for other in parts if parts[other] < whole and len(whole - parts[other]) == 1)
        for name, whole in parts.items()
    }
    return tuple((name, others) for name, others in less.items() if others)


_ADDED = _combinations(
    BOTH_STAGES,
    ("Text", "T",
     "77.42 47.70/65.10 53.63/68.39 51.59/66.99 47.70/65.10 30.96/44.89 24.15/33.44",
     "81.11 55.82/69.47 60.74/72.74 59.02/71.79 55.82/69.47 36.99/48.76 28.04/35.84"),
    ("+Image", "T+I",
     "79.58 51.47/67.02 56.16/69.85 54.41/68.43 51.47/67.02 33.41/46.29 25.55/34.29",
     "83.68 59.81/71.51 64.13/74.51 62.18/73.21 59.81/71.51 38.97/49.27 30.15/36.72"),
    ("+Table", "T+I+Tab",
     "82.83 57.14/67.97 61.71/70.34 59.64/69.38 57.14/67.97 38.02/46.85 28.99/34.36",
     "84.63 61.32/72.34 65.53/74.86 63.62/73.47 61.32/72.34 40.66/49.77 30.78/36.95"),
    ("+Video", "T+I+Tab+V",
     "84.31 58.57/69.79 63.15/72.30 61.02/70.67 58.57/69.79 39.26/47.44 29.56/34.78",
     "84.90 62.65/72.59 65.67/75.05 63.87/73.62 62.65/72.59 41.18/49.96 31.01/37.04"),
    ("+Audio", "T+I+Tab+V+A",
     "85.50 58.72/70.62 63.17/73.02 61.05/71.50 58.72/70.62 39.66/48.20 30.32/35.35",
     "86.57 63.56/73.77 67.51/76.17 65.39/74.73 63.56/74.01 42.68/50.78 32.17/37.42"),
)  # fmt: skip

_COMBINED = _combinations(
    BOTH_TASKS,
    *((name, name, values) for name, values in (
        ("I+Tab", "62.00 44.53/45.97 49.62/51.89 48.28/50.33 44.53/45.97 30.89/34.08 23.65/28.63"),
        ("I+V", "34.57 20.57/36.29 26.78/42.72 26.41/41.38 20.57/36.29 14.71/26.52 11.78/22.34"),
        ("I+A", "27.67 15.73/35.64 20.85/42.96 20.72/41.70 15.73/35.64 11.16/27.02 9.47/22.78"),
        ("I+T", "79.58 67.02/62.20 69.85/66.97 68.43/64.21 67.02/62.20 46.29/49.85 34.29/42.36"),
        ("I+T+V", "80.34 67.35/63.05 70.29/67.37 68.95/64.62 67.35/63.05 46.45/50.85 34.33/43.02"),
        ("I+T+A", "79.73 67.19/64.21 70.15/68.25 68.64/65.35 67.19/64.21 46.33/50.42 33.32/42.93"),
        ("I+Tab+V", "63.09 45.94/47.33 51.32/53.33 49.78/51.28 45.94/47.33 31.69/35.81 24.12/30.05"),
        ("I+T+Tab", "82.83 67.97/68.30 70.34/72.67 69.38/70.07 67.97/68.30 46.85/57.44 34.36/50.59"),
        ("I+T+Tab+V", "84.31 69.79/68.40 72.30/72.91 70.67/70.31 69.79/68.40 47.44/57.60 34.78/51.47"),
        ("I+Tab+A+V", "63.54 47.24/48.24 52.07/53.89 50.41/51.89 47.24/48.24 32.19/36.29 24.47/30.74"),
        ("I+T+A+V", "80.36 68.80/66.43 70.84/71.12 69.71/68.16 68.80/66.43 47.24/54.03 34.57/47.53"),
        ("I+T+Tab+A", "84.33 70.23/68.97 72.59/73.07 70.94/70.77 70.23/68.97 47.58/57.89 35.33/51.60"),
        ("I+T+Tab+A+V", "85.50 70.62/69.25 73.02/74.08 71.50/71.02 70.62/69.25 48.20/58.76 35.35/52.05"),
    )),
)  # fmt: skip

_METHODS = _combinations(
    GROUPED,
    ("Image only", "I", "15.17 27.67 63.62 54.86", "22.67 30.14 67.49 59.64"),
    ("BERT (text)", "T", "47.70 77.42 76.35 68.80", "55.82 82.11 87.30 71.75"),
    ("VL-BERT", "", "49.31 78.13 80.51 71.91"),
    ("ViLBERT", "", "49.18 78.24 80.51 71.91"),
    ("VisualBERT", "", "49.20 78.41 81.23 72.39"),
    ("CLIP", "", "49.39 78.35 81.75 72.50", "57.73 82.60 90.49 76.48"),
    ("UNITER", "", "49.87 78.54 82.71 73.58"),
    ("CAPTURE", "", "50.30 78.69 83.06 74.14"),
    ("SCALE", "I+T", "51.47 79.58 84.23 75.81", "59.81 83.68 92.01 78.34"),
)

_BEST = _values(FINETUNED, "85.50 70.62 73.02 71.50 70.62 48.20 35.35")  # of SCALE with everything, in each ablation
_TWO = ("image", "text")  # what harmony weights need at least: modalities that may agree

_HARMONISED = (
    Row("neither", _settings(objective__harmony="off"),
        _values(FINETUNED, "83.77 68.45 70.92 69.30 67.56 46.37 34.12"), needs=_TWO),
    Row("contrastive", _settings(objective__harmony_on=("contrastive",)),
        _values(FINETUNED, "84.44 69.14 71.96 70.13 69.14 47.15 34.84"), needs=_TWO),
    Row("masked", _settings(objective__harmony_on=("masked",)),
        _values(FINETUNED, "84.09 69.31 71.59 69.85 69.31 46.72 34.42"), needs=_TWO),
    Row("both", _settings(objective__harmony_on=("contrastive", "masked")), _BEST, needs=_TWO),
)  # fmt: skip

_MASKED = (
    Row("token", _settings(inputs__table__masking="token"),
        _values(FINETUNED, "84.05 68.34 71.19 69.43 68.34 47.02 34.43"), needs=("table",)),
    Row("entity", _settings(inputs__table__masking="entity"), _BEST, needs=("table",)),
)  # fmt: skip

_STACKED = (
    Row("stacked", _stacked, _values(FINETUNED, "84.61 70.15 72.19 70.49 69.15 47.40 34.40"), needs=("text", "table")),
    Row("separate", _settings(), _BEST, needs=("text", "table")),
)

_COMPLETE = (
    Row("complete only", _settings(data__complete_only=True),
        _values(BOTH_STAGES, "84.06 57.97/69.12 62.54/71.93 60.48/69.92 57.97/69.12 38.02/47.63 28.88/34.70")),
    Row("all", _settings(data__complete_only=False), _ADDED[-1].paper),
)  # fmt: skip

_EQUAL = "by definition mAP@1 and Prec@1 are equal"

TABLES = {
    table.number: table
    for table in (
        Table(
            3, "modalities added one by one, pre-trained / fine-tuned, coarse", BOTH_STAGES, _ADDED,
            claims=tuple((row.name, (before.name,)) for before, row in itertools.pairwise(_ADDED)),
            fused="+Audio", fused_judged=FUSED,
            notes=(f"paper, whole, +Audio: mAP@1 73.77 but Prec@1 74.01; {_EQUAL}",
                   "paper, whole, Text: accuracy 81.11, but 82.11 for the same model in table 5",
                   "fused over one modality: by it, a listing that lacks it finds nothing and is not found"),
        ),
        Table(
            4, "combinations of modalities, fine-tuned, coarse / fine", BOTH_TASKS, _COMBINED,
            claims=_supersets(_COMBINED),
            notes=("paper, I+A: its accuracy, 27.67, is that of the picture alone in table 5, to the digit",
                   "the paper leaves open whether a row is a model of its own, as here, or a sum of features of one"),
        ),
        Table(
            5, "pictures with text: retrieval pre-trained, the rest fine-tuned", GROUPED, _METHODS,
            claims=(("SCALE", ("Image only", "BERT (text)")),),
            judged=tuple(column.title for column in GROUPED),
            notes=("here, Image only and BERT (text) are this model on one modality, trained by its masked objective",
                   "paper: VL-BERT and ViLBERT have the same NMI and purity",
                   "paper, whole, BERT (text): accuracy 82.11, but 81.11 for the same model in table 3"),
        ),
        Table(
            6, "harmony weights on which objectives, fine-tuned, coarse; last column pre-trained, fine",
            (*FINETUNED, PRODUCTS), _HARMONISED,
            claims=(("contrastive", ("neither",)), ("masked", ("neither",)),
                    ("both", ("neither", "contrastive", "masked"))),
            judged=("Acc", "mAP@1", PRODUCTS.title),
            notes=(f"paper, neither: mAP@1 68.45 but Prec@1 67.56; {_EQUAL}",
                   "the paper's ticks are read as weights on that objective; its text may also mean leaving it out",
                   "here, the weights are those of config.objective.harmony, harmony_source and harmony_weighting"),
        ),
        Table(
            7, "what is masked in the table, fine-tuned, coarse", FINETUNED, _MASKED,
            claims=(("entity", ("token",)),),
        ),
        Table(
            8, "title and table in one encoder or two, fine-tuned, coarse", FINETUNED, _STACKED,
            claims=(("separate", ("stacked",)),), notes=(f"paper, stacked: mAP@1 70.15 but Prec@1 69.15; {_EQUAL}",),
        ),
        Table(
            10, "which listings are trained on, pre-trained / fine-tuned, coarse", BOTH_STAGES, _COMPLETE,
            claims=(("all", ("complete only",)),),
        ),
    )
}  # fmt: skip
