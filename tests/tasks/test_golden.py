"""Without groups and distances every number of a report is what it was before there were any."""

import json
from typing import Any

import pytest
from tests.evaluation.answers import answers
from tests.evaluation.golden import GOLDEN, same

TASKS = ("classify", "detect", "instance", "segment")
KEPT = ("n", "metrics", "per_class", "tables")


def measured(task: str) -> dict[str, Any]:
    content = answers(task).report(seed=3).to_json()
    return {k: content[k] for k in KEPT}


@pytest.mark.parametrize("task", TASKS)
def test_without_groups_a_report_holds_the_numbers_that_it_held(task: str) -> None:
    same(measured(task), json.loads(GOLDEN.read_text())[task], task)
