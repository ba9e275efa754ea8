"""How unlike the images that a model knows an image is, as a conformal p-value that few images are enough for."""

__all__ = [
    "FLAGGED",
    "FOLDS",
    "LEAST_GROUPS",
    "CrossConformal",
    "NearestConformal",
    "joined_p",
    "appearance_share",
    "spread_over_groups",
    "why_too_few",
]

from bisect import bisect_left
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLAGGED = 0.01
"""An image of this p-value or less is flagged as unfamiliar: of images like the reference, one in a hundred."""

FOLDS = 10

LEAST_GROUPS = 100
"""With fewer groups no p-value can be as small as `FLAGGED`."""

_OWN_COVARIANCE = 0.8
_LOOK_SHARE = 1 / 6


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
        own = np.unique(groups, return_inverse=True)[1].reshape(-1)
        folds = _folds(own)
        fits = [_fit(values[folds != k]) for k in range(int(folds.max()) + 1)]
        self._centres, self._inverses = (np.stack(part) for part in zip(*fits, strict=True))
        held_out = np.empty(len(values))
        for k in range(len(fits)):
            own_fit = slice(k, k + 1)
            (held_out[folds == k],) = _distances(values[folds == k], self._centres[own_fit], self._inverses[own_fit])
        self._ranked = _Ranked(held_out, own, folds)

    @property
    def groups(self) -> int:
        """The number of groups in the reference."""
        return self._ranked.groups

    def p(self, looks: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the p-value of each image's numbers, (n, D)."""
        values = np.asarray(looks, np.float64)
        return self._ranked.p(_distances(values, self._centres, self._inverses))

    def held_out(self) -> NDArray[np.float64]:
        """Return the p-value of every reference image among the others, (N,): its distance by its own fold's fit."""
        return self._ranked.held_out()


class NearestConformal:
    """How unlike the reference what a net knows of an image is, as a cross-conformal p-value.

    The distance is one minus the cosine to the nearest of the reference's features, (N, D), that are not of the fold
    (deep nearest neighbours: Sun et al. 2022): it finds a new class among images that look like the others. The net
    must not have been trained on the reference, whose features would be too near to those of its class. Groups and
    folds are those of `CrossConformal`.

    >>> rng = np.random.default_rng(0)
    >>> known = NearestConformal(rng.normal(size=(120, 3)) + [9, 0, 0], np.arange(120))
    >>> float(known.p(np.array([[-9.0, 0, 0]]))[0]) < 0.01 < float(known.p(np.array([[9.0, 0, 0]]))[0])
    True
    """

    def __init__(self, features: NDArray[np.floating[Any]], groups: NDArray[np.integer[Any]]) -> None:
        own = np.unique(groups, return_inverse=True)[1].reshape(-1)
        folds = _folds(own)
        # In the order of the folds, so that the largest of each is one reduction.
        self._order = np.argsort(folds, kind="stable")
        self._directions = _directions(features)[self._order]
        self._starts = np.searchsorted(folds[self._order], np.arange(int(folds.max()) + 1))
        held_out = np.empty(len(own))
        held_out[self._order] = self._distances(self._directions)[folds[self._order], np.arange(len(own))]
        self._ranked = _Ranked(held_out, own, folds)

    @property
    def groups(self) -> int:
        """The number of groups in the reference."""
        return self._ranked.groups

    def p(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the p-value of each image's features, (n, D)."""
        return self._ranked.p(self._distances(_directions(features)))

    def _distances(self, directions: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the distance of images, (n, D), from what is outside each fold, float64 (K, n)."""
        if len(self._starts) == 1:
            return np.ones((1, len(directions)))
        cosines = directions @ self._directions.T
        in_fold = np.maximum.reduceat(cosines, self._starts, axis=1).T.astype(np.float64)
        # The largest outside a fold is the largest of all, or the second where that lies in the fold.
        first, second = np.argsort(-in_fold, axis=0, kind="stable")[:2]
        images = np.arange(len(directions))
        outside = np.where(np.arange(len(in_fold))[:, None] == first, in_fold[second, images], in_fold[first, images])
        found: NDArray[np.float64] = 1.0 - outside
        return found


class _Ranked:
    """The distances of a reference, (N,), each measured without its own fold, against which others are ranked.

    `own` are the numbers of the groups from 0 on, `folds` the fold of each image. Every group counts once.
    """

    def __init__(self, held_out: NDArray[np.float64], own: NDArray[np.int64], folds: NDArray[np.int64]) -> None:
        weights = 1.0 / np.bincount(own)[own]
        self.groups = int(own.max()) + 1
        self._held_out, self._folds = held_out, folds
        self._by_fold: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        for k in range(int(folds.max()) + 1):
            far, share = held_out[folds == k], weights[folds == k]
            order = np.argsort(far, kind="stable")
            # From each distance on: how many groups lie there. The last is beyond all of them.
            beyond = np.append(np.cumsum(share[order][::-1])[::-1], 0.0)
            self._by_fold.append((far[order], beyond))
        # For one image, which a server asks of, lists are searched in a fraction of the time.
        self._listed = [(far.tolist(), beyond.tolist()) for far, beyond in self._by_fold]

    def p(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the p-values of images, (n,), from their distances in terms of each fold, (K, n)."""
        further = np.zeros(distances.shape[1])
        if len(further) == 1 and np.isfinite(distances).all():
            for (listed, shares), one in zip(self._listed, distances[:, 0].tolist(), strict=True):
                further[0] += shares[bisect_left(listed, one)]
        else:
            for (far, beyond), apart in zip(self._by_fold, distances, strict=True):
                further += beyond[np.searchsorted(far, apart, "left")]
        found: NDArray[np.float64] = (1 + further) / (self.groups + 1)
        return found

    def held_out(self) -> NDArray[np.float64]:
        further = np.zeros(len(self._held_out))
        for far, beyond in self._by_fold:
            further += beyond[np.searchsorted(far, self._held_out, "left")]
        # The image itself is among those that are at least as far.
        found: NDArray[np.float64] = further / self.groups
        return found


def appearance_share(look_groups: int, feature_groups: int) -> float | None:
    """Return the fraction of the false flags that the test of the appearance may raise where features are tested too;
    None where the groups are too few for two tests.

    Each test must be able to flag by itself: with a share s the smallest p-value of a test, one over one more than its
    groups, must not exceed s * FLAGGED. Within this the appearance gets a sixth: what it finds is far from the
    reference, and its reference is larger.

    >>> appearance_share(1400, 120), appearance_share(150, 150)
    (0.16666666666666666, None)
    """
    least, most = 1 / FLAGGED / (look_groups + 1), 1 - 1 / FLAGGED / (feature_groups + 1)
    return None if least > most else min(max(_LOOK_SHARE, least), most)


def joined_p(look: NDArray[np.float64], features: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return one p-value of two tests, (n,) each: the smaller by the weighted Bonferroni correction (Holm 1979).

    `share` is that of the appearance. Of images like the reference at most a fraction p have a value of p or less.

    >>> joined_p(np.array([0.001, 0.5]), np.array([0.5, 0.004]), 0.2).tolist()
    [0.005, 0.005]
    """
    return np.minimum(1.0, np.minimum(look / share, features / (1 - share)))


def why_too_few(groups: int, images: int, noun: str = "image") -> str:
    """Return why so many groups cannot tell one image in a hundred, or nothing where they can; `noun` is what they are
    called, such as "clip".

    >>> why_too_few(40, 300)
    'the 300 reference images are of 40 groups; at least 100 are needed to recognise 1 image in 100 as unfamiliar'
    >>> why_too_few(100, 100)
    ''
    """
    if groups >= LEAST_GROUPS:
        return ""
    what = f"there are {images} reference {noun}s" if groups == images else _of_groups(images, groups, noun)
    return f"{what}; at least {LEAST_GROUPS} are needed to recognise 1 {noun} in 100 as unfamiliar"


def _of_groups(images: int, groups: int, noun: str) -> str:
    return f"the {images} reference {noun}s are of {groups} group{'s' * (groups != 1)}"


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


def _folds(own: NDArray[np.int64]) -> NDArray[np.int64]:
    folds: NDArray[np.int64] = own % FOLDS
    return folds


def _directions(features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    values = np.asarray(features, np.float32)
    found: NDArray[np.float32] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return found


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


def _distances(
    looks: NDArray[np.float64], centres: NDArray[np.float64], inverses: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance of images, (n, D), in each of K fits, (K, n): the same bits for one image as among others.

    A product of matrices would be faster for many images, but rounds by their number, and an image of the reference
    must lie exactly as far as it does in the reference.
    """
    apart = looks[None] - centres[:, None]
    found: NDArray[np.float64] = np.einsum("kni,kij,knj->kn", apart, inverses, apart)
    return found
