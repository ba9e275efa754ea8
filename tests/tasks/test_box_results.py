"""What is kept of a detector's predictions: scenes, numbers under weights, operating points, changes, pictures."""

from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.answers import answers
from tests.tasks.predictors import Told

from eyewright.core import LabelSpace
from eyewright.data import Dataset, Sample
from eyewright.data.targets.objects import Objects, Outline
from eyewright.data.tree import ArrayTree
from eyewright.evaluation import reporting_of
from eyewright.evaluation.results import gather_results
from eyewright.metrics.bootstrap import resample
from eyewright.metrics.matching import Detected, box_overlaps
from eyewright.tasks.box_results import BoxResults, Scene, _moved_apart

REPORTING = reporting_of("detect")
NAMES = ("cross", "disc")


def scene(found: list[tuple[list[float], int, float]], truth: list[tuple[list[float], int]]) -> Scene:
    boxes = np.array([b for b, _, _ in found], float).reshape(-1, 4)
    seen = Detected(boxes, np.array([k for _, k, _ in found], int), np.array([s for _, _, s in found], float))
    true = np.array([b for b, _ in truth], float).reshape(-1, 4)
    there = Detected(true, np.array([k for _, k in truth], int), crowd=np.zeros(len(truth), bool))
    return Scene(seen, there, box_overlaps(seen.boxes, there.boxes))


def results_of(*scenes: Scene, points: tuple[float, float] = (0.5, 0.5)) -> BoxResults:
    tree = ArrayTree(Path("."), {"x": np.zeros((len(scenes), 40, 40, 3), np.uint8)})
    samples = tuple(Sample(f"x/{i:06d}", None) for i in range(len(scenes)))
    data = Dataset(tree, samples, LabelSpace(NAMES), "drawn", task="detect")
    return BoxResults(data, scenes, tuple((40.0, 0.0) for _ in scenes), np.array(points))


A, B = [0.0, 0, 10, 10], [20.0, 20, 30, 30]
GOOD = scene([(A, 0, 0.9), (B, 1, 0.8)], [(A, 0), (B, 1)])
BAD = scene([(A, 1, 0.9)], [(A, 0)])


def test_what_is_shown_reaches_the_operating_point_of_its_class() -> None:
    results = results_of(GOOD, BAD, points=(0.95, 0.5))
    assert results.answers().tolist() == [[0, 1], [0, 1]]
    assert results_of(GOOD, BAD).answers().tolist() == [[1, 1], [0, 1]]


def test_numbers_under_weights_are_those_of_repeated_images() -> None:
    results = answers("detect", 30).results
    weights = np.random.default_rng(0).integers(0, 3, (2, 30)).astype(float)
    found = results.numbers()(weights)
    for k, w in enumerate(weights):
        rows = np.repeat(np.arange(30), w.astype(int))
        again = BoxResults(
            results.dataset.with_samples(results.dataset.samples[i] for i in rows),
            tuple(results.scenes[i] for i in rows),  # type: ignore[attr-defined]
            tuple(results.looks[i] for i in rows),  # type: ignore[attr-defined]
            results.points,  # type: ignore[attr-defined]
        )
        metrics = REPORTING.metrics(again, 0)
        for name in ("ap", "ap50"):
            assert found[name][k] == pytest.approx(metrics[name].value)
        assert results.followed().number(w[None])[0] == pytest.approx(metrics["ap50"].value)


def test_parts_of_one_model_keep_its_points_and_parts_of_several_their_mean() -> None:
    one, two = results_of(GOOD, points=(0.1, 0.3)), results_of(BAD, points=(0.3, 0.3))
    assert one.joined(one, one).points.tolist() == [0.1, 0.3]
    np.testing.assert_allclose(one.joined(two).points, [0.2, 0.3])
    joined = REPORTING.together([one, two, one, two], 2, one.dataset)
    assert len(joined.dataset) == len(joined.scenes) == len(joined.looks) == 2


def test_an_image_that_holds_nothing_and_is_given_nothing_went_well() -> None:
    empty = scene([], [])
    items = REPORTING.items(results_of(GOOD, BAD, empty))
    assert REPORTING.image_scores(items).tolist() == [1.0, 0.0, 1.0]
    worst = items[0]
    assert worst["id"] == "x/000001"
    assert [m["label"] for m in worst["missed"]] == ["cross"]
    assert [(f["label"], f["kind"]) for f in worst["false"]] == [("disc", "class")]


def test_items_round_boxes_and_slices_hold_the_rest() -> None:
    thin = scene([([0.26, 0, 10, 10], 0, 0.98765)], [(A, 0)])
    (item,) = REPORTING.items(results_of(thin))
    assert item["found"] == [{"label": "cross", "box": [0.3, 0.0, 10.0, 10.0], "score": 0.9877}]
    crowded = scene([(A, 0, 0.9), (B, 0, 0.9)], [(A, 0), (B, 0)])
    empty = scene([([20.0, 0, 30, 10], 0, 0.95)], [(A, 0)])
    three = scene([], [(A, 0), (B, 0), ([0.0, 20, 10, 30], 0)])
    report = REPORTING.report(results_of(*[crowded] * 10, *[empty] * 10, *[three] * 10))
    rows = {r["value"]: (r["n"], r["ap50"], r["rest"]) for r in report.tables["slices"]}
    # Of 50 objects 20 are found and nothing else: 41 of the 101 points of recall. Of 30 objects 20 are found below 10
    # false alarms: 67 points at a precision of 2/3. All images are of one size and brightness.
    assert rows == {
        "up to 2": (10, 0.0, pytest.approx(41 / 101)),
        "above 2": (10, 0.0, pytest.approx(67 / 101 * 2 / 3)),
        "2 to 2": (10, 1.0, 0.0),
    }


