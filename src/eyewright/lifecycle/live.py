"""The process behind one live source: read, follow, draw what somebody watches, and say what was counted.

It is started by the server (`eyewright.serving.live`), takes the source as one line of JSON on its standard input, then
"w" where frames are to be drawn and "r" where they are not, and ends with that input.
"""

__all__ = ["COMMAND", "main"]

import contextlib
import io
import json
import logging
import os
import re
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from eyewright.bundle import load_bundle
from eyewright.bundle.trial import FRAME
from eyewright.core.errors import EyewrightError, InputError
from eyewright.core.machine.lifeline import hold_lifeline
from eyewright.core.machine.limits import end_first
from eyewright.imaging.sources import open_source
from eyewright.imaging.trails import Trails
from eyewright.lifecycle.following import Follower, draw_tracks, gives_boxes
from eyewright.tasks.drawn import video_frame
from eyewright.tracking import Line, TrackerSettings, Watch, Zone

if TYPE_CHECKING:
    from eyewright.imaging.sources import Frame
    from eyewright.imaging.video_facts import VideoFacts

COMMAND = (sys.executable, "-c", "from eyewright.lifecycle.live import main; main()")
"""What starts it."""

_QUEUE = 4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_STATUS_S = 1.0
_RATE_S = 5.0
_LARGEST_SIDE = 1280
_QUALITY = 80
_MOST_TRACKS = 200
_FORGET_S = 60.0
# How often what is special about a video file is looked at anew, in frames.
_FACTS_EVERY = 30


def main() -> None:
    """Follow the source until the server ends."""
    hold_lifeline()
    source, answers = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb")
    # What libraries print must not be among the answers; FFmpeg's lines about a bad stream help nobody.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1) if os.environ.get("EYEWRIGHT_DEBUG") else (0, 1, 2):
        os.dup2(nowhere, descriptor)
    # When memory is short, this process ends before the server.
    end_first(1000)
    given = b""
    while not given.endswith(b"\n"):
        piece = source.read(1)
        if not piece:
            return
        given += piece
    live = _Live(json.loads(given), source, answers)
    try:
        live.run()
    except Exception as fault:
        if os.environ.get("EYEWRIGHT_DEBUG"):
            raise
        live.fail(f"a bug in Eyewright: {type(fault).__name__}: {fault}")
        os._exit(70)


