"""YOLO label files of frames: `class x y width height [confidence] [identity]`, as ultralytics' `save_txt` writes.

The files of a video are `VIDEO_1.txt`, `VIDEO_2.txt`, …, or `1.txt`, `2.txt`, …; the number at the end is the frame's.
Files of several videos may lie in one folder. Six numbers in a row are a box with a confidence, or with an identity
where all of the video's are whole numbers; more are an outline, whose box is read.
"""

__all__ = ["YoloVideo", "is_yolo_line", "yolo_videos"]

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eyewright.core.errors import EyewrightError, InputError
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.data.readers.yolo import yolo_names
from eyewright.data.texts import decode_text
from eyewright.data.tracks.rows import LARGEST_FILE, Findings, Names, Row, TrackFile, TrackKind, number_of, tracks_of
from eyewright.data.tree import FolderTree
from eyewright.imaging import read_image
from eyewright.imaging.headers import FORMATS, Limits
from eyewright.imaging.sources.files import VIDEO_EXTENSIONS
from eyewright.imaging.sources.video import VideoFile

_NUMBERED = re.compile(r"^(?:(.*?)[_\-.]?)?(\d{1,8})$")
_FRACTION = 1.5
_SNIFFED = 8
_HEAD = 2**16
_IMAGES = tuple(e for endings in FORMATS.values() for e in endings)
_LISTS = frozenset({"classes.txt", "labels.txt", "obj.names", "seqmap.txt"})


class _Line:
    """A row of numbers with where it lies."""

    def __init__(self, frame: int, path: Path, line: int, values: list[float], text: str) -> None:
        self.frame, self.path, self.line, self.values, self.text = frame, path, line, values, text


@dataclass(frozen=True, eq=False)
class YoloVideo:
    """The label files of one video, by frame, and the size of its frames where it is known."""

    name: str
    home: Path
    files: tuple[tuple[int, Path], ...]
    size_hw: tuple[int, int] | None = None
    fps: float | None = None
    n_frames: int | None = None

    def read(self, kind: TrackKind) -> TrackFile:
        """Return the boxes of this video, in fractions of the frame's sides where their size is not known.

        Raises:
            InputError: there are rows, and none can be used.
        """
        findings = Findings(self.home)
        lines = [line for frame, path in self.files for line in _lines_of(frame, path, findings)]
        unread = findings.left_out
        outlined = any(len(x.values) > 7 for x in lines)
        names = _class_names(self.home)
        known = Names([])
        numbered = _numbered(lines, kind)
        rows = [row for line in lines if (row := _row(line, numbered, names, known, findings)) is not None]
        n_rows = len(lines) + unread
        tracks = tracks_of(rows, kind, "plain", known.all(), findings)
        if n_rows and not len(tracks):
            raise InputError(
                f"none of the {n_rows:,} rows of {quoted(self.home)} can be used: {findings.all[0].message}",
                fix="each row is: class x y width height [confidence] identity; see docs/concepts/tracking.md",
                code="unreadable_tracks",
            )
        lost = ("outlines: tracks have boxes alone",) if outlined else ()
        found = TrackFile(
            tracks, tuple(findings.all), n_rows, findings.left_out, "plain", self.fps, self.n_frames, relative=True,
            lost=lost,
        )  # fmt: skip
        return found if self.size_hw is None else found.sized(self.size_hw)


def is_yolo_line(text: str) -> bool:
    """Return whether a line is a row of a YOLO label file: a class, and four numbers that are fractions.

    >>> is_yolo_line("0 0.5 0.5 0.1 0.2 3"), is_yolo_line("1,2,10,20,30,40,1"), is_yolo_line("1 2 10 20 30 40 1")
    (True, False, False)
    """
    cells = text.split()
    if len(cells) < 5 or "," in text:
        return False
    try:
        values = [number_of(c) for c in cells]
    except ValueError:
        return False
    return values[0] == abs(int(values[0])) and all(-0.5 <= v <= _FRACTION for v in values[1:5])


