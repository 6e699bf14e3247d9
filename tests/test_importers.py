"""All importers: rows in = rows out + rows rejected, no URL opened, real data read whole."""

import argparse
import collections
import json
import pathlib
import re

import importers
import pytest
from conftest import SHARED, needs_shared
from importing import read, reasons
from test_main import imports

from m5jax.catalogues.catalogue import Pair, Rejection
from m5jax.errors import ConfigError, DataError
from m5jax.media.files import MediaRef

K3M = SHARED / "data" / "k3m-raw"
MATCHING = SHARED / "data" / "matching"

FEED = """<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel>
<item><g:id>1</g:id><g:title>Shoe</g:title></item>
<item><g:id>2</g:id><g:title>Half &nbsp; a shoe</g:title></item>
<item><g:title>No id</g:title></item>
<item><g:id>1</g:id><g:title>Again</g:title></item>
<item><g:id>3</g:id><g:title>Hat</g:title></item>
</channel></rss>"""

# Of every kind: its files, how many rows there are, and why those that are no listing are none.
BAD_ROWS = {
    "catalogue": (
        {"catalogue.jsonl": '{"id": "1"}\nnot json\n{"title": "no id"}\n{"id": "1"}\n{"id": "3"}\n'},
        "catalogue.jsonl",
        ["invalid_json", "missing_id", "duplicate_id"],
    ),
    "table": (
        {"t.csv": 'id,title\n1,Shoe\n2,"Half a shoe\n,No id\n1,Again\n4,too,many\n3,Hat\n'},
        "t.csv",
        ["unbalanced_quotes", "missing_id", "duplicate_id", "ragged_row"],
    ),
    "feed": ({"feed.xml": FEED}, "feed.xml", ["invalid_xml", "missing_id", "duplicate_id"]),
    "k3m": (
        {
            "raw": b"1\tShoe\t\ta#:#b\tx\n2\tfour\t\ta#:#b\n\xff\tx\t\t\tx\n\tx\t\t\tx\n1\tx\t\t\tx\n0\t\0\t\t\tx\n"
            b"3\tHat\t\t\tx\n"
        },
        "raw",
        ["ragged_row", "invalid_utf8", "missing_id", "duplicate_id", "invalid_field"],
    ),
    "folder": (
        {
            "1/title.txt": "Shoe",
            "2/listing.json": "[]",
            "3/title.txt": "Hat",
            "4/listing.json": '{"id": "1"}',
            "5/listing.json": '{"split": "test"}',
        },
        ".",
        ["not_an_object", "duplicate_id", "invalid_split"],
    ),
    "m5product": (
        {"id_info_dict.json": '{"1": {"title": "Shoe"}, "2": 7, "": {"title": "x"}, "1": {}, "3": {"title": "Hat"}}'},
        ".",
        ["not_an_object", "missing_id", "duplicate_id"],
    ),
    "pairs": (
        {"records.jsonl": '{"id": "1"}\n{\n{"id": 7}\n{"id": "1"}\n{"id": "3"}\n', "pairs.csv": "left,right,match\n"},
        ".",
        ["invalid_json", "missing_id", "duplicate_id"],
    ),
}  # fmt: skip


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.mark.parametrize("kind", importers.KINDS)
def test_every_row_is_a_listing_or_a_rejection_and_bad_ones_cost_no_good_one(kind, tmp_path):
    files, path, expected = BAD_ROWS[kind]
    listings, rejections, _ = read(kind, write(tmp_path, files) / path)
    assert set(listings) == {"1", "3"}
    assert reasons(rejections) == expected
    assert all(rejection.detail and not rejection.modality for rejection in rejections)


