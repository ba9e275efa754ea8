"""Write clips: class folders, a CSV that also holds parts of files, and the lists of Kinetics, UCF101 and mmaction."""

__all__ = ["write_clip_folders", "write_clip_table", "write_kinetics", "write_mmaction", "write_ucf101"]

import csv
import io
import posixpath
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np

from eyewright.core.files import checked_output, write_staged
from eyewright.data.clip_tree import CLIP_EXTENSIONS, Clip, ClipTree
from eyewright.data.dataset import Sample
from eyewright.data.targets.label import Label
from eyewright.data.writers.class_folders import folder_names
from eyewright.data.writers.work import Work
from eyewright.imaging.clips import cut_strip, iter_clip_frames
from eyewright.imaging.media import ending_of
from eyewright.imaging.sources.frames import Frame
from eyewright.imaging.webm import WebmWriter

_QUALITY = 90
_STEP_S = 0.1
_HEAD = 4096
_AGAIN = "clips that are a part of a longer file, or a folder of images: they are encoded again as WebM"
_RECORDING = "the recording of each clip (clips-csv keeps it)"
_SPACES = re.compile(r"\s+")
_LAST_NUMBER = re.compile(r"[\W_]*[A-Za-z]?\d+$")


def write_clip_folders(work: Work) -> None:
    """Write `[PART/]CLASS/NAME.mp4`: a file for each clip."""
    names = _class_folders(work)
    for sample, clip in _clips(work):
        name = _put(work, sample, clip, f"{_part(sample)}{names[sample.marked(Label)]}")
        _note_recording(work, sample, name)


def write_clip_table(work: Work) -> None:
    """Write `labels.csv` with `file,class` and what there is of split, recording and times; every file once."""
    rows, files = [], {}
    parted = any(c.start_s is not None or c.end_s is not None for c in _places(work))
    for sample, clip in _clips(work):
        # A part of a file stays one.
        whole = replace(clip, start_s=None, end_s=None)
        if whole.id not in files:
            files[whole.id] = f"clips/{_put(work, replace(sample, id=whole.id), whole, 'clips')}"
        row = {"file": files[whole.id], "class": work.dataset.labels.names[sample.marked(Label)]}
        row |= {"split": sample.split or "", "recording": sample.group or ""}
        row |= {"start_s": _seconds(clip.start_s), "end_s": _seconds(clip.end_s)} if parted else {}
        rows.append(row)
    columns = [c for c in rows[0] if c in ("file", "class") or any(r[c] for r in rows)]
    _write_table(work, "labels.csv", columns, rows)


def write_kinetics(work: Work) -> None:
    """Write Kinetics' CSV, `label,youtube_id,time_start,time_end,split`, and the videos by their ids."""
    rows, files = [], {}
    for sample, clip in _clips(work):
        whole = replace(clip, start_s=None, end_s=None)
        if whole.id not in files:
            name = _put(work, replace(sample, id=whole.id), whole, "videos")
            files[whole.id] = posixpath.splitext(name)[0]
        times = {"time_start": _seconds(clip.start_s), "time_end": _seconds(clip.end_s)}
        label = work.dataset.labels.names[sample.marked(Label)]
        rows.append({"label": label, "youtube_id": files[whole.id], **times, "split": sample.split or ""})
        _note_recording(work, sample, "" if len(files) < len(rows) else files[whole.id])
    _write_table(work, "kinetics.csv", ["label", "youtube_id", "time_start", "time_end", "split"], rows)


def write_ucf101(work: Work) -> None:
    """Write UCF101's `classInd.txt` and `trainlist01.txt`, and a folder of videos for each class."""
    names = work.dataset.labels.names
    write_staged(work.root / "classInd.txt", "".join(f"{i} {n}\n" for i, n in enumerate(names, 1)))
    _write_lists(work, first=1, named="{}list01.txt")


def write_mmaction(work: Work) -> None:
    """Write mmaction's `train.txt` of `path number` lines, `label_map.txt`, and a folder of videos for each class."""
    write_staged(work.root / "label_map.txt", "".join(f"{n}\n" for n in work.dataset.labels.names))
    _write_lists(work, first=0, named="{}.txt")


