"""Recall and ranks of retrieval, against brute force and scikit-learn."""

import numpy as np
import pytest

from eyewright.metrics.retrieval import AT, Ranks, ranks_of, retrieval_metrics


def drawn(seed: int, queries: int = 60, candidates: int = 40) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    given = rng.normal(size=(queries, 6)), rng.normal(size=(candidates, 6))
    right = [rng.choice(candidates, int(rng.integers(1, 4)), replace=False) for _ in range(queries)]
    return (*given, right)


def test_ranks_are_those_of_a_walk_down_the_sorted_list() -> None:
    queries, candidates, right = drawn(0)
    wanted = []
    for q, own in zip(queries, right, strict=True):
        wrong_above = 0
        for c in sorted(range(len(candidates)), key=lambda c: -float(q @ candidates[c])):
            if c in own:
                break
            wrong_above += 1
        wanted.append(1 + wrong_above)
    assert ranks_of(queries, candidates, right).tolist() == wanted


def test_recall_is_the_top_k_accuracy_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    queries, candidates = rng.normal(size=(50, 8)), rng.normal(size=(50, 8))
    own = np.arange(50)
    found = Ranks(ranks_of(queries, candidates, [own[k : k + 1] for k in own]), own, 50)(np.ones((1, 50)))
    for k in AT:
        theirs = metrics.top_k_accuracy_score(own, queries @ candidates.T, k=k, labels=own)
        assert float(found[f"recall_at_{k}"][0]) == pytest.approx(theirs)


def test_a_model_that_answers_the_same_for_all_finds_nothing() -> None:
    same = np.ones((20, 3))
    assert ranks_of(same, same, [np.array([k]) for k in range(20)]).tolist() == [20] * 20


def test_weights_mean_the_same_as_repeated_items() -> None:
    ranks, items = np.array([1, 9, 3, 30, 2]), np.array([0, 0, 1, 2, 2])
    weights = np.array([[2.0, 1.0, 0.0]])
    again = Ranks(np.array([1, 9, 1, 9, 3]), np.array([0, 0, 1, 1, 2]), 3)(np.ones((1, 3)))
    found = Ranks(ranks, items, 3)(weights)
    assert {k: float(v[0]) for k, v in found.items()} == {k: float(v[0]) for k, v in again.items()}


def test_an_image_with_five_captions_counts_once() -> None:
    found = Ranks(np.array([1, 1, 1, 1, 1, 50]), np.array([0, 0, 0, 0, 0, 1]), 2)(np.ones((1, 2)))
    assert float(found["recall_at_1"][0]) == 0.5


def test_every_metric_has_an_interval_over_groups() -> None:
    queries, candidates, right = drawn(2)
    measured = [
        Ranks(ranks_of(queries, candidates, right), np.arange(60), 60),
        Ranks(np.ones(60, np.int64), np.arange(60), 60, prefix="back_"),
    ]
    groups = np.arange(60) // 2
    found = retrieval_metrics(measured, rng=np.random.default_rng(0), groups=groups)
    assert set(found) == {f"{p}{n}" for p in ("", "back_") for n in ("median_rank", *(f"recall_at_{k}" for k in AT))}
    for metric in found.values():
        assert metric.groups == 30
        assert metric.low is not None
        assert metric.low <= metric.value <= metric.high
    assert found["back_recall_at_1"].low < 1, "60 of 60 do not prove 100 %"
    assert retrieval_metrics([], rng=np.random.default_rng(0)) == {}
