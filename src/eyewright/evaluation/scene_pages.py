"""The report on boxes and masks as a page: misses, false alarms, truth beside prediction."""

__all__ = ["render_scenes", "summarise_scenes"]

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from eyewright.core.report import Report
from eyewright.core.task import task_of
from eyewright.data.dataset import BACKGROUND
from eyewright.evaluation.charts import Series, confusion_svg, line_chart
from eyewright.evaluation.pages import caveats, origins, percent_of, style_sheet, template

_KINDS = (
    ("missed", "objects with no detection near them"),
    ("background", "detections where no object is marked"),
    ("localisation", "right class, poorly placed (IoU 0.1 to 0.5)"),
    ("class", "well placed, wrong class"),
    ("both", "poorly placed and wrong class"),
    ("duplicate", "a second detection of one object"),
)
_ROWS = 200


def summarise_scenes(report: Report) -> str:
    """Say in a few sentences how good the model is, what goes wrong most, and what the number does not say."""
    said = _summarise_masks(report) if report.task == "segment" else _summarise_objects(report)
    return " ".join(t for t in (said, *caveats(report)) if t)


def _summarise_masks(report: Report) -> str:
    text = f"Mean IoU {percent_of(report.metrics['miou'])} on {report.n:,} images."
    known = [r for r in report.per_class if r["iou"]["value"] is not None and r["label"].lower() not in BACKGROUND]
    if len(known) > 1:
        best, worst = (f(known, key=lambda r: r["iou"]["value"]) for f in (max, min))
        text += (
            f" Best at “{best['label']}” ({best['iou']['value']:.1%}), "
            f"weakest at “{worst['label']}” ({worst['iou']['value']:.1%})."
        )
    return text


def _summarise_objects(report: Report) -> str:
    total = sum(i["objects"] for i in report.items)
    text = f"AP50 {percent_of(report.metrics['ap50'])} on {report.n:,} images with {total:,} objects."
    f1, recall, precision = (report.metrics[k].value for k in ("f1", "recall", "precision"))
    if f1 is not None and recall is not None and precision is not None:
        text += (
            f" At its operating points it finds {recall:.1%} of them, and {precision:.1%} of its detections are right."
        )
    kinds = report.tables["errors"]["kinds"]
    most = max(kinds, key=lambda k: kinds[k]["ap50_lost"])
    if kinds[most]["ap50_lost"] > 0.005:
        text += f" The most costly errors: {dict(_KINDS)[most]}."
    return text


def render_scenes(report: Report, *, title: str, pictures: Mapping[str, Any]) -> str:
    """Give the report on boxes or masks as one HTML file that needs nothing else.

    `pictures` holds "worst" (rows with id, text, truth and found as data addresses), "misses" and "alarms".
    """
    task = task_of(report.task)
    masks = report.task == "segment"
    confusion = np.array(report.tables["confusion"])
    names = report.labels if masks else (*report.labels, "background")
    errors = report.tables.get("errors")
    page: str = template("scenes.html.j2").render(
        style=style_sheet(),
        title=title,
        report=report,
        kind=task.words.noun,
        summary=summarise_scenes(report),
        tiles=[
            (m.title, m.hint, report.metrics[m.name], m.name)
            for m in task.metrics
            if m.tile and m.name in report.metrics
        ],
        errors=None if errors is None else _error_rows(errors),
        worst=pictures.get("worst", ()),
        misses=pictures.get("misses", ()),
        alarms=pictures.get("alarms", ()),
        explained=pictures.get("explained", ()),
        per_class=report.per_class[:_ROWS],
        n_classes=len(report.per_class),
        matrix=confusion_svg(confusion, names, unit="pixels" if masks else "objects"),
        matrix_note="Pixels: rows are the true class, columns the predicted one."
        if masks
        else "Objects at the operating points: rows are the true class, columns the predicted one. “background” as "
        "true class is a false alarm, as predicted class a miss.",
        slices=report.tables.get("slices") or (),
        curves=_curves(report),
        **origins(report),
    )
    return page


def _error_rows(errors: Mapping[str, Any]) -> dict[str, Any]:
    rows = [(k, meaning, round(errors["kinds"][k]["n"]), errors["kinds"][k]["ap50_lost"]) for k, meaning in _KINDS]
    return {"n": errors["n"], "rows": sorted(rows, key=lambda r: -r[3])}


def _curves(report: Report) -> list[tuple[str, str, str]]:
    """Give (title, note, svg) for precision over recall, and F1 over the score."""
    curves = report.tables.get("curves") or {}
    if not curves:
        return []
    rank = sorted(curves, key=lambda k: report.per_class[int(k)]["ap50"]["value"] or 0.0)
    low = rank[:5]
    key = ", ".join(f'<span class="key s{i}">{escape(report.labels[int(k)])}</span>' for i, k in enumerate(low))
    result = []
    for kind, name, x, y in (
        ("pr", "Precision and recall", "recall", "precision"),
        ("f1", "F1 over the score threshold", "score threshold", "F1"),
    ):
        faint = [Series(_pairs(curves[k][kind]), report.labels[int(k)], "faint") for k in rank[5:60]]
        lines = [Series(_pairs(curves[k][kind]), report.labels[int(k)], f"s{i}") for i, k in enumerate(low)]
        svg = line_chart(
            faint + lines,
            title=name,
            x_label=x,
            y_label=y,
            x_range=(0.0, 1.0),
            y_range=(0.0, 1.02),
            x_percent=kind == "pr",
            y_percent=True,
        )
        result.append((name, f"at an IoU of 0.5; weakest classes: {key}", svg))
    return result


def _pairs(points: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(points)]
