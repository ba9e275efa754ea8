"""A public check of what a task means to evaluation: its results, its report, its comparison and its page."""

__all__ = ["check_reporting"]

from typing import Any

import numpy as np

from eyewright.core.jsonable import dumps_json
from eyewright.core.task import task_of
from eyewright.evaluation import render_html, render_markdown, reporting_of
from eyewright.evaluation.reporting import Results


def check_reporting(results: Results) -> None:
    """Check how a task is measured and reported, on results of a model for 12 images or more, half of them right.

    A report depends on its arguments only and is valid JSON; numbers under weights agree with it, and so do joined
    results; a model is no better than itself; the page and the Markdown can be made without pictures.
    """
    task, n = results.dataset.task, len(results.dataset)
    reporting = reporting_of(task)
    report = reporting.report(results, seed=1)
    dumps_json(report.to_json())
    assert report.task == task, f"expected a report on {task!r}, found {report.task!r}"
    assert report.n == n, "a report must count all images"
    assert report.to_json() == reporting.report(results, seed=1).to_json(), "a report must depend on its arguments only"
    _check_metrics(report.metrics, reporting.metrics(results, 1), task)
    ones = np.ones((1, n))
    for name, values in results.numbers()(ones).items():
        known = report.metrics[name].value if name in report.metrics else None
        assert known is None or np.isclose(values[0], known), f"{name}: numbers under weights of 1 must agree"
    assert next(iter(results.numbers()(ones))) == task_of(task).main_metric, "numbers must begin with the main metric"
    followed = report.metrics[task_of(task).followed].value
    assert followed is not None, f"the results must define {task_of(task).followed!r}"
    assert np.isclose(results.followed().number(ones)[0], followed), "the followed metric must agree with the report"
    twice = results.joined(results)
    assert len(twice.dataset) == 2 * n, "joined results must hold the images of all"
    assert np.isclose(twice.followed().number(np.ones((1, 2 * n)))[0], followed), "joined results must agree"
    _check_images(results, report.items)
    same = reporting.compare(results, results, 1)
    assert same.better == "neither", "a model must not be better than itself"
    assert not reporting.changed(results, results), "a model must not have predictions that differ from its own"
    for name in (*reporting.spread, task_of(task).main_metric):
        assert name in report.metrics, f"the report must hold {name!r}"
    assert reporting.summary(report), "a report must be summed up in words"
    assert "<h2" in render_html(report, title="check"), "a page must hold blocks"
    assert render_markdown(report, title="check").startswith("# check"), "Markdown must begin with its title"


def _check_metrics(metrics: Any, alone: Any, task: str) -> None:
    assert dict(metrics) == dict(alone), "metrics must be those of the report"
    for name, metric in metrics.items():
        if metric.value is not None and metric.low is not None and metric.high is not None:
            assert metric.low <= metric.high, f"{name}: an interval's ends are in order"
            low, high = task_of(task).metric(name).bounds
            assert low <= metric.value <= high, f"{name}: expected a value in [{low}, {high}], found {metric.value}"


def _check_images(results: Results, items: Any) -> None:
    n, names = len(results.dataset), results.dataset.labels.names
    reporting = reporting_of(results.dataset.task)
    assert sorted(i["index"] for i in items) == list(range(n)), "items must hold every image once"
    scores = reporting.image_scores(items)
    assert scores.shape == (n,), "every image must have a score"
    assert ((scores >= 0) & (scores <= 1)).all(), "scores of images must lie in [0, 1]"
    assert results.answers().shape == (n, len(names)), "answers must be one number per class of each image"
    assert results.asked(task_of(results.dataset.task).main_metric).all(), "the main metric must ask all images"
    titles, *rows = results.rows()
    assert titles[0] == "id", "rows must begin with the image's id"
    known = {s.id for s in results.dataset.samples}
    assert all(len(r) == len(titles) and r[0] in known for r in rows), (
        "rows must be of the images and as long as titles"
    )
