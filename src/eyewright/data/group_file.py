"""A table of groups that a person, or `doctor`, wrote: a CSV of path and group, for `--group-by FILE.csv`."""

__all__ = ["is_group_file", "read_group_file", "write_group_file"]

import codecs
import csv
import io
import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path

from eyewright.core.errors import UsageError
from eyewright.core.files import write_text
from eyewright.core.quoting import quoted

_SHOWN = 3
_LONGEST = 80


def is_group_file(group_by: str) -> bool:
    """Return whether a rule of `--group-by` names a file and is not a pattern.

    >>> is_group_file("audit/groups.csv"), is_group_file("(cam[0-9]+)_")
    (True, False)
    """
    return group_by.lower().endswith(".csv")


def read_group_file(path: str, names: Sequence[str]) -> tuple[list[str | None], tuple[str, ...]]:
    """Return the group of each of `names` by the table at `path`, None for those it leaves out, and warnings.

    The table has the columns `path` and `group`, others are left unread. It is UTF-8 or UTF-16 text, separated by
    commas, semicolons or tabs. A path is that of an image within the dataset, as `doctor` writes it, or with
    backslashes; an image that the table does not name, or names without a group, stands alone.

    Raises:
        UsageError: the file is not there or no such table, names an image twice, or none of the images.
    """
    place = Path(path).expanduser()
    try:
        data = place.read_bytes()
        text = data.decode("utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(
            f"--group-by expects a CSV of path and group, {quoted(path)} cannot be read: {reason}",
            fix="name a file that eyewright doctor --out wrote, or a pattern",
        ) from None
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        given = list(rows.fieldnames or ())
    except csv.Error:
        given = [head]
    rows.fieldnames = [name.strip().lower() for name in given]
    if not {"path", "group"} <= set(rows.fieldnames):
        found = _shown(", ".join(given)) or "nothing"
        raise UsageError(
            f"--group-by expects the columns path and group in {quoted(path)}, found {found}",
            fix="correct its first line",
        )
    known = {posixpath.normpath(n) for n in names}
    said: dict[str, str] = {}
    try:
        for row in rows:
            name, group = _as_id((row["path"] or "").strip(), known), (row["group"] or "").strip()
            if said.setdefault(name, group) != group:
                raise UsageError(
                    f"{quoted(path)}, line {rows.line_num}: {_shown(name)!r} is in the groups "
                    f"{_shown(said[name])!r} and {_shown(group)!r}",
                    fix="keep one of the two lines",
                )
    except csv.Error as error:
        raise UsageError(f"{quoted(path)}, line {rows.line_num}: {error}", fix="write it as CSV") from None
    keys = [said.get(posixpath.normpath(n)) or None for n in names]
    if not any(keys):
        one = _shown(next(iter(said), "no image"))
        raise UsageError(
            f"--group-by {quoted(path)} puts none of the {len(names)} images into a group: it names {one!r}, "
            f"the data {names[0]!r}",
            fix="write paths within the dataset, as eyewright doctor --out does",
        )
    unknown = sorted(set(said) - known)
    if not unknown:
        return keys, ()
    shown = ", ".join(repr(_shown(n)) for n in unknown[:_SHOWN])
    return keys, (f"{len(unknown)} of the {len(said)} paths in {quoted(path)} are not in the data, such as {shown}",)


def _as_id(path: str, known: set[str]) -> str:
    """Return a path as the dataset writes it: with slashes, unless an image has backslashes in its name."""
    plain = posixpath.normpath(path)
    return plain if plain in known else posixpath.normpath(path.replace("\\", "/"))


def _shown(name: str) -> str:
    """Return a name from a file that nobody checked in one line of at most 80 characters."""
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


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
