"""Has what comes in, or what comes out, changed? Named tests together, with one false-alarm rate for all of them."""

__all__ = ["ChangeDetector", "Drift", "Sample", "drift_between"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.task import Task, task_of
from eyewright.imaging.appearance import TRAITS

_MOST = 1000
_SOURCE = ("height", "width")


@dataclass(frozen=True)
class Sample:
    """Images as numbers: `looks` float32 (n, LOOK) of `imaging.appearance`, `answers` float32 (n, C): probabilities of
    a classifier, fractions of the pixels of a segmenter, objects for each class, or amounts in their units. `task` is
    the name of the task; without it only the image statistics are tested. `names` are what the answers are of."""

    looks: NDArray[np.float32]
    answers: NDArray[np.float32]
    task: str | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.looks)

    def some(self, rows: NDArray[Any]) -> "Sample":
        return Sample(self.looks[rows], self.answers[rows], self.task, self.names)

    @classmethod
    def of_reference(cls, reference: Mapping[str, NDArray[Any]], task: str) -> "Sample | None":
        """Return what a bundle's reference.npz says; None where it is from before appearance was stored."""
        looks = reference.get("appearance")
        answers = reference.get(task_of(task).reference)
        if looks is None or answers is None or len(looks) != len(answers) or len(looks) < 20:
            return None
        return cls(np.asarray(looks, np.float32), np.asarray(answers, np.float32), task)


@dataclass(frozen=True)
class Drift:
    """What the tests say: `p` of them all together, and for each its statistic, its own p, and that adjusted for
    how many there are, the smallest first. `n` and `n_reference` are the sizes."""

    p: float
    tests: tuple[Mapping[str, Any], ...]
    n: int
    n_reference: int

    @property
    def moved(self) -> tuple[str, ...]:
        """What moved: tests whose adjusted p is at most 0.05."""
        return tuple(t["name"] for t in self.tests if t["adjusted_p"] <= 0.05)

    def to_json(self) -> dict[str, Any]:
        return {"p": self.p, "n": self.n, "n_reference": self.n_reference, "tests": [dict(t) for t in self.tests]}


def drift_between(reference: Sample, window: Sample, *, rng: np.random.Generator, permutations: int = 999) -> Drift:
    """Test whether a window of images comes from where the reference does.

    Kolmogorov-Smirnov for every trait of the images and for confidence, the maximum mean discrepancy with a Gaussian
    kernel (Gretton et al. 2012) for all numbers of the image together, chi-square for the labels given. The labels
    "reference" and "window" are permuted, the same way for all tests; the smallest p among the tests is compared with
    the smallest p of the permuted ones (Westfall & Young 1993). So the whole has its nominal false-alarm rate whatever
    the tests' dependence, and with samples of any size. Of each at most 1,000 images are used.

    >>> rng = np.random.default_rng(0)
    >>> from eyewright.imaging.appearance import LOOK
    >>> def draw(n, light):
    ...     looks = rng.normal(size=(n, LOOK)).astype(np.float32); looks[:, 0] += light
    ...     return Sample(looks, rng.dirichlet(np.ones(3), n).astype(np.float32), "classify")
    >>> found = drift_between(draw(300, 0), draw(200, 1), rng=rng)
    >>> found.p <= 0.01, found.tests[0]["name"]
    (True, 'brightness')
    """
    reference, window = _fewer(reference, rng), _fewer(window, rng)
    n, m = len(window), len(reference)
    looks = np.concatenate([window.looks, reference.looks]).astype(np.float64)
    looks = np.where(np.isfinite(looks), looks, 0.0)
    answers = np.concatenate([window.answers, reference.answers]).astype(np.float64)
    mine = np.zeros((permutations + 1, n + m), bool)
    mine[0, :n] = True
    for row in mine[1:]:
        row[rng.permutation(n + m)[:n]] = True
    names: list[str] = []
    statistics: list[NDArray[np.float64]] = []
    for k, name in enumerate(TRAITS):
        if np.ptp(looks[:, k]) > 1e-6:
            names.append(name)
            statistics.append(_ks(looks[:, k], mine))
    names.append("embedding")
    statistics.append(_mmd(_scaled(looks), mine))
    if window.task is not None:
        task = task_of(window.task)
        for what, each in _summaries(task, answers, window.names):
            if np.ptp(each) > 1e-9:
                names.append(what)
                statistics.append(_ks(each, mine))
        given = task.labelled(answers)
        if (given.sum(0) > 0).sum() > 1:
            names.append("labels")
            statistics.append(_chi_square(given, mine))
    return _together(names, np.array(statistics), n, m)


def _summaries(task: Task, answers: NDArray[np.float64], names: Sequence[str]) -> list[tuple[str, NDArray[np.float64]]]:
    what, each = task.summary(answers)
    if each.ndim == 1:
        return [(what, each)]
    called = names if len(names) == each.shape[1] else [f"{what} {k + 1}" for k in range(each.shape[1])]
    return list(zip(called, each.T, strict=True))


