"""Read data sets of clips: a folder for each class, tables, and the lists of Kinetics, UCF101 and mmaction."""

__all__ = ["CLIP_FORMATS", "holds_clips", "lists_clips", "read_clips"]

import itertools
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from eyewright.core.errors import DatasetError, EyewrightError
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.data.account import Account, Reason
from eyewright.data.clip_tree import CLIP_EXTENSIONS, Clip, ClipTree
from eyewright.data.dataset import Dataset, Sample, SplitName
from eyewright.data.readers.naming import EXTENSIONS, SPLITS, split_of
from eyewright.data.tables import GROUP_COLUMNS, column_of, table_rows
from eyewright.data.targets.label import Label
from eyewright.data.texts import decode_text
from eyewright.data.tree import FolderTree, Tree
from eyewright.imaging.clip_files import clip_files, frame_folders
from eyewright.imaging.media import Media, media_of
from eyewright.imaging.sampling import ClipSampling

CLIP_FORMATS = MappingProxyType(
    {
        "clips": "a folder of videos for each class, with or without train/val/test above them",
        "clips-csv": "a CSV of file,class with optional split, recording, start_s and end_s columns; Kinetics' CSV",
        "clips-list": "lists of UCF101 (classInd.txt, trainlist01.txt) and mmaction (`path [frames] label` lines)",
        "clips-frames": "a folder of numbered images for each clip, in a folder for each class",
    }
)
"""Formats of data sets of clips by name, with what each looks like."""

_FILE = ("file", "path", "filename", "file_name", "video", "clip", "video_path", "youtube_id")
_CLASS = ("class", "label", "action", "category", "class_name", "original_label")
_RECORDING = ("recording", *GROUP_COLUMNS)
_START, _END = ("start_s", "time_start", "start"), ("end_s", "time_end", "end")
_LAST_NUMBER = re.compile(r"[\W_]*[A-Za-z]?\d+$")
_LINES_TRIED = 20
_MAY_MOVE = frozenset({".gif", ".webp", ".apng"})
_GROUPS_A_CLASS = 3


class _Row(NamedTuple):
    clip: Clip
    label: str
    split: SplitName | None
    recording: str | None


