"""Without groups and distances every number is what it was before there were any: see golden.json."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.answers import answers

from eyewright.core.jsonable import to_jsonable
from eyewright.metrics import corrected_interval
from eyewright.tasks.class_results import compare_scores

GOLDEN = Path(__file__).with_name("golden.json")
TASKS = ("classify", "detect", "instance", "segment")
KEPT = ("n", "metrics", "per_class", "tables")


def measured(task: str) -> dict[str, Any]:
    content = answers(task).report(seed=3).to_json()
    return {k: content[k] for k in KEPT}


def compared() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    targets = rng.integers(3, size=90)
    a, b = (rng.dirichlet([1, 1, 1], 90) + k * np.eye(3)[targets] for k in (0.3, 0.8))
    found = compare_scores(targets, a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True), seed=2)
    folds = corrected_interval([0.9, 0.92, 0.94, 0.92, 0.92], test_share=0.25)
    kept: dict[str, Any] = to_jsonable({**found.to_json(), "a": found.a, "b": found.b, "folds": folds})
    return kept


def same(new: Any, old: Any, at: str) -> None:
    """New keys may stand beside the old ones; the old ones hold the same, to the last digits."""
    if isinstance(old, dict):
        for key, value in old.items():
            assert key in new, f"{at}.{key} is gone"
            same(new[key], value, f"{at}.{key}")
    elif isinstance(old, list):
        assert len(new) == len(old), at
        for i, (a, b) in enumerate(zip(new, old, strict=True)):
            same(a, b, f"{at}[{i}]")
    elif isinstance(old, float) and not isinstance(new, bool) and isinstance(new, int | float):
        # Sums in another order, on another processor, may differ in the last bits.
        assert new == pytest.approx(old, rel=1e-11, abs=1e-13), at
    else:
        assert new == old, at


@pytest.mark.parametrize("task", TASKS)
def test_without_groups_a_report_holds_the_numbers_that_it_held(task: str) -> None:
    same(measured(task), json.loads(GOLDEN.read_text())[task], task)


def test_without_groups_a_comparison_holds_the_numbers_that_it_held() -> None:
    same(compared(), json.loads(GOLDEN.read_text())["compared"], "compared")
