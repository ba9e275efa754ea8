"""The page of a tracked source: one self-contained HTML file that plays tracks and counts by lines that are drawn."""

__all__ = ["render_tracks"]

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eyewright.core.jsonable import dumps_json
from eyewright.evaluation.charts import Series, bar_chart, bin_values, line_chart
from eyewright.evaluation.finishing import finish_page
from eyewright.evaluation.pages import style_sheet, template
from eyewright.tracking.lines import LineCounter, ZoneCounter
from eyewright.tracking.recording import Recorder, Watch
from eyewright.tracking.viewer.gathering import Gathered

_HERE = Path(__file__).parent
_MOST_EVENTS, _MOST_TRACKS, _MOST_POINTS = 500, 300, 400


def render_tracks(
    gathered: Gathered, recorder: Recorder, watch: Watch, *, title: str, n_frames: int, fps: float | None = None
) -> str:
    """Return the page as HTML. Counts and tables are those of `recorder`, of all frames."""
    found = recorder.to_json()
    tracks = sorted(found["tracks"], key=lambda t: (t["first_s"] - t["last_s"], t["id"]))
    events = found.get("events", [])
    classes: dict[str, int] = {}
    for t in tracks:
        classes[t["label"]] = classes.get(t["label"], 0) + 1
    shown = ", ".join(f"{n:,} {label}" for label, n in sorted(classes.items(), key=lambda c: -c[1])[:5])
    crossed = f" Lines were crossed {_times(len(events))}." if watch.lines else ""
    n = len(tracks)
    summary = f"{n:,} track{'s' * (n != 1)} in {n_frames:,} frames, {_duration(gathered.end_s)}"
    others = " and others" if len(classes) > 5 else ""
    # A class that is the only one there is says nothing.
    summary += f": {shown}{others}.{crossed}" if len(recorder.labels) > 1 and n else f".{crossed}"
    stays = [t["last_s"] - t["first_s"] for t in tracks]
    tiles = [
        ("tracks", f"{n:,}", "objects with an identity"),
        ("duration", _duration(gathered.end_s), f"{fps:.3g} frames per second" if fps else ""),
        ("median track", f"{float(np.median(stays)):.1f} s" if stays else "–", "from first to last detection"),
        ("most at once", f"{max((len(rows) for _, rows in gathered.frames), default=0):,}", "in one frame"),
    ]
    clips = [(c.crossing, c.data) for c in gathered.clips]
    labels = recorder.labels
    # A track has one class on the page: the one that it has at the end.
    final = recorder.label_ids()
    height, width = gathered.size_hw
    content = {
        "frames": [
            (time_s, [(i, final.get(i, label), *corners) for i, label, *corners in rows])
            for time_s, rows in gathered.frames
        ],
        "labels": labels,
        "size": [width, height],
        "end_s": gathered.end_s,
        "anchor": watch.anchor,
        "confirm_s": watch.confirm_s,
        "gone_s": watch.gone_s,
        "shapes": [
            *({"kind": "line", "name": x.name, "points": [x.start, x.end]} for x in watch.lines),
            *({"kind": "zone", "name": x.name, "points": x.points} for x in watch.zones),
        ],
        "preview": base64.b64encode(gathered.video).decode("ascii"),
        "clips": [base64.b64encode(data).decode("ascii") for _, data in clips],
    }
    page: str = template("tracks.html.j2", _HERE).render(
        style=style_sheet() + _read("lines.css") + _read("player.css"),
        script=_read("lines.js") + _read("player.js"),
        title=title,
        summary=summary,
        notes=_notes(gathered),
        tiles=tiles,
        size=(width, height),
        lines=found.get("counts", {}),
        zones=found.get("zones", {}),
        charts=_charts(recorder, gathered.end_s),
        events=events[:_MOST_EVENTS],
        n_events=len(events),
        clips=[
            {
                "time_s": c.time_s, "line": c.line, "direction": c.direction, "id": c.track_id,
                "label": _name(labels, final.get(c.track_id, c.label_id)),
            }
            for c, _ in clips
        ],
        tracks=[{**t, "strip": _strip(gathered, t["id"])} for t in tracks[:_MOST_TRACKS]],
        n_tracks=n,
        # "<" inside a script element could end it: names are not ours.
        data=dumps_json(content).replace("<", "\\u003c"),
    )  # fmt: skip
    return finish_page(page)


