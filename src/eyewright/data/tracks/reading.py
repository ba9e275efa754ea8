"""Read detections, truth or tracks of one sequence; what a row cannot say is a finding with its line."""

__all__ = ["TrackFile", "TrackKind", "read_tracks"]

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.core.report import Finding
from eyewright.core.tracks import Tracks
from eyewright.data.readers.mot import MOT_CLASSES
from eyewright.data.texts import decode_text

TrackKind = Literal["detections", "truth", "tracks"]
"""What a file is read as. Of detections the identity is not read; truth has rows that are not measured."""

_LARGEST = 1e7
_LAST_FRAME = 100_000_000
_LARGEST_FILE = 2 << 30
_PEDESTRIAN = 1
# person on vehicle, static person, distractor, reflection: a tracker may lie on these (MOT16, section 4.1.3).
_DISTRACTORS = frozenset({2, 7, 8, 12})
_NOT_MOT_VEHICLE = 6
_LATEST_S = 1e9
_LONGEST_CELL = 2_000
_MOST_COLUMNS = 10
# A float that no file has: nothing is in the cell.
_NO_SCORE = -math.pi * 1e300
# What columns are called here, by supervision and by motmetrics, in lower case.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "frame": ("frame", "frame_id", "frameid", "frame_index"),
    "id": ("id", "track_id", "identity", "tracker_id", "trackid"),
    "score": ("score", "confidence", "conf"),
    "time_s": ("time_s",),
    "label": ("label", "class_name", "class_id"),
}
_CORNERS = (("x0", "y0", "x1", "y1"), ("x1", "y1", "x2", "y2"), ("x_min", "y_min", "x_max", "y_max"))
_SIDES = (("bb_left", "bb_top", "bb_width", "bb_height"), ("x", "y", "w", "h"), ("x", "y", "width", "height"))
_LIMIT = " of up to 2^53"


class _Row(NamedTuple):
    """A row as it was read: MOT text and CSV have lines, JSON has a place."""

    frame: int
    identity: int
    box: tuple[float, float, float, float]
    score: float
    label: int
    line: int | None
    time_s: float = math.nan
    place: str = ""
    shown: str = ""


@dataclass(frozen=True, eq=False)
class TrackFile:
    """The boxes of one file.

    Args:
        tracks: its rows, by frame; of MOT text, boxes count from 0 here.
        findings: rows that were left out or changed, each with its line.
        rows: how many rows the file holds, those that were left out included.
        left_out: how many of them are left out.
        protocol: of truth, how it is measured: "mot15", or "mot16" (and "mot20") with distractors.
        fps: the frame rate that the file itself states, as our JSON does.
        n_frames: the number of frames that the file itself states.
    """

    tracks: Tracks
    findings: tuple[Finding, ...]
    rows: int
    left_out: int = 0
    protocol: str = "mot15"
    fps: float | None = None
    n_frames: int | None = None


class _Findings:
    def __init__(self, path: Path) -> None:
        self.path, self.all, self.left_out = str(path), list[Finding](), 0

    def add(self, code: str, line: int | None, message: str, fix: str = "correct the row") -> None:
        self.all.append(Finding(code, message, fix, self.path, line))

    def leave_out(self, code: str, line: int | None, message: str) -> None:
        """Note a row that is not used."""
        self.left_out += 1
        self.add(code, line, message)


def read_tracks(path: Path, kind: TrackKind) -> TrackFile:
    """Read MOT text, CSV with a header, or the JSON that `eyewright track` writes.

    Rows need not be sorted. A row is left out, with a finding, where its numbers cannot be read, its box has no area,
    its frame is not a whole number from 0 on, or, except in detections, its identity occurs twice in a frame.

    Raises:
        InputError: the file cannot be read, or it has rows and none can be used.
    """
    data = read_regular(path, most=_LARGEST_FILE, fix="split it by sequence, or check the path", follow=True)
    text = decode_text(data, str(path))
    findings = _Findings(path)
    start = text.lstrip()[:1]
    stated: Mapping[str, Any] = {}
    names: tuple[str, ...] = ()
    rows: list[_Row]
    if start in ("{", "["):
        stated, rows, names = _json_rows(text, path, findings)
        protocol = "plain"
    elif _has_header(text):
        rows, names = _csv_rows(text, path, findings)
        protocol = "plain"
    else:
        rows, protocol = _mot_rows(text, kind, findings)
        if "MOT20" in path.as_posix() and protocol == "mot16":
            protocol = "mot20"
    unread = findings.left_out
    tracks = _tracks(rows, kind, protocol, names, findings)
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
    return TrackFile(tracks, tuple(findings.all), n_rows, findings.left_out, protocol, fps, frames)


