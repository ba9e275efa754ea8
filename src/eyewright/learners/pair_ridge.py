"""The closed form behind a model of pairs: tf-idf of the captions, its main directions, kernel ridge regression."""

__all__ = ["fit_ridge"]

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyewright.core.rng import generator
from eyewright.nets.pairs import BUCKETS, CENTRES, FIXED, PairBody, nearness, unit
from eyewright.nets.pixels import PixelNet

_DIRECTIONS_FROM, _DIRECTIONS = 3072, 1200
_BATCH = 256
_PENALTIES = (0.02, 0.05, 0.15, 0.5)
_WIDTHS = (0.5, 1.0, 2.0)


@torch.no_grad()
def fit_ridge(
    net: PixelNet,
    pixels: NDArray[np.uint8],
    texts: Sequence[Sequence[NDArray[np.int32]]],
    val_pixels: NDArray[np.uint8],
    val_texts: Sequence[Sequence[NDArray[np.int32]]],
    *,
    seed: int,
) -> dict[str, Any]:
    """Fit the fixed part to training images and the bucket numbers of each one's captions; without captions to the main
    directions of the features themselves. Penalty and width of the kernel are chosen on the validation images.

    Returns: what was chosen.
    """
    body: PairBody = net.body  # type: ignore[assignment]
    described = torch.cat([body.features.describe(x) for x in _batches(net, pixels)])
    body.features.fit(described)
    z = (described - body.features.centre) * body.features.scale
    captioned = any(own for own in texts)
    space = _captions(body, texts, seed) if captioned else None
    wanted = _main_directions(z, z) if space is None else space.wanted
    val_z = torch.cat([body.features(x) for x in _batches(net, val_pixels)])
    n = len(z)
    chosen = torch.arange(n)
    if n > CENTRES:
        chosen = torch.from_numpy(np.sort(generator(seed, "centres").permutation(n)[:CENTRES]))
    centres = z[chosen]
    body.centres.zero_()
    body.centres[: len(centres)] = centres
    apart, val_apart = body.features.squares(z, centres), body.features.squares(val_z, centres)
    usual = torch.stack([own[own > 1e-9].median() if bool((own > 1e-9).any()) else torch.ones(()) for own in apart])
    judged = None if space is None else _judge(space, val_texts)
    best: tuple[float, Tensor, float, Tensor] | None = None
    for width in _WIDTHS if judged is not None else (1.0,):
        gamma = width / usual.clamp(min=1e-9)
        kernel, val_kernel = _kernel(apart, gamma), _kernel(val_apart, gamma)
        for penalty in _PENALTIES if judged is not None else (0.05,):
            alpha = _solve(kernel, chosen, wanted.double(), penalty)
            score = 0.0 if judged is None else judged((val_kernel @ alpha).float())
            if best is None or score > best[0]:
                best = score, gamma, penalty, alpha.float()
    assert best is not None
    score, gamma, penalty, alpha = best
    body.decay.copy_(gamma)
    body.alpha.zero_()
    if space is not None:
        kernel = _kernel(apart, gamma)
        foretold = (
            _left_out(kernel, wanted.double(), alpha.double(), penalty) if n <= CENTRES else kernel @ alpha.double()
        )
        alpha = _reduced(body, space, foretold, alpha)
    body.alpha[: len(alpha)] = alpha
    return {
        "penalty": penalty,
        "gamma": [round(float(g), 6) for g in gamma],
        "centres": len(centres),
        "captions": sum(len(t) for t in texts),
    }


def _batches(net: PixelNet, pixels: NDArray[np.uint8]) -> Iterator[Tensor]:
    for start in range(0, len(pixels), _BATCH):
        yield net.scale(torch.from_numpy(np.ascontiguousarray(pixels[start : start + _BATCH])))


def _kernel(apart: Sequence[Tensor], gamma: Tensor) -> Tensor:
    """Return the mean of one kernel for each block of features, float64 (N, M), from squared distances in each."""
    kernels = [nearness(own, g) for g, own in zip(gamma, apart, strict=True)]
    return torch.stack(kernels).mean(0).double()


class _Space(NamedTuple):
    """The tf-idf space of the captions along its K main directions: what each bucket adds, (BUCKETS, K), the squared
    weight of each bucket, the mean of the captions, (K,), and the coordinates of each image's captions, (N, K)."""

    table: Tensor
    squares: Tensor
    middle: Tensor
    wanted: Tensor

    def vectors(self, numbers: Tensor) -> Tensor:
        """Return texts at length 1, (N, K), from bucket numbers (N, L)."""
        ids = numbers.long()
        length = self.squares[ids].sum(1, keepdim=True).clamp(min=1e-12).sqrt()
        return unit(torch.stack([self.table[own].sum(0) for own in ids]) / length - self.middle)


def _left_out(kernel: Tensor, wanted: Tensor, alpha: Tensor, penalty: float) -> Tensor:
    """Return what the ridge would predict for each of its images without having seen it, (N, K), in closed form."""
    inverse: Tensor = torch.linalg.inv(kernel + penalty * torch.eye(len(kernel), dtype=kernel.dtype))
    result: Tensor = wanted - alpha / inverse.diagonal()[:, None]
    return result


