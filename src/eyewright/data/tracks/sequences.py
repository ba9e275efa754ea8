"""Where the files of a set of sequences lie: MOTChallenge's folders, or one file a sequence."""

__all__ = ["Sequence", "find_sequences"]

import configparser
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from eyewright.core.errors import EyewrightError, InputError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.core.report import Finding
from eyewright.data.texts import decode_text
from eyewright.data.tracks.coco_video import holds_videos, unique_names, videos_of
from eyewright.data.tracks.reading import parsed_json, read_tracks
from eyewright.data.tracks.rows import LARGEST_FILE, TrackFile, TrackKind
from eyewright.data.tracks.yolo_tracks import YoloVideo, is_yolo_line, yolo_videos

_INSIDE = {
    "detections": ("det/det.txt",),
    "truth": ("gt/gt.txt",),
    "tracks": ("tracks.txt", "tracks.json", "tracks.csv", "gt/gt.txt"),
}
_ENDINGS = (".txt", ".json", ".csv", ".xml")
_LARGEST_INFO = 1 << 20
_OUR_FILES = frozenset({"report.json", "seqmap.txt"})


class _Part(Protocol):
    """A sequence that is a part of a file, or several files."""

    def read(self, kind: TrackKind) -> TrackFile: ...


@dataclass(frozen=True)
class Sequence:
    """One sequence: its name, its file or folder, and what `seqinfo.ini` says of it.

    `part` is set where the sequence is one video of a file, or a folder of label files.
    """

    name: str
    path: Path
    fps: float | None = None
    n_frames: int | None = None
    size_hw: tuple[int, int] | None = None
    findings: tuple[Finding, ...] = ()
    part: _Part | None = field(default=None, repr=False, compare=False)

    def read(self, kind: TrackKind) -> TrackFile:
        """Return its boxes. With a size from `seqinfo.ini` they are in pixels, else as `TrackFile.relative` says.

        Raises:
            InputError: the file cannot be read, or it has rows and none can be used.
        """
        if self.part is None:
            file = read_tracks(self.path, kind)
            return file if self.size_hw is None else replace(file, size_hw=self.size_hw)
        found = self.part.read(kind)
        return found if self.size_hw is None else found.sized(self.size_hw)


def find_sequences(source: Path, kind: TrackKind) -> list[Sequence]:
    """Return the sequences of a file or folder, by name.

    A folder is a sequence (`det/det.txt`, `gt/gt.txt`), holds one folder per sequence, or one file per sequence
    (`NAME.txt`, `NAME.json`, `NAME.csv`). A COCO file of videos holds one sequence per video; a folder of YOLO label
    files, one per frame, holds a sequence for each name before the frame's number.

    Raises:
        InputError: nothing is there.
    """
    if source.is_file():
        home = source.parent.parent if source.parent.name in ("det", "gt") else source.parent
        inner = source.parent.name in ("det", "gt")
        videos = _videos_in(source)
        if videos is not None:
            return videos
        if source.suffix.lower() == ".txt" and _is_yolo(source):
            raise InputError(
                f"{quoted(source)} is the YOLO label file of one frame",
                fix=f"pass the folder of label files, {quoted(source.parent)}",
                code="no_sequences",
            )
        return [_with_info(home.resolve().name if inner else source.stem, source, home)]
    if not source.is_dir():
        raise InputError(
            f"expected {_named(kind)}, found nothing at {quoted(source)}", fix="check the path", code="not_found"
        )
    own = _inside(source, kind)
    if own is not None:
        return [_with_info(source.resolve().name, own, source)]
    labelled = _labelled(source)
    if labelled:
        return labelled
    folders = sorted(p for p in source.iterdir() if p.is_dir())
    found = [_with_info(folder.name, path, folder) for folder in folders if (path := _inside(folder, kind)) is not None]
    found = found or [s for folder in folders for s in _labelled(folder)]
    if found:
        return _named_apart(found)
    files = sorted(
        p for p in source.iterdir() if p.is_file() and p.suffix.lower() in _ENDINGS and p.name not in _OUR_FILES
    )
    if not files:
        # As CVAT and COCO lay them out.
        files = sorted((source / "annotations").glob("*.json"))
    if not files:
        raise InputError(
            f"expected {_named(kind)} in {quoted(source)}, found none",
            fix=f"a sequence is a folder with {_INSIDE[kind][0]}, or a file NAME.txt",
            code="no_sequences",
        )
    by_name: dict[str, Path] = {}
    others: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        first = by_name.setdefault(path.stem, path)
        if path == first:
            continue
        if path.suffix == first.suffix:
            raise UsageError(f"sequence {path.stem!r} occurs twice in {quoted(source)}", fix="remove one of them")
        # Of files that say the same, MOT text is read.
        used, left = (path, first) if path.suffix.lower() == ".txt" else (first, path)
        by_name[path.stem] = used
        others[path.stem].append(left)
    sequences: list[Sequence] = []
    for name, path in sorted(by_name.items()):
        videos = _videos_in(path)
        here = [_with_info(name, path, source / name)] if videos is None else videos
        sequences += [replace(s, findings=(*s.findings, *_left(path, others[name]))) for s in here]
    return _named_apart(sequences)


