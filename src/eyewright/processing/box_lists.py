"""Boxes that somebody has drawn or a detector has written to a file: what to hide, or what should have been hidden."""

__all__ = ["NO_BOXES", "BoxList", "NamedBoxes", "read_box_list"]

import csv
import io
import json
import math
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.core.report import Finding
from eyewright.data.formats import open_dataset
from eyewright.data.texts import decode_text
from eyewright.data.tracks import read_tracks
from eyewright.imaging.decode import probe_image

_LARGEST_FILE = 512 * 2**20
_COLUMNS = ("x0", "y0", "x1", "y1")
_FIX = "see docs/concepts/anonymizing.md, Your own boxes"


@dataclass(frozen=True)
class NamedBoxes:
    """Boxes of one image or frame: x0 y0 x1 y1 in pixels, float64 (n, 4), and the class of each.

    `unusable` says where the list has boxes without an area, such as "line 3": what they mark is not known. `place` is
    where it first names the image.
    """

    boxes: NDArray[np.float64]
    labels: tuple[str, ...]
    unusable: tuple[str, ...] = ()
    place: str = ""


NO_BOXES = NamedBoxes(np.zeros((0, 4)), ())


@dataclass(frozen=True)
class BoxList:
    """Boxes by the name of an image, or by the number of a frame of a `video` from 0. `unread` are findings about rows
    of a video's file that cannot be used."""

    named: Mapping[str, NamedBoxes]
    frames: Mapping[int, NamedBoxes]
    video: bool = False
    unread: tuple[Finding, ...] = ()

    def key_of(self, name: str) -> str | None:
        """Return the entry of an image by its path in the source, else by its file name where that is the only one of
        this name; None where the list does not hold the image."""
        if name in self.named:
            return name
        base = posixpath.basename(name)
        fits = [k for k in self.named if posixpath.basename(k) == base]
        return fits[0] if len(fits) == 1 else None

    def of(self, name: str) -> NamedBoxes | None:
        """Return the boxes of an image; None where the list does not hold it."""
        key = self.key_of(name)
        return None if key is None else self.named[key]

    def at(self, frame: int) -> NamedBoxes:
        """Return the boxes of a frame."""
        return self.frames.get(frame, NO_BOXES)


