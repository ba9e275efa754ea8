"""Boxes written in another format than their file's: told by how many leave the image under each reading."""

__all__ = ["BOX_FORMAT_CODES", "audit_box_formats"]

import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding

if TYPE_CHECKING:
    from eyewright.data.dataset import Dataset
    from eyewright.data.targets.objects import Objects

BOX_FORMAT_CODES = MappingProxyType({"box_format": "boxes written in another order or unit than the format's"})
"""Every code that a finding about the format of boxes can have, with its meaning."""

Numbers = NDArray[np.float64]

# The four numbers of a line as corners x0 y0 x1 y1, by what they may mean.
_ORDERS: Mapping[str, Callable[[Numbers], Numbers]] = MappingProxyType(
    {
        "xywh": lambda v: np.stack([v[:, 0], v[:, 1], v[:, 0] + v[:, 2], v[:, 1] + v[:, 3]], 1),
        "xyxy": lambda v: v,
        "cxcywh": lambda v: np.concatenate([v[:, :2] - v[:, 2:] / 2, v[:, :2] + v[:, 2:] / 2], 1),
        "yxyx": lambda v: v[:, [1, 0, 3, 2]],
        "yxhw": lambda v: np.stack([v[:, 1], v[:, 0], v[:, 1] + v[:, 3], v[:, 0] + v[:, 2]], 1),
        "cycxhw": lambda v: np.concatenate([v[:, [1, 0]] - v[:, [3, 2]] / 2, v[:, [1, 0]] + v[:, [3, 2]] / 2], 1),
        "xxyy": lambda v: v[:, [0, 2, 1, 3]],
    }
)
_WORDS = MappingProxyType(
    {
        "xywh": "x, y, width, height",
        "xyxy": "x0, y0, x1, y1",
        "cxcywh": "centre x, centre y, width, height",
        "yxyx": "y0, x0, y1, x1",
        "yxhw": "y, x, height, width",
        "cycxhw": "centre y, centre x, height, width",
        "xxyy": "x0, x1, y0, y1",
    }
)
_SELDOM = frozenset({"yxyx", "yxhw", "cycxhw", "xxyy"})
_UNITS = MappingProxyType(
    {"pixels": "pixels", "fractions": "fractions of the image's sides", "percent": "per cent of the image's sides",
     "thousandths": "thousandths of the image's sides"}
)  # fmt: skip
# What each format's numbers are, in order and unit, and what the file calls them.
_NATIVE = MappingProxyType(
    {
        "coco": ("xywh", "pixels", "bbox"),
        "voc": ("xyxy", "pixels", "bndbox"),
        "yolo": ("cxcywh", "fractions", "lines"),
        "mot": ("xywh", "pixels", "rows"),
        "label-studio": ("xywh", "percent", "value"),
    }
)
_UNIT_TOP = MappingProxyType({"percent": 100, "thousandths": 1000})
_MANY = 20
_LEAST = 4
_LEAST_BAD = 3
_LEAST_ORDER = 5
_MOSTLY = 0.9
_GROSS = 0.05
_WRONG = 0.04
_RIGHT = 0.02
_SLACK = 0.01
_REACH = 0.6
_SLACK_PIXELS = 2.0


@dataclass(frozen=True)
class _Pool:
    """The boxes that one hand wrote: their four numbers, the size of the image of each, and where they stand."""

    name: str
    samples: frozenset[int]
    numbers: Numbers
    sizes_wh: Numbers
    owners: NDArray[np.int64]


def audit_box_formats(
    dataset: "Dataset", sizes: Sequence[tuple[int, int] | None]
) -> tuple[list[Finding], frozenset[int]]:
    """Return one finding for each file or folder whose boxes, or some of them, fit another format far better.

    In addition to it are its samples.

    For those samples, single boxes need not be spoken of. `sizes` are (height, width) of the images.
    """
    native = _NATIVE.get(dataset.format, ("xyxy", "pixels", "boxes"))
    found: list[Finding] = []
    told: set[int] = set()
    for pool in _pools(dataset, sizes, native):
        finding, samples = _judge(pool, native), pool.samples
        if finding is None:
            finding, samples = _mixed(dataset, pool, native)
        if finding is not None:
            found.append(finding)
            told |= samples
    return found, frozenset(told)


