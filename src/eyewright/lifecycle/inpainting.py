"""Fill a part of an image file: under a mask, in a box, or where a bundle finds objects."""

__all__ = ["Inpainting", "bundles_by_role", "inpaint"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eyewright.bundle.manifest import bundle_folder, read_manifest
from eyewright.bundle.restoring import open_filler
from eyewright.core.errors import UsageError
from eyewright.core.inputs import IMAGE, MASK
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.imaging.decode import name_unreadable
from eyewright.imaging.encode import WRITTEN
from eyewright.imaging.headers import FORMATS, Limits
from eyewright.imaging.inpainting import inpaint_pixels
from eyewright.imaging.layers import read_layers
from eyewright.lifecycle.holes_given import boxes_hole, masks_hole, objects_hole
from eyewright.lifecycle.restoring import format_changes, holding_path, lost_frames, write_layers

PathLike = str | Path
Box = tuple[float, float, float, float]

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
    mask: PathLike | Sequence[PathLike] | None = None,
    box: Box | Sequence[Box] | None = None,
    label: str | Sequence[str] | None = None,
    model: PathLike | None = None,
    net: PathLike | None = None,
    conf: float | None = None,
    method: str = "auto",
    test_time_augment: bool = False,
    grow: int | None = None,
    feather: int | None = None,
    quality: float = 90,
    overwrite: bool = False,
    seed: int = 0,
    limits: Limits | None = None,
) -> Inpainting:
    """Fill a part of an image from what surrounds it, and write the whole to the file `out`.

    What is filled is under `mask`, in `box` (x, y, width, height), or every object of the class `label` that the bundle
    `model` finds, by its masks or else its boxes; of several of these all. A mask is an image of the same size: white,
    or 1 where all values are 0 and 1. All other pixels are equal byte for byte where the format of `out` loses nothing.

    Args:
        net: a bundle that fills holes, trained by `--task restore --degrade holes:10-30`.
        conf: the score from which an object counts, in [0, 1]; by default the bundle's operating points.
        method: one of `imaging.inpainting.METHODS`.
        test_time_augment: where the net fills, take its mean over 8 flips and rotations, in 8 times the time.
        grow: pixels that are filled around it; 3 by default for objects, else 0.
        feather: how many of these fade into what was there; 2 by default for objects, else 0.

    Raises:
        UsageError: not just one of mask, box and label; a mask of another size; an output that exists.
        UnreadableImageError: image or mask cannot be read.
    """
    limits, target = limits or Limits(), Path(out)
    masks: tuple[PathLike, ...] = _several(mask, str | Path)
    labels: tuple[str, ...] = _several(label, str)
    boxes: tuple[Box, ...] = _several(box if box is None or not np.isscalar(box[0]) else [box], str)
    if sum(bool(v) for v in (masks, boxes, labels)) != 1:
        raise UsageError("expected one of --mask, --box and --object, found none or several", fix="pass one of them")
    if bool(labels) != (model is not None):
        raise UsageError(
            "expected --object together with --with BUNDLE of a model that finds objects",
            fix="name both, or pass --mask or --box",
        )
    known = next((n for n in WRITTEN if target.suffix.lower() in FORMATS[n]), None)
    if known is None:
        raise UsageError(f"expected --out as an image file, found {target.name!r}", fix="use a name such as filled.png")
    if any(_same_file(target, m) for m in masks):
        raise UsageError(
            f"expected --out and --mask to be two files, both are {quoted(target)}", fix="pass another --out"
        )
    if target.exists() and not overwrite:
        raise UsageError(f"{quoted(target)} exists", fix="pass --overwrite, or another --out", code="exists")
    if test_time_augment and net is None:
        raise UsageError(
            "expected --test-time-augment together with --with BUNDLE of a net that fills holes",
            fix="name such a bundle, or leave it out",
        )
    filler = None if net is None else partial(open_filler(str(net)), test_time_augment=test_time_augment)
    with name_unreadable(str(image)):
        pixels, alpha = read_layers(Path(image), limits)
    n_objects = 0
    findings: list[Finding] = []
    if masks:
        hole, findings = masks_hole(masks, pixels.shape, limits)
    elif boxes:
        hole, findings = boxes_hole(pixels.shape, boxes, str(image))
    else:
        assert model is not None
        hole, n_objects = objects_hole(Path(model), Path(image), pixels.shape, labels, conf)
    if not hole.any():
        if labels:
            what = f"no {' or '.join(map(repr, labels))} was found: nothing was filled"
            findings.append(Finding("mask_empty", what, "lower --conf, or pass --mask or --box", str(image)))
        return Inpainting(None, "none", 0, 0.0, n_objects, tuple(findings))
    grow = (_GROWN if labels else 0) if grow is None else grow
    feather = min(grow, _FEATHERED if labels else 0) if feather is None else feather
    done = inpaint_pixels(pixels, hole, method=method, grow=grow, feather=feather, seed=seed, net=filler)
    if alpha is not None:
        # What is filled is seen.
        alpha = np.where(done.changed, 255 if alpha.dtype == np.uint8 else 65535, alpha).astype(alpha.dtype)
    findings += lost_frames(Path(image), limits)
    if test_time_augment and done.method != "net":
        text = f"no net was used, so there was nothing to augment: filled by {done.method}"
        findings.append(
            Finding("not_augmented", text, "pass --method net to fill by the net", str(image), severity="note")
        )
    made = holding_path(target, done.image, alpha)
    if any(_same_file(made, m) for m in masks):
        raise UsageError(f"{known} cannot hold this image, and {quoted(made)} is the mask", fix="pass another --out")
    if made != target and made.exists() and not overwrite:
        raise UsageError(
            f"{known} cannot hold this image, and {quoted(made)} exists",
            fix="pass --overwrite, or another --out",
            code="exists",
        )
    changes = format_changes(target, made, done.image, alpha, Path(image))
    findings += [f for f in changes if f.code == "format_changed"]
    loses = known == "JPEG" or (known in ("WEBP", "AVIF", "JPEG2000", "JXL") and quality < 100)
    # What had to become a PNG loses nothing.
    if (loses and made == target) or any(f.code == "format_loses" for f in changes):
        text = f"{known} changes pixels outside the hole too"
        findings.append(Finding("format_loses", text, "write .png to keep them", str(target), severity="note"))
    path = write_layers(target, done.image, alpha, quality)
    n = int(done.changed.sum())
    return Inpainting(path, done.method, n, n / done.changed.size, n_objects, tuple(findings))


def _several(value: Any, one: Any) -> tuple[Any, ...]:
    return () if value is None else (value,) if isinstance(value, one) else tuple(value)


def _same_file(a: Path, b: PathLike) -> bool:
    return a.exists() and Path(b).exists() and a.samefile(b)


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
