"""The report on boxes, by hand: what counts at the operating points, of each class, in curves, and image by image."""

import numpy as np
import pytest
from tests.tasks.test_box_results import BAD, GOOD, A, B, results_of, scene

from eyewright.evaluation import reporting_of
from eyewright.metrics.matching import Detected, box_overlaps
from eyewright.tasks.box_report import _at_points, _curves, _per_image, _shown
from eyewright.tasks.box_results import Scene

REPORTING = reporting_of("detect")


def with_crowd(found: list[list[float]], crowd: list[float]) -> Scene:
    """Return a scene of one region of many objects, and what was found near it with a score of 0.75."""
    seen = Detected(np.array(found), np.zeros(len(found), int), np.full(len(found), 0.75))
    there = Detected(np.array([crowd]), np.zeros(1, int), crowd=np.ones(1, bool))
    return Scene(seen, there, box_overlaps(seen.boxes, there.boxes, crowd=np.ones(1, bool)))


def test_an_image_is_worth_the_scores_that_are_right_less_those_that_are_wrong() -> None:
    # GOOD: 0.9 and 0.8 are right. BAD: 0.9 is of another class. The IoU of the last is 0.6: right from 0.5 on.
    near = scene([([0.0, 0, 10, 6], 0, 0.5)], [(A, 0)])
    assert _per_image(results_of(GOOD, BAD, scene([], []), near).matched()).tolist() == pytest.approx(
        [1.7, -0.9, 0.0, 0.5]
    )


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong() -> None:
    # Six tenths of the first lie in the crowd, which is enough at an IoU of 0.5 and not at 0.95; of the second none.
    one = with_crowd([[4.0, 0, 14, 10]], [0.0, 0, 10, 30])
    two = with_crowd([[4.0, 0, 14, 10], [40.0, 0, 50, 10]], [0.0, 0, 10, 30])
    assert _per_image(results_of(one, two).matched()).tolist() == [0.0, -0.75]
    metrics = _at_points([one, two], np.array([0.5, 0.5]), 2, np.random.default_rng(0), None)
    assert (metrics["precision"].value, metrics["recall"].value) == (0.0, None)


def test_small_objects_count_at_the_operating_points_as_large_ones() -> None:
    found = scene([(A, 0, 0.9), ([0.0, 0, 200, 200], 1, 0.9), ([20.0, 0, 30, 10], 0, 0.9)], [(A, 0), (B, 0)])
    metrics = _at_points([found], np.array([0.5, 0.5]), 2, np.random.default_rng(0), None)
    # Three are shown, one is right; two are there.
    assert [metrics[k].value for k in ("precision", "recall", "f1")] == pytest.approx([1 / 3, 1 / 2, 2 / 5])
    assert {m.n for m in metrics.values()} == {1}


def test_what_is_shown_reaches_the_operating_point_and_keeps_its_area_and_overlaps() -> None:
    one = scene([(A, 0, 0.9), (B, 1, 0.5), (A, 1, 0.49)], [(B, 1)])
    one = Scene(Detected(one.found.boxes, one.found.labels, one.found.scores, areas=np.array([7.0, 8, 9])), one.truth,
                one.overlap)  # fmt: skip
    shown = _shown([one], np.array([0.95, 0.5]))
    (found,) = shown["found"]
    assert (found.labels.tolist(), found.scores.tolist(), found.areas.tolist()) == ([1], [0.5], [8.0])
    assert found.boxes.tolist() == [B]
    assert shown["overlaps"][0].tolist() == [[1.0]]
    assert shown["truth"] == [one.truth]


