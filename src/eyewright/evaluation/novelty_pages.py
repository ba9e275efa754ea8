"""How new the test set is, and how validation and test differ, as parts of a page and of Markdown."""

__all__ = ["novelty_lines", "novelty_view"]

from collections.abc import Mapping
from typing import Any

from eyewright.core.report import Report
from eyewright.core.task import metric_named
from eyewright.evaluation.charts import Band, Series, line_chart
from eyewright.evaluation.novelty import followed_metric
from eyewright.evaluation.units import is_rate, show_interval, show_number

_TITLE = "How new the test images are"


def novelty_view(report: Report) -> dict[str, Any] | None:
    """Return what the page shows of novelty: a note, rows of a table, a chart; None where nothing was measured."""
    table = report.tables.get("novelty")
    if not table:
        return None
    if "thirds" not in table:
        return {"title": _TITLE, "reason": table["reason"]}
    followed, unit = followed_metric(report.task), table.get("unit", "")
    key, name = followed.name, f"{followed.title} [{unit}]" if unit else followed.title
    return {
        "title": _TITLE,
        "reason": "",
        "note": _note(table),
        "name": name,
        "rows": _rows(table, key),
        "rate": is_rate(key),
        "chart": _chart(table, key, name),
    }


def novelty_lines(report: Report) -> list[str]:
    """Return the same as lines of Markdown; none where nothing was measured."""
    view = novelty_view(report)
    if view is None:
        return []
    lines = ["", f"## {view['title']}", ""]
    if view["reason"]:
        return [*lines, f"Not measured: {view['reason']}."]
    lines += [view["note"], "", f"| images | n | distance | {view['name']} [95% interval] |", "|---|---|---|---|"]
    lines += [f"| {r['part']} | {r['n']} | {r['distance']} | {r['value']} {r['interval']} |" for r in view["rows"]]
    curve = report.tables["novelty"]["curve"]
    if curve:
        key = followed_metric(report.task).name
        lines += ["", f"| distance | {view['name']}, smoothed [95% band] |", "|---|---|"]
        lines += [
            f"| {p['distance']:.3f} | {_shown(key, p)} {show_interval(key, p['low'], p['high'])} |" for p in curve[::2]
        ]
    return lines


def _shown(key: str, row: Mapping[str, Any]) -> str:
    return show_number(key, row["value"], low=row["low"], high=row["high"])


def _note(table: Mapping[str, Any]) -> str:
    images = f"{table['n']:,} images that were not trained on"
    if table["validation"]:
        tested = table["n"] - table["validation"]
        images += f" ({tested:,} test, {table['validation']:,} validation)"
    text = (
        f"Measured on {images}. The distance is that to the nearest training image, in a fixed description of the "
        "picture that no training has changed. A copy or sibling is an image whose nearest training image is less than "
        "half as far as the tenth nearest."
    )
    return f"{text} {table['note']}".strip()


def _rows(table: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = [(r["part"], r, f"{r['from']:.3f} to {r['to']:.3f}") for r in table["thirds"]]
    for name, part in (
        ("with a near copy or sibling in training", table["with_sibling"]),
        ("without a near copy or sibling", table["without_sibling"]),
    ):
        if part is not None:
            rows.append((name, part, ""))
    return [
        {
            "part": name,
            "n": f"{row['n']:,}" + (f" in {row['groups']:,} groups" if "groups" in row else ""),
            "distance": distance,
            "value": _shown(key, row),
            "interval": show_interval(key, row["low"], row["high"]),
            "raw": row,
        }
        for name, row, distance in rows
    ]


def _chart(table: Mapping[str, Any], key: str, name: str) -> str:
    curve = [p for p in table["curve"] if p["value"] is not None]
    if len(curve) < 3:
        return ""
    band = [(p["distance"], p["low"], p["high"]) for p in curve if p["low"] is not None and p["high"] is not None]
    return line_chart(
        [Series([(p["distance"], p["value"]) for p in curve], name, "s0")],
        bands=[Band(band, "s0")] if band else [],
        title=f"{name} over the distance to the nearest training image",
        x_label="distance to the nearest training image",
        y_label=name,
        y_range=(0.0, 1.02) if metric_named(key).bounds == (0.0, 1.0) else None,
        y_percent=is_rate(key),
        width=460,
        height=280,
    )
