"""The table of tasks says what each learns from, is measured by and supports."""

from eyewright.core.task import task_names, task_of
from eyewright.tasks.table import tasks


def test_a_task_is_told_by_what_it_needs_of_a_target_that_others_learn_from_too() -> None:
    """Boxes are enough for detection, and instances need outlines; from masks one task learns alone."""
    assert {name: row["learns_from"] for name, row in tasks().items()} == {
        "classify": "labels", "detect": "objects", "segment": "masks", "instance": "objects with outlines",
        "regress": "numbers", "tag": "tags", "video": "labels", "read": "texts", "embed": "captions",
        "restore": "pictures", "generate": "labels",
    }  # fmt: skip


def test_a_row_holds_the_tasks_own_values() -> None:
    table = tasks()
    assert list(table) == list(task_names())
    for name, row in table.items():
        task = task_of(name)
        assert row["noun"] == task.words.noun
        assert (row["metric"], row["losses"][0]) == (task.main_metric, task.losses[0])
        assert row["trains"] is True
        assert row["feedback"] == list(task.feedback.says)
    assert table["classify"]["supports"]["--tile"] is False
    assert table["segment"]["supports"]["--tile"] is True
