"""`doctor` for boxes and masks: what is wrong with what is marked; and the marks that can be used all the same."""

__all__ = [
    "MARK_CODES",
    "UNUSABLE_BOXES",
    "UNUSABLE_OUTLINES",
    "audit_marked",
    "audit_objects",
    "audit_targets",
    "unusable_marks",
    "usable_objects",
]

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError
from eyewright.core.report import Finding
from eyewright.data.box_formats import audit_box_formats

if TYPE_CHECKING:
    from eyewright.data.dataset import Dataset, Sample
    from eyewright.data.scan import Scan
    from eyewright.data.targets.objects import Objects, Outline
    from eyewright.imaging.decode import ImageInfo

MARK_CODES = MappingProxyType(
    {
        "annotation": "an annotation that cannot be read; it is left out",
        "class_id": "a class id that no class has; the annotation is left out",
        "class_twice": "two classes of one name; they are joined",
        "class_list_differs": "the parts of a dataset list different classes",
        "class_never_seen": "a class that is listed but never used",
        "missing_image": "annotations for an image that is missing",
        "orphan_annotation": "annotations of no listed image, or a label file or mask without an image",
        "unlabelled": "an image without annotations",
        "empty_part": "a part of the dataset in which nothing is marked",
        "size_mismatch": "the annotations state another size than the image has",
        "box_outside": "a box that extends beyond its image",
        "box_empty": "a box without area",
        "box_flipped": "a box whose corners are exchanged",
        "box_duplicate": "the same object marked twice",
        "box_huge": "a box as large as the image, many times the usual size of its class",
        "box_tiny": "a box of a pixel or two, a small part of the usual size of its class",
        "crowded": "more than 1,000 objects in one image",
        "ignore_region": "regions that training and metrics leave out",
        "mask_size": "a mask of another size than its image",
        "mask_value": "a mask with a value that no class has",
        "mask_rgb": "a mask saved in colour",
        "mask_lossy": "a mask saved as JPEG, whose compression changes the values",
        "outline": "an outline that cannot be painted, or lies away from its box",
        "background": "images in which nothing is marked",
        "repaired": "annotations that are read although they are written in another way than the format has it",
        "reduced": "annotations that are read without a part, such as key points or one polygon of several",
        "image_name": "an annotation file that names an image with another file name",
        "same_part": "images that two parts of the dataset list",
        "missing_part": "a part that data.yaml names and that holds no image",
        "unlisted": "an image that no part of the dataset names",
        "several_annotators": "tasks that were annotated more than once",
    }
)
"""Every code that a finding about boxes and masks can have, with its meaning."""

_OUTSIDE = 1.0
_SAME = 0.95
_CROWDED = 1000
_TIMES = 20.0


def audit_targets(dataset: "Dataset", scan: "Scan") -> list[Finding]:
    """Return what is wrong with the targets of a dataset; `scan` is of its images."""
    found = dataset.kind.audit(dataset, scan)
    # Where nothing is marked at all, that has been said.
    backgrounds = [] if any(f.code == "mask_empty" for f in found) else _backgrounds(dataset)
    return [*found, *_parts(dataset), *backgrounds, *_ignored(dataset)]


def audit_objects(dataset: "Dataset", scan: "Scan") -> list[Finding]:
    """Return what is wrong with boxes and, where they are learnt from, outlines."""
    found = [*dataset.problems]
    sizes = [None if r.info is None else r.info.size_hw for r in scan.records]
    formats, told = audit_box_formats(dataset, sizes)
    for i, (sample, record) in enumerate(zip(dataset.samples, scan.records, strict=True)):
        if record.info is not None:
            found += audit_marked(dataset, sample, cast("Objects", sample.target), record.info, boxes=i not in told)
    if not told:
        found += _unusual_sizes(dataset, sizes)
    return [*formats, *found]


def usable_objects(objects: "Objects", size_hw: tuple[int, int]) -> "Objects":
    """Return the objects that can be learnt from and measured against: corners in order, cut off at the image's edge,
    without boxes that have no area and without those that are there twice. Run-length encoding of another size than the
    image's are left out, and their box is kept.

    >>> from eyewright.data.targets.objects import Objects
    >>> boxes = np.array([[8.0, 2.0, 4.0, 9.0], [3.0, 3.0, 3.0, 8.0]])
    >>> usable_objects(Objects(boxes, np.array([0, 0]), np.array([False, False])), (6, 9)).boxes_xyxy.tolist()
    [[4.0, 2.0, 8.0, 6.0]]
    """
    if not len(objects):
        return objects

    found = objects.in_pixels(size_hw)
    boxes = found.boxes_xyxy
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    side = np.array([size_hw[1], size_hw[0]], np.float64)
    boxes = np.concatenate([np.clip(low, 0, side), np.clip(high, 0, side)], 1)
    good = np.asarray(np.isfinite(boxes).all(1) & ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1))
    for _, later in _same_objects(boxes, found.label_ids):
        good[later] = False
    outlines = found.outlines if found.fits(size_hw) else [_fitting(o, size_hw) for o in found.outlines]
    return replace(found, boxes_xyxy=boxes, outlines=outlines).chosen(good)