@pytest.mark.parametrize("kind", sorted(importers.KINDS.keys() - {"catalogue", "m5product"}))
def test_the_digest_follows_content_and_options_but_no_place(kind, tmp_path):
    files, path, _ = BAD_ROWS[kind]

    def digest(folder, **options):
        return importers.open_catalogue(kind, folder / path, importers.Options(**options)).digest()

    first = digest(write(tmp_path / "a", files))
    assert digest(write(tmp_path / "b", files)) == first
    assert digest(tmp_path / "b", source_name="shop") != first
    name = next(iter(files))
    write(tmp_path / "b", {name: (tmp_path / "b" / name).read_bytes().replace(b"Shoe", b"Boot").replace(b"7", b"8")})
    assert digest(tmp_path / "b") != first


@pytest.mark.parametrize("kind", sorted(importers.KINDS))
def test_what_a_kind_cannot_read_or_use_is_an_error_that_says_so(kind, tmp_path):
    with pytest.raises(DataError, match="nothing at"):
        importers.open_catalogue(kind, tmp_path / "nowhere", importers.Options())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        importers.open_catalogue(kind, tmp_path / "empty", importers.Options())
    if "separator" not in importers.KINDS[kind]:
        with pytest.raises(ConfigError, match=f"--separator is of no use with --source {kind}.*it is for table"):
            importers.open_catalogue(kind, tmp_path / "empty", importers.Options(separator=";"))


def test_flags_become_options():
    parser = argparse.ArgumentParser()
    importers.add_arguments(parser)
    line = "--column title=name --column images=a=b --attribute colour --attribute size --media m --source-name shop"
    assert importers.options(parser.parse_args(line.split())) == importers.Options(
        columns=(("title", "name"), ("images", "a=b")),
        attributes=("colour", "size"),
        media=pathlib.Path("m"),
        source_name="shop",
    )
    assert importers.options(parser.parse_args([])) == importers.Options()
    with pytest.raises(ConfigError, match="'title' must be KEY=COLUMN"):
        importers.options(parser.parse_args(["--column", "title"]))


URL = "https://cdn.shop.example/p/front%20view.jpg?w=800"
LINKED = {
    "table": ("t.csv", f"id,images\nx1,{URL}|https://cdn.shop.example/p/back.jpg\n"),
    "feed": ("f.tsv", f"id\timage link\tadditional image link\nx1\t{URL}\thttps://cdn.shop.example/p/back.jpg\n"),
    "k3m": ("raw", f"x1\tShoe\t{URL}\ta#:#b\tc\n"),
    "folder": (".", f'{{"id": "x1", "images": ["{URL}"]}}'),
}


@pytest.mark.parametrize("kind", LINKED)
def test_a_url_is_no_file_without_a_folder_of_media_and_is_noted_once(kind, tmp_path):
    path, content = LINKED[kind]
    write(tmp_path, {"p/listing.json" if kind == "folder" else path: content})
    listings, rejections, notes = read(kind, tmp_path / path)
    assert listings["x1"].images == ()
    assert rejections == []
    (note,) = notes
    assert (note.id, note.reason) == ("x1", "url_not_opened")
    assert URL in note.detail


@pytest.mark.parametrize("kind", sorted(LINKED.keys() - {"folder"}))
@pytest.mark.parametrize(
    ("there", "found"),
    [
        (["front view.jpg"], "front view.jpg"),
        (["front%20view.jpg", "x1.mp4", "x2.jpg"], "front%20view.jpg"),
        (["front view.jpg", "x1.png"], None),  # nobody knows which
        (["x1.png", "x10.jpg"], "x1.png"),
        (["x1.mp4", "x1.txt", "view.jpg"], None),
    ],
)
def test_the_file_of_a_url_is_found_by_its_name_or_by_the_id(kind, there, found, tmp_path):
    path, content = LINKED[kind]
    write(tmp_path, {path: content, **{f"media/{name}": "" for name in there}})
    listings, _, notes = read(kind, tmp_path / path, media=tmp_path / "media")
    assert listings["x1"].images == ((MediaRef(found),) if found else ())
    assert reasons(notes) == ([] if found else ["url_not_opened"])


