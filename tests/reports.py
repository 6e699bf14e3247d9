"""Scored models made up for reports, without a model; and a page as a reader's browser takes it apart."""

import dataclasses
import html.parser
import io
import json
from collections import Counter

import numpy as np
from PIL import Image
from small import small_config

from m5jax import embed, modalities
from m5jax.data import fingerprints, index, prepared, records
from m5jax.data.records import Record
from m5jax.embed import Embeddings
from m5jax.evals import suite
from m5jax.evals.suite import Split
from m5jax.modalities import State
from m5jax.report.scored import Scored
from m5jax.run_folder import RunFolder
from m5jax.studies import registry
from m5jax.studies.subject import Subject

DIM = 8
VOID = {"meta", "img", "br", "hr", "link", "input", "path", "circle", "polyline", "line", "rect", "image"}


def jpeg(height, width, seed=0):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)).save(
        buffer, "JPEG"
    )
    return buffer.getvalue()


def listing(number, config, present=modalities.NAMES, **fields):
    """A record that has the modalities `present`, of those in use."""
    inputs, rng = config.inputs, np.random.default_rng(number)
    states = [State.PRESENT if name in present and name in inputs.modalities else 0 for name in modalities.NAMES]
    media = {
        "image": jpeg(inputs.image.stored_size, inputs.image.stored_size, number),
        "video": jpeg(inputs.video.frames * inputs.video.size, inputs.video.size, number),
        "audio": rng.normal(size=(inputs.audio.frames, inputs.audio.mels)).astype(np.float16),
    }
    if inputs.image.source == "features":
        media["image"] = rng.normal(size=(2, inputs.image.feature_dim)).astype(np.float16)
    media = {name: payload for name, payload in media.items() if states[modalities.NAMES.index(name)]}
    texts = {"title": f"listing {number}", "fields": (("colour", "red"), ("size", str(number)))}
    plain = Record(
        id=f"id-{number:03}",
        source="shop",
        instance_id=f"product-{number % 4}",
        category=("goods", f"kind {number % 3}"),
        states=tuple(State(state) for state in states),
        **texts,
        **media,
    )
    return dataclasses.replace(plain, **fields)


def index_row(record):
    """The row of a record in the index of its split."""
    return index.index_row(record, fingerprints.of(record))


