"""What the pages of boxes and masks share, by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.tasks.test_class_results import Told

from eyewright.core.report import Report
from eyewright.tasks.scene_blocks import (
    explain_most_confident,
    explained_block,
    slice_table,
    upscale_factor,
    upscaled,
    worst_block,
)


@pytest.mark.parametrize(
    ("size", "times"), [((520, 40), 1), ((521, 900), 1), ((260, 100), 2), ((20, 64), 8), ((1, 1), 520)]
)
def test_a_small_image_is_enlarged_to_520_pixels(size: tuple[int, int], times: int) -> None:
    assert upscale_factor(np.zeros((*size, 3), np.uint8)) == times


def test_every_pixel_becomes_a_square() -> None:
    pixels = np.array([[1, 2, 3], [4, 5, 6]])
    assert upscaled(pixels, 1) is pixels
    assert upscaled(pixels, 2).tolist() == [[1, 1, 2, 2, 3, 3]] * 2 + [[4, 4, 5, 5, 6, 6]] * 2
    assert upscaled(np.zeros((2, 3, 3)), 4).shape == (8, 12, 3)
    assert upscaled(pixels, 3).shape == (6, 9)


def test_the_worst_images_show_truth_and_prediction() -> None:
    found = worst_block(
        {"worst": [{"truth": "data:t", "found": "data:f", "text": "2 missed.", "id": "a.png", "of": ["bolt"]}]}, "none"
    )
    (scene,) = found.rows
    assert list(scene.of) == ["bolt"]
    assert (found.title, found.empty) == ("Worst images", "none")
    assert list(scene.figures) == [("data:t", "truth", "truth"), ("data:f", "found", "prediction")]
    assert [(s.text, s.style) for s in scene.below] == [("2 missed. ", ""), ("a.png", "soft")]
    assert (worst_block({}, "none").title, list(worst_block({}, "none").rows)) == ("Images", [])


def report_of(n: int, **tables: Any) -> Report:
    items = tuple({"id": f"{k}.png", "index": 10 + k} for k in range(n))
    return Report("detect", ("bolt",), n, {}, tables=tables, items=items)


def test_at_most_five_images_are_tried_for_an_explanation() -> None:
    asked: list[tuple[int, str]] = []
    dataset: Any = SimpleNamespace(image=lambda index: np.full((600, 300, 3), index, np.uint8))

    def explain(images: Any, ids: Any, labels: Any = ()) -> list[Told]:
        asked.extend(zip([int(i[0, 0, 0]) for i in images], ids, strict=True))
        return [Told(i, "bolt", 0.625, "occlusion", i == "3.png") for i in ids if i == "3.png"]

    shown = explain_most_confident(report_of(9), dataset, {"worst": ()}, explain)
    assert asked == [(10 + k, f"{k}.png") for k in range(4)]
    (row,) = shown["explained"]
    assert {k: row[k] for k in ("label", "score", "id", "method", "verdict", "faithful")} == {
        "label": "bolt", "score": 0.625, "id": "3.png", "method": "occlusion", "verdict": "it is not", "faithful": True,
    }  # fmt: skip
    assert row["src"].startswith("data:image/")
    asked.clear()

    def explain_nothing(images: Any, ids: Any, labels: Any = ()) -> list[Told]:
        asked.extend(ids)
        return []

    assert explain_most_confident(report_of(9), dataset, {"worst": ()}, explain_nothing) == {"worst": ()}
    assert len(asked) == 5


@pytest.mark.parametrize(("faithful", "style"), [(True, "soft"), (False, "bad")])
def test_an_explanation_says_what_supports_it(faithful: bool, style: str) -> None:
    one = {"src": "data:h", "label": "bolt", "score": 0.625, "id": "a.png", "method": "occlusion", "verdict": "so",
           "faithful": faithful}  # fmt: skip
    (block,) = explained_block({"explained": [one]})
    (scene,) = block.rows  # type: ignore[union-attr]
    assert block.title == "Explanation"
    assert list(scene.figures) == [("data:h", "heatmap", "")]
    first, second, third = scene.beside
    assert [(s.text, s.style) for s in first] == [("bolt", "bold"), (", 62.5%, in ", ""), ("a.png", "soft")]
    assert second[0].text.endswith("falls when a patch is covered (occlusion).")
    assert [(s.text, s.style) for s in third] == [("so", style)]
    assert explained_block({}) == []


def test_slices_are_a_table_where_there_are_any() -> None:
    rows = [{"slice": "objects", "value": "1 to 3", "n": 1200, "ap50": 0.25, "rest": 0.5}]
    (table,) = slice_table(report_of(1, slices=rows), "ap50", "AP50", "short")
    assert [[(c.text, c.style) for c in row] for row in table.rows] == [  # type: ignore[union-attr]
        [("objects", ""), ("1 to 3", "wide"), ("1200", "n"), ("25.0%", "n"), ("50.0%", "n")]
    ]
    assert [(c.text, c.style) for c in table.header] == [  # type: ignore[union-attr]
        ("slice", ""), ("value", ""), ("images", "n"), ("short", "n"), ("the rest", "n"),
    ]  # fmt: skip
    assert table.lead == "AP50 by number of objects, size and brightness, weakest first."  # type: ignore[union-attr]
    assert slice_table(report_of(1, slices=()), "ap50", "AP50", "short") == []
    assert slice_table(report_of(1), "ap50", "AP50", "short") == []
