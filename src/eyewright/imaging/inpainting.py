"""Fill what is missing or unwanted in an image from what surrounds it; all other pixels stay as they are."""

__all__ = ["METHODS", "FillByNet", "Filled", "choose_method", "deep_share", "grown", "inpaint_pixels", "roughness"]

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import MissingExtraError, UsageError, spelling_hint
from eyewright.core.rng import generator
from eyewright.imaging.first_filling import fill_smoothly, in_windows
from eyewright.imaging.patchmatch import fill_by_patches
from eyewright.imaging.steps.arrays import extra, opencv

METHODS = ("auto", "fsr", "ns", "biharmonic", "exemplar", "net")
"""How a hole is filled: see `inpaint_pixels`."""

FillByNet = Callable[[NDArray[Any], NDArray[np.bool_]], NDArray[Any]]
"""An image, uint8 or uint16 (H, W, 1 or 3), with a first filling, and the hole, to the image with a better one."""

# Half the width up to which a hole is a stroke: two crossing strokes of 12 pixels reach 10.
_THIN = 12.0
_THIN_SHARE = np.float32(0.6)
_THICK_SHARE = 0.1
_ROUNDING = 1e-6
# On 102 photographs (benchmarks/inpaint_rule.py) fsr is ahead of patches by 0.9 dB in boxes of 32 pixels and by 0.6 dB
# in discs of 48, of biharmonic equations by 1.3 dB and no worse in smooth surroundings; and these of ns by 0.8 to 1.2
# dB where the surroundings are smoother than this.
_DEEP = 24.0
_SMOOTH = 6.0
# Biharmonic equations of more pixels than these take minutes and gigabytes.
_MOST_BIHARMONIC = 12_000
# Frequency selective reconstruction takes about 0.1 ms a pixel: of more than these, "auto" takes a faster method.
_MOST_FREQUENCIES = 200_000
_MARGIN = 32
_NET_MARGIN = 256


class Filled(NamedTuple):
    """An image with its hole filled, the pixels that were changed, bool (H, W), and how."""

    image: NDArray[Any]
    changed: NDArray[np.bool_]
    method: str


def grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Return a mask, bool (H, W), that reaches so many pixels further to all sides."""
    if pixels == 0:
        return mask
    cv2 = opencv()
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    found: NDArray[np.bool_] = cv2.dilate(mask.astype(np.uint8), window).astype(bool)
    return found


def choose_method(image: NDArray[Any], mask: NDArray[np.bool_]) -> str:
    """Return the method that "auto" takes: "exemplar" for holes of which over a tenth is over 48 pixels across; else
    "fsr"; where that takes long or is not supported, "biharmonic" for small holes in smooth surroundings, and "ns".
    """
    if deep_share(mask, _DEEP) > _THICK_SHARE:
        return "exemplar"
    if _has_frequencies(image, mask):
        return "fsr"
    small = int(mask.sum()) <= _MOST_BIHARMONIC
    return "biharmonic" if small and roughness(image, mask) < _SMOOTH else "ns"


def deep_share(mask: NDArray[np.bool_], depth: float) -> float:
    """Return the fraction of a hole, bool (H, W), that belongs to parts more than twice `depth` pixels across.

    >>> hole = np.zeros((40, 60), bool)
    >>> hole[5:25, 5:25] = hole[10, 30:50] = True
    >>> round(deep_share(hole, 5), 2), deep_share(hole, 12)
    (0.88, 0.0)
    """
    distance = opencv().distanceTransform(mask.astype(np.uint8), opencv().DIST_L2, 5)
    # Where two strokes cross, a hole is deeper than they are wide.
    return float((grown(distance > depth, round(depth)) & mask).sum()) / max(1.0, float(mask.sum()))


def roughness(image: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    """Return how rough an image is around a hole: the median of its Laplacian within 4 pixels, in levels of 0-255."""
    cv2 = opencv()
    ring = grown(mask, 4) & ~mask
    grey = _levels(image).mean(2)
    steep = np.abs(cv2.Laplacian(grey, cv2.CV_32F, ksize=1))[ring]
    return float(np.median(steep)) if len(steep) else 0.0


def _has_frequencies(image: NDArray[Any], mask: NDArray[np.bool_]) -> bool:
    return image.dtype == np.uint8 and int(mask.sum()) <= _MOST_FREQUENCIES and hasattr(opencv(), "xphoto")


def inpaint_pixels(
    image: NDArray[Any],
    mask: NDArray[np.bool_],
    *,
    method: str = "auto",
    grow: int = 0,
    feather: int = 0,
    seed: int = 0,
    net: FillByNet | None = None,
) -> Filled:
    """Return an image, uint8 or uint16, (H, W) or (H, W, 3), with the pixels under `mask`, bool (H, W), filled.

    - fsr: frequency selective reconstruction, by OpenCV's contributed modules (Genser et al. 2018); strokes and
      scratches, 8 bits only.
    - ns: the Navier-Stokes equations, by OpenCV (Bertalmio, Bertozzi and Sapiro 2001); the same, faster and less exact.
    - biharmonic: the smoothest surface, by scikit-image (Damelin and Hoang 2018); smooth surroundings, small holes.
    - exemplar: patches of the image itself (`imaging.patchmatch`); textures and objects. Strokes of 8-bit images are
      filled by fsr, and that is the method of the result where all of it is strokes.
    - net: what a net makes of the Navier-Stokes filling (`bundle.restoring.Filler`).
    - auto: `choose_method`; with a net, that in place of every method but fsr, which fills strokes and small boxes of
      8-bit photographs 0.8 dB better (benchmarks/README.md).

    `grow` pixels around the mask are filled too, of which the outer `feather` fade into what was there. Every pixel
    outside is equal byte for byte.

    Raises:
        UsageError: an unknown method, a mask of another size, one that covers everything or nothing, a hole that is
            too large for biharmonic, 16 bits with fsr, or a net without the method or the method without a net.
        MissingExtraError: fsr with an OpenCV that lacks the contributed modules.
    """
    if method not in METHODS:
        hint = (
            "use ns: Telea's method misses flat colours"
            if method.lower() == "telea"
            else spelling_hint(method, METHODS)
        )
        raise UsageError(f"unknown method {method!r}", fix=hint)
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3) or 0 in image.shape:
        raise UsageError(f"expected an image as uint8 or uint16 (H, W[, 3]), found {image.dtype} {image.shape}")
    if mask.shape != image.shape[:2]:
        raise UsageError(
            f"expected a mask of {image.shape[1]}x{image.shape[0]} pixels, found {mask.shape[1]}x{mask.shape[0]}",
            fix="make it as large as the image",
        )
    if not 0 <= feather <= grow <= 256:
        raise UsageError(f"expected 0 <= feather <= grow <= 256, found {feather} and {grow}", fix="change grow")
    if method == "fsr":
        _check_fsr(image)
    if method == "net" if net is None else method not in ("auto", "net"):
        raise UsageError(
            "expected the method net together with the bundle of a net that fills holes",
            fix="name both, or another method alone",
        )
    hole = grown(mask, grow)
    if not hole.any():
        raise UsageError("the mask is empty: there is nothing to fill", fix="check the mask", code="mask_empty")
    if hole.all():
        raise UsageError("the mask covers the whole image", fix="check the mask", code="mask_full")
    chosen = method if method != "auto" else choose_method(image, hole)
    if net is not None and chosen != "fsr":
        chosen = "net"
    elif chosen == "fsr":
        net = None
    box = _surroundings(hole, chosen)
    part, part_hole = image[box], hole[box]
    planes = part if part.ndim == 3 else part[..., None]
    if chosen == "biharmonic" and int(part_hole.sum()) > _MOST_BIHARMONIC:
        raise UsageError(
            f"biharmonic fills holes of at most {_MOST_BIHARMONIC:,} pixels, found {int(part_hole.sum()):,}",
            fix="use the method ns or exemplar",
        )
    if net is not None:
        filled = net(fill_smoothly(planes, part_hole), part_hole)
    elif chosen == "exemplar":
        filled, chosen = _patches(planes, part_hole, seed)
    else:
        filled = _fill(planes, part_hole, chosen)
    # Of a large image, only what is in the hole is held as numbers of 32 bits.
    values = filled[part_hole].astype(np.float32)
    del filled
    if feather:
        cv2 = opencv()
        inside = cv2.distanceTransform(part_hole.astype(np.uint8), cv2.DIST_L2, 5)[part_hole]
        share = np.clip(inside / np.float32(feather + 1), 0, 1)[..., None]
        values = share * values + (1 - share) * planes[part_hole]
    out = image.copy()
    target = out[box] if out.ndim == 3 else out[box][..., None]
    target[part_hole] = np.rint(np.clip(values, 0, np.iinfo(image.dtype).max)).astype(image.dtype)
    return Filled(out, hole, chosen)


def _check_fsr(image: NDArray[Any]) -> None:
    if image.dtype != np.uint8:
        raise UsageError("fsr fills images of 8 bits, found 16", fix="use the method ns, biharmonic or exemplar")
    if not hasattr(opencv(), "xphoto"):
        raise MissingExtraError(
            "fsr needs OpenCV's contributed modules", fix="install opencv-contrib-python-headless, or use the method ns"
        )


def _surroundings(hole: NDArray[np.bool_], method: str) -> tuple[slice, slice]:
    """Return the part of the image that is looked at: the hole with a margin; for patches a wide one."""
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    found = []
    for ends, side in ((rows, hole.shape[0]), (columns, hole.shape[1])):
        first, last = int(ends[0]), int(ends[-1]) + 1
        margin = max(64, (last - first)) if method == "exemplar" else _NET_MARGIN if method == "net" else _MARGIN
        found.append(slice(max(0, first - margin), min(side, last + margin)))
    return found[0], found[1]


def _levels(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return an image in levels of 0-255, float32 (H, W, C)."""
    planes = image if image.ndim == 3 else image[..., None]
    return planes.astype(np.float32) * np.float32(255 / np.iinfo(image.dtype).max)