@pytest.mark.parametrize(
    "url",
    ["https://x.example/..", "https://x.example/%2e%2e%2fsecret.jpg", "https://x.example/..%2Fsecret.jpg",
     "file:///etc/passwd", "//x.example/a/%00.jpg", "data:image/png;base64,AAAA", "HTTPS://x.example/",
     "https://x.example/" + "a" * 5000, "s3://bucket/../../secret.jpg/.", "https://x.example/..\\secret.jpg"],
)  # fmt: skip
def test_no_url_leads_out_of_the_folder_of_media(url, tmp_path):
    write(tmp_path, {"t.csv": f'id,images\n../secret,"{url}"\n', "secret.jpg": "x", "media/other.jpg": "x"})
    listings, _, notes = read("table", tmp_path / "t.csv", media=tmp_path / "media", separator="")
    assert listings["../secret"].images == ()
    assert reasons(notes) == ["url_not_opened"]


def test_new_media_are_another_digest(tmp_path):
    write(tmp_path, {"t.csv": LINKED["table"][1], "media/a.jpg": "x"})
    found = importers.open_catalogue("table", tmp_path / "t.csv", importers.Options(media=tmp_path / "media"))
    before = found.digest()
    write(tmp_path, {"media/x1.jpg": "x"})
    assert found.digest() != before


def test_no_importer_reads_from_the_net_or_runs_what_it_reads():
    modules = pathlib.Path(importers.__file__).parent.glob("*.py")
    names = set().union(*map(imports, modules))
    assert {"urllib.parse", "xml.parsers.expat"} <= names
    forbidden = ("urllib.request", "http", "socket", "ssl", "requests", "pickle", "subprocess", "xml.etree", "xml.sax")
    assert not any(name == bad or name.startswith(f"{bad}.") for name in names for bad in forbidden)


