"""Holes in images: drawn at random, taken from masks of the user's own, and as an input of a model."""

__all__ = ["HoleInput", "HoleSource", "draw_hole", "grey_share", "hole_of"]

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError
from eyewright.imaging.opencv import opencv
from eyewright.imaging.regions import cut_region

_MOST_SIDE = 8192
_TRIES = 400
_FEW_LEVELS = 8
_COUNTED_ROWS = 256
_LETTERS = string.ascii_letters + string.digits


def draw_hole(size_hw: tuple[int, int], share: float, *, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a random mask, bool (H, W), that covers about this share of an image, but never all of it: mostly
    strokes, else boxes or what looks like text.

    >>> draw_hole((64, 96), 0.2, rng=np.random.default_rng(0)).mean().round(1)
    np.float64(0.2)
    """
    mask = np.zeros(size_hw, np.uint8)
    kind = int(rng.integers(0, 5))
    draw = (_stroke, _stroke, _stroke, _box, _text)[kind]
    for _ in range(_TRIES):
        if mask.mean() >= share:
            break
        before = mask.copy()
        draw(mask, rng)
        if mask.all() or mask.mean() > max(0.5, 2 * share):
            mask = before
    if not mask.any():
        mask[tuple(int(rng.integers(0, side)) for side in size_hw)] = 1
    return mask.astype(bool)


def _stroke(mask: NDArray[np.uint8], rng: np.random.Generator) -> None:
    height, width = mask.shape
    reach = min(80, max(4, min(height, width) // 2))
    first = rng.integers(0, [width, height])
    points = np.cumsum([first, *rng.integers(-reach, reach + 1, (2, 2))], 0)
    thick = min(int(rng.integers(2, 15)), max(1, min(height, width) // 4))
    opencv().polylines(mask, [points.astype(np.int32)], False, 1, thick)


def _box(mask: NDArray[np.uint8], rng: np.random.Generator) -> None:
    height, width = mask.shape
    most = max(2, min(32, height // 3, width // 3))
    high, wide = (int(v) for v in rng.integers(min(4, most - 1), most, 2))
    top, left = int(rng.integers(0, max(1, height - high))), int(rng.integers(0, max(1, width - wide)))
    mask[top : top + high, left : left + wide] = 1


def _text(mask: NDArray[np.uint8], rng: np.random.Generator) -> None:
    cv2 = opencv()
    height, width = mask.shape
    word = "".join(_LETTERS[int(i)] for i in rng.integers(0, len(_LETTERS), int(rng.integers(3, 9))))
    at = (int(rng.integers(-width // 8, max(1, width * 3 // 4))), int(rng.integers(0, height + 8)))
    size, thick = float(rng.uniform(0.4, 1.6)), int(rng.integers(1, 5))
    cv2.putText(mask, word, at, cv2.FONT_HERSHEY_SIMPLEX, size, 1, thick)


def hole_of(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask, bool (H, W), of an image (H, W, C) of it: what is brighter than the middle of the range, or 1
    where all values are 0 and 1.

    >>> hole_of(np.array([[[0], [1]]], np.uint8)).tolist()
    [[False, True]]
    """
    brightest = values.max(2)
    top = int(brightest.max())
    if values.dtype.kind == "f":
        return np.asarray(brightest > 0.5 * max(1.0, float(top)))
    middle = 32767 if values.dtype == np.uint16 else 127
    return np.asarray(brightest > (0 if top <= 1 else middle))


def grey_share(values: NDArray[Any]) -> float:
    """Return the fraction of the pixels of a mask, (H, W, C), that are neither nearly black nor nearly white; 0 of a
    mask of a few levels, which mean classes or opacities.

    >>> grey_share(np.array([[[0], [90], [255], [255]]], np.uint8)), grey_share(np.arange(256).reshape(16, 16, 1))
    (0.0, 0.75)
    """
    top = 65535.0 if values.dtype == np.uint16 else max(1.0, float(values.max())) if values.dtype.kind == "f" else 255.0
    counts = np.zeros(256, np.int64)
    # Counting takes 8 bytes a pixel and more: of a large mask a part at a time.
    for start in range(0, len(values), _COUNTED_ROWS):
        brightest = values[start : start + _COUNTED_ROWS].max(2).astype(np.float32)
        levels = (brightest * np.float32(255 / top)).clip(0, 255).astype(np.uint8)
        counts += np.bincount(levels.ravel(), minlength=256)
    if np.count_nonzero(counts) <= _FEW_LEVELS:
        return 0.0
    return float(counts[32:224].sum() / counts.sum())


@dataclass(frozen=True)
class HoleSource:
    """Where holes to learn from come from: drawn, and for one half cut from `masks`, bool (h, w), if there are any."""

    masks: tuple[NDArray[np.bool_], ...] = ()

    def hole(self, size_hw: tuple[int, int], share: float, *, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return a hole, bool (H, W), that is neither empty nor everything."""
        if self.masks and rng.random() < 0.5:
            mask = self.masks[int(rng.integers(0, len(self.masks)))]
            mask = np.rot90(mask, int(rng.integers(0, 4)))
            # A few places of it: most of a mask may be empty.
            for _ in range(8):
                top, left = (
                    int(rng.integers(min(0, side - want), max(1, side - want + 1)))
                    for side, want in zip(mask.shape, size_hw, strict=True)
                )
                cut = cut_region(mask, top, left, size_hw)
                if 0 < cut.mean() < 0.5:
                    return np.ascontiguousarray(cut)
        return draw_hole(size_hw, share, rng=rng)


@dataclass(frozen=True)
class HoleInput:
    """Where an image is to be filled, uint8 (H, W, 1), 255 there and 0 elsewhere: cut from the centre, as tiles are.

    >>> HoleInput((2, 2)).batch([np.eye(4, dtype=bool)])[0][0, ..., 0].tolist()
    [[255, 0], [0, 255]]
    """

    kind: ClassVar[str] = "mask"
    size_hw: tuple[int, int]

    @property
    def dtype(self) -> str:
        return "uint8"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*self.size_hw, 1)

    @property
    def contract(self) -> Mapping[str, Any]:
        return {"layout": "NHWC", "range": [0, 255], "colour": "255 where to fill, else 0"}

    @property
    def words(self) -> str:
        return "a mask of what is to be filled"

    def batch(self, values: Sequence[Any]) -> tuple[NDArray[np.uint8], Sequence[Any]]:
        """Return masks, bool (h, w) of any size, as tiles, (N, H, W, 1)."""
        rows = [self.pack(v) for v in values]
        height, width = self.size_hw
        cut = [cut_region(r, (r.shape[0] - height) // 2, (r.shape[1] - width) // 2, self.size_hw) for r in rows]
        tiles: NDArray[np.uint8] = np.array(cut, np.uint8).reshape(len(rows), *self.shape) * np.uint8(255)
        return tiles, [None] * len(rows)

    def pack(self, value: Any) -> NDArray[np.uint8]:
        """Return a mask as 0 and 1, uint8 (h, w)."""
        array = np.asarray(value)
        if array.ndim != 2 or 0 in array.shape:
            raise UsageError(f"expected a mask as bool (H, W), found {array.dtype} {array.shape}")
        packed: NDArray[np.uint8] = (array != 0).astype(np.uint8)
        return packed

    def unlike(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
        fits = len(shape) == 2 and dtype == np.uint8 and min(shape) >= 1 and max(shape) <= _MOST_SIDE
        return "" if fits else "is not a mask"

    def unpack(self, array: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray(array != 0)

    def to_json(self) -> dict[str, Any]:
        return {"size_hw": list(self.size_hw)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "HoleInput":
        """Read `to_json`'s form.

        Raises:
            BundleError: it is no size.
        """
        size: Any = data.get("size_hw")
        fits = isinstance(size, list) and len(size) == 2 and all(type(s) is int and 1 <= s <= _MOST_SIDE for s in size)
        if not fits or set(data) != {"size_hw"}:
            raise BundleError("expected the size of the mask", fix="export the model again")
        return cls((size[0], size[1]))
