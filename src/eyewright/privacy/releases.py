"""What is released of fixed features once, with noise, before training: their mean and their second moments."""

__all__ = ["planned_releases", "release_statistics"]

import math

import torch
from torch import Tensor

from eyewright.nets.private import DIRECTIONS, FeatureNet
from eyewright.privacy.accounting import Steps
from eyewright.privacy.sampling import noise_of

_MEAN_NOISE, _MOMENT_NOISE = 6.0, 8.0
_MOST_FEATURES = 5000
_MOST_ERROR = 0.25
_EDGE_SHARE = 1.1
_DAMPING = 0.02
_ITERATIONS = 30
_BLOCK = 4096


def planned_releases(n: int, size: int) -> tuple[Steps, ...]:
    """Return what is released of n vectors of `size` features: nothing, the mean, or the mean and the second moments.

    Decided by the two numbers alone: a release is left out where its noise would be too large for vectors of
    length 1.
    """
    if _MEAN_NOISE * size**0.5 / n > _MOST_ERROR:
        return ()
    mean = (Steps(_MEAN_NOISE, 1.0, 1),)
    if size > _MOST_FEATURES or _edge(n, size) > _MOST_ERROR / 2:
        return mean
    return (*mean, Steps(_MOMENT_NOISE, 1.0, 1))


def release_statistics(
    body: FeatureNet, features: Tensor, secret: bytes, planned: tuple[Steps, ...], *, weights: Tensor | None = None
) -> None:
    """Set `centre`, `basis` and `gains` of a net from the features of the training images, (n, F), of length 1.

    The second moments are released as a whole, with noise on each of them (Dwork et al. 2014, "Analyze Gauss"):
    the upper triangle of x xᵀ has length 1 at most. What is computed from them, the leading directions, costs nothing.
    `weights` (n,) add up to 1 for each unit of privacy, whose part then has length 1 at most too; by default each row
    is one.
    """
    size = features.shape[1]
    weights = torch.ones(len(features)) if weights is None else weights
    n, rows = round(float(weights.double().sum())), len(features)
    if not planned:
        return
    total = torch.zeros(size)
    for start in range(0, rows, _BLOCK):
        part = _at_most_unit(features[start : start + _BLOCK].float())
        total += (part * weights[start : start + _BLOCK, None]).sum(0)
    (noise,) = noise_of(secret, -1, [total], deviation=planned[0].noise)
    body.centre.copy_((total + noise) / n)
    if len(planned) < 2:
        return
    moments = torch.zeros(size, size)
    for start in range(0, rows, _BLOCK):
        # No gains yet: the features as they are, less the released mean.
        part = _at_most_unit(body.centred(features[start : start + _BLOCK].float()))
        moments.addmm_(part.T, part * weights[start : start + _BLOCK, None])
    (noise,) = noise_of(secret, -2, [moments], deviation=planned[1].noise)
    upper = torch.triu(moments + noise)
    moments = (upper + torch.triu(upper, 1).T) / n
    values, vectors = _leading(moments)
    kept = values > _EDGE_SHARE * _edge(n, size)
    gains = torch.where(kept, (_DAMPING / (values.clamp(min=0) + _DAMPING)).sqrt() - 1, torch.zeros(()))
    body.basis.copy_(vectors)
    body.gains.copy_(gains)


def _edge(n: int, size: int) -> float:
    """Return the largest eigenvalue that the noise alone has (Wigner's semicircle)."""
    return 2 * math.sqrt(size) * _MOMENT_NOISE / n


def _leading(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the leading eigenvalues and eigenvectors of a symmetric matrix, the largest first, by iterating on a
    subspace that always begins in the same place."""
    most = min(DIRECTIONS, len(matrix))
    rng = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(len(matrix), most, generator=rng)).Q
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr(matrix @ basis).Q
    values, turn = torch.linalg.eigh(basis.T @ matrix @ basis)
    values, vectors = values.flip(0), (basis @ turn).flip(1)
    if most == DIRECTIONS:
        return values, vectors
    room = DIRECTIONS - most
    return torch.cat([values, torch.zeros(room)]), torch.cat([vectors, torch.zeros(len(matrix), room)], 1)


def _at_most_unit(x: Tensor) -> Tensor:
    """Return vectors cut to length 1, which holds whatever rounding did."""
    found: Tensor = x / x.norm(dim=1, keepdim=True).clamp(min=1.0)
    return found
