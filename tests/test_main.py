"""The command's modes and the code that keeps the project's promises about itself."""

import ast
import pathlib
import subprocess
import sys

import pytest
import runs
from media_files import film

PACKAGE = pathlib.Path(__file__).parents[1] / "m5jax"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """Modules that a file imports at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def importers(prefix):
    """Files of the package that import anything below `prefix`."""
    return {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if any(name == prefix or name.startswith(prefix + ".") for name in imports(path))
    }


def test_prepare_mode_prepares_and_says_where(three_modalities, tmp_path, capsys):
    assert runs.run(three_modalities, tmp_path, "--config.mode=prepare") == 0
    assert "'train': 24" in capsys.readouterr().out
    assert not (tmp_path / "checkpoints").exists()


def test_a_missing_catalogue_ends_with_65(three_modalities, tmp_path, capsys):
    code = runs.run(three_modalities, tmp_path, f"--config.data.catalogue={tmp_path / 'nowhere'}")
    assert code == 65
    assert "no catalogue at" in capsys.readouterr().err


@pytest.mark.parametrize("config", sorted((PACKAGE.parent / "configs").glob("*.py")), ids=lambda path: path.stem)
def test_every_config_of_the_project_is_valid_and_says_how_it_is_run(config):
    from m5jax import main

    main.parse(["m5jax", "--config", str(config)])
    header = ast.get_docstring(ast.parse(config.read_text(encoding="utf-8")))
    assert header is not None
    assert f"--config configs/{config.name}" in header


def test_each_library_has_its_one_place():
    assert {path for path in importers("flax") if not path.startswith("models/")} == set()
    assert importers("jax.experimental.multihost_utils") == {"distributed.py"}
    assert importers("orbax") == {"checkpoint.py"}
    assert importers("pebble") == {"media/pool.py"}
    assert importers("sentencepiece") == {"data/tokenizer_sentencepiece.py"}
    assert importers("tokenizers") == {"data/tokenizer_wordpiece.py"}
    assert importers("lmdb") == {"media/files.py"}
    assert importers("msgpack") == {"media/regions.py"}
    assert importers("apache_beam") == {"preparing/beam_runner.py"}
    sellers_bytes = {"av", "soundfile"}
    assert set.union(*map(importers, sellers_bytes)) <= {
        "media/format.py", "media/video.py", "media/audio.py", "media/__init__.py", "catalogues/toy_media.py",
    }  # fmt: skip


FROM_THE_GROUND = ("media", "catalogues", "data", "preparing")


def test_arrows_point_down():
    """Data, models, objectives and evals know nothing of the loop; the loop knows no flax, media or Orbax."""
    above = {"m5jax.train", "m5jax.evaluate", "m5jax.export", "m5jax.main", "m5jax.run", "m5jax.step"}
    for path in MODULES:
        room = path.relative_to(PACKAGE).parts[0]
        if room in (*FROM_THE_GROUND, "models", "objectives", "evals", "studies", "comparison", "report", "validation"):
            assert not above & {".".join(name.split(".")[:2]) for name in imports(path)}, path
        if room in (*FROM_THE_GROUND, "objectives", "validation"):
            assert not any(name.startswith("m5jax.models") for name in imports(path)), path
        if room in FROM_THE_GROUND:
            for higher in FROM_THE_GROUND[FROM_THE_GROUND.index(room) + 1 :]:
                assert not any(name.startswith(f"m5jax.{higher}.") for name in imports(path)), path


def test_nothing_unpickles_evaluates_or_fetches():
    forbidden = (
        "pickle",
        "cloudpickle",
        "joblib",
        "torch",
        "tensorflow",
        "yaml",
        "requests",
        "urllib",
        "http",
        "marshal",
    )
    for name in forbidden:
        assert importers(name) == set(), name
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                assert called not in ("eval", "exec", "__import__"), path
                allowing = [k for k in node.keywords if k.arg == "allow_pickle" and getattr(k.value, "value", None)]
                assert not allowing, path


def test_nothing_is_written_for_spreadsheets():
    """Which would run a title that begins with "=". Tables for machines are Parquet and JSONL; whoever adds one for
    people escapes what sellers wrote."""
    for path in [*MODULES, *(PACKAGE.parent / "tools").rglob("*.py")]:
        source = path.read_text(encoding="utf-8")
        assert not [word for word in ("csv.writer", "DictWriter", "write_csv", "to_csv", "to_excel") if word in source]


def test_files_are_short_enough_to_read():
    files = [*MODULES, *pathlib.Path(__file__).parent.glob("*.py")]
    assert {path.name: n for path in files if (n := len(path.read_text().splitlines())) > 320} == {}


def test_without_the_media_extra_the_package_imports_and_names_what_is_missing(tmp_path):
    (tmp_path / "film.mp4").write_bytes(film())
    script = (
        "import pathlib, sys\n"
        "sys.modules['av'] = sys.modules['soundfile'] = None\n"
        "import m5jax.train, m5jax.evaluate, m5jax.export\n"
        "from m5jax import media\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "try:\n    media.decode_video(data, 4, 16)\n"
        "except media.MediaError as error:\n    print(error.reason)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "film.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "decoder_missing\n", done.stderr
