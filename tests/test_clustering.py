"""Agreement of clusters and labels against a textbook case; k-means on clusters that are there and are not."""

import math

import numpy as np
import pytest

from m5jax.evals import clustering


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def directions(labels, seed=0):
    """Vectors of any length, each close to the direction of its label."""
    lengths = np.random.default_rng(seed).uniform(0.01, 100, (len(labels), 1))
    return (lengths * (np.eye(8)[np.asarray(labels)] + 0.05 * random((len(labels), 8), seed))).astype(np.float32)


def k_means(embeddings, labels, seed=0, **options):
    options = {"valid": np.ones(len(embeddings), bool)} | options
    return clustering.k_means(embeddings, np.asarray(labels), seed=seed, **options)


def spread(table):
    """Labels and clusters of a contingency table, one row a cluster."""
    cells = [(label, cluster) for cluster, row in enumerate(table) for label, n in enumerate(row) for _ in range(n)]
    labels, clusters = zip(*cells, strict=True)
    return np.asarray(labels), np.asarray(clusters)


def test_agreement_in_the_textbook_case():
    # Manning, Raghavan and Schütze, Introduction to Information Retrieval, figure 16.4 and table 16.2.
    table = [[5, 1, 0], [1, 4, 1], [2, 0, 3]]
    n, clusters, classes = 17, [6, 6, 5], [8, 5, 4]
    cells = [(table[c][k], clusters[c], classes[k]) for c in range(3) for k in range(3) if table[c][k]]
    information = sum(x / n * math.log(n * x / (a * b)) for x, a, b in cells)
    entropies = [-sum(x / n * math.log(x / n) for x in sizes) for sizes in (clusters, classes)]
    # Of 136 pairs 20 are together in both, 40 in the clusters and 44 in the classes.
    expected_pairs = 40 * 44 / 136
    scores = clustering.agreement(*spread(table))
    assert scores == pytest.approx(
        {
            "nmi": information / (sum(entropies) / 2),
            "ari": (20 - expected_pairs) / ((40 + 44) / 2 - expected_pairs),
            "purity": (5 + 4 + 3) / 17,
        }
    )
    assert (round(scores["nmi"], 2), round(scores["purity"], 2)) == (0.36, 0.71)  # as printed in the book


@pytest.mark.parametrize(
    ("table", "nmi", "ari", "purity"),
    [
        ([[0, 3], [2, 0]], 1, 1, 1),  # the same partition under other names
        ([[2, 2], [2, 2]], 0, -1 / 6, 1 / 2),  # independent: 4 pairs together in both, 36 / 7 by chance
        ([[3, 1]], 0, 0, 3 / 4),  # one cluster of everything
        ([[1, 0], [1, 0], [0, 1], [0, 1]], 2 / 3, 0, 1),  # each alone: purity cannot tell, the others can
    ],
)
def test_agreement_of_hand_worked_tables(table, nmi, ari, purity):
    expected = {"nmi": nmi, "ari": ari, "purity": purity}
    assert clustering.agreement(*spread(table)) == pytest.approx(expected, abs=1e-9)


def test_separate_directions_are_found_at_any_length():
    labels = np.arange(120) % 4
    scores = {"listings": 120, "coverage": 1, "seeds": 3, "clusters": 4, "nmi": 1, "ari": 1, "purity": 1}
    spread = {"nmi_std": 0, "ari_std": 0, "purity_std": 0}
    assert k_means(directions(labels), labels) == pytest.approx(scores | spread)


def test_random_labels_are_not_found():
    scores = k_means(random((500, 8)), np.random.default_rng(1).integers(0, 5, 500))
    assert scores["ari"] == pytest.approx(0, abs=0.03)
    assert scores["nmi"] < 0.06
    assert scores["purity"] < 0.35


def test_only_labelled_listings_with_an_embedding_are_clustered():
    labels = np.asarray([0, 1, 2, 3] * 10)
    embeddings, valid = directions(labels), np.arange(40) >= 10
    embeddings[:10] = np.nan
    labels[-4:] = -1
    scores = k_means(embeddings, labels, valid=valid)
    assert (scores["listings"], scores["clusters"], scores["nmi"]) == pytest.approx((26, 4, 1))
    assert scores["coverage"] == pytest.approx(26 / 36)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], {"listings": 0}),
        ([-1, -1], {"listings": 0}),
        ([3, 3], {"listings": 2, "coverage": 1}),
        ([3, -1], {"listings": 1, "coverage": 1}),
    ],
)
def test_fewer_than_two_labels_leave_nothing_to_find(labels, expected):
    assert k_means(random((len(labels), 8)), np.asarray(labels, int)) == expected


def test_listings_without_any_embedding_leave_nothing_to_find():
    assert k_means(random((4, 8)), [0, 1, 0, 1], valid=np.zeros(4, bool)) == {"listings": 0, "coverage": 0}


def test_coinciding_embeddings_make_fewer_clusters_without_a_warning():
    scores = k_means(np.ones((9, 8), np.float32), [0, 1, 2] * 3)
    assert (scores["clusters"], scores["nmi"], scores["purity"]) == pytest.approx((1, 0, 1 / 3))


def test_many_listings_are_clustered_by_mini_batches(monkeypatch):
    used, mini_batches = [], clustering.MiniBatchKMeans

    def spy(**options):
        used.append(options["n_clusters"])
        return mini_batches(**options)

    monkeypatch.setattr(clustering, "MINI_BATCH_ROWS", 60)
    monkeypatch.setattr(clustering, "MiniBatchKMeans", spy)
    labels = np.arange(120) % 4
    assert k_means(directions(labels[:60]), labels[:60])["nmi"] == pytest.approx(1)
    assert used == []
    assert k_means(directions(labels), labels)["nmi"] > 0.8
    assert used == [4] * 3


def test_the_seed_decides():
    data = random((200, 8)), np.random.default_rng(1).integers(0, 5, 200)
    runs = [k_means(*data, seed=seed, seeds=1, n_init=1) for seed in (0, 0, 1, 2)]
    assert runs[0] == runs[1]
    assert len({run["ari"] for run in runs}) > 1
    together = k_means(*data, seed=0, seeds=3, n_init=1)
    for name in ("nmi", "ari", "purity"):
        alone = [run[name] for run in runs[1:]]
        assert (together[name], together[f"{name}_std"]) == pytest.approx((np.mean(alone), np.std(alone, ddof=1)))
    assert "ari_std" not in runs[0], "one seed has no spread"


def test_seeds_below_one_are_refused():
    with pytest.raises(ValueError, match="seeds = 0 must be at least 1"):
        k_means(random((4, 8)), [0, 1, 0, 1], seeds=0)


def test_a_label_of_one_listing_is_a_cluster_of_its_own():
    labels = np.asarray([0] * 10 + [1] * 10 + [2])
    assert k_means(directions(labels), labels) == pytest.approx(
        {"listings": 21, "coverage": 1, "seeds": 3, "clusters": 3, "nmi": 1, "ari": 1, "purity": 1}
        | {"nmi_std": 0, "ari_std": 0, "purity_std": 0}
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_valid_embedding_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        k_means(np.full((4, 8), value, np.float32), [0, 1, 0, 1])


def test_embeddings_of_zero_length_lie_together():
    labels = [0, 1] * 10
    embeddings = directions(labels)
    embeddings[::2] = 0
    assert k_means(embeddings, labels)["nmi"] == pytest.approx(1)
