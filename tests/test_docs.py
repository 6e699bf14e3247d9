"""What the documentation says exists: settings, files, reasons, keys."""

import pathlib
import re

import pytest

from m5jax import config as config_lib
from m5jax import settings
from m5jax.catalogues import catalogue
from m5jax.media import files

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CODE = [*ROOT.glob("configs/*.py"), *ROOT.glob("launch/*"), *ROOT.glob("m5jax/**/*.py")]
SETTINGS = {path for path, _, _ in settings.describe(config_lib.Config, "config")}
READERS = (*sorted((ROOT / "m5jax" / "catalogues").glob("*.py")), ROOT / "m5jax" / "preparing" / "convert.py")
SECTIONS = {path.rpartition(".")[0] for path in SETTINGS}


def named(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES + CODE, ids=lambda path: path.name)
def test_settings_that_are_named_exist(path):
    found = set(re.findall(r"--(config(?:\.[a-z_0-9]+)+)", named(path)))
    if path in PAGES:
        found |= set(re.findall(r"`(config(?:\.[a-z_0-9]+)+)", named(path)))
    unknown = {name for name in found if name not in SETTINGS | SECTIONS and name != "config.field"}
    assert unknown <= {"config.py"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_and_files_that_are_named_exist(path):
    text = named(path)
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}
    missing = {link for link in links if not (path.parent / link).exists()}
    named_files = set(re.findall(r"\b((?:m5jax|configs|launch|tests|docs|tools)/[\w/]+\.(?:py|sh|md|yaml))\b", text))
    missing |= {name for name in named_files if not (ROOT / name).exists() and name != "configs/X.py"}
    assert not missing


def test_every_reason_and_every_key_of_a_catalogue_is_documented():
    page = named(ROOT / "docs" / "data.md")
    code = "".join(map(named, READERS))
    of_rows = set(re.findall(r'RowError\(\s*"(\w+)"', code))
    of_rows |= set(re.findall(r'(?:Rejection|_unusable)\([^"]*?, "(\w+)"', code))
    assert len(of_rows) > 14
    assert {"too_many_rows", "not_in_info", "unknown_label"} <= of_rows
    reasons = of_rows | set(files.REASONS) | {"decoder_crashed", "decoder_timeout", "nothing_present"}
    assert {reason for reason in reasons if f"`{reason}`" not in page} == set()
    keys = {field for field in catalogue.KEYS if f"`{field}`" not in page}
    assert keys == set()


def test_limits_in_the_documentation_are_those_of_the_code():
    page = named(ROOT / "docs" / "data.md")
    assert f"{catalogue.MAX_TEXT_CHARS:,} characters a text" in page
    assert f"{catalogue.MAX_FIELDS:,} attributes" in page
    assert catalogue.MAX_ROW_BYTES == 1 << 20
    assert "1 MiB a row" in page
