"""Read CVAT's XML 1.1, for images and for videos: boxes, polygons, ellipses and masks."""

__all__ = ["read_cvat", "shape_box"]

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.quoting import quoted
from eyewright.data.readers.gathering import Gathered, Size, rotated
from eyewright.data.readers.listing import SPLITS, Found, Images, Row, TextLines, number
from eyewright.data.readers.markup import read_elements
from eyewright.data.targets.objects import Outline
from eyewright.data.tree import Tree
from eyewright.imaging.rasters import encode_counts

_ELLIPSE_POINTS = 64
_MOST_PIXELS = 2**28
_SHAPES = ("box", "polygon", "ellipse", "mask")
# What CVAT draws that has no area, or is said of a whole image.
_OTHERS = ("polyline", "points", "cuboid", "skeleton", "tag")

_OF_WHOLE_IMAGES = ("tag",)
"""Elements of CVAT's XML that are said of whole images."""

_NO_REGIONS = (*_OF_WHOLE_IMAGES, "skeleton", "points", "polyline", "cuboid")
"""Types of labels that mark no region."""


def read_cvat(tree: Tree, files: Sequence[str], images: Images) -> Found:
    """Read CVAT's XML. Polylines, points, cuboids, skeletons and tags are left out, and said; so are identities of
    tracks, whose frames are the images `frame_000000`, `frame_000001` and so on.

    Raises:
        DatasetError: a file that is not XML.
    """
    gathered = Gathered("cvat", images)
    notes: list[str] = []
    for path in files:
        reading = _Reading(gathered, path)
        try:
            read_elements(tree.content(path), reading.start, reading.end)
        except DatasetError as error:
            raise DatasetError(f"{quoted(path)}: {error.message}", fix=error.fix) from None
        reading.finish()
        gathered.listed += [n for n in reading.names if n not in gathered.listed]
        if reading.tracks:
            notes.append(
                f"{quoted(path)} has {reading.tracks} track{'s' * (reading.tracks != 1)}; "
                "identities over time are not kept"
            )
    return gathered.found(files, notes=notes, unlabelled="list it in the XML file, or remove it")


@dataclass
class _Image:
    called: str
    line: int
    subset: str
    stated: Size | None
    rows: list[Row] = field(default_factory=list)


@dataclass
class _Reading:
    """One file while it is read: where in it the parser is, and what was found so far."""

    gathered: Gathered
    path: str
    names: list[str] = field(default_factory=list)
    tracks: int = 0
    _open: list[str] = field(default_factory=list)
    _image: _Image | None = None
    _track: str | None = None
    _label: dict[str, str] = field(default_factory=dict)
    _start_frame: int = 0
    _skeletons: int = 0
    _frames: dict[int, list[Row]] = field(default_factory=lambda: defaultdict(list))
    _frame_lines: dict[int, int] = field(default_factory=dict)

    def start(self, name: str, attributes: Mapping[str, str], line: int) -> None:
        self._open.append(name)
        if name == "image":
            sides = (_whole(attributes.get("height")), _whole(attributes.get("width")))
            stated = sides if sides[0] > 0 and sides[1] > 0 else None
            self._image = _Image(attributes.get("name", ""), line, attributes.get("subset", ""), stated)
        elif name == "track":
            self.tracks += 1
            self._track = attributes.get("label", "")
        elif name == "label":
            self._label = {}
        elif name == "skeleton":
            self._skeletons += 1
            if self._skeletons == 1:
                self._other(name, attributes, line)
        elif self._skeletons == 0 and (self._image is not None or self._track is not None):
            if name in _SHAPES:
                self._shape(name, attributes, line)
            elif name in _OTHERS:
                self._other(name, attributes, line)

    def end(self, name: str, text: str) -> None:
        self._open.pop()
        if name == "image" and self._image is not None:
            image, self._image = self._image, None
            split = SPLITS.get(image.subset.lower())
            lines = TextLines(self.path)
            self.gathered.add(image.called, image.rows, lines, line=image.line, split=split, stated=image.stated)
        elif name == "track":
            self._track = None
        elif name == "skeleton":
            self._skeletons -= 1
        elif name == "start_frame" and text.isdigit():
            self._start_frame = int(text[:9])
        elif self._open[-1:] == ["label"] and name in ("name", "type", "parent"):
            self._label[name] = text
        elif name == "label" and "labels" in self._open:
            # A skeleton's points are listed with their parent, and are no classes of regions.
            regions = self._label.get("type", "any") not in _NO_REGIONS
            if self._label.get("name") and "parent" not in self._label and regions:
                self.names.append(self._label["name"])

    def finish(self) -> None:
        """Add the frames of tracks."""
        for frame, rows in sorted(self._frames.items()):
            for counted in dict.fromkeys((frame, frame + self._start_frame)):
                called = f"frame_{counted:06d}"
                if self.gathered.find(called, self.path) is not None:
                    break
            self.gathered.add(called, rows, TextLines(self.path), line=self._frame_lines[frame])

    def _other(self, name: str, attributes: Mapping[str, str], line: int) -> None:
        label = attributes.get("label") or self._track or ""
        if attributes.get("outside") == "1":
            return
        why = "a tag describes the whole image" if name in _OF_WHOLE_IMAGES else "it has no area that can be marked"
        self.gathered.leave_out(f"{name} {label!r}", why, "draw a box, polygon or mask", self.path, line, warn=True)

    def _shape(self, name: str, attributes: Mapping[str, str], line: int) -> None:
        if attributes.get("outside") == "1":
            return
        label = attributes.get("label") or self._track or ""
        try:
            if not label:
                raise DatasetError("it has no label")
            stated = self._image.stated if self._image is not None else None
            box, outline = _region(name, attributes, stated)
            row = (box, self.gathered.label(label), False, outline, line)
            if self._image is not None:
                self._image.rows.append(row)
                return
            frame = int(number(attributes["frame"]))
            self._frames[frame].append(row)
            self._frame_lines.setdefault(frame, line)
        except KeyError as error:
            self.gathered.leave_out(f"{name} {label!r}", f"it has no {error}", "export it again", self.path, line)
        except (DatasetError, ValueError, OverflowError) as error:
            why = error.message if isinstance(error, DatasetError) else str(error)
            self.gathered.leave_out(f"{name} {label!r}", why, "fix or remove it", self.path, line)


