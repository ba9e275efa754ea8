"""Anonymous copies of images and videos: hide what was found, write only pixels, and read it back."""

__all__ = [
    "AnonymousImage",
    "HiddenFile",
    "Hiding",
    "Recall",
    "VideoScan",
    "anonymize_bytes",
    "anonymize_video",
    "measure_recall",
    "scan_video",
]

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UnreadableImageError, UsageError
from eyewright.core.progress import track_progress
from eyewright.core.regular import open_regular
from eyewright.core.report import Finding, Metric
from eyewright.imaging.decode import probe_image, read_image
from eyewright.imaging.encode import DEEP_FORMATS, encode_image
from eyewright.imaging.headers import Limits
from eyewright.imaging.residue import residue_of, texts_in, texts_left
from eyewright.imaging.retained import retained_exif
from eyewright.imaging.sources import open_source
from eyewright.imaging.webm import WebmWriter
from eyewright.metrics.binomial import clopper_pearson
from eyewright.processing.box_lists import BoxList, NamedBoxes
from eyewright.processing.finders import Finder, find_all, heads_of, is_person, kinds_of
from eyewright.processing.hiding import How, grown_boxes, hidden_mask, hide_boxes
from eyewright.processing.losses import reading_losses
from eyewright.processing.remembering import Memory, remembered

COVERED = 0.9
"""A box counts as hidden when at least this part of it is."""

LEAST_SIDE = 20
"""Recall is also given for boxes with both sides of this many pixels or more."""

MARGINS: Mapping[str, float] = MappingProxyType({"faces": 0.2})
"""By how much boxes of a kind are enlarged: detectors of faces draw them from eyebrows to chin. Others: 0.1."""

_MARGIN = 0.1
_GREY = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N"})
_DRAWN = "boxes"
_AT_ONCE, _OVERLAP = 8 * 2**20, 128


@dataclass(frozen=True)
class Hiding:
    """How images are made anonymous.

    Args:
        finders: what searches each image.
        boxes: boxes that are hidden in addition; with these alone, an image that they do not name is refused.
        how: "fill", "blur" or "pixelate"; text is always filled.
        margin: part of its sides by which a box is enlarged; None: `MARGINS` for its kind.
        keep: metadata that is kept, of `imaging.retained.RETAINABLE`.
        to: "JPEG", "PNG" or "WEBP"; None keeps JPEG and WebP and writes everything else as PNG.
        memory: of videos.
    """

    finders: tuple[Finder, ...]
    boxes: BoxList | None = None
    how: How = "fill"
    margin: float | None = None
    keep: tuple[str, ...] = ()
    to: str | None = None
    quality: float = 92
    memory: Memory = field(default_factory=Memory)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, eq=False)
class HiddenFile:
    """One file that was made anonymous: its name in the source and in the output, how many boxes of each kind were
    hidden, the fraction of its pixels, and `size_hw`; `frames` of a video. `boxes` are those that were hidden, by
    frame; an image is frame 0. `notes` are sentences about the file."""

    source: str
    name: str
    size_hw: tuple[int, int]
    found: Mapping[str, int]
    share: float
    boxes: Sequence[NDArray[np.int64]]
    frames: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class AnonymousImage:
    """The anonymous file of an image: its bytes and pixels, how many boxes of each kind were hidden, the boxes,
    sentences about what changed, and what of the input the second reader still found in it, which must be nothing."""

    data: bytes
    pixels: NDArray[Any]
    format: str
    found: Mapping[str, int]
    boxes: NDArray[np.int64]
    notes: tuple[str, ...]
    left: tuple[str, ...]


