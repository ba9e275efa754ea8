"""The closed form behind a model of pairs: tf-idf of the captions, its main directions, kernel ridge regression."""

__all__ = ["fit_ridge"]

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyewright.core.rng import generator
from eyewright.nets.pairs import BUCKETS, CENTRES, FIXED, PairBody
from eyewright.nets.pixels import PixelNet

_DIRECTIONS_FROM = 3072
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
    wanted = _captions(body, texts, seed) if captioned else _main_directions(z, z)
    val_z = torch.cat([body.features(x) for x in _batches(net, val_pixels)])
    n = len(z)
    chosen = torch.arange(n)
    if n > CENTRES:
        chosen = torch.from_numpy(np.sort(generator(seed, "centres").permutation(n)[:CENTRES]))
    centres = z[chosen]
    body.centres.zero_()
    body.centres[: len(centres)] = centres
    distances, val_distances = _squares(z, centres), _squares(val_z, centres)
    usual = float(distances[distances > 1e-9].median()) if bool((distances > 1e-9).any()) else 1.0
    judged = _judge(body, val_texts) if captioned else None
    best: tuple[float, float, float, Tensor] | None = None
    for width in _WIDTHS if judged is not None else (1.0,):
        gamma = width / max(usual, 1e-9)
        kernel, val_kernel = torch.exp(-gamma * distances).double(), torch.exp(-gamma * val_distances).double()
        for penalty in _PENALTIES if judged is not None else (0.05,):
            alpha = _solve(kernel, chosen, wanted.double(), penalty)
            score = 0.0 if judged is None else judged((val_kernel @ alpha).float())
            if best is None or score > best[0]:
                best = score, gamma, penalty, alpha.float()
    assert best is not None
    score, gamma, penalty, alpha = best
    body.gamma.fill_(gamma)
    body.alpha.zero_()
    body.alpha[: len(alpha)] = alpha
    return {"penalty": penalty, "gamma": gamma, "centres": len(centres), "captions": sum(len(t) for t in texts)}


def _batches(net: PixelNet, pixels: NDArray[np.uint8]) -> Iterator[Tensor]:
    for start in range(0, len(pixels), _BATCH):
        yield net.scale(torch.from_numpy(np.ascontiguousarray(pixels[start : start + _BATCH])))


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return ((a * a).sum(1, keepdim=True) + (b * b).sum(1) - 2 * a @ b.T).clamp(min=0)


def _solve(kernel: Tensor, chosen: Tensor, wanted: Tensor, penalty: float) -> Tensor:
    """Return the weights of the centres: of all images as centres the usual ridge, of some of them Nyström's."""
    inner = kernel[chosen]
    eye = torch.eye(len(chosen), dtype=kernel.dtype)
    if len(chosen) == len(kernel):
        exact: Tensor = torch.linalg.solve(kernel + penalty * eye, wanted)
        return exact
    found: Tensor = torch.linalg.solve(kernel.T @ kernel + penalty * inner + 1e-6 * eye, kernel.T @ wanted)
    return found


def _captions(body: PairBody, texts: Sequence[Sequence[NDArray[np.int32]]], seed: int) -> Tensor:
    """Fit the text side; return for each image the mean of its captions' coordinates, (N, FIXED); zeros without one."""
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
    table = torch.zeros(BUCKETS, FIXED)
    table[torch.from_numpy(used), : directions.shape[1]] = directions * torch.from_numpy(weight[used]).float()[:, None]
    body.table.copy_(table)
    body.squares.copy_(torch.from_numpy(weight**2).float())
    body.squares[0] = 0
    body.middle.zero_()
    coordinates = torch.zeros(len(texts), FIXED)
    for i, own in enumerate(texts):
        for numbers in own:
            ids = torch.from_numpy(numbers[numbers > 0]).long()
            coordinates[i] += body.table[ids].sum(0) / body.squares[ids].sum().sqrt() / len(own)
    told = torch.tensor([bool(own) for own in texts])
    middle = coordinates[told].mean(0)
    # Where all captions are one, the middle would leave nothing of them.
    if float((coordinates[told] - middle).abs().max()) > 1e-4:
        body.middle.copy_(middle)
    return torch.where(told[:, None], coordinates - body.middle, torch.zeros(()))


def _directions(rows: Tensor) -> Tensor:
    """Return the main directions of rows (n, V), (V, at most FIXED), their signs fixed."""
    values, vectors = torch.linalg.eigh((rows @ rows.T).double())
    keep = min(FIXED, int((values > 1e-6 * values.max()).sum()))
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


def _judge(body: PairBody, texts: Sequence[Sequence[NDArray[np.int32]]]) -> Any:
    """Return how predicted coordinates of the validation images are judged: the mean recall at 1, 5 and 10."""
    told = [i for i, own in enumerate(texts) if own]
    if not told:
        return None
    numbers = torch.from_numpy(np.stack([texts[i][0] for i in told]))
    wanted = body.text_parts(numbers)[0]

    def score(found: Tensor) -> float:
        own = found[told]
        own = own / own.norm(dim=1, keepdim=True).clamp(min=1e-9)
        scores = wanted @ own.T
        rank = (scores > scores.diagonal()[:, None]).sum(1)
        return float(sum((rank < k).float().mean() for k in (1, 5, 10)))

    return score
