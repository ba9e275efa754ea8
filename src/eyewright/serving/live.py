"""Live sources: cameras and streams that the operator named, each followed by a process of its own.

A source's address comes from the command line and goes to its process alone: no client sends or sees one. The process
sends the newest drawn frame and what was counted; viewers take the newest frame when they are ready for one, so that
nobody who is slow holds anybody up. A process that dies or is silent is replaced, and counts continue.
"""

__all__ = ["LiveSource", "LiveSources", "Running"]

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from eyewright.bundle.inputs import only_image
from eyewright.bundle.trial import FRAME, inherited
from eyewright.core.errors import BundleError, UsageError
from eyewright.core.machine import children
from eyewright.serving.exchange import HttpError
from eyewright.serving.models import Model

_log = logging.getLogger("eyewright.serving")

_MOST_JSON = 2**20
_MOST_JPEG = 16 * 2**20
_BUFFER = 2**18
_SILENT_S = 45.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_MOST_EVENTS = 200
_SEEN_S = 60.0
_VIEWERS = 4
_AGAIN_S = 5.0
# In these states no frame comes; whoever watches then sees the last one, and nobody begins to.
_DARK = frozenset({"lost", "ended", "failed"})


@dataclass(frozen=True)
class LiveSource:
    """A source as the operator named it; `model` is the name of the model that looks at it, "" for the first.

    `lines` are four numbers each, `zones` points, in pixels of the source; at most `rate` frames a second are followed.
    """

    name: str
    address: str = field(repr=False)
    model: str = ""
    lines: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)
    zones: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    anchor: str = "bottom"
    confirm_s: float = 0.1
    lost_s: float = 2.0
    rate: float = 10.0
    conf: float | None = None


class LiveSources:
    """The processes of all sources. `command` starts one: it reads a source as JSON and writes frames and counts.

    `counted` is called for a log, with a source's name and every event of it, a crossing or the entry to a zone, and
    every minute with None where frames come from it.
    """

    def __init__(
        self,
        sources: Sequence[LiveSource],
        command: Sequence[str],
        *,
        counted: Callable[[str, Mapping[str, Any] | None], None] | None = None,
    ) -> None:
        names = [s.name for s in sources]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise UsageError(f"the name {twice!r} is there twice among the sources", fix="choose another name")
        self._running = {s.name: Running(s, tuple(command), counted) for s in sources}

    def __bool__(self) -> bool:
        return bool(self._running)

    def use(self, models: Mapping[str, Model]) -> None:
        """Look at every source with the models that are served now; a source whose bundle has not changed continues.

        Raises:
            UsageError: there is no model of the name that a source asks for.
            BundleError: the model takes something else than one image.
        """
        chosen = {name: _model_of(one.source, models) for name, one in self._running.items()}
        for name, one in self._running.items():
            one.use(chosen[name])

    def get(self, name: str) -> "Running":
        """Return a source.

        Raises:
            HttpError: there is none of that name.
        """
        found = self._running.get(name)
        if found is None:
            raise HttpError(404, "source", "there is no source of that name", fix="see /v1/sources")
        return found

    def shown(self) -> list[dict[str, Any]]:
        """Return what is known of every source, without its address."""
        return [one.shown() for one in self._running.values()]

    def gauges(self) -> list[tuple[str, str, Mapping[str, str], float]]:
        """Return what Prometheus reads; a name that ends in `_total` is a counter."""
        found: list[tuple[str, str, Mapping[str, str], float]] = []
        for one in self._running.values():
            found += one.gauges()
        return found

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(*(one.close() for one in self._running.values()))


def _model_of(source: LiveSource, models: Mapping[str, Model]) -> Model:
    if source.model and source.model not in models:
        raise UsageError(
            f"there is no model {source.model!r} for the sources", fix=f"choose one of {', '.join(sorted(models))}"
        )
    found = models[source.model] if source.model else next(iter(models.values()))
    if not only_image(found.manifest.inputs) or found.manifest.preparation.clip is not None:
        raise BundleError(
            f"live sources need a model of single images, found {found.name!r}", fix="choose another with --follow"
        )
    return found