def _pools(dataset: "Dataset", sizes: Sequence[tuple[int, int] | None], native: tuple[str, str, str]) -> list[_Pool]:
    marked = [cast("Objects", s.target) for s in dataset.samples]
    files = Counter(m.lines.path for m in marked if len(m) and m.lines is not None)
    members: dict[str, list[int]] = defaultdict(list)
    for i, (one, size) in enumerate(zip(marked, sizes, strict=True)):
        if size is None or not len(one):
            continue
        path = one.lines.path if one.lines is not None else ""
        # A file for each image says too little: what lies in one folder was written in one way.
        members[path if files[path] > 1 else posixpath.dirname(path)].append(i)
    pools = []
    for name, own in sorted(members.items()):
        numbers, sides, owners = [], [], []
        for i in own:
            size = sizes[i]
            assert size is not None
            written = _as_written(marked[i], native, size)
            numbers.append(written)
            owners.append(np.full(len(written), i))
            sides.append(np.tile(np.array([size[1], size[0]], np.float64), (len(written), 1)))
        joined = np.concatenate(numbers)
        if len(joined) >= _LEAST:
            pools.append(_Pool(name, frozenset(own), joined, np.concatenate(sides), np.concatenate(owners)))
    return pools


def _as_written(objects: "Objects", native: tuple[str, str, str], size_hw: tuple[int, int]) -> Numbers:
    """Return the four numbers of each box as the file has them, (n, 4): those that come from an outline left out."""
    sides = np.array([size_hw[1], size_hw[0]] * 2, np.float64)
    in_pixels = native[1] == "pixels"
    boxes = objects.boxes_xyxy
    if objects.relative and in_pixels:
        boxes = boxes * sides
    elif not (objects.relative or in_pixels):
        boxes = boxes / sides
    if native[1] == "percent":
        boxes = boxes * 100
    if len(objects.outlines) and native[2] != "bbox":
        boxes = boxes[[not outline for outline in objects.outlines]]
    boxes = boxes[np.isfinite(boxes).all(1)]
    first, last = boxes[:, :2], boxes[:, 2:]
    if native[0] == "xywh":
        return np.concatenate([first, last - first], 1)
    if native[0] == "cxcywh":
        return np.concatenate([(first + last) / 2, last - first], 1)
    return boxes


def _judge(pool: _Pool, native: tuple[str, str, str]) -> Finding | None:
    order, unit, what = native
    read = {(o, u): corners(pool.numbers) * _scale(u, pool.sizes_wh) for u in _UNITS for o, corners in _ORDERS.items()}
    # Whatever is written fits where a unit makes it small enough: what is meant so reaches over the image too.
    wrong = {
        w: _wrong(corners, pool.sizes_wh)
        for w, corners in read.items()
        if w[1] == unit
        or (corners[:, 2:] / pool.sizes_wh).max(0).min() >= _REACH
        or (w[1] == "fractions" and unit == "pixels" and pool.numbers.max() <= 1)
    }
    n = len(pool.numbers)
    bad = wrong[order, unit]
    shrunk = _shrunk(pool, native)
    if shrunk is not None:
        text = (
            f"all {n:,} boxes{_in(pool)} end at {_UNIT_TOP[shrunk]:,} of images that are larger, and reach it in both "
            f"directions: they seem to be in {_UNITS[shrunk]}"
        )
        return Finding("box_format", text, f"write {what} as {_said(order, unit)}", pool.name, severity="error")
    if bad.mean() < _WRONG or bad.sum() < min(_LEAST_BAD, n / 2):
        return None
    # The nearest to what the format asks for wins among those that fit about as well.
    ways = sorted(
        wrong,
        key=lambda w: (w[1] != unit, list(_UNITS).index(w[1]), w[0] in _SELDOM, list(_ORDERS).index(w[0])),
    )
    least = min(w.mean() for w in wrong.values())
    best = next(w for w in ways if wrong[w].mean() <= least + 0.005)
    if (
        best == (order, unit)
        or wrong[best].mean() > max(_RIGHT, 0.2 * bad.mean())
        or wrong[best].mean() > 0.3 * bad.mean()
    ):
        return None
    text = (
        f"{int(bad.sum()):,} of {n:,} boxes{_in(pool)} leave their image or have no area as {_said(order, unit)}, "
        f"{'none' if not wrong[best].any() else f'only {int(wrong[best].sum()):,}'} as {_said(*best)}: "
        f"that is how they seem to be written"
    )
    fix = f"write {what} as {_said(order, unit)}{_recipe(best, (order, unit))}"
    return Finding("box_format", text, fix, pool.name, severity="error")


