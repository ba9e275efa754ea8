"""A report for people: one self-contained HTML file, and Markdown. No network, no fonts, prints well."""

__all__ = [
    "caveats",
    "render_html",
    "render_markdown",
    "said_findings",
    "shown_findings",
    "style_sheet",
    "summarise",
    "template",
    "write_report",
]

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from eyewright.core.files import write_json, write_page
from eyewright.core.jsonable import dumps_json
from eyewright.core.report import Finding, Report
from eyewright.core.task import MetricInfo, metric_named, task_of
from eyewright.evaluation.blocks import Chart, Matrix, Span
from eyewright.evaluation.charts import Series, line_chart
from eyewright.evaluation.finishing import finish_page, read_script
from eyewright.evaluation.novelty import followed_metric, say_novelty
from eyewright.evaluation.novelty_pages import novelty_lines, novelty_view
from eyewright.evaluation.reporting import Pictures, reporting_of
from eyewright.evaluation.together import say_groups, say_look_alikes, say_untested
from eyewright.evaluation.trust_pages import trust_lines, trust_view
from eyewright.evaluation.units import is_rate, show_change, show_count, show_interval, show_metric, show_number

# Findings of a kind that the page shows at once, and that it holds.
_FINDINGS, _MOST_FINDINGS = 5, 100


def summarise(report: Report) -> str:
    """Say in a few sentences how good the model is, what goes wrong most, and what the number does not say."""
    said = reporting_of(report.task).summary(report)
    return " ".join(t for t in (said, *caveats(report)) if t)


def caveats(report: Report) -> tuple[str, ...]:
    """Return the sentences that a headline must not leave out: new things, groups, classes that are not there."""
    return (
        say_novelty(report.tables.get("novelty"), report.task),
        say_groups(report.tables.get("together")),
        say_look_alikes(report.tables.get("look_alikes")),
        say_untested(report),
    )


def render_html(report: Report, *, title: str, pictures: Pictures | None = None) -> str:
    """Return the report as one HTML file that needs nothing else."""
    own = reporting_of(report.task).page(report, pictures or {})
    task = task_of(report.task)
    cells = next((b.cells for b in own.blocks if isinstance(b, Matrix) and b.cells is not None), None)
    page: str = template("report.html.j2").render(
        style=style_sheet(),
        cells_script=read_script("cells.js"),
        title=title,
        report=report,
        noun=task.words.noun,
        labels=task.words.count(len(report.labels)) if task.words.names_labels else "",
        charts_title=own.charts_title,
        summary=summarise(report),
        tiles=[
            (m.title, m.hint, report.metrics[m.name], m.name)
            for m in task.metrics
            if m.tile and m.name in report.metrics
        ],
        blocks=own.blocks,
        charts=own.charts,
        # "<" inside a script element could end it: class and file names are not ours.
        data=None if cells is None else dumps_json(cells).replace("<", "\\u003c"),
        **_origins(report),
    )
    return finish_page(page)


def _origins(report: Report) -> dict[str, Any]:
    """Return what every page shows in addition to metrics: findings, novelty, folds, history, audit, recipe, facts."""
    sections = report.sections
    recipe = {k: v for k, v in (sections.get("recipe") or {}).items() if v not in (None, "", [], (), {})}
    usual = frozenset(sections.get("usual") or ())
    return {
        "folds": _fold_rows(report),
        "fold_note": (sections.get("folds") or {}).get("note", ""),
        "intervals": _interval_note(report),
        "history": _history_charts(sections.get("history") or (), task_of(report.task).metrics[0]),
        "audit": _by_kind(sections.get("audit") or ()),
        "recipe": {k: v for k, v in recipe.items() if k not in usual},
        "usual": {k: v for k, v in recipe.items() if k in usual},
        "facts": sections.get("facts") or {},
        "warnings": sections.get("warnings") or (),
        "findings": shown_findings(report),
        "novelty": novelty_view(report),
        "trust": trust_view(report),
        "validation": _validation_rows(report),
        "provenance": _provenance(report),
        "thresholds": _accepting(sections.get("thresholds") or {}),
    }


