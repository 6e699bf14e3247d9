"""The tokenizer that is trained alone: from whatever holds text, the same as preparation trains, used by its path."""

import json
import pathlib

import pytest
import train_tokenizer as tool
from small import small_config

from m5jax.data import tokenizer
from m5jax.data.tokenizer_sentencepiece import BYTES
from m5jax.preparing import prepare

SPECIAL = ("pad", "unk", "cls", "sep", "mask", "name", "value")


def write_texts(folder, rows, name="catalogue.jsonl"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def listings(split="train", numbers=range(1, 60)):
    return [
        {
            "id": f"{split}-{n}",
            "split": split,
            "title": f"红色运动鞋 number {n}" if n % 4 else None,
            "description": "包邮" * (n % 3),
            "attributes": [["colour", "red"], ["", "ＸＬ"], ["尺寸", n]] if n % 5 else None,
        }
        for n in numbers
    ]


def run(capsys, *arguments):
    """Exit code, the JSON line, and what was said of errors."""
    code = tool.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def test_a_catalogue_and_what_is_prepared_of_it_teach_the_same(tmp_path, capsys):
    folder = write_texts(tmp_path / "mine", [*listings(), *listings("gallery"), {"id": "", "title": "no listing"}])
    config = small_config(
        inputs__modalities=("text", "table"), data__catalogue=str(folder), data__root=str(tmp_path / "data")
    )
    made = prepare.prepare(config, quiet=True)
    for source, output in ((folder, "a.model"), (made.folder, "b.model")):
        code, result, _ = run(capsys, "--input", source, "--output", tmp_path / output, "--vocabulary", 400)
        assert code == 0
        assert (tmp_path / output).read_bytes() == made.tokenizer_path.read_bytes()
        assert result["digest"] == made.manifest["tokenizer"]
        assert result["titles"] == 45


def test_what_is_printed_is_counted(tmp_path, capsys):
    lines = tmp_path / "titles.txt"
    lines.write_text("\ufeffred shoe\n\n 👟 zyxwvutsrqponm \n" * 5, encoding="utf-8")
    code, result, _ = run(capsys, "--input", lines, "--output", tmp_path / "new" / "m.model", "--vocabulary", 300)
    made = tokenizer.load(tmp_path / "new" / "m.model")
    spelled = [*made.encode("red shoe"), *made.encode("👟 zyxwvutsrqponm")]
    bytes_ = sum(len(SPECIAL) <= i < len(SPECIAL) + BYTES for i in spelled)
    assert code == 0
    assert result == {
        "pieces": made.size,
        "digest": made.digest,
        "titles": 10,
        "pieces_per_title": round(len(spelled) / 2, 2),
        "byte_share": round(bytes_ / len(spelled), 4),
    }
    assert 0 < bytes_ < len(spelled)


def test_several_inputs_are_learned_together(tmp_path, capsys):
    one = write_texts(tmp_path / "one", listings())
    other = write_texts(tmp_path / "other", [{"id": "x", "split": "gallery", "title": "waterproof trousers " * 9}])
    for output, inputs in (("one", [one]), ("both", [one, other])):
        assert run(capsys, "--input", *inputs, "--output", tmp_path / f"{output}.model")[0] == 0
    # Of the other catalogue nothing trains: all of it teaches.
    one, both = (tokenizer.load(tmp_path / f"{name}.model") for name in ("one", "both"))
    assert len(both.encode("waterproof trousers")) < len(one.encode("waterproof trousers"))


def test_catalogues_prepared_with_it_share_their_ids(tmp_path, capsys):
    one = write_texts(tmp_path / "one", listings())
    other = write_texts(tmp_path / "other", listings(numbers=range(1, 7)))
    run(capsys, "--input", one, "--output", tmp_path / "shared.model", "--vocabulary", 400)
    folders = []
    for folder in (one, other):
        config = small_config(
            inputs__modalities=("text", "table"),
            data__catalogue=str(folder),
            data__root=str(tmp_path / "data"),
            data__vocabulary_file=str(tmp_path / "shared.model"),
        )
        folders.append(prepare.prepare(config, quiet=True))
    digest = tokenizer.load(tmp_path / "shared.model").digest
    assert [made.manifest["tokenizer"] for made in folders] == [digest, digest]
    assert [made.manifest["facts"]["vocabulary"] for made in folders] == [digest, digest]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"--output": "m.txt"}, 64, "must end in .model"),
        ({"--output": "there.model"}, 64, "exists already"),
        ({"--vocabulary": "12"}, 64, "config.data.vocabulary = 12 must be between 300 and"),
        ({"--input": "nowhere"}, 65, "there is nothing at"),
        ({"--input": "empty.txt"}, 65, "there is no text in"),
        ({"--input": "bytes.txt"}, 65, "is not UTF-8"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path, capsys, monkeypatch, change, code, message):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("there.model").write_bytes(b"x")
    pathlib.Path("empty.txt").write_text("\n \n")
    pathlib.Path("bytes.txt").write_bytes(b"red\n\xff\n")
    pathlib.Path("good.txt").write_text("red shoe\n")
    arguments = {"--input": "good.txt", "--output": "m.model", "--vocabulary": "300"} | change
    got, result, said = run(capsys, *(part for pair in arguments.items() for part in pair))
    assert (got, result) == (code, None)
    assert message in said
    assert not pathlib.Path("m.model").exists()
    assert pathlib.Path("there.model").read_bytes() == b"x"