def _write_lists(work: Work, *, first: int, named: str) -> None:
    # A space ends the path of a line.
    folders = [_SPACES.sub("_", name) for name in _class_folders(work)]
    folders = [f"{folder}_{i}" if folders.index(folder) != i else folder for i, folder in enumerate(folders)]
    lines: dict[str, list[str]] = {}
    for sample, clip in _clips(work):
        label = sample.marked(Label)
        name = _put(work, sample, clip, folders[label], plain=True)
        _note_recording(work, sample, name)
        lines.setdefault(sample.split or "all", []).append(f"{folders[label]}/{name} {label + first}\n")
    for part, several in lines.items():
        write_staged(work.root / named.format(part), "".join(several))


def _tree(work: Work) -> ClipTree:
    return cast(ClipTree, work.dataset.tree)


def _places(work: Work) -> list[Clip]:
    return [_tree(work).clip(s.id) for s in work.dataset.samples]


def _clips(work: Work) -> Iterator[tuple[Sample, Clip]]:
    """Yield each sample with where its clip lies; one that cannot be decoded is not handed on."""
    for i, sample in work.samples():
        work.dataset.picture(i)
        yield sample, _tree(work).clip(sample.id)


def _part(sample: Sample) -> str:
    return "" if sample.split is None else f"{sample.split}/"


def _class_folders(work: Work) -> tuple[str, ...]:
    given = work.dataset.labels.names
    names = folder_names(given)
    if renamed := sum(name != folder for name, folder in zip(given, names, strict=True)):
        work.lost["the names of classes that no folder can have: some characters are replaced"] += renamed
    return names


def _note_recording(work: Work, sample: Sample, name: str) -> None:
    if sample.group and sample.group != _LAST_NUMBER.sub("", posixpath.splitext(name)[0]):
        work.lost[_RECORDING] += 1


def _put(work: Work, sample: Sample, clip: Clip, folder: str, *, plain: bool = False) -> str:
    """Write one clip to `folder`, under a name that no other has; return the name."""
    copied = not clip.frames and not clip.strip and clip.start_s is None and clip.end_s is None
    stem, extension = posixpath.splitext(posixpath.basename(clip.file))
    if clip.frames:
        stem, extension = posixpath.basename(clip.file), ""
    if not copied:
        extension = ".webm"
        if not clip.frames and not clip.strip:
            stem = f"{stem}_{_seconds(clip.start_s) or 0}_{_seconds(clip.end_s) or 'end'}"
        work.lost[_AGAIN] += 1
    elif extension.lower() not in CLIP_EXTENSIONS:
        # Others tell a video by its name.
        with _tree(work).file(clip.file) as source, source.open("rb") as file:
            extension = ending_of(file.read(_HEAD)) or extension
    if plain:
        stem = _SPACES.sub("_", stem)
    if work.names.get(f"{folder}/{stem}", sample.id) != sample.id:
        # Two folders may hold clips of one name.
        stem = "_".join([*posixpath.dirname(clip.file).split("/"), stem])
        stem = _SPACES.sub("_", stem) if plain else stem
    k, free = 2, stem
    while work.names.get(f"{folder}/{free}", sample.id) != sample.id:
        free, k = f"{stem}_{k}", k + 1
    work.names[f"{folder}/{free}"] = sample.id
    path = work.root / folder / f"{free}{extension}"
    if copied:
        with checked_output(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _tree(work).file(clip.file) as source:
                shutil.copyfile(source, path)
        return path.name
    with WebmWriter(path, quality=_QUALITY) as video:
        for frame in _frames(work, clip):
            video.add(frame.image, frame.time_s or 0.0)
    return path.name


def _frames(work: Work, clip: Clip) -> Iterator[Frame]:
    tree = _tree(work)
    if clip.frames:
        for k, name in enumerate(clip.frames):
            yield Frame(np.asarray(tree.frame(name)), name, k, k * _STEP_S)
        return
    if clip.strip:
        # As far apart as the frames that a model of so many seconds sees.
        span_s, n = tree.sampling.span_s, tree.sampling.frames
        step_s = _STEP_S if span_s is None else span_s / (n - 1)
        for k, image in enumerate(cut_strip(tree.strip(clip.id)[0], n)):
            yield Frame(image, clip.file, k, k * step_s)
        return
    with tree.file(clip.file) as path:
        begun_s: float | None = None
        for frame in iter_clip_frames(path, start_s=clip.start_s, end_s=clip.end_s):
            begun_s = frame.time_s or 0.0 if begun_s is None else begun_s
            yield replace(frame, time_s=(frame.time_s or 0.0) - begun_s)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _write_table(work: Work, name: str, columns: list[str], rows: list[dict[str, str]]) -> None:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_staged(work.root / name, text.getvalue())
