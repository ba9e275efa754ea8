"""How far single answers can be trusted, as a part of a page, of Markdown and of the terminal."""

__all__ = ["say_trust", "trust_lines", "trust_view"]

from collections.abc import Mapping, Sequence
from typing import Any

from eyewright.core.report import Metric, Report

_TITLE = "How far single predictions can be trusted"


def say_trust(report: Report) -> list[str]:
    """Return sentences on conformal sets, margins of boxes and unfamiliar images; none where they were not measured."""
    table, said = report.tables.get("trust") or {}, []
    sets, other = table.get("sets"), table.get("unfamiliar")
    if sets:
        of = _behind(sets)
        each = ", separately for each class" if sets["by"] == "class" else ""
        said.append(
            f"Prediction sets that should contain the true label in {sets['coverage']:.1%} of cases{each} ({of}) "
            f"contain it in {_rate(report.metrics['set_coverage'])}. They have {sets['mean_size']:.2f} labels on "
            f"average; {sets['single']:.1%} of them have a single one."
        )
        few = [row["label"] for row in sets["classes"] if row["open"]]
        if few:
            said.append(f"{_classes(few)} had too few validation images of their own: sets always contain them.")
    said += _say_boxes(table.get("boxes") or {}, report.metrics)
    if other:
        m = report.metrics
        how = "by its appearance and the net's features" if other["features"] else "by its appearance alone"
        said.append(
            f"Of {other['n']:,} unfamiliar images {_rate(m['unfamiliar_flagged'])} are flagged, of the test images "
            f"{_rate(m['familiar_flagged'])}. An image is judged {how}, which has an AUROC of "
            f"{_rate(m['unfamiliar_auroc'])}; the confidence of the prediction alone has {other['by_confidence']:.1%}."
        )
    return said


def trust_view(report: Report) -> dict[str, Any] | None:
    """Return what the page shows: sentences, and rows of the classes' sets; None where nothing was measured."""
    table = report.tables.get("trust")
    if not table:
        return None
    sets = table.get("sets") or {}
    rows = [
        {
            "label": row["label"],
            "n": row["n"],
            "value": f"{row['coverage']['value']:.1%}",
            "interval": _interval(row["coverage"]["low"], row["coverage"]["high"]).strip(),
            "raw": row["coverage"],
            "size": f"{row['size']:.2f}",
        }
        for row in sorted(sets.get("classes", ()), key=lambda r: (r["coverage"]["value"], r["label"]))
    ]
    margins = (table.get("boxes") or {}).get("margins") or {}
    sides = [
        {
            "label": row["label"],
            "n": row["n"],
            "value": f"{row['coverage']['value']:.1%}",
            "interval": _interval(row["coverage"]["low"], row["coverage"]["high"]).strip(),
            "side": "to the edge" if row["side"] is None else f"{row['side']:.1%}",
        }
        for row in sorted(margins.get("classes", ()), key=lambda r: (r["coverage"]["value"], r["label"]))
    ]
    passed = (table.get("unfamiliar") or {}).get("passed", ())
    return {
        "title": _TITLE,
        "said": say_trust(report),
        "rows": rows,
        "coverage": f"{sets['coverage']:.1%}" if sets else "",
        "sides": sides,
        "margin_coverage": f"{margins['coverage']:.1%}" if margins else "",
        "passed": [path.replace("\\", "/").rsplit("/", 1)[-1] for path in passed],
    }


def trust_lines(report: Report) -> list[str]:
    """Return the same as lines of Markdown; none where nothing was measured."""
    view = trust_view(report)
    if view is None:
        return []
    lines = ["", f"## {view['title']}", ""]
    for sentence in view["said"]:
        lines += [sentence, ""]
    if view["rows"]:
        lines += ["| class | n | sets with the true label [95% interval] | mean size |", "|---|---|---|---|"]
        lines += [f"| {r['label']} | {r['n']} | {r['value']} {r['interval']} | {r['size']} |" for r in view["rows"]]
    if view["sides"]:
        lines += ["| class | found | objects inside their margins [95% interval] | margin |", "|---|---|---|---|"]
        lines += [f"| {r['label']} | {r['n']} | {r['value']} {r['interval']} | {r['side']} |" for r in view["sides"]]
    return lines


def _say_boxes(boxes: Mapping[str, Any], metrics: Mapping[str, Metric]) -> list[str]:
    said = []
    margins, missed = boxes.get("margins"), boxes.get("miss_rate")
    if margins:
        each = {"all": "", "class": ", separately for each class", "image": ", all found objects of an image together"}
        side = "" if margins["side"] is None else f" Each side moves outward by up to {margins['side']:.1%} of the box."
        bare = "" if margins["without"] is None else f"; without margins, boxes contain {margins['without']:.1%}"
        said.append(
            f"Boxes enlarged by margins should contain the whole object in {margins['coverage']:.1%} of cases"
            f"{each[margins['by']]} (from {margins['objects']:,} found objects in {margins['images']:,} validation "
            f"images{_in_groups(margins)}). They contain {_rate(metrics['margin_coverage'])} of the "
            f"{margins['found']:,} objects found{bare}.{side}"
        )
        few = [row["label"] for row in margins["classes"] if row["open"]]
        if few:
            said.append(
                f"{_classes(few)} had too few found objects in validation images: margins reach to the image's edge."
            )
    if missed:
        said.append(
            f"A confidence threshold of {missed['conf']:.3f} should miss {missed['rate']:.1%} of an image's objects "
            f"or less on average (from {missed['images']:,} validation images with objects{_in_groups(missed)}); "
            f"it misses {_rate(metrics['missed_objects'])}."
        )
    return said


def _in_groups(about: Mapping[str, Any]) -> str:
    return "" if about["groups"] == about["images"] else f" in {about['groups']:,} groups"


def _behind(sets: Mapping[str, Any]) -> str:
    images = f"from {sets['images']:,} validation images"
    return images if sets["groups"] == sets["images"] else f"{images} in {sets['groups']:,} groups"


def _rate(metric: Metric) -> str:
    if metric.value is None:
        return "none"
    return f"{metric.value:.1%}{_interval(metric.low, metric.high)}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"


def _classes(names: Sequence[str]) -> str:
    """Return the beginning of a sentence about classes, at most 8 of them by name."""
    more = " and others" if len(names) > 8 else ""
    return f"{'Class' if len(names) == 1 else 'Classes'} {', '.join(names[:8])}{more}"
