"""How a page is made: one file of HTML from a template, without network or script.

Text of a catalogue is hostile until shown: every string passes `clean` and jinja2's escaping on its way into a page.
"""

import pathlib
import unicodedata
from typing import Any

import jinja2
import markupsafe

from m5jax import modalities
from m5jax.report import figures

QUOTED = 200  # characters of one text of the catalogue
BIDI_CONTROLS = dict.fromkeys(map(ord, "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))


def render(template: str, values: dict[str, Any]) -> str:
    """The page that a template of this folder makes of some values."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        finalize=clean,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "count": count, "number": figures.label, "shorten": shorten}
    environment.globals |= {
        "colours": figures.COLOURS,
        "frame": figures.FRAME,
        "spark_frame": figures.SPARK_FRAME,
        "modalities": modalities.TABLE,
    }
    return environment.get_template(template).render(values)


def clean(value: Any) -> Any:
    """What the page prints, without characters that would act on the text around them instead of being read.

    Those are control characters but for line ends, overrides of the direction of writing (Unicode Annex 9), and
    halves of surrogate pairs, which no file can hold.
    """
    if not isinstance(value, str) or isinstance(value, markupsafe.Markup):
        return value
    text = value.translate(BIDI_CONTROLS)
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\ufffd" for c in text)


def shorten(text: str, most: int = QUOTED) -> str:
    """The text, or as much of it as is quoted: a title may be a megabyte long."""
    return text if len(text) <= most else text[: most - 1] + "…"


def sentence(text: str, **quoted: object) -> markupsafe.Markup:
    """A sentence with quoted text of sellers, `sentence("{name} loses", name=category)`, for a page to print as it is.

    Every quotation is shortened, cleaned and escaped, and keeps its direction of writing to itself.
    """
    bdi = {
        name: markupsafe.Markup("<bdi>{}</bdi>").format(clean(shorten(str(value)))) for name, value in quoted.items()
    }
    return markupsafe.escape(text).format(**bdi)


def percent(share: float) -> str:
    """A share as precise as it makes sense: 48 %, 9.2 %, under 0.1 %."""
    hundred = 100 * share
    if 0 < hundred < 0.05:
        return "under 0.1\u202f%"
    return f"{hundred:.1f}\u202f%" if 0 < hundred < 9.95 or 99.05 < hundred < 100 else f"{hundred:.0f}\u202f%"


def count(things: int) -> str:
    """A number of things: 12,345."""
    return f"{things:,}"