def unusable_marks(objects: "Objects", size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return how many objects `usable_objects` leaves out, and how many outlines.

    The reasons for both, in an account, are `UNUSABLE_BOXES` and `UNUSABLE_OUTLINES`.
    """
    if not len(objects):
        return 0, 0
    outlines = sum(not o.fits(size_hw) for o in objects.outlines)
    return len(objects) - len(usable_objects(objects, size_hw)), outlines


UNUSABLE_BOXES = "boxes without area or outside their image, or listed twice"
UNUSABLE_OUTLINES = "run-length encoding of another size than the image's"


def _fitting(outline: "Outline", size_hw: tuple[int, int]) -> "Outline":
    return outline if outline.fits(size_hw) else type(outline)()


def audit_marked(
    dataset: "Dataset", sample: "Sample", target: "Objects", info: "ImageInfo", *, boxes: bool = True
) -> Iterator[Finding]:
    """Yield what is wrong with the objects of one image; without `boxes` nothing of single boxes."""
    size_hw, orientation = info.size_hw, info.orientation
    if sample.stated_hw is not None and sample.stated_hw != size_hw:
        path, _ = target.place(0) if len(target) else ("", None)
        turned = orientation != 1 and sample.stated_hw == size_hw[::-1]
        stated = f"{sample.stated_hw[1]}x{sample.stated_hw[0]}"
        text = f"annotated as {stated} pixels, the image {sample.id!r} is {size_hw[1]}x{size_hw[0]}"
        fix = "annotate it upright: its EXIF tag rotates it" if turned else "annotate the image that is there"
        if not turned and sample.stated_hw == size_hw[::-1]:
            fix = "exchange width and height in the annotations"
        yield Finding("size_mismatch", text, fix, path or sample.id, severity="error")
    if len(target) > _CROWDED:
        text = f"{len(target)} objects in one image"
        fix = "cut it into tiles; training uses a random 1,000 of them"
        yield Finding("crowded", text, fix, sample.id)
    objects = target.in_pixels(size_hw)
    if boxes:
        yield from _audit_boxes(objects, sample, size_hw, dataset.labels.names)
    if "outlines" in dataset.needs:
        yield from _audit_outlines(objects, sample, size_hw)


def _audit_boxes(
    objects: "Objects", sample: "Sample", size_hw: tuple[int, int], names: tuple[str, ...]
) -> Iterator[Finding]:
    boxes = objects.boxes_xyxy
    if not len(boxes):
        return

    def finding(code: str, k: int, text: str, fix: str, severity: Any = "error") -> Finding:
        path, line = objects.place(k)
        where = f" in {sample.id!r}" if path and path != sample.id else ""
        shown = ", ".join(f"{v:.6g}" for v in boxes[k])
        return Finding(
            code, f"{names[objects.label_ids[k]]!r} box ({shown}){where} {text}", fix, path or sample.id, line, severity
        )

    flipped = (boxes[:, 2:] < boxes[:, :2]).any(1)
    for k in np.flatnonzero(flipped).tolist():
        yield finding("box_flipped", k, "has its corners exchanged", "write the left upper corner first")
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    empty = ((high - low) <= 0).any(1)
    for k in np.flatnonzero(empty).tolist():
        yield finding("box_empty", k, "has no area; it is left out", "draw or remove it")
    side = np.array([size_hw[1], size_hw[0]], np.float64)
    over = np.maximum(-low, high - side).max(1)
    for k in np.flatnonzero((over > _OUTSIDE) & ~empty).tolist():
        gone = bool((high[k] <= 0).any() or (low[k] >= side).any())
        text = (
            f"lies outside the image of {size_hw[1]}x{size_hw[0]}" if gone else f"reaches {over[k]:.6g} pixels outside"
        )
        yield finding(
            "box_outside", k, text, "draw it again; it is cut off at the edge", "error" if gone else "warning"
        )
    for first, later in _same_objects(np.concatenate([low, high], 1), objects.label_ids):
        text = f"marks the same object as another ({first + 1} and {later + 1} of this image)"
        yield finding("box_duplicate", later, text, "remove one of the two", "warning")


def _same_objects(boxes: NDArray[np.float64], labels: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return pairs (first, later) of boxes of one class whose IoU is 95 % or more; found by sorting, not by pairs."""
    order = np.lexsort((np.round(boxes[:, 0]), labels))
    pairs = []
    for step in (1, 2, 3):
        a, b = order[:-step], order[step:]
        if not len(a):
            break
        same = labels[a] == labels[b]
        corner = np.minimum(boxes[a, 2:], boxes[b, 2:]) - np.maximum(boxes[a, :2], boxes[b, :2])
        both = np.clip(corner, 0, None).prod(1)
        area_a, area_b = ((boxes[i, 2:] - boxes[i, :2]).clip(0).prod(1) for i in (a, b))
        alike = same & (both > 0) & (both >= _SAME * (area_a + area_b - both))
        pairs += [(int(min(p)), int(max(p))) for p in zip(a[alike], b[alike], strict=True)]
    return sorted(pairs)


def _audit_outlines(objects: "Objects", sample: "Sample", size_hw: tuple[int, int]) -> Iterator[Finding]:
    for k, outline in enumerate(objects.outlines):
        path, line = objects.place(k)
        where = f" in {sample.id!r}" if path and path != sample.id else ""
        try:
            if not outline:
                text = f"an object{where} has a box and no outline; it is left out"
            else:
                box, own = outline.box(), objects.boxes_xyxy[k]
                if outline.rle is not None and tuple(outline.rle["size"]) != size_hw:
                    height, width = outline.rle["size"]
                    image = f"{size_hw[1]}x{size_hw[0]}"
                    text = f"run-length encoding of {width}x{height} pixels for an image of {image}{where}"
                else:
                    reach = max(2.0, 0.1 * float((own[2:] - own[:2]).max()))
                    far = float(np.abs(box - own).max())
                    if far <= reach:
                        continue
                    text = f"the outline lies up to {far:.0f} pixels away from its box{where}"
        except EyewrightError as error:
            text = error.message + where
        yield Finding("outline", text, "draw or export it again", path or sample.id, line, "error")


def _unusual_sizes(dataset: "Dataset", sizes: list[tuple[int, int] | None]) -> list[Finding]:
    """Find boxes far from the usual size of their class, measured as the root of their share of the image."""
    roots: list[NDArray[np.float64]] = []
    ids: list[NDArray[np.int64]] = []
    owners: list[tuple[int, int]] = []
    for i, (sample, size) in enumerate(zip(dataset.samples, sizes, strict=True)):
        if size is None or not len(cast("Objects", sample.target)):
            continue
        objects = cast("Objects", sample.target).in_pixels(size)
        sides = np.abs(objects.boxes_xyxy[:, 2:] - objects.boxes_xyxy[:, :2])
        roots.append(np.sqrt(sides.prod(1) / (size[0] * size[1])))
        ids.append(objects.label_ids)
        owners += [(i, k) for k in range(len(objects))]
    if not roots:
        return []
    root, label = np.concatenate(roots), np.concatenate(ids)
    found = []
    for c, name in enumerate(dataset.labels.names):
        own = np.flatnonzero((label == c) & (root > 0))
        if len(own) < 20:
            continue
        usual = float(np.median(root[own]))
        for j in own[(root[own] > 0.95) & (root[own] > 4 * usual) | (root[own] < usual / _TIMES)]:
            i, k = owners[j]
            sample = dataset.samples[i]
            path, line = sample.target.place(k)
            code = "box_huge" if root[j] > usual else "box_tiny"
            text = (
                f"{name!r} box in {sample.id!r} covers {root[j] ** 2:.2%} of the image, "
                f"where {usual**2:.2%} is usual for its class"
            )
            found.append(Finding(code, text, "check that it is correct", path or sample.id, line))
    return found


def _parts(dataset: "Dataset") -> list[Finding]:
    found: list[Finding] = []
    if all(s.target.empty(dataset.background) for s in dataset.samples):
        # Not one part is to blame; some kinds of targets, such as captions, may be missing everywhere.
        return found
    for split in dataset.splits if len(dataset.splits) > 1 else ():
        own = [s for s in dataset.samples if s.split == split]
        if own and all(s.target.empty(dataset.background) for s in own):
            text = f"nothing is marked in any of the {len(own)} images of {split}"
            found.append(Finding("empty_part", text, f"annotate {split}, or leave it out", severity="error"))
    return found


def _backgrounds(dataset: "Dataset") -> list[Finding]:
    empty = [s.id for s in dataset.samples if s.target.empty(dataset.background)]
    if not empty:
        return []
    text = f"nothing is marked in {len(empty)} of {len(dataset)} images, such as {empty[0]!r}; they are background"
    return [Finding("background", text, "check that they show no object", empty[0], severity="note")]


def _ignored(dataset: "Dataset") -> list[Finding]:
    total = sum(s.target.ignored for s in dataset.samples)
    if not total:
        return []
    first = next(s.id for s in dataset.samples if s.target.ignored)
    regions = f"{total} ignore region{'s' * (total != 1)}"
    text = f"{regions} (crowd, difficult), such as in {first!r}: training and metrics leave them out"
    return [Finding("ignore_region", text, "nothing, if they are intended", first, severity="note")]
