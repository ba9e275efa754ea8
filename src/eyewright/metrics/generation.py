"""How good, how varied and how new generated images are, from features of real and of generated ones.

Everything here takes features, (N, D), of one encoder; numbers of two encoders are never comparable. Squared distances
in few dimensions are computed in float64, in blocks.
"""

__all__ = [
    "CopyTest",
    "Frechet",
    "Neighbourhoods",
    "copy_test",
    "coverage_of_sets",
    "frechet_distance",
    "kernel_distance",
    "measure_features",
    "mean_metric",
    "neighbourhoods",
]

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.report import Metric
from eyewright.metrics.bootstrap import bootstrap_weights, percentile_interval, rate_metric
from eyewright.metrics.novelty import nearness

Floats = NDArray[np.float64]

_CUT = 1e-10
_BLOCK = 8_000_000
_NEIGHBOURS = 5
_MOST_KERNEL = 2_000
_NEAR_PERCENT = 1.0


@dataclass(frozen=True)
class Frechet:
    """The Fréchet distance of two sets of features, and how many features it leaves out because they are the same
    constant in both sets, such as dead units of ReLU."""

    value: float
    dropped: int


def frechet_distance(real: NDArray[Any], generated: NDArray[Any]) -> Frechet:
    """Return the Fréchet distance of normal distributions with the means and covariances of features (N, D) and (M, D).

    Heusel et al. 2017: |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½). The last trace is the sum of the roots of the
    eigenvalues of C1^½ C2 C1^½, which is symmetric: the square root of the product C1 C2 itself is inaccurate where a
    covariance is singular. Eigenvalues below 1e-10 of the largest count as 0.

    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=(50_000, 3))
    >>> round(frechet_distance(a, a + [1, 2, 0]).value, 6)
    5.0

    Raises:
        UsageError: the sets have other numbers of features, or fewer than two images.
    """
    a, b = _pair(real, generated)
    kept = _varied(a, b)
    value = _frechet(*_moments(a[:, kept]), *_moments(b[:, kept]))
    return Frechet(value, int((~kept).sum()))


def kernel_distance(real: NDArray[Any], generated: NDArray[Any]) -> float:
    """Return the kernel distance (KID, Bińkowski et al. 2018): the unbiased squared maximum mean discrepancy under the
    kernel (x·y / D + 1)³; around 0 for two samples of one distribution, and it may be negative.

    >>> rng = np.random.default_rng(0)
    >>> abs(kernel_distance(rng.normal(size=(500, 4)), rng.normal(size=(500, 4)))) < 0.1
    True

    Raises:
        UsageError: the sets have other numbers of features, or fewer than two images.
    """
    a, b = _pair(real, generated)
    value = float(_KernelSums(a, b)(np.ones((1, len(a))), np.ones((1, len(b))))[0])
    return value


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """What the manifold measures are means of: of each generated image whether it lies in the neighbourhood of a real
    one (`precise`, bool (M,)) and in how many divided by k (`dense`, (M,)); of each real image whether it lies in the
    neighbourhood of a generated one (`recalled`, bool (N,)) and whether a generated one lies in its own (`covered`)."""

    precise: NDArray[np.bool_]
    dense: Floats
    recalled: NDArray[np.bool_]
    covered: NDArray[np.bool_]


def neighbourhoods(real: NDArray[Any], generated: NDArray[Any], *, k: int = _NEIGHBOURS) -> Neighbourhoods:
    """Return who lies in whose neighbourhood: the ball up to the k-th nearest image of the same set.

    Their means are precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Raises:
        UsageError: the sets have other numbers of features, or at most `k` images.
    """
    a, b = _pair(real, generated, least=k + 1)
    own, theirs = _radii(a, k), _radii(b, k)
    precise, dense = np.zeros(len(b), bool), np.zeros(len(b))
    recalled, covered = np.zeros(len(a), bool), np.zeros(len(a), bool)
    for rows, apart in _distances(a, b):
        within = apart < own[rows, None]
        precise |= within.any(0)
        dense += within.sum(0)
        covered[rows] = within.any(1)
        recalled[rows] = (apart < theirs[None]).any(1)
    return Neighbourhoods(precise, dense / k, recalled, covered)


