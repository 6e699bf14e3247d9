"""Exported embeddings: complete, in order, resumable, and never from another tokenizer or preprocessing."""

import json

import numpy as np
import pytest
import runs

from m5jax import export
from m5jax.preparing import prepare

EXPORT = "--config.mode=export"


@pytest.fixture(scope="module")
def trained(three_modalities, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    assert runs.run(three_modalities, workdir, "--config.steps=2", "--config.export.after_training=False") == 0
    return workdir


def exported(workdir, name="embeddings"):
    files = sorted((workdir / "embeddings").glob(f"{name}-*.npy"))
    return np.concatenate([np.load(path, allow_pickle=False) for path in files]), files


def test_every_listing_once_in_the_order_of_the_ids(three_modalities, trained):
    assert runs.run(three_modalities, trained, EXPORT) == 0
    vectors, _ = exported(trained)
    manifest = json.loads((trained / "embeddings" / "manifest.json").read_text())
    ids = (trained / "embeddings" / "ids.txt").read_text().splitlines()
    prepared = prepare.prepare(three_modalities, quiet=True)
    expected = [identity for split in ("train", "val", "gallery", "query") for identity in prepared.index(split).ids]
    assert ids == expected
    assert vectors.shape == (len(ids), manifest["dim"]) == (manifest["rows"], 32)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert {"model", "tokenizer", "preprocessing", "records", "step", "subsets"} <= manifest["facts"].keys()
    assert manifest["facts"]["subsets"] == {"embeddings": ["image", "text", "table"]}


def test_one_split_half_precision_small_shards_and_each_modality(three_modalities, trained):
    options = ("--config.export.split=train", "--config.export.dtype=float16", "--config.export.shard_listings=16")
    assert runs.run(three_modalities, trained, EXPORT, *options, "--config.export.per_modality=True") == 0
    vectors, files = exported(trained)
    assert len(files) == 2  # 24 listings, 16 a file
    assert vectors.dtype == np.float16
    index = prepare.prepare(three_modalities, quiet=True).index("train")
    image, _ = exported(trained, "image")
    assert image.shape == vectors.shape
    there = index.states[:, 0] == 1
    np.testing.assert_allclose(np.linalg.norm(image.astype(np.float32), axis=1), there, atol=2e-3)


def test_a_subset_is_named_and_differs_from_the_whole(three_modalities, trained):
    assert runs.run(three_modalities, trained, EXPORT) == 0
    whole, _ = exported(trained)
    assert runs.run(three_modalities, trained, EXPORT, "--config.export.subset=text,table") == 0
    manifest = json.loads((trained / "embeddings" / "manifest.json").read_text())
    assert manifest["facts"]["subsets"] == {"embeddings": ["text", "table"]}
    assert not np.allclose(exported(trained)[0], whole)


def test_an_interrupted_export_goes_on_with_the_shards_it_has(three_modalities, trained, monkeypatch):
    options = ("--config.export.split=train", "--config.export.shard_listings=16", "--config.evaluate.batch_size=8")
    assert runs.run(three_modalities, trained, EXPORT, *options) == 0
    expected, files = exported(trained)
    manifest = (trained / "embeddings" / "manifest.json").read_text()

    saved, save = [], export._save

    def dying(folder, shard, *rest):
        if saved:
            raise KeyboardInterrupt
        saved.append(shard)
        return save(folder, shard, *rest)

    (trained / "embeddings" / "manifest.json").unlink()
    for path in files:
        path.unlink()
    monkeypatch.setattr(export, "_save", dying)
    with pytest.raises(KeyboardInterrupt):
        runs.run(three_modalities, trained, EXPORT, *options)
    assert not (trained / "embeddings" / "manifest.json").exists()
    again = []
    monkeypatch.setattr(export, "_save", lambda folder, shard, *rest: again.append(shard) or save(folder, shard, *rest))
    assert runs.run(three_modalities, trained, EXPORT, *options) == 0
    assert len(saved) == 1
    assert [shard.number for shard in again] == [1]
    np.testing.assert_array_equal(exported(trained)[0], expected)
    assert (trained / "embeddings" / "manifest.json").read_text() == manifest


def test_a_damaged_shard_is_written_again(three_modalities, trained):
    assert runs.run(three_modalities, trained, EXPORT) == 0
    expected, files = exported(trained)
    data = bytearray(files[1].read_bytes())
    data[-1] ^= 1
    files[1].write_bytes(data)
    assert runs.run(three_modalities, trained, EXPORT) == 0
    np.testing.assert_array_equal(exported(trained)[0], expected)


@pytest.mark.parametrize(
    "change", ["--config.model.readout=encoders", "--config.precision=bfloat16", "--config.export.shard_listings=16"]
)
def test_other_settings_write_other_vectors(three_modalities, trained, change):
    assert runs.run(three_modalities, trained, EXPORT) == 0
    before = {path.name: path.read_bytes() for path in (trained / "embeddings").glob("*.npy")}
    assert runs.run(three_modalities, trained, EXPORT, change) == 0
    after = {path.name: path.read_bytes() for path in (trained / "embeddings").glob("*.npy")}
    assert after != before
    assert len(exported(trained)[0]) == 48


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--config.data.vocabulary=300", "the tokenizer changed"),
        ("--config.inputs.image.size=32", "the preprocessing changed"),
        ("--config.inputs.table.length=16", "the preprocessing changed"),
        ("--config.export.subset=video", "not in config.inputs.modalities"),
    ],
)
def test_another_tokenizer_or_preprocessing_is_refused(three_modalities, trained, change, message, capsys):
    assert runs.run(three_modalities, trained, EXPORT, change) == 64
    assert message in capsys.readouterr().err


