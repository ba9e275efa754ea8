"""Read MOTChallenge: one folder per sequence, frames in `img1`, true boxes in `gt/gt.txt`."""

__all__ = ["MOT_CLASSES", "is_mot", "read_mot"]

import posixpath
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eyewright.data.readers.listing import (
    Found,
    Images,
    Marked,
    Notes,
    Row,
    TextLines,
    is_coordinate,
    objects_of,
    split_of,
)
from eyewright.data.targets.objects import no_objects
from eyewright.data.texts import decode_text
from eyewright.data.tree import Tree

MOT_CLASSES = (
    "pedestrian", "person on vehicle", "car", "bicycle", "motorbike", "non motorized vehicle", "static person",
    "distractor", "occluder", "occluder on the ground", "occluder full", "reflection", "crowd",
)  # fmt: skip
"""The classes of MOT16 and later, numbered from 1 (Milan et al. 2016, table 5)."""

_TRUTH = "gt/gt.txt"


def is_mot(names: Sequence[str]) -> bool:
    """Return whether there is a sequence with its truth."""
    return any(n == _TRUTH or n.endswith(f"/{_TRUTH}") for n in names)


def read_mot(tree: Tree, names: Sequence[str], images: Images) -> Found:
    """Read sequences of MOT15 to MOT20. Frames of a sequence are one group, so a split never cuts one.

    Rows whose flag is 0 are ignore regions, as in the challenge's own evaluation. Coordinates count from 1. A class
    is read where rows have nine columns (MOT16 and later); before, everything is a pedestrian. What only `det/det.txt`
    says is a detector's word, not the ground truth, and is not read.
    """
    notes = Notes()
    truths = [n for n in names if n == _TRUTH or n.endswith(f"/{_TRUTH}")]
    classes: dict[int, int] = {}
    marked: list[Marked] = []
    for path in sorted(truths):
        home = posixpath.dirname(posixpath.dirname(path))
        frames = _frames(images, home)
        rows, tracks = _read_rows(tree.content(path), path, classes, notes)
        absent = sorted(set(rows) - set(frames))
        for number in absent:
            n = len(rows[number])
            text = f"frame {number} with {n} annotation{'s' * (n != 1)} is missing"
            fix = "add it, or remove its rows"
            notes.drop("their frame is missing", fix, path, rows[number][0][4], message=text, n=len(rows[number]),
                       code="missing_image")  # fmt: skip
        split = split_of(f"{home}/x") if home else None
        for number, name in sorted(frames.items()):
            own = rows.get(number, [])
            notes.read += len(own)
            objects = objects_of(own, TextLines(path)) if own else no_objects()
            objects = replace(objects, track_ids=np.array(tracks.get(number, []), np.int64))
            marked.append(Marked(name, split, objects, None, home or "sequence"))
    listed = sorted(classes)
    ids = np.array([listed.index(c) for c in classes], np.int64)
    marked = [m._replace(target=m.target.renamed(ids)) for m in marked]
    found_names = tuple(_name_of(c) for c in listed)
    if any(m.split is None for m in marked):
        marked = [m._replace(split=None) for m in marked]
    return Found("mot", marked, found_names, problems=notes.all(), files=set(truths), account=notes.account())


def _name_of(number: int) -> str:
    return MOT_CLASSES[number - 1] if 1 <= number <= len(MOT_CLASSES) else f"class {number}"


def _frames(images: Images, home: str) -> dict[int, str]:
    """Return the frames of a sequence by their number."""
    found: dict[int, str] = {}
    for name in images.below(home):
        stem = posixpath.splitext(posixpath.basename(name))[0]
        # Another sequence may lie below this one.
        inside = posixpath.dirname(name)[len(home) :].strip("/")
        if stem.isdigit() and "/" not in inside:
            found[int(stem)] = name
    return found


def _read_rows(
    data: bytes, path: str, classes: dict[int, int], notes: Notes
) -> tuple[dict[int, list[Row]], dict[int, list[int]]]:
    rows: dict[int, list[Row]] = defaultdict(list)
    tracks: dict[int, list[int]] = defaultdict(list)
    for line, text in enumerate(decode_text(data, path).splitlines(), 1):
        if not text.strip():
            continue
        try:
            values = [float(v) for v in text.replace(" ", ",").replace(";", ",").replace("\t", ",").split(",") if v]
            frame, track, x, y, w, h = values[:6]
            if not (all(map(is_coordinate, values)) and frame == int(frame) and track == int(track)):
                raise ValueError
        except (ValueError, OverflowError):
            if line == 1 and not any(c.isdigit() for c in text):
                # A table may name its columns.
                continue
            what = "expected frame, identity, x, y, width, height in numbers"
            message = f"{what}, found {text[:60]!r}; it is left out"
            notes.drop("rows that are not numbers", "correct the row", path, line, message=message)
            continue
        number = int(values[7]) if len(values) == 9 and values[7] >= 1 else 1
        crowd = len(values) > 6 and values[6] == 0
        label = classes.setdefault(number, len(classes))
        rows[int(frame)].append(((x - 1, y - 1, x - 1 + w, y - 1 + h), label, crowd, None, line))
        tracks[int(frame)].append(int(track))
    return rows, tracks
