import numpy as np
import pytest
from scipy.spatial.distance import cdist

from eyewright.metrics import novelty
from eyewright.metrics.novelty import Nearness, nearness


def test_the_nearest_is_scipys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "_BLOCK", 500)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 12)), rng.normal(size=(90, 12))
    every = np.sort(cdist(a, b), 1)
    found = nearness(a, b)
    assert found.distance == pytest.approx(every[:, 0], rel=1e-5)
    assert found.ratio == pytest.approx(every[:, 0] / every[:, 9], rel=1e-5)


def test_copies_are_siblings_and_strangers_are_not() -> None:
    rng = np.random.default_rng(1)
    known = rng.normal(size=(200, 20))
    copies = known[:30] + rng.normal(0, 0.02, (30, 20))
    assert nearness(copies, known).siblings.all()
    assert nearness(known[:5], known).distance == pytest.approx(np.zeros(5), abs=1e-9)
    assert nearness(rng.normal(size=(200, 20)), known).siblings.mean() < 0.02


def test_of_few_known_pictures_nothing_is_called_a_sibling() -> None:
    found = nearness(np.zeros((3, 4)), np.zeros((5, 4)))
    assert found.known.all()
    assert not found.siblings.any()


def test_of_too_many_pairs_the_queries_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "_MOST_PAIRS", 1000)
    monkeypatch.setattr(novelty, "_LEAST_QUERIES", 10)
    rng = np.random.default_rng(2)
    assert nearness(rng.normal(size=(300, 3)), rng.normal(size=(50, 3))).known.sum() == 20


def test_a_ratio_needs_twenty_known_pictures_and_a_sibling_less_than_a_half() -> None:
    rng = np.random.default_rng(3)
    for known, told in ((19, False), (20, True)):
        found = nearness(rng.normal(size=(4, 3)), rng.normal(size=(known, 3)))
        assert np.isfinite(found.ratio).all() == told
        assert found.known.all()
    # The nearest at 1, all others at 2: level with half is no sibling, a little nearer is one.
    for nearest, sibling in ((1.0, False), (0.99, True)):
        known_ones = np.concatenate([[[nearest, 0.0]], np.tile([[2.0, 0.0]], (30, 1))])
        found = nearness(np.zeros((1, 2)), known_ones)
        assert found.distance.tolist() == [pytest.approx(nearest)]
        assert found.ratio.tolist() == [pytest.approx(nearest / 2)]
        assert found.siblings.tolist() == [sibling]
    # Ten copies: the ratio of 0 to 0 is 0.
    assert nearness(np.zeros((2, 3)), np.zeros((25, 3))).ratio.tolist() == [0.0, 0.0]


def test_with_fewer_than_ten_known_pictures_the_nearest_is_still_exact() -> None:
    rng = np.random.default_rng(4)
    for m in (1, 9, 10, 11):
        a, b = rng.normal(size=(5, 4)), rng.normal(size=(m, 4))
        assert nearness(a, b).distance == pytest.approx(cdist(a, b).min(1), rel=1e-5)
    for a, b in ((np.zeros((0, 4)), np.zeros((3, 4))), (np.zeros((3, 4)), np.zeros((0, 4)))):
        found = nearness(a, b)
        assert found.distance.shape == (len(a),)
        assert not found.known.any()


def test_small_distances_far_from_the_origin_are_exact() -> None:
    a = np.full((1, 8), 1000.0)
    b = np.concatenate([a + 0.5, a + np.arange(1, 30)[:, None]])
    assert nearness(a, b).distance[0] == pytest.approx(0.5 * 8**0.5, rel=1e-6)


def test_sampled_queries_are_spread_evenly_from_the_first_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "_MOST_PAIRS", 100)
    monkeypatch.setattr(novelty, "_LEAST_QUERIES", 3)
    known = np.zeros((20, 2))
    assert np.flatnonzero(nearness(np.ones((41, 2)), known).known).tolist() == [0, 10, 20, 30, 40]
    assert nearness(np.ones((5, 2)), known).known.all()
    # At least as many as are worth it, though the known ones are many.
    assert nearness(np.ones((41, 2)), np.zeros((80, 2))).known.sum() == 3


def test_parts_are_joined_and_chosen_in_order() -> None:
    first, second = Nearness(np.array([1.0, 2.0]), np.array([0.1, 0.2])), Nearness(np.array([3.0]), np.array([np.nan]))
    both = first.joined(second)
    assert both.distance.tolist() == [1, 2, 3]
    assert both.ratio.tolist()[:2] == [0.1, 0.2]
    assert both.siblings.tolist() == [True, True, False]
    assert first.joined(None) is first
    assert both.chosen(np.array([2, 0])).distance.tolist() == [3, 1]
    assert both.chosen(np.array([True, False, False])).ratio.tolist() == [0.1]