def read_box_list(path: str | Path, *, video: bool = False) -> BoxList:
    """Read boxes of images: a dataset of boxes (a folder), COCO JSON, the `predictions.json` of `eyewright predict`, or
    a CSV with the columns image, x0, y0, x1, y1 and, if there are several classes, label. For a `video`: what
    `eyewright track` writes, MOT text, CSV or JSON.

    Raises:
        InputError: it cannot be read, or is none of these.
        DatasetError: the folder holds no boxes.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"expected boxes, found nothing at {quoted(path)}", fix="check the path", code="not_found")
    if video:
        return _of_tracks(path)
    if path.is_dir():
        return _of_dataset(path)
    text = decode_text(read_regular(path, most=_LARGEST_FILE, follow=True), str(path))
    rows = _of_json(text, path) if text.lstrip()[:1] in ("{", "[") else _of_csv(text, path)
    return _gathered(rows, path)


class _Row(NamedTuple):
    """A box of an image, None for an image without one, and where the file has it."""

    name: str
    box: tuple[float, float, float, float] | None
    label: str
    place: str


def _gathered(rows: Iterable[_Row], path: Path) -> BoxList:
    by_name: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        if row.box is not None and not all(map(math.isfinite, row.box)):
            raise InputError(
                f"{quoted(path)}, {row.place}: expected finite numbers, found {row.box} for {row.name!r}", fix=_FIX
            )
        by_name[row.name.replace("\\", "/")].append(row)
    return BoxList({name: _named(own) for name, own in by_name.items()}, {})


def _named(rows: Sequence[_Row]) -> NamedBoxes:
    boxed = [(r, r.box) for r in rows if r.box is not None]
    good = [(r, box) for r, box in boxed if box[2] > box[0] and box[3] > box[1]]
    return NamedBoxes(
        np.array([box for _, box in good], np.float64).reshape(-1, 4),
        tuple(r.label for r, _ in good),
        tuple(r.place for r, box in boxed if not (box[2] > box[0] and box[3] > box[1])),
        rows[0].place,
    )


def _of_csv(text: str, path: Path) -> list[_Row]:
    reader = csv.DictReader(io.StringIO(text))
    missing = [c for c in ("image", *_COLUMNS) if c not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            f"expected the columns image, x0, y0, x1, y1 in {quoted(path)}, found no {', '.join(missing)}", fix=_FIX
        )
    rows: list[_Row] = []
    try:
        for row in reader:
            place = f"line {reader.line_num}"
            if not any(row[c] for c in _COLUMNS):
                # An image without anything to hide is known to be one.
                rows.append(_Row(row["image"], None, "", place))
                continue
            x0, y0, x1, y1 = (_number(row[c], c, f"{quoted(path)}, {place}") for c in _COLUMNS)
            rows.append(_Row(row["image"], (x0, y0, x1, y1), row.get("label") or "", place))
    except csv.Error as error:
        raise InputError(f"{quoted(path)}, line {reader.line_num}: expected CSV, {error}", fix=_FIX) from None
    return rows


def _number(text: str | None, column: str, where: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        found = repr(text[:40]) if text else "nothing"
        raise InputError(f"{where}: expected a number in {column}, found {found}", fix=_FIX) from None


def _of_json(text: str, path: Path) -> list[_Row]:
    try:
        value: Any = json.loads(text)
        if isinstance(value, dict) and "images" in value and "annotations" in value:
            names = {i["id"]: str(i["file_name"]) for i in value["images"]}
            classes = {c["id"]: str(c["name"]) for c in value.get("categories", ())}
            rows: list[_Row] = [_Row(n, None, "", f"image {k}") for k, n in enumerate(names.values(), 1)]
            for k, a in enumerate(value["annotations"], 1):
                x, y, w, h = map(float, a["bbox"])
                label = classes.get(a.get("category_id"), "")
                rows.append(_Row(names[a["image_id"]], (x, y, x + w, y + h), label, f"annotation {k}"))
            return rows
        predictions = value["predictions"] if isinstance(value, dict) else value
        rows = []
        for k, p in enumerate(predictions, 1):
            # A prediction names its file by the whole path; files of a source are found by their own names.
            name = posixpath.basename(str(p["source"]))
            rows.append(_Row(name, None, "", f"prediction {k}"))
            for j, ((x0, y0, x1, y1), label) in enumerate(zip(p["boxes_xyxy"], p["labels"], strict=True), 1):
                box = (float(x0), float(y0), float(x1), float(y1))
                rows.append(_Row(name, box, str(label), f"prediction {k}, box {j}"))
        return rows
    except json.JSONDecodeError as error:
        raise InputError(
            f"{quoted(path)}, line {error.lineno}: expected JSON, found text that is not valid JSON", fix=_FIX
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(
            f"expected COCO JSON or the predictions of boxes in {quoted(path)}, found neither", fix=_FIX
        ) from None


def _of_dataset(path: Path) -> BoxList:
    dataset = open_dataset(path, task="detect")
    found = {}
    for i, sample in enumerate(dataset.samples):
        objects = dataset.objects(i, probe_image(dataset.content(i)).size_hw)
        boxes = np.asarray(objects.boxes_xyxy, np.float64)
        keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        unusable = tuple(f"box {k + 1}" for k in np.flatnonzero(~keep).tolist())
        names = tuple(dataset.labels.names[k] for k in np.asarray(objects.label_ids)[keep])
        found[sample.id] = NamedBoxes(boxes[keep], names, unusable, f"image {i + 1}")
    return BoxList(found, {})


def _of_tracks(path: Path) -> BoxList:
    read = read_tracks(path, "truth")
    tracks = read.tracks
    kept = np.ones(len(tracks), bool) if tracks.ignored is None else ~tracks.ignored
    frames = {
        int(f) - 1: NamedBoxes(
            tracks.boxes_xyxy[rows := np.flatnonzero(kept & (tracks.frames == f))],
            tuple(tracks.labels[k] for k in tracks.label_ids[rows]),
        )
        for f in np.unique(tracks.frames).tolist()
    }
    # Each row that is left out is a warning; notes are about rows that are used.
    unread = tuple(f for f in read.findings if f.severity != "note") if read.left_out else ()
    return BoxList({}, frames, video=True, unread=unread)
