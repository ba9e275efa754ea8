"""Whether an answer may be trusted: images unlike those that the model knows, and sets with stated coverage."""

__all__ = ["FLAGGED", "Familiarity", "Known", "familiarity_in", "sets_in"]

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError
from eyewright.imaging.appearance import LOOK
from eyewright.metrics.conformal import By, LabelSets, Method, least_for_coverage
from eyewright.metrics.familiarity import FLAGGED, CrossConformal, NearestConformal, joined_p

_LEAST = 100


class Known:
    """How unlike the images that a model knows an image is: a p-value from what it looks like, float32 (LOOK,), and
    from what the net knows of it, float32 (D,), where the bundle compares that too."""

    def __init__(
        self, look: "CrossConformal | Familiarity", features: NearestConformal | None = None, *, share: float = 1.0
    ) -> None:
        self._look, self._features, self._share = look, features, share

    @property
    def features(self) -> bool:
        """Whether what the net knows of an image is compared as well."""
        return self._features is not None

    def p(self, look: NDArray[np.float32], features: NDArray[np.float32] | None = None) -> float:
        """Return the p-value of one image.

        Raises:
            ValueError: the bundle compares features, and none are given.
        """
        if isinstance(self._look, Familiarity):
            return self._look.p(look)
        own = self._look.p(look[None])
        if self._features is None:
            return float(own[0])
        if features is None:
            raise ValueError("expected the features of the image, found none: load the bundle with features=True")
        return float(joined_p(own, self._features.p(features[None]), self._share)[0])


def familiarity_in(reference: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> tuple[Known | None, str]:
    """Return the test of a bundle, or None and why there is none, in words.

    `reference` is the bundle's `reference.npz`, `about` what its manifest says of "familiarity". Bundles of earlier
    versions say nothing; they are asked as they were then.

    Raises:
        BundleError: the reference is not what the manifest says.
    """
    if not about:
        old = Familiarity.of(reference)
        return (None, _why_old(reference)) if old is None else (Known(old), "")
    if about.get("method") != "cross-conformal":
        return None, str(about.get("reason") or "the bundle does not say why")
    looks, groups = reference.get("familiar"), reference.get("familiar_groups")
    if (
        looks is None
        or groups is None
        or looks.shape != (len(groups), LOOK)
        or not np.issubdtype(groups.dtype, np.integer)
        or not len(groups)
        or groups.min() < 0
        or not np.isfinite(looks).all()
    ):
        raise _invalid()
    near = about.get("features")
    if not near:
        return Known(CrossConformal(looks, groups)), ""
    features, own = reference.get("familiar_features"), reference.get("familiar_feature_groups")
    if (
        features is None
        or own is None
        or own.ndim != 1
        or features.shape != (len(own), near["dimensions"])
        or not np.issubdtype(own.dtype, np.integer)
        or not len(own)
        or own.min() < 0
        or not np.isfinite(features).all()
    ):
        raise _invalid()
    return Known(CrossConformal(looks, groups), NearestConformal(features, own), share=near["appearance_share"]), ""


def _invalid() -> BundleError:
    return BundleError("the bundle's reference images for familiarity are not valid", fix="export the model again")


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


def sets_in(
    reference: Mapping[str, NDArray[Any]],
    n_classes: int,
    *,
    coverage: float,
    method: Method = "threshold",
    by: By = "all",
) -> LabelSets:
    """Return the conformal sets of a bundle, whose `reference.npz` holds how its validation images were classified.

    Bundles of earlier versions hold the scores of the method "threshold" alone, without classes and groups.

    Raises:
        UsageError: the bundle does not hold what these sets need, or too few images for so much coverage.
        BundleError: the reference is not valid.
    """
    scores = reference.get("nonconformity" if method == "threshold" else "set_above")
    labels, groups = reference.get("set_labels"), reference.get("set_groups")
    if scores is None or (labels is None and by == "class"):
        raise UsageError(
            "expected a bundle with the numbers that prediction sets need, found none in this one",
            fix="leave coverage out, or export the run again",
        )
    n = len(scores)
    if labels is None:
        labels = np.zeros(n, np.int64)
    if (
        scores.ndim != 1
        or any(a is not None and (a.shape != (n,) or not np.issubdtype(a.dtype, np.integer)) for a in (labels, groups))
        or not np.isfinite(scores).all()
        or (n and not 0 <= labels.min() <= labels.max() < n_classes)
    ):
        raise BundleError("the bundle's numbers for prediction sets are not valid", fix="export the model again")
    found = LabelSets.fit(scores, labels, n_classes, coverage=coverage, method=method, by=by, groups=groups)
    if found is None:
        n_groups = n if groups is None else len(np.unique(groups))
        what = f"{n} validation images" if n_groups == n else f"{n_groups} groups of validation images"
        each = " of any class" if by == "class" else ""
        raise UsageError(
            f"{what} are too few for a coverage of {coverage}, which needs {least_for_coverage(coverage)}{each}",
            fix="ask for less coverage",
        )
    return found
