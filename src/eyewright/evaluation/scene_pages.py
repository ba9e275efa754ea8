"""The report on boxes and masks as a page: what was missed, what was found in vain, truth beside answer."""

__all__ = ["render_scenes", "summarise_scenes"]

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from eyewright.core.report import Metric, Report
from eyewright.data.dataset import BACKGROUND
from eyewright.evaluation.charts import Series, confusion_svg, line_chart
from eyewright.evaluation.pages import origins, style_sheet, template

_TILES = {
    "detect": (
        ("ap50", "AP50", "average precision at an overlap of 0.5"),
        ("ap", "AP50:95", "the same, mean over overlaps from 0.5 to 0.95"),
        ("recall", "recall", "share of the objects that a person is shown"),
        ("precision", "precision", "share of what is shown that is right"),
        ("f1", "F1", "both in one, at the operating points"),
        ("ar_100", "AR", "recall whatever the score, mean over overlaps"),
    ),
    "segment": (
        ("miou", "mean IoU", "overlap, mean over the classes but the background"),
        ("dice", "Dice", "the same as F1 of pixels"),
        ("boundary_f", "boundary F", "how well edges are met"),
        ("found", "found", "marks of which a tenth or more is met, of their class"),
        ("foreground_iou", "IoU, any class", "what is marked against what is not"),
        ("false_alarms", "false alarms", "clean images in which something was seen"),
    ),
}
_KINDS = (
    ("missed", "objects that no answer is near to"),
    ("background", "answers where nothing is, or where something is not marked"),
    ("localisation", "the right class, badly placed (overlap 0.1 to 0.5)"),
    ("class", "well placed, of the wrong class"),
    ("both", "badly placed and of the wrong class"),
    ("duplicate", "a second answer for one object"),
)
_ROWS = 200


def summarise_scenes(report: Report) -> str:
    """Say in a sentence or two how good the model is and what goes wrong most."""
    if report.task == "segment":
        text = f"Mean IoU {_shown(report.metrics['miou'])} on {report.n:,} images."
        known = [r for r in report.per_class if r["iou"]["value"] is not None and r["label"].lower() not in BACKGROUND]
        if len(known) > 1:
            best, worst = (f(known, key=lambda r: r["iou"]["value"]) for f in (max, min))
            text += (
                f" Best at “{best['label']}” ({best['iou']['value']:.2f}), "
                f"weakest at “{worst['label']}” ({worst['iou']['value']:.2f})."
            )
        return text
    total = sum(i["objects"] for i in report.items)
    text = f"AP50 {_shown(report.metrics['ap50'])} on {report.n:,} images with {total:,} objects."
    f1, recall, precision = (report.metrics[k].value for k in ("f1", "recall", "precision"))
    if f1 is not None and recall is not None and precision is not None:
        text += f" At its operating points it finds {recall:.0%} of them, and {precision:.0%} of its answers are right."
    kinds = report.tables["errors"]["kinds"]
    most = max(kinds, key=lambda k: kinds[k]["ap50_lost"])
    if kinds[most]["ap50_lost"] > 0.005:
        text += f" What costs most: {dict(_KINDS)[most]}."
    return text


def render_scenes(report: Report, *, title: str, pictures: Mapping[str, Any]) -> str:
    """Give the report on boxes or masks as one HTML file that needs nothing else.

    `pictures` holds "worst" (rows with id, text, truth and found as data addresses), "misses" and "alarms".
    """
    tiles = _TILES["segment" if report.task == "segment" else "detect"]
    masks = report.task == "segment"
    confusion = np.array(report.tables["confusion"])
    names = report.labels if masks else (*report.labels, "background")
    errors = report.tables.get("errors")
    page: str = template("scenes.html.j2").render(
        style=style_sheet(),
        title=title,
        report=report,
        kind={"detect": "detection", "instance": "instance segmentation", "segment": "segmentation"}[report.task],
        summary=summarise_scenes(report),
        tiles=[(label, hint, report.metrics[key], key) for key, label, hint in tiles if key in report.metrics],
        errors=None if errors is None else _error_rows(errors),
        worst=pictures.get("worst", ()),
        misses=pictures.get("misses", ()),
        alarms=pictures.get("alarms", ()),
        explained=pictures.get("explained", ()),
        per_class=report.per_class[:_ROWS],
        n_classes=len(report.per_class),
        matrix=confusion_svg(confusion, names),
        matrix_note="Pixels: rows are the truth, columns what was found."
        if masks
        else "Objects at the operating points: rows are the truth, columns the answer. “background” as truth is a "
        "false alarm, as answer a miss.",
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
        ("f1", "F1 and the score it is cut at", "score", "F1"),
    ):
        faint = [Series(_pairs(curves[k][kind]), report.labels[int(k)], "faint") for k in rank[5:60]]
        lines = [Series(_pairs(curves[k][kind]), report.labels[int(k)], f"s{i}") for i, k in enumerate(low)]
        svg = line_chart(faint + lines, title=name, x_label=x, y_label=y, x_range=(0.0, 1.0), y_range=(0.0, 1.02))
        result.append((name, f"at an overlap of 0.5; weakest classes: {key}", svg))
    return result


def _pairs(points: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(points)]


def _shown(metric: Metric) -> str:
    if metric.value is None:
        return "not defined"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3f}"
    return f"{metric.value:.3f} (95 % interval {metric.low:.3f} to {metric.high:.3f})"
