"""Follow objects: through files of detections, and through the frames of a source with a bundle that gives boxes."""

__all__ = ["Follower", "TrackedFrame", "TrackedSequence", "draw_tracks", "gives_boxes", "track", "track_detections"]

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, InputError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.core.task import task_of
from eyewright.core.tracks import Tracks
from eyewright.data.tracks import Sequence as TrackSequence
from eyewright.data.tracks import find_sequences
from eyewright.imaging.sources import open_source
from eyewright.imaging.sources.sampling import frame_times, sample_by_time
from eyewright.lifecycle.datasets import PathLike
from eyewright.lifecycle.loading import open_any
from eyewright.lifecycle.sequence_motion import SequenceMotion
from eyewright.tracking import (
    Crossing,
    FillSettings,
    Recorder,
    Tracker,
    TrackerSettings,
    TrackPrediction,
    Watch,
    fill_tracks,
    method_of,
)
from eyewright.tracking.camera import CameraMotion

if TYPE_CHECKING:
    from eyewright.imaging.sources import Frame
    from eyewright.imaging.trails import Trails
    from eyewright.lifecycle.sequence_frames import SequenceFrames
    from eyewright.tracking.camera import CameraMotion

_log = logging.getLogger("eyewright.tracking")
_ASSUMED_FPS = 30.0
# The score from which a detection begins a track where the bundle has no operating point of its own.
_DEFAULT_CONF = 0.4
# Below the operating point a detection continues with a track down to this part of it.
_LOW_SHARE = 0.3
# To which level operating points are moved: a bundle says itself which detections count.
_LEVEL = 0.65


@dataclass(frozen=True, eq=False)
class TrackedSequence:
    """What was received of one sequence.

    Args:
        name: of the sequence.
        tracks: every box with its identity, by frame.
        recorder: tracks, crossings, zones; `to_json` has them in plain types.
        fps: frames a second.
        n_frames: of the sequence.
        findings: rows that were left out, and what was assumed.
        rows: of the file, those that were left out included.
        left_out: how many of them were left out.
        cpu_s: processor time of following, with that of reading the pictures where camera motion is estimated.
    """

    name: str
    tracks: Tracks
    recorder: Recorder
    fps: float
    n_frames: int
    findings: tuple[Finding, ...] = ()
    rows: int = 0
    left_out: int = 0
    cpu_s: float = 0.0


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """One frame of `track`.

    Args:
        prediction: the objects whose track is confirmed, as the bundle predicts them, with `track_ids` and `image`.
        index: of the frame in its source, from 0.
        time_s: of the frame.
        found: what the tracker says of all detections.
        states: of each object of `prediction`, "new" in the first frame of its identity, else "tracked".
        lost_ids: confirmed tracks that this frame does not show and that are waited for.
        crossings: those that this frame confirms.
        recorder: what was received of all frames so far.
    """

    prediction: Any
    index: int
    time_s: float
    found: TrackPrediction
    states: tuple[str, ...]
    lost_ids: NDArray[np.int64]
    crossings: tuple[Crossing, ...]
    recorder: Recorder = field(repr=False)

    @property
    def track_ids(self) -> NDArray[np.int64]:
        return self.found.track_ids

    @property
    def boxes_xyxy(self) -> NDArray[np.float64]:
        return self.found.boxes_xyxy

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.recorder.labels[k] for k in self.found.label_ids.tolist())

    def __len__(self) -> int:
        return len(self.found)


