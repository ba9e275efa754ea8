"""The page of a job, `fleet.html` in its folder: a cell per shard, rate, time left, slowest shards, images without a
result. The processes that work on the job write it again every few seconds, one of them at a time."""

__all__ = ["PAGE", "FleetPage", "render_fleet", "show_rest", "summarize_fleet", "write_fleet"]

import contextlib
import os
import time
from collections import Counter
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from eyewright.core.durations import show_duration
from eyewright.core.errors import EyewrightError
from eyewright.core.files import write_page
from eyewright.core.report import Finding
from eyewright.scaling.addresses import is_address
from eyewright.scaling.fleet import DONE, RUNNING, WAITING, WITH_CRASHES, WITH_ERRORS, Fleet, FleetReader
from eyewright.scaling.places import FolderPlace, Place

PAGE = "fleet.html"

_FIRST_S, _EVERY_S = 2.0, 5.0
# Of its time, a process spends at most one part in so many on the page.
_PATIENCE = 50
_MOST_CELLS = 600
_ROWS = 50
# How a cell is drawn, and in which order what its shards are decides that. A sign says it without the colour.
_KINDS = (
    (WITH_CRASHES, "crashes", "×", "done, with images that crashed their worker"),
    (WITH_ERRORS, "errors", "!", "done, with images that have an error"),
    (RUNNING, "running", "·", "running"),
    (DONE, "done", "", "done"),
    (WAITING, "waiting", "", "waiting"),
)


class FleetPage:
    """Writes the page of a job while it runs. Of several processes that work on it, whoever sees that nobody has
    written it for a while does."""

    def __init__(self, reader: FleetReader) -> None:
        self._reader = reader
        self._place = reader.place
        self._stamp = self._written()
        self._every_s = _EVERY_S
        self._next = time.monotonic() + _FIRST_S

    def refresh(self) -> None:
        """Write the page if it is time to; an error is left to the work itself, which meets it too."""
        if time.monotonic() < self._next:
            return
        stamp = self._written()
        if stamp != self._stamp:
            self._stamp = stamp
            self._plan_next()
            return
        with contextlib.suppress(EyewrightError, OSError):
            self.write()

    def write(self, *, stopped: str = "") -> None:
        """Write the page now; `stopped` says why this process ends although the job is not done.

        Raises:
            OutputError: it cannot be written.
            RefusedError: a commit record is damaged.
        """
        began = time.monotonic()
        try:
            write_fleet(self._place, render_fleet(self._reader.read(), every_s=self._every_s, stopped=stopped))
        finally:
            self._every_s = max(_EVERY_S, _PATIENCE * (time.monotonic() - began))
            self._stamp = self._written()
            self._plan_next()

    def _plan_next(self) -> None:
        # Processes that begin at once do not keep the same pace, so that most see a page that was just written.
        self._next = time.monotonic() + self._every_s * (1 + os.getpid() % 16 / 32)

    def _written(self) -> int:
        with contextlib.suppress(EyewrightError):
            return self._place.stamp(PAGE)
        return 0


def write_fleet(place: Place, page: str) -> str:
    """Write the page of a job and return its path or address.

    Raises:
        OutputError: it cannot be written.
    """
    if isinstance(place, FolderPlace):
        write_page(place.folder / PAGE, page)
    else:
        place.replace(PAGE, page.encode("utf-8", "replace"))
    return place.shown(PAGE)


def render_fleet(fleet: Fleet, *, every_s: float = 0.0, stopped: str = "", now: datetime | None = None) -> str:
    """Return the page, one file that needs nothing else. While the job runs, a browser reads it again every `every_s`
    seconds (0: never); `now` is the time that it names."""
    plan, moment = fleet.plan, now or datetime.now(UTC)
    name = escape(_clean(plan.shown.rpartition("/")[2] if is_address(plan.shown) else plan.folder.resolve().name))
    again = fleet.workers and every_s and not stopped
    refresh = f'<meta http-equiv="refresh" content="{max(5, round(every_s))}">\n' if again else ""
    stop = f'<div class="warn" role="alert">{escape(_clean(stopped))}</div>\n' if stopped else ""
    style = "".join((files("eyewright") / path).read_text("utf-8") for path in _STYLES)
    body = (
        f'<header>\n<div class="eyebrow">Eyewright job · {escape(plan.verb)}</div>\n<h1>{name}</h1>\n'
        f'<p class="lead">{escape(summarize_fleet(fleet))}</p>\n'
        f'<p class="soft small">State at {moment:%Y-%m-%d %H:%M:%S} UTC.</p>\n'
        f"{_whole(fleet)}</header>\n{stop}{_tiles(fleet)}<h2>Shards</h2>\n{_grid(fleet)}{_slow(fleet)}"
        f"{_bad('Images that crashed their worker', fleet.crashed, fleet.crashed_images)}"
        f"{_bad('Images with an error', fleet.failed, fleet.failed_images - fleet.crashed_images)}{_about(fleet)}"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"{refresh}<title>Job: {name}</title>\n<style>\n{style}</style>\n</head>\n<body><main>\n{body}"
        '<p class="soft small">This page is self-contained and loads nothing from the network.</p>\n'
        "</main></body></html>\n"
    )