def holds_clips(names: Iterable[str], tree: Tree | None = None) -> bool:
    """Return whether a folder's files are clips: there are videos, and at least as many as images; or all images are
    animations. Whether an image is one, `tree` tells; without it, none is.

    >>> holds_clips(["walk/a.mp4", "walk/cover.jpg"]), holds_clips(["a.jpg", "b.jpg", "making-of.mp4"])
    (True, False)
    """
    endings = {n: posixpath.splitext(n)[1].lower() for n in names}
    videos = sum(e in CLIP_EXTENSIONS for e in endings.values())
    images = [n for n, e in endings.items() if e in EXTENSIONS]
    if videos and videos >= len(images):
        return True
    may_move = [n for n in images if endings[n] in _MAY_MOVE]
    if tree is None or not may_move:
        return False
    if not videos:
        # Some tell enough of a large folder.
        some = may_move[:: max(1, len(may_move) // _LINES_TRIED)]
        return len(may_move) == len(images) and all(_held(tree, n) == "animation" for n in some)
    moving = sum(_held(tree, n) == "animation" for n in may_move)
    return videos + moving >= len(images) - moving


def read_clips(tree: Tree, names: Sequence[str], task: str, *, table: str | None = None) -> Dataset:
    """Read clips with their classes; `table` names the one table or list to read.

    A clip is a file that is called a video, or holds one or an animation, whatever it is called.

    Clips of one recording get one group: by the table's column, else by the file's name without its last number where
    that makes enough groups. A row that cannot be used is left out, with a finding.

    Raises:
        DatasetError: there are no clips, or nothing says what they show.
    """
    videos = clip_files(names, partial(_held, tree))
    notes = _Notes()
    tables, texts = ([n for n in names if n.lower().endswith(e)] for e in ((".csv", ".tsv"), ".txt"))
    if table is not None:
        tables, texts = ([table], []) if table in tables else ([], [table])
    else:
        tables = [n for n in tables if _is_table(tree, n)]
    known, folders = _Videos(videos), frame_folders(names) if texts else {}
    lists = [n for n in texts if _is_list(tree, n, known, folders)]
    if tables:
        rows, form = _from_tables(tree, tables, videos, notes), "clips-csv"
    elif lists:
        rows, form = _from_lists(tree, names, lists, known, folders, notes), "clips-list"
    elif videos:
        rows, form = _from_folders(videos, notes), "clips"
    else:
        rows, form = _from_frames(names), "clips-frames"
    if not rows:
        first = notes.problems[0].message if notes.problems else f"found none in {quoted(tree.root)}"
        raise DatasetError(
            f"expected clips ({', '.join(sorted(CLIP_EXTENSIONS)[:6])}, …) with a class each; {first}",
            fix="sort them into folders named after their class, or pass a CSV of file,class",
        )
    return _dataset(tree, names, videos, rows, form, task, notes)


def _held(tree: Tree, name: str) -> Media:
    """Return what a file of a tree holds; what cannot be read holds nothing that is known."""
    try:
        return media_of(tree.root / name if isinstance(tree, FolderTree) else tree.content(name))
    except EyewrightError:
        return "other"


def lists_clips(tree: Tree, name: str) -> bool:
    """Return whether a table or a text of a tree names clips of it, in one of its first lines.

    Only files that are called videos, and folders of numbered images, count: nothing is opened for it.
    """
    names = tree.names()
    known = _Videos([n for n in names if posixpath.splitext(n)[1].lower() in CLIP_EXTENSIONS])
    if name.lower().endswith(".txt"):
        return _is_list(tree, name, known, frame_folders(names))
    if not _is_table(tree, name):
        return False
    for _, row in itertools.islice(table_rows(tree, name), _LINES_TRIED):
        called = row[column_of(row, _FILE) or ""]
        start, end = (_seconds(row.get(column_of(row, k) or "", "")) for k in (_START, _END))
        if posixpath.splitext(called)[1].lower() in EXTENSIONS:
            return False
        if any(known.find(c, posixpath.dirname(name)) is not None for c in (called, _of_kinetics(called, start, end))):
            return True
    return False


class _Notes:
    def __init__(self) -> None:
        self.problems: list[Finding] = []
        self.notes: list[str] = []
        self._dropped: dict[str, Reason] = {}

    def drop(self, reason: str, message: str, fix: str, path: str, line: int | None = None) -> None:
        self.problems.append(Finding("clip_left_out", message, fix, path, line, "error"))
        known = self._dropped.get(reason)
        self._dropped[reason] = Reason(reason, 1 if known is None else known.n + 1, *_place(known, path, line))

    @property
    def dropped(self) -> tuple[Reason, ...]:
        return tuple(self._dropped.values())


def _place(known: Reason | None, path: str, line: int | None) -> tuple[str, int | None]:
    return (path, line) if known is None else (known.path, known.line)


def _dataset(
    tree: Tree, names: Sequence[str], videos: Sequence[str], rows: list[_Row], form: str, task: str, notes: _Notes
) -> Dataset:
    labels = LabelSpace(tuple(sorted({r.label for r in rows})))
    ids = {n: i for i, n in enumerate(labels.names)}
    clips: dict[str, Clip] = {}
    samples: list[Sample] = []
    recordings, grouped_by = _recordings(rows, notes)
    for row, recording in zip(rows, recordings, strict=True):
        if row.clip.id in clips:
            notes.drop("listed twice", "listed twice", "remove one row", row.clip.id)
            continue
        clips[row.clip.id] = row.clip
        samples.append(Sample(row.clip.id, Label(ids[row.label]), row.split, group=recording))
    splits = {s.split for s in samples}
    if None in splits and len(splits) > 1:
        samples = [Sample(s.id, s.target, None, group=s.group) for s in samples]
        notes.notes.append("only some clips name their part, so the split is chosen again")
    used = {c.file for c in clips.values()} | {f for c in clips.values() for f in c.frames}
    unused = [n for n in videos if n not in used]
    stills = [n for n in names if posixpath.splitext(n)[1].lower() in EXTENSIONS and n not in used | set(videos)]
    if stills:
        are = "image is no clip and is" if len(stills) == 1 else "images are no clips and are"
        notes.notes.append(f"{len(stills):,} {are} left out, such as {quoted(stills[0])}")
    if unused:
        have = "video has" if len(unused) == 1 else "videos have"
        notes.notes.append(
            f"{len(unused)} {have} no class and {'is' if len(unused) == 1 else 'are'} left out, such as {unused[0]!r}"
        )
    return Dataset(
        ClipTree(tree, clips, ClipSampling()),
        tuple(samples),
        labels,
        form,
        task,
        notes=tuple(notes.notes),
        skipped=tuple(unused),
        problems=tuple(notes.problems),
        grouped_by=grouped_by,
        account=Account(
            len(samples),
            dropped=notes.dropped,
            counted="clip",
            left_out=tuple(
                Reason(what, len(several), several[0])
                for what, several in (("no class", unused), ("a still image", stills))
                if several
            ),
        ),
    )


def _recordings(rows: Sequence[_Row], notes: _Notes) -> tuple[list[str | None], str]:
    """Return the recording of each row, and in words how it is known."""
    if any(r.recording for r in rows):
        notes.notes.append("clips of one recording stay in one part")
        return [r.recording or None for r in rows], "stated in the data"
    files = Counter(r.clip.file for r in rows)
    if len(files) < len(rows):
        notes.notes.append("clips of one file stay in one part")
        return [r.clip.file for r in rows], "parts of one file"
    stems = [_LAST_NUMBER.sub("", posixpath.splitext(posixpath.basename(r.clip.file))[0]) for r in rows]
    of_class: dict[str, set[str]] = defaultdict(set)
    for row, stem in zip(rows, stems, strict=True):
        of_class[row.label].add(stem)
    several = len(set(stems)) < len(rows)
    if not several or not all(stems) or min(len(s) for s in of_class.values()) < _GROUPS_A_CLASS:
        return [None] * len(rows), ""
    notes.notes.append(
        f"clips whose names differ in their last number only count as one recording ({len(set(stems))} recordings)"
    )
    return list(stems), "recordings by the names of files"


def _from_folders(videos: Sequence[str], notes: _Notes) -> list[_Row]:
    common = posixpath.commonpath([posixpath.dirname(v) for v in videos]) if videos else ""
    parts = {v: (v[len(common) :].lstrip("/") if common else v).split("/") for v in videos}
    tops = {p[0].lower() for p in parts.values() if len(p) > 2}
    split_above = bool(tops) and tops <= set(SPLITS) and all(len(p) > 2 for p in parts.values())
    rows = []
    for video, part in parts.items():
        folders = part[int(split_above) : -1]
        if not folders:
            notes.drop("outside every class folder", "outside every class folder", "move it", video)
            continue
        rows.append(_Row(Clip(video), "/".join(folders), SPLITS[part[0].lower()] if split_above else None, None))
    return rows


def _from_frames(names: Sequence[str]) -> list[_Row]:
    rows = []
    for folder, files in frame_folders(names).items():
        parts = folder.split("/")
        if len(parts) < 2:
            continue
        split = SPLITS.get(parts[0].lower()) if len(parts) > 2 else None
        label = "/".join(parts[1 if split else 0 : -1])
        rows.append(_Row(Clip(folder, frames=tuple(files)), label, split, None))
    return rows


def _is_table(tree: Tree, name: str) -> bool:
    try:
        row = next(table_rows(tree, name), None)
    except DatasetError:
        return False
    return row is not None and column_of(row[1], _FILE) is not None and column_of(row[1], _CLASS) is not None


class _Videos:
    """Videos of a tree by how lists and tables name them: with any folders above, with or without an extension."""

    def __init__(self, videos: Sequence[str]) -> None:
        self._videos = set(videos)
        self._by_base: dict[str, list[str]] = defaultdict(list)
        for video in videos:
            base = posixpath.basename(video)
            self._by_base[base].append(video)
            self._by_base[posixpath.splitext(base)[0]].append(video)

    def find(self, called: str, near: str = "") -> str | None:
        plain = called.strip().replace("\\", "/").lstrip("/")
        for name in (posixpath.normpath(posixpath.join(near, plain)), plain):
            if name in self._videos:
                return name
        several = self._by_base.get(posixpath.basename(plain), [])
        tails = [v for v in several if v.endswith("/" + plain)] or several
        return tails[0] if len(set(tails)) == 1 else None


def _from_tables(tree: Tree, tables: Sequence[str], videos: Sequence[str], notes: _Notes) -> list[_Row]:
    known, rows = _Videos(videos), []
    for table in tables:
        for line, row in table_rows(tree, table):
            found = _of_row(row, known, table, line, notes)
            if found is not None:
                rows.append(found)
    return rows


def _of_row(row: Mapping[str, str], known: _Videos, table: str, line: int, notes: _Notes) -> _Row | None:
    keys = {what: column_of(row, names) for what, names in _COLUMNS.items()}
    called, label = row[keys["file"] or ""], row[keys["class"] or ""]
    start, end = (_seconds(row.get(keys[k] or "", "")) for k in ("start", "end"))
    if not label:
        notes.drop("no class", f"no class for {called!r}", "fill it in", table, line)
        return None
    whole = called if "youtube_id" not in row or start is None or end is None else _of_kinetics(called, start, end)
    file = known.find(whole, posixpath.dirname(table))
    if file is not None and whole != called:
        start = end = None  # Kinetics' downloaders cut the file to the seconds in its name.
    elif file is None:
        file = known.find(called, posixpath.dirname(table))
    if file is None:
        notes.drop("the file is missing", f"{called!r} is missing", "add it or remove the row", table, line)
        return None
    wrong = _wrong_times(row.get(keys["start"] or "", ""), row.get(keys["end"] or "", ""), start, end)
    if wrong:
        notes.drop("no interval of time", f"{wrong} for {quoted(called)}", "correct the row", table, line)
        return None
    split_text = row.get(keys["split"] or "", "").lower()
    split = SPLITS.get(split_text) or (split_of(table) if not split_text else None)
    clip = Clip(file, start if isinstance(start, float) else None, end if isinstance(end, float) else None)
    return _Row(clip, label, split, row.get(keys["recording"] or "") or None)


_COLUMNS = MappingProxyType(
    {"file": _FILE, "class": _CLASS, "split": ("split", "part", "subset"), "recording": _RECORDING,
     "start": _START, "end": _END}
)  # fmt: skip


def _seconds(text: str) -> float | str | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        return "invalid"
    return value if 0 <= value < 1e7 else "invalid"


def _wrong_times(start_text: str, end_text: str, start: float | str | None, end: float | str | None) -> str:
    """Say what is wrong with the times of a row; "" where nothing is."""
    for name, text, value in (("start_s", start_text, start), ("end_s", end_text, end)):
        if value == "invalid":
            return f"expected {name} as seconds from 0, found {quoted(text.strip())}"
    if isinstance(start, float) and isinstance(end, float) and end <= start:
        return f"expected start_s before end_s, found {start:g} and {end:g}"
    return ""


def _of_kinetics(called: str, start: object, end: object) -> str:
    if not (isinstance(start, float) and isinstance(end, float)):
        return called
    return f"{called}_{int(start):06d}_{int(end):06d}"


def _is_list(tree: Tree, name: str, known: "_Videos", folders: Mapping[str, Sequence[str]]) -> bool:
    try:
        lines = decode_text(tree.content(name), name).splitlines()[:20]
    except DatasetError:
        return False
    near = posixpath.dirname(name)
    return any(line.split() and _listed(line, known, folders, near)[0] is not None for line in lines)


def _listed(
    line: str, known: "_Videos", folders: Mapping[str, Sequence[str]], near: str
) -> tuple[Clip | None, str, list[int]]:
    """Return what a line of a list names, the name, and the numbers after it: `path`, `path class`,
    `path frames class`; a name may hold spaces."""
    words = line.split()
    for n in range(min(2, len(words) - 1), -1, -1):
        numbers = words[len(words) - n :]
        if not all(w.isdecimal() for w in numbers):
            continue
        called = line.strip()
        for word in reversed(numbers):
            called = called[: -len(word)].rstrip()
        file = known.find(called, near)
        if file is not None:
            return Clip(file), called, [int(w) for w in numbers]
        folder = _folder_of(called, folders, near)
        if folder is not None:
            return Clip(folder, frames=tuple(folders[folder])), called, [int(w) for w in numbers]
    return None, words[0], []


def _folder_of(called: str, folders: Mapping[str, Sequence[str]], near: str) -> str | None:
    plain = called.strip().replace("\\", "/").strip("/")
    for name in (posixpath.normpath(posixpath.join(near, plain)), plain):
        if name in folders:
            return name
    tails = [f for f in folders if f.endswith("/" + plain)]
    return tails[0] if len(tails) == 1 else None


def _from_lists(
    tree: Tree,
    names: Sequence[str],
    lists: Sequence[str],
    known: "_Videos",
    folders: Mapping[str, Sequence[str]],
    notes: _Notes,
) -> list[_Row]:
    """Read UCF101's lists (the class is the folder's name) and mmaction's (the last word is a class number)."""
    classes = _class_names(tree, names)
    found: list[tuple[Clip, str, int | None, SplitName | None, str, int]] = []
    seen: set[str] = set()
    for path in sorted(lists):
        base = posixpath.basename(path).lower()
        split = split_of(path) or next((SPLITS[w] for w in SPLITS if base.startswith(w) or f"_{w}_" in base), None)
        for line, text in enumerate(decode_text(tree.content(path), path).splitlines(), 1):
            if not text.strip():
                continue
            clip, called, numbers = _listed(text, known, folders, posixpath.dirname(path))
            if clip is None:
                _drop_line(notes, text, called, known, folders, path, line)
                continue
            folder = posixpath.basename(posixpath.dirname(called)) or posixpath.basename(posixpath.dirname(clip.file))
            if clip.file in seen:
                continue  # UCF101 comes with three splits of the same clips; the first is read.
            seen.add(clip.file)
            found.append((clip, folder, numbers[-1] if numbers else None, split, path, line))
    # A folder is a class where each has one number of its own; flat folders of videos share many.
    pairs = {(folder, number) for _, folder, number, _, _, _ in found if number is not None}
    folders_are_classes = len(pairs) == len({f for f, _ in pairs}) == len({n for _, n in pairs})
    rows = []
    for clip, folder, number, split, path, line in found:
        label = folder
        if number is not None and classes.get(number, folder) != folder:
            label = classes[number]
        elif number is not None and number not in classes and not (folder and folders_are_classes):
            label = f"class {number}"
        if not label:
            notes.drop("no class", f"no class for {quoted(clip.file)}", "add its number", path, line)
            continue
        rows.append(_Row(clip, label, split, None))
    return rows


def _drop_line(
    notes: _Notes,
    text: str,
    called: str,
    known: _Videos,
    folders: Mapping[str, Sequence[str]],
    path: str,
    line: int,
) -> None:
    """Note a line that names no clip: its file is missing, or what follows the file is no number."""
    words = text.split()
    for n in range(len(words) - 1, 0, -1):
        name, rest = " ".join(words[:n]), " ".join(words[n:])
        if known.find(name, posixpath.dirname(path)) or _folder_of(name, folders, posixpath.dirname(path)):
            message = f"expected the number of a class after {quoted(name)}, found {quoted(rest)}"
            notes.drop("no number of a class", message, "write the number of its class", path, line)
            return
    notes.drop("the file is missing", f"{quoted(called)} is missing", "add it", path, line)


def _class_names(tree: Tree, names: Sequence[str]) -> dict[int, str]:
    """Return the names of class numbers: `classInd.txt` (`1 Name`), or one name a line from 0."""
    for name in names:
        base = posixpath.basename(name).lower()
        if base not in ("classind.txt", "label_map.txt", "classes.txt", "labels.txt"):
            continue
        lines = [line.split(maxsplit=1) for line in decode_text(tree.content(name), name).splitlines() if line.strip()]
        if all(len(words) == 2 and words[0].isdecimal() for words in lines):
            return {int(number): text.strip() for number, text in lines}
        return {i: " ".join(words) for i, words in enumerate(lines)}
    return {}
