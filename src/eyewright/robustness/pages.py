"""How robust a model is, as a page and as JSON: the curve, the checks, the images that fell first, the corruptions."""

__all__ = ["render_page", "write_pages"]

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError, plain_reason
from eyewright.core.files import write_json, write_page
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.core.report import Metric
from eyewright.core.task import metric_named, task_of
from eyewright.evaluation.charts import Band, Series, line_chart
from eyewright.evaluation.finishing import finish_page
from eyewright.evaluation.pages import style_sheet, template
from eyewright.evaluation.units import is_rate, show_metric
from eyewright.imaging import data_uri, shrink
from eyewright.robustness.attacks import ATTACKS
from eyewright.robustness.checks import NOT_APPLIED
from eyewright.robustness.corruptions import LEVELS
from eyewright.robustness.report import RobustnessReport
from eyewright.robustness.threat import parse_eps, show_eps

PAGE, DATA = "robustness.html", "robustness.json"
_SIDE = 320
_MOST = 64 * 2**20
_LOUDER = 10
_EXTRA = {
    "spatial": ("rotated and shifted", "the worst of 45 rotations of up to 30° and shifts of up to 10%"),
    "patch": ("patch", "one trained patch of 5% of the image, at the worst of eight places"),
}
_STATUS = {"pass": "passed", "warn": "warning", "fail": "failed", "none": "does not apply"}


def write_pages(folder: Path, report: RobustnessReport, *, title: str) -> dict[str, Path]:
    """Write `robustness.html` and `robustness.json` to a folder; return their paths.

    Interval bounds of the same model in the folder (`certificate.json`) are drawn below the attacks.
    """
    paths = {"report": folder / PAGE, "report_json": folder / DATA}
    write_page(paths["report"], render_page(report, title=title, certified=certified_in(folder, report)))
    write_json(paths["report_json"], report.to_json())
    return paths


