"""Every task passes the public check of how it is measured and reported, and so does one of another name."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.evaluation.answers import Answers, answers

import eyewright.tasks
from eyewright.core import task as tasks
from eyewright.evaluation import render_html, render_markdown, reporting_of, summarise
from eyewright.evaluation.novelty import Novelty
from eyewright.metrics.novelty import Nearness
from eyewright.testing import check_reporting, reports

TASKS = ("classify", "detect", "instance", "segment")
CACHED = (tasks._table, tasks.task_of, tasks.metric_named, reporting_of)


@pytest.fixture(params=TASKS)
def canary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A task of which "canary" is another name, where this name is known."""
    place = f"tests.tasks.canaries:{request.param.upper()}"
    monkeypatch.setattr(eyewright.tasks, "TASKS", {**eyewright.tasks.TASKS, "canary": place})
    for cached in CACHED:
        cached.cache_clear()
    yield request.param
    monkeypatch.undo()
    for cached in CACHED:
        cached.cache_clear()


def _report_of_half(results: Any, **options: Any) -> Any:
    report = reporting_of("classify").report(results, **options)
    return replace(report, items=report.items[:10])


@pytest.mark.parametrize("task", TASKS)
def test_every_task_passes_the_public_check(task: str) -> None:
    check_reporting(answers(task, 20).results)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"metrics": lambda results, seed: {}}, "metrics must be those of the report"),
        ({"image_scores": lambda items: np.full(len(items), 1.5)}, r"scores of images must lie in \[0, 1\]"),
        ({"items": lambda results: [], "report": _report_of_half}, "items must hold every image once"),
        ({"changed": lambda before, after: [{"id": "x"}]}, "must not have predictions that differ from its own"),
        ({"spread": ("speed",)}, "must hold 'speed'"),
        ({"summary": lambda report: ""}, "summed up in words"),
    ],
)
def test_a_reporting_that_does_not_keep_its_promise_is_found(
    broken: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(reporting_of("classify"), **broken)
    monkeypatch.setattr(reports, "reporting_of", lambda name: wrong)
    with pytest.raises(AssertionError, match=said):
        check_reporting(answers("classify", 20).results)


def test_a_task_under_another_name_is_measured_and_reported_alike(canary: str) -> None:
    near = Novelty(Nearness(np.linspace(0, 1, 40), np.where(np.arange(40) % 2, 0.9, 0.1)))
    made = answers(canary, 40, groups=[f"{i // 4}" for i in range(40)])
    data = replace(made.dataset, task="canary")
    named = Answers(data, replace(made.results, dataset=data))  # type: ignore[type-var]
    check_reporting(named.results)
    first, second = made.report(novelty=near), named.report(novelty=near)
    assert second.task == "canary"
    assert {**second.to_json(), "task": canary} == first.to_json()
    for said in (summarise, lambda r: render_html(r, title="t"), lambda r: render_markdown(r, title="t")):
        assert said(second) == said(first)
    worse = answers(canary, 40, skill=[0.3] * 40, groups=[f"{i // 4}" for i in range(40)])
    other = replace(worse.results, dataset=replace(worse.dataset, task="canary"))  # type: ignore[type-var]
    compared = reporting_of("canary").compare(other, named.results, 0)
    assert compared.to_json() == reporting_of(canary).compare(worse.results, made.results, 0).to_json()
    assert str(compared).startswith("B is significantly better")
