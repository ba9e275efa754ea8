"""Which images a model answers in another way, where its answer is an amount of each class."""

from typing import Any

import numpy as np

from eyewright.core import LabelSpace
from eyewright.data import Dataset, Sample
from eyewright.tasks.amounts import changed_amounts
from eyewright.tasks.item_scores import item_scores


class Amounts:
    def __init__(self, rows: list[list[float]], names: tuple[str, ...] = ("cat", "dog")) -> None:
        samples = tuple(Sample(f"{i}.png", None) for i in range(len(rows)))
        self.dataset = Dataset(None, samples, LabelSpace(names), "drawn", "detect")  # type: ignore[arg-type]
        self.rows = rows

    def answers(self) -> np.ndarray:
        return np.array(self.rows)


def changed(first: Any, second: Any, least: float) -> list[dict[str, Any]]:
    return changed_amounts(first, second, least=least)


def test_an_image_has_changed_where_any_class_differs_by_more_than_the_least() -> None:
    before = Amounts([[1.0, 0.0], [1.0, 0.0], [3.0, 2.0], [0.5, 0.25]])
    after = Amounts([[1.5, 0.0], [0.25, 0.0], [3.0, 2.75], [0.5, 0.25]])
    # Of the first image 0.5 is the least itself; differences count in both directions and are not added up.
    assert changed(before, after, 0.5) == [
        {"id": "1.png", "before": {"cat": 1.0}, "after": {"cat": 0.25}},
        {"id": "2.png", "before": {"cat": 3.0, "dog": 2.0}, "after": {"cat": 3.0, "dog": 2.75}},
    ]
    assert changed(before, before, 0.0) == []


def test_classes_are_compared_by_name_and_amounts_said_to_four_digits() -> None:
    before = Amounts([[1 / 3, 0.5], [0.0, 0.9]])
    after = Amounts([[0.5, 1 / 3], [0.1, 0.2]], names=("dog", "cat"))
    assert changed(before, after, 0.01) == [{"id": "1.png", "before": {"dog": 0.9}, "after": {"cat": 0.2, "dog": 0.1}}]
    assert changed(before, Amounts([[1 / 6, 0.5], [0.0, 0.9]]), 0.01) == [
        {"id": "0.png", "before": {"cat": 0.3333, "dog": 0.5}, "after": {"cat": 0.1667, "dog": 0.5}}
    ]


def test_scores_are_put_where_the_index_of_their_row_says() -> None:
    rows = [{"index": 2, "score": 0.5, "right": 7.0}, {"index": 0, "score": 1.0, "right": 3.0}]
    np.testing.assert_array_equal(item_scores([*rows, {"index": 1, "score": 0.0}]), [1.0, 0.0, 0.5])
    np.testing.assert_array_equal(item_scores([*rows, rows[0]], lambda row: row["right"]), [3.0, np.nan, 7.0])
