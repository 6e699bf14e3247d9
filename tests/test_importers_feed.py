"""Product feeds: the same products in TSV, RSS and Atom, and XML that attacks or breaks off."""

import pytest
from importing import read, reasons

from m5jax.catalogues.catalogue import MAX_ROW_BYTES
from m5jax.errors import DataError
from m5jax.media.files import MediaRef

ROWS = """\
ID\tTitle\tDescription\tImage link\tadditional image link\tproduct type\tgoogle product category\titem group id\tbrand\tcolor\tsize\tprice\tproduct detail\tlink\tshipping
sku-1\tSandal "Sun" & more\tLeather, red\tfiles/a.jpg\thttps://x.example/b,1.jpg,https://x.example/c.jpg\tShoes > Sandals\tApparel > Shoes\tg1\tAcme\tred\t38\t19.90 EUR\tMain:Sole:rubber: soft,Main:Heel:4 cm\thttps://x.example/1\tDE:::4.90 EUR
sku-2\tHat\t\t\t\t\t178\t\t\t\t\t\t\t\t
"""  # noqa: E501
RSS_ITEMS = """\
<item><g:id>sku-1</g:id><title>Not this one</title><g:title><![CDATA[Sandal "Sun" & more]]></g:title>
<description>Leather, <b>red</b></description><link>https://x.example/1</link>
<g:image_link>files/a.jpg</g:image_link><g:additional_image_link>https://x.example/b,1.jpg</g:additional_image_link>
<g:additional_image_link> https://x.example/c.jpg </g:additional_image_link>
<g:product_type>Shoes &gt; Sandals</g:product_type>
<g:google_product_category>Apparel &gt; Shoes</g:google_product_category>
<g:item_group_id>g1</g:item_group_id><g:brand>Acme</g:brand><g:color>red</g:color><g:size>38</g:size>
<g:price>19.90 EUR</g:price><g:shipping><g:country>DE</g:country><g:price>4.90 EUR</g:price></g:shipping>
<g:product_detail><g:section_name>Main</g:section_name><g:attribute_name>Sole</g:attribute_name>
<g:attribute_value>rubber: soft</g:attribute_value></g:product_detail>
<g:product_detail><g:attribute_name>Heel</g:attribute_name>
<g:attribute_value>4 cm</g:attribute_value></g:product_detail>
<media:title>nor this</media:title></item>
<!-- <item><g:id>sku-0</g:id><title>Sold out</title></item> -->
<item ><g:id>sku-2</g:id><title>Hat</title><description/>
<g:google_product_category>178</g:google_product_category></item>
"""
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
RSS = f"""{HEAD}<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><title>A shop</title>
{RSS_ITEMS}</channel></rss>"""
ATOM_ITEMS = RSS_ITEMS
for ours, theirs in (("item>", "entry>"), ("<item", "<entry"), ("g:", "p:"), ("description", "summary")):
    ATOM_ITEMS = ATOM_ITEMS.replace(ours, theirs)
ATOM = f"""{HEAD}<feed xmlns="http://www.w3.org/2005/Atom" xmlns:p="http://base.google.com/ns/1.0"><title>A shop</title>
{ATOM_ITEMS}</feed>"""