class _Arriving:
    """A queue of frames with an end: a frame for which there is no room takes the place of the oldest."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._more = threading.Condition()
        self.dropped = 0

    def put(self, frame: "Frame") -> None:
        with self._more:
            if len(self._frames) >= _QUEUE:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(frame)
            self._more.notify()

    def take(self, timeout_s: float) -> "Frame | None":
        with self._more:
            if not self._frames:
                self._more.wait(timeout_s)
            return self._frames.popleft() if self._frames else None


class _Live:
    """One source with its reader, its model and its tracker."""

    def __init__(self, spec: dict[str, Any], source: BinaryIO, answers: BinaryIO) -> None:
        self._spec, self._source, self._answers = spec, source, answers
        self._queue = _Arriving()
        self._state, self._message, self._note = "connecting", "", ""
        self._video: VideoFacts | None = None
        self._frames = self._reconnects = 0
        self._watched = False
        self._size_hw: tuple[int, int] | None = None
        self._done: deque[float] = deque(maxlen=100)
        self._tracks: list[dict[str, Any]] | None = None
        self._headline = ""
        self._follower: Any = None
        self._trails: Any = None
        self._recorder: Any = None

    def run(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        logging.getLogger("eyewright").addHandler(_Notes(self._take_note))
        try:
            model = self._open()
        except EyewrightError as error:
            self._state, self._message = "failed", error.message
            while True:
                self._say()
                time.sleep(_STATUS_S)
        threading.Thread(target=self._read, daemon=True).start()
        said_s = 0.0
        while True:
            frame = self._queue.take(_STATUS_S)
            if frame is None:
                self._say()
                continue
            picture, events = self._look(model, frame)
            if picture or events or time.monotonic() - said_s > _STATUS_S / 4:
                self._say(picture, events)
                said_s = time.monotonic()

    def fail(self, reason: str) -> None:
        """Say why this process ends."""
        self._state, self._message = "failed", reason
        with contextlib.suppress(OSError):
            self._say()

    def _open(self) -> Any:
        spec = self._spec
        model = load_bundle(spec["folder"], digest=spec["digest"], threads=1)
        if gives_boxes(model.task_name):
            lines = tuple(Line(name, tuple(p[:2]), tuple(p[2:])) for name, p in spec["lines"].items())
            zones = tuple(Zone(name, tuple(map(tuple, points))) for name, points in spec["zones"].items())
            watch = Watch(lines, zones, spec["anchor"], spec["confirm_s"], spec["lost_s"])
            settings = TrackerSettings(lost_s=spec["lost_s"], confirm_s=spec["confirm_s"])
            self._follower = Follower(
                model, settings=settings, conf=spec["conf"], watch=watch, keep_rows=False,
                forget_s=max(_FORGET_S, 2 * spec["lost_s"]), first_id=spec["first_id"],
            )  # fmt: skip
            self._trails = Trails()
        return model

    def _listen(self) -> None:
        """Take what the server says; it has gone where the input ends."""
        while word := self._source.read(1):
            self._watched = word == b"w"
        os._exit(0)

    def _take_note(self, text: str) -> None:
        self._note = text

    def _read(self) -> None:
        """Read frames for as long as the source gives some; open it again where it breaks, without an end to that."""
        pause, begun = _FIRST_PAUSE_S, time.monotonic()
        index, next_s = 0, 0.0
        while True:
            reason = "it ended"
            try:
                with open_source(self._spec["address"], reconnect=0, pages=True, note=lambda _: None) as opened:
                    for frame in opened:
                        self._state, self._message, pause = "live", "", _FIRST_PAUSE_S
                        if index % _FACTS_EVERY == 0:
                            self._video = opened.facts
                        if not opened.live:
                            # A file is shown at its own pace.
                            time.sleep(max(0.0, begun + (frame.time_s or 0.0) - time.monotonic()))
                        now = time.monotonic() - begun
                        index += 1
                        if now >= next_s - 1e-6:
                            next_s = (int(now * self._spec["rate"]) + 1) / self._spec["rate"]
                            self._queue.put(_dated(frame, index - 1, now))
                    if not opened.live:
                        self._video = opened.facts
                        short = "" if self._video is None else self._video.breaks_off
                        self._state, self._message = "ended", short or "the file has ended"
                        return
            except InputError as error:
                # Clients see this, and the address is not theirs to know.
                reason = re.sub(r"'[^']*'", "the source", error.message)
            except Exception as error:  # noqa: BLE001 - whatever a source does, it is opened again
                reason = f"{type(error).__name__}: {error}"
            self._state, self._message = "lost", reason
            self._reconnects += 1
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _look(self, model: Any, frame: "Frame") -> tuple[bytes, list[dict[str, Any]]]:
        self._size_hw = frame.image.shape[0], frame.image.shape[1]
        events: list[dict[str, Any]] = []
        drawn = None
        if self._follower is None:
            prediction = replace(model.predict_images([frame.image])[0], image=frame.image)
            self._headline = prediction.line()
            if self._watched:
                drawn = video_frame(prediction)
        else:
            item = self._follower.step(frame)
            recorder = self._recorder = item.recorder
            self._tracks = [
                {"id": i, "label": label, "since_s": round(item.time_s - recorder.first_seen_s(i), 2)}
                for i, label in zip(item.track_ids.tolist()[:_MOST_TRACKS], item.labels, strict=False)
            ]
            events = [
                {"line": c.line, "direction": c.direction, "id": c.track_id, "label": recorder.labels[c.label_id]}
                for c in item.crossings
            ]
            if self._watched:
                drawn = draw_tracks(
                    self._trails, frame.image, item.boxes_xyxy, item.track_ids, item.labels, time_s=item.time_s,
                    recorder=recorder,
                )  # fmt: skip
        self._frames += 1
        self._done.append(time.monotonic())
        return (b"" if drawn is None else _jpeg(drawn)), events

    def _say(self, picture: bytes = b"", events: list[dict[str, Any]] | None = None) -> None:
        height, width = self._size_hw or (None, None)
        status: dict[str, Any] = {
            "state": self._state, "message": self._message, "note": self._noted(), "frames": self._frames,
            "dropped": self._queue.dropped, "reconnects": self._reconnects, "width": width, "height": height,
            "headline": self._headline, "tracks": self._tracks, "frames_per_s": self._rate(), "events": events or [],
        }  # fmt: skip
        status["video"] = None if self._video is None else self._video.to_json()
        recorder = self._recorder
        if recorder is not None:
            status["n_tracks"] = recorder.n_tracks + self._spec["first_id"] - 1
            status["counts"] = {x.line.name: x.counts(recorder.labels) for x in recorder.lines}
            status["zones"] = {x.zone.name: x.counts(recorder.labels) for x in recorder.zones}
        text = json.dumps(status).encode()
        self._answers.write(FRAME.pack(len(text), len(picture)) + text + picture)
        self._answers.flush()

    def _noted(self) -> str:
        """Return what the product logged, and what is special about a video file."""
        said = "" if self._video is None else replace(self._video, breaks_off="").said()
        return "; ".join(part for part in (said, self._note) if part)

    def _rate(self) -> float:
        now = time.monotonic()
        recent = [t for t in self._done if now - t < _RATE_S]
        return round((len(recent) - 1) / max(now - recent[0], 1e-3), 1) if len(recent) > 1 else 0.0


class _Notes(logging.Handler):
    """Hands on what the product logs."""

    def __init__(self, take: Any) -> None:
        super().__init__(logging.WARNING)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        self._take(record.getMessage()[:300])


def _dated(frame: "Frame", index: int, time_s: float) -> "Frame":
    return replace(frame, index=index, time_s=time_s)


def _jpeg(image: Any) -> bytes:
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
