"""From which to which number the tensors of a model reach: what 8 bits are spread over."""

__all__ = ["METHODS", "Seen", "choose_ranges", "watch_tensors"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.session import open_session

METHODS = ("minmax", "percentile", "mse", "entropy")
"""How a range is chosen from what was seen: all of it; all but the outermost 0.01 %; where the mean squared error of
rounding is least; where the rounded distribution has lost least information (Migacz 2017, "8-bit inference with
TensorRT")."""

_BINS = 1024
_LEVELS = 255
_OUTER = 1e-4


@dataclass(frozen=True)
class Seen:
    """The values of one tensor over the calibration images: a histogram over equal bins from `low` to `high`."""

    low: float
    high: float
    counts: NDArray[np.int64]


def watch_tensors(model: bytes, tensors: Sequence[str], feeds: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, Seen]:
    """Run a model on calibration data, twice: to find each tensor's limits, then to count between them.

    `feeds` are inputs by name, of a few images each, so that only their tensors are in memory at once.
    """
    import onnx

    proto = onnx.load_from_string(model)
    own = {o.name for o in proto.graph.output}
    for name in tensors:
        if name not in own:
            proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = open_session(proto.SerializeToString())
    names = list(tensors)
    limits = np.array([[np.inf, -np.inf]] * len(names))
    for feed in feeds:
        for k, found in enumerate(session.run(names, dict(feed))):
            limits[k] = min(limits[k, 0], float(found.min())), max(limits[k, 1], float(found.max()))
    counts = np.zeros((len(names), _BINS), np.int64)
    for feed in feeds:
        for k, found in enumerate(session.run(names, dict(feed))):
            low, high = limits[k]
            # np.histogram is four times as slow, and these are millions of numbers.
            at = ((found.ravel() - low) * (_BINS / max(high - low, 1e-12))).astype(np.int64)
            counts[k] += np.bincount(np.clip(at, 0, _BINS - 1), minlength=_BINS)
    return {n: Seen(float(limits[k, 0]), float(limits[k, 1]), counts[k]) for k, n in enumerate(names)}


def choose_ranges(seen: Mapping[str, Seen], method: str) -> dict[str, tuple[float, float]]:
    """Return each tensor's range by one of `METHODS`; zero is always within it, for it must stay exact.

    >>> counts = np.zeros(1024, np.int64)
    >>> counts[:512], counts[-1] = 1000, 1
    >>> low, high = choose_ranges({"x": Seen(0.0, 8.0, counts)}, "percentile")["x"]
    >>> low, round(high, 1)
    (0.0, 4.0)
    """
    choose = {"minmax": _all, "percentile": _inner, "mse": _least_error, "entropy": _least_lost}[method]
    found = {}
    for name, one in seen.items():
        low, high = choose(one) if one.high > one.low else (one.low, one.high)
        low, high = min(low, 0.0), max(high, 0.0)
        found[name] = (low, high if high > low else low + 1e-6)
    return found


def _edges(one: Seen) -> NDArray[np.float64]:
    return np.linspace(one.low, one.high, len(one.counts) + 1)


def _all(one: Seen) -> tuple[float, float]:
    return one.low, one.high


def _inner(one: Seen) -> tuple[float, float]:
    share = np.cumsum(one.counts) / one.counts.sum()
    edges = _edges(one)
    low, high = int(np.searchsorted(share, _OUTER / 2, side="right")), int(np.searchsorted(share, 1 - _OUTER / 2))
    return float(edges[low]), float(edges[min(high + 1, len(edges) - 1)])


def _candidates(one: Seen) -> list[tuple[float, float]]:
    """Return ranges that leave out more and more of the longer tail, and of both."""
    shares = np.linspace(0.3, 1.0, 29)
    low, high = min(one.low, 0.0), max(one.high, 0.0)
    return [(low * a, high * b) for a, b in [(1.0, s) for s in shares] + [(s, s) for s in shares]]


def _least_error(one: Seen) -> tuple[float, float]:
    middles = (_edges(one)[:-1] + _edges(one)[1:]) / 2

    def error(candidate: tuple[float, float]) -> float:
        low, high = candidate
        unit = max(high - low, 1e-12) / _LEVELS
        rounded = np.clip(np.round((middles - low) / unit), 0, _LEVELS) * unit + low
        return float((one.counts * (middles - rounded) ** 2).sum())

    return min(_candidates(one), key=error)


def _least_lost(one: Seen) -> tuple[float, float]:
    """Choose the range whose rounded histogram diverges least from the whole one (Kullback-Leibler)."""
    edges = _edges(one)
    counts = one.counts.astype(np.float64)
    # A peak at zero, which ReLU leaves, says nothing about the range and would drown everything else.
    zero = int(np.clip(np.searchsorted(edges, 0.0, side="right") - 1, 0, len(counts) - 1))
    counts[zero] = np.median(counts[counts > 0]) if (counts > 0).any() else 0.0
    middles = (edges[:-1] + edges[1:]) / 2
    whole = counts / max(counts.sum(), 1e-12)

    def lost(candidate: tuple[float, float]) -> float:
        low, high = candidate
        unit = max(high - low, 1e-12) / _LEVELS
        codes = np.clip(np.round((middles - low) / unit), 0, _LEVELS).astype(np.int64)
        inside = (middles >= low) & (middles <= high)
        clipped = np.where(inside, whole, 0.0)
        # What lies outside is added at the end that it is cut to.
        ends = np.flatnonzero(inside)
        if not len(ends):
            return float("inf")
        clipped[ends[0]] += whole[: ends[0]].sum()
        clipped[ends[-1]] += whole[ends[-1] + 1 :].sum()
        filled = inside & (whole > 0)
        mass = np.bincount(codes[inside], weights=whole[inside], minlength=_LEVELS + 1)
        bins = np.bincount(codes[filled], minlength=_LEVELS + 1)
        spread = np.where(filled, mass[codes] / np.maximum(bins[codes], 1), 0.0)
        there = (clipped > 0) & (spread > 0)
        total = max(spread.sum(), 1e-12)
        known = float((clipped[there] * np.log(clipped[there] / (spread[there] / total))).sum())
        # What has no counterpart is lost altogether.
        return known + float(clipped[(clipped > 0) & ~there].sum()) * 10

    return min(_candidates(one), key=lost)
