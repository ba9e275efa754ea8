"""Find what shows who somebody is: by the user's own detector, by OpenCV's classical ones, by lines of text."""

__all__ = [
    "HEAD_SHARE",
    "KINDS",
    "Finder",
    "built_in_finders",
    "find_all",
    "heads_of",
    "is_person",
    "kinds_named",
    "kinds_of",
    "predictor_finder",
]

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError, spelling_hint
from eyewright.core.extras import import_extra
from eyewright.core.predictor import Predictor, predict_everything
from eyewright.imaging.text_lines import find_lines
from eyewright.tasks.tiling import cut_view, tile_places

KINDS = ("faces", "heads", "plates", "text")
"""What can be searched for."""

HEAD_SHARE = 0.3
"""The head is in this upper part of the box of a person."""

_OF_CLASS = {
    "faces": ("face", "faces", "human face"),
    "heads": ("head", "heads", "human head"),
    "persons": ("person", "people", "pedestrian", "human", "man", "woman", "child"),
    "plates": ("plate", "plates", "license plate", "licence plate", "number plate", "vehicle registration plate"),
    "text": ("text", "word", "text line"),
}
# A person who is cut off below: the head is about half as high as the shoulders are wide.
_HEAD_OF_WIDTH = 0.5
_AT_THE_EDGE = 0.99
# What is cut off at the edge of the image is continued by its mirror image: half a face becomes a whole one.
_BORDER = 0.2
_OVERLAP = 0.3
_LEAST_TILE = 128
_SMALLEST = 16
_TILE_COST = 0.2
_HIGHEST_LINE = 0.05
# Detections of two classical detectors have no comparable scores.
_CERTAIN = 1.0

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Finder:
    """A detector for one kind of thing: `find` takes uint8 (H, W, 3) and returns x0 y0 x1 y1 score, float64 (n, 5).

    `weak` is one that is known to miss many.
    """

    kind: str
    name: str
    find: Callable[[NDArray[np.uint8]], Boxes]
    weak: bool = False


def kinds_named(text: str) -> tuple[str, ...]:
    """Return the kinds that a list such as "faces,plates" or "all" names, in the order of `KINDS`.

    >>> kinds_named("text,faces")
    ('faces', 'text')

    Raises:
        UsageError: an unknown kind, or none.
    """
    given = [t.strip().lower() for t in text.split(",") if t.strip()]
    for name in given:
        if name not in (*KINDS, "all"):
            raise UsageError(f"unknown kind {name!r} to find", fix=spelling_hint(name, (*KINDS, "all")))
    if not given:
        raise UsageError("expected what to find, found nothing", fix=f"choose from {', '.join(KINDS)}, all")
    return KINDS if "all" in given else tuple(k for k in KINDS if k in given)


def kinds_of(label: str) -> frozenset[str]:
    """Return the kinds that a class of boxes is of, by its name; of a person the head can be searched for.

    >>> sorted(kinds_of("License-Plate")), sorted(kinds_of("woman")), sorted(kinds_of("chair"))
    (['plates'], ['heads'], [])
    """
    name = _plain(label)
    return frozenset("heads" if kind == "persons" else kind for kind, names in _OF_CLASS.items() if name in names)


def is_person(label: str) -> bool:
    """Return whether a class of boxes is that of a whole person.

    >>> is_person("Man"), is_person("head")
    (True, False)
    """
    return _plain(label) in _OF_CLASS["persons"]


def _plain(label: str) -> str:
    return label.lower().replace("_", " ").replace("-", " ")


