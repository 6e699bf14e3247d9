"""Plain folders: what each file is, what leads outside, what is left over."""

import json
import os

import importers
import prepare as tool
import pytest
from importing import read, reasons
from media_files import picture
from test_importers import write

from m5jax.catalogues.catalogue import MAX_TEXT_CHARS
from m5jax.errors import DataError
from m5jax.media.files import MediaRef


def folder(tmp_path, files):
    return read("folder", write(tmp_path, files))


def refs(*names):
    return tuple(map(MediaRef, names))


def test_a_product_is_a_folder_with_its_files(tmp_path):
    listings, rejections, notes = folder(
        tmp_path,
        {
            "a-1/10.jpg": "", "a-1/2.PNG": "", "a-1/film.mp4": "", "a-1/sound.flac": "",
            "a-1/title.txt": "\ufeff Red sandal \r\n", "a-1/description.txt": "Leather.\nSoft.",
            "a-1/attributes.json": '{"colour": "red", "heel": 4, "size": null}',
            "a-2/attributes.tsv": "colour\tred\r\n\ncolour\tblue\n", "a-2/images/x.npy": "", "a-2/audios/y": "",
            "a-2/cover.webp": "", "a-2/.hidden.jpg": "", "a-2/Thumbs.db": "", ".git/config": "",
        },
    )  # fmt: skip
    assert (rejections, notes) == ([], [])
    first, second = listings.values()
    assert (first.id, first.title, first.description) == ("a-1", "Red sandal", "Leather.\nSoft.")
    assert first.attributes == (("colour", "red"), ("heel", "4"))
    assert first.images == refs("a-1/2.PNG", "a-1/10.jpg")
    assert (first.videos, first.audios) == (refs("a-1/film.mp4"), refs("a-1/sound.flac"))
    assert (second.id, second.title, second.category) == ("a-2", None, ())
    assert second.attributes == (("colour", "red"), ("colour", "blue"))
    assert (second.images, second.audios) == (refs("a-2/cover.webp", "a-2/images/x.npy"), refs("a-2/audios/y"))


def test_folders_above_a_product_are_its_category(tmp_path):
    listings, _, _ = folder(
        tmp_path,
        {
            "Shoes/Sandals/a/1.jpg": "",
            "Shoes/Boots/a/title.txt": "Boot",
            "Hats/b/title.txt": "Hat",
            "images/c/1.jpg": "",
        },
    )
    assert {identity: listing.category for identity, listing in listings.items()} == {
        "Hats/b": ("Hats",),
        "Shoes/Boots/a": ("Shoes", "Boots"),
        "Shoes/Sandals/a": ("Shoes", "Sandals"),
        "images/c": ("images",),
    }


def test_a_listing_file_counts_before_all_else(tmp_path):
    row = """{"id": "x9", "split": "val", "title": null, "description": "ours", "category": ["Hats"],
              "images": ["pictures/1.jpg", {"path": "2.jpg"}, "/etc/passwd", "../b/1.jpg"], "attributes": []}"""
    listings, _, notes = folder(
        tmp_path,
        {"Felt/a/listing.json": row, "Felt/a/title.txt": "Hat", "Felt/a/description.txt": "theirs", "Felt/a/3.jpg": ""},
    )
    hat = listings["x9"]
    assert (hat.split, hat.title, hat.description, hat.category, hat.attributes) == (
        "val",
        "Hat",
        "ours",
        ("Hats",),
        (),
    )
    assert set(folder(tmp_path, {"b/listing.json": '{"id": null}'})[0]) == {"b", "x9"}
    # What leads outside stays as it is, to be refused when it is opened.
    assert hat.images == refs("Felt/a/pictures/1.jpg", "Felt/a/2.jpg", "/etc/passwd", "Felt/a/../b/1.jpg")
    assert [(note.id, note.reason) for note in notes] == [("x9", "file_not_used")]
    assert "description.txt" in notes[0].detail


@pytest.mark.parametrize(
    ("name", "content", "reason", "modality"),
    [
        ("title.txt", "größe".encode("latin-1"), "invalid_utf8", "text"),
        ("title.txt", "x" * (MAX_TEXT_CHARS + 1), "text_too_long", "text"),
        ("description.txt", "x" * (1 << 21), "too_large", "text"),
        ("attributes.json", "{", "invalid_json", "table"),
        ("attributes.json", '{"a": 1, "a": 2}', "duplicate_key", "table"),
        ("attributes.json", "7", "invalid_field", "table"),
        ("attributes.json", '[["a", ["b"]]]', "invalid_field", "table"),
        ("attributes.tsv", "a\tb\tc\n", "ragged_row", "table"),
        ("attributes.tsv", b"\xff\tb\n", "invalid_utf8", "table"),
        ("attributes.tsv", "a\tb\n" * 1025, "too_many_fields", "table"),
    ],
)
def test_a_text_that_cannot_be_used_is_corrupt_and_costs_nothing_beside_itself(
    name, content, reason, modality, tmp_path
):
    listings, rejections, _ = folder(tmp_path, {f"a/{name}": content, "a/1.jpg": "", "b/1.jpg": ""})
    assert rejections == []
    (lost,) = listings["a"].corrupt
    assert (lost.id, lost.reason, lost.modality, lost.file) == ("a", reason, modality, f"a/{name}")
    assert listings["a"].images == refs("a/1.jpg")
    assert listings["b"].corrupt == ()


