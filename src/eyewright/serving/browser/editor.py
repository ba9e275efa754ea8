"""What a person decided about images while browsing, kept in an edit file at every change, with undo."""

__all__ = ["Editor"]

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eyewright.core.errors import DatasetError, UsageError, spelling_hint
from eyewright.core.files import write_text
from eyewright.data.dataset import Dataset
from eyewright.data.edits import Action, Edit, apply_edits, can_relabel, read_edits, show_edits

_MOST_UNDONE = 500


class Editor:
    """The edits of a dataset by the place of their images, and the file that holds them.

    A file that is there already is continued.

    Raises:
        DatasetError: it is no edit file, or one of other data.
    """

    def __init__(self, dataset: Dataset, path: Path) -> None:
        self.dataset, self.path = dataset, path
        self.relabels = can_relabel(dataset)
        self.edits: dict[int, Edit] = {}
        self._undo: deque[dict[int, Edit | None]] = deque(maxlen=_MOST_UNDONE)
        if path.exists():
            own = read_edits(path)
            # Whatever would be refused later is refused now, before hours of work are added to it.
            apply_edits(dataset, own)
            place = {s.id: i for i, s in enumerate(dataset.samples)}
            self.edits = {place[e.id]: e for e in own}

    @property
    def choices(self) -> tuple[str, ...]:
        """The labels that an image can be given where each is the name of a class; empty where labels are free text."""
        names = self.dataset.labels.names
        whole = self.relabels and all(self.dataset.kind.of_cell(n, names) is not None for n in names)
        one = all(s.target.cell(names) in names for s in self.dataset.samples[:1000])
        return names if whole and one else ()

    def facts(self) -> dict[str, Any]:
        """Return what the page says of the edits."""
        return {
            "file": self.path.name,
            "n": len(self.edits),
            "relabels": self.relabels,
            "choices": list(self.choices),
            "undo": len(self._undo),
        }

    def of(self, row: int) -> dict[str, str] | None:
        """Return the edit of an image, None where there is none."""
        edit = self.edits.get(row)
        return None if edit is None else {"action": edit.action, "label": edit.label}

    def mark(self, rows: Sequence[int], action: Action | None, label: str = "") -> int:
        """Edit images, or with None take their edits back; return how many were changed. The file is written.

        An image that is given the label which it has anyway has no edit.

        Raises:
            UsageError: a label that the data does not know, or one for data whose labels do not fit into a cell.
            OutputError: the file cannot be written; the edits are then as before.
        """
        names, kind = self.dataset.labels.names, self.dataset.kind
        if action == "relabel":
            if not self.relabels:
                raise UsageError(
                    f"{kind} cannot be relabelled here", fix="leave the image out, or correct its annotations"
                )
            if kind.of_cell(label, names) is None:
                raise UsageError(f"there is no label {label[:80]!r}", fix=spelling_hint(label[:80], list(names)[:1000]))
        wanted: dict[int, Edit | None] = {}
        for row in dict.fromkeys(rows):
            if not 0 <= row < len(self.dataset):
                raise UsageError(f"expected an image from 0 to {len(self.dataset) - 1}, found {row}", fix="change it")
            sample = self.dataset.samples[row]
            was = sample.target.cell(names)
            edit = None if action is None else Edit(sample.id, action, label if action == "relabel" else "", was)
            wanted[row] = None if edit is not None and edit.action == "relabel" and label == was else edit
        before = {row: self.edits.get(row) for row in wanted}
        changed = {row: old for row, old in before.items() if wanted[row] != old}
        if changed:
            self._set(wanted)
            self._undo.append(changed)
        return len(changed)

    def undo(self) -> list[int]:
        """Take the last change back; return the images that it was about, none where there is nothing to undo.

        Raises:
            OutputError: the file cannot be written; the edits are then as before.
        """
        if not self._undo:
            return []
        self._set(self._undo[-1])
        return list(self._undo.pop())

    def _set(self, wanted: Mapping[int, Edit | None]) -> None:
        after = {row: e for row, e in {**self.edits, **wanted}.items() if e is not None}
        if len(after) == len(self.dataset) and all(e.action == "leave_out" for e in after.values()):
            raise DatasetError("this would leave out every image", fix="keep some of them")
        write_text(self.path, show_edits(after.values()))
        self.edits = after
