"""How unlike the images that a model knows an image is, as a conformal p-value that few images are enough for."""

__all__ = ["FLAGGED", "FOLDS", "LEAST_GROUPS", "CrossConformal", "spread_over_groups", "why_too_few"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

FLAGGED = 0.01
"""An image of this p-value or less is flagged as unfamiliar: of images like the reference, one in a hundred."""

FOLDS = 10

LEAST_GROUPS = 100
"""With fewer groups no p-value can be as small as `FLAGGED`."""

_OWN_COVARIANCE = 0.8


class CrossConformal:
    """How unlike the reference an image looks, as a cross-conformal p-value (Vovk 2015; Barber et al. 2021).

    The reference, (N, D), is cut into ten folds of whole groups. The distance of a reference image is Mahalanobis',
    fitted on the other folds, with the covariance shrunk towards its diagonal; that of a new image is compared with
    those of each fold in the distance that was fitted without it. So every image serves for fitting and for
    calibration, and 100 of them are enough for p <= 0.01. Every group counts once: p is one, plus for each group the
    fraction of its images that are at least as far, over one more than there are groups (Lee, Barber & Willett 2023,
    "Distribution-free inference with hierarchical data").

    `groups`, int (N,) from 0, are in random order: group g lies in fold g modulo 10.

    >>> rng = np.random.default_rng(0)
    >>> known = CrossConformal(rng.normal(size=(120, 5)), np.arange(120))
    >>> float(known.p(np.full((1, 5), 9.0))[0]) < 0.01 < float(known.p(np.zeros((1, 5)))[0])
    True
    """

    def __init__(self, reference: NDArray[np.floating[Any]], groups: NDArray[np.integer[Any]]) -> None:
        values = np.asarray(reference, np.float64)
        own, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
        self.groups = len(sizes)
        weights = 1.0 / sizes[own]
        folds = own % FOLDS
        self._members = [np.flatnonzero(folds == k) for k in range(min(FOLDS, self.groups))]
        self._fits = [_fit(np.delete(values, rows, 0)) for rows in self._members]
        self._held_out = np.empty(len(values))
        self._ranked: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        for rows, fit in zip(self._members, self._fits, strict=True):
            far = _distance(values[rows], fit)
            order = np.argsort(far, kind="stable")
            # From each distance on: how many groups lie there. The last is beyond all of them.
            beyond = np.append(np.cumsum(weights[rows][order][::-1])[::-1], 0.0)
            self._ranked.append((far[order], beyond))
            self._held_out[rows] = far

    def p(self, looks: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the p-value of each image's numbers, (n, D)."""
        values = np.asarray(looks, np.float64)
        further = np.zeros(len(values))
        for (far, beyond), fit in zip(self._ranked, self._fits, strict=True):
            further += beyond[np.searchsorted(far, _distance(values, fit), "left")]
        found: NDArray[np.float64] = (1 + further) / (self.groups + 1)
        return found

    def held_out(self) -> NDArray[np.float64]:
        """Return the p-value of every reference image among the others, (N,): its distance by its own fold's fit."""
        found = np.empty(len(self._held_out))
        for rows in self._members:
            further = np.zeros(len(rows))
            for far, beyond in self._ranked:
                further += beyond[np.searchsorted(far, self._held_out[rows], "left")]
            # The image itself is among those that are at least as far.
            found[rows] = further / self.groups
        return found


def why_too_few(groups: int, images: int) -> str:
    """Return why so many groups cannot tell one image in a hundred, or nothing where they can.

    >>> why_too_few(40, 300)
    'the 300 reference images are of 40 groups; at least 100 are needed to recognise 1 image in 100 as unfamiliar'
    >>> why_too_few(100, 100)
    ''
    """
    if groups >= LEAST_GROUPS:
        return ""
    what = f"there are {images} reference images" if groups == images else _of_groups(images, groups)
    return f"{what}; at least {LEAST_GROUPS} are needed to recognise 1 image in 100 as unfamiliar"


def _of_groups(images: int, groups: int) -> str:
    return f"the {images} reference images are of {groups} group{'s' * (groups != 1)}"


def spread_over_groups(groups: NDArray[np.integer[Any]], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return at most `most` rows, int64 and sorted, drawn at random but as evenly over the groups, (N,), as can be.

    >>> spread_over_groups(np.array([0, 0, 0, 0, 1]), 2, np.random.default_rng(0)).tolist()[1]
    4
    """
    n = len(groups)
    if n <= most:
        return np.arange(n)
    order = rng.permutation(n)
    own = np.asarray(groups)[order]
    by_group = np.argsort(own, kind="stable")
    starts = np.searchsorted(own[by_group], own[by_group], "left")
    turn = np.empty(n, np.int64)
    turn[by_group] = np.arange(n) - starts
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def _fit(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centre (D,) and the inverse covariance (D, D) of reference images."""
    centre = np.median(values, 0)
    spread = values - centre
    cov = spread.T @ spread / max(1, len(spread) - 1)
    own = np.diag(np.diag(cov))
    shrunk = _OWN_COVARIANCE * cov + (1 - _OWN_COVARIANCE) * own + 1e-6 * np.eye(len(cov))
    # What never differs in the reference may differ by rounding, and no more.
    shrunk += np.diag(np.where(np.diag(cov) < 1e-9, 1e-2, 0.0))
    return centre, np.asarray(np.linalg.inv(shrunk), np.float64)


def _distance(looks: NDArray[np.float64], fit: tuple[NDArray[np.float64], NDArray[np.float64]]) -> NDArray[np.float64]:
    apart = looks - fit[0]
    found: NDArray[np.float64] = np.einsum("ni,ij,nj->n", apart, fit[1], apart)
    return found
