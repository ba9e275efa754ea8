"""How far texts are from the true ones: character and word error rates, exact lines; each with an interval."""

__all__ = ["READING_METRICS", "TextErrors", "align_texts", "count_edits", "measure_texts", "plain_text"]

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics.bootstrap import resample, share_interval
from eyewright.metrics.groups import Kind

READING_METRICS = ("cer", "wer", "exact", "char_accuracy")
"""What texts are measured by, the main one first."""

_KINDS: dict[str, tuple[Kind, tuple[float, float]]] = {
    "cer": ("plain", (0.0, math.inf)),
    "wer": ("plain", (0.0, math.inf)),
    "exact": ("share", (0.0, 1.0)),
    "char_accuracy": ("plain", (-math.inf, 1.0)),
}


def plain_text(text: str) -> str:
    """Return a text as it is compared: composed (NFC), without white space around it, and one space for several.

    >>> plain_text(" e\\u0301t\\u00e9   3 ") == "\\u00e9t\\u00e9 3"
    True
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def count_edits(reference: Sequence[Any], found: Sequence[Any]) -> int:
    """Return the edit distance (Levenshtein 1966): the fewest insertions, deletions and substitutions.

    >>> count_edits("kitten", "sitting"), count_edits("", "abc"), count_edits(["a", "b"], ["a"])
    (3, 3, 1)
    """
    if len(reference) < len(found):
        reference, found = found, reference
    start, end_a, end_b = 0, len(reference), len(found)
    while start < end_b and reference[start] == found[start]:
        start += 1
    while end_b > start and reference[end_a - 1] == found[end_b - 1]:
        end_a, end_b = end_a - 1, end_b - 1
    a, b = reference[start:end_a], found[start:end_b]
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            best = corner if x == y else 1 + min(corner, row[j], row[j - 1])
            corner, row[j] = row[j], best
    return row[-1]


def align_texts(reference: str, found: str) -> list[tuple[str, str]]:
    """Return pairs of characters, the reference's and what was found for it, by the fewest edits; "" stands for none.

    >>> align_texts("A1B", "AIBC")
    [('A', 'A'), ('1', 'I'), ('B', 'B'), ('', 'C')]
    """
    n, m = len(reference), len(found)
    cost = [[i + j if i * j == 0 else 0 for j in range(m + 1)] for i in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            differs = reference[i - 1] != found[j - 1]
            cost[i][j] = min(cost[i - 1][j - 1] + differs, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    pairs: list[tuple[str, str]] = []
    i, j = n, m
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + (reference[i - 1] != found[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((reference[i], found[j]))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            pairs.append((reference[i], ""))
        else:
            j -= 1
            pairs.append(("", found[j]))
    return pairs[::-1]


class TextErrors:
    """The metrics of found and true texts, N of each, under weights of the lines, (R, N) to (R,) each.

    The character error rate is the edit distance of all lines over the characters of all true texts; it passes 1 where
    more is found than is there. The word error rate is the same of words between spaces; a line is exact without an
    edit. Texts are compared as `plain_text` returns them.

    >>> measured = TextErrors(["TOTAL 10", "CASH"], ["TOTAL 1O", "CASH"])
    >>> {k: round(float(v[0]), 3) for k, v in measured(np.ones((1, 2))).items()}
    {'cer': 0.083, 'wer': 0.333, 'exact': 0.5, 'char_accuracy': 0.917}
    """

    def __init__(self, true: Sequence[str], found: Sequence[str]) -> None:
        pairs = [(plain_text(a), plain_text(b)) for a, b in zip(true, found, strict=True)]
        self.edits = np.array([count_edits(a, b) for a, b in pairs], np.float64)
        self.characters = np.array([len(a) for a, _ in pairs], np.float64)
        self.word_edits = np.array([count_edits(a.split(), b.split()) for a, b in pairs], np.float64)
        self.words = np.array([len(a.split()) for a, _ in pairs], np.float64)
        self.exact = self.edits == 0

    def __call__(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return "cer", "wer", "exact" and "char_accuracy", which is 1 - CER."""
        with np.errstate(invalid="ignore", divide="ignore"):
            cer = (weights @ self.edits) / (weights @ self.characters)
            wer = (weights @ self.word_edits) / (weights @ self.words)
            exact = (weights @ self.exact) / weights.sum(1)
        return {"cer": cer, "wer": wer, "exact": exact, "char_accuracy": 1 - cer}


def measure_texts(
    true: Sequence[str],
    found: Sequence[str],
    *,
    rng: np.random.Generator,
    replicates: int = 1000,
    groups: NDArray[Any] | None = None,
) -> dict[str, Metric]:
    """Measure found against true texts by every metric, with intervals over `groups` (N,), such as pages."""
    n = len(true)
    if n == 0:
        return {}
    measured, plan = TextErrors(true, found), resample(n, replicates=replicates, rng=rng, groups=groups)
    point = measured(np.ones((1, n)))
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in point}
    for weights in plan.weights():
        for name, values in measured(weights).items():
            drawn[name].append(values)
    result = {}
    for name, number in point.items():
        kind, bounds = _KINDS[name]
        value, method = float(number[0]), plan.method
        low, high = plan.interval(value, np.concatenate(drawn[name]), kind=kind, bounds=bounds)
        if name == "exact" and low == high:
            low, high = share_interval(measured.exact, np.ones(n), plan.clusters)
            method = "wilson" if plan.clusters is None else method
        shown = [float(v) if math.isfinite(v) else None for v in (value, low, high)]
        result[name] = Metric(shown[0], shown[1], shown[2], n, method, 0.95, plan.n_groups)
    return result