def _stated(about: Mapping[str, Any], findings: _Findings) -> tuple[float | None, int | None]:
    """Return the frame rate and number of frames that a file states; a value that is not a number is a finding."""
    fps, n_frames = about.get("fps"), about.get("n_frames")
    good_fps = fps if isinstance(fps, int | float) and not isinstance(fps, bool) and 0 < fps < 1e5 else None
    whole = isinstance(n_frames, int) and not isinstance(n_frames, bool)
    good_n = n_frames if isinstance(n_frames, int) and whole and 0 <= n_frames <= _LAST_FRAME else None
    for name, given, good in (("fps", fps, good_fps), ("n_frames", n_frames, good_n)):
        if given is not None and good is None:
            findings.add(
                name, None, f"expected a number for {name}, found {_short(given)}; it is not used", "correct it"
            )
    return None if good_fps is None else float(good_fps), good_n or None


def _short(value: object) -> str:
    shown = (
        repr(value) if not isinstance(value, int) or abs(value) < 1e30 else f"about 1e{value.bit_length() // 3.33:.0f}"
    )
    return shown if len(shown) <= 60 else shown[:59] + "…"


def _mot_rows(text: str, kind: TrackKind, findings: _Findings) -> tuple[list[_Row], str]:
    rows: list[_Row] = []
    classed = most = 0
    for line, own in enumerate(_lines(text), 1):
        if not own.strip():
            continue
        try:
            values = [_number(v) for v in _mot_cells(own)]
            frame, identity, x, y, w, h = values[:6]
        except ValueError:
            shown = own if len(own) <= 60 else own[:59] + "…"
            findings.leave_out("row", line, f"expected frame,id,x,y,width,height,score in numbers, found {shown!r}")
            continue
        most = max(most, len(values))
        score = _score(values[6], line, findings) if len(values) > 6 else math.nan
        number = values[7] if len(values) in (8, 9) else -1.0
        classed += kind == "truth" and len(values) in (8, 9) and number >= 1
        whole = _whole(frame, identity)
        if whole is None:
            findings.leave_out("row", line, f"expected whole numbers for frame and id{_LIMIT}, found {own[:60]!r}")
            continue
        label = int(number) if number >= 1 and number == number // 1 and number < 1e6 else 0
        rows.append(_Row(*whole, (x - 1, y - 1, x - 1 + w, y - 1 + h), score, label, line, shown=own[:60]))
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


def _number(value: object) -> float:
    """Return a number, or a text of one as people write it.

    Raises:
        ValueError: it is none, or larger than a float.
    """
    if isinstance(value, str) and ("_" in value or len(value) > _LONGEST_CELL or not value.isascii()):
        raise ValueError(value[:60])
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(type(value).__name__)
    try:
        return float(value)
    except OverflowError:
        raise ValueError("too large") from None


def _whole(frame: float, identity: float) -> tuple[int, int] | None:
    if not (math.isfinite(frame) and math.isfinite(identity)):
        return None
    if frame != int(frame) or identity != int(identity) or abs(identity) > 2**53:
        return None
    return int(frame), int(identity)


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


class _Names:
    """Class names in the order in which they come, with their numbers."""

    def __init__(self, names: list[str]) -> None:
        self.numbers: dict[str, int] = {}
        for name in names:
            self.of(name)

    def of(self, name: str) -> int:
        # A surrogate from an escape of JSON cannot be written to any file.
        whole = name.encode("utf-8", "replace").decode("utf-8")
        return self.numbers.setdefault(whole, len(self.numbers))

    def all(self) -> tuple[str, ...]:
        return tuple(self.numbers)