def _read(name: str) -> str:
    return (_HERE / name).read_text("utf-8")


def _name(labels: Sequence[str], label_id: int) -> str:
    return labels[label_id] if label_id < len(labels) else f"class {label_id}"


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _notes(gathered: Gathered) -> list[str]:
    notes = []
    if gathered.every > 1:
        notes.append(
            f"The page plays one frame in {gathered.every}, so lines that are drawn here may count a little "
            "differently. The tables are of all frames."
        )
    if not gathered.video_whole:
        notes.append(
            "The page holds the first part of the video, small. Open the video from the disk to see all of it."
        )
    return notes


def _strip(gathered: Gathered, track: int) -> list[tuple[float, str]]:
    return [
        (at, "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii"))
        for at, data in gathered.strips.get(track, ())
    ]


def _charts(recorder: Recorder, end_s: float) -> list[tuple[str, str, tuple[str, ...]]]:
    charts: list[tuple[str, str, tuple[str, ...]]] = []
    for line in recorder.lines:
        if line.crossings:
            charts.append(
                (
                    f"{line.line.name}: crossings over time",
                    line_chart(
                        _line_series(line, end_s), title=f"Crossings of {line.line.name} over time",
                        x_label="seconds", y_label="crossings so far", x_range=(0.0, max(end_s, 1e-3)),
                    ),
                    ("in", "out"),
                )
            )  # fmt: skip
    for zone in recorder.zones:
        if zone.visits:
            points = _occupancy(zone, end_s)
            charts.append(
                (
                    f"{zone.zone.name}: who is inside",
                    line_chart(
                        [Series(points, "inside", "s0")], title=f"Objects in {zone.zone.name} over time",
                        x_label="seconds", y_label="inside", x_range=(0.0, max(end_s, 1e-3)),
                    ),
                    (),
                )
            )  # fmt: skip
            stays = np.array([(end_s if v.left_s is None else v.left_s) - v.entered_s for v in zone.visits])
            rows = bin_values(stays, low=0.0)
            bars = bar_chart(rows, title="Stays by their seconds", width=400)
            charts.append((f"{zone.zone.name}: seconds of each stay", bars, ()))
    return charts


def _line_series(line: LineCounter, end_s: float) -> list[Any]:
    series = []
    for style, direction in (("s0", "in"), ("s1", "out")):
        times = sorted(c.time_s for c in line.crossings if c.direction == direction)
        steps = [(t, 1) for t in times]
        series.append(Series(_steps(steps, end_s), direction, style))
    return series


def _occupancy(zone: ZoneCounter, end_s: float) -> Sequence[tuple[float, float]]:
    changes = [(v.entered_s, 1) for v in zone.visits]
    changes += [(v.left_s, -1) for v in zone.visits if v.left_s is not None]
    return _steps(sorted(changes), end_s)


def _steps(changes: Sequence[tuple[float, int]], end_s: float) -> Sequence[tuple[float, float]]:
    """Return a staircase from 0 s to the end; of very many steps some, evenly."""
    points = [(0.0, 0.0)]
    level = 0
    for when, by in changes:
        points.append((when, float(level)))
        level += by
        points.append((when, float(level)))
    points.append((end_s, float(level)))
    if len(points) > 2 * _MOST_POINTS:
        points = [points[i] for i in np.linspace(0, len(points) - 1, _MOST_POINTS).round().astype(int)]
    return points
