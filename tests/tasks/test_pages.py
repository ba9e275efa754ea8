"""What each task says of its numbers and lays out on the report's page."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.answers import answers
from tests.tasks.test_box_results import BAD, GOOD, results_of
from tests.tasks.test_class_results import Told

from eyewright.core import LabelSpace
from eyewright.core.report import Metric, Report
from eyewright.data import Dataset, Sample
from eyewright.data.targets.objects import Objects
from eyewright.data.tree import ArrayTree
from eyewright.evaluation import reporting_of
from eyewright.evaluation.blocks import Table

TASKS = ("classify", "detect", "instance", "segment")


def table(report: Report, title: str) -> Table:
    blocks = reporting_of(report.task).page(report, {}).blocks
    (found,) = (b for b in blocks if isinstance(b, Table) and b.title == title)
    return found


def texts(rows: Any) -> list[list[str]]:
    return [[c.text for c in row] for row in rows]


def classified(confusion: list[list[int]]) -> Report:
    report = answers("classify").report()
    n, right = int(np.sum(confusion)), int(np.trace(confusion))
    metrics = {**report.metrics, "accuracy": Metric(right / n, 0.5, 0.9, n=n)}
    return replace(report, n=n, metrics=metrics, tables={**report.tables, "confusion": np.array(confusion)})


@pytest.mark.parametrize(
    ("confusion", "said"),
    [
        ([[9, 0, 0], [0, 4, 0], [0, 0, 2]], "15 of 15 images are classified correctly: 100.0%"),
        ([[9, 0, 0], [1, 4, 0], [0, 0, 2]], "The only mistake: “nut” classified as “bolt”."),
        ([[9, 0, 1], [1, 4, 0], [0, 0, 2]], "The 2 mistakes are all different, such as “bolt” classified"),
        (
            [[9, 0, 1], [3, 4, 0], [0, 0, 2]],
            "The most frequent mistake is “nut” classified as “bolt” (3 of 4 mistakes).",
        ),
    ],
)
def test_a_classifiers_summary_names_its_most_frequent_mistake(confusion: list[list[int]], said: str) -> None:
    assert said in reporting_of("classify").summary(classified(confusion))


def test_most_confused_lists_pairs_with_the_size_of_their_row() -> None:
    report = classified([[9, 0, 1], [3, 4, 0], [0, 0, 2]])
    (matrix,) = (b for b in reporting_of("classify").page(report, {}).blocks if b.kind == "matrix")
    assert matrix.beside is not None
    assert texts(matrix.beside.rows) == [["nut", "bolt", "3 of 7"], ["bolt", "washer", "1 of 10"]]
    none = classified([[9, 0, 0], [0, 4, 0], [0, 0, 2]])
    (matrix,) = (b for b in reporting_of("classify").page(none, {}).blocks if b.kind == "matrix")
    assert matrix.beside is None


def test_a_table_of_classes_says_what_the_report_holds() -> None:
    report = answers("classify", 90).report()
    row, said = report.per_class[1], texts(table(report, "Classes").rows)[1]
    assert said == [
        "nut",
        str(row["n"]),
        *(f"{row[k]['value']:.1%}" for k in ("precision", "recall", "f1")),
        f"{row['auc']:.1%}",
        f"{row['average_precision']:.1%}",
    ]
    cells = table(report, "Classes").rows[1]
    assert cells[2].meter == row["precision"]["value"]
    assert cells[4].bounds == f"[{100 * row['f1']['low']:.1f}, {100 * row['f1']['high']:.1f}]"
    boxes = answers("detect", 40).report()
    row, said = boxes.per_class[0], texts(table(boxes, "Classes").rows)[0]
    assert said[:5] == ["bolt", str(row["n"]), f"{row['ap50']['value']:.1%}", f"{row['ap']:.1%}", "0.400"]
    assert said[5:] == [f"{row[k]:.1%}" for k in ("precision", "recall", "f1")]
    masks = answers("segment", 40).report()
    row, said = masks.per_class[2], texts(table(masks, "Classes").rows)[2]
    assert said == ["dent", str(row["n"]), *(f"{v:.1%}" for v in (row["iou"]["value"], row["dice"], row["boundary_f"]))]


@pytest.mark.parametrize("task", TASKS)
def test_of_very_many_classes_the_first_are_shown_and_that_is_said(task: str) -> None:
    report = answers(task).report()
    many = replace(report, per_class=report.per_class * 80)
    assert len(table(many, "Classes").rows) == 200
    assert table(many, "Classes").note == "200 of 240 classes; all are in report.json."
    assert table(report, "Classes").note == ""


def test_a_weak_slice_is_marked_and_the_number_of_slices_is_said() -> None:
    report = answers("classify", 90).report()
    rows = [
        {"slice": "site", "value": "a", "n": 20, "accuracy": 0.5, "low": 0.3, "high": 0.7, "rest": 0.9, "weaker": True},
        {
            "slice": "site",
            "value": "b",
            "n": 70,
            "accuracy": 0.9,
            "low": 0.8,
            "high": 1.0,
            "rest": 0.5,
            "weaker": False,
        },
    ]
    sliced = table(replace(report, tables={**report.tables, "slices": rows}), "Weak slices")
    assert texts(sliced.rows) == [["site", "a", "20", "50.0%", "90.0%"], ["site", "b", "70", "90.0%", "50.0%"]]
    assert [r[3].tag for r in sliced.rows] == ["weaker", ""]
    assert "for the 2 slices tested." in sliced.lead
    none = replace(report, tables={**report.tables, "slices": []})
    assert "Weak slices" not in [b.title for b in reporting_of("classify").page(none, {}).blocks]


def test_kinds_of_error_begin_with_the_most_costly() -> None:
    report = answers("detect", 60).report()
    kinds = {k: {"n": 3.0, "ap50_lost": 0.01} for k in ("missed", "background", "class", "both", "duplicate")}
    errors = {"n": 50, "kinds": {**kinds, "localisation": {"n": 7.4, "ap50_lost": 0.2}}}
    found = table(replace(report, tables={**report.tables, "errors": errors}), "Kinds of error")
    assert texts(found.rows)[0] == ["localisation", "right class, poorly placed (IoU 0.1 to 0.5)", "7", "20.0%"]
    assert found.rows[0][3].meter == 0.2
    assert "Both are of 50 of the images." in found.lead
    said = reporting_of("detect").summary(replace(report, tables={**report.tables, "errors": errors}))
    assert said.endswith(
        "The errors that cost most AP50, over all scores: right class, poorly placed (IoU 0.1 to 0.5)."
    )
    none = {"n": 60, "kinds": {k: {"n": 0.0, "ap50_lost": 0.005} for k in (*kinds, "localisation")}}
    assert "cost most" not in reporting_of("detect").summary(replace(report, tables={**report.tables, "errors": none}))


def test_a_detectors_summary_counts_objects_and_says_both_rates() -> None:
    said = reporting_of("detect").summary(reporting_of("detect").report(results_of(GOOD, BAD)))
    assert "on 2 images with 3 objects." in said
    assert "it finds 66.7% of them, and 66.7% of its detections are right." in said


def test_a_segmenters_summary_names_the_best_and_the_weakest_class_without_background() -> None:
    report = answers("segment").report()
    rows = [{**r, "iou": {**r["iou"], "value": v}} for r, v in zip(report.per_class, (0.99, 0.3, 0.6), strict=True)]
    said = reporting_of("segment").summary(replace(report, per_class=tuple(rows)))
    assert "Best at “dent” (60.0%), weakest at “crack” (30.0%)." in said
    alone = reporting_of("segment").summary(replace(report, per_class=tuple(rows[:2])))
    assert "weakest" not in alone


def test_misses_are_shown_the_largest_first_and_false_alarms_the_surest() -> None:
    data = results_of(GOOD, BAD).dataset
    report = reporting_of("detect").report(results_of(GOOD, BAD))
    large = {"label": "disc", "box": [0.0, 0, 30, 30]}
    alarm = {"label": "cross", "box": [1.0, 1, 5, 5], "score": 0.99, "kind": "background"}
    first, second = report.items
    more = replace(
        report, items=({**first, "missed": [*first["missed"], large], "false": [*first["false"], alarm]}, second)
    )

    class Nothing:
        task_name, labels = "detect", data.labels

        class preparation:
            @staticmethod
            def batch(images: Any) -> tuple[Any, Any]:
                from eyewright.imaging.preparation import Preparation

                return Preparation((40, 40)).batch(images)

        def raw(self, pixels: Any) -> dict[str, Any]:
            return {
                "boxes": np.zeros((len(pixels), 1, 4), np.float32),
                "scores": np.zeros((len(pixels), 1, 2), np.float32),
            }

    pictures = reporting_of("detect").pictures(more, data, lambda _: Nothing())
    assert [m["label"] for m in pictures["misses"]] == ["disc", "cross"]
    assert [(a["label"], a["score"]) for a in pictures["alarms"]] == [("cross", 0.99), ("disc", 0.9)]
    assert [w["text"] for w in pictures["worst"]] == ["1 object, 2 missed, 2 false alarms."]
    titles = [b.title for b in reporting_of("detect").page(more, pictures).blocks]
    assert titles[1:4] == ["Worst misses", "Worst false alarms", "Worst images"]


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_the_first_of_the_worst_images_that_has_a_prediction_is_explained(task: str) -> None:
    reporting, made = reporting_of(task), answers(task)
    report, asked = made.report(), []
    second = report.items[1]["id"]

    def explain(images: Any, ids: list[str]) -> list[Told]:
        asked.extend(ids)
        return [Told(i, "bolt", 0.75, "occlusion", True) for i in ids if i == second]

    pictures = reporting.explained(report, made.dataset, {"worst": ()}, explain)
    assert asked == [i["id"] for i in report.items[:2]]
    (scene,) = next(b for b in reporting.page(report, pictures).blocks if b.title == "Explanation").rows
    assert [s.text for s in scene.beside[0]] == ["bolt", ", 75.0%, in ", second]
    assert scene.figures[0][0].startswith("data:image/")
    asked.clear()
    assert reporting.explained(report, made.dataset, {"worst": ()}, lambda images, ids: []) == {"worst": ()}


def marked() -> Dataset:
    objects = Objects(np.array([[10.0, 20, 30, 60], [0, 0, 200, 100]]), np.array([0, 1]), np.zeros(2, bool))
    none = Objects(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    tree = ArrayTree(Path("."), {"x": np.zeros((2, 100, 200, 3), np.uint8)})
    return Dataset(
        tree, (Sample("x/000000", objects), Sample("x/000001", none)), LabelSpace(("a", "b")), "drawn", "detect"
    )


def test_the_doctor_draws_boxes_where_they_lie_in_the_small_picture() -> None:
    audit, data = reporting_of("detect").audit, marked()
    small = np.zeros((50, 100, 3), np.uint8)
    one = replace(data, samples=(replace(data.samples[0], target=data.samples[0].target.chosen(np.array([0]))),))
    drawn = audit.drawn(one, 0, (100, 200), small)
    rows, columns = np.nonzero(drawn.any(2))
    assert (abs(rows.max() - 30) <= 2, abs(columns.min() - 5) <= 2, abs(columns.max() - 15) <= 2) == (True, True, True)
    assert not small.any()
    right = Objects(np.array([[120.0, 10, 160, 60], [90, 50, 60, 20]]), np.array([0, 1]), np.zeros(2, bool))
    columns = np.nonzero(audit.drawn(one.with_samples([Sample("x/000000", right)]), 0, (100, 200), small).any(2))[1]
    # A box whose corners are exchanged is not drawn.
    assert columns.min() >= 55
    assert audit.caption(data, 0) == ""
    assert list(audit.tiles(data)) == [("objects", "2", "1.0 per image")]


def test_the_doctor_names_labels_and_paints_masks() -> None:
    classes = answers("classify").dataset
    assert reporting_of("classify").audit.caption(classes, 0) == classes.labels.names[classes.samples[0].target]
    small = np.zeros((4, 4, 3), np.uint8)
    assert reporting_of("classify").audit.drawn(classes, 0, (4, 4), small) is small

    class Painted(Dataset):
        def mask(self, index: int, size_hw: tuple[int, int]) -> np.ndarray:
            mask = np.zeros(size_hw, np.uint8)
            mask[:, size_hw[1] // 2 :] = 1
            return mask

    data = answers("segment").dataset
    painted = Painted(**{k: getattr(data, k) for k in data.__dataclass_fields__})
    drawn = reporting_of("segment").audit.drawn(painted, 0, (80, 80), np.zeros((40, 40, 3), np.uint8))
    assert drawn.shape == (40, 40, 3)
    assert drawn[20, 30].any()
    assert drawn[20, 5].tolist() != drawn[20, 35].tolist()


def test_the_doctor_charts_how_many_and_how_large_objects_are(tmp_path: Path) -> None:
    from types import SimpleNamespace

    data = marked()
    records = [SimpleNamespace(info=SimpleNamespace(size_hw=(100, 200)))] * 2
    charts = list(reporting_of("detect").audit.charts(data, SimpleNamespace(records=records)))  # type: ignore[arg-type]
    assert next((title, note) for title, note, _ in charts) == ("Objects per image", "median 1")
    assert charts[1][0] == "Size of objects"
    # 20 x 40 of 20,000 pixels is a fifth of a side, 200 x 100 a whole one.
    assert "20.0 – " in charts[1][2]
    assert "– 100" in charts[1][2]
    # Bins grow by a factor, so that small objects are told apart.
    assert "23.5" in charts[1][2]