def _mixed(dataset: "Dataset", pool: _Pool, native: tuple[str, str, str]) -> tuple[Finding | None, frozenset[int]]:
    """Return the finding that some images' boxes are in one format and some in another, and the samples of the other.

    Boxes drawn over the edge are no other format: those that leave the image must do so far, and nearly all of their
    images must fit the other format as a whole.
    """
    order, unit, what = native
    images, at = np.unique(pool.owners, return_inverse=True)
    if len(images) < 2 * _LEAST_BAD:
        return None, frozenset()

    def of_images(wrong: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.bincount(at, wrong, len(images)) > 0

    corners = _ORDERS[order](pool.numbers) * _scale(unit, pool.sizes_wh)
    wrong = _wrong(corners, pool.sizes_wh)
    bad = of_images(wrong)
    over = np.maximum(-corners[:, :2], corners[:, 2:] - pool.sizes_wh).max(1) / pool.sizes_wh.min(1)
    flat = (corners[:, 2:] - corners[:, :2]).min(1) <= 1
    best: tuple[int, str, str] | None = None
    if bad.sum() >= _LEAST_BAD and np.median(np.where(flat, 1.0, over)[wrong]) >= _GROSS:
        boxes = bad[at]
        for other in _UNITS:
            for way in (w for w in _ORDERS if w not in _SELDOM and (w, other) != (order, unit)):
                read = _ORDERS[way](pool.numbers) * _scale(other, pool.sizes_wh)
                fits = int((bad & ~of_images(_wrong(read, pool.sizes_wh))).sum())
                reach = (read[boxes][:, 2:] / pool.sizes_wh[boxes]).max(0).min()
                least = _LEAST_BAD if other != unit else _LEAST_ORDER
                if fits >= max(least, _MOSTLY * bad.sum()) and reach >= _REACH and (best is None or fits > best[0]):
                    best = fits, way, other
    if best is None and unit == "pixels":
        for other, top in _UNIT_TOP.items():
            bad = _cornered(pool, of_images, corners, top)
            if bad.any():
                best = int(bad.sum()), order, other
                break
    if best is None:
        return None, frozenset()
    _, way, other = best
    owner = int(images[bad][0])
    path, line = cast("Objects", dataset.samples[owner].target).place(0)
    text = (
        f"the boxes of at least {int(bad.sum()):,} of {len(images):,} images{_in(pool)} seem to be written as "
        f"{_said(way, other)}, those of the others as {_said(order, unit)}: two formats are mixed; the first is of "
        f"{dataset.samples[owner].id!r}"
    )
    fix = f"write {what} as {_said(order, unit)}{_recipe((way, other), (order, unit))}"
    paths = tuple(dataset.samples[int(i)].id for i in images[bad])
    return Finding("box_format", text, fix, path or pool.name, line, "error", paths), frozenset(images[bad].tolist())


def _cornered(
    pool: _Pool, of_images: Callable[[NDArray[np.bool_]], NDArray[np.bool_]], corners: Numbers, top: float
) -> NDArray[np.bool_]:
    """Tell in which images all boxes lie in the first `top` pixels, far more often than in another corner.

    So lie boxes that are written in a unit whose end is `top`. All False where they do not, or images are not larger.
    """
    sizes = pool.sizes_wh
    large = ~of_images(sizes.min(1) <= 1.2 * top)
    counts = []
    for right in (False, True):
        for low in (False, True):
            flip = np.array([right, low])
            first = np.where(flip, sizes - corners[:, 2:], corners[:, :2])
            last = np.where(flip, sizes - corners[:, :2], corners[:, 2:])
            beyond = (last > top * 1.01).any(1) | (first < -_SLACK_PIXELS).any(1)
            counts.append(large & ~of_images(np.asarray(beyond, bool)))
    chosen = counts[0]
    others = max(int(c.sum()) for c in counts[1:])
    inside = np.isin(pool.owners, np.unique(pool.owners)[chosen])
    if chosen.sum() < _LEAST_ORDER or chosen.sum() < 3 * (others + 1):
        return np.zeros_like(chosen)
    reach = corners[inside, 2:].max(0).min()
    return chosen if reach >= 0.9 * top else np.zeros_like(chosen)


def _in(pool: _Pool) -> str:
    return f" in {pool.name!r}" if pool.name else ""


def _shrunk(pool: _Pool, native: tuple[str, str, str]) -> str | None:
    """Return the unit whose upper end all boxes keep to, though the images in which they lie are far larger."""
    if native[1] != "pixels" or len(pool.numbers) < _MANY:
        return None
    ends = _ORDERS[native[0]](pool.numbers)[:, 2:].max(0)
    for unit, top in _UNIT_TOP.items():
        if (ends <= top * 1.01).all() and (ends >= top * 0.9).all() and float(pool.sizes_wh.min()) > 1.2 * top:
            return unit
    return None


def _scale(unit: str, sizes_wh: Numbers) -> Numbers:
    by = {"pixels": 1.0, "percent": 0.01, "thousandths": 0.001, "fractions": 1.0}[unit]
    sides = np.ones_like(sizes_wh) if unit == "pixels" else sizes_wh * by
    return np.concatenate([sides, sides], 1)


def _wrong(corners: Numbers, sizes_wh: Numbers) -> NDArray[np.bool_]:
    """Tell which boxes cannot be meant: outside the image by more than is drawn in haste, or without area."""
    slack = np.maximum(_SLACK_PIXELS, _SLACK * sizes_wh)
    low, high = corners[:, :2], corners[:, 2:]
    outside = (low < -slack).any(1) | (high > sizes_wh + slack).any(1)
    side = high - low
    flat = (side <= 0).any(1) | ((side < 1) & (sizes_wh >= 16)).all(1)
    return np.asarray(outside | flat, bool)


def _said(order: str, unit: str) -> str:
    return f"[{_WORDS[order]}] in {_UNITS[unit]}"


def _recipe(found: tuple[str, str], wanted: tuple[str, str]) -> str:
    if found == ("xyxy", "pixels") and wanted == ("xywh", "pixels"):
        return ": width = x1 - x0, height = y1 - y0"
    if found == ("xywh", "pixels") and wanted == ("xyxy", "pixels"):
        return ": x1 = x + width, y1 = y + height"
    if found[0] == wanted[0] and wanted[1] == "fractions" and found[1] == "pixels":
        return ": divide x and width by the image's width, y and height by its height"
    if found[0] == wanted[0] and wanted[1] == "pixels" and found[1] == "fractions":
        return ": multiply x and width by the image's width, y and height by its height"
    return ""
