"""A vocabulary of one's own, from the setting to the prepared folder, the batch, the model and the facts."""

import itertools
import types

import jax
import numpy as np
import pytest
from small import small_config
from test_tokenizer import PIECES, SPECIALS, wordpiece
from test_tokenizer_files import huggingface

from m5jax import initialize, run, settings
from m5jax.config import Config
from m5jax.data import pipeline, tokenizer
from m5jax.errors import ConfigError, DataError
from m5jax.preparing import prepare


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A vocabulary that somebody brings, its special ids not the first ones."""
    folder = tmp_path_factory.mktemp("bert")
    return wordpiece(folder, [*PIECES[:9], *SPECIALS, *PIECES[9:]], name="bert-base.txt"), folder / "bert-base.txt"


def config_for(catalogue_folder, root, path, **changes) -> Config:
    return small_config(
        inputs__modalities=("text", "table"),
        inputs__text__length=40,
        inputs__table__length=60,
        data__catalogue=str(catalogue_folder),
        data__root=str(root),
        data__vocabulary_file=str(path),
        data__max_rejected=0.5,
        **changes,
    )


@pytest.fixture(scope="module")
def prepared_with_it(catalogue_folder, given, tmp_path_factory):
    config = config_for(catalogue_folder, tmp_path_factory.mktemp("root"), given[1])
    return config, prepare.prepare(config, quiet=True)


def test_a_prepared_folder_holds_the_vocabulary_instead_of_a_trained_tokenizer(given, prepared_with_it):
    made, (_, prepared) = given[0], prepared_with_it
    assert prepared.tokenizer_path == prepared.folder / tokenizer.VOCABULARY
    assert not (prepared.folder / tokenizer.TRAINED).exists()
    assert prepared.tokenizer_path.read_bytes() == given[1].read_bytes()
    words = tokenizer.load(prepared.tokenizer_path)
    assert (words.digest, words.special, words.size) == (made.digest, made.special, made.size)
    assert prepared.manifest["tokenizer"] == prepared.manifest["facts"]["vocabulary"] == made.digest


def test_batches_hold_its_ids(given, prepared_with_it):
    made, (config, prepared) = given[0], prepared_with_it
    by_id = {title: made.encode(title) for title in prepared.index("gallery").titles if title}
    (batch, *_) = pipeline.evaluation_batches(prepared, config, "gallery")
    shown = 0
    for title, ids, mask in zip(
        prepared.index("gallery").titles, batch["text"]["ids"], batch["text"]["mask"], strict=False
    ):
        expected = [made.special.cls, *by_id[title], made.special.sep] if title else []
        assert ids[mask].tolist() == expected
        assert (ids[~mask] == made.special.pad).all()
        shown += len(expected)
    assert shown > 50


def test_training_hides_and_replaces_by_its_ids(given, prepared_with_it):
    made, (config, prepared) = given[0], prepared_with_it
    hidden = 0
    for batch in itertools.islice(pipeline.training_batches(prepared, config), 4):
        for name in ("text", "table"):
            masked, ids = batch[name]["masked"], batch[name]["ids"]
            assert not made.is_special[masked["targets"][masked["valid"]]].any()
            at = np.take_along_axis(ids, masked["positions"], 1)[masked["valid"]]
            assert not made.is_special[at[at != made.special.mask]].any()
            hidden += (at == made.special.mask).sum()
    assert hidden > 20


def test_the_model_has_a_state_for_every_piece_and_the_facts_have_its_digest(given, prepared_with_it, tmp_path):
    made, (config, _) = given[0], prepared_with_it
    values = settings.to_dict(config) | {"workdir": str(tmp_path / "run")}
    with run.open_run(settings.build(Config, values, "config")) as opened:
        assert opened.facts["tokenizer"] == made.digest
        shapes = jax.tree.leaves(jax.eval_shape(lambda: opened.model.init(jax.random.key(0))))
        assert (made.size, config.model.width) in {leaf.shape for leaf in shapes}


def test_its_content_and_its_case_decide_the_folder_and_its_path_does_not(
    catalogue_folder, given, prepared_with_it, tmp_path
):
    config, prepared = prepared_with_it
    (tmp_path / "moved.txt").write_bytes(given[1].read_bytes())
    same = prepare.prepare(config_for(catalogue_folder, config.data.root, tmp_path / "moved.txt"), quiet=True)
    assert same.folder == prepared.folder
    pieces = list(tokenizer.load(given[1])._read[0])
    huggingface(tmp_path, pieces)
    same = prepare.prepare(config_for(catalogue_folder, config.data.root, tmp_path / "tokenizer.json"), quiet=True)
    assert same.folder == prepared.folder
    huggingface(tmp_path, pieces, name="accents.json", strip_accents=False)
    wordpiece(tmp_path, [*SPECIALS, *PIECES], name="other.txt")
    others = [
        prepare.prepare(config_for(catalogue_folder, config.data.root, path, **changes), quiet=True)
        for path, changes in (
            (tmp_path / "other.txt", {}),
            (given[1], {"data__vocabulary_lowercase": False}),
            (tmp_path / "accents.json", {}),
            ("", {}),
        )
    ]
    assert len({other.folder for other in (same, *others)}) == 5
    assert len({other.manifest["tokenizer"] for other in (same, *others)}) == 5
    names = [tokenizer.VOCABULARY, tokenizer.VOCABULARY_CASED, tokenizer.JSON, tokenizer.TRAINED]
    assert [other.tokenizer_path.name for other in others] == names


def test_a_broken_vocabulary_is_refused_before_anything_is_prepared(catalogue_folder, tmp_path):
    (tmp_path / "broken.txt").write_text("red\nblue\n")
    with pytest.raises(DataError, match=r"broken.txt \(config.data.vocabulary_file.*has no \[PAD\]"):
        prepare.prepare(config_for(catalogue_folder, tmp_path / "root", tmp_path / "broken.txt"), quiet=True)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("name", [tokenizer.VOCABULARY, tokenizer.JSON])
def test_a_berts_weights_go_with_its_own_pieces(tmp_path, name):
    """Whichever file says in the folder of the weights which pieces they were trained on."""

    def check(digest, vocabulary_file=""):
        config = small_config(data__vocabulary_file=str(vocabulary_file))
        initialize._require_vocabulary(types.SimpleNamespace(config=config, facts={"tokenizer": digest}), tmp_path)

    with pytest.raises(ConfigError, match=r"has no vocab\.txt and no tokenizer\.json: name the vocabulary"):
        check("any")
    check("any", "elsewhere.txt")
    huggingface(tmp_path, [*SPECIALS, *PIECES])
    theirs = tokenizer.load(tmp_path / tokenizer.JSON)
    theirs.write(tmp_path)
    if name == tokenizer.VOCABULARY:  # beside it a file of other rules, as those of Chinese BERTs have been seen
        (tmp_path / tokenizer.JSON).unlink()
        theirs = wordpiece(tmp_path, name=name)
        huggingface(tmp_path, [*SPECIALS, *PIECES], strip_accents=False)
    check(theirs.digest)
    with pytest.raises(ConfigError, match=f"its ids are those of .*{name}; set config.data.vocabulary_file"):
        check("another digest")


def test_a_vocabulary_far_away_is_refused():
    with pytest.raises(ConfigError, match=r"config.data.vocabulary_file = 'gs://x/vocab.txt' must be a path"):
        small_config(data__vocabulary_file="gs://x/vocab.txt")
