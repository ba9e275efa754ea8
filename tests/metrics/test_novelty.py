import numpy as np
import pytest
from scipy.spatial.distance import cdist

from eyewright.metrics import novelty
from eyewright.metrics.novelty import nearness


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