def _together(names: Sequence[str], statistics: NDArray[np.float64], n: int, m: int) -> Drift:
    """Return each test's p, those adjusted together, and one for all; row 0 of the permutations is the original."""
    total = statistics.shape[1]
    ps = np.empty_like(statistics)
    for k, row in enumerate(statistics):
        ordered = np.sort(row)
        ps[k] = (total - np.searchsorted(ordered, row, "left")) / total
    # Where p is the same, how far the statistic lies from the permuted ones decides: ties would cost power and level.
    spread = statistics.std(1, keepdims=True)
    far = (statistics - statistics.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1)
    keys = ps - 1e-3 / total * np.tanh(far / 20)
    least = keys.min(0)
    p = float((least <= least[0]).mean())
    adjusted = [float((least <= key).mean()) for key in keys[:, 0]]
    rows = [
        {"name": name, "test": _test_of(name), "statistic": float(s), "p": float(own), "adjusted_p": a}
        for name, s, own, a in zip(names, statistics[:, 0], ps[:, 0], adjusted, strict=True)
    ]
    return Drift(p, tuple(sorted(rows, key=lambda r: (r["adjusted_p"], r["p"]))), n, m)


def _test_of(name: str) -> str:
    return {"embedding": "MMD", "labels": "chi-square"}.get(name, "KS")


def _fewer(sample: Sample, rng: np.random.Generator) -> Sample:
    return sample if len(sample) <= _MOST else sample.some(np.sort(rng.permutation(len(sample))[:_MOST]))


def _scaled(looks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the numbers in units of their spread, robustly, without the source's size: that is tested by itself."""
    kept = looks[:, [k for k in range(looks.shape[1]) if k >= len(TRAITS) or TRAITS[k] not in _SOURCE]]
    low, middle, high = np.quantile(kept, [0.25, 0.5, 0.75], axis=0)
    scale = np.where(high - low > 1e-6, high - low, np.maximum(kept.std(0), 1e-6))
    return np.asarray(np.clip((kept - middle) / scale, -5, 5))


def _ks(values: NDArray[np.float64], mine: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the two-sample Kolmogorov-Smirnov statistic for each row of labels, (B,)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    ends = np.append(np.flatnonzero(np.diff(ordered) > 0), len(values) - 1)
    here = mine[:, order].cumsum(1, dtype=np.int32)[:, ends].astype(np.float64)
    n = float(mine[0].sum())
    rest = (ends + 1)[None] - here
    return np.asarray(np.abs(here / n - rest / (len(values) - n)).max(1))


def _mmd(points: NDArray[np.float64], mine: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the squared maximum mean discrepancy, the biased estimate, for each row of labels, (B,)."""
    squares = (points**2).sum(1)
    apart = np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0)
    usual = float(np.median(apart[np.triu_indices(len(points), 1)]))
    kernel = np.exp(-apart / max(usual, 1e-9)).astype(np.float32)
    n = float(mine[0].sum())
    weights = np.where(mine, 1 / n, -1 / (len(points) - n)).astype(np.float32)
    found: NDArray[np.float64] = ((weights @ kernel) * weights).sum(1).astype(np.float64)
    return found


def _chi_square(given: NDArray[np.float64], mine: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how far the window's labels are from its fraction of all labels, for each row of labels, (B,)."""
    kept = given[:, given.sum(0) > 0]
    n = float(mine[0].sum())
    expected = kept.sum(0) * n / len(given)
    seen = mine.astype(np.float64) @ kept
    found: NDArray[np.float64] = ((seen - expected) ** 2 / expected).sum(1)
    return found


class ChangeDetector:
    """Which of a stream of tests to raise an alarm for, so that false alarms stay rare over time.

    Every test's p becomes evidence, the mixture of all bets k p^(k-1) (Vovk & Wang 2021), whose mean is at most 1 as
    long as nothing has changed; the evidence is summed up as Shiryaev and Roberts do, R = (1 + R) e, and an alarm is
    raised when R reaches `run_length`. Without a change that takes at least so many tests on average (Shin, Ramdas &
    Rinaldo 2024, "E-detectors"); a lasting change is detected within a few. After an alarm it starts again.

    >>> detector = ChangeDetector(200)
    >>> [detector.alarm(p) for p in (0.5, 0.0005, 0.0005)]
    [False, False, True]
    """

    def __init__(self, run_length: float = 200.0) -> None:
        self.run_length = run_length
        self.sum = 0.0

    @property
    def evidence(self) -> float:
        """How near an alarm is, from 0 to 1."""
        return min(1.0, self.sum / self.run_length)

    def alarm(self, p: float) -> bool:
        """Take the next test's p; return whether it is an alarm."""
        self.sum = (1 + self.sum) * _bet(p)
        found = self.sum >= self.run_length
        if found:
            self.sum = 0.0
        return found


def _bet(p: float) -> float:
    """Return the integral of k p^(k-1) over k from 0 to 1."""
    if p >= 1 - 1e-6:
        return 0.5
    low = max(p, 1e-12)
    log = math.log(low)
    return (1 - low + low * log) / (low * log * log)
