"""Confident learning against a plain loop over its definition, and by hand where it is at a limit."""

import numpy as np
import pytest

from eyewright.metrics import confident_errors


def plain(true: np.ndarray, p: np.ndarray) -> list[tuple[int, int]]:
    n, n_classes = p.shape
    mean = {j: p[true == j, j].mean() for j in range(n_classes) if (true == j).any()}
    found = []
    for i in range(n):
        reached = [j for j in mean if p[i, j] >= mean[j] and p[i, j] > 0]
        if reached:
            j = max(reached, key=lambda k: p[i, k])
            if j != true[i] and p[i].max() > p[i, true[i]]:
                found.append((i, j, p[i, j] - p[i, true[i]]))
    return [(i, j) for i, j, _ in sorted(found, key=lambda row: -row[2])]


@pytest.mark.parametrize(("n", "n_classes", "seed"), [(200, 3, 0), (60, 7, 1), (30, 2, 2)])
def test_doubtful_samples_are_those_of_the_definition(n: int, n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, n_classes, n)
    p = rng.dirichlet(np.ones(n_classes) * 0.5, n) + 0.3 * np.eye(n_classes)[true]
    p /= p.sum(1, keepdims=True)
    samples, seems = confident_errors(true, p)
    assert list(zip(samples.tolist(), seems.tolist(), strict=True)) == plain(true, p)
    assert 0 < len(samples) < n


def test_a_class_without_labels_is_not_confused_and_the_mean_itself_is_reached() -> None:
    p = np.array([[0.25, 0.75, 0.0], [0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.1, 0.1, 0.8]])
    # Mean of class 0 is (0.25 + 0.75) / 2, of class 1 (0.75 + 0.1) / 2; nobody is labelled 2.
    samples, seems = confident_errors(np.array([0, 0, 1, 1]), p)
    assert (samples.tolist(), seems.tolist()) == ([0], [1])
    # One labelled sample sets its own mean; a copy of it with another label reaches that and no more.
    copies = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    found = confident_errors(np.array([0, 1]), copies)
    assert [v.tolist() for v in found] == [[1], [0]]
    assert [v.tolist() for v in confident_errors(np.zeros(0, int), np.zeros((0, 3)))] == [[], []]


def test_nothing_is_doubtful_where_no_class_is_likelier_than_the_label() -> None:
    p = np.array([[0.5, 0.5], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]])
    found = confident_errors(np.array([0, 1, 1, 1]), p)
    assert [v.tolist() for v in found] == [[], []]