def yolo_videos(folder: Path) -> list[YoloVideo]:
    """Return the videos whose label files lie in a folder, by name; none where it holds no label files."""
    groups: dict[str, dict[int, Path]] = defaultdict(dict)
    others = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".txt" or path.name.lower() in _LISTS or not path.is_file():
            continue
        found = _NUMBERED.match(path.stem)
        if found is None:
            others.append(path)
        else:
            groups[found[1] or ""].setdefault(int(found[2]), path)
    every = [path for files in groups.values() for path in files.values()]
    if not every or not _holds_labels(every[:: max(1, len(every) // _SNIFFED)]):
        return []
    # A folder of `labels` is that of the run, or of the sequence.
    inner = folder.name.lower() == "labels"
    home = folder.resolve().parent if inner else folder.resolve()
    return [
        YoloVideo(prefix or home.name, folder, tuple(sorted(files.items())), _size_near(folder, prefix, files))
        for prefix, files in sorted(groups.items())
    ]


def _holds_labels(files: Sequence[Path]) -> bool:
    for path in files:
        with path.open("rb") as file:
            head = file.read(_HEAD).decode("utf-8", "replace").splitlines()
        first = next((line for line in head if line.strip()), None)
        if first is not None:
            return is_yolo_line(first)
    return False


def _lines_of(frame: int, path: Path, findings: Findings) -> list[_Line]:
    text = decode_text(read_regular(path, most=LARGEST_FILE, follow=True), str(path))
    found = []
    for line, own in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not own.strip():
            continue
        try:
            values = [number_of(c) for c in own.split()]
        except ValueError:
            values = []
        if len(values) < 5 or not all(map(math.isfinite, values)) or values[0] != abs(int(values[0])):
            text = f"expected class x y width height [confidence] [identity], found {own[:60]!r} in {path.name}"
            findings.leave_out("row", line, text)
            continue
        found.append(_Line(frame, path, line, values, own[:60]))
    return found


def _numbered(lines: Sequence[_Line], kind: TrackKind) -> frozenset[int]:
    """Return the lengths of rows whose last number is an identity: in all of them it is whole, and once in a frame.

    A confidence of 1 in every row looks the same where rows have six numbers; detections have no use for an identity.
    """
    ends: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for x in lines:
        if len(x.values) > 5:
            ends[len(x.values)].append((x.frame, x.values[-1]))
    found = set()
    for n, own in ends.items():
        if any(v != int(v) or v < 0 or v > 2**53 for _, v in own):
            continue
        once = kind != "detections" and len(set(own)) == len(own)
        if n == 7 or any(v > 1 for _, v in own) or once:
            found.add(n)
    return frozenset(found)


def _row(
    line: _Line, numbered: frozenset[int], names: Mapping[int, str], known: Names, findings: Findings
) -> Row | None:
    values, place = line.values[1:], f"{line.path.name}, line {line.line}"
    identity, score = -1, math.nan
    if len(line.values) in numbered:
        identity, values = int(values[-1]), values[:-1]
    if len(values) % 2:
        score, values = values[-1], values[:-1]
    if len(values) == 4:
        x, y, width, height = values
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    elif len(values) >= 6:
        box = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    else:
        findings.leave_out("row", None, f"expected a box of four numbers in {place}, found {line.text!r}")
        return None
    if max(map(abs, box)) > 10:
        text = f"expected fractions of the frame's sides in {place}, found {line.text!r}: are these pixels?"
        findings.leave_out("box", None, text)
        return None
    label = names.get(int(line.values[0]), f"class {int(line.values[0])}")
    return Row(line.frame, identity, box, score, known.of(label), None, place=place)


def _class_names(folder: Path) -> Mapping[int, str]:
    """Return the names of classes by number, from a YAML file or a list near the labels."""
    for home in (folder, folder.parent, folder.parent.parent):
        near = tuple(p.name for p in home.glob("*") if p.suffix.lower() in (".yaml", ".yml", ".txt", ".names"))
        listed = tuple(n for n in near if not n.lower().endswith(".txt") or n.lower() in _LISTS)
        names = yolo_names(FolderTree(home), listed) if listed else ()
        if names:
            return dict(enumerate(names))
    return {}


def _size_near(folder: Path, prefix: str, files: Mapping[int, Path]) -> tuple[int, int] | None:
    """Return the size of frames by an image of one of them, or by the video, that lie near the labels."""
    beside = [folder, folder.parent / "images", folder.parent / "img1", folder.parent]
    parts = folder.resolve().parts
    if "labels" in parts:
        at = len(parts) - 1 - parts[::-1].index("labels")
        beside.append(Path(*parts[:at], "images", *parts[at + 1 :]))
    first = next(iter(files.values())).stem
    for place in beside:
        for ending in _IMAGES:
            path = place / f"{first}{ending}"
            if path.is_file():
                return _image_size(path)
    for place in (folder.parent, folder):
        for ending in sorted(VIDEO_EXTENSIONS):
            path = place / f"{prefix or place.resolve().name}{ending}"
            if path.is_file():
                return _video_size(path)
    return None


def _image_size(path: Path) -> tuple[int, int] | None:
    try:
        height, width = read_image(path).shape[:2]
    except EyewrightError:
        return None
    return height, width


def _video_size(path: Path) -> tuple[int, int] | None:
    try:
        video = VideoFile(path, limits=Limits())
    except EyewrightError:
        return None
    try:
        next(iter(video.moments()))
        height, width = video.picture().shape[:2]
        return height, width
    except (EyewrightError, StopIteration):
        return None
    finally:
        video.close()
