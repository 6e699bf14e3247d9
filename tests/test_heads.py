"""The small heads on frozen vectors: against their formulas, what they learn, and what they cannot."""

import jax
import numpy as np
import pytest

from m5jax.evals import answer_head, heads, matching, pair_head, surface
from m5jax.evals.answer_head import Asked
from m5jax.evals.pair_head import Pairs

RNG = np.random.default_rng(0)
KIND = np.arange(60) % 6
VECTORS = (np.eye(6, 8)[KIND] + 0.2 * RNG.normal(size=(60, 8))).astype(np.float32)
VALID = np.arange(60) != 59
LEFT, RIGHT = np.divmod(np.arange(60 * 60)[RNG.permutation(3600)[:400]], 60)
PAIRS = Pairs(LEFT, RIGHT, KIND[LEFT] == KIND[RIGHT])
COLOURS = ["red", "dark red", "green", "blue", "navy blue", "white"]
SIZES = ["small", "large"]
VALUES = surface.bags([*COLOURS, *SIZES, "", "light red"])
NAMES = surface.bags(["colour", "size"])


def of_pairs(seed=0, pairs=PAIRS, valid=VALID):
    return pair_head.train(VECTORS, valid, pairs, lambda _: 0.0, seed)


def asked():
    """The colour of every listing, which is its kind, and its size, whether the kind is even."""
    answers = np.concatenate([KIND, len(COLOURS) + KIND % 2])
    others = np.full((120, 2), -1)
    return Asked(np.tile(np.arange(60), 2), np.repeat([0, 1], 60), answers, others)


def of_answers(seed=0, questions=None, better=lambda _: 0.0, valid=VALID):
    bags = NAMES.toarray(), VALUES.toarray()
    return answer_head.train(VECTORS, valid, *bags, questions or asked(), better, seed)


@pytest.fixture(scope="module")
def pairs():
    return of_pairs()


@pytest.fixture(scope="module")
def answers():
    return of_answers()


# ---- pairs


def test_a_pair_is_the_mean_over_both_orders(pairs):
    assert pairs is not None
    weights, scaled = pairs.params["sides"].reshape(-1, pair_head.HIDDEN), pairs.scale(VECTORS)

    def one_way(u, v):
        return np.tanh(np.concatenate([u, v, abs(u - v), u * v]) @ weights + pairs.params["hidden"])

    for left, right, logit in zip(LEFT[:20], RIGHT[:20], pairs(VECTORS, VALID, PAIRS)[:20], strict=True):
        hidden = (one_way(scaled[left], scaled[right]) + one_way(scaled[right], scaled[left])) / 2
        if 59 in (left, right):
            assert logit == -np.inf
        else:
            assert logit == pytest.approx(hidden @ pairs.params["out"] + pairs.params["bias"], abs=1e-4)
    turned = pairs(VECTORS, VALID, Pairs(RIGHT, LEFT, PAIRS.match))
    np.testing.assert_allclose(turned, pairs(VECTORS, VALID, PAIRS), atol=1e-5)


def test_a_head_learns_who_is_one_product_and_what_is_absent_has_no_say(pairs):
    assert matching.told(pairs(VECTORS, VALID, PAIRS), PAIRS.match, 0.0)["auc"] > 0.95
    changed = VECTORS.copy()
    changed[59] = 1e6
    again = pair_head.train(changed, VALID, PAIRS, lambda _: 0.0, 0)
    assert again is not None
    for leaf, same in zip(jax.tree.leaves(pairs.params), jax.tree.leaves(again.params), strict=True):
        np.testing.assert_array_equal(leaf, same)


def test_validation_chooses_the_part_and_the_seed_the_rest(pairs):
    def longest(head):
        return float(abs(head.params["out"]).sum())

    best = pair_head.train(VECTORS, VALID, PAIRS, longest, 0)
    assert longest(best) > longest(pairs)
    assert longest(of_pairs(seed=1)) != longest(pairs)


@pytest.mark.parametrize("valid", [VALID, np.zeros(60, bool)])
def test_without_matches_or_others_there_is_no_head(valid):
    alike = Pairs(LEFT, RIGHT, np.ones(len(LEFT), bool))
    assert of_pairs(pairs=alike, valid=valid) is None


def test_numbers_that_never_vary_stay_0():
    scale = heads.Scale.fit(np.ones((1, 3), np.float32))
    assert scale(np.full((2, 3), 7.0)).tolist() == [[0.0] * 3] * 2


def test_every_row_comes_as_often_as_any_other():
    counts = np.bincount(heads.batches(100, 3).ravel(), minlength=100)
    assert counts.max() - counts.min() <= 1
    assert set(heads.batches(1, 0).ravel()) == {0}


# ---- answers


