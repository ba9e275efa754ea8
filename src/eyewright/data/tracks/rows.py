"""Boxes over time as files have them, row by row: what a row cannot say is a finding with its place."""

__all__ = [
    "LARGEST_FILE",
    "LAST_FRAME",
    "Findings",
    "Names",
    "Row",
    "TrackFile",
    "TrackKind",
    "number_of",
    "score_of",
    "short_of",
    "tracks_of",
    "whole_numbers",
]

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding
from eyewright.core.tracks import Tracks
from eyewright.data.readers.mot import MOT_CLASSES

TrackKind = Literal["detections", "truth", "tracks"]
"""What a file is read as. Of detections the identity is not read; truth has rows that are not measured."""

LARGEST_FILE = 2 << 30
"""In bytes."""
LAST_FRAME = 100_000_000
"""The largest number of a frame."""

_LARGEST = 1e7
_PEDESTRIAN = 1
# person on vehicle, static person, distractor, reflection: a tracker may lie on these (MOT16, section 4.1.3).
_DISTRACTORS = frozenset({2, 7, 8, 12})
_NOT_MOT_VEHICLE = 6
_LATEST_S = 1e9
_LONGEST_CELL = 2_000
_LONGEST_NUMBER = 100
_LARGEST_ID = 2**63 - 1


class Row(NamedTuple):
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
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class TrackFile:
    """The boxes of one file.

    Args:
        tracks: its rows, by frame; of MOT text, boxes count from 0 here.
        findings: rows that were left out or changed, each with its line.
        rows: how many rows the file holds, those that were left out included.
        left_out: how many of them are left out.
        protocol: of truth, how it is measured: "mot15", "mot16" (and "mot20") with distractors, "coco", or "plain".
        fps: the frame rate that the file itself states, as our JSON does.
        n_frames: the number of frames that the file itself states.
        size_hw: of the frames, where the file states it.
        relative: boxes are fractions of the frame's sides, because its size is not known.
        frame_names: the files of frames by number, where the file has them.
        lost: what the file has and boxes over time have not, such as masks.
    """

    tracks: Tracks
    findings: tuple[Finding, ...]
    rows: int
    left_out: int = 0
    protocol: str = "mot15"
    fps: float | None = None
    n_frames: int | None = None
    size_hw: tuple[int, int] | None = None
    relative: bool = False
    frame_names: Mapping[int, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()

    def sized(self, size_hw: tuple[int, int]) -> "TrackFile":
        """Return the file with boxes in pixels of frames of a size; the same where they are in pixels."""
        if not self.relative:
            return self
        scale = np.array([size_hw[1], size_hw[0]] * 2, np.float64)
        tracks = replace(self.tracks, boxes_xyxy=self.tracks.boxes_xyxy * scale)
        return replace(self, tracks=tracks, size_hw=size_hw, relative=False)


class Findings:
    """What is wrong with the rows of a file, in their order."""

    def __init__(self, path: Path) -> None:
        self.path, self.all, self.left_out = str(path), list[Finding](), 0

    def add(
        self, code: str, line: int | None, message: str, fix: str = "correct the row", *, note: bool = False
    ) -> None:
        self.all.append(Finding(code, message, fix, self.path, line, "note" if note else "warning"))

    def leave_out(self, code: str, line: int | None, message: str) -> None:
        """Note a row that is not used."""
        self.left_out += 1
        self.add(code, line, message)


def number_of(value: object) -> float:
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


def whole_numbers(frame: float, identity: object) -> tuple[int, int] | None:
    """Return frame and identity as whole numbers; None where one is none. Identities of 64 bits stay exact.

    >>> whole_numbers(2.0, "1000000000000000001"), whole_numbers(2.5, 1)
    ((2, 1000000000000000001), None)
    """
    exact = identity.strip() if isinstance(identity, str) else identity
    if isinstance(exact, str) and exact.lstrip("+-").isdecimal() and len(exact) < _LONGEST_NUMBER:
        exact = int(exact)
    elif not isinstance(exact, int):
        given = number_of(exact)
        exact = int(given) if math.isfinite(given) and given == int(given) else None
    if exact is None or not math.isfinite(frame) or frame != int(frame):
        return None
    return int(frame), exact


class Names:
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


def tracks_of(rows: list[Row], kind: TrackKind, protocol: str, names: tuple[str, ...], findings: Findings) -> Tracks:
    kept: list[Row] = []
    taken: set[tuple[int, int]] = set()
    for row in rows:
        where = f" in {row.place}" if row.place else ""
        key, box = (row.frame, row.identity), row.box
        if not 0 <= row.frame <= LAST_FRAME:
            frame = row.frame if abs(row.frame) < 10**20 else f"{row.frame:.3g}"
            findings.leave_out("frame", row.line, f"expected a frame from 1 to {LAST_FRAME:,}, found {frame}{where}")
        elif not all(map(math.isfinite, box)) or max(map(abs, box)) > _LARGEST:
            text = f"expected a box in finite numbers of up to {_LARGEST:,.0f}, found {shown_row(row)}{where}"
            findings.leave_out("box", row.line, text)
        elif box[2] <= box[0] or box[3] <= box[1]:
            findings.leave_out("box", row.line, f"expected a box with an area, found {shown_row(row)}{where}")
        elif kind != "detections" and row.identity > _LARGEST_ID:
            text = f"expected an identity of up to 2^63, found {shown_row(row) if row.shown else row.identity}{where}"
            findings.leave_out("identity", row.line, text)
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
    elif kind == "truth" and any(r.crowd for r in kept):
        ignored = np.array([r.crowd for r in kept], np.bool_)
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


def _times(rows: list[Row], findings: Findings) -> NDArray[np.float64] | None:
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


def shown_row(row: Row) -> str:
    """Return a row as its file has it, or the corners of its box."""
    return repr(row.shown) if row.shown else "(" + ", ".join(f"{v:g}" for v in row.box) + ")"


def score_of(value: float, line: int | None, findings: Findings, place: str = "") -> float:
    """Return a score; one that is no number or not finite is missing, and a finding."""
    if math.isfinite(value):
        return value
    where = f" in {place}" if place else ""
    findings.add("score", line, f"expected a finite score, found {value:g}{where}; it counts as missing")
    return math.nan


def short_of(value: object) -> str:
    shown = (
        repr(value) if not isinstance(value, int) or abs(value) < 1e30 else f"about 1e{value.bit_length() // 3.33:.0f}"
    )
    return shown if len(shown) <= 60 else shown[:59] + "…"
