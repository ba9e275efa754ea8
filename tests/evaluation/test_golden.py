"""Without groups and distances every number is what it was before there were any: see golden.json."""

import json
from typing import Any

import numpy as np
import pytest
from tests.evaluation.answers import answers
from tests.evaluation.golden import GOLDEN, same

from eyewright.core.jsonable import to_jsonable
from eyewright.evaluation import reporting_of
from eyewright.metrics import corrected_interval
from eyewright.tasks.class_results import compare_scores

TASKS = ("classify", "detect", "instance", "segment")


def compared() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    targets = rng.integers(3, size=90)
    a, b = (rng.dirichlet([1, 1, 1], 90) + k * np.eye(3)[targets] for k in (0.3, 0.8))
    found = compare_scores(targets, a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True), seed=2)
    folds = corrected_interval([0.9, 0.92, 0.94, 0.92, 0.92], test_share=0.25)
    kept: dict[str, Any] = to_jsonable({**found.to_json(), "a": found.a, "b": found.b, "folds": folds})
    return kept


def paired(task: str) -> dict[str, Any]:
    """Two models on the same images, with and without groups, and the images that they answer differently."""
    reporting = reporting_of(task)
    found = {}
    for name, groups in (("images", None), ("groups", [f"{i // 4}" for i in range(40)])):
        a, b = (answers(task, 40, skill=[k] * 40, groups=groups, seed=1).results for k in (0.5, 0.9))
        one = reporting.compare(a, b, 4)
        found[name] = {**one.to_json(), "a": one.a, "b": one.b}
    found["changed"] = reporting.changed(a, b)
    kept: dict[str, Any] = to_jsonable(found)
    return kept


def test_without_groups_a_comparison_holds_the_numbers_that_it_held() -> None:
    same(compared(), json.loads(GOLDEN.read_text())["compared"], "compared")


@pytest.mark.parametrize("task", TASKS)
def test_two_models_of_each_task_compare_as_they_did(task: str) -> None:
    same(paired(task), json.loads(GOLDEN.read_text())["paired"][task], task)
