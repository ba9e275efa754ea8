"""How well a segmentation agrees with another: boundary F, covering, variation of information, Rand index.

Label maps are integers (H, W); only which pixels share a label counts, not the numbers.
"""

__all__ = ["boundary_f", "covering", "rand_index", "region_scores", "variation_of_information"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.extras import import_extra

Labels = NDArray[Any]


def boundary_f(found: Labels, truth: Labels, *, tolerance: float = 0.0075) -> float:
    """Return the F1 of boundary pixels: a match lies within `tolerance` of the image's diagonal (Martin, Fowlkes and
    Malik, 2004; matched by distance as in DAVIS, not one to one).

    Where neither has a boundary it is 1.

    >>> halves = np.repeat([[0, 0, 1, 1]], 4, 0)
    >>> boundary_f(halves, halves)
    1.0
    """
    _check(found, truth)
    reach = max(1.0, tolerance * float(np.hypot(*found.shape)))
    a, b = _boundary(found), _boundary(truth)
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    ndimage = import_extra("scipy.ndimage", extra="pixels", what="scoring boundaries")
    precision = float((ndimage.distance_transform_edt(~b)[a] <= reach).mean())
    recall = float((ndimage.distance_transform_edt(~a)[b] <= reach).mean())
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def covering(found: Labels, truth: Labels) -> float:
    """Return the mean over true regions, weighted by area, of the best IoU with any found one (Arbeláez et al., 2011).

    >>> covering(np.zeros((2, 2), int), np.array([[0, 0], [1, 1]]))
    0.5
    """
    _check(found, truth)
    table = _overlaps(found, truth)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    return float((table.sum(0) * (table / union).max(0)).sum() / table.sum())


def variation_of_information(found: Labels, truth: Labels) -> tuple[float, float]:
    """Return (H(truth | found), H(found | truth)) in bits, under- and over-segmentation (Meila, 2007).

    Their sum is a metric.

    >>> variation_of_information(np.zeros((2, 2), int), np.array([[0, 0], [1, 1]]))
    (1.0, 0.0)
    """
    _check(found, truth)
    joint = _overlaps(found, truth) / found.size

    def entropy(p: NDArray[np.float64]) -> float:
        p = p[p > 0]
        return float(-(p * np.log2(p)).sum())

    whole, by_found, by_truth = entropy(joint.ravel()), entropy(joint.sum(1)), entropy(joint.sum(0))
    return max(whole - by_found, 0.0), max(whole - by_truth, 0.0)


def rand_index(found: Labels, truth: Labels) -> float:
    """Return the adjusted Rand index: 1 for equal partitions, about 0 for chance (Hubert and Arabie, 1985)."""
    _check(found, truth)
    table = _overlaps(found, truth)

    def pairs(n: NDArray[np.float64]) -> float:
        return float((n * (n - 1) / 2).sum())

    together, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = rows * columns / pairs(np.array([table.sum()]))
    most = (rows + columns) / 2
    return 1.0 if most == expected else (together - expected) / (most - expected)


def region_scores(found: Labels, truth: Labels) -> dict[str, float]:
    """Return all of them by name."""
    under, over = variation_of_information(found, truth)
    return {
        "boundary_f": boundary_f(found, truth),
        "covering": covering(found, truth),
        "variation_of_information": under + over,
        "under_segmentation": under,
        "over_segmentation": over,
        "rand_index": rand_index(found, truth),
    }


def _check(found: Labels, truth: Labels) -> None:
    if found.shape != truth.shape or found.ndim != 2 or not found.size:
        raise UsageError(f"expected two label maps of one size (H, W), found {found.shape} and {truth.shape}")


def _boundary(labels: Labels) -> NDArray[np.bool_]:
    """Mark pixels whose right or lower neighbour has another label."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    edge[:-1] |= labels[1:] != labels[:-1]
    return edge


def _overlaps(found: Labels, truth: Labels) -> NDArray[np.float64]:
    """Count the pixels that each found region shares with each true one."""
    _, a = np.unique(found, return_inverse=True)
    _, b = np.unique(truth, return_inverse=True)
    n, m = int(a.max()) + 1, int(b.max()) + 1
    if n * m > 50_000_000:
        raise UsageError(f"expected fewer regions, found {n} against {m}", fix="segment more coarsely")
    return np.bincount(a.ravel() * m + b.ravel(), minlength=n * m).reshape(n, m).astype(np.float64)