def track_detections(
    detections: "PathLike | Sequence[TrackSequence]",
    *,
    frames: "Mapping[str, SequenceFrames] | None" = None,
    fps: float | None = None,
    method: str = "three-stage",
    settings: TrackerSettings | None = None,
    offline: bool = False,
    fill: FillSettings | None = None,
    watch: Watch | None = None,
    classes: Sequence[str] | None = None,
    camera_motion: bool = False,
) -> list[TrackedSequence]:
    """Follow the detections of a file or of a folder of sequences; every sequence has a tracker of its own.

    `frames` are the pictures of sequences by name. Frame k of a file is at (k - 1) / `fps`: without it at its own time
    in the file or video, at the rate that `seqinfo.ini` states, else at 30 frames a second, with a finding.
    With `offline` tracks have their early boxes, gaps are filled and short tracks dropped. With `camera_motion`, the
    motion of the camera is estimated from `frames` and compensated for.

    Raises:
        InputError: nothing is there, or a file of which no row can be used.
        UsageError: an unknown method, a rate that is no number, or camera motion without frames or with a method of
            the user's own.
    """
    if fps is not None and not 0 < fps < 1e5:
        raise UsageError(f"expected a frame rate above 0 frames/s, found {fps!r}", fix="change --fps")
    given = isinstance(detections, str | Path)
    sequences = find_sequences(Path(cast("PathLike", detections)), "detections") if given else detections
    found = []
    for sequence in cast("Sequence[TrackSequence]", sequences):
        own = (frames or {}).get(sequence.name)
        chosen = settings or TrackerSettings()
        found.append(_track_file(sequence, own, fps, method, chosen, offline, fill, watch, classes, camera_motion))
    return found


def _track_file(
    sequence: TrackSequence,
    frames: "SequenceFrames | None",
    fps: float | None,
    method: str,
    settings: TrackerSettings,
    offline: bool,
    fill: FillSettings | None,
    watch: Watch | None,
    classes: Sequence[str] | None,
    camera_motion: bool,
) -> TrackedSequence:
    file = sequence.read("detections")
    if frames is not None:
        file = file.sized(frames.size_hw)
    if file.relative:
        raise InputError(
            f"boxes of {sequence.name!r} are fractions of frames whose size is not known",
            fix="pass --frames VIDEO|FOLDER, or put a seqinfo.ini with imWidth and imHeight next to the labels",
            code="no_size",
        )
    findings = [*sequence.findings, *file.findings]
    rate = fps or file.fps or sequence.fps
    if frames is not None and fps is None and file.tracks.times_s is None:
        shown_s = frames.times_s()
        if len(shown_s) > 1 and shown_s[-1] > 0:
            rate = (len(shown_s) - 1) / shown_s[-1]
            file = replace(
                file, tracks=_timed(file.tracks, shown_s, rate), n_frames=max(file.n_frames or 0, len(shown_s))
            )
    if rate is None:
        rate = _ASSUMED_FPS
        text = f"the frame rate of {sequence.name!r} is not known; {rate:g} frames a second are assumed"
        findings.append(Finding("fps", text, "pass --fps", str(sequence.path), severity="note"))
    rows = file.tracks if classes is None else file.tracks.keep(_of_classes(file.tracks, classes))
    n_frames = max(rows.n_frames, sequence.n_frames or 0, file.n_frames or 0)
    recorder = Recorder(rows.labels, watch)
    tracker = method_of(method, settings)
    motion = None
    if camera_motion:
        _check_moves(tracker)
        if frames is None:
            raise UsageError(
                f"the detections of {sequence.name!r} have no pictures to estimate camera motion from",
                fix="pass --frames VIDEO|FOLDER, or leave --camera-motion out",
            )
        motion = SequenceMotion(frames)
    # Only frames with boxes: what happens between is known from the times.
    numbers = np.unique(rows.frames)
    times = _times(rows, rate, numbers)
    starts = np.searchsorted(rows.frames, numbers)
    ends = np.searchsorted(rows.frames, numbers, side="right")
    started = time.process_time()
    labels = rows.label_ids if len(rows.labels) > 1 else None
    for number, when, a, b in zip(numbers.tolist(), times.tolist(), starts.tolist(), ends.tolist(), strict=True):
        boxes, scores = rows.boxes_xyxy[a:b], rows.scores[a:b]
        if motion is not None and isinstance(tracker, Tracker):
            for moved in motion.until(number, boxes):
                tracker.move(moved)
        found = tracker.update(boxes, scores, None if labels is None else labels[a:b], time_s=when)
        recorder.take(found, boxes, scores, frame=number)
    spent = time.process_time() - started
    findings += [] if motion is None else motion.findings()
    # Without a score a box counts as certain.
    best = float(np.nan_to_num(rows.scores, nan=1.0).max(initial=0.0))
    if len(rows) and ":" not in method and settings.high is not None and best < settings.high:
        text = f"no box starts a track: the highest score is {best:.2f}, and {settings.high:g} is needed"
        findings.append(Finding("low_scores", text, "pass a lower --conf", str(sequence.path), severity="note"))
    elif len(rows) and best <= 0 and not recorder.n_tracks:
        text = f"no box starts a track: the highest score is {best:g}"
        findings.append(Finding("low_scores", text, "pass --conf 0", str(sequence.path), severity="note"))
    elif not file.rows:
        text = f"{quoted(sequence.path)} holds no boxes"
        findings.append(Finding("no_boxes", text, "check the path", str(sequence.path), severity="note"))
    tracks = recorder.tracks(early=offline)
    if offline:
        tracks = fill_tracks(tracks, seconds_per_frame=1 / rate, n_frames=n_frames, settings=fill)
    if offline or watch is not None:
        # Counted again frame by frame: a zone is left in frames without boxes too.
        recorder = Recorder.of(tracks, watch, end_s=float(_times(rows, rate, np.array([n_frames]))[0]))
    recorder.settle()
    return TrackedSequence(
        sequence.name, tracks, recorder, rate, n_frames, tuple(findings), file.rows, file.left_out, spent
    )