def test_a_class_has_its_counts_precision_and_recall_at_its_own_operating_point() -> None:
    """Of class 0 three are there, two are shown and one of them is right; a third has a score below its point."""
    one = scene([(A, 0, 0.9), ([50.0, 0, 60, 10], 0, 0.8), (B, 0, 0.3)], [(A, 0), (B, 0), ([0.0, 20, 10, 30], 0)])
    first, second = REPORTING.report(results_of(one, scene([], []), points=(0.4, 0.7))).per_class
    assert (first["n"], first["answered"], first["threshold"]) == (3, 2, 0.4)
    assert (first["precision"], first["recall"], first["f1"]) == (1 / 2, 1 / 3, 2 / 5)
    # By hand, over 101 points of recall: precision 1 up to a third (34 points), then 2/3 up to two thirds (33).
    assert first["ap50"]["value"] == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert first["ap"] == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert (second["n"], second["answered"], second["threshold"]) == (0, 0, 0.7)
    assert [second[k] for k in ("ap", "precision", "recall", "f1")] == [None] * 4
    assert second["ap50"]["value"] is None


def test_curves_are_of_classes_that_are_there_and_were_found() -> None:
    one = scene([(A, 0, 0.9), ([50.0, 0, 60, 10], 0, 0.8), (B, 0, 0.3)], [(A, 0), (B, 0)])
    found = _curves(results_of(one).matched())
    assert list(found) == [0]
    # Recall and precision after each detection; then scores upwards with F1: 4/5 of all three, 1/2 and 2/3.
    assert found[0]["pr"].tolist() == [[0.5, 1.0], [0.5, 0.5], [1.0, 0.66667]]
    assert found[0]["f1"].tolist() == [[0.3, 0.8], [0.8, 0.5], [0.9, 0.66667]]
    missed, wrong = scene([], [(A, 0)]), scene([(A, 0, 0.9)], [(B, 1)])
    assert _curves(results_of(missed).matched()) == {}
    assert _curves(results_of(wrong).matched()) == {}


def test_errors_are_counted_on_all_images_where_there_are_few() -> None:
    errors = REPORTING.report(results_of(GOOD, BAD)).tables["errors"]
    assert errors["n"] == 2
    assert {k: v["n"] for k, v in errors["kinds"].items() if v["n"]} == {"class": 1}


def test_an_items_crowd_is_neither_there_nor_missed() -> None:
    (item,) = REPORTING.items(results_of(with_crowd([[4.0, 0, 14, 10], [40.0, 0, 50, 10]], [0.0, 0, 10, 30])))
    assert (item["objects"], item["truth"], item["missed"]) == (0, [], [])
    assert [f["box"] for f in item["false"]] == [[40.0, 0.0, 50.0, 10.0]]
    assert (item["right"], len(item["found"])) == (1, 2)


def test_images_are_sorted_by_misses_and_false_detections_together() -> None:
    two_missed = scene([], [(A, 0), (B, 0)])
    one_missed_two_false = scene([(B, 0, 0.9), ([0.0, 20, 9, 30], 1, 0.9)], [(A, 0)])
    items = REPORTING.items(results_of(GOOD, two_missed, one_missed_two_false, BAD))
    assert [(i["id"], len(i["missed"]), len(i["false"])) for i in items] == [
        ("x/000002", 1, 2), ("x/000001", 2, 0), ("x/000003", 1, 1), ("x/000000", 0, 0),
    ]  # fmt: skip
    # F1 of each: 2 right, none wrong; none right; none right; none right.
    assert REPORTING.image_scores(items).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_f1_of_an_image_counts_right_ones_twice() -> None:
    mixed = scene([(A, 0, 0.9), ([50.0, 0, 60, 10], 0, 0.9)], [(A, 0), (B, 0)])
    assert REPORTING.image_scores(REPORTING.items(results_of(mixed))).tolist() == [0.5]


def test_the_weakest_slice_comes_first_and_slices_of_nine_are_left_out() -> None:
    def drawn(k: int) -> list[Scene]:
        return [scene([(A, 0, 0.9)] * (i < k), [(A, 0)]) for i in range(10)]

    good, bad = drawn(10), [scene([], [(A, 0), (B, 0)])] * 9
    rows = REPORTING.report(results_of(*good, *bad)).tables["slices"]
    crowding = [r for r in rows if r["slice"] == "objects in the image"]
    assert all(r["n"] >= 10 for r in rows)
    assert [r["ap50"] for r in rows] == sorted(r["ap50"] for r in rows)
    assert {r["n"] for r in crowding} <= {10, 19}