def test_every_reason_of_an_importer_is_documented():
    modules = pathlib.Path(importers.__file__).parent.glob("*.py")
    code = "".join(path.read_text(encoding="utf-8") for path in modules)
    found = set(re.findall(r'(?:RowError|Rejection)\((?:[\w.\[\]"]+, )?"([a-z_0-9]+)"', code))
    assert {"ragged_row", "invalid_xml", "url_not_opened", "file_not_used", "unknown_id"} <= found
    found |= {"repeated_pair", "contradicted_pair"}
    page = (pathlib.Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    assert {reason for reason in found if f"`{reason}`" not in page} == set()
    assert all(f"| `{kind}` |" in page for kind in importers.KINDS)
    assert all(f"`{flag}" in page for flag in importers.FLAGS.values())


@needs_shared
def test_the_k3m_sample_comes_out_whole():
    listings, rejections, notes = read("k3m", K3M)
    triples = [pair for listing in listings.values() for pair in listing.attributes]
    assert rejections == []
    assert len(listings) == 400
    assert len(triples) == 2816
    assert len({name for name, _ in triples}) == 433
    assert len({value for _, value in triples}) == 1340
    assert len({listing.category for listing in listings.values()}) == 271
    assert max(len(listing.attributes) for listing in listings.values()) == 158
    assert reasons(notes) == ["url_not_opened"] * 400
    assert all(note.detail.count("https://img.alicdn.com/imgextra/") == 1 for note in notes)
    assert {listing.source for listing in listings.values()} == {"k3m"}


def beside(path):
    entries = list(importers.open_catalogue("pairs", path, importers.Options()).beside())
    pairs = [entry for entry in entries if isinstance(entry, Pair)]
    return pairs, [entry for entry in entries if isinstance(entry, Rejection)]


@needs_shared
@pytest.mark.parametrize(
    ("name", "records", "pairs", "matches", "splits", "repeated", "contradicted"),
    [
        ("abt-buy", 2103, 9575, 1028, (5743, 1916, 1916), 51, 22),
        ("amazon-google", 3362, 11460, 1167, (6874, 2293, 2293), 483, 18),
    ],
)
def test_matching_benchmarks_come_out_as_published(name, records, pairs, matches, splits, repeated, contradicted):
    listings, rejections, _ = read("pairs", MATCHING / name)
    assert (len(listings), rejections) == (records, [])
    assert {listing.source for listing in listings.values()} == {name}
    found, others = beside(MATCHING / name)
    assert len(found) == pairs
    assert sum(pair.match for pair in found) == matches
    assert collections.Counter(pair.split for pair in found) == dict(zip(("train", "val", "test"), splits, strict=True))
    assert collections.Counter(reasons(others)) == {"repeated_pair": repeated, "contradicted_pair": contradicted}
    assert not any(note.lost or note.modality != "pair" for note in others)


def test_matched_training_pairs_make_one_product_and_no_other_pairs_do(tmp_path):
    lines = ["a,b,1,train", "c,b,true,train", "d,e,1,valid", "d,f,1,test", "e,f,0,train", "g,h,1,train", "g,,1,train"]
    records = "".join(json.dumps({"id": i}) + "\n" for i in "abcdefg")
    records += '{"id": "h", "instance_id": "own", "split": "query"}\n'
    write(tmp_path / "shop", {"records.jsonl": records, "pairs.csv": "left,right,match,split\n" + "\n".join(lines)})
    listings, _, _ = read("pairs", tmp_path)
    assert {i: of.instance_id for i, of in listings.items() if of.instance_id} == {
        "shop/a": "shop:a", "shop/b": "shop:a", "shop/c": "shop:a", "shop/g": "shop:g", "shop/h": "own",
    }  # fmt: skip
    assert {i for i, of in listings.items() if of.split != "train"} == {"shop/h"}


def test_a_pair_that_is_none_is_rejected_and_one_that_comes_again_is_noted(tmp_path):
    lines = ["l1,r1,1,train", "l1,r2,0,valid", "l1,nobody,1,train", "l1,r1,yes,train", "l2,l2,1,test", "l1,r1,0",
             "l1,r2,1,later", "r1,l1,1,test", "l1,r2,1,train", "bad,r1,0,test", "l2,r2,TRUE,"]  # fmt: skip
    records = "".join(json.dumps({"id": i}) + "\n" for i in ("l1", "l2", "r1", "r2")) + '{"id": "bad", "title": 7}\n'
    write(tmp_path, {"records.jsonl": records, "pairs.csv": "left,right,match,split\n" + "\n".join(lines)})
    pairs, others = beside(tmp_path)
    assert pairs == [
        Pair("l1", "r1", True, "train"),
        Pair("l1", "r2", False, "val"),
        Pair("r1", "l1", True, "test"),
        Pair("l1", "r2", True, "train"),
        Pair("l2", "r2", True, "test"),
    ]
    lost = [(entry.reason, entry.line) for entry in others if entry.lost]
    assert lost == [
        ("unknown_id", 4), ("invalid_match", 5), ("same_listing", 6), ("ragged_row", 7), ("invalid_split", 8),
        ("unknown_id", 11),
    ]  # fmt: skip
    assert len(pairs) + len(lost) == len(lines)
    notes = [(entry.reason, entry.line) for entry in others if not entry.lost]
    assert notes == [("repeated_pair", 9), ("contradicted_pair", 10)]


def test_several_benchmarks_in_one_folder_keep_apart(tmp_path):
    for name in ("one", "two"):
        records = '{"id": "a", "images": ["a.jpg"]}\n{"id": "b", "images": [{"path": "/a.jpg"}]}\n'
        write(tmp_path / name, {"records.jsonl": records, "pairs.csv": "left,right,match\na,b,1\n"})
    listings, _, _ = read("pairs", tmp_path)
    assert {(identity, listing.source) for identity, listing in listings.items()} == {
        ("one/a", "one"), ("one/b", "one"), ("two/a", "two"), ("two/b", "two"),
    }  # fmt: skip
    assert listings["one/a"].images == (MediaRef("one/a.jpg"),)
    assert listings["one/b"].images == (MediaRef("/a.jpg"),)  # to be refused when it is opened
    assert beside(tmp_path)[0] == [Pair("one/a", "one/b", True, "test"), Pair("two/a", "two/b", True, "test")]
