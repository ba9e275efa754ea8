"""Bursts and runs of frames: neighbours in time or in counted names, checked on pixels.

A capture time or a number alone proves nothing: neighbours must be more similar than unrelated pictures of their class
are.
"""

__all__ = ["burst_pairs", "counted_pairs"]

import itertools
import posixpath
import re
from collections import defaultdict
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
_COUNTED_QUANTILE = 0.98
_COUNTED_EFFECT = 0.8
_COUNTED_STEPS = 2
_FEWEST_COUNTED = 12
_COUNTER = re.compile(r"^(.*?)(\d+)(\D*)$")
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
    the pictures. A pair counts where it is more similar than nearly all unrelated pictures of its class are to either
    picture (quantile 0.95), and the pairs as a whole are more similar than pairs with the times exchanged within the
    classes (permutation test, p <= 0.01). So a folder whose files all carry one false time is not joined.
    """
    near = _near([(c.camera, c.time_s, i) for i, c in enumerate(captures) if c is not None], _WINDOW_S)
    return _alike(near, np.asarray(strata), features, generator(seed, "bursts"), _QUANTILE, 0.0)


def counted_pairs(
    names: Sequence[str],
    strata: Sequence[int],
    features: NDArray[np.float32],
    *,
    seed: int = 0,
) -> list[tuple[int, int, float]]:
    """Return (i, j, similarity) of pictures whose names (N,) count on and that look like neighbours in one recording.

    The last number of a name counts (`IMG_1234.JPG`, `cam2-000123.png`, `20200626_154313_00_f0012.jpg`), up to twice
    the usual step apart. As numbers say less than times, the bar is higher than in `burst_pairs`: quantile 0.98 of the
    unrelated pictures, and neighbours as a whole 0.8 standard deviations more similar than exchanged ones. So a set of
    unrelated photographs, which is numbered too, is not joined.
    """
    series: dict[tuple[str, str], list[tuple[int, str, int]]] = defaultdict(list)
    for i, name in enumerate(names):
        folder, base = posixpath.split(name)
        found = _COUNTER.match(posixpath.splitext(base)[0])
        if found is not None and len(found[2]) < 16:
            series[found[1], found[3]].append((int(found[2]), folder, i))
    near: list[tuple[int, int]] = []
    for (head, tail), members in series.items():
        # One number twice: every folder counts for itself.
        apart = len({number for number, _, _ in members}) < len(members)
        taken = [(f"{folder if apart else ''}/{head}|{tail}", float(number), i) for number, folder, i in members]
        steps = [b - a for (s, a, _), (t, b, _) in itertools.pairwise(sorted(taken)) if s == t and b > a]
        if steps:
            near += _near(taken, _COUNTED_STEPS * float(np.median(steps)))
    if len(near) < _FEWEST_COUNTED:
        return []
    return _alike(near, np.asarray(strata), features, generator(seed, "counted"), _COUNTED_QUANTILE, _COUNTED_EFFECT)


def _alike(
    near: list[tuple[int, int]],
    classes: NDArray[np.int64],
    features: NDArray[np.float32],
    rng: np.random.Generator,
    quantile: float,
    effect: float,
) -> list[tuple[int, int, float]]:
    """Return the pairs that are more similar than unrelated pictures, if the pairs as a whole are."""
    if not near or len(features) < 4:
        return []
    vectors = features - features.mean(0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    first, second = (np.array(ends) for ends in zip(*near, strict=True))
    alike = (vectors[first] * vectors[second]).sum(1)
    if not _beyond_chance(first, second, classes, vectors, effect, rng):
        return []
    bars = _bars(np.unique(np.r_[first, second]), near, classes, vectors, quantile, rng)
    return [
        (min(i, j), max(i, j), float(value))
        for (i, j), value in zip(near, alike.tolist(), strict=True)
        if value > max(bars[i], bars[j])
    ]


def _near(taken: list[tuple[str, float, int]], window: float) -> list[tuple[int, int]]:
    """Return pairs of one source within the window, each picture with at most the next four."""
    taken = sorted(taken)
    result = []
    for k, (source, place, i) in enumerate(taken):
        for other, later, j in taken[k + 1 : k + 1 + _AHEAD]:
            if other != source or later - place > window:
                break
            result.append((i, j))
    return result


def _beyond_chance(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    classes: NDArray[np.int64],
    vectors: NDArray[np.float32],
    effect: float,
    rng: np.random.Generator,
) -> bool:
    """Return whether pairs are more similar than pairs with pictures exchanged within classes: p, and by `effect`."""
    measured = float((vectors[first] * vectors[second]).sum(1).mean())
    own = [np.flatnonzero(classes == c) for c in np.unique(classes[np.r_[first, second]])]
    means, spread = [], 0.0
    # Written again and again: a new array of this size costs more than what is computed in it. Without "clip" take
    # would not write into it directly.
    one, other = (np.empty((len(first), vectors.shape[1]), vectors.dtype) for _ in range(2))
    for _ in range(_PERMUTATIONS):
        shuffled = np.arange(len(classes))
        for part in own:
            shuffled[part] = rng.permutation(part)
        for ends, taken in ((first, one), (second, other)):
            np.take(vectors, shuffled[ends], axis=0, out=taken, mode="clip")
        drawn = np.multiply(one, other, out=one).sum(1)
        means.append(float(drawn.mean()))
        spread += float(drawn.std()) / _PERMUTATIONS
    p_value = (1 + sum(m >= measured for m in means)) / (1 + _PERMUTATIONS)
    return p_value <= _P_VALUE and measured - float(np.mean(means)) > effect * max(spread, 0.02)


def _bars(
    rows: NDArray[np.int64],
    near: list[tuple[int, int]],
    classes: NDArray[np.int64],
    vectors: NDArray[np.float32],
    quantile: float,
    rng: np.random.Generator,
) -> dict[int, float]:
    """Return for every picture the similarity that nearly no unrelated picture of its class reaches."""
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
            # Too few to say what unrelated pictures look like.
            result[i] = 1.0
            continue
        if len(strangers) > _STRANGERS:
            strangers = strangers[rng.integers(len(strangers), size=_STRANGERS)]
        result[i] = max(float(np.quantile(vectors[strangers] @ vectors[i], quantile)), _ALWAYS)
    return result
