"""Read detections, truth or tracks of one sequence; what a row cannot say is a finding with its line."""

__all__ = ["parsed_json", "read_tracks"]

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eyewright.core.errors import InputError
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.data.texts import decode_text
from eyewright.data.tracks.coco_video import CocoVideo, holds_videos, size_of, videos_of
from eyewright.data.tracks.cvat_tracks import read_cvat_tracks
from eyewright.data.tracks.rows import (
    LARGEST_FILE,
    LAST_FRAME,
    Findings,
    Names,
    Row,
    TrackFile,
    TrackKind,
    number_of,
    score_of,
    short_of,
    tracks_of,
    whole_numbers,
)

_MOST_COLUMNS = 10
# A float that no file has: nothing is in the cell.
_NO_SCORE = -math.pi * 1e300
# What columns are called here, by supervision and by motmetrics, in lower case.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "frame": ("frame", "frame_id", "frameid", "frame_index", "frame_number"),
    "id": ("id", "track_id", "identity", "tracker_id", "trackid"),
    "score": ("score", "confidence", "conf"),
    "time_s": ("time_s",),
    "label": ("label", "class_name", "class_id"),
}
_CORNERS = (("x0", "y0", "x1", "y1"), ("x1", "y1", "x2", "y2"), ("x_min", "y_min", "x_max", "y_max"))
_SIDES = (("bb_left", "bb_top", "bb_width", "bb_height"), ("x", "y", "w", "h"), ("x", "y", "width", "height"))


def read_tracks(path: Path, kind: TrackKind) -> TrackFile:
    """Read MOT text, CSV with a header, the JSON that `eyewright track` writes, COCO JSON of one video, or CVAT's XML.

    Of several videos in a file, and of YOLO label files, `find_sequences` gives each.

    Rows need not be sorted. A row is left out, with a finding, where its numbers cannot be read, its box has no area,
    its frame is not a whole number from 0 on, or, except in detections, its identity occurs twice in a frame.

    Raises:
        InputError: the file cannot be read, or it has rows and none can be used.
    """
    data = read_regular(path, most=LARGEST_FILE, fix="split it by sequence, or check the path", follow=True)
    if data[:200].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") or path.suffix.lower() == ".xml":
        return read_cvat_tracks(data, path, kind)
    text = decode_text(data, str(path))
    findings = Findings(path)
    start = text.lstrip()[:1]
    stated: Mapping[str, Any] = {}
    names: tuple[str, ...] = ()
    rows: list[Row]
    if start in ("{", "["):
        content = parsed_json(text, path)
        if holds_videos(content):
            return _only_video(content, path).read(kind)
        stated, rows, names = _json_rows(content, path, findings)
        protocol = "plain"
    elif _has_header(text):
        rows, names = _csv_rows(text, path, findings)
        protocol = "plain"
    else:
        rows, protocol = _mot_rows(text, kind, findings)
        if "MOT20" in path.as_posix() and protocol == "mot16":
            protocol = "mot20"
    unread = findings.left_out
    tracks = tracks_of(rows, kind, protocol, names, findings)
    n_rows = len(rows) + unread
    if n_rows and not len(tracks):
        first = findings.all[0]
        where = "" if first.line is None else f", line {first.line}"
        raise InputError(
            f"none of the {n_rows:,} rows of {quoted(path)} can be used: {first.message}{where}",
            fix="each row is frame,id,x,y,width,height,score; see docs/concepts/tracking.md",
            code="unreadable_tracks",
        )
    fps, frames = _stated(stated, findings)
    size_hw = size_of(stated)
    return TrackFile(tracks, tuple(findings.all), n_rows, findings.left_out, protocol, fps, frames, size_hw)


def _stated(about: Mapping[str, Any], findings: Findings) -> tuple[float | None, int | None]:
    """Return the frame rate and number of frames that a file states; a value that is not a number is a finding."""
    fps, n_frames = about.get("fps"), about.get("n_frames")
    good_fps = fps if isinstance(fps, int | float) and not isinstance(fps, bool) and 0 < fps < 1e5 else None
    whole = isinstance(n_frames, int) and not isinstance(n_frames, bool)
    good_n = n_frames if isinstance(n_frames, int) and whole and 0 <= n_frames <= LAST_FRAME else None
    for name, given, good in (("fps", fps, good_fps), ("n_frames", n_frames, good_n)):
        if given is not None and good is None:
            findings.add(
                name, None, f"expected a number for {name}, found {short_of(given)}; it is not used", "correct it"
            )
    return None if good_fps is None else float(good_fps), good_n or None