def coverage_of_sets(real: NDArray[Any], sets: Sequence[NDArray[Any]], *, k: int = _NEIGHBOURS) -> list[float]:
    """Return the coverage of real images by each of several sets of features, (M, D), as `neighbourhoods` finds it;
    the distances among the real images are measured once.

    >>> rng = np.random.default_rng(0)
    >>> real, new = rng.normal(size=(50, 4)), rng.normal(size=(20, 4))
    >>> coverage_of_sets(real, [new]) == [neighbourhoods(real, new).covered.mean()]
    True

    Raises:
        UsageError: the sets have other numbers of features, or there are at most `k` real images.
    """
    pairs = [_pair(real, one, least=1) for one in sets]
    a, _ = _pair(real, real, least=k + 1)
    own = _radii(a, k)
    found = []
    for _, b in pairs:
        covered = [(apart < own[rows, None]).any(1) for rows, apart in _distances(a, b)]
        found.append(float(np.concatenate(covered).mean()))
    return found


@dataclass(frozen=True, eq=False)
class CopyTest:
    """How near generated images are to the training images: the `distance` of each to the nearest, (M,), the `limit`
    that one per cent of the held-out images are below, and whether each is below it (`near`, bool (M,))."""

    distance: Floats
    limit: float
    near: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """The fraction of the generated images that are nearer than the limit; 0.01 for images as new as held-out
        ones."""
        return float(self.near.mean()) if len(self.near) else 0.0


def copy_test(train: NDArray[Any], held_out: NDArray[Any], generated: NDArray[Any]) -> CopyTest:
    """Test generated images for copies of training images, all by features or pixels, (N, D).

    Held-out images were not learnt from; how near they come to the training images shows what is usual. A generated
    image that is nearer than 99 per cent of them is suspected to be a copy.

    >>> rng = np.random.default_rng(0)
    >>> train, held, new = (rng.normal(size=(500, 8)) for _ in range(3))
    >>> new[:50] = train[:50] + 1e-3
    >>> bool(copy_test(train, held, new).near[:50].all())
    True

    Raises:
        UsageError: no training or no held-out image.
    """
    if not len(train) or not len(held_out):
        raise UsageError("expected training and held-out images to test for copies, found none", fix="pass both")
    usual = nearness(held_out, train).distance
    limit = float(np.percentile(usual[np.isfinite(usual)], _NEAR_PERCENT))
    distance = nearness(generated, train).distance
    with np.errstate(invalid="ignore"):
        # Equal pictures are 0 apart, and so may be one per cent of the held-out ones in sets with duplicates.
        near = (distance < limit) | (distance == 0)
    return CopyTest(distance, limit, near)


def measure_features(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    rng: np.random.Generator,
    replicates: int = 200,
    k: int = _NEIGHBOURS,
) -> tuple[dict[str, Metric], int]:
    """Return "fid", "kid", "precision", "recall", "density" and "coverage" of generated against real features, each
    with its bootstrap interval, and how many constant features the Fréchet distance left out.

    Both sets are resampled for the distances, for the shares the set that they are a mean over; the neighbourhoods stay
    as they were measured. The kernel distance is of at most 2,000 images a set, evenly spaced.
    """
    a, b = _pair(real, generated, least=k + 1)
    kept = _varied(a, b)
    found = {"fid": _distance_metric(_FrechetSums(a[:, kept], b[:, kept]), len(a), len(b), rng, replicates)}
    few, fewer = _at_most(a, _MOST_KERNEL), _at_most(b, _MOST_KERNEL)
    found["kid"] = _distance_metric(_KernelSums(few, fewer), len(few), len(fewer), rng, replicates)
    near = neighbourhoods(a, b, k=k)
    found["precision"] = rate_metric(near.precise)
    found["recall"] = rate_metric(near.recalled)
    found["density"] = mean_metric(near.dense, rng=rng, replicates=replicates)
    found["coverage"] = rate_metric(near.covered)
    return found, int((~kept).sum())


def mean_metric(values: Floats, *, rng: np.random.Generator, replicates: int = 200) -> Metric:
    """Return a mean over images with its bootstrap interval; not defined without images."""
    n = len(values)
    if not n:
        return Metric(None, n=0)
    drawn = [w @ values / n for w in bootstrap_weights(n, replicates=replicates, rng=rng)]
    low, high = percentile_interval(np.concatenate(drawn))
    return Metric(float(values.mean()), low, high, n)


def _distance_metric(
    sums: "_FrechetSums | _KernelSums", n: int, m: int, rng: np.random.Generator, replicates: int
) -> Metric:
    """Return a distance of two sets with a bootstrap interval over both.

    A resample holds images twice and so lies farther from anything than the sample does; the replicates are moved by
    the difference of their mean from the value, so that the interval lies around it.
    """
    value = float(sums(np.ones((1, n)), np.ones((1, m)))[0])
    pairs = zip(
        bootstrap_weights(n, replicates=replicates, rng=rng),
        bootstrap_weights(m, replicates=replicates, rng=rng),
        strict=False,
    )
    drawn = [sums(u[: len(v)], v[: len(u)]) for u, v in pairs]
    replicated = np.concatenate(drawn)
    low, high = percentile_interval(replicated - replicated.mean() + value)
    least = 0.0 if isinstance(sums, _FrechetSums) else -math.inf
    return Metric(value, max(least, low), high, min(n, m))


