"""What a search found, as a page and as JSON: the table, the plot, the layers, the images whose prediction changed."""

__all__ = ["write_pages"]

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eyewright.bundle.load import Bundle
from eyewright.compression.budget import Budget
from eyewright.compression.measuring import Judged
from eyewright.compression.rows import Row
from eyewright.compression.search import SearchResult
from eyewright.compression.trials import Parent
from eyewright.core.files import write_json, write_text
from eyewright.core.task import metric_named, task_of
from eyewright.evaluation.changes import change_unit, changed_by, is_amount, say_change
from eyewright.evaluation.charts import Mark, bar_chart, scatter_chart
from eyewright.evaluation.finishing import finish_page
from eyewright.evaluation.pages import style_sheet, template
from eyewright.evaluation.units import show_number
from eyewright.imaging import data_uri, shrink

_PICTURES = 24
_LAYERS = 24


def write_pages(
    folder: Path,
    parent: Parent,
    budget: Budget,
    found: SearchResult,
    judged: Judged | None,
    bundle: Bundle | None,
    *,
    process: Mapping[str, Mapping[str, float | None]] | None = None,
) -> Path:
    """Write `report.html` and `report.json` into `folder`; return the page's path.

    `judged` is the winner on held-out images; without one the page shows the closest candidates. `process` holds
    start_s and memory_bytes of a whole process "before" and "after".
    """
    shown = found.winner
    content = {
        "parent": {"name": parent.bundle.manifest.name, "digest": parent.digest},
        "budget": budget.to_json(),
        "winner": None if shown is None else shown.name,
        "seconds": round(found.seconds, 1),
        "rows": [asdict(r) for r in found.rows],
        "pareto": [r.name for r in found.front],
        "sensitivity": found.sensitivity,
        "changed": [] if judged is None else [dict(c) for c in judged.changed],
        "process": dict(process or {}),
    }
    write_json(folder / "report.json", content)
    main = task_of(parent.bundle.task_name).main_metric
    page = template("compression.html.j2", Path(__file__).parent).render(
        title=f"{parent.bundle.manifest.name}, compressed",
        style=style_sheet(),
        lead=_lead(found, budget, main),
        ok=shown is not None,
        tiles=[] if shown is None or judged is None else _tiles(parent, shown, judged, budget, process),
        plot=_plot(found, budget, main),
        main=main,
        rows=[_table_row(r, found, budget) for r in found.rows],
        bounds=[", ".join(t for t in (n, change_unit(n, budget.units.get(n, ""))) if t) for n in budget.max_drop],
        drops=[] if judged is None else _drop_rows(judged),
        n=0 if judged is None else judged.n,
        split="test" if "test" in parent.data.splits else "validation",
        layers=_layer_charts(found.sensitivity, task_of(parent.bundle.task_name).chosen_by),
        changed=[] if judged is None else _changed(parent, judged),
        n_changed=0 if judged is None else len(judged.changed),
        bundle="" if bundle is None else bundle.folder.name,
    )
    write_text(folder / "report.html", finish_page(page))
    return folder / "report.html"


def _lead(found: SearchResult, budget: Budget, main: str) -> str:
    asked = ", ".join(
        f"{n} may rise by {budget.shown(n)}"
        if is_amount(n)
        else f"{n} may fall by {100 * v:g} point{'s' * (v != 0.01)}"
        for n, v in budget.max_drop.items()
    )
    if budget.min_speedup is not None:
        asked += f", at least {budget.min_speedup:g} times as fast"
    if budget.max_bytes is not None:
        asked += f", at most {budget.max_bytes:,} bytes"
    tried = sum(r.state == "measured" for r in found.rows)
    if found.winner is None:
        return f"Budget: {asked}. None of the {tried} measured configurations fits it; the plot shows the nearest."
    how = found.winner.how
    return f"Budget: {asked}. {how[:1].upper()}{how[1:]}: chosen from {tried} measured configurations."


def _tiles(
    parent: Parent, row: Row, judged: Judged, budget: Budget, process: Mapping[str, Mapping[str, float | None]] | None
) -> list[dict[str, str]]:
    before = (parent.bundle.folder / parent.bundle.manifest.model).stat().st_size
    speed = row.speedup
    tiles = [
        {"name": "size", "value": f"{before / row.bytes:.1f}× smaller", "about": f"{before:,} → {row.bytes:,} bytes"},
        {
            "name": "speed, one image",
            "value": f"{speed['value']:.2f}× as fast",
            "about": f"{speed['before_ms']:.2f} → {speed['after_ms']:.2f} ms [{speed['low']:.2f}, {speed['high']:.2f}]",
        },
    ]
    if process:
        first, second = (process[k]["memory_bytes"] for k in ("before", "after"))
        if first is not None and second is not None:
            about = f"of a whole process; {first / 1e6:.0f} MB before"
            tiles.append({"name": "memory", "value": f"{second / 1e6:.0f} MB", "about": about})
    for name in budget.max_drop:
        drop, metric = judged.drops[name], judged.metrics[name]
        unit = change_unit(name, metric.unit)
        about = f"change {say_change(name, drop.value or 0.0, drop.low, drop.high, unit=unit)}"
        value = show_number(name, metric.value, metric.unit)
        tiles.append({"name": metric_named(name).title, "value": value, "about": about})
    changed = f"{len(judged.changed)} of {judged.n}"
    return [*tiles, {"name": "predictions changed", "value": changed, "about": "see below"}]


