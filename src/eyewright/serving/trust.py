"""Whether an answer may be trusted: images unlike those that the model knows, and sets with stated coverage."""

__all__ = ["FLAGGED", "Familiarity", "conformal_threshold", "familiarity_in"]

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError
from eyewright.imaging.appearance import LOOK
from eyewright.metrics.familiarity import FLAGGED, CrossConformal

_LEAST = 100


def familiarity_in(
    reference: Mapping[str, NDArray[Any]], about: Mapping[str, Any]
) -> tuple[Callable[[NDArray[np.float32]], float] | None, str]:
    """Return the p-value of one image's numbers, (LOOK,), as a function, or None and why there is none, in words.

    `reference` is the bundle's `reference.npz`, `about` what its manifest says of "familiarity". Bundles of earlier
    versions say nothing; they are asked as they were then.

    Raises:
        BundleError: the reference is not what the manifest says.
    """
    if not about:
        old = Familiarity.of(reference)
        return (None, _why_old(reference)) if old is None else (old.p, "")
    if about.get("method") != "cross-conformal":
        return None, str(about.get("reason") or "the bundle does not say why")
    looks, groups = reference.get("familiar"), reference.get("familiar_groups")
    if (
        looks is None
        or groups is None
        or looks.shape != (len(groups), LOOK)
        or not np.issubdtype(groups.dtype, np.integer)
        or not len(groups)
        or not np.isfinite(looks).all()
    ):
        raise BundleError("the bundle's reference images for familiarity are not valid", fix="export the model again")
    known = CrossConformal(looks, groups)
    return (lambda look: float(known.p(look[None])[0])), ""


def _why_old(reference: Mapping[str, NDArray[Any]]) -> str:
    looks = reference.get("appearance")
    if looks is None:
        return "the bundle holds no reference images; export the model again"
    return (
        f"the bundle was exported by an earlier version with {len(looks)} reference images, which needs "
        f"{2 * _LEAST}; export the model again"
    )


class Familiarity:
    """How unlike the reference an image looks, as a p-value: the test of bundles of earlier versions.

    The distance is Mahalanobis' in the numbers of `imaging.appearance`, with the covariance of one half of the
    reference shrunk towards its diagonal; the other half says which distances are usual, so that the
    p-value is a conformal one (Laxhammar & Falkman 2010): of images like the reference, a fraction of at most p have a
    p-value of p or less.

    >>> rng = np.random.default_rng(0)
    >>> known = Familiarity(rng.normal(size=(400, 5)).astype(np.float32))
    >>> known.p(np.full(5, 9.0, np.float32)) < 0.01 < known.p(np.zeros(5, np.float32))
    True
    """

    def __init__(self, reference: NDArray[np.float32]) -> None:
        values = np.asarray(reference, np.float64)
        # Every second one: validation images come in the order of their classes.
        self._centre = np.median(values[::2], 0)
        spread = values[::2] - self._centre
        cov = spread.T @ spread / max(1, len(spread) - 1)
        shrunk = 0.8 * cov + 0.2 * np.diag(np.diag(cov)) + 1e-6 * np.eye(len(cov))
        # What never differs in the reference may differ by rounding, and no more.
        shrunk += np.diag(np.where(np.diag(cov) < 1e-9, 1e-2, 0.0))
        self._inverse = np.linalg.inv(shrunk)
        self._usual = np.sort(self._distance(values[1::2]))

    def p(self, look: NDArray[np.float32]) -> float:
        """Return the p-value of one image's numbers, float32 (LOOK,)."""
        further = len(self._usual) - int(np.searchsorted(self._usual, self._distance(look[None])[0], "left"))
        return (1 + further) / (len(self._usual) + 1)

    def _distance(self, looks: NDArray[Any]) -> NDArray[np.float64]:
        apart = np.asarray(looks, np.float64) - self._centre
        found: NDArray[np.float64] = np.einsum("ni,ij,nj->n", apart, self._inverse, apart)
        return found

    @classmethod
    def of(cls, reference: Mapping[str, NDArray[Any]]) -> "Familiarity | None":
        """Return what the bundle's reference says; None where it holds too few images to tell 1 in 100."""
        looks = reference.get("appearance")
        if looks is None or looks.ndim != 2 or len(looks) < 2 * _LEAST or not np.isfinite(looks).all():
            return None
        return cls(looks)


def conformal_threshold(nonconformity: NDArray[np.floating[Any]], coverage: float) -> float | None:
    """Return what probability a class needs to be in the set, so that sets hold the true class with `coverage`.

    Split conformal prediction with the probability as score (Sadinle et al. 2019; Angelopoulos & Bates 2021); None
    where there are too few images for so much coverage.

    >>> conformal_threshold(np.linspace(0, 1, 99), 0.9)
    0.0918...
    """
    n = len(nonconformity)
    rank = math.ceil((n + 1) * coverage)
    if rank > n:
        return None
    return float(1 - np.sort(np.asarray(nonconformity, np.float64))[rank - 1])