# By their paths: to import the room that owns the style sheet would take a third of a second from every job.
_STYLES = ("evaluation/style.css", "scaling/fleet.css")


def summarize_fleet(fleet: Fleet) -> str:
    """Say in a sentence or two what is done, who works on the job and what is left."""
    plan, done = fleet.plan, fleet.done_images
    bad = f" {_many(fleet.failed_images, 'image')} without a result." if fleet.failed_images else ""
    if fleet.is_done:
        return f"All {plan.n_images:,} images in {_many(plan.n_shards, 'shard')} are done.{bad}"
    text = f"{done:,} of {_many(plan.n_images, 'image')} are done."
    if not fleet.workers:
        return f"{text} No process works on the job; continue it with --resume, or eyewright work.{bad}"
    by = f"{_many(fleet.workers, 'worker')} on {_many(fleet.machines, 'machine')}"
    if fleet.rate is None or fleet.left_s is None:
        return f"{text} {by} started; the first shard is not done yet.{bad}"
    return f"{text} About {show_rest(fleet.left_s)} left with {by}.{bad}"


def _whole(fleet: Fleet) -> str:
    """Return a bar of all images: those with a result, without one, and in shards that are worked on."""
    images: Counter[int] = Counter()
    for n, state in zip(fleet.images, fleet.states, strict=True):
        images[min(state, DONE)] += n
    total, done = sum(images.values()), fleet.done_images
    # A shard has an error where one of its hundreds of images has.
    images[WITH_CRASHES], images[WITH_ERRORS] = fleet.crashed_images, fleet.failed_images - fleet.crashed_images
    images[DONE] -= fleet.failed_images
    parts = "".join(
        f'<i class="{css}" style="width:{100 * images[state] / total:.2f}%"></i>'
        for state, css, _, _ in (_KINDS[3], _KINDS[1], _KINDS[0], _KINDS[2])
        if images[state]
    )
    return (
        f'<div class="whole" role="img" aria-label="{100 * done / total:.0f}% of the images are done">{parts}</div>\n'
    )


def _tiles(fleet: Fleet) -> str:
    shards = fleet.shards
    one, left = fleet.worker_rate, fleet.worker_s_left
    tiles = [
        ("images", f"{fleet.done_images:,}", f"of {fleet.plan.n_images:,}"),
        ("shards", f"{shards['done']:,}", f"of {shards['total']:,}, {shards['running']:,} running"),
        ("rate", "–" if fleet.rate is None else f"{fleet.rate:,.1f}/s",
         "no shard is done" if one is None else f"{one:,.1f} images/s per worker"),
        ("time left", "–" if fleet.left_s is None else show_rest(fleet.left_s),
         "–" if left is None else f"{show_rest(left)} of one worker"),
        ("workers", f"{fleet.workers:,}",
         f"{_many(fleet.processes, 'process', 'processes')}, {_many(fleet.machines, 'machine')}"),
        ("without a result", f"{fleet.failed_images:,}", f"{fleet.crashed_images:,} crashed their worker"),
    ]  # fmt: skip
    if fleet.is_done:
        # Nothing is left, and nobody works on it any more.
        spent = show_duration(sum(fleet.seconds))
        rate = ("rate", "–" if one is None else f"{one:,.1f}/s", "images of each worker")
        tiles = [*tiles[:2], rate, ("work", spent, "of all workers together"), tiles[-1]]
    long = ' class="long"'
    cells = "".join(
        f'<div class="card tile"><span class="soft small">{title}</span><b{long * (len(value) > 8)}>{value}</b>'
        f'<div class="soft small">{hint}</div></div>\n'
        for title, value, hint in tiles
    )
    return f'<section class="tiles">\n{cells}</section>\n'


