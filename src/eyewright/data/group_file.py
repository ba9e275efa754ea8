"""A table of groups that a person, or the doctor, wrote: a CSV of path and group, for `--group-by FILE.csv`."""

__all__ = ["is_group_file", "read_group_file", "write_group_file"]

import csv
import io
import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path

from eyewright.core.errors import UsageError
from eyewright.core.files import write_text

_SHOWN = 3


def is_group_file(group_by: str) -> bool:
    """Tell whether a rule of `--group-by` names a file and is not a pattern.

    >>> is_group_file("audit/groups.csv"), is_group_file("(cam[0-9]+)_")
    (True, False)
    """
    return group_by.lower().endswith(".csv")


def read_group_file(path: str, names: Sequence[str]) -> tuple[list[str | None], tuple[str, ...]]:
    """Return the group of each of `names` by the table at `path`, None for those it leaves out, and warnings.

    The table has the columns `path` and `group`, others are left unread. A path is that of an image within the dataset,
    as the doctor writes it; an image that the table does not name, or names without a group, stands alone.

    Raises:
        UsageError: the file is not there or no such table, names an image twice, or none of the images.
    """
    place = Path(path).expanduser()
    try:
        text = place.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(
            f"--group-by expects a CSV of path and group, {path!r} cannot be read: {reason}",
            fix="name a file that eyewright doctor --out wrote, or a pattern",
        ) from None
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if rows.fieldnames is None or not {"path", "group"} <= set(rows.fieldnames):
        found = ", ".join(rows.fieldnames or ()) or "nothing"
        raise UsageError(
            f"--group-by expects the columns path and group in {path!r}, found {found}", fix="correct its first line"
        )
    said: dict[str, str] = {}
    try:
        for row in rows:
            name, group = posixpath.normpath((row["path"] or "").strip()), (row["group"] or "").strip()
            if said.setdefault(name, group) != group:
                raise UsageError(
                    f"{path!r}, line {rows.line_num}: {name!r} is in the groups {said[name]!r} and {group!r}",
                    fix="keep one of the two lines",
                )
    except csv.Error as error:
        raise UsageError(f"{path!r}, line {rows.line_num}: {error}", fix="write it as CSV") from None
    keys = [said.get(posixpath.normpath(n)) or None for n in names]
    if not any(keys):
        one = next(iter(said), "no image")
        raise UsageError(
            f"--group-by {path!r} puts none of the {len(names)} images into a group: it names {one!r}, "
            f"the data {names[0]!r}",
            fix="write paths within the dataset, as eyewright doctor --out does",
        )
    unknown = sorted(set(said) - {posixpath.normpath(n) for n in names})
    if not unknown:
        return keys, ()
    shown = ", ".join(map(repr, unknown[:_SHOWN]))
    return keys, (f"{len(unknown)} of the {len(said)} paths in {path!r} are not in the data, such as {shown}",)


def write_group_file(path: Path, names: Sequence[str], groups: Iterable[Iterable[int]]) -> None:
    """Write the groups of images, as indices into `names`, as a table for `read_group_file`.

    Raises:
        OutputError: it cannot be written.
    """
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("path", "group"))
    for number, members in enumerate(groups, 1):
        table.writerows((names[i], f"g{number:04d}") for i in members)
    write_text(path, out.getvalue())
