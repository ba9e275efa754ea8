"""The log behind a server: journal on the request path, database and tests off it."""

__all__ = ["Recorder", "RecorderSettings", "image_path"]

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, BusyError, EyewrightError, InputError, UsageError, plain_reason
from eyewright.core.files import held_lock, write_bytes
from eyewright.core.quoting import quoted
from eyewright.core.rng import generator
from eyewright.imaging.appearance import TRAITS
from eyewright.monitoring.alerts import Alerts
from eyewright.monitoring.counts import Count, count_row, seen_row, summarise_counts, unusual_counts
from eyewright.monitoring.drift import ChangeDetector, Sample, drift_between
from eyewright.monitoring.journal import Journal
from eyewright.monitoring.store import Row, Said, Store, check_writable, feedback_id, open_store
from eyewright.monitoring.summary import QualityCache, summarise_model
from eyewright.tasks.feedback import check_feedback

_log = logging.getLogger("eyewright.monitoring")

_FLUSH_S = 0.5
_PRUNE_S = 600.0
_MOST_WAITING = 100_000
_CALM = 0.05
_EXAMPLES = 6
# Run lengths of a mask of 40 million pixels: 1.9 MB with 5,000 objects, 2.8 MB with 20,000.
_MOST_FEEDBACK = 4 * 2**20
_MOST_WAITING_FEEDBACK = 32 * 2**20
_PRUNE_AFTER = 5_000
_PERMUTATIONS = 499


@dataclass(frozen=True)
class RecorderSettings:
    """What is kept, and when drift is looked for.

    `keep_images` is the fraction of images that are kept, by the SHA-256 of what is kept and without metadata, up to
    `image_bytes` in all. Predictions are kept `days` long and at most `rows` of them; those with feedback stay.
    Of feedback the newest `feedback_rows` pieces are kept, up to `feedback_bytes` in all, and at most 16 on one
    prediction. Drift is tested on each `window` predictions of a model, at most every `every_s`; without drift alarms
    are at least `run_length` windows apart on average.
    """

    keep_images: float = 0.0
    image_bytes: int = 2 * 2**30
    days: float = 90.0
    rows: int = 1_000_000
    feedback_rows: int = 100_000
    feedback_bytes: int = 512 * 2**20
    window: int = 200
    every_s: float = 30.0
    run_length: float = 200.0


