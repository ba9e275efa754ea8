"""What each task supports, as a table of values."""

__all__ = ["tasks"]

from typing import Any

from eyewright.core.task import option_names, task_names, task_of
from eyewright.data.targets.target import kind_of, tasks_of


def tasks() -> dict[str, dict[str, Any]]:
    """Return the tasks there are, those of installed packages last, and what each supports.

    Of each: `noun`, what it is called; `learns_from`, the kind of target; `metric`, the one that models are chosen by;
    `losses`, the usual one first; `trains`, whether it can be trained; `feedback`, what people may say of a prediction;
    `supports`, an option to whether it is supported, where another is refused in one line.

    >>> found = tasks()["detect"]
    >>> found["learns_from"], found["metric"], found["supports"]["--tile"], found["supports"]["--ensemble"]
    ('objects', 'ap', True, False)
    """

    def more_of(name: str) -> list[str]:
        shared = len(tasks_of(kind_of(name))) > 1
        return sorted(task_of(name).needs) if shared else []

    return {
        name: {
            "noun": task_of(name).words.noun,
            "learns_from": " with ".join([str(kind_of(name)), *more_of(name)]),
            "metric": task_of(name).main_metric,
            "losses": list(task_of(name).losses),
            "trains": bool(task_of(name).learner),
            "feedback": list(task_of(name).feedback.says),
            "supports": {asked: option in task_of(name).options for option, asked in option_names().items()},
        }
        for name in task_names()
    }
