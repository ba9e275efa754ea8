"""Fill a part of an image file: under a mask, in a box, or where a bundle finds objects."""

__all__ = ["Inpainting", "bundles_by_role", "inpaint"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.manifest import bundle_folder, read_manifest
from eyewright.bundle.restoring import open_filler
from eyewright.core.errors import BundleError, UsageError, spelling_hint
from eyewright.core.inputs import IMAGE, MASK
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.core.task import task_of
from eyewright.imaging.decode import name_unreadable, read_image
from eyewright.imaging.encode import DEEP_FORMATS, WRITTEN
from eyewright.imaging.headers import FORMATS, Limits
from eyewright.imaging.inpainting import inpaint_pixels
from eyewright.imaging.layers import read_hole, read_layers
from eyewright.lifecycle.restoring import holding_path, lost_frames, write_layers

PathLike = str | Path

_GROWN = 3
_FEATHERED = 2


@dataclass(frozen=True)
class Inpainting:
    """What `inpaint` made: the file, the method, how many pixels were changed and their fraction, how many objects were
    found; and what was noticed. Without a file nothing was to be done."""

    out: Path | None
    method: str
    pixels: int
    share: float
    objects: int
    findings: tuple[Finding, ...]


def inpaint(
    image: PathLike,
    out: PathLike,
    *,
    mask: PathLike | None = None,
    box: tuple[float, float, float, float] | None = None,
    label: str | None = None,
    model: PathLike | None = None,
    net: PathLike | None = None,
    conf: float | None = None,
    method: str = "auto",
    grow: int | None = None,
    feather: int | None = None,
    quality: float = 90,
    overwrite: bool = False,
    seed: int = 0,
    limits: Limits | None = None,
) -> Inpainting:
    """Fill a part of an image from what surrounds it, and write the whole to the file `out`.

    What is filled is under `mask`, in `box` (x, y, width, height), or every object of the class `label` that the bundle
    `model` finds, by its masks or else its boxes. A mask is an image of the same size: white, or 1 where all values are
    0 and 1. All other pixels are equal byte for byte where the format of `out` loses nothing.

    Args:
        net: a bundle that fills holes, trained by `--task restore --degrade holes:10-30`.
        conf: the score from which an object counts, in [0, 1]; by default the bundle's operating points.
        method: one of `imaging.inpainting.METHODS`.
        grow: pixels that are filled around it; 3 by default for objects, else 0.
        feather: how many of these fade into what was there; 2 by default for objects, else 0.

    Raises:
        UsageError: not just one of mask, box and label; a mask of another size; an output that exists.
        UnreadableImageError: image or mask cannot be read.
    """
    limits, target = limits or Limits(), Path(out)
    if sum(v is not None for v in (mask, box, label)) != 1:
        raise UsageError("expected one of --mask, --box and --object, found none or several", fix="pass one of them")
    if (label is None) != (model is None):
        raise UsageError(
            "expected --object together with --with BUNDLE of a model that finds objects",
            fix="name both, or pass --mask or --box",
        )
    known = next((n for n in WRITTEN if target.suffix.lower() in FORMATS[n]), None)
    if known is None:
        raise UsageError(f"expected --out as an image file, found {target.name!r}", fix="use a name such as filled.png")
    if target.exists() and not overwrite:
        raise UsageError(f"{quoted(target)} exists", fix="pass --overwrite, or another --out", code="exists")
    filler = None if net is None else open_filler(str(net))
    with name_unreadable(str(image)):
        pixels, alpha = read_layers(Path(image), limits)
    n_objects = 0
    if mask is not None:
        hole = _read_mask(mask, limits)
    elif box is not None:
        hole = _boxed(pixels.shape[:2], (box[0], box[1], box[0] + box[2], box[1] + box[3]))
        if not hole.any():
            raise UsageError("the box lies outside the image", fix="change --box")
    else:
        assert label is not None
        assert model is not None
        hole, n_objects = _objects(Path(model), Path(image), pixels.shape[:2], label, conf)
    if not hole.any():
        what = f"no {label!r} was found" if label is not None else "the mask is empty"
        fix = "lower --conf, or pass --mask or --box" if label is not None else "make what is to be filled white"
        found = Finding("mask_empty", f"{what}: nothing was filled", fix, str(image))
        return Inpainting(None, "none", 0, 0.0, n_objects, (found,))
    grow = (_GROWN if label is not None else 0) if grow is None else grow
    feather = min(grow, _FEATHERED if label is not None else 0) if feather is None else feather
    done = inpaint_pixels(pixels, hole, method=method, grow=grow, feather=feather, seed=seed, net=filler)
    if alpha is not None:
        # What is filled is seen.
        alpha = np.where(hole, 255 if alpha.dtype == np.uint8 else 65535, alpha).astype(alpha.dtype)
    findings = lost_frames(Path(image), limits)
    made = holding_path(target, done.image, alpha)
    if made != target and made.exists() and not overwrite:
        raise UsageError(
            f"{known} cannot hold this image, and {quoted(made)} exists",
            fix="pass --overwrite, or another --out",
            code="exists",
        )
    loses = known == "JPEG" or (known in ("WEBP", "AVIF", "JPEG2000", "JXL", "GIF") and quality < 100)
    if loses or (pixels.dtype == np.uint16 and known not in DEEP_FORMATS):
        text = f"{known} changes pixels outside the hole too"
        findings.append(Finding("format_loses", text, "write .png to keep them", str(target), severity="note"))
    path = write_layers(target, done.image, alpha, quality)
    n = int(done.changed.sum())
    return Inpainting(path, done.method, n, n / done.changed.size, n_objects, tuple(findings))


def _read_mask(path: PathLike, limits: Limits) -> NDArray[np.bool_]:
    """Return a mask, bool (H, W): what is brighter than the middle of the range, or 1 where all values are 0 and 1, and
    not transparent."""
    with name_unreadable(str(path)):
        return read_hole(path, limits)


def bundles_by_role(places: Sequence[PathLike], *, finds: bool) -> tuple[PathLike | None, PathLike | None]:
    """Return the bundle that finds objects and the one that fills holes. One alone finds objects if those are asked
    for, else it fills; of two the bundles themselves say it.

    Raises:
        UsageError: more than two, or two of one role.
        InputError, BundleError: of two one is missing or damaged.
    """
    if len(places) <= 1:
        only = places[0] if places else None
        return (only, None) if finds else (None, only)
    fills = [set(read_manifest(bundle_folder(Path(p).expanduser())).inputs) == {IMAGE, MASK} for p in places]
    if not finds or sorted(fills) != [False, True]:
        raise UsageError(
            f"expected at most one --with bundle that fills holes, and with --object one that finds objects, found "
            f"{len(places)} bundles, {sum(fills)} of which fill holes",
            fix="leave one out",
        )
    return places[fills.index(False)], places[fills.index(True)]


def _boxed(size_hw: tuple[int, ...], corners: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    hole = np.zeros(size_hw[:2], bool)
    x0, y0, x1, y1 = corners
    hole[max(0, int(np.floor(y0))) : max(0, int(np.ceil(y1))), max(0, int(np.floor(x0))) : max(0, int(np.ceil(x1)))] = 1
    return hole


def _objects(
    model: Path, image: Path, size_hw: tuple[int, ...], label: str, conf: float | None
) -> tuple[NDArray[np.bool_], int]:
    """Return where a bundle finds objects of a class, bool (H, W), and how many."""
    from eyewright.lifecycle.loading import open_any

    bundle: Any = open_any(bundle_folder(model))
    if label not in bundle.labels.names:
        raise UsageError(f"the bundle knows no {label!r}", fix=spelling_hint(label, bundle.labels.names))
    (found,) = bundle.predict_images([np.asarray(read_image(image))], conf=conf)
    boxes: Any = getattr(found, "boxes_xyxy", None)
    masks: Any = getattr(found, "masks", None)
    if boxes is None and masks is None:
        raise BundleError(
            f"expected a bundle that says where objects are, found one for {task_of(bundle.task_name).words.noun}",
            fix="use one that was trained to find boxes or masks",
        )
    hole, n = np.zeros(size_hw[:2], bool), 0
    for k, name in enumerate(found.labels):
        if name == label:
            hole |= masks[k] if masks is not None else _boxed(size_hw, tuple(boxes[k]))
            n += 1
    return hole, n