def write_prepared(folder, splits, config, rejections=()):
    """A prepared folder of the given records: {split: [Record, ...]}."""
    folder.mkdir(parents=True, exist_ok=True)
    codec = records.RecordCodec(config.inputs)
    counts = {}
    for split, listings in splits.items():
        records.write_shard(folder / records.shard_name(split, 0, 1), (codec.encode(record) for record in listings))
        index.write_index(folder / f"index-{split}.parquet", [index_row(record) for record in listings])
        counts[split] = {}
        for name in modalities.NAMES:
            found = [record.state(name).name.lower() for record in listings]
            counts[split][name] = {state: found.count(state) for state in set(found)}
    reasons = [(row.get("lost", True), f"{row['modality'] or 'listing'}/{row['reason']}") for row in rejections]
    rejected, noted = (Counter(key for lost, key in reasons if lost == kind) for kind in (True, False))
    manifest = {
        "format": prepared.FORMAT_VERSION,
        "catalogue": str(folder / "products.jsonl"),
        "facts": {"catalogue": "c" * 64},
        "rows": sum(map(len, splits.values())) + rejected.total(),
        "shard_lengths": {split: [len(listings)] for split, listings in splits.items()},
        "states": counts,
        "rejected": rejected,
        "noted": noted,
        "tokenizer": "a" * 64,
        "digest": "b" * 64,
    }
    (folder / prepared.REJECTIONS).write_text("".join(json.dumps(row) + "\n" for row in rejections), encoding="utf-8")
    (folder / prepared.MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return prepared.Prepared.open(folder, config.inputs)


def embedded(ready, config, split, harmony, vectors=None):
    """Embeddings of a split that lie around their categories; a listing without a modality has none of it alone."""
    index, rng = ready.index(split), np.random.default_rng(len(split))
    kinds = [sum(map(ord, category)) % DIM for category in index.categories]
    vectors = np.eye(DIM)[kinds] + 0.5 * rng.normal(size=(len(index), DIM)) if vectors is None else vectors
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    valid = {
        name: (index.states[:, [modalities.NAMES.index(one) for one in subset]] == State.PRESENT).any(1)
        for name, subset in embed.subsets(config).items()
    }
    count = len(config.inputs.modalities)
    matrices = rng.uniform(size=(len(index), count, count)).astype(np.float32) if harmony else None
    return Split(index, Embeddings(dict.fromkeys(valid, vectors), valid, matrices))


def make_scored(folder, splits, config=None, *, rejections=(), harmony=True, vectors=None, metrics=(), evaluations=()):
    """A scored model of made-up embeddings; `vectors` replaces those of some splits."""
    config = config or small_config()
    ready = write_prepared(folder / "prepared", splits, config, rejections)
    parts = {split: embedded(ready, config, split, harmony, (vectors or {}).get(split)) for split in splits}
    scores, results = {}, {}
    if "query" in parts and "gallery" in parts:
        found = suite.retrieve(parts["query"], parts["gallery"], config)
        scores, results = dict(found.scores), found.results
    if "train" in parts and "gallery" in parts:
        scores |= suite.classify(parts["train"], parts["gallery"], config)
        if config.evaluate.cluster:
            scores |= suite.cluster(parts["gallery"], config)
    run = RunFolder(folder)
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in metrics), encoding="utf-8")
    run.evaluations.write_text("".join(json.dumps(row) + "\n" for row in evaluations), encoding="utf-8")
    return Scored(run, ready, config, 60, 1234567, "python -m m5jax.main", scores, results, parts)


def asked(scored):
    """The same, with its studies asked; whatever a listing is made to show, its embedding stays."""

    def again(prepared, split, wanted, rows):
        made = scored.embedded[split].embeddings
        rows = np.arange(len(made)) if rows is None else np.asarray(rows) % len(made)  # sweeps ask for variants
        valid = dict.fromkeys(wanted, made.valid["fused"][rows])
        return Embeddings(dict.fromkeys(wanted, made.vectors["fused"][rows]), valid, None)

    subject = Subject(scored.config, scored.prepared, scored.embedded, scored.scores, scored.results, again, again)
    findings = registry.chosen(subject)
    return dataclasses.replace(scored, findings=json.loads(json.dumps(findings, allow_nan=False)))


class Page(html.parser.HTMLParser):
    """A page taken apart.

    Attributes:
      elements: (tag, attributes) in order.
      text: what a reader sees, styles left out.
      styles: the content of style elements.
      tables: of every table the cells of its rows, the caption as its first row.
    """

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.elements, self.tables, self.text, self.styles, self._open = [], [], "", "", []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        if tag in ("tr", "caption"):
            self.tables[-1].append([""] if tag == "caption" else [])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "small" and "th" in self._open:
            self.tables[-1][-1][-1] += "\n"
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if "style" in self._open:
            self.styles += data
            return
        self.text += data
        if {"td", "th", "caption"} & set(self._open):
            self.tables[-1][-1][-1] += data

    def attributes(self, name):
        """The values of an attribute, wherever it stands."""
        return [values[name] for _, values in self.elements if name in values]

    def ids(self, tag):
        """The ids of the elements of one kind, in order."""
        return [values["id"] for name, values in self.elements if name == tag and "id" in values]

    def captioned(self, caption):
        """Rows of the one table whose caption begins so, as {first line of the first cell: other cells}."""
        (rows,) = [table[1:] for table in self.tables if table[0][0].startswith(caption)]
        return {first.strip().partition("\n")[0]: [cell.strip() for cell in rest] for first, *rest in rows}
