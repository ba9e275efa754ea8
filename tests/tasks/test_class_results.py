"""What is kept of a classifier's predictions: numbers under weights, folds joined, changes, pictures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle
from tests.evaluation.answers import answers

from eyewright.core import LabelSpace
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.evaluation import reporting_of
from eyewright.tasks.class_results import ClassResults, average_cuts

REPORTING = reporting_of("classify")


def made(scores: list[list[float]], targets: list[int], *, names: tuple[str, ...] = ("cat", "dog")) -> ClassResults:
    tree = ArrayTree(Path("."), {"x": np.full((len(targets), 20, 20, 3), 90, np.uint8)})
    samples = tuple(Sample(f"x/{i:06d}", k) for i, k in enumerate(targets))
    data = Dataset(tree, samples, LabelSpace(names), "drawn", "classify")
    return ClassResults(data, np.array(scores, np.float32), tuple((20.0, float(i)) for i in range(len(targets))))


def test_numbers_under_weights_are_scikit_learns() -> None:
    results = answers("classify", 80).results
    weights = np.random.default_rng(1).integers(0, 4, (3, 80)).astype(float)
    found = results.numbers()(weights)
    said = results.scores.argmax(1)  # type: ignore[attr-defined]
    truth = results.dataset.targets
    for k, w in enumerate(weights):
        assert found["accuracy"][k] == pytest.approx(oracle.accuracy_score(truth, said, sample_weight=w))
        recalls = oracle.recall_score(truth, said, average=None, sample_weight=w)
        assert found["worst_class_recall"][k] == pytest.approx(recalls.min())
        assert found["balanced_accuracy"][k] == pytest.approx(recalls.mean())
    assert next(iter(found)) == "accuracy"
    np.testing.assert_allclose(results.followed().number(weights), found["accuracy"])


def test_the_weakest_class_is_asked_of_the_rarest_class_only() -> None:
    results = made([[0.9, 0.1]] * 5, [0, 0, 0, 1, 1])
    assert results.asked("worst_class_recall").tolist() == [False, False, False, True, True]
    assert results.asked("accuracy").all()


def test_cuts_are_averaged_by_image_in_the_order_of_the_dataset() -> None:
    whole = made([[0.5, 0.5]] * 4, [0, 1, 0, 1])

    def fold(rows: list[int], scores: list[list[float]]) -> ClassResults:
        part = whole.dataset.with_samples(whole.dataset.samples[i] for i in rows)
        return ClassResults(part, np.array(scores, np.float32), tuple((1.0, float(i)) for i in rows))

    first = [fold([3, 0], [[0.1, 0.9], [0.8, 0.2]]), fold([2, 1], [[1.0, 0.0], [0.4, 0.6]])]
    second = [fold([0, 1], [[0.6, 0.4], [0.0, 1.0]]), fold([2, 3], [[0.5, 0.5], [0.3, 0.7]])]
    joined = average_cuts([*first, *second], 2, whole.dataset)
    assert [s.id for s in joined.dataset.samples] == [s.id for s in whole.dataset.samples]
    np.testing.assert_allclose(joined.scores, [[0.7, 0.3], [0.2, 0.8], [0.75, 0.25], [0.2, 0.8]], atol=1e-7)
    assert [look[1] for look in joined.looks] == [0.0, 1.0, 2.0, 3.0]


def test_models_of_another_class_order_meet_by_name() -> None:
    a = made([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], [0, 1, 0])
    turned = a.dataset.relabelled(LabelSpace(("dog", "cat")))
    b = ClassResults(turned, np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]], np.float32), a.looks)
    found = REPORTING.compare(a, b, 0)
    assert (found.only_a, found.only_b, found.lead) == (0, 1, 1.0)
    assert REPORTING.changed(a, b) == [{"id": "x/000002", "before": "dog", "after": "cat", "true": "cat"}]
    assert REPORTING.changed(a, a) == []


def test_rows_say_label_answer_and_every_probability() -> None:
    titles, row = made([[0.25, 0.75]], [0]).rows()
    assert titles == ("id", "label", "predicted", "p:cat", "p:dog")
    assert row == ("x/000000", "cat", "dog", "0.250000", "0.750000")


def test_calibration_is_shown_before_and_after_a_temperature() -> None:
    made_ = answers("classify")
    assert "reliability_before" not in made_.report().tables
    tables = made_.report(temperature=2.0).tables
    assert tables["calibration"]["temperature"] == 2.0
    assert tables["calibration"]["ece_after"] == pytest.approx(made_.report().metrics["ece"].value)
    assert tables["calibration"]["ece_before"] != pytest.approx(tables["calibration"]["ece_after"])


def test_pictures_are_of_mistakes_first_and_few_a_cell() -> None:
    n = 60
    results = made([[0.9, 0.1]] * n, [0] * 40 + [1] * 20)
    report = REPORTING.report(results)
    pictures = REPORTING.pictures(report, results.dataset, lambda _: None)
    wrong = [p for p in pictures if int(p.split("/")[1]) >= 40]
    assert len(wrong) == 12
    assert len(pictures) == 24
    assert list(pictures)[:12] == wrong


@dataclass
class Told:
    """An explanation of an image that a test makes up."""

    source: str
    label: str = "cat"
    score: float = 0.8
    method: str = "gradcam"
    faithful: bool = False

    @property
    def verdict(self) -> "Told":
        return self

    def __str__(self) -> str:
        return "it is not"

    def overlay(self) -> np.ndarray:
        return np.zeros((8, 8, 3), np.uint8)


def test_an_explained_mistake_stands_beside_its_heatmap() -> None:
    results = made([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]], [1, 1, 1])
    report = REPORTING.report(results)
    pictures = REPORTING.pictures(report, results.dataset, lambda _: None)
    asked: list[str] = []

    def explain(images: Any, ids: list[str]) -> list[Told]:
        asked.extend(ids)
        return [Told("x/000001")]

    shown = REPORTING.explained(report, results.dataset, pictures, explain)
    assert asked == ["x/000000", "x/000001"]
    assert pictures["x/000001"]["heat"] == ""
    first, second = (b for b in REPORTING.page(report, shown).blocks if b.kind == "gallery")
    assert [len(s.images) for s in first.shots] == [2]
    assert [len(s.images) for s in second.shots] == [1]
    assert any("not faithful" in span.text for line in first.shots[0].lines for span in line)


def test_a_metric_that_two_models_are_judged_by_is_in_the_report() -> None:
    results = answers("classify", 50).results
    numbers = results.numbers()(np.ones((1, 50)))
    metrics = REPORTING.metrics(results, 0)
    for name in set(numbers) & set(metrics):
        assert numbers[name][0] == pytest.approx(metrics[name].value)
    assert len(set(numbers) & set(metrics)) >= 6


def test_joined_results_are_those_of_all_images() -> None:
    results = answers("classify", 30).results
    parts = [
        replace(
            results,
            dataset=results.dataset.with_samples(results.dataset.samples[a:b]),
            scores=results.scores[a:b],  # type: ignore[attr-defined]
            looks=results.looks[a:b],  # type: ignore[attr-defined]
        )
        for a, b in ((0, 11), (11, 12), (12, 30))
    ]
    joined = parts[0].joined(*parts[1:])
    assert REPORTING.report(joined).to_json() == REPORTING.report(results).to_json()
