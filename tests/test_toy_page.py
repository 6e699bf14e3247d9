"""The page to look at the embedded catalogue with: all of it shown, none of it trusted."""

import dataclasses

from m5jax.catalogues import catalogue, catalogue_files, toy, toy_page
from m5jax.data_settings import Toy


def test_the_page_shows_the_catalogue_and_escapes_it(tmp_path):
    folder = tmp_path / "toy"
    toy.make(Toy(listings=40, categories=4), folder, workers=1)
    page = (folder / "index.html").read_text("utf-8")
    for listing in catalogue.listings(catalogue_files.rows(catalogue_files.find(folder))):
        assert isinstance(listing, catalogue.Listing)
        for ref in listing.images + listing.videos + listing.audios:
            assert f'src="{ref.path}"' in page
    assert "&amp; " in page
    assert "& " not in page
    assert "<script" not in page
    assert "://" not in page


def test_the_page_is_safe_from_any_text():
    evil = '<script>alert("1")</script>'
    row = {"id": evil, "split": evil, "title": evil, "attributes": [[evil, evil]], "images": [{"path": f'"{evil}'}]}
    product = dict.fromkeys([field.name for field in dataclasses.fields(toy.Product)], evil)
    truth = {"product": product, "title_of": evil, "picture_of": evil}
    page = toy_page.render([(row | {"videos": [], "audios": []}, truth)], 1)
    assert "<script" not in page
    assert 'alert("' not in page
    assert page.count("&lt;script&gt;") == 16
