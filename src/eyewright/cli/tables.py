"""Tables for the terminal: what each task supports."""

__all__ = ["task_table"]

from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH = 80


def task_table(tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table of what `tasks.table.tasks()` says, one column per task, at most 80 characters wide.

    Where there are more tasks than a line has room for, further tables follow.
    """
    options = list(next(iter(tasks.values()))["supports"])
    titles = ["task", "learns from", "main metric", "trained here", "feedback", *map(_plain, options)]
    first = max(map(len, titles)) + 2
    lines: list[str] = []
    names = list(tasks)
    while names:
        columns: list[list[str]] = []
        width = first
        while names:
            column = _column(names[0], tasks[names[0]], options)
            own = max(map(len, column)) + 2
            if columns and width + own > _WIDTH:
                break
            columns.append([cell.ljust(own) for cell in column])
            width += own
            names.pop(0)
        if lines:
            lines.append("")
        rows = zip(titles, *columns, strict=True)
        lines += ["".join((title.ljust(first), *cells)).rstrip() for title, *cells in rows]
    return lines


def _plain(option: str) -> str:
    for article in ("an ", "a ", "the "):
        option = option.removeprefix(article)
    return option


def _column(name: str, task: Mapping[str, Any], options: Sequence[str]) -> list[str]:
    # Beside the task before it, which learns from the same.
    learns_from = (
        task["learns_from"] if " with " not in task["learns_from"] else "with" + task["learns_from"].split(" with")[1]
    )
    said = [learns_from, task["metric"], "yes" if task["trains"] else "-"]
    return [name, *said, ", ".join(task["feedback"]), *("yes" if task["supports"][o] else "-" for o in options)]
