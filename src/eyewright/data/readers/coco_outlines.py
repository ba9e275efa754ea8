"""The shapes of COCO JSON: polygons in every form in which exporters write them, run-length encoding, key points."""

__all__ = ["box_of", "key_point_box", "outline_of", "shown_outlines"]

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from eyewright.core.errors import DatasetError
from eyewright.data.readers.listing import BAD_JSON, number
from eyewright.data.targets.objects import Outline
from eyewright.imaging.rasters import parse_counts

Note = Callable[[str, str], None]
"""Called with what was left out of an annotation, or read in another way, and what to do about it."""

_SHOWN = re.compile(rb'"segmentation"\s*:\s*(?:\[\s*[\[{"\d\-]|\{|"[^"])')
_AGAIN = "draw it again, or export polygons of 3 points or more"
_DECODER = msgspec.json.Decoder()


def shown_outlines(annotations: Any) -> bool:
    """Return whether any of the annotations has a shape, without decoding them."""
    return _SHOWN.search(memoryview(annotations)) is not None


def outline_of(raw: msgspec.Raw, reduce: Note, repair: Note) -> Outline:
    """Return the shape of one annotation; what of it cannot be used is passed to `reduce`, the rest is kept.

    COCO has a list of polygons, each a list of x, y, x, y; or run-length encoding. Read as well: one polygon without
    the list round it (as VIA writes it), points as pairs or as x and y by name, numbers as text, run-length encoding in
    a list.
    """
    if bytes(memoryview(raw)[:1]) in (b"", b"n"):
        return Outline()
    try:
        value = _DECODER.decode(raw)
    except BAD_JSON:
        reduce("an outline that cannot be read", _AGAIN)
        return Outline()
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and "counts" in value[0]:
        value = value[0]
    if isinstance(value, dict):
        try:
            return _run_lengths(value)
        except (*BAD_JSON, DatasetError, KeyError, TypeError) as error:
            text = error.message if isinstance(error, DatasetError) else "run-length encoding that cannot be read"
            reduce(text, "export the annotations again")
            return Outline()
    if not isinstance(value, list):
        reduce("an outline that is neither polygons nor run-length encoding", _AGAIN)
        return Outline()
    if value and not isinstance(value[0], list | dict):
        repair("a polygon that is not in a list of polygons", "write segmentation as a list of polygons")
        value = [value]
    elif value and all(_is_point(v) for v in value):
        repair("a polygon as a list of points", "write its numbers as x, y, x, y")
        value = [value]
    polygons = []
    for part in value:
        try:
            polygons.append(_polygon(part))
        except (ValueError, TypeError) as error:
            reduce(str(error), _AGAIN)
    return Outline(tuple(polygons))


def _is_point(value: Any) -> bool:
    if isinstance(value, dict):
        return {"x", "y"} <= set(value)
    return isinstance(value, list) and len(value) == 2 and not isinstance(value[0], list | dict)


def _polygon(part: Any) -> np.ndarray:
    if not isinstance(part, list):
        raise ValueError("a part of an outline that is not a list of numbers")
    flat: list[Any] = []
    for value in part:
        if isinstance(value, dict):
            flat += [value.get("x"), value.get("y")]
        elif isinstance(value, list):
            flat += value
        else:
            flat.append(value)
    if len(flat) % 2:
        raise ValueError("a polygon with an odd number of coordinates")
    if len(flat) < 6:
        raise ValueError("a polygon of fewer than 3 points")
    try:
        points = np.array([number(v) for v in flat], np.float64).reshape(-1, 2)
    except ValueError:
        raise ValueError("a polygon with a point that is not a number") from None
    return points


def _run_lengths(value: dict[str, Any]) -> Outline:
    height, width = (int(number(v)) for v in value["size"])
    counts = value["counts"]
    lengths = parse_counts(counts).tolist() if isinstance(counts, str) else [int(number(c)) for c in counts]
    if height < 1 or width < 1 or min(lengths, default=0) < 0 or sum(lengths) != height * width:
        raise DatasetError("run-length encoding whose counts do not add up to its size")
    return Outline(rle={"size": [height, width], "counts": counts if isinstance(counts, str) else lengths})


def box_of(value: Any) -> list[float] | None:
    """Return x0, y0, x1, y1 of a `bbox`, of numbers or of numbers as text; None where there is none.

    Raises:
        ValueError: it is not x, y, width, height.
    """
    if isinstance(value, dict):
        names = next((n for n in (("x", "y", "width", "height"), ("x", "y", "w", "h")) if set(n) <= set(value)), None)
        if names is None:
            raise ValueError(f"expected a bbox of x, y, width, height, found {', '.join(map(str, value))[:40]}")
        value = [value[n] for n in names]
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise ValueError("expected a bbox of 4 numbers, found something else")
    if len(value) != 4:
        raise ValueError(f"expected a bbox of 4 numbers, found {len(value)}")
    x, y, w, h = (number(v) for v in value)
    return [x, y, x + w, y + h]


def key_point_box(value: Any) -> list[float] | None:
    """Return the box round the key points that are marked; None where fewer than two are, or they lie on a line."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) % 3:
        return None
    try:
        points = np.array([number(v) for v in value], np.float64).reshape(-1, 3)
    except ValueError:
        return None
    shown = points[points[:, 2] > 0, :2]
    if len(shown) < 2 or not (np.ptp(shown, axis=0) > 0).all():
        return None
    return [*shown.min(0).tolist(), *shown.max(0).tolist()]
