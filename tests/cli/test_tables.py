"""The table of tasks fits a terminal, however many tasks there are, and the docs show it."""

from pathlib import Path

import eyewright as ew
from eyewright.cli.tables import task_table
from eyewright.core.task import option_names, task_of

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_says_what_each_task_supports() -> None:
    tasks = ew.tasks()
    lines = task_table(tasks)
    assert max(map(len, lines)) <= 80
    starts = [i for i, line in enumerate(lines) if line.startswith("task ")]
    shown = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        few, rows = lines[start].split()[1:], lines[start:end]
        shown += few
        for option, asked in option_names().items():
            title = asked.removeprefix("an ").removeprefix("the ").removeprefix("a ")
            (row,) = (line for line in rows if line.startswith(title))
            said = dict(zip(few, row.split()[-len(few) :], strict=True))
            assert said == {name: "yes" if option in task_of(name).options else "-" for name in few}
    assert shown == list(tasks)


def test_more_tasks_than_a_line_has_room_for_make_further_tables() -> None:
    one = ew.tasks()["classify"]
    lines = task_table({f"a_task_of_a_long_name_{i}": one for i in range(5)})
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("task ") for line in lines) > 1
    assert all(any(f"name_{i}" in line for line in lines) for i in range(5))


def test_the_docs_show_the_table() -> None:
    page = (DOCS / "concepts/tasks.md").read_text()
    assert "\n".join(task_table(ew.tasks())) in page, "print it with eyewright models"