def _plot(found: SearchResult, budget: Budget, main: str) -> str:
    measured = [r for r in found.rows if r.state == "measured"]
    if not measured:
        return ""
    name = next(iter(budget.max_drop), main)
    marks = [Mark(1.0, 0.0, "the model", "s2")]
    for row in measured:
        drop = row.drops[name]
        style = "s1" if found.winner is not None and row.name == found.winner.name else "s0"
        if drop["value"] is None:
            continue
        spread = None if drop["low"] is None else (changed_by(name, drop["high"]), changed_by(name, drop["low"]))
        marks.append(Mark(row.speedup["value"], changed_by(name, drop["value"]), row.name, style, spread))
    # Of a fraction of the model's own error it is not a level that all ways are beside.
    known = name not in budget.relative
    guides: list[tuple[str, float]] = [("y", changed_by(name, budget.max_drop.get(name, 0.0)))] if known else []
    if budget.min_speedup is not None:
        guides.append(("x", budget.min_speedup))
    return scatter_chart(
        marks,
        title="cost and gain of each configuration",
        x_label="times as fast as the model",
        y_label=", ".join(t for t in (f"change of {name}", change_unit(name, budget.units.get(name, ""))) if t),
        guides=guides,
    )


def _table_row(row: Row, found: SearchResult, budget: Budget) -> dict[str, Any]:
    speed = row.speedup

    def drop(name: str, values: Mapping[str, Any]) -> str:
        return say_change(name, values["value"], values["low"], values["high"]) if values else "–"

    return {
        "name": row.name,
        "how": row.how,
        "won": found.winner is not None and row.name == found.winner.name,
        "front": row in found.front,
        "bytes": f"{row.bytes:,}" if row.bytes else "–",
        "speed": f"{speed['value']:.2f} [{speed['low']:.2f}, {speed['high']:.2f}]" if speed else "–",
        "ms": f"{speed['after_ms']:.2f}" if speed else "–",
        "drops": [drop(name, row.drops.get(name, {})) for name in budget.max_drop],
        "changed": str(row.changed) if row.state == "measured" else "–",
        "said": "fits" if row.fits else "; ".join(row.breaks) if row.state == "measured" else row.reason,
        "state": row.state,
    }


def _drop_rows(judged: Judged) -> list[dict[str, str]]:
    rows = []
    for name, after in judged.metrics.items():
        drop = judged.drops[name]
        if after.value is None or drop.value is None:
            continue
        sign = 1.0 if metric_named(name).higher_is_better else -1.0
        rows.append(
            {
                "name": metric_named(name).title,
                "before": show_number(name, after.value + sign * drop.value, after.unit),
                "after": show_number(name, after.value, after.unit),
                "change": say_change(
                    name, drop.value, drop.low, drop.high, unit=change_unit(name, after.unit), digits=2
                ),
            }
        )
    return rows


def _layer_charts(sensitivity: Mapping[str, Any], main: str) -> list[tuple[str, str, str]]:
    charts = []
    pruned = sensitivity.get("prune") or []
    if pruned:
        rows = [(r["layer"], 100 * (r["before"] - r["after"])) for r in pruned]
        rows = sorted(rows, key=lambda r: -r[1])[:_LAYERS]
        about = f"Points of {main} lost when a layer alone loses half of its channels, without fine-tuning."
        charts.append(("Channels", about, bar_chart(rows, title="sensitivity to pruning by layer")))
    for name, ranked in (sensitivity.get("int8") or {}).items():
        if not ranked:
            continue
        rows = [(layer, math.sqrt(value)) for layer, value in ranked[:_LAYERS]]
        about = f"Root mean square change of the outputs when a layer of {name} alone is rounded to 8 bits."
        charts.append(("8 bits", about, bar_chart(rows, title="sensitivity to rounding by layer")))
    return charts


def _changed(parent: Parent, judged: Judged) -> list[dict[str, str]]:
    part = parent.data.test if "test" in parent.data.splits else parent.data.val
    at = {s.id: i for i, s in enumerate(part.samples)}
    shown = []
    for row in judged.changed[:_PICTURES]:
        image = data_uri(shrink(part.image(at[row["id"]]), 320))
        said = [row[k] if isinstance(row[k], str) else _counts(row[k]) for k in ("before", "after")]
        shown.append({"id": row["id"], "src": image, "before": said[0], "after": said[1], "true": row.get("true", "")})
    return shown


def _counts(answers: Mapping[str, float]) -> str:
    if not answers:
        return "nothing"
    return ", ".join(f"{n} {v:g}" if v >= 1 else f"{n} {v:.1%}" for n, v in answers.items())
