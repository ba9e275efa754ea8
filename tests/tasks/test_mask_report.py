"""Slices, comparisons and lists of a report on masks, by hand from tables of pixels."""

from pathlib import Path

import numpy as np
import pytest

from eyewright.core import LabelSpace
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.evaluation import reporting_of
from eyewright.tasks.mask_results import MaskResults

REPORTING = reporting_of("segment")
NAMES = ("background", "crack", "dent")
# Rows are the true class, columns the predicted one. 100 pixels each.
GOOD = [[80, 0, 0], [0, 20, 0], [0, 0, 0]]
HALF = [[80, 0, 0], [10, 10, 0], [0, 0, 0]]
FALSE = [[90, 0, 10], [0, 0, 0], [0, 0, 0]]
MIXED = [[50, 5, 5], [10, 10, 0], [0, 5, 15]]
CLEAN = [[100, 0, 0], [0, 0, 0], [0, 0, 0]]


def made(*tables: list[list[int]], looks: list[tuple[float, float]] | None = None) -> MaskResults:
    n = len(tables)
    samples = tuple(Sample(f"x/{i:06d}", None) for i in range(n))
    tree = ArrayTree(Path("."), {"x": np.zeros((n, 4, 4, 3), np.uint8)})
    data = Dataset(tree, samples, LabelSpace(NAMES), "drawn", task="segment")
    return MaskResults(data, np.array(tables), np.zeros((n, 3, 4)), tuple(looks or [(8.0, 0.0)] * n))


def test_items_hold_iou_misses_and_false_classes_the_worst_first() -> None:
    items = REPORTING.items(made(GOOD, HALF, FALSE, MIXED, CLEAN))
    assert [i["index"] for i in items] == [2, 3, 1, 0, 4]
    by_index = {i["index"]: i for i in items}
    # Crack: 10 of 10 + 10 + 10 pixels are in both; dent: 15 of 15 + 5 + 5.
    assert by_index[3]["iou"] == {"crack": 0.3333, "dent": 0.6}
    assert by_index[3]["miou"] == pytest.approx((0.3333 + 0.6) / 2)
    assert by_index[3]["wrong_pixels"] == 25
    assert (by_index[3]["missed"], by_index[3]["false"]) == ([], [])
    assert (by_index[2]["iou"], by_index[2]["false"], by_index[2]["missed"]) == ({"dent": 0.0}, ["dent"], [])
    assert (by_index[1]["iou"], by_index[4]["miou"], by_index[4]["iou"]) == ({"crack": 0.5}, None, {})
    missed = [[80, 0, 0], [20, 0, 0], [0, 0, 0]]
    assert REPORTING.items(made(missed))[0]["missed"] == ["crack"]
    assert REPORTING.image_scores(items).tolist() == pytest.approx([1.0, 0.5, 0.0, (0.3333 + 0.6) / 2, 1.0])


def test_of_equal_iou_the_image_with_more_wrong_pixels_comes_first() -> None:
    few, many = [[60, 0, 0], [20, 20, 0], [0, 0, 0]], [[20, 0, 0], [40, 40, 0], [0, 0, 0]]
    assert [i["wrong_pixels"] for i in REPORTING.items(made(few, many, few))] == [40, 20, 20]
    assert [i["index"] for i in REPORTING.items(made(few, many, few))] == [1, 0, 2]


def test_answers_are_fractions_of_the_predicted_pixels() -> None:
    assert made(MIXED, GOOD).answers().tolist() == [[0.6, 0.2, 0.2], [0.8, 0.2, 0.0]]


def test_images_are_compared_by_their_right_pixels() -> None:
    found = REPORTING.compare(made(GOOD, HALF, CLEAN), made(HALF, GOOD, CLEAN), 0)
    assert (found.only_a, found.only_b) == (1, 1)
    better = REPORTING.compare(made(HALF, HALF), made(GOOD, HALF), 0)
    # Of two images with 40 true pixels 20 are right, then 30.
    assert better.differences["miou"].value == pytest.approx(0.75 - 0.5)


def test_an_image_has_changed_where_a_class_covers_more_than_a_hundredth_more() -> None:
    # One and two of 128 pixels.
    before = made([[96, 0, 0], [0, 32, 0], [0, 0, 0]], [[96, 0, 0], [0, 32, 0], [0, 0, 0]])
    after = made([[95, 1, 0], [0, 32, 0], [0, 0, 0]], [[94, 2, 0], [0, 32, 0], [0, 0, 0]])
    assert [c["id"] for c in REPORTING.changed(before, after)] == ["x/000001"]


def test_slices_of_size_and_brightness_hold_the_rest_and_the_weakest_comes_first() -> None:
    looks = [(10.0 + k, 100.0) for k in range(30)]
    tables = [GOOD] * 20 + [HALF] * 10
    rows = REPORTING.report(made(*tables, looks=looks)).tables["slices"]
    sizes = [(r["value"], r["n"], r["miou"], r["rest"]) for r in rows if r["slice"] == "longer side"]
    # Of 200 true pixels in the largest third half are found; of the rest all, of two thirds 300 of 400.
    assert sizes == [
        ("above 29 px", 10, pytest.approx(0.5), pytest.approx(1.0)),
        ("up to 20 px", 10, pytest.approx(1.0), pytest.approx(0.75)),
        ("20 to 29 px", 10, pytest.approx(1.0), pytest.approx(0.75)),
    ]
    assert [r["miou"] for r in rows] == sorted(r["miou"] for r in rows)
    assert REPORTING.report(made(*[GOOD] * 9)).tables["slices"] == []


def test_a_slice_without_a_true_object_has_no_mean_iou_and_comes_last() -> None:
    looks = [(10.0 + k, 100.0) for k in range(30)]
    rows = REPORTING.report(made(*[CLEAN] * 10, *[HALF] * 20, looks=looks)).tables["slices"]
    sizes = [r for r in rows if r["slice"] == "longer side"]
    assert [r["miou"] for r in sizes] == [0.5, 0.5, None]
    assert sizes[-1]["rest"] == 0.5


def test_the_reports_confusion_is_that_of_all_images() -> None:
    assert REPORTING.report(made(GOOD, MIXED)).tables["confusion"].tolist() == [[130, 5, 5], [10, 30, 0], [0, 5, 15]]
