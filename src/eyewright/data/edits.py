"""Edits of a dataset's labels, as a file next to data that stays unchanged: other labels, and images to leave out."""

__all__ = ["EDIT_COLUMNS", "Action", "Applied", "Edit", "apply_edits", "can_relabel", "read_edits", "show_edits"]

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from eyewright.core.errors import DatasetError, EyewrightError, spelling_hint
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.core.spreadsheets import from_cell, to_cell

if TYPE_CHECKING:
    from eyewright.data.dataset import Dataset, Sample
    from eyewright.data.targets.target import Target

EDIT_COLUMNS = ("id", "action", "label", "was")
"""The columns of an edit file: an image of the dataset, what to do, the new label, and the label that it replaces."""

Action = Literal["relabel", "leave_out"]
_ACTIONS = get_args(Action)
_MOST_BYTES = 2**30
_LONGEST = 80


@dataclass(frozen=True)
class Edit:
    """What a person decided about one image: `label` is its right label, as a cell of `split.csv` holds it.

    `was` is the label that the edit was made for: an edit of other data is refused.
    """

    id: str
    action: Action
    label: str = ""
    was: str = ""


@dataclass(frozen=True)
class Applied:
    """The edits that a dataset holds: their file's name and SHA-256, and how many images they changed.

    `edits` are the edits themselves, for the copy in a run folder.
    """

    file: str
    digest: str
    relabelled: int
    left_out: int
    edits: tuple[Edit, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what provenance says of them: without the edits, whose digest tells which they were."""
        return {
            "file": self.file,
            "sha256": self.digest,
            "relabelled": self.relabelled,
            "left_out": self.left_out,
        }

    def __str__(self) -> str:
        parts = [f"{_images(self.relabelled)} relabelled", f"{_images(self.left_out)} left out"]
        return f"edits in {quoted(self.file)}: {', '.join(parts)}"


def _images(n: int) -> str:
    return f"{n:,} image{'s' * (n != 1)}"


def read_edits(path: str | Path) -> tuple[Edit, ...]:
    """Return the edits of a file: UTF-8 CSV with the columns `EDIT_COLUMNS`, others are left unread.

    Raises:
        DatasetError: the file cannot be read, is no such table, has an unknown action, or names an image twice.
    """
    place = Path(path).expanduser()
    shown = _shown(str(place))
    advice = "pass a file that eyewright browse wrote"
    try:
        data = read_regular(place, most=_MOST_BYTES, error=DatasetError, fix=advice, follow=True)
        text = data.decode("utf-8-sig", "surrogateescape")
    except EyewrightError as error:
        raise DatasetError(f"cannot read the edits in {shown!r}: {error.message}", fix=error.fix or advice) from None
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    found: dict[str, Edit] = {}
    try:
        columns = tuple(rows.fieldnames or ())
        if missing := [c for c in EDIT_COLUMNS if c not in columns]:
            said = _shown(", ".join(columns)) or "nothing"
            raise DatasetError(
                f"expected the columns {', '.join(EDIT_COLUMNS)} in {shown!r}, found {said} (no {missing[0]})",
                fix=advice,
            )
        for row in rows:
            edit = _edit_of(row, f"{shown}, line {rows.line_num}")
            if edit.id in found:
                raise DatasetError(
                    f"{shown}, line {rows.line_num}: {_shown(edit.id)!r} is edited twice", fix="keep one of the lines"
                )
            found[edit.id] = edit
    except csv.Error as error:
        raise DatasetError(f"{shown}, line {rows.line_num}: {error}", fix=advice) from None
    return tuple(found.values())


def _edit_of(row: Mapping[str, Any], where: str) -> Edit:
    values = {c: from_cell(row[c]) for c in EDIT_COLUMNS}
    if not values["id"] or any(v is None for v in values.values()) or None in row:
        raise DatasetError(
            f"{where}: expected {len(EDIT_COLUMNS)} cells and an id, found another number of cells or no id",
            fix="correct the line",
        )
    if values["action"] not in _ACTIONS:
        raise DatasetError(
            f"{where}: expected the action {' or '.join(_ACTIONS)}, found {_shown(values['action'])!r}",
            fix="correct the line",
        )
    return Edit(**values)


def show_edits(edits: Iterable[Edit]) -> str:
    """Return the text of an edit file, sorted by id.

    >>> show_edits([Edit("b.png", "leave_out", was="cat"), Edit("a.png", "relabel", "dog", "cat")]).splitlines()
    ['id,action,label,was', 'a.png,relabel,dog,cat', 'b.png,leave_out,,cat']
    """
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow(EDIT_COLUMNS)
    for e in sorted(edits, key=lambda e: e.id):
        table.writerow(map(to_cell, (e.id, e.action, e.label, e.was)))
    return out.getvalue()


def apply_edits(dataset: "Dataset", edits: str | Path | Sequence[Edit]) -> "Dataset":
    """Return the dataset with the labels that `edits`, or a file of them, say, and without the images left out.

    Classes that hold no image afterwards are removed. A note and `Dataset.edits` say what was changed.

    Raises:
        DatasetError: an edit of an image that is not in the data or has another label there than when it was edited;
            a label that the data does not know, or a dataset whose annotations do not fit into a cell.
    """
    own = read_edits(edits) if isinstance(edits, str | Path) else tuple(edits)
    file = Path(edits).name if isinstance(edits, str | Path) else "edits"
    by_id = {e.id: e for e in own}
    held = {s.id for s in dataset.samples}
    if unknown := [e.id for e in own if e.id not in held]:
        raise DatasetError(
            f"{len(unknown)} of the {len(own)} edits in {quoted(file)} are of images that the data does not hold, "
            "such as "
            f"{_shown(unknown[0])!r}",
            fix="pass the data that was browsed, or remove these lines",
        )
    kept: list[Sample] = []
    done: Counter[str] = Counter()
    for sample in dataset.samples:
        edit = by_id.get(sample.id)
        if edit is None:
            kept.append(sample)
            continue
        _check_same(dataset, sample, edit, file)
        done[edit.action] += 1
        if edit.action == "relabel":
            kept.append(replace(sample, target=_target_of(dataset, edit, file)))
    if not kept:
        raise DatasetError(f"the edits in {quoted(file)} leave out every image", fix="remove some of them")
    digest = hashlib.sha256(show_edits(own).encode("utf-8", "surrogateescape")).hexdigest()
    applied = Applied(file, digest, done["relabel"], done["leave_out"], own)
    return _without_emptied(dataset, replace(dataset.with_samples(kept, str(applied)), edits=applied))


def can_relabel(dataset: "Dataset") -> bool:
    """Return whether the labels of a dataset fit into a cell each, so that an edit can hold another one."""
    names = dataset.labels.names
    return any(cell and dataset.kind.of_cell(cell, names) is not None for cell in _cells(dataset))


def _cells(dataset: "Dataset") -> Iterator[str]:
    return (s.target.cell(dataset.labels.names) for s in dataset.samples)


def _check_same(dataset: "Dataset", sample: "Sample", edit: Edit, file: str) -> None:
    now = sample.target.cell(dataset.labels.names)
    if now not in (edit.was, edit.label):
        raise DatasetError(
            f"the edit of {_shown(edit.id)!r} in {quoted(file)} replaces the label {_shown(edit.was)!r}, "
            f"but the image has {_shown(now)!r}",
            fix="browse the data again, or remove this line",
        )


def _target_of(dataset: "Dataset", edit: Edit, file: str) -> "Target":
    names = dataset.labels.names
    target = dataset.kind.of_cell(edit.label, names)
    if target is not None:
        return target
    if not can_relabel(dataset):
        raise DatasetError(
            f"{quoted(file)} relabels {_shown(edit.id)!r}, whose {dataset.kind} cannot be replaced by one label",
            fix="correct them in the annotations, or leave the image out (leave_out)",
        )
    raise DatasetError(
        f"{quoted(file)} gives {_shown(edit.id)!r} the label {_shown(edit.label)!r}, which the data does not know",
        fix=spelling_hint(edit.label, names),
    )


def _without_emptied(before: "Dataset", after: "Dataset") -> "Dataset":
    """Return the dataset without the classes whose last image the edits took."""
    if after.kind.open or after.kind.by_degree:
        return after
    had = {i for s in before.samples for i in s.target.mentioned}
    has = {i for s in after.samples for i in s.target.mentioned}
    if not (gone := had - has):
        return after
    names = after.labels.names
    ids = np.full(len(names), -1, np.int64)
    stay = [i for i in range(len(names)) if i not in gone]
    ids[stay] = np.arange(len(stay))
    samples = tuple(replace(s, target=s.target.renamed(ids)) for s in after.samples)
    shown = ", ".join(repr(names[i]) for i in sorted(gone))
    note = f"no image is left of the class{'es' * (len(gone) != 1)} {shown}"
    return replace(after.with_samples(samples, note), labels=LabelSpace(tuple(names[i] for i in stay)))


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
