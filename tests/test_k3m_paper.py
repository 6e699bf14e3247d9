"""What K3M's paper says of corrupted listings: whole, nested in its own terms, and of methods and schemes we know."""

from m5jax.k3m_paper import ACCURACY, F1, PAPER, RANK
from m5jax.methods import METHODS
from m5jax.schemes import SCHEMES


def test_every_score_has_every_scheme_of_the_paper_and_seven_methods():
    seven = {"k3m", *(f"{name}{more}" for name in ("vilbert", "vl_bert", "lxmert") for more in ("", "+pkg"))}
    for score, schemes in PAPER.items():
        assert set(schemes) == set(SCHEMES) - {"KMR"}, score
        for scheme, lines in schemes.items():
            assert set(lines) == seven <= set(METHODS), (score, scheme)
            for line in lines.values():
                assert len(line.ratios) == len(line.values)
                assert all(0 < value < 100 for value in line.values)


def test_a_method_begins_alike_in_every_scheme_and_what_the_text_says_holds():
    for schemes in PAPER.values():
        starts = [{name: line.values[0] for name, line in lines.items()} for lines in schemes.values()]
        assert all(start == starts[0] for start in starts)
        assert max(starts[0], key=starts[0].__getitem__) == "k3m"
    clean = {score: PAPER[score]["TMR"]["k3m"].values[0] for score in (ACCURACY, F1, RANK)}
    assert clean == {ACCURACY: 93.2, F1: 93.2, RANK: 87.2}
    assert PAPER[RANK]["TINR"]["vilbert"].values == (74.1, 34.5, 2.1)
    assert PAPER[RANK]["MNR"]["k3m"].values == (87.2, 79.6, 75.3)
    assert PAPER[RANK]["MNR"]["k3m"].error == 0
    assert PAPER[ACCURACY]["TINR"]["lxmert"].error == 1.5
    assert PAPER[ACCURACY]["IMR"]["vl_bert"].unsure
    assert not PAPER[ACCURACY]["IMR"]["k3m"].unsure
    assert PAPER[F1]["IMR"]["vl_bert+pkg"].values == (91.8, 91.5, 89.2, 91.6, 91.4)
    assert PAPER[F1]["MNR"]["lxmert"].error == 0.2