def _csv_rows(text: str, path: Path, findings: _Findings) -> tuple[list[_Row], tuple[str, ...]]:
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
        raise InputError(
            f"expected the columns frame, id, and x0, y0, x1, y1 or x, y, width, height in {quoted(path)}, "
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
    known = _Names([])
    rows: list[_Row] = []

    def cell(values: list[str], column: int | None, missing: float) -> float:
        if column is None or column >= len(values) or not values[column].strip():
            return missing
        return _number(values[column])

    for line, own in lines[1:]:
        try:
            values = _csv_cells(own, mark)
        except csv.Error as error:
            findings.leave_out("row", line, f"expected a row of CSV, found one that cannot be read: {error}")
            continue
        if not any(v.strip() for v in values):
            continue
        try:
            a, b, c, d = (_number(values[at[n]]) for n in places)
            whole = _whole(_number(values[at[frame]]), cell(values, identity, -1))
            given, time_s = cell(values, scored, _NO_SCORE), cell(values, timed, math.nan)
            if whole is None:
                raise ValueError
        except (ValueError, IndexError):
            text = f"expected numbers for frame, id{_LIMIT}, box and score, found {own[:60]!r}"
            findings.leave_out("row", line, text)
            continue
        score = math.nan if given == _NO_SCORE else _score(given, line, findings)
        label = values[labelled].strip() if labelled is not None and labelled < len(values) else ""
        a, b = a - first_px, b - first_px
        box = (a, b, c, d) if corners else (a, b, a + c, b + d)
        rows.append(_Row(*whole, box, score, known.of(label) if label else 0, line, time_s, shown=own[:60]))
    return rows, known.all()


def _json_rows(text: str, path: Path, findings: _Findings) -> tuple[Mapping[str, Any], list[_Row], tuple[str, ...]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise InputError(
            f"{quoted(path)} is not JSON{'' if line is None else f': line {line}'}",
            fix="write it again",
            code="unreadable_tracks",
        ) from None
    if not isinstance(found, dict) or not isinstance(found.get("frames"), list):
        raise InputError(
            f"expected an object with a list of frames in {quoted(path)}, found another JSON",
            fix="see docs/concepts/tracking.md for what it holds",
            code="unreadable_tracks",
        )
    labels = found.get("labels", [])
    known = _Names([v for v in labels if isinstance(v, str)] if isinstance(labels, list) else [])
    rows: list[_Row] = []
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


def _json_row(frame: Mapping[str, Any], item: Any, place: str, known: _Names, findings: _Findings) -> _Row | None:
    try:
        box = item["box_xyxy"]
        if not isinstance(box, list):
            return None
        a, b, c, d = map(_number, box)
        whole = _whole(_number(frame["frame"]), _number(item.get("id", -1)))
        score, time_s, label = item.get("score"), frame.get("time_s"), item.get("label")
        if whole is None or not (label is None or isinstance(label, str | int | float)):
            return None
        return _Row(
            *whole, (a, b, c, d), math.nan if score is None else _score(_number(score), None, findings, place),
            0 if label in (None, "") else known.of(str(label)), None,
            math.nan if time_s is None else _number(time_s), place,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _tracks(rows: list[_Row], kind: TrackKind, protocol: str, names: tuple[str, ...], findings: _Findings) -> Tracks:
    kept: list[_Row] = []
    taken: set[tuple[int, int]] = set()
    for row in rows:
        where = f" in {row.place}" if row.place else ""
        key, box = (row.frame, row.identity), row.box
        if not 0 <= row.frame <= _LAST_FRAME:
            frame = row.frame if abs(row.frame) < 10**20 else f"{row.frame:.3g}"
            findings.leave_out("frame", row.line, f"expected a frame from 1 to {_LAST_FRAME:,}, found {frame}{where}")
        elif not all(map(math.isfinite, box)) or max(map(abs, box)) > _LARGEST:
            text = f"expected a box in finite numbers of up to {_LARGEST:,.0f}, found {_shown(row)}{where}"
            findings.leave_out("box", row.line, text)
        elif box[2] <= box[0] or box[3] <= box[1]:
            findings.leave_out("box", row.line, f"expected a box with an area, found {_shown(row)}{where}")
        elif kind != "detections" and row.identity < 0:
            findings.leave_out("identity", row.line, f"expected an identity from 0 on, found {row.identity}{where}")
        elif kind != "detections" and key in taken:
            text = f"identity {row.identity} occurs twice in frame {row.frame}; the first is used{where}"
            findings.leave_out("identity", row.line, text)
        else:
            taken.add(key)
            kept.append(row)
    if any(r.frame == 0 for r in kept):
        findings.add("frame", None, "frames count from 0; they are read as from 1", "count frames from 1")
        kept = [r._replace(frame=r.frame + 1) for r in kept]
    n = len(kept)
    scores = np.array([r.score for r in kept], np.float64).reshape(n)
    numbers = np.array([r.label for r in kept], np.int64).reshape(n)
    times = _times(kept, findings)
    ignored = distractor = None
    if kind == "truth" and protocol in ("mot15", "mot16", "mot20"):
        ignored = scores == 0
        if protocol != "mot15":
            ignored |= numbers != _PEDESTRIAN
            distractors = _DISTRACTORS | ({_NOT_MOT_VEHICLE} if protocol == "mot20" else set())
            distractor = np.isin(numbers, sorted(distractors))
        scores = np.full(n, np.nan)
    labels = names or ("object",)
    if not names and (numbers > 0).any():
        # MOT numbers its classes from 1.
        known = np.unique(numbers)
        labels = tuple(MOT_CLASSES[k - 1] if 1 <= k <= len(MOT_CLASSES) else f"class {k}" for k in known.tolist())
        numbers = np.searchsorted(known, numbers)
    tracks = Tracks(
        np.array([r.frame for r in kept], np.int64).reshape(n),
        np.array([-1 if kind == "detections" else r.identity for r in kept], np.int64).reshape(n),
        np.array([r.box for r in kept], np.float64).reshape(n, 4),
        scores,
        numbers,
        labels,
        times,
        ignored,
        distractor,
    ).ordered()
    if kind == "detections":
        tracks = _with_scores(tracks)
    return tracks


def _times(rows: list[_Row], findings: _Findings) -> NDArray[np.float64] | None:
    """Return the time of each row, or None where frames have none, or not all of them a time that can be used."""
    times: NDArray[np.float64] = np.array([r.time_s for r in rows], np.float64).reshape(len(rows))
    if np.isnan(times).all():
        return None
    bad = [r for r in rows if not 0 <= r.time_s <= _LATEST_S]
    if not bad:
        order = np.argsort([r.frame for r in rows], kind="stable")
        back = np.flatnonzero(np.diff(times[order]) < 0)
        if not len(back):
            return times
        bad = [rows[order[back[0] + 1]]]
        text = f"the time {bad[0].time_s:g} s of frame {bad[0].frame} is before that of an earlier frame"
    else:
        text = f"expected a time in seconds from 0, found {bad[0].time_s:g} in frame {bad[0].frame}"
    findings.add("time", bad[0].line, f"{text}; times are computed from the frame rate", "correct the times")
    return None


def _with_scores(tracks: Tracks) -> Tracks:
    """Return detections whose scores are finite or missing: -1 says that there is none, unless scores go below 0."""
    scores = np.where(np.isfinite(tracks.scores), tracks.scores, np.nan)
    if not (scores[scores != -1] < 0).any():
        scores[scores == -1] = np.nan
    return replace(tracks, scores=scores)


def _shown(row: _Row) -> str:
    """Return a row as its file has it, or the corners of its box."""
    return repr(row.shown) if row.shown else "(" + ", ".join(f"{v:g}" for v in row.box) + ")"


def _score(value: float, line: int | None, findings: _Findings, place: str = "") -> float:
    """Return a score; one that is no number or not finite is missing, and a finding."""
    if math.isfinite(value):
        return value
    where = f" in {place}" if place else ""
    findings.add("score", line, f"expected a finite score, found {value:g}{where}; it counts as missing")
    return math.nan
