"""What an attack on the loss of any task must do: the task's main metric falls, and the report says what it is."""

from pathlib import Path
from typing import Any

import eyewright as ew
from eyewright.core.task import task_of


def check_falls(run: Any, out: Path) -> None:
    """Attack a run by its objective and compare the main metric before and after."""
    report = ew.attack(run.folder, out=out, eps="2/255,16/255", steps=3, n=6)
    main = task_of(run.task_name).metrics[0]
    sign = 1 if main.higher_is_better else -1
    assert report.metric == main.name
    assert report.one_attack
    assert report.verdict in ("upper bound", "not evidence")
    assert sign * (report.levels[-1].robust.value or 0) < sign * (report.clean.value or 0)
    assert [c.status for c in report.checks if c.name == "eps 0"] == ["pass"]
    assert report.levels[-1].robust.n == report.clean.n
    assert (out / "robustness.html").is_file()
    assert main.title in report.sentence()