def _reduced(body: PairBody, space: _Space, foretold: Tensor, alpha: Tensor) -> Tensor:
    """Keep the FIXED directions in which predictions for images that were left out agree most with their captions
    (reduced-rank regression, Izenman 1975), in place: words that no image tells of need no room. Return the weights of
    the centres in these directions.

    Fitted values would not do: they are nearly the captions themselves, whatever of them can be predicted.
    """
    agreed = foretold.T @ space.wanted.double()
    _, vectors = torch.linalg.eigh(agreed + agreed.T)
    kept = vectors.flip(1)[:, :FIXED].float()
    kept = kept * torch.sign(kept[kept.abs().argmax(0), torch.arange(kept.shape[1])])
    rank = kept.shape[1]
    body.table.zero_()
    body.table[:, :rank] = space.table @ kept
    body.middle.zero_()
    body.middle[:rank] = space.middle @ kept
    result = torch.zeros(len(alpha), FIXED)
    result[:, :rank] = alpha @ kept
    return result


def _solve(kernel: Tensor, chosen: Tensor, wanted: Tensor, penalty: float) -> Tensor:
    """Return the weights of the centres: of all images as centres the usual ridge, of some of them Nyström's."""
    inner = kernel[chosen]
    eye = torch.eye(len(chosen), dtype=kernel.dtype)
    if len(chosen) == len(kernel):
        exact: Tensor = torch.linalg.solve(kernel + penalty * eye, wanted)
        return exact
    found: Tensor = torch.linalg.solve(kernel.T @ kernel + penalty * inner + 1e-6 * eye, kernel.T @ wanted)
    return found


def _captions(body: PairBody, texts: Sequence[Sequence[NDArray[np.int32]]], seed: int) -> _Space:
    """Fit the text side; what each image should give is the mean of its captions' coordinates, zeros without one."""
    flat = [numbers[numbers > 0] for own in texts for numbers in own]
    counts = np.zeros(BUCKETS)
    for numbers in flat:
        counts[numbers] += 1
    weight = np.log((1 + len(flat)) / (1 + counts)) + 1
    some = flat
    if len(flat) > _DIRECTIONS_FROM:
        some = [flat[i] for i in generator(seed, "directions").permutation(len(flat))[:_DIRECTIONS_FROM]]
    used = np.flatnonzero(counts)
    place = np.full(BUCKETS, -1)
    place[used] = np.arange(len(used))
    rows = np.zeros((len(some), len(used)), np.float32)
    for row, numbers in zip(rows, some, strict=True):
        row[place[numbers]] = weight[numbers]
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    directions = _directions(torch.from_numpy(rows))
    table = torch.zeros(BUCKETS, directions.shape[1])
    table[torch.from_numpy(used)] = directions * torch.from_numpy(weight[used]).float()[:, None]
    body.squares.copy_(torch.from_numpy(weight**2).float())
    body.squares[0] = 0
    coordinates = torch.zeros(len(texts), table.shape[1])
    for i, own in enumerate(texts):
        for numbers in own:
            ids = torch.from_numpy(numbers[numbers > 0]).long()
            coordinates[i] += table[ids].sum(0) / body.squares[ids].sum().sqrt() / len(own)
    told = torch.tensor([bool(own) for own in texts])
    middle = coordinates[told].mean(0)
    # Where all captions are one, the middle would leave nothing of them.
    if float((coordinates[told] - middle).abs().max()) <= 1e-4:
        middle = torch.zeros_like(middle)
    wanted = torch.where(told[:, None], coordinates - middle, torch.zeros(()))
    return _Space(table, body.squares.clone(), middle, wanted)


def _directions(rows: Tensor) -> Tensor:
    """Return the main directions of rows (n, V), (V, at most 1,200), their signs fixed."""
    values, vectors = torch.linalg.eigh((rows @ rows.T).double())
    keep = min(_DIRECTIONS, int((values > 1e-6 * values.max()).sum()))
    values, vectors = values.flip(0)[:keep], vectors.flip(1)[:, :keep]
    found = (rows.double().T @ (vectors / values.sqrt())).float()
    signed: Tensor = found * torch.sign(found[found.abs().argmax(0), torch.arange(keep)])
    return signed


def _main_directions(z: Tensor, rows: Tensor) -> Tensor:
    """Return the coordinates of features along their own main directions, each scaled to a deviation of 1."""
    values, vectors = torch.linalg.eigh((rows.T @ rows).double() / len(rows))
    keep = min(FIXED, int((values > 1e-5 * values.max()).sum()))
    values, vectors = values.flip(0)[:keep], vectors.flip(1)[:, :keep]
    found = torch.zeros(len(z), FIXED)
    # The square root keeps half of the differences between strong and weak directions.
    found[:, :keep] = (z.double() @ (vectors / values.pow(0.25))).float()
    return found


def _judge(space: _Space, texts: Sequence[Sequence[NDArray[np.int32]]]) -> Any:
    """Return how predicted coordinates of the validation images are judged: the mean recall at 1, 5 and 10."""
    told = [i for i, own in enumerate(texts) if own]
    if not told:
        return None
    numbers = torch.from_numpy(np.stack([texts[i][0] for i in told]))
    wanted = space.vectors(numbers)

    def score(found: Tensor) -> float:
        own = found[told]
        own = own / own.norm(dim=1, keepdim=True).clamp(min=1e-9)
        scores = wanted @ own.T
        rank = (scores > scores.diagonal()[:, None]).sum(1)
        return float(sum((rank < k).float().mean() for k in (1, 5, 10)))

    return score