def _mot_rows(text: str, kind: TrackKind, findings: Findings) -> tuple[list[Row], str]:
    rows: list[Row] = []
    classed = most = 0
    for line, own in enumerate(_lines(text), 1):
        if not own.strip():
            continue
        try:
            cells = _mot_cells(own)
            values = [number_of(v) for v in cells]
            frame, _, x, y, w, h = values[:6]
            whole = whole_numbers(frame, cells[1])
        except ValueError:
            shown = own if len(own) <= 60 else own[:59] + "…"
            findings.leave_out("row", line, f"expected frame,id,x,y,width,height,score in numbers, found {shown!r}")
            continue
        most = max(most, len(values))
        score = score_of(values[6], line, findings) if len(values) > 6 else math.nan
        number = values[7] if len(values) in (8, 9) else -1.0
        classed += kind == "truth" and len(values) in (8, 9) and number >= 1
        if whole is None:
            findings.leave_out("row", line, f"expected whole numbers for frame and id, found {own[:60]!r}")
            continue
        label = int(number) if number >= 1 and number == number // 1 and number < 1e6 else 0
        rows.append(Row(*whole, (x - 1, y - 1, x - 1 + w, y - 1 + h), score, label, line, shown=own[:60]))
    if most > _MOST_COLUMNS:
        text = f"expected at most {_MOST_COLUMNS} columns, found {most}; those after the tenth are not used"
        findings.add("columns", None, text, "write decimal points, not commas; separate columns by commas")
    return rows, "mot16" if classed and classed * 2 > len(rows) + findings.left_out else "mot15"


