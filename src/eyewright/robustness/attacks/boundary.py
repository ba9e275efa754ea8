"""An attack by labels alone: search for the direction in which the boundary is nearest (Chen and Gu 2020, "RayS")."""

__all__ = ["boundary"]

import numpy as np
from numpy.typing import NDArray

from eyewright.robustness.model import Victim, to_grid
from eyewright.robustness.threat import Threat

Images = NDArray[np.float32]
_HALVINGS = 10


def boundary(
    victim: Victim,
    images: Images,
    labels: NDArray[np.int64],
    threat: Threat,
    *,
    rng: np.random.Generator,
    steps: int = 1000,
) -> Images:
    """Return images after `steps` queries each, moved along the best direction that was found.

    A direction has a sign for every value, as the corners of "linf" have; in "l2" it is scaled to that norm. Blocks of
    signs are flipped, from the whole image to ever smaller parts, and kept where the boundary comes nearer.
    """
    n, size = len(images), int(np.prod(images.shape[1:]))
    if not n or threat.eps == 0:
        return images.copy()
    bound = threat.on_grid() if victim.on_grid else threat
    scale = np.float32(1.0 if threat.norm == "linf" else 1.0 / np.sqrt(size))

    def moved(rows: NDArray[np.int64], signs: NDArray[np.int8], radius: NDArray[np.float64]) -> Images:
        step = signs.reshape(len(rows), *images.shape[1:]).astype(np.float32) * scale
        changed = np.clip(images[rows] + step * radius.reshape(-1, 1, 1, 1).astype(np.float32), 0, 1)
        return to_grid(changed, images[rows]) if victim.on_grid else changed

    def wrong(rows: NDArray[np.int64], signs: NDArray[np.int8], radius: NDArray[np.float64]) -> NDArray[np.bool_]:
        spent[rows] += 1
        found: NDArray[np.bool_] = victim.scores(moved(rows, signs, radius)).argmax(1) != labels[rows]
        return found

    widest = 1.0 if threat.norm == "linf" else float(np.sqrt(size))
    spent = np.zeros(n, np.int64)
    best = np.full(n, np.inf)
    signs = rng.choice(np.array([-1, 1], np.int8), (n, size))
    level = np.zeros(n, np.int64)
    block = np.zeros(n, np.int64)
    best_signs = np.ones((n, size), np.int8)
    tried = best_signs.copy()
    while True:
        rows = np.flatnonzero((spent < steps) & (best > bound.eps))
        if not len(rows):
            break
        limit = np.where(np.isfinite(best[rows]), best[rows], widest)
        hit = wrong(rows, tried[rows], limit * (1 - 1e-4))
        nearer = rows[hit]
        if len(nearer):
            low, high = np.zeros(len(nearer)), limit[hit].copy()
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                inside = wrong(nearer, tried[nearer], middle)
                low, high = np.where(inside, low, middle), np.where(inside, middle, high)
            best[nearer], best_signs[nearer] = high, tried[nearer]
        # The next block of signs: 2^level blocks an image.
        for row in rows.tolist():
            edges = np.linspace(0, size, 2 ** int(level[row]) + 1).astype(int)
            tried[row] = best_signs[row]
            part = slice(edges[block[row]], max(edges[block[row]] + 1, edges[block[row] + 1]))
            tried[row, part] = -tried[row, part] if np.isfinite(best[row]) else signs[row, part]
            block[row] += 1
            if block[row] == 2 ** level[row]:
                block[row], level[row] = 0, min(level[row] + 1, int(np.log2(size)))
    everything = np.arange(n)
    return moved(everything, best_signs, np.minimum(best, bound.eps))