def _by_kind(audit: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return the findings of each code: a few that are shown, more that open, and how many are left out."""
    kinds: dict[str, list[Finding]] = {}
    for found in audit:
        kinds.setdefault(found.code, []).append(found)
    return [
        {
            "code": code,
            "shown": own[:_FINDINGS],
            "more": own[_FINDINGS:_MOST_FINDINGS],
            "left": max(0, len(own) - _MOST_FINDINGS),
        }
        for code, own in kinds.items()
    ]


def shown_findings(report: Report) -> list[Finding]:
    """Return the report's findings that its summary does not say already."""
    said = {say_novelty(report.tables.get("novelty"), report.task), say_look_alikes(report.tables.get("look_alikes"))}
    return [f for f in report.sections.get("findings") or () if f.message not in said]


def said_findings(report: Report) -> list[str]:
    """Return the findings that the summary does not say, as lines for a terminal."""
    return [f"{f.message[:1].upper()}{f.message[1:]}." for f in shown_findings(report)]


def _provenance(report: Report) -> list[tuple[str, str]]:
    # What belongs together and what was left out of training is said in words among the facts.
    dataset = {k: v for k, v in (report.provenance.get("dataset") or {}).items() if k != "leaks"}
    return _flat({**{k: v for k, v in report.provenance.items() if k != "grouping"}, "dataset": dataset})


def _interval_note(report: Report) -> str:
    """Say how the intervals of a report were found."""
    methods = {m.method for m in report.metrics.values()}
    if "t over groups" in methods:
        return (
            "Intervals are 95% t intervals over groups, by leaving out one group at a time (Wilson's form for rates)."
        )
    over = "groups" if report.tables.get("together") else "images"
    text = f"Intervals are 95% bootstrap intervals over {over} (Wilson's where the bootstrap collapses to a point)."
    if over == "groups":
        return text
    return f"{text} They assume independent images: if some share a person, device or place, say so with --group-by."


def _validation_rows(report: Report) -> dict[str, Any] | None:
    """Return what the page shows of validation compared with test; None where they were not compared."""
    table = report.tables.get("validation")
    if not table:
        return None
    unit = unit_of(report, table["metric"])
    rows = [
        (side, show_number(table["metric"], table[side]["value"], unit), table[side]["n"], table[side]["groups"])
        for side in ("validation", "test")
    ]
    choice = table["choice"]
    note = ""
    if choice:
        these = f"these {task_of(report.task).reads}s"
        note = f"The validation score is that of the best of {choice['epochs']} epochs, chosen on {these}."
        if choice["optimism"]:
            points = show_change(choice["metric"], choice["optimism"], digits=1).removeprefix("+")
            note += f" Compared with the epochs around it, the choice alone makes it about {points} too high."
    verdict = "differ significantly" if table["differs"] else "do not differ significantly"
    verdict = f"Validation and test {verdict} (p = {table['p_value']:.2g}, over groups)."
    return {
        "name": followed_metric(report.task).title,
        "rows": rows,
        "note": f"{verdict} {note}".strip(),
        "causes": table["causes"],
    }


def render_markdown(report: Report, *, title: str) -> str:
    """Return the report as Markdown: summary, metrics, classes, audit."""
    lines = [f"# {title}", "", summarise(report), ""]
    for finding in shown_findings(report):
        lines += [f"**{_markdown(finding.message)}** → {_markdown(finding.fix)}", ""]
    lines += ["| metric | value [95% interval] | n |", "|---|---|---|"]
    lines += [
        f"| {k} | {_markdown(show_metric(k, m).rpartition(' n=')[0])} | {show_count(m)} |"
        for k, m in report.metrics.items()
    ]
    lines += novelty_lines(report)
    lines += trust_lines(report)
    columns = task_of(report.task).columns
    lines += ["", f"| class | n | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for row in report.per_class:
        cells = " | ".join(_cell(k, row[k]) for k in columns)
        lines.append(f"| {_markdown(row['label'])} | {row['n']} | {cells} |")
    lines += _point_rows(_accepting(report.sections.get("thresholds") or {}))
    for warning in report.sections.get("warnings") or ():
        lines += ["", f"**{_markdown(warning)}**"]
    facts = report.sections.get("facts") or {}
    together = {k: facts[k] for k in ("what belongs together", "left out of training") if k in facts}
    audit = report.sections.get("audit") or ()
    lines += ["", "## Data", "", *(f"- {_markdown(str(f))}" for f in audit)] if audit else []
    lines += [
        "",
        "## Provenance",
        "",
        *(f"- {k}: {_markdown(v)}" for k, v in [*together.items(), *_provenance(report)]),
    ]
    return "\n".join(lines) + "\n"


def _accepting(thresholds: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the points if they are scores from which a class is accepted, measured by F1; else nothing."""
    return thresholds if all("f1" in p for p in (thresholds.get("classes") or {}).values()) else {}


def _point_rows(thresholds: Mapping[str, Any]) -> list[str]:
    """Return the operating points as a Markdown table, with what each rests on."""
    if not thresholds.get("classes"):
        return []
    lines = ["", "| operating point | threshold [95 % interval] | n | images | groups |", "|---|---|---|---|---|"]
    for name, p in thresholds["classes"].items():
        known = p.get("low") is not None
        interval = f" [{p['low']:.3f}, {p['high']:.3f}]" if known else " (interval not known)"
        rests_on = f"{p['n']} | {p.get('images', '–')} | {p.get('groups', '–')}"
        lines.append(f"| {_markdown(name)} | {p['threshold']:.3f}{interval} | {rests_on} |")
    return lines


def write_report(report: Report, folder: Path, *, title: str, pictures: Pictures | None = None) -> dict[str, Path]:
    """Write `report.html`, `report.json` and `report.md` to a folder; return their paths."""
    paths = {"report": folder / "report.html", "report_json": folder / "report.json", "report_md": folder / "report.md"}
    write_page(paths["report"], render_html(report, title=title, pictures=pictures))
    write_json(paths["report_json"], report)
    write_page(paths["report_md"], render_markdown(report, title=title))
    return paths


def _followed(row: Mapping[str, float]) -> list[str]:
    return [k for k in row if k.startswith("val_") and k != "val_loss"]


def _history_charts(history: Any, main: MetricInfo) -> list[Chart]:
    rows = [{k: _number(v) for k, v in row.items()} for row in history]
    if not rows:
        return []

    def points(key: str) -> list[tuple[float, float]]:
        return [(row["epoch"], row[key]) for row in rows if key in row]

    # Some tasks follow another metric while they train than the one that they report first.
    followed = next((k for k in (f"val_{main.name}", *rows[0]) if k in rows[0] and k in _followed(rows[0])), "")
    info = main if followed == f"val_{main.name}" else metric_named(followed.removeprefix("val_"))
    best = next(
        (row["epoch"] for row, text in zip(reversed(rows), reversed(history), strict=True) if text["best"]), None
    )
    chosen = f"best of {len(rows)} epochs, so optimistic: the test score is what counts"
    note = f"best at epoch {best:.0f} ({chosen})" if best is not None and len(rows) > 1 else ""
    loss = line_chart(
        [Series(points("train_loss"), "training", "s0"), Series(points("val_loss"), "validation", "s1")],
        title="loss",
        x_label="epoch",
        y_label="loss",
        x_whole=True,
    )
    key = [
        Span("training", "key s0"),
        Span(", "),
        Span("validation", "key s1"),
        Span(" (training includes augmentation)"),
    ]
    # Hardened runs validate under attack or noise as well, and choose the epoch by that.
    harder = [
        (Series(points(f"val_{kind}_{main.name}"), said, "s2"), said)
        for kind, said in (("robust", "under attack"), ("noisy", "under noise"))
        if f"val_{kind}_{main.name}" in rows[0]
    ]
    score = line_chart(
        [Series(points(followed), "validation", "s1"), *(s for s, _ in harder)],
        title=info.title,
        x_label="epoch",
        y_label=info.title,
        x_whole=True,
        y_percent=info.in_percent,
    )
    lines = [x for _, said in harder for x in (Span("clean", "key s1"), Span(", "), Span(said, "key s2"), Span("; "))]
    return [Chart("Loss", key, loss), Chart(f"Validation {info.title}", [*lines, Span(note)], score)]


def _fold_rows(report: Report) -> list[tuple[str, list[str], str, str]]:
    """Return (metric, a value for each fold, mean with interval, spread) for the page; empty without folds."""
    folds = report.sections.get("folds")
    if not folds:
        return []
    return [
        (
            name,
            [show_number(name, row[name], metric.unit) for row in folds["each"]],
            show_metric(name, metric).rpartition(" n=")[0],
            show_change(name, spread, metric.unit, digits=1).removeprefix("+"),
        )
        for name, metric in folds["between"].items()
        if (spread := folds["spread"][name]) is not None
    ]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            rows += _flat(item, f"{prefix}{key} · ")
        elif isinstance(item, list | tuple) and all(isinstance(one, str) for one in item):
            rows += [(prefix + key, "; ".join(item))] if item else []
        elif item is not None and item != []:
            rows.append(
                (prefix + key, item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, default=str))
            )
    return rows


def _cell(name: str, value: Any) -> str:
    if not isinstance(value, Mapping):
        return show_number(name, value)
    return show_number(name, value["value"], value.get("unit", ""), low=value.get("low"), high=value.get("high"))


def unit_of(report: Report, metric: str) -> str:
    """Return the unit of one of a report's metrics, empty where it has none."""
    found = report.metrics.get(metric)
    return "" if found is None else found.unit


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


@lru_cache(maxsize=1)
def style_sheet() -> str:
    """Return the style sheet of every report."""
    return (Path(__file__).parent / "style.css").read_text("utf-8")


@lru_cache(maxsize=8)
def template(name: str, folder: Path | None = None) -> Any:
    """Return a page's template by its file name, of this room or of `folder`; both can import this room's."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([*([folder] if folder else []), Path(__file__).parent])
    env = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters["percent"] = lambda v: "–" if v is None else f"{v:.1%}"
    env.filters["shown"] = lambda v, name, unit="", low=None, high=None: show_number(name, v, unit, low=low, high=high)
    env.filters["rate"] = is_rate
    env.filters["interval"] = lambda m, name: show_interval(name, m.low, m.high)
    env.filters["count"] = show_count
    env.filters["bounds"] = lambda row: show_interval("rate", row["low"], row["high"])
    env.filters["three"] = lambda v: "–" if v is None else f"{v:.3f}"
    env.filters["tail"] = lambda v: v if len(v) <= 32 else "…" + v[-31:]
    env.filters["capital"] = lambda v: v[:1].upper() + v[1:]
    return env.get_template(name)