def certified_in(folder: Path, report: RobustnessReport) -> dict[float, float]:
    """Return the certified accuracies of the same model that lie in a folder, eps → accuracy; smoothing certifies
    another model, the smoothed one, and is left out."""
    place = folder / "certificate.json"
    if report.plan.norm != "linf" or not place.is_file():
        return {}
    try:
        found = json.loads(read_regular(place, most=_MOST, error=InputError, fix="certify the model again"))
        if found["model"].get("digest") != report.model.get("digest"):
            return {}
        return {parse_eps(name)[0]: float(m["value"]) for name, m in found["interval_bounds"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{quoted(place)} is damaged: {plain_reason(error)}", fix="certify the model again") from error


def render_page(
    report: RobustnessReport, *, title: str, certified: Mapping[float, float] = MappingProxyType({})
) -> str:
    """Return the report as one HTML file that needs nothing else; `certified` is drawn as a lower curve."""
    level = report.headline
    page: str = template("robustness.html.j2", Path(__file__).parent).render(
        title=title,
        style=style_sheet(),
        noun=task_of(report.task).words.noun,
        report=report,
        sentence=report.sentence(),
        tiles=_tiles(report),
        chart=_chart(report, certified),
        keys=[
            ("clean images", "s2"),
            ("after the attack" if report.one_attack else "after all attacks", "s0"),
            *([] if report.one_attack else [("the same in 8 bits", "s1")]),
            *([("certified", "s3")] if certified else []),
        ],
        levels=[_row(report, lv) for lv in report.levels],
        attacks=[(n, ATTACKS[n].about) for n in report.plan.attacks],
        checks=[(c.name, c.status, _STATUS[c.status], c.said.removeprefix(NOT_APPLIED)) for c in report.checks],
        passed=sum(c.status == "pass" for c in report.checks),
        applied=sum(c.status != "none" for c in report.checks),
        fallen=[_shot(f) for f in report.fallen],
        corrupted=_heat(report),
        facts=_facts(report),
        eps=level.shown,
        metric=metric_named(report.metric).title,
    )
    return finish_page(page)


def _tiles(report: RobustnessReport) -> list[tuple[str, str, Metric, str]]:
    level, own = report.headline, report.metric
    title = metric_named(own).title
    tiles = [
        (f"clean {title}", "without an attack", report.clean, own),
        (f"robust {title}", f"{report.plan.norm}, eps {level.shown}, {report.verdict}", level.robust, own),
    ]
    if not report.one_attack:
        tiles.append(("in 8 bits", "the attacker must hand in a file of whole 8-bit values", level.eight_bit, own))
    for name, metric in report.extra.items():
        shown, about = _EXTRA[name]
        tiles.append((shown, about, metric, "accuracy"))
    if report.corrupted is not None:
        about = "mean over 15 corruptions at five levels"
        tiles.append(("error under corruptions", about, report.corrupted.mean_error, "accuracy"))
    return tiles


def _chart(report: RobustnessReport, certified: Mapping[float, float]) -> str:
    known = [lv for lv in report.levels if lv.robust.value is not None]
    clean = report.clean.value or 0.0
    zero = [(0.0, clean)]

    def points(metrics: list[Metric]) -> list[tuple[float, float]]:
        return zero + [(lv.eps, m.value or 0.0) for lv, m in zip(known, metrics, strict=True)]

    def band(metrics: list[Metric]) -> list[tuple[float, float, float]]:
        start = (0.0, report.clean.low or 0.0, report.clean.high or 1.0)
        return [start] + [
            (lv.eps, m.low or 0.0, 1.0 if m.high is None else m.high) for lv, m in zip(known, metrics, strict=True)
        ]

    robust, grid = [lv.robust for lv in known], [lv.eight_bit for lv in known]
    last = max([lv.eps for lv in known] + list(certified))
    return line_chart(
        [
            Series([(0.0, clean), (last, clean)], "clean images", "s2"),
            *([] if report.one_attack else [Series(points(grid), "in 8 bits", "s1", dots=True)]),
            Series(points(robust), "after all attacks", "s0", dots=True),
            *([Series(sorted(certified.items()), "certified", "s3", dots=True)] if certified else []),
        ],
        bands=[Band(band(robust), "s0")],
        title=f"{metric_named(report.metric).title} under attack",
        x_label=f"eps ({report.plan.norm}, pixels from 0 to 1)",
        y_label=metric_named(report.metric).title,
        y_range=(0.0, 1.0) if is_rate(report.metric) else None,
        y_percent=is_rate(report.metric),
        width=480,
        height=280,
    )


def _row(report: RobustnessReport, level: Any) -> dict[str, Any]:
    return {
        "eps": level.shown,
        "robust": show_metric(report.metric, level.robust).rpartition(" n=")[0],
        "grid": show_metric(report.metric, level.eight_bit).rpartition(" n=")[0],
        "fell": [level.fell_to.get(n, 0) for n in report.plan.attacks],
        "own": level is report.headline,
    }


def _shot(fallen: Any) -> dict[str, str]:
    changed, clean = fallen.changed.astype(np.int16), fallen.clean.astype(np.int16)
    difference = np.clip(128 + _LOUDER * (changed - clean), 0, 255).astype(np.uint8)
    pictures = [data_uri(_large(p), format="PNG") for p in (fallen.clean, difference, fallen.changed)]
    return {
        "clean": pictures[0],
        "difference": pictures[1],
        "changed": pictures[2],
        "label": fallen.label,
        "answer": fallen.answer,
        "eps": show_eps(fallen.eps),
        "attack": fallen.attack,
        "id": fallen.id,
    }


def _large(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a small picture with every pixel as a square, so that single pixels are seen, uint8 (h, w, 3)."""
    colour = image if image.shape[-1] == 3 else np.repeat(image, 3, -1)
    return shrink(np.ascontiguousarray(colour), _SIDE)


def _heat(report: RobustnessReport) -> dict[str, Any] | None:
    if report.corrupted is None:
        return None
    rows = [
        {"name": kind.replace("_", " "), "cells": [(f"{v:.0%}", round(v, 3)) for v in values]}
        for kind, values in report.corrupted.accuracy.items()
    ]
    return {"levels": LEVELS, "rows": rows, "mean": show_metric("accuracy", report.corrupted.mean_error)}


def _facts(report: RobustnessReport) -> list[tuple[str, str]]:
    plan = report.plan
    access = {"gradients": "weights and gradients", "scores": "scores only"}[report.access]
    model = report.model
    return [
        ("what the attacker has", access),
        ("threat", f"{plan.norm}, eps {', '.join(show_eps(e) for e in plan.eps)}"),
        ("attacks", ", ".join(plan.attacks)),
        ("steps of gradient attacks", f"{plan.steps}, from {plan.restarts} start{'s' * (plan.restarts != 1)}"),
        *([] if report.one_attack else [("queries of the others", f"{plan.queries:,} an image")]),
        ("seed", str(plan.seed)),
        ("data", report.data),
        ("images", f"{report.n:,} of {report.asked:,}"),
        *([("model", f"{model.get('kind')} {str(model.get('digest', ''))[:16]}")] if model else []),
        ("time", f"{report.seconds:.0f} s"),
    ]
