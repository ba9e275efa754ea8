"""What a federation did, as a page: accuracy by round, and what each client had, sent and spent."""

__all__ = ["PAGE", "render_federated", "write_federated"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eyewright.core.files import write_page
from eyewright.evaluation.charts import Series, line_chart
from eyewright.evaluation.finishing import finish_page
from eyewright.evaluation.pages import style_sheet, template

PAGE = "federated.html"
_MOST_CLIENTS = 100


def write_federated(
    folder: Path,
    about: Mapping[str, Any],
    *,
    history: Sequence[Mapping[str, str]],
    metric: str,
    labels: Sequence[str],
) -> Path:
    """Write `federated.html` to a run folder; return its path."""
    path = folder / PAGE
    write_page(path, render_federated(about, history=history, metric=metric, labels=labels, title=folder.name))
    return path


def render_federated(
    about: Mapping[str, Any],
    *,
    history: Sequence[Mapping[str, str]],
    metric: str,
    labels: Sequence[str],
    title: str,
) -> str:
    """Return the page as one HTML file that needs nothing else; `metric` is drawn by round."""
    points = [(float(row["epoch"]), float(row[f"val_{metric}"])) for row in history if row[f"val_{metric}"]]
    metric = metric.replace("_", " ")
    chart = line_chart(
        [Series(points, f"{metric} on the server's validation images", "s0")],
        title=f"{metric} by round", x_label="round", y_label=metric, width=520,
    )  # fmt: skip
    clients = about["clients"]
    losses = []
    for c in clients[:_MOST_CLIENTS]:
        own = [(float(i + 1), v) for i, v in enumerate(c["losses"]) if v is not None]
        losses.append(Series(own, c["name"], "s1" if c["fault"] else "s2"))
    most = max((n for c in clients for n in c["classes"]), default=1) or 1
    page: str = template("federated.html.j2", Path(__file__).parent).render(
        style=style_sheet(),
        title=title,
        about=about,
        best=max((v for _, v in points), default=0.0),
        last=points[-1][1] if points else 0.0,
        metric=metric,
        chart=chart,
        loss_chart=_loss_chart([s for s in losses if s.points]),
        labels=labels,
        clients=[
            {
                **c,
                "shades": [round(0.08 + 0.92 * n / most, 2) if n else 0 for n in c["classes"]],
                "why": c["refused"][0]["why"] if c["refused"] else "",
            }
            for c in clients[:_MOST_CLIENTS]
        ],
        more=max(0, len(clients) - _MOST_CLIENTS),
        sent=sum(c["bytes"] for c in clients),
        received=4 * about["parameters"] * about["rounds"] * len(clients),
    )
    return finish_page(page)


def _loss_chart(losses: Sequence[Series]) -> str:
    """Return the losses of clients by round; nothing where no client sent one."""
    if not losses:
        return ""
    title = "loss of clients by round"
    return line_chart(losses, title=title, x_label="round", y_label="mean loss", width=520)
