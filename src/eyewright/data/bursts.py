"""Bursts: pictures that one camera took within seconds, checked on pixels; a capture time alone proves nothing."""

__all__ = ["burst_pairs"]

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.imaging.capture import Capture

_WINDOW_S = 10.0
_AHEAD = 4
_STRANGERS = 200
_FEWEST_STRANGERS = 20
_QUANTILE = 0.95
_PERMUTATIONS = 199
_P_VALUE = 0.01
_ALWAYS = 0.3


def burst_pairs(
    captures: Sequence[Capture | None],
    strata: Sequence[int],
    features: NDArray[np.float32],
    *,
    seed: int = 0,
) -> list[tuple[int, int, float]]:
    """Return (i, j, similarity) of pictures that one camera took at most ten seconds apart and that look it.

    `captures` (N,) come from EXIF data, `strata` (N,) are classes, -1 for none, `features`, float32 (N, D), describe
    the pictures. A pair counts where it is more alike than nearly all strangers of its class are to either picture
    (quantile 0.95), and the pairs as a whole are more alike than pairs with the times exchanged within the classes
    (permutation test, p <= 0.01). So a folder whose files all carry one false time is not joined.
    """
    timed = [i for i, c in enumerate(captures) if c is not None]
    near = _near_in_time([(c.camera, c.time_s, i) for i, c in enumerate(captures) if c is not None])
    if len(timed) < 4 or not near:
        return []
    vectors = features - features.mean(0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    first, second = (np.array(ends) for ends in zip(*near, strict=True))
    alike = (vectors[first] * vectors[second]).sum(1)
    rng = generator(seed, "bursts")
    classes = np.asarray(strata)
    if _chance(first, second, classes, vectors, float(alike.mean()), rng) > _P_VALUE:
        return []
    bars = _bars(np.unique(np.r_[first, second]), near, classes, vectors, rng)
    return [
        (min(i, j), max(i, j), float(value))
        for (i, j), value in zip(near, alike.tolist(), strict=True)
        if value > max(bars[i], bars[j])
    ]


def _near_in_time(taken: list[tuple[str, float, int]]) -> list[tuple[int, int]]:
    """Return pairs of one camera within the window, each picture with at most the next four."""
    taken.sort()
    result = []
    for k, (camera, time_s, i) in enumerate(taken):
        for other, later_s, j in taken[k + 1 : k + 1 + _AHEAD]:
            if other != camera or later_s - time_s > _WINDOW_S:
                break
            result.append((i, j))
    return result


def _chance(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    classes: NDArray[np.int64],
    vectors: NDArray[np.float32],
    measured: float,
    rng: np.random.Generator,
) -> float:
    """Return the p-value of `measured`, the mean similarity of pairs, against pairs with pictures exchanged."""
    rows = np.unique(np.r_[first, second])
    # With fewer than two pairs' worth of pictures no exchange differs from what is.
    own = [np.flatnonzero(classes == c) for c in np.unique(classes[rows])]
    reached = 0
    for _ in range(_PERMUTATIONS):
        shuffled = np.arange(len(classes))
        for part in own:
            shuffled[part] = rng.permutation(part)
        drawn = (vectors[shuffled[first]] * vectors[shuffled[second]]).sum(1)
        reached += float(drawn.mean()) >= measured
    return (1 + reached) / (1 + _PERMUTATIONS)


def _bars(
    rows: NDArray[np.int64],
    near: list[tuple[int, int]],
    classes: NDArray[np.int64],
    vectors: NDArray[np.float32],
    rng: np.random.Generator,
) -> dict[int, float]:
    """Return for every picture the similarity that nearly no stranger of its class reaches."""
    close: dict[int, set[int]] = {}
    for i, j in near:
        close.setdefault(i, {i}).add(j)
        close.setdefault(j, {j}).add(i)
    result = {}
    everything = np.arange(len(classes))
    of_class = {c: np.flatnonzero(classes == c) for c in np.unique(classes[rows]).tolist()}
    for i in rows.tolist():
        pool = of_class[int(classes[i])]
        strangers = np.setdiff1d(pool, list(close[i]), assume_unique=True)
        if len(strangers) < _FEWEST_STRANGERS:
            strangers = np.setdiff1d(everything, list(close[i]), assume_unique=True)
        if len(strangers) < _FEWEST_STRANGERS:
            # Too few to say what strangers look like.
            result[i] = 1.0
            continue
        if len(strangers) > _STRANGERS:
            strangers = strangers[rng.integers(len(strangers), size=_STRANGERS)]
        result[i] = max(float(np.quantile(vectors[strangers] @ vectors[i], _QUANTILE)), _ALWAYS)
    return result
