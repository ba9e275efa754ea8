"""What is said of a net that had too little training to be judged."""

from types import SimpleNamespace
from typing import Any

import pytest

from eyewright.core.durations import parse_duration_s
from eyewright.lifecycle.undertrained import budget_of, undertrained
from eyewright.training import Recipe


def run(task: str, *, steps: int, epochs: int, seconds: float, **options: Any) -> Any:
    recipe = Recipe(task=task, batch=16, **options)
    training = {"steps": steps, "epochs": epochs, "seconds": seconds}
    return SimpleNamespace(task_name=task, recipe=recipe, about={"training": training})


def test_a_budget_that_was_enough_for_an_epoch_names_one_that_is_enough() -> None:
    found = undertrained(run("restore", steps=32, epochs=1, seconds=100.0, budget_s=300.0))
    assert found is not None
    assert found["said"] == "the budget was enough for 1 epoch of training in 1 min 40 s, 512 images in all"
    # Ten times as many images take 900 s more.
    assert found["fix"] == "give --budget 20m or more"
    assert parse_duration_s(found["fix"].split()[2]) == 1200


def test_too_few_epochs_are_said_without_a_budget() -> None:
    assert undertrained(None) is None
    asked = run("generate", steps=400, epochs=1, seconds=9.0)
    asked.recipe = Recipe(task="generate", batch=16, epochs=1)
    found = undertrained(asked)
    assert found is not None
    assert found["fix"] == "train with --epochs 4 or more"


@pytest.mark.parametrize(("task", "steps"), [("restore", 320), ("generate", 1600), ("classify", 1)])
def test_enough_training_and_other_tasks_are_not_commented(task: str, steps: int) -> None:
    assert undertrained(run(task, steps=steps, epochs=1, seconds=9.0)) is None


@pytest.mark.parametrize("seconds", [1.0, 59.5, 110.0, 110.5, 4000.2])
def test_a_budget_is_rounded_up_and_can_be_read_again(seconds: float) -> None:
    assert seconds <= parse_duration_s(budget_of(seconds)) <= seconds + 60