def _check_moves(tracker: object) -> None:
    """Refuse camera motion for a tracker that cannot be moved.

    Raises:
        UsageError: it is the user's own.
    """
    if not isinstance(tracker, Tracker):
        raise UsageError("--camera-motion works with the built-in methods", fix="leave one of both out")


def _timed(tracks: Tracks, times_s: Sequence[float], rate: float) -> Tracks:
    """Return rows with the time of their frame; after the last frame of a video times continue at its mean rate."""
    known = np.asarray(times_s, np.float64)
    after = np.maximum(tracks.frames - len(known), 0) / rate
    return replace(tracks, times_s=known[np.clip(tracks.frames, 1, len(known)) - 1] + after)


def _of_classes(tracks: Tracks, classes: Sequence[str]) -> NDArray[np.bool_]:
    unknown = [c for c in classes if c not in tracks.labels]
    if unknown:
        raise UsageError(
            f"expected classes of the detections, found {unknown[0]!r}", fix="choose of: " + ", ".join(tracks.labels)
        )
    kept: NDArray[np.bool_] = np.isin(tracks.label_ids, [tracks.labels.index(c) for c in classes])
    return kept


def _times(tracks: Tracks, rate: float, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the times of frames, ascending: their own where rows have them, else by the rate."""
    times: NDArray[np.float64] = np.maximum(numbers - 1, 0) / rate
    if tracks.times_s is not None:
        frames, first = np.unique(tracks.frames, return_index=True)
        times = np.interp(numbers, frames, np.maximum.accumulate(tracks.times_s[first]))
    return times


def track(
    source: Any,
    bundle: Any,
    *,
    method: str = "three-stage",
    settings: TrackerSettings | None = None,
    conf: float | None = None,
    iou: float | None = None,
    classes: Sequence[str] | None = None,
    watch: Watch | None = None,
    camera_motion: bool = False,
    fps: float | None = None,
    rate: float | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    latest: bool = False,
    keep_rows: bool = True,
    note: Callable[[Finding], None] | None = None,
) -> Iterator[TrackedFrame]:
    """Follow the objects that a bundle finds in a video, camera, stream or folder of frames; yield frame after frame.

    `bundle` is a path or an opened bundle of a task that gives boxes. A detection at or above the operating point (of
    its class, or `conf`) begins a track; one below it continues with a track. `rate` follows at most so many frames a
    second, chosen by time. For a live stream pass `keep_rows=False`, so that boxes of the past are not held. `note`
    takes what `open_source` leaves out.

    Raises:
        BundleError: the bundle gives no boxes.
        InputError: the source cannot be read.
    """
    model = open_any(bundle) if isinstance(bundle, str | Path) else bundle
    follower = Follower(
        model, method=method, settings=settings, conf=conf, iou=iou, classes=classes, watch=watch,
        camera_motion=camera_motion, keep_rows=keep_rows,
    )  # fmt: skip
    most = None if rate else max_frames
    with open_source(source, stride=stride, max_frames=most, latest=latest, pages=True, note=note) as opened:
        frames: Iterator[Frame] = frame_times(opened, fps=fps)
        if rate is not None:
            frames = sample_by_time(frames, rate)
        for given, frame in enumerate(frames, 1):
            yield follower.step(frame)
            if max_frames is not None and given >= max_frames:
                break
    for found in follower.findings(str(source)):
        if note is not None:
            note(found)


def gives_boxes(task: str) -> bool:
    """Return whether predictions of a task have boxes, which can be followed."""
    return task_of(task).net.startswith("boxes")


def draw_tracks(
    trails: "Trails",
    image: NDArray[np.uint8],
    boxes_xyxy: NDArray[np.float64],
    track_ids: NDArray[np.int64],
    labels: Sequence[str],
    *,
    time_s: float,
    recorder: Recorder,
) -> NDArray[np.uint8]:
    """Return a copy of the image with tracks, and with the lines and zones of `recorder` and their counts so far."""
    texts = [f"{label} {i}" for label, i in zip(labels, track_ids.tolist(), strict=True)]
    shown: dict[str, Sequence[tuple[float, float]]] = {}
    for line in recorder.lines:
        counts = line.counts(recorder.labels)
        shown[f"{line.line.name}: {counts['in']} in, {counts['out']} out"] = (line.line.start, line.line.end)
    for zone in recorder.zones:
        shown[f"{zone.zone.name}: {zone.counts(recorder.labels)['now']}"] = zone.zone.points
    return trails.draw(image, boxes_xyxy, track_ids, texts, time_s=time_s, lines=shown)


class Follower:
    """A bundle and a tracker on one source.

    `first_id` is the identity of the first track; `forget_s` bounds the memory, see `Recorder`. The rest is as in
    `track`. Identities are never used twice, also where frames change their size.

    Raises:
        BundleError: the bundle gives no boxes.
    """

    def __init__(
        self,
        model: Any,
        *,
        method: str = "three-stage",
        settings: TrackerSettings | None = None,
        conf: float | None = None,
        iou: float | None = None,
        classes: Sequence[str] | None = None,
        watch: Watch | None = None,
        camera_motion: bool = False,
        keep_rows: bool = True,
        forget_s: float | None = None,
        first_id: int = 1,
    ) -> None:
        if not gives_boxes(model.task_name):
            raise BundleError(
                f"expected a bundle that predicts boxes, found one for {model.task_name}",
                fix="train with --task detect, or import a detector",
                code="no_boxes",
            )
        self._model, self._conf, self._iou = model, conf, iou
        self._settings = settings or TrackerSettings()
        if self._settings.high is None:
            self._settings = replace(self._settings, high=_LEVEL)
        self._tracker = method_of(method, self._settings)
        names: tuple[str, ...] = tuple(model.labels.names)
        self._wanted = None if classes is None else [model.labels.id(c) for c in classes]
        self._recorder = Recorder(names, watch, keep_rows=keep_rows, forget_s=forget_s)
        points = getattr(model, "thresholds", None)
        high = np.full(len(names), _DEFAULT_CONF if conf is None else conf)
        self._high = np.asarray(points, np.float64) if conf is None and points is not None else high
        self._least = max(0.01, float(self._high.min()) * _LOW_SHARE)
        self._camera_motion = camera_motion
        self._camera: CameraMotion | None = None
        self._n_frames = 0
        if camera_motion:
            _check_moves(self._tracker)
        self._size_hw: tuple[int, int] | None = None
        self._before = self._last_id = first_id - 1
        self._keys_before = self._last_key = 0

    def findings(self, source: str = "") -> list[Finding]:
        """Return notes on what could not be estimated so far."""
        return [] if self._camera is None else self._camera.findings(self._n_frames, source)

    def step(self, frame: "Frame") -> TrackedFrame:
        self._n_frames += 1
        image, time_s = frame.image, float(frame.time_s or 0.0)
        if image.shape[:2] != self._size_hw:
            self._begin(image.shape[0], image.shape[1])
        prediction = self._model.predict_images([image], conf=self._least, iou=self._iou)[0]
        if self._wanted is not None:
            prediction = prediction.chosen(np.isin(prediction.label_ids, self._wanted))
        boxes = np.asarray(prediction.boxes_xyxy, np.float64)
        labels = np.asarray(prediction.label_ids, np.int64)
        scores = np.asarray(prediction.scores, np.float64)
        if self._camera is not None and isinstance(self._tracker, Tracker):
            moved = self._camera.update(image, boxes)
            if moved is not None:
                self._tracker.move(moved)
        found = self._tracker.update(boxes, self._level(scores, labels), labels, time_s=time_s)
        found = self._named(replace(found, scores=scores[found.detections]))
        crossings = self._recorder.take(found, boxes, scores, frame=frame.index + 1)
        shown = prediction.chosen(found.detections)
        shown = replace(
            shown, track_ids=found.track_ids, label_ids=found.label_ids, image=image, source=frame.origin,
            index=frame.index, time_s=time_s,
        )  # fmt: skip
        states = tuple("new" if self._recorder.is_new(i) else "tracked" for i in found.track_ids.tolist())
        lost = np.zeros(0, np.int64)
        if isinstance(self._tracker, Tracker):
            lost = self._tracker.lost()[0] + self._before
        return TrackedFrame(shown, frame.index, time_s, found, states, lost, tuple(crossings), self._recorder)

    def _begin(self, height: int, width: int) -> None:
        """Take frames of another size: all tracks end, and no identity is used again."""
        if self._size_hw is not None:
            _log.warning(
                "frames are %d x %d from now on, and were %d x %d: all tracks end", width, height, *self._size_hw[::-1]
            )
            self._tracker.reset()
            self._before, self._keys_before = self._last_id, self._last_key
        self._size_hw = (height, width)
        if self._camera_motion and self._camera is None:
            self._camera = CameraMotion()

    def _named(self, found: TrackPrediction) -> TrackPrediction:
        """Return what was found with identities that follow the earlier ones, of frames of another size."""
        if self._before or self._keys_before:
            found = replace(
                found, track_ids=found.track_ids + self._before, keys=found.keys + self._keys_before,
                unconfirmed_keys=found.unconfirmed_keys + self._keys_before,
            )  # fmt: skip
        if len(found.track_ids):
            self._last_id = max(self._last_id, int(found.track_ids.max()))
        for keys in (found.keys, found.unconfirmed_keys):
            if len(keys):
                self._last_key = max(self._last_key, int(keys.max()))
        return found

    def _level(self, scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return scores on which every class's operating point lies where the tracker's is."""
        if not len(scores):
            return scores
        point = np.clip(self._high[labels], 1e-6, 1 - 1e-6)
        mark = _LEVEL if self._settings.high is None else self._settings.high
        above = mark + (1 - mark) * (scores - point) / (1 - point)
        levelled: NDArray[np.float64] = np.where(scores >= point, above, mark * scores / point)
        return levelled