def shape_box(name: str, given: Mapping[str, str]) -> tuple[float, float, float, float]:
    """Return x0, y0, x1, y1 round a box, polygon or ellipse.

    Raises:
        DatasetError: it cannot be read.
        KeyError: an attribute is missing.
    """
    x0, y0, x1, y1 = _region(name, given, None)[0]
    return x0, y0, x1, y1


def _region(name: str, given: Mapping[str, str], stated: Size | None) -> tuple[list[float], Outline | None]:
    """Return the box of a shape, and its outline unless it is an upright box."""
    if name == "mask":
        return _mask(given, stated)
    turn = number(given.get("rotation", "0"))
    if name == "box":
        x0, y0, x1, y1 = (number(given[k]) for k in ("xtl", "ytl", "xbr", "ybr"))
        if not turn:
            return [x0, y0, x1, y1], None
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        points = rotated(corners, ((x0 + x1) / 2, (y0 + y1) / 2), turn)
    elif name == "ellipse":
        cx, cy, rx, ry = (number(given[k]) for k in ("cx", "cy", "rx", "ry"))
        angle = np.linspace(0, 2 * math.pi, _ELLIPSE_POINTS, endpoint=False)
        points = np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], 1)
        points = rotated(points, (cx, cy), turn)
    else:
        points = _points(given["points"])
    return [*points.min(0).tolist(), *points.max(0).tolist()], Outline((points,))


def _points(text: str) -> NDArray[np.float64]:
    pairs = [p.split(",") for p in text.split(";") if p.strip()]
    if len(pairs) < 3 or any(len(p) != 2 for p in pairs):
        raise DatasetError(f"expected 3 points or more as x,y;x,y;…, found {text[:40]!r}")
    return np.array([[number(v) for v in p] for p in pairs], np.float64)


def _mask(given: Mapping[str, str], stated: Size | None) -> tuple[list[float], Outline]:
    """Read run-length encoding of the rows of a mask's own rectangle; the first run is of pixels outside."""
    left, top, width, height = (int(number(given[k])) for k in ("left", "top", "width", "height"))
    try:
        counts = np.array([int(v) for v in given["rle"].split(",") if v.strip()], np.int64)
    except (ValueError, OverflowError):
        raise DatasetError(
            "expected run-length encoding as whole numbers separated by commas, found something else"
        ) from None
    if stated is None:
        raise DatasetError("its image has no width and height")
    if min(left, top) < 0 or width < 1 or height < 1 or stated[0] * stated[1] > _MOST_PIXELS:
        raise DatasetError(f"its rectangle {width}x{height} at {left},{top} cannot be used")
    if top + height > stated[0] or left + width > stated[1]:
        raise DatasetError(f"it reaches outside its image of {stated[1]}x{stated[0]} pixels")
    if ((counts < 0) | (counts > width * height)).any() or int(counts.sum()) != width * height:
        raise DatasetError(f"its run-length encoding does not cover a rectangle of {width}x{height} pixels")
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    if not inside.any():
        raise DatasetError("it marks no pixel")
    mask = np.zeros(stated, bool)
    mask[top : top + height, left : left + width] = inside
    outline = Outline(rle={"size": list(stated), "counts": encode_counts(mask)})
    return outline.box().tolist(), outline


def _whole(text: str | None) -> int:
    try:
        return int(float(text or 0))
    except (ValueError, OverflowError):
        return 0
