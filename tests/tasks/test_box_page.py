"""The pictures of a detector's page, by the boxes that are drawn on them, and its tables."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.tasks.test_box_results import BAD, GOOD, results_of

from eyewright.core import LabelSpace
from eyewright.evaluation import reporting_of
from eyewright.imaging.preparation import Preparation
from eyewright.tasks import box_page
from eyewright.tasks.box_page import _crop, _curves, _scene, _upscaled_masks, summarise

REPORTING = reporting_of("detect")
IDS = {"cross": 0, "disc": 1}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is drawn: the size of the picture, boxes, texts, colours and the width of lines."""
    calls: list[dict[str, Any]] = []

    def draw(
        image: np.ndarray, boxes: Any, texts: Any, colours: Any, masks: Any = None, line: int | None = None
    ) -> Any:
        calls.append(
            {"size": image.shape[:2], "boxes": np.asarray(boxes).tolist(), "texts": list(texts),
             "colours": np.asarray(colours).tolist(), "line": line, "masks": masks}
        )  # fmt: skip
        return image

    monkeypatch.setattr(box_page, "draw_objects", draw)
    return calls


def dataset(height: int, width: int) -> Any:
    return SimpleNamespace(image=lambda index: np.full((height, width, 3), index, np.uint8))


def row(box: list[float], label: str = "disc", **more: Any) -> dict[str, Any]:
    return {"label": label, "box": box, "item": {"index": 3, "name": "a.png"}, **more}


def test_an_object_is_cut_out_with_three_fifths_of_its_longer_side_around_it(drawn: list[dict[str, Any]]) -> None:
    made = _crop(row([100.5, 200.25, 150.5, 300.25], score=0.5, kind="class"), dataset(600, 500), IDS)
    # 60 pixels around: columns 40 to 211, rows 140 to 361. 221 rows are shown at their own size.
    (call,) = drawn
    assert call["size"] == (221, 171)
    assert call["boxes"] == [[60.5, 60.25, 110.5, 160.25]]
    assert (call["texts"], call["colours"], call["line"]) == ([""], [1], 2)
    assert {k: made[k] for k in ("label", "name", "score", "kind")} == {
        "label": "disc", "name": "a.png", "score": 0.5, "kind": "class",
    }  # fmt: skip
    assert made["src"].startswith("data:image/")


def test_a_small_object_has_twelve_pixels_around_it_and_is_enlarged_in_whole_steps(drawn: list[dict[str, Any]]) -> None:
    made = _crop(row([20, 30, 30, 40], label="cross"), dataset(100, 90), IDS)
    # Columns 8 to 43 and rows 18 to 53, 35 pixels a side, nine times as large.
    (call,) = drawn
    assert call["size"] == (315, 315)
    assert call["boxes"] == [[12 * 9, 12 * 9, 22 * 9, 22 * 9]]
    assert (call["colours"], call["line"]) == ([0], 3)
    assert (made["score"], made["kind"]) == (None, None)


def test_a_crop_ends_at_the_image(drawn: list[dict[str, Any]]) -> None:
    _crop(row([2, 3, 38, 29]), dataset(30, 40), IDS)
    # The whole image of 30 x 40 pixels, eight times as large.
    assert (drawn[0]["size"], drawn[0]["boxes"]) == ((240, 320), [[16, 24, 304, 232]])


class Predictor:
    """Finds a cross of 0.75 and a disc of 0.5 in images of 32 x 32."""

    task_name, labels, decoding = "detect", LabelSpace(("cross", "disc")), {}
    preparation = Preparation((32, 32))

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        boxes = np.array([[[2, 4, 10, 12], [20, 20, 30, 28]]], np.float32)
        return {"boxes": boxes, "scores": np.array([[[0.75, 0.0], [0.0, 0.5]]], np.float32)}


def item(**more: Any) -> dict[str, Any]:
    truth = [{"label": "disc", "box": [1.0, 2, 11, 12]}]
    return {"id": "x/000000", "index": 0, "objects": 1, "missed": [], "false": [1, 2], "truth": truth, **more}


def test_a_scene_shows_truth_and_what_reaches_its_operating_point_enlarged(drawn: list[dict[str, Any]]) -> None:
    made = _scene(item(), dataset(32, 32), Predictor(), np.array([0.8, 0.5]), IDS)  # type: ignore[arg-type]
    # An image of 32 pixels is shown 16 times as large.
    real, found = drawn
    assert (real["size"], real["boxes"], real["texts"]) == ((512, 512), [[16, 32, 176, 192]], ["disc"])
    assert (real["colours"], real["masks"]) == ([1], None)
    assert (found["size"], found["boxes"], found["texts"]) == ((512, 512), [[320, 320, 480, 448]], ["disc 50%"])
    assert (found["colours"], found["masks"]) == ([1], None)
    assert made["text"] == "1 object, 0 missed, 2 false alarms."
    assert (made["id"], made["of"]) == ("x/000000", ["disc"])


