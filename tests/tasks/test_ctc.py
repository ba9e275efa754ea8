"""CTC search and probability against sums over all alignments, by hand (itertools) and torch's CTCLoss."""

import itertools
import math

import numpy as np
import pytest

from eyewright.tasks.ctc import fewest_steps, read_beam, read_greedy, text_probability


def _text_of(path: tuple[int, ...]) -> tuple[int, ...]:
    joined = [k for k, _ in itertools.groupby(path)]
    return tuple(k - 1 for k in joined if k)


def _by_hand(p: np.ndarray) -> dict[tuple[int, ...], float]:
    """Return the probability of every text, by walking all paths."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        text = _text_of(path)
        found[text] = found.get(text, 0.0) + math.prod(float(row[k]) for row, k in zip(p, path, strict=True))
    return found


def _some(rng: np.random.Generator, steps: int, sharp: float = 1.5) -> np.ndarray:
    p = np.exp(sharp * rng.normal(size=(steps, 4)))
    return p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6])
def test_the_probability_of_every_text_is_the_sum_over_its_alignments(steps: int) -> None:
    p = _some(np.random.default_rng(steps), steps)
    every = _by_hand(p)
    for text, wanted in every.items():
        assert text_probability(p, text) == pytest.approx(wanted, rel=1e-9)
    assert sum(every.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_the_likeliest_of_all_texts(seed: int) -> None:
    p = _some(np.random.default_rng(100 + seed), 6, 1.0)
    every = _by_hand(p)
    best = max(every, key=lambda t: every[t])
    found = read_beam(p, width=400)
    assert found.ids == best
    assert found.probability == pytest.approx(every[best], rel=1e-6)


def test_the_probability_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    p = _some(rng, 30)
    for ids in ([], [0], [1, 1, 2], [0, 1, 2, 2, 2, 0, 1]):
        logs = torch.tensor(np.log(p))[:, None]
        targets = torch.tensor([[i + 1 for i in ids]], dtype=torch.long).reshape(1, -1)
        loss = torch.nn.functional.ctc_loss(logs, targets, [30], [len(ids)], blank=0, reduction="sum")
        assert -math.log(text_probability(p, ids)) == pytest.approx(float(loss), rel=1e-6)


def test_repeated_characters_need_a_blank_between() -> None:
    one, blank = [0.01, 0.98, 0.01], [0.98, 0.01, 0.01]
    assert read_greedy(np.array([one, one, one])).ids == (0,)
    twice = np.array([one, blank, one])
    assert read_greedy(twice).ids == (0, 0) == read_beam(twice).ids
    assert read_greedy(twice).steps.tolist() == [[0, 1], [2, 3]] == read_beam(twice).steps.tolist()
    assert fewest_steps([0, 0]) == 3
    assert text_probability(np.array([one, one]), [0, 0]) == pytest.approx(0.0, abs=1e-12)


def test_all_blank_is_the_empty_text_and_no_steps_too() -> None:
    blank = np.array([[0.99, 0.01]] * 5)
    for found in (read_greedy(blank), read_beam(blank)):
        assert (found.ids, found.scores.shape, found.steps.shape) == ((), (0,), (0, 2))
    none = read_greedy(np.zeros((3, 2)))
    assert (none.ids, none.probability) == ((), 1.0)


def test_steps_beyond_the_end_change_nothing() -> None:
    p = _some(np.random.default_rng(5), 9)
    padded = np.concatenate([p, np.zeros((7, 4))])
    for read in (read_greedy, read_beam):
        a, b = read(p), read(padded)
        assert a.ids == b.ids
        assert a.probability == b.probability


def test_scores_are_the_highest_on_the_path() -> None:
    p = np.array([[0.1, 0.6, 0.3], [0.05, 0.9, 0.05], [0.2, 0.1, 0.7]])
    assert read_greedy(p).scores.tolist() == [0.9, 0.7]
    assert read_beam(p).scores.tolist() == [0.9, 0.7]
