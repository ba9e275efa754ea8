"""Read detections, truth or tracks of one sequence; what a row cannot say is a finding with its line."""

__all__ = ["TrackFile", "TrackKind", "read_tracks"]

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eyewright.core.errors import InputError
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
_Row = tuple[int, int, tuple[float, float, float, float], float, int, int, float]


@dataclass(frozen=True, eq=False)
class TrackFile:
    """The boxes of one file.

    Args:
        tracks: its rows, by frame; of MOT text, boxes count from 0 here.
        findings: rows that were left out or changed, each with its line.
        rows: how many rows the file holds, those that were left out included.
        protocol: of truth, how it is measured: "mot15", or "mot16" (and "mot20") with distractors.
        fps: the frame rate that the file itself states, as our JSON does.
        n_frames: the number of frames that the file itself states.
    """

    tracks: Tracks
    findings: tuple[Finding, ...]
    rows: int
    protocol: str = "mot15"
    fps: float | None = None
    n_frames: int | None = None


class _Findings:
    def __init__(self, path: Path) -> None:
        self.path, self.all = str(path), list[Finding]()

    def add(self, code: str, line: int | None, message: str, fix: str = "correct the row") -> None:
        self.all.append(Finding(code, message, fix, self.path, line))


def read_tracks(path: Path, kind: TrackKind) -> TrackFile:
    """Read MOT text, CSV with a header, or the JSON that `eyewright track` writes.

    Rows need not be sorted. A row is left out, with a finding, where its numbers are none, its box has no area, its
    frame is not a whole number from 0 on, or, but in detections, its identity occurs twice in a frame.

    Raises:
        InputError: the file cannot be read, or it has rows and none can be used.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(f"expected a file of up to 2 GB, found {str(path)!r} larger", fix="split it by sequence")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}", fix="check the path") from error
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
    tracks, n_rows = _tracks(rows, kind, protocol, names, findings)
    if n_rows and not len(tracks):
        first = findings.all[0]
        where = "" if first.line is None else f", line {first.line}"
        raise InputError(
            f"none of the {n_rows:,} rows of {str(path)!r} can be used: {first.message}{where}",
            fix="each row is frame,id,x,y,width,height,score; see docs/concepts/tracking.md",
            code="unreadable_tracks",
        )
    fps, n_frames = stated.get("fps"), stated.get("n_frames")
    return TrackFile(
        tracks,
        tuple(findings.all),
        n_rows,
        protocol,
        float(fps) if isinstance(fps, int | float) and 0 < fps < 1e5 else None,
        int(n_frames) if isinstance(n_frames, int) and 0 < n_frames <= _LAST_FRAME else None,
    )


def _mot_rows(text: str, kind: TrackKind, findings: _Findings) -> tuple[list[_Row], str]:
    rows: list[_Row] = []
    classed = 0
    for line, own in enumerate(text.splitlines(), 1):
        if not own.strip():
            continue
        try:
            values = [float(v) for v in own.replace(";", ",").replace("\t", ",").replace(" ", ",").split(",") if v]
            frame, identity, x, y, w, h = values[:6]
        except ValueError:
            shown = own if len(own) <= 60 else own[:59] + "…"
            findings.add("row", line, f"expected frame,id,x,y,width,height in numbers, found {shown!r}")
            rows.append((-1, 0, (0, 0, 0, 0), 0, 0, line, 0))
            continue
        score = values[6] if len(values) > 6 else math.nan
        number = values[7] if len(values) in (8, 9) else -1.0
        classed += kind == "truth" and len(values) in (8, 9) and number >= 1
        whole = _whole(frame, identity)
        if whole is None:
            findings.add("row", line, f"expected whole numbers for frame and id, found {frame:g} and {identity:g}")
            rows.append((-1, 0, (0, 0, 0, 0), 0, 0, line, 0))
            continue
        label = int(number) if number >= 1 and number == number // 1 and number < 1e6 else 0
        rows.append((*whole, (x - 1, y - 1, x - 1 + w, y - 1 + h), score, label, line, math.nan))
    return rows, "mot16" if classed and classed * 2 > len(rows) else "mot15"


def _whole(frame: float, identity: float) -> tuple[int, int] | None:
    if not (math.isfinite(frame) and math.isfinite(identity)):
        return None
    if frame != int(frame) or identity != int(identity) or abs(identity) > 2**53:
        return None
    return int(frame), int(identity)


def _has_header(text: str) -> bool:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return any(c.isalpha() for c in first.split(",")[0]) and first.split(",")[0].strip().lower() not in ("nan", "inf")


def _csv_rows(text: str, path: Path, findings: _Findings) -> tuple[list[_Row], tuple[str, ...]]:
    reader = csv.reader(io.StringIO(text))
    header = [c.strip().lower() for c in next(reader)]
    at = {name: i for i, name in reversed(list(enumerate(header)))}
    corners = next((c for c in (("x0", "y0", "x1", "y1"), ("x1", "y1", "x2", "y2")) if all(n in at for n in c)), None)
    sides = next((c for c in (("x", "y", "w", "h"), ("x", "y", "width", "height")) if all(n in at for n in c)), None)
    identity = next((at[n] for n in ("id", "track_id", "identity") if n in at), None)
    places = corners or sides
    if "frame" not in at or places is None:
        raise InputError(
            f"expected the columns frame, id, x0, y0, x1, y1 in {str(path)!r}, found {', '.join(header)[:120]}",
            fix="rename the columns, or write MOT text",
            code="unreadable_tracks",
        )
    names: list[str] = []
    rows: list[_Row] = []

    def cell(values: list[str], column: int | None, missing: float) -> float:
        if column is None or column >= len(values) or not values[column].strip():
            return missing
        return float(values[column])

    while True:
        try:
            values = next(reader)
        except StopIteration:
            return rows, tuple(names)
        except csv.Error as error:
            findings.add("row", reader.line_num, f"expected a row of CSV, found one that cannot be read: {error}")
            continue
        line = reader.line_num
        if not any(v.strip() for v in values):
            continue
        try:
            a, b, c, d = (float(values[at[n]]) for n in places)
            whole = _whole(float(values[at["frame"]]), cell(values, identity, -1))
            score, time_s = cell(values, at.get("score"), math.nan), cell(values, at.get("time_s"), math.nan)
            if whole is None:
                raise ValueError
        except (ValueError, IndexError):
            findings.add("row", line, f"expected numbers for frame, id and box, found {','.join(values)[:60]!r}")
            rows.append((-1, 0, (0, 0, 0, 0), 0, 0, line, 0))
            continue
        label = values[at["label"]].strip() if "label" in at and at["label"] < len(values) else ""
        if label and label not in names:
            names.append(label)
        box = (a, b, c, d) if corners else (a, b, a + c, b + d)
        rows.append((*whole, box, score, names.index(label) if label else 0, line, time_s))


def _json_rows(text: str, path: Path, findings: _Findings) -> tuple[Mapping[str, Any], list[_Row], tuple[str, ...]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise InputError(
            f"{str(path)!r} is not JSON{'' if line is None else f': line {line}'}",
            fix="write it again",
            code="unreadable_tracks",
        ) from None
    if not isinstance(found, dict) or not isinstance(found.get("frames"), list):
        raise InputError(
            f"expected an object with a list of frames in {str(path)!r}, found another JSON",
            fix="see docs/concepts/tracking.md for what it holds",
            code="unreadable_tracks",
        )
    labels = found.get("labels", [])
    names = [str(v) for v in labels] if isinstance(labels, list) else []

    def rows() -> Iterator[_Row]:
        bad: _Row = (-1, 0, (0, 0, 0, 0), 0, 0, 0, 0)
        for place, frame in enumerate(found["frames"]):
            objects = frame.get("objects", []) if isinstance(frame, dict) else None
            if not isinstance(objects, list):
                findings.add("row", None, f"expected a list of objects in frames[{place}], found something else")
                yield bad
                continue
            for k, item in enumerate(objects):
                try:
                    a, b, c, d = (float(v) for v in item["box_xyxy"])
                    whole = _whole(float(frame["frame"]), float(item.get("id", -1)))
                    score = item.get("score")
                    time_s = frame.get("time_s")
                    if whole is None:
                        raise ValueError
                    label = str(item.get("label", ""))
                    if label and label not in names:
                        names.append(label)
                    yield (
                        *whole, (a, b, c, d), math.nan if score is None else float(score),
                        names.index(label) if label else 0, 0, math.nan if time_s is None else float(time_s),
                    )  # fmt: skip
                except (KeyError, TypeError, ValueError, AttributeError):
                    findings.add("row", None, f"expected id, label, score and box_xyxy in frames[{place}].objects[{k}]")
                    yield bad

    every = list(rows())
    return found, every, tuple(names)


def _tracks(
    rows: list[_Row], kind: TrackKind, protocol: str, names: tuple[str, ...], findings: _Findings
) -> tuple[Tracks, int]:
    kept: list[_Row] = []
    taken: set[tuple[int, int]] = set()
    for row in rows:
        frame, identity, box, _, _, line, _ = row
        where = line or None
        if frame < 0 or frame > _LAST_FRAME:
            if line and box != (0, 0, 0, 0):
                findings.add("frame", where, f"expected a frame from 1 to {_LAST_FRAME:,}, found {frame}")
            continue
        if not all(map(math.isfinite, box)) or max(map(abs, box)) > _LARGEST:
            findings.add("box", where, f"expected a box in finite numbers, found {_shown(box)}")
        elif box[2] <= box[0] or box[3] <= box[1]:
            findings.add("box", where, f"expected a box with an area, found {_shown(box)}")
        elif kind != "detections" and identity < 0:
            findings.add("identity", where, f"expected an identity from 0 on, found {identity}")
        elif kind != "detections" and (frame, identity) in taken:
            findings.add("identity", where, f"identity {identity} is there twice in frame {frame}; the first is used")
        else:
            taken.add((frame, identity))
            kept.append(row)
    if any(r[0] == 0 for r in kept):
        findings.add("frame", None, "frames count from 0; they are read as from 1", "count frames from 1")
        kept = [(r[0] + 1, *r[1:]) for r in kept]
    n = len(kept)
    scores = np.array([r[3] for r in kept], np.float64).reshape(n)
    numbers = np.array([r[4] for r in kept], np.int64).reshape(n)
    times = np.array([r[6] for r in kept], np.float64).reshape(n)
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
        np.array([r[0] for r in kept], np.int64).reshape(n),
        np.array([-1 if kind == "detections" else r[1] for r in kept], np.int64).reshape(n),
        np.array([r[2] for r in kept], np.float64).reshape(n, 4),
        scores,
        numbers,
        labels,
        None if not n or np.isnan(times).any() else times,
        ignored,
        distractor,
    ).ordered()
    if kind == "detections":
        tracks = _with_scores(tracks, findings)
    return tracks, len(rows)


def _with_scores(tracks: Tracks, findings: _Findings) -> Tracks:
    """Return detections whose scores are from 0 to 1 or missing: -1 says that there is none."""
    scores = np.where(tracks.scores == -1, np.nan, tracks.scores)
    known = scores[np.isfinite(scores)]
    if len(known) and (known.min() < 0 or known.max() > 1):
        text = f"scores lie from {known.min():g} to {known.max():g}: they are no probabilities and are not used"
        findings.add("scores", None, text, "write scores from 0 to 1")
        scores = np.full(len(scores), np.nan)
    return replace(tracks, scores=np.where(np.isfinite(scores), scores, np.nan))


def _shown(box: tuple[float, float, float, float]) -> str:
    return "(" + ", ".join(f"{v:g}" for v in box) + ")"