def _fill(planes: NDArray[Any], hole: NDArray[np.bool_], method: str) -> NDArray[Any]:
    """Return values in the range of the image's depth, float32 or of that depth, (H, W, C)."""
    if method == "ns":
        return fill_smoothly(planes, hole)
    if method == "fsr":
        return _frequencies(planes, hole)
    restoration = extra("skimage.restoration")
    found: NDArray[np.float32] = restoration.inpaint_biharmonic(
        planes.astype(np.float64), hole, split_into_regions=True, channel_axis=2
    ).astype(np.float32)
    return found


def _patches(planes: NDArray[Any], hole: NDArray[np.bool_], seed: int) -> tuple[NDArray[np.float32], str]:
    """Return values as `_fill` does, and by which method: fsr where nothing of the hole is left to patches."""
    scale = np.float32(np.iinfo(planes.dtype).max / 255)
    share = _thin_share(hole)[..., None]
    thin = hole & (share[..., 0] > 0)
    first = fill_smoothly(planes, hole).astype(np.float32) / scale
    # The rim of a thick hole is thin too, and not worth as much time as the whole of it.
    if thin.sum() > _THICK_SHARE * hole.sum() and _has_frequencies(planes, hole):
        first[thin] = _frequencies(planes, hole)[thin]
        # Alone they are better in strokes than together with patches, which Navier-Stokes is not.
        share = share / _THIN_SHARE
        if (share[hole] >= 1 - _ROUNDING).all():
            return first * scale, "fsr"
    found = fill_by_patches(_levels(planes), hole, first, rng=generator(seed, "patches"))
    mixed: NDArray[np.float32] = (share * first + (1 - share) * found) * scale
    return mixed, "exemplar"


def _thin_share(hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the fraction of each pixel, float32 (H, W), that is the first filling: most of thin strokes, where both
    together are better than patches; nothing of what belongs to a thick hole, which it would blur."""
    cv2 = opencv()
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5)
    thick = grown(depth > _THIN, round(_THIN) + 2).astype(np.float32)
    share: NDArray[np.float32] = _THIN_SHARE * (1 - cv2.blur(thick, (9, 9)))
    return share


def _frequencies(planes: NDArray[Any], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fill by OpenCV's frequency selective reconstruction, of a large image in windows."""
    return in_windows(planes, hole, _fill_frequencies)


def _fill_frequencies(planes: NDArray[Any], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """It takes BGR and a mask of what is known, and works in blocks; what is smaller than one comes out in wrong
    colours: the image is mirrored at its edges.
    """
    cv2 = opencv()
    (height, width, colours), pad = planes.shape, _MARGIN
    known = np.pad((~hole).astype(np.uint8) * np.uint8(255), pad, mode="symmetric")
    mirrored = np.pad(planes, ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
    given = np.ascontiguousarray(mirrored[..., ::-1] if colours == 3 else mirrored[..., 0])
    found = np.zeros_like(given)
    cv2.xphoto.inpaint(given, known, found, cv2.xphoto.INPAINT_FSR_FAST)
    inner = found.reshape(mirrored.shape)[pad : pad + height, pad : pad + width]
    filled: NDArray[np.uint8] = inner[..., ::-1] if colours == 3 else inner
    return filled