def _lines(text: str) -> list[str]:
    """Return the lines as editors count them; `splitlines` ends them at other characters too."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _mot_cells(line: str) -> list[str]:
    """Return the cells of a row. An empty one is kept: what follows it must not move to the left."""
    mark = next((m for m in ",;\t" if m in line), None)
    cells = line.split(mark)
    while cells and not cells[-1].strip():
        cells.pop()
    return cells


def _has_header(text: str) -> bool:
    first = next((line for line in _lines(text) if line.strip()), "")
    cell = _mot_cells(first)[0].strip().strip('"').lower() if first else ""
    return any(c.isalpha() for c in cell) and cell not in ("nan", "inf", "-nan", "-inf")


def _csv_cells(line: str, mark: str) -> list[str]:
    """Return the cells of one line. A quote that is not closed is an error: it would take the lines below with it.

    Raises:
        csv.Error: the line is not CSV.
    """
    if '"' not in line:
        return line.split(mark)
    return next(csv.reader([line], delimiter=mark, strict=True))


def _csv_rows(text: str, path: Path, findings: Findings) -> tuple[list[Row], tuple[str, ...]]:
    lines = [(line, own) for line, own in enumerate(_lines(text), 1) if own.strip()]
    first = lines[0][1]
    mark = next((m for m in ",;\t" if m in first), ",")
    try:
        header = [c.strip().lower() for c in _csv_cells(first, mark)]
    except csv.Error as error:
        header = [f"a line that is not CSV ({error})"]
    named = {own: next((n for n in names if n in header), None) for own, names in _COLUMNS.items()}
    corners = next((c for c in _CORNERS if set(c) <= set(header)), None)
    sides = next((c for c in _SIDES if set(c) <= set(header)), None)
    places = corners or sides
    frame = named["frame"]
    if frame is None or places is None:
        missing = f"frame (or {', '.join(_COLUMNS['frame'][1:])})" if frame is None else "x0, y0, x1, y1 or x, y, w, h"
        raise InputError(
            f"expected the column{'' if frame is None else 's'} {missing} in {quoted(path)}, "
            f"found {', '.join(header)[:120]}",
            fix="rename the columns, or write MOT text",
            code="unreadable_tracks",
        )
    # The names of MOTChallenge, whose coordinates count from 1.
    first_px = 1.0 if places == _SIDES[0] else 0.0
    used = {*places, *filter(None, named.values())}
    twice = next((n for n in header if n in used and header.count(n) > 1), None)
    if twice is not None:
        raise InputError(
            f"the column {twice!r} occurs twice in {quoted(path)}", fix="remove one", code="unreadable_tracks"
        )
    at = {name: i for i, name in enumerate(header)}
    identity, scored, timed, labelled = (
        None if named[n] is None else header.index(named[n] or "") for n in ("id", "score", "time_s", "label")
    )
    known = Names([])
    rows: list[Row] = []

    def cell(values: list[str], column: int | None, missing: float) -> float:
        if column is None or column >= len(values) or not values[column].strip():
            return missing
        return number_of(values[column])

    for line, own in lines[1:]:
        try:
            values = _csv_cells(own, mark)
        except csv.Error as error:
            findings.leave_out("row", line, f"expected a row of CSV, found one that cannot be read: {error}")
            continue
        if not any(v.strip() for v in values):
            continue
        try:
            a, b, c, d = (number_of(values[at[n]]) for n in places)
            own_id = values[identity] if identity is not None and identity < len(values) else ""
            whole = whole_numbers(number_of(values[at[frame]]), own_id if own_id.strip() else -1)
            given, time_s = cell(values, scored, _NO_SCORE), cell(values, timed, math.nan)
            if whole is None:
                raise ValueError
        except (ValueError, IndexError):
            text = f"expected numbers for frame, id, box and score, found {own[:60]!r}"
            findings.leave_out("row", line, text)
            continue
        score = math.nan if given == _NO_SCORE else score_of(given, line, findings)
        label = values[labelled].strip() if labelled is not None and labelled < len(values) else ""
        a, b = a - first_px, b - first_px
        box = (a, b, c, d) if corners else (a, b, a + c, b + d)
        rows.append(Row(*whole, box, score, known.of(label) if label else 0, line, time_s, shown=own[:60]))
    return rows, known.all()


def parsed_json(text: str, path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise InputError(
            f"{quoted(path)} is not JSON{'' if line is None else f': line {line}'}",
            fix="write it again",
            code="unreadable_tracks",
        ) from None


def _only_video(content: Any, path: Path) -> CocoVideo:
    videos = videos_of(content, path)
    if len(videos) != 1:
        raise InputError(
            f"expected one video in {quoted(path)}, found {len(videos)}",
            fix="write one file a video: eyewright convert FILE --task track --to json --out DIR",
            code="unreadable_tracks",
        )
    return videos[0]


def _json_rows(found: Any, path: Path, findings: Findings) -> tuple[Mapping[str, Any], list[Row], tuple[str, ...]]:
    if not isinstance(found, dict) or not isinstance(found.get("frames"), list):
        results = isinstance(found, list) and bool(found) and isinstance(found[0], dict) and "image_id" in found[0]
        kind = "a list of COCO results, which does not state the frame of an image" if results else "another JSON"
        raise InputError(
            f"expected an object with a list of frames, or with images and annotations, in {quoted(path)}, "
            f"found {kind}",
            fix="add images with their frames; see docs/concepts/tracking.md",
            code="unreadable_tracks",
        )
    labels = found.get("labels", [])
    known = Names([v for v in labels if isinstance(v, str)] if isinstance(labels, list) else [])
    rows: list[Row] = []
    for k, frame in enumerate(found["frames"]):
        objects = frame.get("objects", []) if isinstance(frame, dict) else None
        if not isinstance(objects, list):
            findings.leave_out("row", None, f"expected a list of objects in frames[{k}], found something else")
            continue
        for n, item in enumerate(objects):
            place = f"frames[{k}].objects[{n}]"
            row = _json_row(frame, item, place, known, findings)
            if row is None:
                findings.leave_out("row", None, f"expected id, label, score and box_xyxy in {place}")
            else:
                rows.append(row)
    return found, rows, known.all()


def _json_row(frame: Mapping[str, Any], item: Any, place: str, known: Names, findings: Findings) -> Row | None:
    try:
        box = item["box_xyxy"]
        if not isinstance(box, list):
            return None
        a, b, c, d = map(number_of, box)
        whole = whole_numbers(number_of(frame["frame"]), -1 if item.get("id") is None else item["id"])
        score, time_s, label = item.get("score"), frame.get("time_s"), item.get("label")
        if whole is None or not (label is None or isinstance(label, str | int | float)):
            return None
        return Row(
            *whole, (a, b, c, d), math.nan if score is None else score_of(number_of(score), None, findings, place),
            0 if label in (None, "") else known.of(str(label)), None,
            math.nan if time_s is None else number_of(time_s), place,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