def test_the_loss_of_questions_is_their_cross_entropy_without_other_true_values(answers):
    columns, often = np.asarray([5, 0, 1, 3]), np.asarray([1.0, 0.25, 0.5, 1.0], np.float32)
    drawn = {"rows": np.asarray([3, 8]), "named": np.asarray([1, 0]), "property": np.asarray([1, 0]),
             "columns": columns, "often": often, "answer": np.asarray([3, 0]),
             "others": np.asarray([[1, -1], [-1, -1]])}  # fmt: skip
    params, scaled = answers.params, answers.scale(VECTORS)
    expected = []
    for row, name, answer, other in ((3, 0, 3, (1,)), (8, 1, 5, ())):
        asked_of = NAMES.toarray()[name] @ params["grams"]
        hidden = np.tanh(scaled[row] @ params["item"] + asked_of @ params["asked"] + params["hidden"])
        query = hidden @ params["out"] + params["bias"]
        logits = {
            value: query @ (VALUES.toarray()[value] @ params["grams"]) - np.log(share)
            for value, share in zip(columns.tolist(), often.tolist(), strict=True)
            if value not in other
        }
        expected.append(np.log(sum(np.exp(logit) for logit in logits.values())) - logits[answer])
    given = (scaled, NAMES.toarray(), VALUES.toarray(), drawn)
    assert float(answer_head.loss(params, *given)) == pytest.approx(np.mean(expected), rel=1e-4)
    grad = jax.jit(jax.grad(answer_head.loss))(params, *given)
    assert all(np.isfinite(leaf).all() and abs(leaf).max() > 0 for leaf in jax.tree.leaves(grad))


def test_gradients_of_both_losses_are_those_of_differences():
    few = {"left": np.asarray([0, 1, 2]), "right": np.asarray([6, 8, 2]), "match": np.asarray([1.0, 0.0, 1.0])}
    sides = {"sides": (4, 8, 2), "hidden": (2,), "out": (2,), "bias": ()}
    some = {"rows": few["left"], "named": np.asarray([1, 0]), "property": np.asarray([1, 0, 0]),
            "columns": np.asarray([5, 0, 1]), "often": np.asarray([1.0, 0.5, 1.0]), "answer": np.asarray([2, 0, 1]),
            "others": np.asarray([[0, -1], [-1, -1], [5, 1]])}  # fmt: skip
    shapes = {"grams": (1024, 2), "item": (8, 3), "asked": (2, 3), "hidden": (3,), "out": (3, 2), "bias": (2,)}
    items, bags = VECTORS.astype(float), (NAMES.toarray().astype(float), VALUES.toarray().astype(float))
    for loss, of in (
        (lambda p: pair_head.loss(p, items, few), sides),
        (lambda p: answer_head.loss(p, items, *bags, some), shapes),
    ):
        with jax.enable_x64(True):
            at, way = ({name: RNG.normal(size=shape) for name, shape in of.items()} for _ in range(2))
            slope = sum((g * way[name]).sum() for name, g in jax.jit(jax.grad(loss))(at).items())
            ends = [jax.jit(loss)({name: at[name] + step * way[name] for name in at}) for step in (1e-5, -1e-5)]
            assert float(slope) == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_a_head_answers_and_knows_a_value_it_has_not_seen_by_its_letters(answers):
    candidates = np.tile(np.arange(len(COLOURS)), (60, 1))
    scores = answers(VECTORS, VALID, NAMES[np.zeros(60, int)], VALUES, candidates)
    assert (scores[:59].argmax(1) == KIND[:59]).mean() > 0.95
    assert (scores[59] == -np.inf).all()
    # "light red" beside "green", and an empty value; -1 is no candidate.
    unseen = answers(VECTORS[:1], VALID[:1], NAMES[[0]], VALUES, np.asarray([[9, 2, 8, -1]]))[0]
    assert unseen[0] > unseen[1]
    assert np.isfinite(unseen[:3]).all()
    assert unseen[3] == -np.inf


def test_one_value_alone_is_no_choice():
    one = Asked(np.arange(5), np.zeros(5, int), np.zeros(5, int), np.full((5, 2), -1))
    assert of_answers(questions=one) is None
    assert of_answers(valid=np.zeros(60, bool)) is None


def test_columns_hold_the_answers_and_say_how_often_they_are_drawn(monkeypatch):
    monkeypatch.setattr(heads, "BATCH", 6)
    answered = RNG.choice([2, 3, 5, 8, 9, 11, 12, 40], (50, 4))
    columns, often = answer_head._columns(answered, np.unique(answered), seed=0)
    for step, row in enumerate(answered):
        assert set(row) <= set(columns[step])
        assert len(set(columns[step])) == 6
    counts = np.bincount(columns.ravel())
    np.testing.assert_allclose(often, counts[columns] / 50)


# ---- surface forms


def test_bags_are_unit_vectors_of_the_letters():
    texts = ["red", " RED ", "", "  ", "é", "x" * 10_000, "\ud800"]
    bags = surface.bags(texts).toarray()
    np.testing.assert_array_equal(bags[0], bags[1])
    assert np.linalg.norm(bags, axis=1) == pytest.approx([1, 1, 0, 0, 1, 1, 1])
    close, far = surface.bags(["dark red", "lamp"]).toarray() @ bags[0]
    assert close > 0.4 > far
    assert surface.bags([]).shape == (0, surface.BUCKETS)