def find_all(finders: Sequence[Finder], image: NDArray[np.uint8]) -> dict[str, Boxes]:
    """Return the boxes of every kind, (n, 5) each: the union of what all finders of the kind have found."""
    found: dict[str, list[Boxes]] = {}
    for finder in finders:
        found.setdefault(finder.kind, []).append(np.asarray(finder.find(image), np.float64).reshape(-1, 5))
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def heads_of(boxes: Boxes, *, height: int | None = None) -> Boxes:
    """Return the upper part of boxes of persons, (n, 4 or more).

    With the `height` of the image, a box that ends at its lower edge is that of a person who is cut off there: the head
    is then a larger part of what is left.

    >>> heads_of(np.array([[0.0, 0, 10, 100]])).tolist()
    [[0.0, 0.0, 10.0, 30.0]]
    >>> heads_of(np.array([[0.0, 80, 40, 100]]), height=100).tolist()
    [[0.0, 80.0, 40.0, 100.0]]
    """
    heads = np.array(boxes, np.float64, copy=True)
    high, wide = heads[:, 3] - heads[:, 1], heads[:, 2] - heads[:, 0]
    part = HEAD_SHARE * high
    if height is not None:
        cut = heads[:, 3] >= _AT_THE_EDGE * height
        part = np.where(cut, np.maximum(part, np.minimum(_HEAD_OF_WIDTH * wide, high)), part)
    heads[:, 3] = heads[:, 1] + part
    return heads


def predictor_finder(
    predictor: Predictor, kind: str, *, name: str, least: float, tile: int | None = None, flip: bool = True
) -> Finder | None:
    """Return what finds a kind by a model of boxes; None where none of its classes is of that kind.

    Every view counts: the whole image, overlapping tiles, their mirror images, and, except for heads, the whole image
    with a border in which it is continued by reflection: what its edge cuts off is found there. Nothing is suppressed
    between views: a box too many hides a few pixels, one too few shows a person. A detection counts from the score
    `least`, in a tile or with a border from 0.2 more: there are many tiles, and in each a part of something can look
    like a person. `tile` is the side of the tiles in pixels; without it half of the shorter side, 0 for none.

    Raises:
        BundleError: the model finds no boxes.
    """
    names = {_plain(str(n)): i for i, n in enumerate(predictor.labels.names)}
    own = {i for n, i in names.items() if n in _OF_CLASS[kind]}
    persons = {i for n, i in names.items() if n in _OF_CLASS["persons"]} if kind == "heads" else set()
    if not own and not persons:
        return None

    def boxes_in(view: NDArray[np.uint8], turned: bool) -> tuple[Boxes, NDArray[np.int64]]:
        """Return boxes with scores, as if the view were not turned, and their classes."""
        seen_from = np.ascontiguousarray(view[:, ::-1]) if turned else view
        (seen,) = predict_everything(predictor, [seen_from], least=least)
        told: Any = cast(Any, seen)
        if getattr(told, "boxes_xyxy", None) is None:
            raise BundleError(f"expected a model that finds boxes, found {name!r}", fix="use one for detection")
        boxes = np.array(told.boxes_xyxy, np.float64).reshape(-1, 4)
        if turned:
            boxes[:, [0, 2]] = view.shape[1] - boxes[:, [2, 0]]
        return np.concatenate([boxes, np.asarray(told.scores, np.float64)[:, None]], 1), np.asarray(told.label_ids)

    def find(image: NDArray[np.uint8]) -> Boxes:
        rows: list[Boxes] = []
        height, width = image.shape[:2]
        whole = (0, 0, height, width)
        turns = (False, True) if flip else (False,)
        for view in _views((height, width), tile):
            top, left = view[:2]
            for turned in turns:
                part, labels = boxes_in(cut_view(image, view, False), turned)
                part[:, :4] += [left, top, left, top]
                part[:, 4] -= 0.0 if view == whole else _TILE_COST
                # What an edge cuts off is no whole person: its upper part need not be a head.
                cut = (part[:, 1] <= top + 1) & (top > 0)
                people = part[np.isin(labels, list(persons)) & ~cut]
                rows += [part[np.isin(labels, list(own))], heads_of(people, height=height)]
        if kind != "heads":
            border = int(_BORDER * min(height, width))
            wider = np.pad(image, ((border, border), (border, border), (0, 0)), mode="symmetric")
            for turned in turns:
                part, labels = boxes_in(wider, turned)
                part[:, :4] = (part[:, :4] - border).clip(0, [width, height, width, height])
                part[:, 4] -= _TILE_COST
                area = (part[:, 2] > part[:, 0]) & (part[:, 3] > part[:, 1])
                rows.append(part[np.isin(labels, list(own)) & area])
        found = np.concatenate(rows)
        return found[found[:, 4] >= least]

    return Finder(kind, name, find)


