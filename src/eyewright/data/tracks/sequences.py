"""Where the files of a set of sequences lie: MOTChallenge's folders, or one file a sequence."""

__all__ = ["Sequence", "find_sequences"]

import configparser
from dataclasses import dataclass
from pathlib import Path

from eyewright.core.errors import EyewrightError, InputError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.core.report import Finding
from eyewright.data.texts import decode_text
from eyewright.data.tracks.reading import TrackKind

_INSIDE = {
    "detections": ("det/det.txt",),
    "truth": ("gt/gt.txt",),
    "tracks": ("tracks.txt", "tracks.json", "tracks.csv", "gt/gt.txt"),
}
_ENDINGS = (".txt", ".json", ".csv")
_LARGEST_INFO = 1 << 20
_OUR_FILES = frozenset({"report.json", "seqmap.txt"})


@dataclass(frozen=True)
class Sequence:
    """One sequence: its name, its file, and what `seqinfo.ini` says of it."""

    name: str
    path: Path
    fps: float | None = None
    n_frames: int | None = None
    size_hw: tuple[int, int] | None = None
    findings: tuple[Finding, ...] = ()


def find_sequences(source: Path, kind: TrackKind) -> list[Sequence]:
    """Return the sequences of a file or folder, by name.

    A folder is a sequence (`det/det.txt`, `gt/gt.txt`), holds one folder per sequence, or one file per sequence
    (`NAME.txt`, `NAME.json`, `NAME.csv`).

    Raises:
        InputError: nothing is there.
    """
    if source.is_file():
        home = source.parent.parent if source.parent.name in ("det", "gt") else source.parent
        inner = source.parent.name in ("det", "gt")
        return [_with_info(home.resolve().name if inner else source.stem, source, home)]
    if not source.is_dir():
        raise InputError(
            f"expected {_named(kind)}, found nothing at {quoted(source)}", fix="check the path", code="not_found"
        )
    own = _inside(source, kind)
    if own is not None:
        return [_with_info(source.resolve().name, own, source)]
    found = [
        _with_info(folder.name, path, folder)
        for folder in sorted(p for p in source.iterdir() if p.is_dir())
        if (path := _inside(folder, kind)) is not None
    ]
    if found:
        return found
    files = sorted(
        p for p in source.iterdir() if p.is_file() and p.suffix.lower() in _ENDINGS and p.name not in _OUR_FILES
    )
    if not files:
        raise InputError(
            f"expected {_named(kind)} in {quoted(source)}, found none",
            fix=f"a sequence is a folder with {_INSIDE[kind][0]}, or a file NAME.txt",
            code="no_sequences",
        )
    by_name: dict[str, Path] = {}
    for path in files:
        if path.stem in by_name and path.suffix == by_name[path.stem].suffix:
            raise UsageError(f"sequence {path.stem!r} occurs twice in {quoted(source)}", fix="remove one of them")
        # Of files that say the same, MOT text is read.
        if path.stem not in by_name or path.suffix.lower() == ".txt":
            by_name[path.stem] = path
    return [_with_info(name, path, source / name) for name, path in sorted(by_name.items())]


def _inside(folder: Path, kind: TrackKind) -> Path | None:
    return next((folder / name for name in _INSIDE[kind] if (folder / name).is_file()), None)


def _named(kind: TrackKind) -> str:
    return {"detections": "detections", "truth": "true tracks", "tracks": "tracks"}[kind]


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
