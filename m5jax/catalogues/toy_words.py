"""The words of the embedded catalogue (catalogues/toy.py): titles and attribute tables.

A title tells category and maker, a table department, category and material; the rest of either is the seller's
talk, drawn anew for each listing.
"""

import numpy as np

MAKERS = (
    "Aldervane",
    "Brisco",
    "Corvell & Daughters",
    "Dunmore",
    "Elstow",
    "Fenwick & Sons",
    "Gorran",
    "Hollis",
    "Ivarsen",
    "Juniper Lane",
)
MATERIALS = ("bamboo", "bioplastic", "cork", "felt", "hemp", "resin", "silicone", "steel")
WORDINGS = (
    "{maker} {category}",
    "{category} by {maker}",
    "{lead} {maker} {category}",
    "{maker} {category}, {tail}",
    "{lead} {category} from {maker}, {tail}",
    "{maker}: {category} – {tail}",
)
LEADS = ("New", "Genuine", "Popular", "Everyday", "Best-selling", "Our favourite")
TAILS = ("ready to ship", "gift-wrapped", "free returns", "as seen in store", "for home & work", "limited offer")
SALES_TERMS = {
    "Warranty": ("1 year", "2 years", "3 years"),
    "Ships from": ("Gdansk", "Leeds", "Porto", "Rotterdam"),
    "Packaging": ("box", "bag", "sleeve"),
}


def title(category: str, maker: str, rng: np.random.Generator) -> str:
    """A title in one of several wordings."""
    wording, lead, tail = (values[rng.integers(len(values))] for values in (WORDINGS, LEADS, TAILS))
    return wording.format(category=category, maker=maker, lead=lead, tail=tail)


def attributes(department: str, category: str, material: str, rng: np.random.Generator) -> list[list[str]]:
    """[name, value] rows in any order, up to two of them left out."""
    rows = [["Department", department], ["Type", category], ["Material", material]]
    rows += [[name, values[rng.integers(len(values))]] for name, values in SALES_TERMS.items()]
    return [rows[i] for i in rng.permutation(len(rows))[rng.integers(3) :]]