class Running:
    """One source: its process, the newest frame, what was counted."""

    def __init__(
        self,
        source: LiveSource,
        command: tuple[str, ...],
        counted: Callable[[str, Mapping[str, Any] | None], None] | None,
    ) -> None:
        self.source, self._command, self._counted = source, command, counted
        self._model: Model | None = None
        self._task: asyncio.Task[None] | None = None
        self._process: children.Child | None = None
        self._pipe: asyncio.BaseTransport | None = None
        self._status: dict[str, Any] = {"state": "starting", "message": ""}
        self._before: dict[str, Any] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=_MOST_EVENTS)
        self._arrived = asyncio.Event()
        self._framed_s: float | None = None
        self._seen_s = 0.0
        self._closing = False
        self.newest: bytes | None = None
        self.number = 0
        self.viewers = 0
        self.restarts = 0

    def use(self, model: Model) -> None:
        changed = self._model is not None and self._model.digest != model.digest
        self._model = model
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        elif changed:
            self._kill()

    async def close(self) -> None:
        self._closing = True
        self._kill()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._ring()

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._closing:
            started, reason = time.monotonic(), "its process ended"
            try:
                await self._once()
            except TimeoutError:
                reason = f"its process was silent for {_SILENT_S:g} s"
            except asyncio.IncompleteReadError:
                reason = self._status.get("message") or reason
            except (OSError, ValueError) as error:
                reason = str(error)
            finally:
                await self._end()
            if self.closing:
                return
            if time.monotonic() - started > 2 * _LONGEST_PAUSE_S:
                pause = _FIRST_PAUSE_S
            self._before = _added(self._before, self._status)
            self._status = {"state": "restarting", "message": reason}
            self.restarts += 1
            _log.warning("the source %s is started again: %s", self.source.name, reason)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _once(self) -> None:
        model = self._model
        assert model is not None
        # Not by the loop: uvloop's forks run Python's hooks, which close the lifeline.
        self._process = process = children.start_child(
            self._command, environment=inherited(model.digest), stderr=None, buffered=False
        )
        assert process.stdin is not None
        assert process.stdout is not None
        answers, self._pipe = await children.open_stream(process.stdout, _BUFFER)
        # On its standard input and not as an argument, which every user of the machine can read.
        content = {**asdict(self.source), "folder": str(model.folder), "digest": model.digest}
        content["first_id"] = self._before.get("n_tracks", 0) + 1
        children.write_some(process.stdin, json.dumps(content).encode() + b"\n")
        self._tell_watched()
        while True:
            async with asyncio.timeout(_SILENT_S):
                head = await answers.readexactly(FRAME.size)
                length, size = FRAME.unpack(head)
                if length > _MOST_JSON or size > _MOST_JPEG:
                    raise ValueError("its process sent more than it may")
                status = json.loads(await answers.readexactly(length))
                picture = await answers.readexactly(size)
            self._take(status, picture)

    def _take(self, status: dict[str, Any], picture: bytes) -> None:
        now = time.time()
        for event in status.pop("events", []):
            dated = {**event, "time": now}
            self._events.append(dated)
            self._count(dated)
        for zone, counts in status.get("zones", {}).items():
            known = self._status.get("zones", {}).get(zone, {}).get("entered", 0)
            for _ in range(counts["entered"] - known):
                self._count({"line": zone, "direction": "entered", "label": "", "time": now})
        if status.get("frames", 0) != self._status.get("frames", 0):
            self._framed_s = time.monotonic()
            if self._framed_s >= self._seen_s:
                self._seen_s = self._framed_s + _SEEN_S
                self._count(None)
        self._status = status
        if picture and self.viewers:
            self.newest = picture
            self.number += 1
            self._ring()

    def _count(self, event: Mapping[str, Any] | None) -> None:
        if self._counted is not None:
            self._counted(self.source.name, event)

    def _ring(self) -> None:
        rung, self._arrived = self._arrived, asyncio.Event()
        rung.set()

    async def newer_than(self, number: int) -> bool:
        """Wait for a frame after this one, at most a few seconds; return whether one is there."""
        if self.number <= number and not self._closing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), _AGAIN_S)
        return self.number > number

    def look(self) -> None:
        """Take up a viewer.

        Raises:
            HttpError: there are as many as may be, or no frame comes from the source.
        """
        state, message = self._status.get("state"), self._status.get("message")
        if state in _DARK:
            text = f"the source {self.source.name} is {state}" + (f": {message}" if message else "")
            raise HttpError(503, "source", text, fix="see /v1/sources")
        if self.viewers >= _VIEWERS:
            raise HttpError(503, "viewers", f"{_VIEWERS} viewers watch this source already", fix="try again later")
        self.viewers += 1
        self._tell_watched()

    def leave(self) -> None:
        """Let a viewer go."""
        self.viewers -= 1
        if not self.viewers:
            # Whoever comes next must not see an old picture first.
            self.newest = None
        self._tell_watched()

    def _tell_watched(self) -> None:
        """Have frames drawn only while somebody watches."""
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                children.write_some(process.stdin, b"w" if self.viewers else b"r")

    @property
    def over(self) -> bool:
        """Whether no frame will come: the source is a file that has ended."""
        return self._status.get("state") == "ended"

    @property
    def closing(self) -> bool:
        """Whether the server ends."""
        return self._closing

    def shown(self) -> dict[str, Any]:
        """Return what a page or program may know."""
        whole = _added(self._before, self._status)
        age = None if self._framed_s is None else round(time.monotonic() - self._framed_s, 1)
        lines = {
            name: {"points": [points[:2], points[2:]], **_of(whole, "counts", name, {"in": 0, "out": 0, "classes": {}})}
            for name, points in self.source.lines.items()
        }
        nobody = {"now": 0, "entered": 0, "left": 0, "classes_now": {}, "dwell": {"n": 0, "median": None, "p95": None}}
        zones = {
            name: {"points": points, **_of(whole, "zones", name, nobody)} for name, points in self.source.zones.items()
        }
        state = {
            "name": self.source.name,
            "model": "" if self._model is None else self._model.name,
            "state": whole.get("state", ""),
            "message": whole.get("message", ""),
            "note": whole.get("note", ""),
            "frames": whole.get("frames", 0),
            "dropped": whole.get("dropped", 0),
            "reconnects": whole.get("reconnects", 0),
            "restarts": self.restarts,
            "frames_per_s": whole.get("frames_per_s"),
            "age_s": age,
            "width": whole.get("width"),
            "height": whole.get("height"),
            "viewers": self.viewers,
            "headline": whole.get("headline", ""),
            "tracks": whole.get("tracks"),
            "n_tracks": whole.get("n_tracks", 0),
            "lines": lines,
            "zones": zones,
            "events": list(self._events)[::-1],
        }
        state["video"] = whole.get("video")
        return state

    def gauges(self) -> list[tuple[str, str, Mapping[str, str], float]]:
        found = self.shown()
        of = {"source": self.source.name}
        rows: list[tuple[str, str, Mapping[str, str], float]] = [
            ("eyewright_source_up", "Whether frames come from the source", of, float(found["state"] == "live")),
            ("eyewright_source_frames_total", "Frames processed", of, float(found["frames"])),
            ("eyewright_source_dropped_frames_total", "Frames dropped because newer ones came", of, found["dropped"]),
            ("eyewright_source_reconnects_total", "Times the source was opened again", of, float(found["reconnects"])),
            ("eyewright_source_tracks_total", "Objects tracked", of, float(found["n_tracks"])),
        ]
        for name, line in found["lines"].items():
            for label, ways in line["classes"].items():
                for way in ("in", "out"):
                    about = {**of, "line": name, "direction": way, "label": label}
                    rows.append(("eyewright_line_crossings_total", "Objects that crossed", about, float(ways[way])))
        for name, zone in found["zones"].items():
            where = {**of, "zone": name}
            rows.append(("eyewright_zone_objects", "Objects inside now", where, float(zone["now"])))
            rows.append(("eyewright_zone_entered_total", "Objects that entered", where, float(zone["entered"])))
            rows.append(("eyewright_zone_left_total", "Objects that left", where, float(zone["left"])))
        return rows

    def _kill(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            children.kill_group(process)

    async def _end(self) -> None:
        self._kill()
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        await asyncio.to_thread(process.wait)


def _of(whole: Mapping[str, Any], kind: str, name: str, otherwise: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = whole.get(kind, {}).get(name, otherwise)
    return found


def _added(before: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status of a process with what earlier ones counted."""
    if not before:
        return dict(status)
    whole = dict(status)
    for name in ("frames", "dropped", "reconnects"):
        whole[name] = before.get(name, 0) + status.get(name, 0)
    # Identities continue where the earlier process ended.
    whole["n_tracks"] = max(before.get("n_tracks", 0), status.get("n_tracks", 0))
    counts: dict[str, Any] = {}
    for line in {**before.get("counts", {}), **status.get("counts", {})}:
        a, b = (x.get("counts", {}).get(line, {}) for x in (before, status))
        classes = {
            label: {
                way: a.get("classes", {}).get(label, {}).get(way, 0) + b.get("classes", {}).get(label, {}).get(way, 0)
                for way in ("in", "out")
            }
            for label in sorted({**a.get("classes", {}), **b.get("classes", {})})
        }
        counts[line] = {way: a.get(way, 0) + b.get(way, 0) for way in ("in", "out")} | {"classes": classes}
    zones: dict[str, Any] = {}
    for zone in {**before.get("zones", {}), **status.get("zones", {})}:
        a, b = (x.get("zones", {}).get(zone, {}) for x in (before, status))
        # Who was inside when the process ended has left.
        now, entered = b.get("now", 0), a.get("entered", 0) + b.get("entered", 0)
        usual = {"dwell": a.get("dwell"), "classes_now": {}}
        zones[zone] = {**(b or usual), "now": now, "entered": entered, "left": entered - now}
    if counts:
        whole["counts"] = counts
    if zones:
        whole["zones"] = zones
    return whole