def anonymize_bytes(data: bytes, name: str, hiding: Hiding) -> AnonymousImage:
    """Make the file of an image anonymous; `name` is its path in the source.

    Pixels are decoded, turned upright, converted to sRGB and laid over white where they are transparent; 16 bits stay.

    Raises:
        UnreadableImageError: it cannot be read, is animated, has floating-point pixels, `boxes` do not name it, or
            one of its boxes cannot be used.
    """
    info = probe_image(data, limits=hiding.limits)
    # Of a JPEG, further pictures are depth maps, gain maps and previews of the first: they go with the metadata.
    if info.frames > 1 and info.format != "JPEG":
        raise UnreadableImageError(
            f"expected one image, found {info.frames} frames: the others would be lost",
            fix="write them as images with eyewright process --pages, or convert it to a video",
            code="animated",
        )
    image: NDArray[Any] = read_image(data, depth="native", limits=hiding.limits)
    if image.dtype not in (np.uint8, np.uint16):
        raise UnreadableImageError(
            f"expected 8 or 16 bits a channel, found {image.dtype}", fix="save it with 16 bits", code="unknown_range"
        )
    notes = ["transparency was laid over white"] if reading_losses(data, info, limits=hiding.limits) else []
    drawn = None if hiding.boxes is None else hiding.boxes.of(name)
    if hiding.boxes is not None and drawn is None:
        if not hiding.finders:
            raise UnreadableImageError(
                "expected the image in --boxes, found no entry: what to hide is not known",
                fix="add it, without boxes if there is nothing to hide, or add --find",
                code="not_in_boxes",
            )
        notes.append("the image is not in --boxes")
    if drawn is not None:
        _check_drawn(drawn, (image.shape[0], image.shape[1]))
    seen = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
    found = find_all(hiding.finders, np.asarray(seen, np.uint8))
    counts, boxes, texts = _grown(found, drawn, image.shape[:2], hiding)
    pixels = hide_boxes(hide_boxes(image, boxes, hiding.how), texts)
    if info.mode in _GREY:
        pixels = np.ascontiguousarray(pixels[..., 0])
    format = hiding.to or (info.format if info.format in ("JPEG", "WEBP") else "PNG")
    if pixels.dtype == np.uint16 and format not in DEEP_FORMATS:
        pixels = (pixels >> 8).astype(np.uint8)
        notes.append(f"{format} holds 8 bits: the lower 8 of 16 bits are gone")
    kept = retained_exif(data, hiding.keep)
    if kept and pixels.dtype == np.uint16:
        notes.append("metadata is not kept with 16 bits")
        kept = b""
    coded = encode_image(pixels, format=format, quality=hiding.quality, exif=kept or None)
    left = residue_of(coded, texts_in(data), allowed=kept)
    return AnonymousImage(coded, pixels, format, counts, np.concatenate([boxes, texts]), tuple(notes), tuple(left))


def _check_drawn(drawn: NamedBoxes, size_hw: tuple[int, int]) -> None:
    """Refuse an image whose boxes do not all mark something in it: what they should hide would be shown.

    Raises:
        UnreadableImageError: a box has no area, or lies outside the image.
    """
    if drawn.unusable:
        more = f" and {len(drawn.unusable) - 3} more" if len(drawn.unusable) > 3 else ""
        raise UnreadableImageError(
            f"expected boxes with x0 < x1 and y0 < y1 in --boxes, found none in {', '.join(drawn.unusable[:3])}{more}: "
            "what to hide is not known",
            fix="correct the box, or remove it",
            code="flat_boxes",
        )
    outside = sum(not len(grown_boxes(box[None], size_hw, margin=0.0)) for box in drawn.boxes)
    if outside:
        raise UnreadableImageError(
            f"expected boxes inside the image of {size_hw[1]}x{size_hw[0]} pixels in --boxes, found {outside} outside "
            f"({drawn.place}): what to hide is not known",
            fix="correct the box, or remove it",
            code="boxes_outside",
        )


