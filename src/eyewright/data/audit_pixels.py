"""`doctor` on pixels: images of one colour, and images whose end was lost when they were copied."""

__all__ = ["PIXEL_CODES", "audit_pixels"]

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError
from eyewright.core.report import Finding
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan

PIXEL_CODES = MappingProxyType(
    {
        "narrow_range": "16-bit images of 13 bits or fewer, of which the model sees a few levels only",
        "blank": "an image of one colour: black, white or another",
        "truncated": "an image whose lower part is one grey, as decoders fill in what a damaged file lacks",
    }
)
"""Every code that a finding about pixels can have, with its meaning."""

_FLAT = 4
_SPREAD = 2.0
_LOOKED_AT = 500
_BLOCK = 4096
_GREY = (126, 130)
_LEAST_ROWS = 3
_LEAST_SHARE = 0.06
_FEW_LEVELS = 32


def audit_pixels(dataset: Dataset, scan: Scan) -> tuple[list[Finding], frozenset[int]]:
    """Return the findings, and the indices of the images that show nothing.

    Thumbnails choose the candidates, which are then decoded and looked at whole.
    """
    blank, cut = [], []
    for start in range(0, len(dataset), _BLOCK):
        block = np.asarray(scan.thumbnails[start : start + _BLOCK])
        flat = block.max((1, 2)).astype(int) - block.min((1, 2)) <= _FLAT
        blank += (start + np.flatnonzero(flat)).tolist()
        cut += (start + np.flatnonzero(~flat & (_grey_rows(block) >= _LEAST_ROWS - 1))).tolist()
    found: list[Finding] = _narrow_range(dataset, scan)
    empty = set()
    readable = scan.readable
    for k, i in enumerate(i for i in blank if readable[i]):
        colour = _colour_of(dataset, i) if k < _LOOKED_AT else f"one grey ({int(scan.thumbnails[i].mean())})"
        if colour is not None:
            empty.add(i)
            fix = "remove it, or take the picture again"
            found.append(Finding("blank", f"every pixel is {colour}", fix, dataset.samples[i].id))
    for i in [i for i in cut if readable[i]][:_LOOKED_AT]:
        share = _lost_share(dataset, i)
        if share is not None:
            text = f"the lower {share:.0%} of the image is one grey: its end was lost"
            found.append(Finding("truncated", text, "copy it again from the source", dataset.samples[i].id))
    return found, frozenset(empty)


def _narrow_range(dataset: Dataset, scan: Scan) -> list[Finding]:
    """Return a finding where the 16-bit images of a dataset use so little of their range that a few levels are left."""
    deep = [i for i, r in enumerate(scan.records) if r.info is not None and r.info.mode.startswith("I;16")]
    if len(deep) < 2:
        return []
    brightest = max(int(np.asarray(scan.thumbnails[i]).max()) for i in deep)
    if brightest >= _FEW_LEVELS:
        return []
    text = (
        f"{len(deep):,} images of 16 bits use only the lowest {(brightest + 1) / 256:.0%} of their range; of the high "
        f"byte, which is what is read, {brightest + 1} of 256 levels are left"
    )
    fix = "multiply all of them by one number (12-bit values by 16) and save them again"
    ids = tuple(dataset.samples[i].id for i in deep)
    return [Finding("narrow_range", text, fix, ids[0], paths=ids)]


def _colour_of(dataset: Dataset, index: int) -> str | None:
    """Return the one colour that an image has, in words; None if it shows something."""
    try:
        pixels = dataset.image(index)
    except EyewrightError:
        return None
    flat = pixels.reshape(-1, pixels.shape[-1])
    middle = np.median(flat[:: max(1, len(flat) // 100_000)], axis=0)
    if flat.std(0).max() > _SPREAD or (np.abs(flat - middle).max(1) > 16).mean() > 0.0005:
        return None
    r, g, b = (round(float(v)) for v in middle)
    if max(r, g, b) <= 3:
        return "black"
    if min(r, g, b) >= 252:
        return "white"
    return f"one grey ({r})" if max(r, g, b) - min(r, g, b) <= 3 else f"one colour ({r}, {g}, {b})"


def _grey_rows(thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many rows at the end of each thumbnail are middle grey, int64 (N,)."""
    grey = np.all((thumbnails >= _GREY[0]) & (thumbnails <= _GREY[1]), axis=2)
    upside: NDArray[np.bool_] = np.asarray(grey, bool)[:, ::-1]
    rows: NDArray[np.int64] = np.where(upside.all(1), upside.shape[1], (~upside).argmax(1))
    return rows


def _lost_share(dataset: Dataset, index: int) -> float | None:
    """Return the fraction of rows that are one grey at the end of an image; None if that is how it was taken."""
    try:
        pixels = dataset.image(index)
    except EyewrightError:
        return None
    height = len(pixels)
    low, high = pixels.min((1, 2)), pixels.max((1, 2))
    grey = (low >= _GREY[0]) & (high <= _GREY[1]) & (high.astype(int) - low <= 2)
    upside = grey[::-1]
    n = height if upside.all() else int((~upside).argmax())
    share = n / height
    rest = pixels[: height - n]
    if share < _LEAST_SHARE or not len(rest):
        return None
    # A grey ground shows elsewhere too, and an image that is flat altogether has no end to lose.
    elsewhere = ((rest >= _GREY[0]) & (rest <= _GREY[1])).all(2).mean()
    return share if elsewhere < 0.1 and float(rest.std()) > 8 else None
