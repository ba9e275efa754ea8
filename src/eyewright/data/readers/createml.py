"""Read Create ML's JSON: a list of images, each with labels and boxes given by their centres."""

__all__ = ["is_createml", "read_createml"]

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from eyewright.core.errors import DatasetError
from eyewright.core.quoting import quoted
from eyewright.data.readers.gathering import Gathered
from eyewright.data.readers.listing import BAD_JSON, Found, Images, Row, TextLines, number
from eyewright.data.texts import json_reason
from eyewright.data.tree import Tree

_LOOKED_AT = 50


class _Image(msgspec.Struct):
    """Apple's documentation has `image`, its tools and others write the other names too."""

    image: str = ""
    imagefilename: str = ""
    filename: str = ""
    annotations: Any = None
    annotation: Any = None

    @property
    def called(self) -> str:
        return self.image or self.imagefilename or self.filename

    @property
    def regions(self) -> list[Any]:
        given = self.annotations if self.annotations is not None else self.annotation
        return list(given) if isinstance(given, list) else ([] if given is None else [given])


def is_createml(data: bytes) -> bool:
    """Return whether a JSON file is a list of images, of which one of the first has a box in coordinates."""
    if not data[:200].lstrip().startswith(b"[") or b'"coordinates"' not in data:
        return False
    try:
        each = msgspec.json.decode(data, type=list[msgspec.Raw])[:_LOOKED_AT]
        images = [msgspec.json.decode(raw, type=_Image) for raw in each]
    except BAD_JSON:
        return False
    regions = [r for i in images if i.called for r in i.regions]
    return any(isinstance(r, Mapping) and isinstance(r.get("coordinates"), Mapping) for r in regions)


def read_createml(tree: Tree, files: Sequence[str], images: Images) -> Found:
    """Read Create ML's files: in pixels, or in fractions of the sides where no corner of a file is above 1.

    Raises:
        DatasetError: a file that is not a JSON list.
    """
    gathered = Gathered("createml", images)
    for path in files:
        data = tree.content(path)
        try:
            each = msgspec.json.decode(data, type=list[msgspec.Raw])
        except BAD_JSON as error:
            reason = json_reason(error)
            raise DatasetError(
                f"{quoted(path)} does not hold a list of images: {reason}", fix="export it again"
            ) from None
        start = np.frombuffer(data, np.uint8).ctypes.data
        newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
        kept: list[tuple[str, list[Row], int]] = []
        for entry, raw in enumerate(each):
            offset = np.frombuffer(memoryview(raw), np.uint8).ctypes.data - start
            line = int(np.searchsorted(newlines, offset)) + 1
            try:
                image = msgspec.json.decode(raw, type=_Image)
                if not image.called:
                    raise DatasetError("it has no image")
            except (*BAD_JSON, DatasetError) as error:
                why = error.message if isinstance(error, DatasetError) else str(error)
                gathered.leave_out(f"entry {entry}", why, "name the image's file in 'image'", path, line)
                continue
            kept.append((image.called, list(_rows(image, gathered, path, line)), line))
        relative = all(v <= 1 for _, rows, _ in kept for row in rows for v in row[0])
        for called, rows, line in kept:
            gathered.add(called, rows, TextLines(path), line=line, relative=relative)
    return gathered.found(files, unlabelled="list it in the JSON file, with an empty list if it shows nothing")


def _rows(image: _Image, gathered: Gathered, path: str, line: int) -> Iterator[Row]:
    for region in image.regions:
        label = region.get("label") if isinstance(region, Mapping) else None
        what = f"annotation {str(label)[:40]!r} of {image.called!r}"
        try:
            if isinstance(label, bool) or not isinstance(label, str | int | float) or not str(label).strip():
                raise DatasetError("it has no label")
            place = region.get("coordinates")
            if not isinstance(place, Mapping):
                raise DatasetError("it has no coordinates")
            x, y, w, h = (number(place[k]) for k in ("x", "y", "width", "height"))
        except KeyError as error:
            gathered.leave_out(what, f"its coordinates have no {error}", "fix or remove it", path, line)
            continue
        except (DatasetError, ValueError, OverflowError) as error:
            why = error.message if isinstance(error, DatasetError) else str(error)
            gathered.leave_out(what, why, "fix or remove it", path, line)
            continue
        yield (x - w / 2, y - h / 2, x + w / 2, y + h / 2), gathered.label(str(label).strip()), False, None, line