class Noted(Protocol):
    """What is logged of one answer."""

    @property
    def id(self) -> str: ...
    @property
    def time(self) -> float: ...
    @property
    def model(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def seen(self) -> Any: ...
    @property
    def total_ms(self) -> float: ...
    @property
    def picture(self) -> bytes: ...
    @property
    def shadow_of(self) -> str: ...


class Recorder:
    """Logs predictions and feedback of a server in a folder `home` and the database at `address`.

    `note` returns when the kernel holds the entry: a process that is killed afterwards loses nothing. A thread writes
    to the database in batches, whatever time that takes; a database that went away finds everything when it is back.
    `classes` returns the task and the labels of the models that are served, by digest: feedback is checked against
    them, and they are written to the log; without it labels are not checked.
    """

    def __init__(
        self,
        home: Path,
        *,
        address: str | None = None,
        settings: RecorderSettings | None = None,
        references: Callable[[], Mapping[str, tuple[str, Mapping[str, NDArray[Any]], str]]] | None = None,
        alerts: Alerts | None = None,
        classes: Callable[[], Mapping[str, tuple[str, tuple[str, ...]]]] | None = None,
    ) -> None:
        self.home, self.settings = home, settings or RecorderSettings()
        self.address = address or str(home / "monitor.db")
        self.alerts = alerts or Alerts()
        self._references = references or dict
        self._classes = classes
        self._written: set[str] = set()
        self._lock_file = held_lock(
            home / "lock", busy=f"another server is writing to the log in {quoted(home)}", code="monitor_busy",
            fix="give this one its own folder: --home DIR",
        )  # fmt: skip
        self._lock_file.__enter__()
        try:
            check_writable(self.address)
        except BaseException:
            self._lock_file.__exit__(None, None, None)
            raise
        self._journal = Journal(home / "journal")
        self._store = open_store(self.address)
        self._views: Store = open_store(self.address)
        self._lock = threading.Lock()
        self._waiting: list[tuple[Any, ...]] = []
        self._ids: dict[str, Said] = {}
        self.dropped = 0
        self.trouble = ""
        self._detectors: dict[str, ChangeDetector] = {}
        self._told: dict[str, bool] = {}
        # How many predictions came since the last look, so that the database is not asked in vain.
        self._fresh: dict[str, int] = {}
        self._tested: dict[str, tuple[float, float]] = {}
        self._last: dict[str, Mapping[str, Any]] = {}
        # The hour that is over when the server starts was tested by the one before, or was not watched to its end.
        self._counted_hour = int(time.time() // 3600) - 1
        self._counts: list[Count] = []
        self._pruned = 0.0
        self._quality = QualityCache()
        # How much feedback was written since the log was pruned.
        self._said = 0
        # Bytes of feedback that wait to be written: a mask can be large.
        self._waiting_bytes = 0
        self._held_bytes: int | None = None
        self._ended = threading.Event()
        self._replay()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._thread.start()

    @property
    def keep_share(self) -> float:
        """The fraction of images that are kept."""
        return self.settings.keep_images

    def note(self, entry: Noted) -> None:
        """Log one prediction."""
        s = entry.seen
        head = (entry.id, entry.time, entry.model, entry.digest, s.label, s.score, s.unfamiliar)
        fields = (*head, *s.size_hw, entry.total_ms, s.look, s.answer, entry.shadow_of, "")
        image = b""
        if entry.picture:
            image = entry.picture
            fields = (*fields[:-1], hashlib.sha256(image).hexdigest())
        self._append(("p", fields, image))

    def note_crossing(self, source: str, event: Mapping[str, Any] | None) -> None:
        """Log that something crossed a line or entered a zone of a live source; with None that the source is seen."""
        fields = seen_row(source, time.time()) if event is None else count_row(source, event)
        self._append(("c", fields, b""))

    def feedback(self, prediction_id: str, content: Mapping[str, Any]) -> bool:
        """Log feedback on a prediction; return whether the prediction is known.

        Raises:
            UsageError: there is too much of it, a label that its model does not know, or what else `check_feedback`
                refuses.
            BusyError: as much feedback waits for the database as memory is given for.
        """
        size = len(msgspec.json.encode(dict(content)))
        if size > _MOST_FEEDBACK:
            raise UsageError(f"expected feedback of at most {_MOST_FEEDBACK} bytes, found {size}", fix="send less")
        with self._lock:
            if self._waiting_bytes and self._waiting_bytes + size > _MOST_WAITING_FEEDBACK:
                raise BusyError("feedback waits to be written to the log", fix="try again in a second")
        try:
            said = self._known(prediction_id)
        except InputError:
            # While the database is away nobody can tell which model it was; what people say is kept.
            said = Said("", "", "", (0, 0), "", self._all_labels()) if len(prediction_id) <= 80 else None
        if said is None:
            return False
        checked = check_feedback(
            content,
            task=said.task,
            labels=said.labels,
            predicted=said.label or None,
            size_hw=said.size_hw if said.digest else None,
        )
        entry = ("f", (feedback_id(prediction_id, checked), prediction_id, time.time(), checked), b"")
        if not self._append(entry, size):
            raise BusyError("the log cannot be written, so the feedback is not stored", fix="see the server's messages")
        return True

    def image_kept(self, prediction_id: str) -> bool:
        """Return whether the image of a prediction is kept; where the database is away, that it is not."""
        try:
            said = self._known(prediction_id)
        except InputError:
            return False
        return said is not None and bool(said.image)

    def model_of(self, prediction_id: str) -> str | None:
        """Return the name of the model that made a prediction, None if it is not in the log.

        Raises:
            InputError: the database cannot be reached.
        """
        said = self._known(prediction_id)
        return None if said is None else said.model

    def _known(self, prediction_id: str) -> Said | None:
        with self._lock:
            said = self._ids.get(prediction_id)
        if said is None:
            said = self._views.prediction(prediction_id)
        if said is None or said.labels is not None or self._classes is None:
            return said
        task, labels = self._classes().get(said.digest, ("", None))
        return replace(said, task=task, labels=labels)

    def _all_labels(self) -> tuple[str, ...] | None:
        if self._classes is None:
            return None
        return tuple(dict.fromkeys(name for _, labels in self._classes().values() for name in labels))

    def _append(self, entry: tuple[str, Any, bytes], size: int = 0) -> bool:
        """Write one entry to the journal; return whether it is there."""
        data = msgspec.msgpack.encode(entry)
        # Under one lock with what waits: a segment must not be thought written while one of its entries is not yet
        # among those that are.
        with self._lock:
            try:
                self._journal.append(data)
            except OSError as error:
                self.dropped += 1
                self._say(f"the log cannot be written, predictions are not logged: {plain_reason(error)}")
                return False
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append(entry[:2] if not entry[2] else entry)
                self._waiting_bytes += size
            if entry[0] == "p":
                self._ids[entry[1][0]] = _said_of(entry[1])
                if not entry[1][-2]:
                    self._fresh[entry[1][2]] = self._fresh.get(entry[1][2], 0) + 1
        return True

    def _replay(self) -> None:
        """Take up what was acknowledged before the last end."""
        for data in self._journal.left():
            kind, fields, image = msgspec.msgpack.decode(data)
            self._waiting.append((kind, fields) if not image else (kind, fields, image))

    def _run(self) -> None:
        wait = _FLUSH_S
        while not self._ended.wait(wait):
            try:
                wait = _FLUSH_S if self.flush() else min(5.0, wait * 2)
                self._test_all()
                self._test_counts()
                self._prune()
            except EyewrightError as error:
                self._say(str(error))
            except Exception as fault:  # noqa: BLE001 - whatever it is, the next entries must be written
                wait = min(5.0, wait * 2)
                self._say(f"a bug in the monitor of Eyewright: {type(fault).__name__}: {fault}")

    def flush(self) -> bool:
        """Write waiting entries to the database; return whether it is reachable."""
        with self._lock:
            segments = self._journal.turn()
            taken, self._waiting = self._waiting, []
            taken_bytes, self._waiting_bytes = self._waiting_bytes, 0
        if not taken:
            self._journal.drop(segments)
            return True
        if len(taken) >= _MOST_WAITING:
            # More came than memory was given for; the journal holds all of it.
            taken = [self._plain(msgspec.msgpack.decode(d)) for d in self._journal.left()]
        rows, said, crossings = [], [], []
        for kind, fields, *image in taken:
            if kind == "c":
                crossings.append(tuple(fields))
                continue
            if kind == "f":
                said.append(tuple(fields))
                continue
            values = tuple(fields)
            if image and not self._keep(values[-1], image[0]):
                values = (*values[:-1], "")
            rows.append(values)
        try:
            self._write_classes()
            self._store.add_values(rows, said, crossings)
        except InputError as error:
            self._say(error.message)
            with self._lock:
                # What is left out here is in the journal, from which it is read again.
                self._waiting = (taken + self._waiting)[:_MOST_WAITING]
                self._waiting_bytes += taken_bytes
            return False
        # A large piece counts as many.
        self._said += len(said) + taken_bytes // 2**14
        self._journal.drop(segments)
        if self.trouble:
            _log.warning("the log is written again")
            self.trouble = ""
        with self._lock:
            self._ids = {fields[0]: _said_of(fields) for kind, fields, *_ in self._waiting if kind == "p"}
        return True

    def _write_classes(self) -> None:
        """Write the classes of models that are served since the last time, so that feedback can be checked later."""
        for digest, (task, labels) in (self._classes() if self._classes is not None else {}).items():
            if digest not in self._written:
                self._store.add_model(digest, task, labels)
                self._written.add(digest)

    @staticmethod
    def _plain(entry: Any) -> Any:
        kind, fields, image = entry
        return (kind, fields, image) if image else (kind, fields)

    def _keep(self, name: str, data: bytes) -> bool:
        folder = self.home / "images"
        try:
            path = folder / name[:2] / f"{name}{_suffix(data)}"
            if path.exists():
                return True
            if self._held_bytes is None:
                self._held_bytes = sum(e.stat().st_size for e in folder.rglob("*.*") if e.is_file())
            if self._held_bytes + len(data) > self.settings.image_bytes:
                return False
            write_bytes(path, data)
            self._held_bytes += len(data)
            return True
        except EyewrightError as error:
            self._say(error.message)
            return False

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("%s", trouble)
        self.trouble = trouble

    def _test_all(self) -> None:
        """Test each model whose next window is full."""
        now = time.monotonic()
        for model, (digest, reference, kind) in self._references().items():
            last, since = self._tested.get(model, (0.0, -1.0))
            if (last and now - last < self.settings.every_s) or self._fresh.get(model, 0) < self.settings.window:
                continue
            self._fresh[model] = 0
            known = Sample.of_reference(reference, kind)
            if known is None:
                continue
            if since < 0:
                self._restore(model)
                since = self._tested[model][1]
            rows = self._store.recent(model=model, n=self.settings.window, since=since)
            rows = [r for r in rows if r.digest == digest and r.look.shape == known.looks.shape[1:]]
            if len(rows) < self.settings.window:
                continue
            self._test(model, digest, known, rows, kind)
            self._tested[model] = (now, rows[-1].time)

    def _restore(self, model: str) -> None:
        """Continue where the earlier tests ended."""
        detector, since = ChangeDetector(self.settings.run_length), 0.0
        for window in self._store.windows(model=model, n=100_000):
            detector.alarm(float(window["p"]))
            self._told[model] = bool(window["told"])
            since = max(since, float(window["until"]))
        self._detectors[model] = detector
        self._tested[model] = (0.0, since)

    def _test(self, model: str, digest: str, known: Sample, rows: list[Row], kind: str) -> None:
        window = Sample(np.stack([r.look for r in rows]), np.stack([r.answer for r in rows]), kind)
        found = drift_between(
            known, window, rng=generator(0, "drift", model, int(rows[-1].time)), permutations=_PERMUTATIONS
        )
        detector = self._detectors[model]
        alarm = detector.alarm(found.p)
        # One change is told once: again only after a window that was like the reference.
        told = self._told.get(model, False) and found.p <= _CALM
        new = alarm and not told
        self._told[model] = told = told or alarm
        now = time.time()
        examples = _examples(rows, known, found.moved)
        evidence = {"examples": examples, "evidence": 1.0 if alarm else detector.evidence, "alarm": alarm, "told": told}
        content = {**found.to_json(), **evidence, "since": rows[0].time, "until": rows[-1].time}
        self._last[model] = content
        self._store.add_window(f"{model}-{rows[-1].id}", now, model, digest, content)
        if new:
            moved = ", ".join(found.moved[:4]) or str(found.tests[0]["name"])
            self.alerts.send("drift", f"{model}: the inputs have drifted (p = {found.p:.3g}): {moved}", content)

    def _test_counts(self) -> None:
        """When an hour has passed, compare what was counted in it with the same hour of earlier days."""
        hour = int(time.time() // 3600) - 1
        if hour <= self._counted_hour:
            return
        self._counted_hour = hour
        self._counts = unusual_counts(self._store.crossings(since_hour=hour - 28 * 24), hour)
        for count in self._counts:
            if count.unusual:
                self.alerts.send("counts", count.line_of_text(), asdict(count))

    def _prune(self) -> None:
        due = not self._pruned or time.monotonic() - self._pruned >= _PRUNE_S
        if not due and self._said < _PRUNE_AFTER:
            return
        self._pruned, self._said = time.monotonic(), 0
        self._store.prune_feedback(
            now=time.time(), most=self.settings.feedback_rows, most_bytes=self.settings.feedback_bytes
        )
        before = time.time() - self.settings.days * 86_400
        _, images = self._store.prune(before=before, most=self.settings.rows)
        for name in images:
            image_path(self.home, name).unlink(missing_ok=True)
        if images:
            self._held_bytes = None

    def watch(self) -> dict[str, Any]:
        """Return what a page or a person wants to see of each model."""
        try:
            models = {
                name: summarise_model(self._views, name, digest, reference, kind, cache=self._quality)
                for name, (digest, reference, kind) in self._references().items()
            }
            now = time.time()
            sources = summarise_counts(self._views.crossings(since_hour=int(now // 3600) - 24), now=now)
        except (InputError, BundleError) as error:
            return {"models": {}, "sources": {}, "trouble": error.message, "dropped": self.dropped}
        return {"models": models, "sources": sources, "trouble": self.trouble, "dropped": self.dropped}

    def image(self, name: str) -> bytes | None:
        """Return a kept image by its name, PNG or JPEG; None where there is none."""
        try:
            return image_path(self.home, name).read_bytes()
        except (InputError, OSError):
            return None

    def gauges(self) -> list[tuple[str, str, Mapping[str, str], float]]:
        """Return what Prometheus reads."""
        with self._lock:
            waiting = len(self._waiting)
        found: list[tuple[str, str, Mapping[str, str], float]] = [
            ("eyewright_log_waiting_entries", "Entries that are not in the database yet", {}, float(waiting)),
            ("eyewright_log_lost_entries", "Entries that could not be written at all", {}, float(self.dropped)),
        ]
        for count in self._counts:
            where = {"source": count.source, "line": count.line, "direction": count.direction}
            found.append(("eyewright_count_unusual", "Whether the last hour's count is", where, float(count.unusual)))
        for model, last in list(self._last.items()):
            found.append(("eyewright_drift_p_value", "p of the last drift test", {"model": model}, float(last["p"])))
            about = "Whether drift was reported and persists"
            found.append(("eyewright_drift_alarm", about, {"model": model}, float(last["told"])))
        return found

    def close(self) -> None:
        """Write what waits, and end."""
        self._ended.set()
        self._thread.join(10)
        self.flush()
        self._journal.close()
        self._store.close()
        self._views.close()
        self._lock_file.__exit__(None, None, None)


def image_path(home: Path, name: str) -> Path:
    """Return where a kept image lies; its name is the SHA-256 that we gave it.

    Raises:
        InputError: another name.
    """
    if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
        raise InputError(f"expected the name of a kept image, found {name[:80]!r}", fix="check it")
    place = home / "images" / name[:2]
    # An image that came lossless is kept lossless.
    lossless = place / f"{name}.png"
    return lossless if lossless.exists() else place / f"{name}.jpg"


def _suffix(data: bytes) -> str:
    return ".png" if data.startswith(b"\x89PNG") else ".jpg"


def _said_of(fields: Sequence[Any]) -> Said:
    """Return what feedback is checked against, of an entry that is not in the database yet."""
    _, _, model, digest, label, _, _, height, width, *_, image = fields
    return Said(model, digest, label, (int(height), int(width)), image=str(image))


def _examples(rows: Sequence[Row], known: Sample, moved: Sequence[str]) -> list[str]:
    """Return the kept images of a window that lie furthest from the reference in what moved first, at most six."""
    if not moved:
        return []
    looks, usual = np.stack([r.look for r in rows]), known.looks
    scale = np.maximum(usual.std(0), 1e-6)
    apart = np.abs(looks - np.median(usual, 0)) / scale
    far = apart[:, TRAITS.index(moved[0])] if moved[0] in TRAITS else apart.mean(1)
    return [rows[k].image for k in np.argsort(-far, kind="stable") if rows[k].image][:_EXAMPLES]
