"""Membership inference: scores that say whether an image was trained on, and how often they are right.

All of them compare how well the attacked net does on an image with how well other nets do, of which it is known whether
they saw the image. Few such nets share one variance (Carlini et al. 2022, "Membership inference attacks from first
principles"); a threshold without other nets is the weak baseline.
"""

__all__ = ["AttackResult", "lira_scores", "log_odds", "measure_attack", "rmia_scores"]

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics.binomial import clopper_pearson
from eyewright.metrics.classification import roc_auc

FALSE_RATES = (0.1, 0.01, 0.001)
_OWN_VARIANCE = 64
"""From so many nets on, each image has a variance of its own."""
_TINY = 1e-12

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class AttackResult:
    """How well an attack distinguishes members from others: `auc`, and the fraction of members that are found where at
    most so many others are accused; None where there are too few others to say."""

    name: str
    auc: Metric
    found: dict[float, Metric | None]
    members: int
    others: int


def log_odds(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> Floats:
    """Return log(p / (1 - p)) of each image's true class, (..., N), from logits (..., N, C)."""
    z = logits.astype(np.float64)
    own = np.take_along_axis(z, np.broadcast_to(labels, z.shape[:-1])[..., None], -1)[..., 0]
    rest = z.copy()
    np.put_along_axis(rest, np.broadcast_to(labels, z.shape[:-1])[..., None], -np.inf, -1)
    top = rest.max(-1, keepdims=True)
    others: Floats = top[..., 0] + np.log(np.exp(rest - top).sum(-1))
    found: Floats = own - others
    return found


def lira_scores(attacked: Floats, known: Floats, inside: Bools, *, online: bool = True) -> Floats:
    """Return for each image the log of how much likelier its log-odds are for nets that saw it than for others, (N,).

    `attacked` (N,) are the log-odds of the attacked net, `known` (K, N) those of K nets, `inside` (K, N) which images
    each of them saw. Offline only the nets that did not see an image are used.
    """
    out_mean, out_spread = _fitted(known, ~inside)
    if not online:
        return (attacked - out_mean) / out_spread
    in_mean, in_spread = _fitted(known, inside)
    return _log_density(attacked, in_mean, in_spread) - _log_density(attacked, out_mean, out_spread)


def _fitted(known: Floats, chosen: Bools) -> tuple[Floats, Floats]:
    """Return mean and deviation of each image's log-odds over the chosen nets, the deviation that of all images
    together where there are few nets. An image without such a net has the mean of the others."""
    counts = chosen.sum(0)
    sums = np.where(chosen, known, 0.0).sum(0)
    whole = sums.sum() / max(1, counts.sum())
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), whole)
    squares = np.where(chosen, (known - mean) ** 2, 0.0).sum(0)
    freedom = max(1, int(np.maximum(counts - 1, 0).sum()))
    pooled = math.sqrt(float(squares[counts > 1].sum()) / freedom)
    if len(known) >= _OWN_VARIANCE:
        own = np.sqrt(squares / np.maximum(counts - 1, 1))
        return mean, np.where(counts > 2, np.maximum(own, 0.1 * pooled + _TINY), pooled + _TINY)
    return mean, np.full(len(mean), pooled + _TINY)


def _log_density(x: Floats, mean: Floats, spread: Floats) -> Floats:
    return -(((x - mean) / spread) ** 2) / 2 - np.log(spread)


def rmia_scores(
    attacked: Floats, known: Floats, inside: Bools, *, online: bool = True, gamma: float = 2.0, offset: float = 0.3
) -> Floats:
    """Return for each image the fraction of all images that its likelihood ratio exceeds by `gamma` (Zarifzadeh et al.
    2024, "Low-cost high-power membership inference attacks"), (N,); arguments as for `lira_scores`.

    Offline the probability under nets that saw an image is estimated as (1 + offset) p + 1 - offset, halved.
    """
    p, all_p = _probability(attacked), _probability(known)
    outside = _mean_where(all_p, ~inside)
    usual = (outside + _mean_where(all_p, inside)) / 2 if online else ((1 + offset) * outside + 1 - offset) / 2
    ratio = p / np.maximum(usual, _TINY)
    ordered = np.sort(ratio)
    # Ties are ordered by the ratio itself, so that no score is shared by half of the images.
    ranks = np.searchsorted(ordered, ratio / gamma, side="right") / len(ratio)
    return ranks + 1e-9 * np.searchsorted(ordered, ratio) / len(ratio)


def _probability(odds: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(odds, -700, 700)))


def _mean_where(values: Floats, chosen: Bools) -> Floats:
    counts = chosen.sum(0)
    whole = values[chosen].mean() if chosen.any() else 1.0
    found: Floats = np.where(counts > 0, np.where(chosen, values, 0).sum(0) / np.maximum(counts, 1), whole)
    return found


def measure_attack(name: str, scores: Floats, members: Bools) -> AttackResult:
    """Return how well scores distinguish members: AUC with the interval of Hanley and McNeil (1982), rates with exact
    intervals (Clopper and Pearson 1934).

    Raises:
        ValueError: there is no member, or nobody else.
    """
    n_in, n_out = int(members.sum()), int((~members).sum())
    if not n_in or not n_out:
        raise ValueError("expected members and others")
    auc = float(roc_auc(members.astype(np.int64), np.stack([-scores, scores], 1)))
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = math.sqrt(
        max(0.0, auc * (1 - auc) + (n_in - 1) * (q1 - auc**2) + (n_out - 1) * (q2 - auc**2)) / (n_in * n_out)
    )
    found: dict[float, Metric | None] = {}
    outsiders = np.sort(scores[~members])[::-1]
    for rate in FALSE_RATES:
        allowed = int(rate * n_out)
        if allowed < 1:
            found[rate] = None
            continue
        hits = int((scores[members] > outsiders[allowed]).sum()) if allowed < n_out else n_in
        low, high = clopper_pearson(hits, n_in, 0.95)
        found[rate] = Metric(hits / n_in, low, high, n_in)
    return AttackResult(
        name,
        Metric(auc, max(0.0, auc - 1.96 * spread), min(1.0, auc + 1.96 * spread), n_in + n_out),
        found,
        n_in,
        n_out,
    )
