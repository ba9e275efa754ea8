"""CVAT's XML for videos: `track` elements, each with a shape in every frame."""

__all__ = ["read_cvat_tracks"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eyewright.core.errors import DatasetError, InputError
from eyewright.core.quoting import quoted
from eyewright.data.readers.cvat import shape_box
from eyewright.data.readers.listing import number
from eyewright.data.readers.markup import read_elements
from eyewright.data.tracks.rows import Findings, Names, Row, TrackFile, TrackKind, tracks_of

_SHAPES = frozenset({"box", "polygon", "ellipse"})
_OUTLINES = "outlines: tracks have boxes alone"


@dataclass
class _Reading:
    """The file while it is read."""

    findings: Findings
    names: Names = field(default_factory=lambda: Names([]))
    rows: list[Row] = field(default_factory=list)
    size: dict[str, int] = field(default_factory=dict)
    n_frames: int = 0
    start_frame: int = 0
    outlined: bool = False
    open: list[str] = field(default_factory=list)
    track: tuple[int, str] | None = None

    def start(self, name: str, given: Mapping[str, str], line: int) -> None:
        self.open.append(name)
        if name == "track":
            text = given.get("id", "")
            self.track = (int(text[:18]) if text.isdecimal() else -1, given.get("label", "object") or "object")
        elif self.track is not None and name in _SHAPES and given.get("outside") != "1":
            self._shape(name, given, line, self.track)
        elif self.open[-2:-1] == ["track"] and name not in _SHAPES and given.get("outside") != "1":
            text = f"expected a box, polygon or ellipse, found a {name}, which has no box of its own"
            self.findings.leave_out("row", line, text)

    def end(self, name: str, text: str) -> None:
        self.open.pop()
        if name == "track":
            self.track = None
        elif name in ("height", "width") and self.open[-1:] == ["original_size"] and text.isdecimal():
            self.size[name] = int(text[:9])
        elif name == "size" and self.open[-1:] in (["task"], ["job"]) and text.isdecimal():
            self.n_frames = int(text[:9])
        elif name == "start_frame" and text.isdecimal():
            self.start_frame = int(text[:9])

    def _shape(self, name: str, given: Mapping[str, str], line: int, track: tuple[int, str]) -> None:
        identity, label = track
        try:
            x0, y0, x1, y1 = shape_box(name, given)
            frame = int(number(given["frame"]))
        except (DatasetError, ValueError, KeyError, OverflowError):
            self.findings.leave_out("row", line, f"expected a {name} with its frame and corners in numbers")
            return
        self.outlined |= name != "box" or given.get("rotation", "0") not in ("0", "0.0")
        # CVAT counts frames from 0.
        self.rows.append(Row(frame + 1, identity, (x0, y0, x1, y1), float("nan"), self.names.of(label), line))


def read_cvat_tracks(data: bytes, path: Path, kind: TrackKind) -> TrackFile:
    """Return the tracks of CVAT's XML for videos; a shape that is `outside` is not in the picture.

    Raises:
        InputError: it is not XML, holds no tracks, or none that can be used.
    """
    reading = _Reading(Findings(path))
    try:
        read_elements(data, reading.start, reading.end)
    except DatasetError as error:
        raise InputError(f"{quoted(path)}: {error.message}", fix=error.fix, code="unreadable_tracks") from None
    n_rows = len(reading.rows) + reading.findings.left_out
    tracks = tracks_of(reading.rows, kind, "plain", reading.names.all(), reading.findings)
    if not len(tracks):
        found = reading.findings.all[0].message if n_rows else "no track"
        raise InputError(
            f"expected CVAT's XML for videos in {quoted(path)}, with tracks; found {found}",
            fix="export the task as CVAT for video 1.1",
            code="unreadable_tracks",
        )
    sides = reading.size.get("height", 0), reading.size.get("width", 0)
    return TrackFile(
        tracks, tuple(reading.findings.all), n_rows, reading.findings.left_out, "plain",
        n_frames=max(reading.n_frames, tracks.n_frames), size_hw=sides if min(sides) > 0 else None,
        lost=(_OUTLINES,) if reading.outlined else (),
    )  # fmt: skip