def test_a_folder_is_prepared_as_it_is(tmp_path, capsys):
    files = {f"shop/hats/{n}/title.txt": f"hat {n}" for n in range(4)}
    files |= {f"shop/hats/{n}/1.png": picture("PNG") for n in range(3)} | {"shop/hats/1/title.txt": b"\xff"}
    files |= {"shop/empty/.keep": "", "shop/bad/listing.json": "{", "shop/x/1.png": b"x", "shop/x/notes": ""}
    write(tmp_path, files)
    flags = ["--config.data.vocabulary=300", "--config.inputs.image.size=16", "--workers=1", "--max-rejected=1"]
    assert tool.main(["--source=folder", f"--input={tmp_path / 'shop'}", f"--output={tmp_path / 'made'}", *flags]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["rows_in"], said["records"]) == (7, 4)
    assert said["rejected"] == {"invalid_json": 1, "nothing_present": 2}
    assert said["lost"] == {"text/invalid_utf8": 1, "image/format_not_allowed": 1}
    assert said["noted"] == {"listing/file_not_used": 1}
    assert said["states"]["image"] == {"present": 3, "absent": 1}
    assert said["states"]["text"] == {"present": 3, "corrupt": 1}


def test_empty_is_not_absent(tmp_path):
    listings, _, _ = folder(tmp_path, {"a/title.txt": "", "a/attributes.json": "", "b/title.txt": " \n"})
    (tmp_path / "c").mkdir()
    assert (listings["a"].title, listings["a"].attributes) == ("", ())
    assert (listings["b"].title, listings["b"].attributes) == ("", None)
    assert set(read("folder", tmp_path)[0]) == {"a", "b", "c"}  # c has nothing present, which conversion rejects


def test_what_is_no_part_of_a_listing_is_noted(tmp_path):
    listings, _, notes = folder(tmp_path, {"a/1.jpg": "", "a/notes.pdf": "", "a/readme": "", "list.txt": ""})
    assert set(listings) == {"a"}
    assert [(note.id, note.reason) for note in notes] == [("a", "file_not_used"), ("", "file_not_used")]
    assert "'notes.pdf', 'readme'" in notes[0].detail
    assert "'list.txt'" in notes[1].detail


def test_links_that_lead_outside_are_not_read_and_linked_folders_not_entered(tmp_path):
    outside = write(tmp_path / "outside", {"secret.txt": "secret", "more/1.jpg": ""})
    inside = write(tmp_path / "inside", {"a/1.jpg": "", "a/words": "kept inside"})
    (inside / "a" / "title.txt").symlink_to(outside / "secret.txt")
    (inside / "a" / "attributes.json").symlink_to(inside / "nowhere")
    (inside / "b").symlink_to(outside / "more")
    (inside / "a" / "loop").symlink_to(inside)
    os.mkfifo(inside / "a" / "description.txt")  # reading it would never end
    listings, _, notes = read("folder", inside)
    assert set(listings) == {"a"}
    assert {lost.modality: lost.reason for lost in listings["a"].corrupt} == {
        "text": "not_a_file",
        "table": "missing_file",
    }
    assert "secret" not in repr(listings)
    assert reasons(notes) == ["file_not_used", "file_not_used"]
    found = importers.open_catalogue("folder", inside, importers.Options())
    before = found.digest()
    (outside / "secret.txt").write_text("longer than before")
    assert found.digest() == before


def test_names_that_are_no_text_are_rejected_or_left_over(tmp_path):
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    write(tmp_path, {"a/1.jpg": ""})
    (tmp_path / "a" / os.fsdecode(b"\xfe.jpg")).touch()
    listings, rejections, notes = read("folder", tmp_path)
    assert listings["a"].images == refs("a/1.jpg")
    assert reasons(rejections) == ["invalid_utf8"]
    assert reasons(notes) == ["file_not_used"]
    assert all("\\udcf" in entry.detail for entry in (*rejections, *notes))
    assert importers.open_catalogue("folder", tmp_path, importers.Options()).digest()


def test_a_folder_without_folders_is_no_catalogue(tmp_path):
    write(tmp_path, {"1.jpg": ""})
    with pytest.raises(DataError, match="a sub-folder for every product"):
        importers.open_catalogue("folder", tmp_path, importers.Options())
    with pytest.raises(DataError, match="a sub-folder for every product"):
        importers.open_catalogue("folder", tmp_path / "1.jpg", importers.Options())