def feed(tmp_path, content, name="feed", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read("feed", path, **options)


@pytest.mark.parametrize("content", [ROWS, RSS, ATOM, "\ufeff" + RSS, ROWS.replace("\n", "\r\n")])
def test_a_product_is_the_same_in_every_format(content, tmp_path):
    listings, rejections, notes = feed(tmp_path, content, source_name="shop")
    assert rejections == []
    sandal, hat = listings["sku-1"], listings["sku-2"]
    assert len(listings) == 2
    assert (sandal.title, sandal.description) == ('Sandal "Sun" & more', "Leather, red")
    assert sandal.category == ("Shoes", "Sandals")
    assert (sandal.instance_id, sandal.source) == ("g1", "shop")
    assert sandal.attributes == (
        ("brand", "Acme"), ("color", "red"), ("size", "38"), ("price", "19.90 EUR"), ("Sole", "rubber: soft"),
        ("Heel", "4 cm"),
    )  # fmt: skip
    assert sandal.images == (MediaRef("files/a.jpg"),)
    assert (hat.title, hat.description, hat.category, hat.attributes) == ("Hat", None, ("178",), None)
    assert reasons(notes) == ["column_not_used"]
    assert "link, shipping" in notes[0].detail


def test_links_find_downloaded_files(tmp_path):
    (tmp_path / "media").mkdir()
    for name in ("b,1.jpg", "c.jpg"):
        (tmp_path / "media" / name).touch()
    listings, _, _ = feed(tmp_path, ROWS, media=tmp_path / "media")
    assert listings["sku-1"].images == tuple(map(MediaRef, ("files/a.jpg", "b,1.jpg", "c.jpg")))


def items(*contents):
    inside = "\n".join(contents)
    return (
        f'{HEAD}<rss xmlns:g="http://base.google.com/ns/1.0"><channel><title>A shop</title>\n{inside}\n</channel></rss>'
    )


def item(identity, more=""):
    return f"<item><g:id>{identity}</g:id><title>Shoe</title>{more}</item>"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("<item><g:id>m</g:id><title>Shoe & Hat</title></item>", "invalid_xml"),
        ("<item><g:id>m</g:id><title>&nbsp;</title></item>", "invalid_xml"),
        ("<item><g:id>m</g:id><title>&lol9;</title></item>", "invalid_xml"),
        ("<item><g:id>m</g:id><title>Shoe</item>", "invalid_xml"),
        ("<item><g:id>m</g:id><title>Shoe</title>", "invalid_xml"),
        ("<item><g:id>m</g:id><title><![CDATA[Shoe</title></item>", "invalid_xml"),
        ("<item><g:id>m</g:id><!-- <title>Shoe</title></item>", "invalid_xml"),
        ("<item><g:id>m</g:id><title>\x01</title></item>", "invalid_xml"),
        ("<item><g:id>m</g:id><!DOCTYPE x [<!ENTITY y 'z'>]></item>", "invalid_xml"),
        ("<item>" + "<a>" * 100_000 + "</item>", "invalid_xml"),
        ("<item><title>Shoe</title></item>", "missing_id"),
        ("<item><g:id>m</g:id><title>" + "x" * 70_000 + "</title></item>", "text_too_long"),
        ("<item><g:id>m</g:id><title>" + "x" * MAX_ROW_BYTES + "</title></item>", "row_too_long"),
        ("<item><g:id>m</g:id>" + "<g:x>y</g:x>" * 300_000, "row_too_long"),
    ],
)
def test_a_broken_item_costs_itself_alone(bad, reason, tmp_path):
    listings, rejections, _ = feed(tmp_path, items(item("a"), bad, item("z")))
    assert set(listings) == {"a", "z"}
    assert [(rejection.reason, rejection.line) for rejection in rejections] == [(reason, 2)]


def test_a_feed_that_breaks_off_loses_its_last_item(tmp_path):
    whole = items(item("a"), item("b"), item("c"))
    listings, rejections, _ = feed(tmp_path, whole[: whole.index("c</g:id>") + 5])
    assert set(listings) == {"a", "b"}
    assert reasons(rejections) == ["invalid_xml"]


@pytest.mark.parametrize("size", [65_500, 65_520, 65_530, 65_536, 131_072])
def test_items_may_lie_across_what_is_read_at_a_time(size, tmp_path):
    content = items(item("a"), item("b"))
    padded = content.replace("A shop", "A shop" + "p" * (size - content.index("<item><g:id>b")))
    for shift in range(0, 16, 3):
        listings, rejections, _ = feed(tmp_path, padded.replace("A shop", "A shop" + "q" * shift))
        assert (set(listings), rejections) == ({"a", "b"}, [])


BOMB = '<!DOCTYPE rss [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE rss [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
REMOTE = '<!doctype rss SYSTEM "https://x.example/rss.dtd">'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (items(item("a")).replace("<rss", f"{BOMB}<rss"), "has a DTD"),
        (items(item("a")).replace("<rss", f"{EXTERNAL}<rss"), "has a DTD"),
        (items(item("a")).replace("<rss", f"{REMOTE}<rss"), "has a DTD"),
        (items(item("a"), "<!-- sold out", item("b"), "<!-- new -->", item("c")), "comment without end"),
        (items(item("a"), "<!-- sold out", item("b")), "comment without end"),
        (items(item("a")).replace("UTF-8", "x-none"), "is in 'x-none'"),
        (items(item("a")).replace("UTF-8", "gb18030"), "is in 'gb18030'"),
        (items(item("a")).encode("utf-16"), "is UTF-16"),
        ("name\tprice\nx\t1\n", "no column 'id' but name, price"),
        ("", "no line in the file"),
    ],
)  # fmt: skip
def test_what_is_no_feed_or_an_attack_is_refused_as_a_whole(content, message, tmp_path):
    with pytest.raises(DataError, match=message):
        feed(tmp_path, content)


def test_entities_of_a_dtd_that_hides_are_never_defined(tmp_path):
    """A prologue longer than what is looked at for a DTD: nothing in it is ever parsed."""
    hidden = f"<!--{'p' * 70_000}-->{BOMB}<rss"
    content = items(item("a", "<g:color>&b;</g:color>"), item("z")).replace("<rss", hidden, 1)
    listings, rejections, _ = feed(tmp_path, content)
    assert (set(listings), reasons(rejections)) == ({"z"}, ["invalid_xml"])


def test_another_encoding_is_read_as_the_feed_says(tmp_path):
    content = items(item("a").replace("Shoe", "größe")).replace("UTF-8", "ISO-8859-1").encode("latin-1")
    listings, _, _ = feed(tmp_path, content)
    assert listings["a"].title == "größe"
    listings, rejections, _ = feed(tmp_path, content.replace(b"ISO-8859-1", b"UTF-8"))
    assert (listings, reasons(rejections)) == ({}, ["invalid_xml"])