def test_an_image_without_objects_has_no_true_box(drawn: list[dict[str, Any]]) -> None:
    made = _scene(item(truth=[], objects=0), dataset(32, 32), Predictor(), np.array([0.5, 0.8]), IDS)  # type: ignore[arg-type]
    assert (drawn[0]["boxes"], drawn[0]["texts"], drawn[1]["texts"]) == ([], [], ["cross 75%"])
    assert made["of"] == ["cross"]


def test_masks_are_enlarged_as_pixels() -> None:
    masks = np.array([[[True, False], [False, True]]])
    large = _upscaled_masks(masks, 3)
    assert large is not None
    assert np.array_equal(large, np.kron(masks, np.ones((1, 3, 3), bool)))
    assert _upscaled_masks(masks, 1) is masks
    assert _upscaled_masks(None, 3) is None


def test_eight_scenes_and_eighteen_crops_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    report = REPORTING.report(results_of(*[BAD] * 20, GOOD))
    monkeypatch.setattr(box_page, "_scene", lambda i, *rest: i["id"])
    monkeypatch.setattr(box_page, "_crop", lambda r, *rest: r["item"]["id"])
    pictures = REPORTING.pictures(report, results_of(GOOD).dataset, lambda name: None)  # type: ignore[arg-type, return-value]
    assert [len(pictures[k]) for k in ("worst", "misses", "alarms")] == [8, 18, 18]
    good = REPORTING.pictures(REPORTING.report(results_of(GOOD)), results_of(GOOD).dataset, lambda name: None)  # type: ignore[arg-type, return-value]
    assert {k: list(v) for k, v in good.items()} == {"worst": [], "misses": [], "alarms": []}


def test_a_cost_of_half_a_per_cent_is_not_worth_a_word() -> None:
    report = REPORTING.report(results_of(GOOD, BAD))

    def said(lost: float) -> str:
        kinds = {k: {"n": 1.0, "ap50_lost": 0.0} for k in ("missed", "background", "class")}
        kinds["class"]["ap50_lost"] = lost
        report.tables["errors"].update(kinds=kinds)  # type: ignore[attr-defined]
        return summarise(report)

    assert "well placed, wrong class" not in said(0.005)
    assert said(0.0051).endswith(" over all scores: well placed, wrong class.")


def test_the_five_weakest_classes_are_named_in_the_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[dict[str, Any]] = []

    def chart(series: Any, **options: Any) -> str:
        drawn.append({"lines": [(s.name, s.style, list(s.points)) for s in series], **options})
        return ""

    monkeypatch.setattr(box_page, "line_chart", chart)
    names = tuple("abcdefg")
    curves = {k: {"pr": [[0.0, 1.0], [1.0, k / 8]], "f1": [[0.25, k / 8]]} for k in range(7)}
    rows = [{"ap50": {"value": v}} for v in (0.7, 0.1, 0.6, 0.2, None, 0.3, 0.4)]
    report: Any = SimpleNamespace(tables={"curves": curves}, per_class=rows, labels=names)
    charts = _curves(report)
    assert [c.title for c in charts] == ["Precision and recall", "F1 over the score threshold"]
    assert [s.text for s in charts[0].note[1:]][::2] == ["e", "b", "d", "f", "g"]
    weak = [("e", "s0", 4), ("b", "s1", 1), ("d", "s2", 3), ("f", "s3", 5), ("g", "s4", 6)]
    lines = [("c", "faint", 2), ("a", "faint", 0), *weak]
    assert drawn[0]["lines"] == [(n, style, [(0.0, 1.0), (1.0, k / 8)]) for n, style, k in lines]
    assert drawn[1]["lines"] == [(n, style, [(0.25, k / 8)]) for n, style, k in lines]
    assert [(d["x_percent"], d["y_percent"], d["x_range"], d["y_range"]) for d in drawn] == [
        (True, True, (0, 1), (0, 1.02)), (False, True, (0, 1), (0, 1.02)),
    ]  # fmt: skip
    assert _curves(SimpleNamespace(tables={}, per_class=rows, labels=names)) == []  # type: ignore[arg-type]