def _views(size_hw: tuple[int, ...], tile: int | None) -> list[tuple[int, int, int, int]]:
    height, width = size_hw[:2]
    whole = (0, 0, height, width)
    side = min(height, width) // 2 if tile is None else tile
    if tile == 0 or side < _LEAST_TILE or side >= max(height, width):
        return [whole]
    return [whole, *(v for v in tile_places((height, width), side, _OVERLAP) if v != whole)]


def built_in_finders(kinds: Sequence[str]) -> list[Finder]:
    """Return the finders that need no model of the user's: cascades (Viola and Jones 2001) for faces and plates,
    gradient histograms (Dalal and Triggs 2005) for people and so heads, and lines of text on a page.

    They find frontal faces, upright people and Russian plates best, and miss many others.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    made = {
        "faces": [("OpenCV's face cascades", _faces)],
        "heads": [("OpenCV's people detector", _people)],
        "plates": [("OpenCV's plate cascades", _plates)],
        "text": [("lines of text on a page", _text)],
    }
    if set(kinds) - {"text"}:
        _opencv()
    return [Finder(kind, name, find, weak=kind != "text") for kind in kinds for name, find in made[kind]]


def _opencv() -> Any:
    return import_extra("cv2", extra="pixels", what="finding faces, heads and plates without --detector")


@functools.cache
def _cascade(name: str) -> Any:
    cv2 = _opencv()
    cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades, name)))
    if cascade.empty():
        raise BundleError(f"OpenCV's {name!r} is missing", fix="install opencv-contrib-python-headless again")
    return cascade


def _cascades(image: NDArray[np.uint8], names: Sequence[str], *, neighbours: int, flip: bool) -> Boxes:
    cv2 = _opencv()
    grey = cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    width = grey.shape[1]
    rows: list[list[float]] = []
    if min(grey.shape) < _SMALLEST:
        return np.zeros((0, 5))
    for turned in (False, True) if flip else (False,):
        seen = np.ascontiguousarray(grey[:, ::-1]) if turned else grey
        for name in names:
            for x, y, w, h in _cascade(name).detectMultiScale(seen, scaleFactor=1.1, minNeighbors=neighbours):
                left = width - x - w if turned else x
                rows.append([left, y, left + w, y + h, _CERTAIN])
    return np.array(rows, np.float64).reshape(-1, 5)


def _faces(image: NDArray[np.uint8]) -> Boxes:
    names = ["haarcascade_frontalface_default.xml", "haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml"]
    return _cascades(image, names, neighbours=3, flip=True)


def _plates(image: NDArray[np.uint8]) -> Boxes:
    names = ["haarcascade_russian_plate_number.xml", "haarcascade_license_plate_rus_16stages.xml"]
    return _cascades(image, names, neighbours=3, flip=False)


@functools.cache
def _people_detector() -> Any:
    cv2 = _opencv()
    found = cv2.HOGDescriptor()
    found.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())
    return found


def _people(image: NDArray[np.uint8]) -> Boxes:
    if image.shape[0] < 128 or image.shape[1] < 64:
        return np.zeros((0, 5))
    places, _ = _people_detector().detectMultiScale(image, winStride=(8, 8), padding=(8, 8), scale=1.05)
    boxes = np.array([[x, y, x + w, y + h, _CERTAIN] for x, y, w, h in places], np.float64).reshape(-1, 5)
    return heads_of(boxes, height=image.shape[0])


def _text(image: NDArray[np.uint8]) -> Boxes:
    found = np.array([[*line.box_xyxy, _CERTAIN] for line in find_lines(image)], np.float64).reshape(-1, 5)
    # In photographs, edges of large things look like one huge line.
    low: Boxes = found[found[:, 3] - found[:, 1] <= _HIGHEST_LINE * max(image.shape[:2])]
    return low
