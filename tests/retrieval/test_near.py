"""Near copies, labels without training, and p-values of hits."""

from dataclasses import replace

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.retrieval import Hits, Row
from eyewright.retrieval.coding import unit_vectors
from eyewright.retrieval.duplicates import best_copy, find_copies
from eyewright.retrieval.index import Hit
from eyewright.retrieval.labels import label_probabilities
from eyewright.retrieval.relevance import p_values, share_far_above


def turned(angles: list[float]) -> np.ndarray:
    """Unit vectors in a plane, by their angle in degrees."""
    a = np.deg2rad(angles)
    return np.stack([np.cos(a), np.sin(a)], 1).astype(np.float16)


def test_a_chain_does_not_join_its_ends() -> None:
    # Each is 10 degrees from the next: cos 10 = 0.985, cos 20 = 0.940.
    ids = np.array([5, 6, 7, 8, 9])
    groups = find_copies(ids, turned([0, 10, 20, 30, 90]), 0.97)
    assert sorted(g for g, _ in groups) in ([(5, 6), (7, 8)], [(6, 7)])
    assert all(len(g) == 2 for g, _ in groups), "no three of them are alike"
    ((whole, least),) = find_copies(ids, turned([0, 1, 2, 3, 90]), 0.97)
    assert whole == (5, 6, 7, 8)
    assert least == pytest.approx(np.cos(np.deg2rad(3)), abs=1e-3)


def test_each_two_of_a_group_are_alike_and_every_alone_pair_is_found() -> None:
    rng = np.random.default_rng(0)
    centres = unit_vectors(rng.standard_normal((400, 24)))
    several = np.repeat(centres, rng.integers(1, 4, 400), 0)
    vectors = unit_vectors(several + 0.02 * rng.standard_normal(several.shape)).astype(np.float16)
    groups = find_copies(np.arange(len(vectors)), vectors, 0.97)
    wide = vectors.astype(np.float64)
    near = wide @ wide.T >= 0.97 - 5e-4
    for members, least in groups:
        part = near[np.ix_(members, members)]
        assert part.all()
        assert least >= 0.97 - 5e-4
    # The oracle: groups of the plain N x N table, where being alike happens to be transitive.
    whole = {tuple(np.flatnonzero(row)) for row in near if row.sum() > 1}
    assert {g for g, _ in groups} == whole


def test_equal_vectors_are_one_group_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    same = np.repeat(turned([30]), 50, 0)
    ((group, least),) = find_copies(np.arange(50), same, 1.0)
    assert group == tuple(range(50))
    assert least == pytest.approx(1, abs=1e-3)
    monkeypatch.setattr("eyewright.retrieval.duplicates._MOST_PAIRS", 1000)
    with pytest.raises(UsageError, match=r"more than 1,000 pairs .* higher --min"):
        find_copies(np.arange(50), same, 0.5)


def test_the_copy_to_keep_has_most_pixels_then_most_bytes() -> None:
    rows = [Row("small.jpg", bytes=99, height=10, width=10), Row("a.jpg", bytes=5, height=20, width=20)]
    rows += [Row("b.jpg", bytes=7, height=20, width=20), Row("c.jpg", bytes=7, height=20, width=20)]
    assert best_copy(list(enumerate(rows))) == 2