def _grown(
    found: Mapping[str, NDArray[np.float64]], drawn: NamedBoxes | None, size_hw: tuple[int, ...], hiding: Hiding
) -> tuple[dict[str, int], NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of boxes of each kind, those to hide, and those of text, which are filled."""
    size = (int(size_hw[0]), int(size_hw[1]))
    counts = {kind: len(rows) for kind, rows in found.items()}
    text = grown_boxes(found.get("text", np.zeros((0, 5)))[:, :4], size, margin=_margin(hiding, "text"))
    parts = [
        grown_boxes(rows[:, :4], size, margin=_margin(hiding, kind)) for kind, rows in found.items() if kind != "text"
    ]
    if drawn is not None:
        parts.append(grown_boxes(drawn.boxes, size, margin=0.0))
        counts[_DRAWN] = len(drawn.boxes)
    return counts, np.concatenate([np.zeros((0, 4), np.int64), *parts]), text


def _margin(hiding: Hiding, kind: str) -> float:
    return MARGINS.get(kind, _MARGIN) if hiding.margin is None else hiding.margin


def _enlarged(rows: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    """Return boxes with scores, (n, 5), larger by `margin` of their sides on each side."""
    more = margin * (rows[:, 2:4] - rows[:, :2])
    return np.concatenate([rows[:, :2] - more, rows[:, 2:4] + more, rows[:, 4:]], 1)


@dataclass(frozen=True)
class VideoScan:
    """What a video holds: the boxes to hide by frame, (n, 4), counts by kind, times, and the size of its frames."""

    boxes: Sequence[NDArray[np.int64]]
    counts: Mapping[str, int]
    times_s: Sequence[float]
    size_hw: tuple[int, int]
    notes: tuple[str, ...]


def scan_video(path: Path, hiding: Hiding, *, quiet: bool = True) -> VideoScan:
    """Search every frame of a video, and decide what is hidden in each from what was found in all.

    Raises:
        UsageError: blur or pixelation: of many frames together more than of one is left.
        InputError: it cannot be read, or breaks off.
        UnreadableImageError: there are boxes of images alone, or rows of its tracks cannot be used.
    """
    if hiding.boxes is not None and not hiding.boxes.video and not hiding.finders:
        raise UnreadableImageError(
            "expected tracks in --boxes for a video, found boxes of images: what to hide is not known",
            fix="make the video anonymous by itself, with its tracks as --boxes, or add --find",
            code="not_in_boxes",
        )
    if hiding.boxes is not None and hiding.boxes.unread:
        first = hiding.boxes.unread[0]
        where = "" if first.line is None else f"line {first.line}: "
        raise UnreadableImageError(
            f"expected rows of boxes in --boxes, found some that cannot be used: what to hide is not known; the first, "
            f"{where}{first.message}",
            fix="correct the rows, or remove them",
            code="flat_boxes",
        )
    if hiding.how != "fill":
        raise UsageError(
            f"expected --how fill for a video, found {hiding.how!r}: many frames of it can be put together",
            fix="leave --how out",
        )
    seen: list[NDArray[np.float64]] = []
    times: list[float] = []
    counts: Counter[str] = Counter()
    broken: list[Finding] = []
    size = (0, 0)
    with (
        open_source(path, limits=hiding.limits, note=broken.append) as frames,
        track_progress("searching", None, quiet=quiet) as advance,
    ):
        for frame in frames:
            size = (frame.image.shape[0], frame.image.shape[1])
            found = find_all(hiding.finders, np.asarray(frame.image, np.uint8))
            counts.update({kind: len(rows) for kind, rows in found.items()})
            parts = [_enlarged(rows, _margin(hiding, kind)) for kind, rows in found.items()]
            if hiding.boxes is not None:
                drawn = hiding.boxes.at(len(seen)).boxes
                counts[_DRAWN] += len(drawn)
                parts.append(_enlarged(np.concatenate([drawn, np.ones((len(drawn), 1))], 1), _margin(hiding, _DRAWN)))
            seen.append(np.concatenate([np.zeros((0, 5)), *parts]))
            times.append(frame.time_s if frame.time_s is not None else len(times) / 25)
            advance(1, "")
    boxes = [grown_boxes(b, size, margin=0.0) for b in remembered(seen, times, hiding.memory)]
    notes = [f.message for f in broken]
    if not any(map(len, boxes)):
        notes.append("nothing was found in any frame: the copy shows what the video shows")
    return VideoScan(boxes, dict(counts), times, size, tuple(notes))


def anonymize_video(
    path: Path, out: Path, scan: VideoScan, hiding: Hiding, *, quiet: bool = True
) -> tuple[float, list[str], NDArray[np.uint8]]:
    """Write a video's frames with what `scan_video` found hidden, as WebM without sound.

    Returns:
        The fraction of the pixels that is hidden, which texts of the input's metadata are left in the output, and the
        frame in the middle as it was written.
    """
    hidden, middle = 0.0, np.zeros((*scan.size_hw, 3), np.uint8)
    with (
        open_source(path, limits=hiding.limits, note=lambda finding: None) as frames,
        WebmWriter(out) as video,
        track_progress("writing", len(scan.boxes), quiet=quiet) as advance,
    ):
        for i, (frame, boxes, time_s) in enumerate(zip(frames, scan.boxes, scan.times_s, strict=False)):
            shown = np.asarray(hide_boxes(np.asarray(frame.image), boxes), np.uint8)
            video.add(shown, time_s)
            middle = shown if i == len(scan.boxes) // 2 else middle
            hidden += float(hidden_mask(boxes, scan.size_hw).mean())
            advance(1, "")
    texts: set[bytes] = set()
    for part in _ends_of(path):
        texts |= texts_in(part)
    left: set[str] = set()
    with open(out, "rb") as file:
        before = b""
        while chunk := file.read(_AT_ONCE):
            left |= set(texts_left(before + chunk, texts))
            before = chunk[-_OVERLAP:]
    return hidden / max(1, len(scan.boxes)), sorted(left), middle


def _ends_of(path: Path) -> list[bytes]:
    """Return the first and the last bytes of a video, where containers keep their metadata."""
    with open_regular(path, most=sys.maxsize, follow=True) as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(_AT_ONCE)
        if size <= _AT_ONCE:
            return [first]
        file.seek(max(_AT_ONCE, size - _AT_ONCE))
        return [first, file.read(_AT_ONCE)]


@dataclass(frozen=True)
class Recall:
    """How many of the boxes that had to be hidden are: all, and those of `LEAST_SIDE` pixels or more; by class too.

    `left_out` are the classes that were not searched for, with their number of boxes.
    """

    hidden: int
    n: int
    hidden_large: int
    n_large: int
    by_label: Mapping[str, tuple[int, int]]
    unnamed: int
    left_out: Mapping[str, int] = field(default_factory=dict)

    def metric(self, *, large: bool = False) -> Metric:
        """Return recall with its exact 95 % interval; None where there was nothing to hide."""
        k, n = (self.hidden_large, self.n_large) if large else (self.hidden, self.n)
        if not n:
            return Metric(None, n=0, method="Clopper-Pearson")
        low, high = clopper_pearson(k, n, 0.95)
        return Metric(k / n, low, high, n, "Clopper-Pearson")


def measure_recall(files: Sequence[HiddenFile], truth: BoxList, kinds: Sequence[str]) -> Recall:
    """Compare what was hidden with the boxes that had to be.

    Of classes that are persons the upper part counts, where heads were searched for. A list may also hold what was not
    searched for, such as chairs: where some of its classes are of `kinds`, the others do not count. `unnamed` files are
    not in the list and not counted.
    """
    counts = _counted(files, truth, kinds)
    by_label: dict[str, list[int]] = {}
    left_out: Counter[str] = Counter()
    large = [0, 0]
    unnamed = 0
    for file in files:
        named = truth.of(file.source) if file.frames is None else None
        if file.frames is None and named is None:
            unnamed += 1
        rows = _wanted(file, truth)
        for frame, wanted in enumerate(rows):
            if wanted is None or not len(wanted.boxes):
                continue
            mask = hidden_mask(file.boxes[frame], file.size_hw)
            for box, label in zip(wanted.boxes, wanted.labels, strict=True):
                if not counts(label):
                    left_out[label] += 1
                    continue
                person = is_person(label) and "heads" in kinds
                own = heads_of(box[None])[0] if person else box
                inside = grown_boxes(own[None], file.size_hw, margin=0.0)
                if not len(inside):
                    continue
                x0, y0, x1, y1 = inside[0].tolist()
                good = int(mask[y0:y1, x0:x1].mean() >= COVERED)
                count = by_label.setdefault(f"{label} (head)" if person else label or "box", [0, 0])
                count[0] += good
                count[1] += 1
                if min(x1 - x0, y1 - y0) >= LEAST_SIDE:
                    large[0] += good
                    large[1] += 1
    hidden, n = (sum(v[k] for v in by_label.values()) for k in (0, 1))
    pairs = {k: (a, b) for k, (a, b) in by_label.items()}
    return Recall(hidden, n, large[0], large[1], pairs, unnamed, dict(left_out.most_common()))


def _wanted(file: HiddenFile, truth: BoxList) -> "list[NamedBoxes | None]":
    """Return what had to be hidden in an image, or in every frame of a video."""
    return [truth.of(file.source)] if file.frames is None else [truth.at(i) for i in range(file.frames)]


def _counted(files: Sequence[HiddenFile], truth: BoxList, kinds: Sequence[str]) -> Callable[[str], bool]:
    """Return what decides whether boxes of a class had to be hidden; boxes without a class always had to."""
    labels = {label for file in files for row in _wanted(file, truth) if row is not None for label in row.labels}
    searched = {label for label in labels if kinds_of(label) & set(kinds)}
    return (lambda label: not label or label in searched) if searched else lambda label: True