def _grid(fleet: Fleet) -> str:
    """Return a cell per shard, or per so many that there are at most 600."""
    n = len(fleet.states)
    each = -(-n // _MOST_CELLS)
    cells = []
    for first in range(0, n, each):
        states = set(fleet.states[first : first + each])
        # Of several shards, one that waits says more than those that are done.
        order = (*_KINDS[:3], _KINDS[4], _KINDS[3])
        _, css, sign, said = next(kind for kind in order if kind[0] in states)
        cells.append(f'<i class="{css}" title="{_titled(fleet, first, min(first + each, n), said)}">{sign}</i>')
    shards = fleet.shards
    counts = (shards["with_crashes"], shards["with_errors"], shards["running"],
              shards["done"] - shards["with_errors"] - shards["with_crashes"], shards["waiting"])  # fmt: skip
    keys = "".join(
        f'<li><span class="fleet" aria-hidden="true"><i class="{css}">{sign}</i></span>{number:,} {said}</li>'
        for (_, css, sign, said), number in sorted(zip(_KINDS, counts, strict=True), key=lambda p: p[0][0] != DONE)
        if number
    )
    scale = f'<p class="soft small">Each cell is {each:,} shards.</p>\n' if each > 1 else ""
    label = f"{shards['done']:,} of {_many(n, 'shard')} done"
    grid = f'<div class="fleet" role="img" aria-label="{label}">{"".join(cells)}</div>'
    return f'<div class="card">{scale}{grid}\n<ul class="keys">{keys}</ul></div>\n'


def _titled(fleet: Fleet, first: int, end: int, said: str) -> str:
    images = sum(fleet.images[first:end])
    if end - first > 1:
        done = sum(state >= DONE for state in fleet.states[first:end])
        return f"shards {first:,} to {end - 1:,}: {done:,} of {end - first:,} done, {_many(images, 'image')}"
    spent = f", {show_duration(fleet.seconds[first])}" if fleet.states[first] >= DONE else ""
    return f"shard {first:,}: {said}, {_many(images, 'image')}{spent}"


def _slow(fleet: Fleet) -> str:
    if len(fleet.slowest) < 2:
        return ""
    rows = "".join(
        f'<tr><td class="n">{s.shard:,}</td><td class="n">{s.first:,} to {s.first + s.images - 1:,}</td>'
        f'<td class="n">{show_duration(s.seconds)}</td><td class="n">{_pace(s.images, s.seconds)}</td></tr>\n'
        for s in fleet.slowest
    )
    head = "".join(f'<th class="n" scope="col">{h}</th>' for h in ("shard", "images", "time", "images/s"))
    table = f'<table class="slow"><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>'
    note = '<p class="soft small">The time of the first shard of a worker includes the start of the worker.</p>'
    region = '<div class="card scroll" tabindex="0" role="region" aria-label="slowest shards">'
    return f"<h2>Slowest shards</h2>\n{region}{table}{note}</div>\n"


def _pace(images: int, seconds: float) -> str:
    return f"{images / seconds:,.1f}" if seconds > 0 else "–"


def _bad(title: str, found: tuple[Finding, ...], total: int) -> str:
    if not found:
        return ""
    rows = "".join(
        f'<tr><td class="wide"><b>{escape(_clean(f.path))}</b></td><td class="wide"><span class="tag error">'
        f"{escape(f.code)}</span> {escape(_clean(f.message))}</td></tr>\n"
        for f in found[:_ROWS]
    )
    shown = min(len(found), _ROWS)
    more = f'<p class="soft small">{shown} of {total:,} are shown; all are in results/.</p>' if shown < total else ""
    return f'<h2>{title}</h2>\n<div class="card"><table class="rows">{rows}</table>{more}</div>\n'


def _about(fleet: Fleet) -> str:
    plan = fleet.plan
    shown = plan.shown if is_address(plan.shown) else str(plan.folder.resolve())
    options = ", ".join(f"{k}={v}" for k, v in plan.options.items() if v is not None)
    facts = [
        ("source", plan.source), ("bundle", plan.model), ("bundle digest", plan.model_digest[:16]),
        ("plan digest", plan.digest[:16]), ("options", options), ("size", f"{plan.n_bytes / 1e6:,.1f} MB"),
        ("folder", shown), ("check the results", "eyewright work JOB --verify"),
    ]  # fmt: skip
    rows = "".join(
        f'<tr><td class="soft">{name}</td><td class="wide">{escape(_clean(value))}</td></tr>\n'
        for name, value in facts
        if value
    )
    return f'<h2>Job</h2>\n<div class="card"><table class="rows">{rows}</table></div>\n'


def _clean(text: str) -> str:
    """Return text without control characters, which a file name may have."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def show_rest(seconds: float) -> str:
    """Show a time that is estimated, with no more digits than it deserves.

    >>> show_rest(21.3), show_rest(600), show_rest(20_000), show_rest(400_000)
    ('21 s', '10 min', '5 h 33 min', '4.6 days')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        minutes = round(seconds / 60)
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{seconds / 86_400:.1f} days"


def _many(n: int, noun: str, plural: str = "") -> str:
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