def test_label_probabilities_are_a_softmax_or_sigmoids_by_hand() -> None:
    images, labels = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8], [0.0, 1.0]])
    odds = np.exp([6.0, 0.0])
    np.testing.assert_allclose(label_probabilities(images, labels, 10.0), [odds / odds.sum()])
    np.testing.assert_allclose(
        label_probabilities(images, labels, 10.0, -5.0), [[1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(5.0))]]
    )


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_queries_that_fit_nothing_rarely_seem_to_and_those_that_fit_do(share: float) -> None:
    """Of unrelated queries about 5 % reach p 0.05, whether or not a part of the index is of another subject."""
    rng = np.random.default_rng(0)
    n, dim, tries = 2000, 64, 300
    subject = unit_vectors(rng.standard_normal((1, dim)))[0]
    images = rng.standard_normal((n, dim))
    images[: int(share * n)] += 6 * subject
    images = unit_vectors(images)
    unrelated = unit_vectors(rng.standard_normal((tries, dim)))
    best = []
    for query in unrelated:
        scores = images @ query
        best.append(p_values(np.array([scores.max()], np.float64), scores, n)[0])
    assert np.mean(np.array(best) <= 0.05) <= 0.07
    found = []
    for k in range(50):
        scores = images @ unit_vectors((images[k] + 0.05 * rng.standard_normal(dim))[None])[0]
        found += p_values(np.array([scores.max()], np.float64), scores, n)
    assert np.mean(np.array(found) <= 0.05) >= 0.9
    assert p_values(np.array([0.9]), np.zeros(49, np.float32), 49) == [None]
    # By hand: no p-value is smaller than the number of scores that it rests on supports.
    assert p_values(np.array([1.0]), np.zeros(50, np.float32), 50) == [1 / 51]


def test_a_copy_fits_where_all_scores_are_high_and_skewed() -> None:
    """Features that are never negative, as a network's after ReLU: all cosines are high."""
    rng = np.random.default_rng(0)
    features = np.maximum(rng.standard_normal((800, 40)) + 0.5, 0)
    images = unit_vectors(features)
    copies, others = [], []
    for k in range(200):
        scores = images @ images[k]
        rest = np.delete(scores, k)
        copies.append(p_values(np.array([0.9995]), rest, 799)[0])
        others.append(p_values(np.array([rest.max()], np.float64), rest, 799)[0])
    assert np.mean(np.array(copies) <= 0.05) >= 0.99
    assert np.mean(np.array(others) <= 0.05) <= 0.11


def test_queries_that_fit_nothing_rarely_seem_to_where_tails_are_heavy() -> None:
    """Embeddings of a trained net: most are near 0, and a few directions are common, so that tails fall slowly."""
    rng = np.random.default_rng(2)
    topics = unit_vectors(rng.standard_normal((60, 128)))

    def drawn(n: int) -> np.ndarray:
        parts = rng.exponential(1.0, (n, 60)) ** 2 * (rng.random((n, 60)) < 0.2)
        return unit_vectors(unit_vectors(parts @ topics + 1e-9) + 0.5 * unit_vectors(rng.standard_normal((n, 128))))

    images, found = drawn(1500), []
    for query in drawn(200):
        scores = images @ query
        found += p_values(np.array([scores.max()], np.float64), scores, len(images))
    # With a normal tail all of them seem to fit.
    assert np.mean(np.array(found) <= 0.05) <= 0.07


@pytest.mark.parametrize("share", [0.04, 0.1, 0.3])
def test_a_group_that_fits_as_a_whole_is_not_said_to_fit_nothing(share: float) -> None:
    """A subject that a tenth of the images show: each of them scores high, so that none stands out."""
    rng = np.random.default_rng(1)
    n, dim, told = 400, 64, 0
    subject = unit_vectors(rng.standard_normal((1, dim)))[0]
    images = rng.standard_normal((n, dim))
    images[: int(share * n)] += 40 * subject
    images = unit_vectors(images)
    assert share_far_above((images @ subject).astype(np.float32), 0.05) == pytest.approx(share, abs=0.01)
    for query in unit_vectors(rng.standard_normal((200, dim))):
        # What lies off the subject sees a group only where it happens to point at it or away from it.
        told += share_far_above(np.delete(images @ query, np.s_[: int(share * n)]).astype(np.float32), 0.05) > 0
    assert told <= 4
    assert share_far_above(np.ones(49, np.float32), 0.05) == 0


def test_hits_of_a_group_are_unknown_and_of_nothing_false() -> None:
    hit = Hit(1, 0.9, 0.4, Row("a.png"))
    assert Hits((hit,), 100).fits is False
    assert Hits((hit,), 100, above=0.1).fits is None
    assert Hits((), 100, above=0.1).fits is None
    assert Hits((), 100).fits is False
    assert Hits((replace(hit, p=0.01),), 100, above=0.1).fits is True
    assert Hits((replace(hit, p=None),), 20).fits is None