def test_precision_and_recall_at_the_operating_points_by_hand() -> None:
    """Three shown, two of them right; three are there."""
    metrics = REPORTING.metrics(results_of(GOOD, BAD), 0)
    assert metrics["precision"].value == pytest.approx(2 / 3)
    assert metrics["recall"].value == pytest.approx(2 / 3)
    assert metrics["f1"].value == pytest.approx(2 / 3)
    assert "pq" not in metrics
    outlined = reporting_of("instance").metrics(results_of(GOOD, BAD), 0)
    # Cross: IoU 1, one missed: 2/3. Disc: IoU 1, one false: 2/3.
    assert outlined["pq"].value == pytest.approx(2 / 3)


def test_changed_images_are_those_with_another_number_of_objects() -> None:
    before, after = results_of(GOOD, BAD), results_of(BAD, BAD)
    assert REPORTING.changed(before, after) == [
        {"id": "x/000000", "before": {"cross": 1.0, "disc": 1.0}, "after": {"disc": 1.0}}
    ]


def test_rows_hold_every_box_that_is_not_noise() -> None:
    noisy = scene([(A, 0, 0.9), (B, 1, 0.005)], [])
    titles, *rows = results_of(noisy).rows()
    assert titles == ("id", "label", "score", "x0", "y0", "x1", "y1")
    assert rows == [("x/000000", "cross", "0.9000", "0.00", "0.00", "10.00", "10.00")]


def outlined_data(task: str) -> Dataset:
    """One image with a triangle over half of its box, and an object without an outline."""
    triangle = Outline((np.array([[0.0, 0], [20, 0], [0, 20]]),))
    objects = Objects(
        np.array([[0.0, 0, 20, 20], [22, 22, 30, 30]]), np.array([0, 1]), np.zeros(2, bool), (triangle, Outline())
    )
    tree = ArrayTree(Path("."), {"x": np.zeros((1, 32, 32, 3), np.uint8)})
    return Dataset(tree, (Sample("x/000000", objects),), LabelSpace(NAMES), "drawn", task=task)


def told(task: str) -> Told:
    boxes = np.array([[[0.0, 0, 20, 20]]], np.float32)
    arrays = {"boxes": boxes, "scores": np.array([[[0.9, 0.0]]], np.float32)}
    if task == "instance":
        # Positive above the diagonal: a quarter of the size, 8 x 8 of which 5 x 5 are the box.
        rows, columns = np.mgrid[0:8, 0:8]
        plane = (4.0 - rows - columns).astype(np.float32)
        arrays |= {"coefficients": np.ones((1, 1, 1), np.float32), "prototypes": plane[None, None]}
    return Told(task, lambda pixels: arrays)


def test_instances_overlap_by_their_masks_and_boxes_by_their_boxes() -> None:
    (boxes,) = gather_results([told("detect")], outlined_data("detect"))
    (masks,) = gather_results([told("instance")], outlined_data("instance"))
    assert boxes.scenes[0].overlap.tolist() == [[1.0, 0.0]]  # type: ignore[attr-defined]
    # An object without an outline is no instance.
    overlap = masks.scenes[0].overlap  # type: ignore[attr-defined]
    assert overlap.shape == (1, 1)
    assert 0.7 < overlap[0, 0] < 1.0
    assert masks.scenes[0].truth.masks is None  # type: ignore[attr-defined]
    assert boxes.points.tolist() == [0.25, 0.25]  # type: ignore[attr-defined]


def test_pictures_show_what_the_report_counts() -> None:
    """The report's own operating points decide which boxes are drawn, whoever predicted the image."""
    data = outlined_data("detect")
    predictor = told("detect")
    (results,) = gather_results([predictor], data)
    seen: list[str] = []

    def owner(name: str) -> Told:
        seen.append(name)
        return predictor

    drawn = {}
    for point in (0.5, 0.95):
        report = REPORTING.report(BoxResults(data, results.scenes, results.looks, np.full(2, point)))  # type: ignore[attr-defined]
        pictures = REPORTING.pictures(report, data, owner)
        drawn[point] = pictures["worst"][0]["found"]
        assert [m["label"] for m in pictures["misses"]] == (["disc"] if point == 0.5 else ["cross", "disc"])
    assert seen == ["x/000000"] * 2
    assert drawn[0.5] != drawn[0.95]


def test_the_interval_of_a_difference_is_moved_by_how_far_off_its_bootstrap_is() -> None:
    plan = resample(20, replicates=5, rng=np.random.default_rng(0), groups=None)
    samples = np.linspace(0.0, 0.4, 41)
    low, high = plan.interval(0.5, samples)
    # The median of the samples is 0.2, the value 0.5.
    assert _moved_apart(plan, 0.5, samples) == (pytest.approx(low + 0.3), pytest.approx(high + 0.3))
    assert results_of(GOOD).followed().apart is _moved_apart