def test_what_training_alone_draws_may_differ(three_modalities, trained):
    assert runs.run(three_modalities, trained, EXPORT, "--config.inputs.image.crop=0.9", "--config.seed=0") == 0


def test_without_a_checkpoint_there_is_nothing_to_export(three_modalities, tmp_path, capsys):
    assert runs.run(three_modalities, tmp_path, EXPORT) == 66
    assert "train first" in capsys.readouterr().err


def test_an_unknown_split_is_refused(three_modalities, trained, capsys):
    assert runs.run(three_modalities, trained, EXPORT, "--config.export.split=tran") == 65
    assert "the catalogue has train, val, gallery, query" in capsys.readouterr().err


def test_vectors_are_corrected_by_what_is_stored_beside_them(three_modalities, trained):
    folder, names = trained / "embeddings", ("embeddings", "image", "text", "table")
    options = ("--config.export.per_modality=True", "--config.evaluate.batch_size=8")
    assert runs.run(three_modalities, trained, EXPORT, *options) == 0
    plain = {name: exported(trained, name)[0] for name in names}
    assert not (folder / "correction.npz").exists()

    options = (*options, "--config.export.correction=whitening")
    assert runs.run(three_modalities, trained, EXPORT, *options) == 0
    stored = np.load(folder / "correction.npz", allow_pickle=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["correction"]["listings"]["embeddings"] == 24
    assert set(manifest["correction"]["shrinkage"]) == set(names)
    corrected = {name: exported(trained, name)[0] for name in names}
    for name in names:
        moved = (plain[name] - stored[f"{name}/mean"]) @ stored[f"{name}/matrix"]
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        moved[~plain[name].any(axis=1)] = 0
        np.testing.assert_allclose(corrected[name], moved, atol=1e-4)
    assert not corrected["image"].any(axis=1).all()

    # Shards are kept while what corrected them is as it was; else everything is made again.
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*.np[yz]")}
    assert runs.run(three_modalities, trained, EXPORT, *options) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.np[yz]")} == kept
    before = (folder / "correction.npz").read_bytes()
    (folder / "correction.npz").write_bytes(before[:-1])
    assert runs.run(three_modalities, trained, EXPORT, *options) == 0
    assert (folder / "correction.npz").read_bytes() == before
    assert not {path.stat().st_mtime_ns for path in folder.glob("*.np[yz]")} & set(kept.values())
    np.testing.assert_array_equal(exported(trained, "image")[0], corrected["image"])

    assert runs.run(three_modalities, trained, EXPORT) == 0
    assert not (folder / "correction.npz").exists()
