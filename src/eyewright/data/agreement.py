"""Compare the marks of two copies of one picture, only where the pictures agree: what has moved is no error."""

__all__ = ["Overlay", "Turn", "best_turn", "boxes_differ", "marks_differ", "masks_differ"]

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import EyewrightError

if TYPE_CHECKING:
    from eyewright.data.dataset import Dataset
    from eyewright.data.targets.objects import Objects

_SIDE = 256
_ALIKE = 0.9
_OVERLAP = 0.5
_LEAST_SHARE = 0.002
_LEAST_PIXELS = 12
_SLACK = 2
_AGREEING = 0.9
_LEVELS = 10.0


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to lay a picture: transposed, then turned over by rows, by columns."""

    transposed: bool = False
    rows: bool = False
    columns: bool = False

    @property
    def plain(self) -> bool:
        return not (self.transposed or self.rows or self.columns)

    def apply(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the picture, (H, W), laid this way."""
        laid = pixels.T if self.transposed else pixels
        return laid[:: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return boxes x0 y0 x1 y1 in fractions of the sides, (n, 4), laid this way."""
        x0, y0, x1, y1 = boxes.T
        if self.transposed:
            x0, y0, x1, y1 = y0, x0, y1, x1
        if self.rows:
            y0, y1 = 1 - y1, 1 - y0
        if self.columns:
            x0, x1 = 1 - x1, 1 - x0
        return np.stack([x0, y0, x1, y1], 1)


@dataclass(frozen=True, eq=False)
class Overlay:
    """Two copies of one picture, the second laid over the first.

    `pair` are their numbers, `sizes` their (height, width); `agreeing`, bool of the common `grid`, is where they show
    the same.
    """

    pair: tuple[int, int]
    sizes: tuple[tuple[int, int], tuple[int, int]]
    grid: tuple[int, int]
    turn: Turn
    agreeing: NDArray[np.bool_]


_TURNS = tuple(Turn(t, r, c) for t in (False, True) for r in (False, True) for c in (False, True))


def best_turn(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[Turn, float]:
    """Return how `b` must be laid to look like `a`, grey thumbnails of one size, and the correlation then.

    The plain way wins where another is hardly better.

    >>> a = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    >>> best_turn(a, a[:, ::-1])[0]
    Turn(transposed=False, rows=False, columns=True)
    """
    scores = [_correlation(a, turn.apply(b)) for turn in _TURNS]
    if scores[0] >= max(scores) - 0.01:
        return _TURNS[0], scores[0]
    best = int(np.argmax(scores))
    return _TURNS[best], scores[best]


def marks_differ(
    dataset: "Dataset",
    first: int,
    second: int,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    turn: Turn,
    *,
    same: bool,
) -> str | None:
    """Return how the marks of two copies of one picture differ, in a phrase; None if they agree or cannot be compared.

    `sizes` are (height, width) of the two; `turn` lays the second over the first; `same` says that their bytes are
    equal. Marks are compared only where the pictures show the same: a car that has come or gone is no difference.
    """
    differ = dataset.kind.differ
    if differ is None:
        return None
    height, width = sizes[0]
    scale = min(1.0, _SIDE / max(height, width))
    grid = max(1, round(height * scale)), max(1, round(width * scale))
    try:
        agreeing = np.ones(grid, bool) if same else _agreeing(dataset, first, second, grid, turn)
        if agreeing is None:
            return None
        return differ(dataset, Overlay((first, second), sizes, grid, turn, agreeing))
    except EyewrightError:
        return None


def _correlation(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    x, y = (v.astype(np.float64) - v.mean(dtype=np.float64) for v in (a, b))
    length = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / length) if length > 0 else 0.0


def _agreeing(
    dataset: "Dataset", first: int, second: int, grid: tuple[int, int], turn: Turn
) -> NDArray[np.bool_] | None:
    """Return where two pictures show the same on a common grid; None if they do not lie over each other."""
    own = grid[::-1] if turn.transposed else grid
    a = _grey(dataset, first, grid)
    b = turn.apply(_grey(dataset, second, own)).astype(np.float64)
    if _correlation(a, b) < _ALIKE:
        return None
    # Exposure may differ: gain and offset are fitted, then once more without what does not fit.
    fitting = np.ones(grid, bool)
    off = np.zeros(grid)
    for _ in range(3):
        gain, offset = np.polyfit(b[fitting], a[fitting], 1) if b[fitting].std() > 0 else (1.0, 0.0)
        off = np.abs(a - (gain * b + offset))
        fitting = off <= max(_LEVELS, 2 * float(np.median(off)))
        if fitting.sum() < 16:
            return None
    result: NDArray[np.bool_] = _mean3(off) <= np.clip(3 * float(np.median(off)), _LEVELS, 3 * _LEVELS)
    return result


def _mean3(values: NDArray[np.floating]) -> NDArray[np.float64]:
    padded = np.pad(values.astype(np.float64), 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean: NDArray[np.float64] = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return mean


def _grey(dataset: "Dataset", index: int, grid: tuple[int, int]) -> NDArray[np.float64]:
    picture = dataset.picture(index).convert("L").resize(grid[::-1], Image.Resampling.BOX)
    return np.asarray(picture, np.float64)


def masks_differ(dataset: "Dataset", overlay: Overlay) -> str | None:
    """Return how the masks of two copies differ, in a phrase; None if they agree."""
    pair, sizes, grid, turn, agreeing = overlay.pair, overlay.sizes, overlay.grid, overlay.turn, overlay.agreeing
    own = grid[::-1] if turn.transposed else grid
    a = _sampled(dataset.mask(pair[0], sizes[0]), grid)
    b = turn.apply(_sampled(dataset.mask(pair[1], sizes[1]), own))
    counted = (a != 255) & (b != 255)
    least = max(_LEAST_PIXELS, _LEAST_SHARE * a.size)
    worst: tuple[float, str] | None = None
    for label in dataset.foreground:
        in_a, in_b = (a == label) & counted, (b == label) & counted
        either = in_a | in_b
        n = int(either.sum())
        # Most of what either marks must look the same in both, or something has moved.
        if n < least or agreeing[either].mean() < _AGREEING:
            continue
        in_a, in_b = in_a & agreeing, in_b & agreeing
        met = int((in_a & _grown(in_b)).sum() + (in_b & _grown(in_a)).sum())
        overlap = met / max(1, int(in_a.sum() + in_b.sum()))
        if overlap < _OVERLAP and (worst is None or overlap < worst[0]):
            worst = overlap, dataset.labels.names[label]
    return None if worst is None else f"{worst[1]!r} overlaps by {worst[0]:.0%}"


def _sampled(mask: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.uint8]:
    rows = (np.arange(grid[0]) + 0.5) * mask.shape[0] / grid[0]
    columns = (np.arange(grid[1]) + 0.5) * mask.shape[1] / grid[1]
    sampled: NDArray[np.uint8] = mask[rows.astype(int)[:, None], columns.astype(int)]
    return sampled


def _grown(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    for _ in range(_SLACK):
        padded = np.pad(region, 1)
        rows = padded[:-2] | padded[1:-1] | padded[2:]
        region = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    return region


def boxes_differ(dataset: "Dataset", overlay: Overlay) -> str | None:
    """Return how the boxes of two copies differ, in a phrase; None if they agree."""
    pair, sizes, grid, turn, agreeing = overlay.pair, overlay.sizes, overlay.grid, overlay.turn, overlay.agreeing
    a, b = (dataset.objects(i, size) for i, size in zip(pair, sizes, strict=True))
    boxes_a = _fractions(a, sizes[0])
    boxes_b = turn.boxes(_fractions(b, sizes[1]))
    names = dataset.labels.names
    for mine, theirs, own, other, where in (
        (a, b, boxes_a, boxes_b, pair[1]),
        (b, a, boxes_b, boxes_a, pair[0]),
    ):
        overlaps = _overlaps(own, other, grid)
        for k in np.flatnonzero(~mine.crowd):
            met = overlaps[k] >= _OVERLAP
            if bool((met & ((theirs.label_ids == mine.label_ids[k]) | theirs.crowd)).any()):
                continue
            if _covered(own[k], other[theirs.crowd]) or not _shows_the_same(own[k], grid, agreeing):
                continue
            name = names[mine.label_ids[k]]
            if met.any():
                second = names[theirs.label_ids[int(np.argmax(overlaps[k]))]]
                return f"one object is {name!r} in one and {second!r} in the other"
            return f"{name!r} is not marked in {dataset.samples[where].id!r}"
    return None


def _fractions(objects: "Objects", size_hw: tuple[int, int]) -> NDArray[np.float64]:
    boxes = objects.boxes_xyxy.reshape(-1, 4) / np.array([size_hw[1], size_hw[0]] * 2, np.float64)
    corners = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    clipped: NDArray[np.float64] = np.clip(corners, 0, 1)
    return clipped


def _overlaps(a: NDArray[np.float64], b: NDArray[np.float64], grid: tuple[int, int]) -> NDArray[np.float64]:
    """Return the IoU of boxes in fractions, (n, m), each made larger by the slack of a pixel or two of the grid."""
    slack = np.array([-1, -1, 1, 1]) * _SLACK / 2 / np.array([grid[1], grid[0]] * 2)
    a, b = a + slack, b + slack
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    both = np.clip(corner, 0, None).prod(2)
    area_a, area_b = ((v[:, 2:] - v[:, :2]).prod(1) for v in (a, b))
    overlap: NDArray[np.float64] = both / np.maximum(area_a[:, None] + area_b[None] - both, 1e-12)
    return overlap


def _covered(box: NDArray[np.float64], regions: NDArray[np.float64]) -> bool:
    """Return whether half of a box or more lies in one of the ignore regions."""
    if not len(regions):
        return False
    corner = np.minimum(box[2:], regions[:, 2:]) - np.maximum(box[:2], regions[:, :2])
    area = max(float((box[2:] - box[:2]).prod()), 1e-12)
    return bool((np.clip(corner, 0, None).prod(1) >= _OVERLAP * area).any())


def _shows_the_same(box: NDArray[np.float64], grid: tuple[int, int], agreeing: NDArray[np.bool_]) -> bool:
    height, width = grid
    x0, y0 = int(box[0] * width), int(box[1] * height)
    x1, y1 = max(x0 + 1, int(np.ceil(box[2] * width))), max(y0 + 1, int(np.ceil(box[3] * height)))
    part = agreeing[y0:y1, x0:x1]
    # A box of a few pixels of the grid says too little.
    return part.size >= _LEAST_PIXELS and float(part.mean()) >= _AGREEING
