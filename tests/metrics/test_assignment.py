"""The assignment, against scipy's and by hand."""

import numpy as np
import pytest

from eyewright.metrics.assignment import assign, greedy_pairs


@pytest.mark.parametrize("seed", range(40))
def test_the_total_is_scipys(seed: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 60, 2)
    scores = rng.random((n, m)) * (rng.random((n, m)) < rng.choice([0.05, 0.3, 1.0]))
    if seed % 4 == 0:
        scores = np.round(scores * 4) / 4
    rows, columns = assign(scores)
    best = optimize.linear_sum_assignment(-scores)
    assert abs(scores[rows, columns].sum() - scores[best].sum()) < 1e-9
    assert len(set(rows)) == len(rows)
    assert len(set(columns)) == len(columns)
    assert (scores[rows, columns] > 0).all()


def test_large_dense_scores_are_solved_exactly() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    scores = np.random.default_rng(0).random((150, 170))
    best = optimize.linear_sum_assignment(-scores)
    assert abs(scores[assign(scores)].sum() - scores[best].sum()) < 1e-9


def test_a_pair_without_a_score_above_zero_is_never_assigned() -> None:
    rows, columns = assign(np.array([[-1.0, 0.0], [0.0, -2.0]]))
    assert len(rows) == len(columns) == 0


def test_no_rows_or_no_columns_give_no_pairs() -> None:
    assert len(assign(np.zeros((0, 3)))[0]) == len(assign(np.zeros((2, 0)))[0]) == 0


def test_the_greedy_choice_is_not_the_best_one() -> None:
    scores = np.array([[0.9, 0.8], [0.85, 0.0]])
    assert scores[assign(scores)].sum() == pytest.approx(1.65)
    rows, columns = np.nonzero(scores)
    greedy = greedy_pairs(rows, columns, scores[rows, columns])
    assert scores[greedy].sum() == pytest.approx(0.9)
