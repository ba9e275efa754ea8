"""Which files are clips: videos and animations by their content, and folders of numbered images."""

__all__ = ["clip_files", "frame_folders", "list_clips", "media_files", "numbered_frames"]

import glob
import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from eyewright.core.errors import InputError
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.core.walking import walk_files
from eyewright.imaging.given import given_source
from eyewright.imaging.headers import FORMATS
from eyewright.imaging.media import MOVING, Media, media_of
from eyewright.imaging.sources.files import VIDEO_EXTENSIONS

_IMAGES = frozenset(e for endings in FORMATS.values() for e in endings)
# What nobody calls a video: such a file is not opened to see what it holds.
_TEXTS = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".py", ".toml", ".npz", ".npy",
     ".zip", ".tar", ".gz", ".parquet", ".pdf", ".mp3", ".wav", ".flac", ".m4a", ".aac", ".opus", ".mka", ".oga",
     ".wma", ".srt", ".vtt", ".log"}
)  # fmt: skip
_FRAME = re.compile(r"\d+$")
_FEWEST_FRAMES = 4
_NAMED = 3


def clip_files(names: Iterable[str], held: Callable[[str], Media]) -> list[str]:
    """Return the names of the files that are clips, in order: those that are called videos, whatever reading them
    says, and all others that hold a video or an animation; `held` tells what a file holds.

    >>> clip_files(["a.mp4", "b", "c.png", "d.txt"], {"b": "video", "c.png": "picture"}.__getitem__)
    ['a.mp4', 'b']
    """
    found = []
    for name in names:
        ending = posixpath.splitext(name)[1].lower()
        if ending in _TEXTS:
            continue
        if ending in VIDEO_EXTENSIONS or held(name) in MOVING:
            found.append(name)
    return found


def media_files(names: Iterable[str], held: Callable[[str], Media]) -> list[str]:
    """Return the names of the files that are images or videos: those that are called so, whatever reading them says,
    and all others that hold one; `held` tells what a file holds.

    >>> media_files(["a.mp4", "b", "c.png", "d.txt", "e.bin"], {"b": "picture", "e.bin": "other"}.__getitem__)
    ['a.mp4', 'b', 'c.png']
    """
    found = []
    for name in names:
        ending = posixpath.splitext(name)[1].lower()
        if ending in VIDEO_EXTENSIONS or ending in _IMAGES or (ending not in _TEXTS and held(name) != "other"):
            found.append(name)
    return found


def frame_folders(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the folders of numbered images, four or more, each with its images in order.

    >>> frame_folders(["a/2.png", "a/10.png", "a/1.png", "a/3.png", "b/1.png"])
    {'a': ['a/1.png', 'a/2.png', 'a/3.png', 'a/10.png']}
    """
    frames: dict[str, list[str]] = defaultdict(list)
    for name in names:
        stem, extension = posixpath.splitext(posixpath.basename(name))
        if extension.lower() in _IMAGES and _FRAME.search(stem):
            frames[posixpath.dirname(name)].append(name)
    return {
        folder: sorted(files, key=lambda f: (_number(f), f))
        for folder, files in frames.items()
        if len(files) >= _FEWEST_FRAMES
    }


def _number(name: str) -> int:
    found = _FRAME.search(posixpath.splitext(posixpath.basename(name))[0])
    return int(found.group()) if found else 0


def numbered_frames(folder: Path) -> list[Path]:
    """Return the numbered images of a folder that is a clip, in order; none where it is no clip.

    Raises:
        InputError: the folder cannot be listed.
    """
    try:
        names = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot list {quoted(folder)}: {error.strerror}", fix="check its permissions") from error
    return [folder / name for name in frame_folders(names).get("", ())]


def list_clips(source: str | Path, *, note: Callable[[Finding], None] | None = None) -> list[Path]:
    """Return the clips that a source names, sorted: a file, a folder's clips, or a glob's matches.

    A folder of numbered images is a clip; where a folder holds videos or animations, these are its clips. `note` takes
    a finding on the images that are left out.

    Raises:
        InputError: nothing is there.
    """
    text = os.fspath(given_source(source))
    path = Path(text)
    if path.is_file():
        return [path]
    left: Sequence[Path] = ()
    if path.is_dir():
        found, left = _below(path)
    else:
        found = []
        for place in sorted(Path(p) for p in glob.glob(text, recursive=True)):
            if place.is_dir():
                found += [place] if numbered_frames(place) else []
            elif clip_files([str(place)], media_of):
                found.append(place)
            elif place.suffix.lower() in _IMAGES:
                left = [*left, place]
    if not found:
        what = "none" if not left else f"{len(left):,} still image{'s' * (len(left) != 1)}"
        fix = "check the path" if not left else "pass videos, animations or a folder of four or more numbered images"
        raise InputError(f"expected videos at {text!r}, found {what}", fix=fix, code="not_found")
    if left and note is not None:
        one = len(left) == 1
        names = ", ".join(quoted(p.name) for p in left[:_NAMED]) + (", …" if len(left) > _NAMED else "")
        said = (
            f"{len(left):,} image{'' if one else 's'} {'is no clip and is' if one else 'are no clips and are'} left out"
        )
        note(Finding("no_clip", f"{said}: {names}", "nothing, if this is meant", text, severity="note"))
    return found


def _below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the clips in a folder and below it, and the images that are left out."""
    try:
        names, _ = walk_files(folder)
    except OSError as error:
        shown = error.filename if isinstance(error.filename, str) else str(folder)
        raise InputError(f"cannot list {shown[:300]!r}: {error.strerror}", fix="check its permissions") from error
    chosen = clip_files(names, lambda name: media_of(folder / name))
    used = set(chosen)
    if not chosen:
        frames = frame_folders(names)
        used = {name for files in frames.values() for name in files}
        chosen = sorted(frames)
    left = [n for n in names if n not in used and posixpath.splitext(n)[1].lower() in _IMAGES]
    return sorted(folder / name for name in chosen), [folder / name for name in left]