class _FrechetSums:
    """The Fréchet distance under weights of the images of both sets, (R, n) and (R, m) to (R,)."""

    def __init__(self, a: Floats, b: Floats) -> None:
        self.a, self.b = a, b

    def __call__(self, left: Floats, right: Floats) -> Floats:
        pairs = zip(left, right, strict=True)
        return np.array([_frechet(*_moments(self.a, u), *_moments(self.b, v)) for u, v in pairs])


class _KernelSums:
    """The unbiased kernel distance under weights of the images of both sets; an image is never compared with itself."""

    def __init__(self, a: Floats, b: Floats) -> None:
        self.xx, self.yy, self.xy = (_kernel(p, q) for p, q in ((a, a), (b, b), (a, b)))

    def __call__(self, left: Floats, right: Floats) -> Floats:
        within = [self._within(k, w) for k, w in ((self.xx, left), (self.yy, right))]
        between = ((left @ self.xy) * right).sum(1) / (left.sum(1) * right.sum(1))
        found: Floats = within[0] + within[1] - 2 * between
        return found

    @staticmethod
    def _within(kernel: Floats, weights: Floats) -> Floats:
        same = (weights**2 @ np.diag(kernel)[:, None])[:, 0]
        whole = ((weights @ kernel) * weights).sum(1)
        found: Floats = (whole - same) / (weights.sum(1) ** 2 - (weights**2).sum(1))
        return found


def _kernel(a: Floats, b: Floats) -> Floats:
    found: Floats = (a @ b.T / a.shape[1] + 1) ** 3
    return found


def _pair(real: NDArray[Any], generated: NDArray[Any], *, least: int = 2) -> tuple[Floats, Floats]:
    a, b = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise UsageError(f"expected features (N, D) of one encoder, found {a.shape} and {b.shape}")
    if min(len(a), len(b)) < least:
        raise UsageError(
            f"expected {least} or more real and generated images, found {len(a)} and {len(b)}", fix="use more images"
        )
    return a, b


def _varied(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Return which features are not the same constant in both sets; those add exactly 0 to the distance."""
    found: NDArray[np.bool_] = (np.ptp(a, axis=0) > 0) | (np.ptp(b, axis=0) > 0) | (a[0] != b[0])
    return found


def _moments(x: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Return mean and covariance (unbiased, as numpy's) of features under whole numbers of times that each is drawn."""
    w = np.ones(len(x)) if weights is None else weights
    total = w.sum()
    mean = w @ x / total
    centred = x - mean
    return mean, (centred * w[:, None]).T @ centred / (total - 1)


def _frechet(mean: Floats, cov: Floats, other_mean: Floats, other_cov: Floats) -> float:
    if not len(mean):
        return 0.0
    values, vectors = np.linalg.eigh(cov)
    root = (vectors * np.sqrt(_cut(values))) @ vectors.T
    cross = np.sqrt(_cut(np.linalg.eigvalsh(root @ other_cov @ root))).sum()
    apart = mean - other_mean
    return max(0.0, float(apart @ apart + np.trace(cov) + np.trace(other_cov) - 2 * cross))


def _cut(values: Floats) -> Floats:
    found: Floats = np.where(values > _CUT * max(float(values.max(initial=0.0)), 0.0), values, 0.0)
    return found


def _radii(x: Floats, k: int) -> Floats:
    """Return the distance of each image to the k-th nearest other image of the same set."""
    found = np.zeros(len(x))
    for rows, apart in _distances(x, x):
        # The nearest is the image itself.
        found[rows] = np.partition(apart, k, axis=1)[:, k]
    return found


def _distances(a: Floats, b: Floats) -> Iterator[tuple[slice, Floats]]:
    """Yield Euclidean distances of some rows of `a` to all of `b`."""
    lengths = np.einsum("md,md->m", b, b)
    size = max(1, _BLOCK // len(b))
    for start in range(0, len(a), size):
        rows = slice(start, min(start + size, len(a)))
        own = a[rows]
        squares = np.einsum("nd,nd->n", own, own)[:, None] + lengths[None] - 2 * (own @ b.T)
        if a is b:
            # Rounding must not make an image farther from itself than from another.
            squares[np.arange(len(own)), np.arange(rows.start, rows.stop)] = 0.0
        yield rows, np.sqrt(np.maximum(squares, 0.0))


def _at_most(x: Floats, most: int) -> Floats:
    return x if len(x) <= most else x[np.linspace(0, len(x) - 1, most).round().astype(int)]
