"""How `doctor` counts and measures objects, and draws them on its small pictures."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core import LabelSpace
from eyewright.data import Dataset, Sample
from eyewright.data.targets.objects import Objects
from eyewright.data.tree import ArrayTree
from eyewright.tasks.box_marks import AUDIT, _box_sides


def dataset(*boxes: list[list[float]]) -> Dataset:
    samples = tuple(
        Sample(f"x/{i:06d}", Objects(np.array(b, float).reshape(-1, 4), np.zeros(len(b), int), np.zeros(len(b), bool)))
        for i, b in enumerate(boxes)
    )
    tree = ArrayTree(Path("."), {"x": np.zeros((len(boxes), 4, 4, 3), np.uint8)})
    return Dataset(tree, samples, LabelSpace(("a",)), "drawn", "detect")


def scan(*sizes: tuple[int, int] | None) -> Any:
    return SimpleNamespace(records=[SimpleNamespace(info=s and SimpleNamespace(size_hw=s)) for s in sizes])


def test_the_side_of_an_object_is_that_of_a_square_of_its_area_in_an_image_of_side_1() -> None:
    # 20 x 40 of 100 x 200 pixels is 0.04 of the image; 9 x 16 of 36 x 100 too.
    data = dataset([[10, 20, 30, 60], [0, 0, 200, 100]], [[1, 2, 10, 18]])
    assert _box_sides(data, scan((100, 200), (36, 100))).tolist() == pytest.approx([0.2, 1.0, 0.2])


def test_objects_without_an_area_and_of_unreadable_images_have_no_side() -> None:
    data = dataset([[5, 5, 5, 9], [0, 0, 5, 5]], [[0, 0, 5, 5]], [])
    assert _box_sides(data, scan((10, 10), None, (10, 10))).tolist() == [0.5]
    assert _box_sides(dataset([]), scan((10, 10))).shape == (0,)


def test_charts_are_of_images_and_of_objects_that_can_be_measured() -> None:
    data = dataset([[0, 0, 5, 5]] * 3, [], [[0, 0, 5, 5]])
    titles = [(title, note) for title, note, _ in AUDIT.charts(data, scan((10, 10), (10, 10), (10, 10)))]
    assert titles == [
        ("Objects per image", "median 1"),
        ("Size of objects", "side of a square of its area, in per cent of the image's"),
    ]
    assert [t for t, _, _ in AUDIT.charts(data, scan(None, None, None))] == ["Objects per image"]
    assert list(AUDIT.charts(dataset(), scan())) == []


def test_the_tile_counts_objects_and_their_mean_over_images() -> None:
    assert list(AUDIT.tiles(dataset([[0, 0, 5, 5]] * 3, [], [[0, 0, 5, 5]]))) == [("objects", "4", "1.3 per image")]
    assert list(AUDIT.tiles(dataset())) == [("objects", "0", "0.0 per image")]


def test_a_box_beyond_the_image_is_drawn_along_its_border() -> None:
    small = np.zeros((20, 40, 3), np.uint8)
    drawn = AUDIT.drawn(dataset([[-50, 20, 30, 500]]), 0, (100, 200), small)
    rows, columns = np.nonzero(drawn.any(2))
    assert (drawn.shape, small.any()) == ((20, 40, 3), False)
    # In the small picture a fifth of the size: columns up to 6, rows from 4.
    assert (rows.min() in (3, 4), rows.max(), columns.min(), columns.max() in (5, 6, 7)) == (True, 19, 0, True)
