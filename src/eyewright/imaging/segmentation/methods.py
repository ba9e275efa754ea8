"""Cut an image into regions: thresholds, clusters, superpixels, watershed, GrabCut, flood.

A label map is int32 (H, W). In those of thresholds, watershed, GrabCut and flood 0 is background; clusters and
superpixels cover the whole image with labels from 1.
"""

__all__ = ["SEGMENTERS", "Segmenter", "segment", "settle"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.imaging.segmentation.ground import is_ground_bright
from eyewright.imaging.segmentation.regions import connected
from eyewright.imaging.steps.arrays import Pixels, extra, luma, opencv, to_unit
from eyewright.imaging.steps.kinds import Parameter, number, numbers, switch, whole

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Segmenter:
    """One method: the function, what it is for, its parameters, whether label 0 is background."""

    call: Callable[..., Labels]
    about: str
    parameters: tuple[Parameter, ...] = ()
    background: bool = True
    by: str = ""


def segment(image: Pixels, method: str = "otsu", **values: Any) -> Labels:
    """Label the regions of an image, uint8 or uint16, (H, W) or (H, W, 3); return int32 (H, W).

    >>> spots = np.zeros((8, 12), np.uint8)
    >>> spots[1:4, 1:4] = spots[4:7, 7:11] = 200
    >>> int(segment(spots, "otsu", smallest=4).max())
    2

    Raises:
        UsageError: an unknown method or parameter, or a value outside its range.
    """
    full = settle(image, method, values)
    return SEGMENTERS[method].call(image, **full)


def settle(image: Pixels, method: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter of `method` for this image: given, by default, or decided from the picture.

    `dark`, where it is "auto", becomes True or False (see `ground.is_ground_bright`). What is returned gives `segment`
    the same answer again.

    >>> page = np.full((40, 40), 230, np.uint8)
    >>> page[10:20, 10:30] = 20
    >>> settle(page, "otsu", {})
    {'dark': True, 'smallest': 16}

    Raises:
        UsageError: an unknown method or parameter, or a value outside its range.
    """
    kind = SEGMENTERS.get(method)
    if kind is None:
        raise UsageError(f"there is no method {method!r}", fix=spelling_hint(method, SEGMENTERS), code="method")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise UsageError(f"expected an image (H, W) or (H, W, 3), found {image.shape}")
    if image.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"expected uint8 or uint16, found {image.dtype}", fix="read it with eyewright.read_image")
    known = {p.name: p for p in kind.parameters}
    for name in values:
        if name not in known:
            raise UsageError(
                f"{method} has no parameter {name!r}", fix=spelling_hint(name, known) if known else "it has none"
            )
    full = {p.name: p.read(values[p.name], method) if p.name in values else p.default for p in kind.parameters}
    missing = [name for name, value in full.items() if value is None]
    if missing:
        raise UsageError(
            f"{method} needs {missing[0]!r}: {known[missing[0]].about}",
            fix=f"pass {missing[0]}=..., on the command line --{missing[0]}",
        )
    if full.get("dark") == "auto":
        full["dark"] = _dark(image, method, full)
    return full


def _dark(image: Pixels, method: str, values: Mapping[str, Any]) -> bool:
    """Decide whether things are darker than their ground, by the cut that the method makes."""
    plane = luma(image)
    if method == "watershed" and values["markers"] != "auto":
        return False
    if method == "adaptive":
        # What lies above and below the local mean, so that uneven light does not count.
        levels, local = _local_mean(plane, values["window"])
        plane = np.clip(levels - local + np.float32(128), 0, 255).astype(np.uint8)
    cut, _ = opencv().threshold(plane, 0, 1, opencv().THRESH_OTSU)
    return is_ground_bright(plane, plane > cut)


def _local_mean(plane: Pixels, window: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the levels of 0-255 and their Gaussian mean over `window` pixels."""
    cv2 = opencv()
    levels: NDArray[np.float32] = to_unit(plane) * np.float32(255)
    return levels, cv2.GaussianBlur(levels, (window | 1, window | 1), 0, borderType=cv2.BORDER_REPLICATE)


def _eight(image: Pixels) -> NDArray[np.uint8]:
    return (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image


def _rgb8(image: Pixels) -> NDArray[np.uint8]:
    eight = _eight(image)
    return np.repeat(eight[..., None], 3, 2) if eight.ndim == 2 else eight


def _parts(mask: NDArray[np.bool_], dark: bool, smallest: int) -> Labels:
    return connected(~mask if dark else mask, smallest=smallest)


def _otsu(image: Pixels, *, dark: bool, smallest: int) -> Labels:
    """Cut where the variance between the two sides is largest (Otsu, 1979); then connected parts."""
    cv2 = opencv()
    plane = luma(image)
    cut, _ = cv2.threshold(plane, 0, 1, cv2.THRESH_OTSU)
    return _parts(plane > cut, dark, smallest)


def _adaptive(image: Pixels, *, window: int, offset: float, dark: bool, smallest: int) -> Labels:
    """Cut at the local Gaussian mean less `offset`, for uneven light; then connected parts."""
    plane, local = _local_mean(luma(image), window)
    return _parts(plane > (local + offset if not dark else local - offset), dark, smallest)


def _multi_otsu(image: Pixels, *, classes: int) -> Labels:
    """Cut into `classes` ranges of brightness at once (Liao, Chen and Chung, 2001), labelled from dark to bright."""
    filters = extra("skimage.filters")
    plane = _eight(luma(image))
    if len(np.unique(plane)) < classes:
        raise UsageError(
            f"expected at least {classes} levels of grey, found {len(np.unique(plane))}", fix="ask for fewer classes"
        )
    cuts = filters.threshold_multiotsu(plane, classes=classes)
    return (np.digitize(plane, cuts, right=True) + 1).astype(np.int32)


def _k_means(image: Pixels, *, clusters: int, reach: float) -> Labels:
    """Group pixels by Lab colour (and place, with weight `reach`) by k-means++ (Arthur and Vassilvitskii, 2007).

    Labels are ordered from the darkest cluster to the brightest, so that they do not depend on chance.
    """
    cv2 = opencv()
    rgb = _rgb8(image)
    lab = cv2.cvtColor(rgb.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab).reshape(-1, 3)
    height, width = rgb.shape[:2]
    if reach > 0:
        rows, columns = np.mgrid[:height, :width].astype(np.float32) * np.float32(reach * 100 / max(height, width))
        lab = np.concatenate([lab, rows.reshape(-1, 1), columns.reshape(-1, 1)], 1)
    # Centres are found on a part of the pixels; all of them are then given to the nearest.
    part = lab[:: max(1, len(lab) // 40_000)]
    if len(np.unique(part, axis=0)) < clusters:
        raise UsageError(f"expected at least {clusters} colours, found fewer", fix="ask for fewer clusters")
    cv2.setRNGSeed(0)
    rule = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 0.05)
    _, _, centres = cv2.kmeans(np.ascontiguousarray(part), clusters, None, rule, 4, cv2.KMEANS_PP_CENTERS)
    centres = centres[np.argsort(centres[:, 0], kind="stable")]
    best = np.full(len(lab), np.inf, np.float32)
    labels = np.zeros(len(lab), np.int32)
    for k, centre in enumerate(centres):
        distance = ((lab - centre) ** 2).sum(1)
        labels[distance < best] = k + 1
        np.minimum(best, distance, out=best)
    return labels.reshape(height, width)


def _slic(image: Pixels, *, regions: int, compactness: float) -> Labels:
    """Grow superpixels of about equal size, k-means in Lab and place (Achanta et al., 2012)."""
    segmentation = extra("skimage.segmentation")
    found: Labels = segmentation.slic(
        _rgb8(image), n_segments=regions, compactness=compactness, start_label=1, channel_axis=-1
    )
    return found.astype(np.int32)


def _felzenszwalb(image: Pixels, *, scale: float, sigma: float, smallest: int) -> Labels:
    """Join along the weakest edges while a region's inner difference allows (Felzenszwalb and Huttenlocher, 2004)."""
    segmentation = extra("skimage.segmentation")
    found = segmentation.felzenszwalb(
        _rgb8(image), scale=scale, sigma=sigma, min_size=max(1, smallest), channel_axis=-1
    )
    return np.asarray(found + 1, np.int32)


def _quick_shift(image: Pixels, *, size: float, distance: float, ratio: float) -> Labels:
    """Link every pixel to the nearest of higher density in colour and place (Vedaldi and Soatto, 2008)."""
    segmentation = extra("skimage.segmentation")
    found = segmentation.quickshift(
        _rgb8(image), kernel_size=size, max_dist=distance, ratio=ratio, rng=0, channel_axis=-1
    )
    return np.asarray(found + 1, np.int32)


def _watershed(image: Pixels, *, markers: Any, waist: float, dark: bool, smallest: int) -> Labels:
    """Split touching things: Otsu's mask flooded from the middles of its parts over the distance to the background
    (Beucher and Lantuéjoul, 1979; Vincent and Soille, 1991).

    A part is split where it narrows by more than `waist` pixels on either side (h-maxima of the distance). With
    `markers`, points x y, the slope of brightness is flooded from them instead, and there is no background.
    """
    cv2 = opencv()
    segmentation, ndimage = extra("skimage.segmentation"), extra("scipy.ndimage")
    plane = luma(image)
    if markers != "auto":
        seeds = np.zeros(plane.shape, np.int32)
        for k, (x, y) in enumerate(_points(markers, plane.shape)):
            seeds[y, x] = k + 1
        slope = cv2.GaussianBlur(to_unit(plane), (0, 0), 1.0)
        slope = cv2.magnitude(cv2.Sobel(slope, cv2.CV_32F, 1, 0), cv2.Sobel(slope, cv2.CV_32F, 0, 1))
        flooded: Labels = segmentation.watershed(slope, seeds)
        return flooded.astype(np.int32)
    cut, _ = cv2.threshold(plane, 0, 1, cv2.THRESH_OTSU)
    mask = ndimage.binary_fill_holes((plane <= cut) if dark else (plane > cut))
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    tops = extra("skimage.morphology").h_maxima(depth, waist) > 0
    seeds = connected(tops & mask)
    found = segmentation.watershed(-depth, seeds, mask=mask)
    if smallest > 1:
        sizes = ndimage.sum_labels(np.ones_like(found), found, np.arange(found.max() + 1))
        keep = np.where(sizes >= smallest, np.arange(len(sizes)), 0)
        keep[0] = 0
        found, _, _ = segmentation.relabel_sequential(keep[found])
    return np.asarray(found, np.int32)


def _grabcut(image: Pixels, *, box: Any, rounds: int) -> Labels:
    """Cut out what lies in a box by colour models and a graph cut (Rother, Kolmogorov and Blake, 2004)."""
    cv2 = opencv()
    rgb = _rgb8(image)
    height, width = rgb.shape[:2]
    if len(box) != 1 or len(box[0]) != 4:
        raise UsageError("grabcut: expected box=X Y WIDTH HEIGHT", fix="as in box='10 20 200 100'")
    x, y, w, h = (int(v) for v in box[0])
    if x < 0 or y < 0 or w < 2 or h < 2 or x + w > width or y + h > height:
        raise UsageError(f"grabcut: the box {w}x{h} at {x}, {y} is not inside the image of {width}x{height}")
    if w * h >= width * height:
        raise UsageError("grabcut: the box covers the whole image, so no background is left", fix="draw it tighter")
    cv2.setRNGSeed(0)
    mask = np.zeros((height, width), np.uint8)
    cv2.grabCut(
        np.ascontiguousarray(rgb[..., ::-1]),
        mask,
        (x, y, w, h),
        np.zeros((1, 65)),
        np.zeros((1, 65)),
        rounds,
        cv2.GC_INIT_WITH_RECT,
    )
    result: Labels = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.int32)
    return result


def _flood(image: Pixels, *, points: Any, tolerance: float) -> Labels:
    """Take what is joined to each point, x y, and differs from it by at most `tolerance` levels of 0-255 a channel."""
    cv2 = opencv()
    eight = np.ascontiguousarray(_eight(image))
    labels = np.zeros(eight.shape[:2], np.int32)
    for k, (x, y) in enumerate(_points(points, eight.shape[:2])):
        mask = np.zeros((eight.shape[0] + 2, eight.shape[1] + 2), np.uint8)
        span = (float(tolerance),) * 3
        cv2.floodFill(
            eight, mask, (x, y), (0, 0, 0), span, span, 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE
        )
        labels[(mask[1:-1, 1:-1] > 0) & (labels == 0)] = k + 1
    return labels


def _components(image: Pixels, *, at: float, smallest: int) -> Labels:
    """Number the connected parts of what is brighter than `at` levels of 0-255: masks and label pictures."""
    return connected(luma(_eight(image)) > at, smallest=smallest)


def _points(rows: Any, shape_hw: tuple[int, ...]) -> list[tuple[int, int]]:
    points = []
    for row in rows:
        if len(row) != 2 or not (0 <= row[0] < shape_hw[1] and 0 <= row[1] < shape_hw[0]):
            raise UsageError(
                f"expected points x y inside {shape_hw[1]}x{shape_hw[0]}, found {row}", fix="as in '10 20/300 15'"
            )
        points.append((int(row[0]), int(row[1])))
    return points


_DARK = switch(
    "dark",
    "auto",
    "objects are dark on a bright background; auto: the background touches the border most and varies least",
    choices=("auto",),
)
_SMALLEST = whole("smallest", 16, 1, 10**8, "smallest region that is kept, in pixels")

SEGMENTERS: Mapping[str, Segmenter] = MappingProxyType(
    {
        "otsu": Segmenter(_otsu, "one global threshold, then connected components", (_DARK, _SMALLEST), by="OpenCV"),
        "adaptive": Segmenter(
            _adaptive,
            "a local threshold, then connected components",
            (
                whole("window", 51, 3, 2001, "side of the window in pixels", odd=True),
                number("offset", 5.0, -255, 255, "levels between the threshold and the local mean"),
                _DARK,
                _SMALLEST,
            ),
            by="OpenCV",
        ),
        "multi-otsu": Segmenter(
            _multi_otsu, "several global thresholds", (whole("classes", 3, 2, 5, "ranges"),), False, "scikit-image"
        ),
        "k-means": Segmenter(
            _k_means,
            "k-means clusters of colour",
            (
                whole("clusters", 5, 2, 64, "how many"),
                number("reach", 0.0, 0, 10, "weight of position relative to colour"),
            ),
            False,
            "OpenCV",
        ),
        "slic": Segmenter(
            _slic,
            "compact superpixels",
            (
                whole("regions", 250, 2, 100_000, "about how many"),
                number("compactness", 10.0, 0.01, 1000, "larger is rounder"),
            ),
            False,
            "scikit-image",
        ),
        "felzenszwalb": Segmenter(
            _felzenszwalb,
            "regions of any size along edges",
            (
                number("scale", 100.0, 1, 10_000, "larger gives larger regions"),
                number("sigma", 0.8, 0, 20, "sigma of a blur before, in pixels"),
                _SMALLEST,
            ),
            False,
            "scikit-image",
        ),
        "quick-shift": Segmenter(
            _quick_shift,
            "modes of colour and position",
            (
                number("size", 3.0, 1, 20, "sigma of the density"),
                number("distance", 10.0, 1, 100, "larger gives larger regions"),
                number("ratio", 0.5, 0, 1, "weight of colour against position"),
            ),
            False,
            "scikit-image",
        ),
        "watershed": Segmenter(
            _watershed,
            "split objects that touch, or flood from given points",
            (
                numbers("markers", "auto", "points x y/x y to flood from", choices=("auto",)),
                number("waist", 2.0, 0.1, 1000, "split where an object narrows by more pixels than this"),
                _DARK,
                _SMALLEST,
            ),
            by="scikit-image",
        ),
        "grabcut": Segmenter(
            _grabcut,
            "cut out the object in a box",
            (
                numbers("box", None, "x y width height in pixels"),
                whole("rounds", 5, 1, 50, "iterations of the graph cut"),
            ),
            by="OpenCV",
        ),
        "flood": Segmenter(
            _flood,
            "region growing from given points",
            (
                numbers("points", None, "points x y/x y"),
                number("tolerance", 16.0, 0, 255, "largest difference, in levels of 0-255"),
            ),
            by="OpenCV",
        ),
        "components": Segmenter(
            _components,
            "connected components of a mask",
            (number("at", 0.0, 0, 254, "foreground is brighter than this level"), _SMALLEST),
            by="OpenCV",
        ),
    }
)
"""Name → method."""