def _left(used: Path, others: list[Path]) -> list[Finding]:
    """Return notes on files of the same name, which are not read."""
    fix = "nothing where both say the same, else remove one"
    return [
        Finding("same_name", f"{p.name} is not read: {used.name} has the same name", fix, str(p), severity="note")
        for p in others
    ]


def _named_apart(sequences: list[Sequence]) -> list[Sequence]:
    names = unique_names([s.name for s in sequences])
    return [replace(s, name=name) for s, name in zip(sequences, names, strict=True)]


def _videos_in(path: Path) -> list[Sequence] | None:
    """Return the videos of a COCO file; None where it is another file."""
    if path.suffix.lower() != ".json":
        return None
    data = read_regular(path, most=LARGEST_FILE, fix="split it by sequence, or check the path", follow=True)
    if not any(name in data for name in (b'"annotations"', b'"sequences"')):
        return None
    content = parsed_json(decode_text(data, str(path)), path)
    if not holds_videos(content):
        return None
    videos = videos_of(content, path)
    return _named_apart([Sequence(v.name, path, v.fps, v.n_frames or None, v.size_hw, part=v) for v in videos])


def _is_yolo(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_LARGEST_INFO).decode("utf-8", "replace").splitlines()
    return is_yolo_line(next((line for line in head if line.strip()), ""))


def _labelled(folder: Path) -> list[Sequence]:
    """Return the videos whose YOLO label files lie in a folder, or in its `labels`."""
    for home in (folder, folder / "labels"):
        found = yolo_videos(home) if home.is_dir() else []
        if found:
            return [_of_labels(v, folder if home is not folder else folder.parent) for v in found]
    return []


def _of_labels(video: YoloVideo, home: Path) -> Sequence:
    places = (video.home / video.name, video.home, home)
    about = next((s for p in places if (s := _with_info(video.name, video.home, p)).size_hw is not None), None)
    if about is None:
        about = Sequence(video.name, video.home)
    size_hw = about.size_hw or video.size_hw
    return replace(about, size_hw=size_hw, part=replace(video, fps=about.fps, n_frames=about.n_frames))


def _inside(folder: Path, kind: TrackKind) -> Path | None:
    return next((folder / name for name in _INSIDE[kind] if (folder / name).is_file()), None)


def _named(kind: TrackKind) -> str:
    return {"detections": "detections", "truth": "ground-truth tracks", "tracks": "tracks"}[kind]


def _with_info(name: str, path: Path, home: Path) -> Sequence:
    info = home / "seqinfo.ini"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        if not info.is_file():
            return Sequence(name, path)
        parser.read_string(decode_text(read_regular(info, most=_LARGEST_INFO, follow=True), str(info)))
        rows = parser["Sequence"]
        size = (rows.getint("imHeight", 0), rows.getint("imWidth", 0))
        fps, n = rows.getfloat("frameRate", 0.0), rows.getint("seqLength", 0)
    except (configparser.Error, KeyError, ValueError, OverflowError, OSError, EyewrightError):
        text = f"{quoted(info)} does not state frame rate, length and size in numbers, and is not used"
        found = Finding("seqinfo", text, "correct it", str(info), severity="note")
        return Sequence(name, path, findings=(found,))
    return Sequence(
        name, path, fps if 0 < fps < 1e5 else None, n if 0 < n <= 100_000_000 else None, size if min(size) > 0 else None
    )
