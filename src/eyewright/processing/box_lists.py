"""Boxes that somebody has drawn or a detector has written to a file: what to hide, or what should have been hidden."""

__all__ = ["NO_BOXES", "BoxList", "NamedBoxes", "read_box_list"]

import csv
import io
import json
import math
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError, plain_reason
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.data.formats import open_dataset
from eyewright.data.texts import decode_text
from eyewright.data.tracks import read_tracks
from eyewright.imaging.decode import probe_image

_LARGEST_FILE = 512 * 2**20
_COLUMNS = ("x0", "y0", "x1", "y1")
_FIX = "see docs/concepts/privacy.md, Boxes of your own"


@dataclass(frozen=True)
class NamedBoxes:
    """Boxes of one image or frame: x0 y0 x1 y1 in pixels, float64 (n, 4), and the class of each."""

    boxes: NDArray[np.float64]
    labels: tuple[str, ...]


NO_BOXES = NamedBoxes(np.zeros((0, 4)), ())


@dataclass(frozen=True)
class BoxList:
    """Boxes by the name of an image, or by the number of a frame of a video from 0; `flat` had no area and are left
    out."""

    named: Mapping[str, NamedBoxes]
    frames: Mapping[int, NamedBoxes]
    flat: int = 0

    def of(self, name: str) -> NamedBoxes | None:
        """Return the boxes of an image by its path in the source, else by its file name where that is the only one of
        this name; None where the list does not hold the image."""
        if name in self.named:
            return self.named[name]
        base = posixpath.basename(name)
        fits = [k for k in self.named if posixpath.basename(k) == base]
        return self.named[fits[0]] if len(fits) == 1 else None

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


_Row = tuple[str, tuple[float, float, float, float] | None, str]


def _gathered(rows: Iterable[_Row], path: Path) -> BoxList:
    boxes: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    labels: dict[str, list[str]] = defaultdict(list)
    flat = 0
    for name, box, label in rows:
        own = boxes[name.replace("\\", "/")]
        if box is None:
            continue
        if not all(map(math.isfinite, box)):
            raise InputError(f"expected finite numbers in {quoted(path)}, found {box} for {name!r}", fix=_FIX)
        if box[2] <= box[0] or box[3] <= box[1]:
            flat += 1
            continue
        own.append(box)
        labels[name.replace("\\", "/")].append(label)
    found = {k: NamedBoxes(np.array(v, np.float64).reshape(-1, 4), tuple(labels[k])) for k, v in boxes.items()}
    return BoxList(found, {}, flat)


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
            if not any(row[c] for c in _COLUMNS):
                # An image without anything to hide is known to be one.
                rows.append((row["image"], None, ""))
                continue
            x0, y0, x1, y1 = (float(row[c]) for c in _COLUMNS)
            rows.append((row["image"], (x0, y0, x1, y1), row.get("label") or ""))
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{quoted(path)}, line {reader.line_num}: expected numbers, found {error}", fix=_FIX) from None
    return rows


def _of_json(text: str, path: Path) -> list[_Row]:
    try:
        value: Any = json.loads(text)
        if isinstance(value, dict) and "images" in value and "annotations" in value:
            names = {i["id"]: str(i["file_name"]) for i in value["images"]}
            classes = {c["id"]: str(c["name"]) for c in value.get("categories", ())}
            rows: list[_Row] = [(n, None, "") for n in names.values()]
            for a in value["annotations"]:
                x, y, w, h = map(float, a["bbox"])
                rows.append((names[a["image_id"]], (x, y, x + w, y + h), classes.get(a.get("category_id"), "")))
            return rows
        predictions = value["predictions"] if isinstance(value, dict) else value
        rows = []
        for p in predictions:
            # A prediction names its file by the whole path; files of a source are found by their own names.
            name = posixpath.basename(str(p["source"]))
            rows.append((name, None, ""))
            for (x0, y0, x1, y1), label in zip(p["boxes_xyxy"], p["labels"], strict=True):
                rows.append((name, (float(x0), float(y0), float(x1), float(y1)), str(label)))
        return rows
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"expected COCO JSON or the predictions of boxes in {quoted(path)}, found neither ({plain_reason(error)})",
            fix=_FIX,
        ) from None


def _of_dataset(path: Path) -> BoxList:
    dataset = open_dataset(path, task="detect")
    found, flat = {}, 0
    for i, sample in enumerate(dataset.samples):
        objects = dataset.objects(i, probe_image(dataset.content(i)).size_hw)
        boxes = np.asarray(objects.boxes_xyxy, np.float64)
        keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        flat += int((~keep).sum())
        names = tuple(dataset.labels.names[k] for k in np.asarray(objects.label_ids)[keep])
        found[sample.id] = NamedBoxes(boxes[keep], names)
    return BoxList(found, {}, flat)


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
    return BoxList({}, frames, read.left_out)
