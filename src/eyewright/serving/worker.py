"""The other side of the crew: one process that decodes, prepares, runs models and answers, until its socket closes.

Whatever a hostile image does, it does here: to a process with a memory limit that the server can kill.
"""

__all__ = ["Orders", "kept_form", "run_worker"]

import base64
import contextlib
import gc
import io
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np

# Imported here and not where it is used: the nursery forks with it loaded.
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from eyewright.bundle.doubts import doubt_image, doubt_words
from eyewright.bundle.guarantees import Guarantees, guarantees_of
from eyewright.bundle.inputs import only_image
from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.texts import has_texts
from eyewright.bundle.trust import FLAGGED, familiarity_in
from eyewright.core.errors import EyewrightError, LateError, LimitError, RefusedError, UnreadableImageError, UsageError
from eyewright.core.inputs import IMAGE, Example, Given, count_rows, name_inputs, slice_rows
from eyewright.core.jsonable import to_jsonable
from eyewright.core.machine import limits
from eyewright.core.machine.shared_buffer import SharedBuffer, receive_shared_buffer
from eyewright.core.prediction import Prediction
from eyewright.core.task import task_of
from eyewright.explanation.outside import explain_prepared
from eyewright.imaging.appearance import appearance, covered
from eyewright.imaging.clips import even_windows, read_clip_bytes
from eyewright.imaging.decode import read_labels, read_picture
from eyewright.imaging.headers import Limits, read_header
from eyewright.imaging.media import FIRST_PICTURE, media_of
from eyewright.imaging.preparation import Placement, Preparation
from eyewright.imaging.rasters import encode_classes, pack_counts
from eyewright.imaging.reduction import read_reduced
from eyewright.imaging.video_facts import VideoFacts
from eyewright.metrics.conformal import Method
from eyewright.metrics.conformal_boxes import BoxBy
from eyewright.serving.filling import fill_picture
from eyewright.serving.lazy import LazyModels
from eyewright.serving.messages import (
    BATCH,
    FRAME,
    Answer,
    Array,
    Batch,
    Doubted,
    Failure,
    Job,
    ModelPlace,
    Progress,
    Seen,
)
from eyewright.tasks.classify import ClassPrediction
from eyewright.tasks.over_time import OverTimeMaker

_KEPT_SIDE = 1024
_LOSSY = ("JPEG", "HEIF", "AVIF")
_IGNORED = 255
_MOST_ASKED = 64
_NAMED = 5

_Asked = tuple[float | None, BoxBy | None, Method | None, float | None, float | None]


class Orders(msgspec.Struct, frozen=True):
    """What a worker is told when it starts."""

    models: list[ModelPlace]
    threads: int
    memory: int
    scaled_decode: bool
    limits: dict[str, int]
    refuse: list[str] = []
    coverage: float = 0.9
    checked: bool = False


def run_worker(channel: socket.socket, message: bytes) -> None:
    """Load every model, say "ready", then answer batch after batch."""
    orders = msgspec.msgpack.decode(message, type=Orders)
    buffer = receive_shared_buffer(channel)
    stream = channel.makefile("rwb")
    try:
        # What --refuse needs of each model is known only once it is open.
        served = LazyModels(
            orders.models,
            lambda place: _Served(place, orders),
            all_at_once=bool(orders.refuse),
            checked=orders.checked,
        )
    except EyewrightError as error:
        _say(stream, Progress("failed", text=error.message, fix=error.fix))
        return
    limits.no_core_dump()
    most = limits.limit_memory(orders.memory, reserved=served.reserved)
    watch = _Watch()
    # What is loaded stays; the collector need not look at it again and again.
    gc.freeze()
    _say(stream, Progress("ready"))
    while len(head := stream.read(FRAME.size)) == FRAME.size:
        (length,) = FRAME.unpack(head)
        batch = BATCH.decode(stream.read(length))
        jobs = _with_images(batch, stream, buffer)
        if served.waits(batch.model):
            # The time to open it is not one of decoding.
            _say(stream, Progress("decoded"))
            failure = _open_late(served, batch.model, orders.memory, most)
            if failure is not None:
                _say(stream, Progress("done", [_failed(job, failure) for job in jobs]))
                continue
        answers = served[batch.model].answer(jobs, watch, lambda: _say(stream, Progress("decoded")))
        _say(stream, Progress("done", answers))


def _open_late(served: "LazyModels[_Served]", name: str, memory: int, most: int) -> EyewrightError | None:
    """Open a model that has waited, with the memory that is reserved for it; return why it cannot be opened."""
    limits.move_memory_limit(most, most)
    try:
        served[name]
    except EyewrightError as error:
        return error
    except MemoryError:
        return LimitError("the model needs more memory than allowed", fix="serve fewer models", code="model_memory")
    finally:
        limits.move_memory_limit(limits.held_bytes() + memory, most)
    return None


def _with_images(batch: Batch, stream: Any, buffer: SharedBuffer | None) -> list[Job]:
    """Return the jobs of a batch with their images."""
    at = 0
    jobs = []
    for job in batch.jobs:
        if job.follows:
            data = buffer.read(at, job.follows) if batch.in_buffer and buffer is not None else stream.read(job.follows)
            at += job.follows
            job = msgspec.structs.replace(job, data=data)
        jobs.append(job)
    return jobs


def _say(stream: Any, progress: Progress) -> None:
    data = msgspec.msgpack.encode(progress)
    stream.write(FRAME.pack(len(data)) + data)
    stream.flush()


class _Watch:
    """A thread that ends a model's run when its time has passed.

    Only a run that ends before the moment it sleeps until wakes it: two switches take as long as a small model.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._options: Any = None
        self._until = 0.0
        self._asleep_until = 0.0
        threading.Thread(target=self._run, daemon=True).start()

    @contextlib.contextmanager
    def over(self, until: float) -> Iterator[Any]:
        """Return the run options of a run that ends at `until`, seconds on CLOCK_MONOTONIC."""
        options = ort.RunOptions()
        with self._changed:
            self._options, self._until = options, until
            if until < self._asleep_until:
                self._changed.notify()
        try:
            yield options
        finally:
            with self._changed:
                self._options = None

    def _run(self) -> None:
        with self._changed:
            while True:
                if self._options is None:
                    self._asleep_until = math.inf
                    self._changed.wait()
                    continue
                left = self._until - time.monotonic()
                if left > 0:
                    self._asleep_until = self._until
                    self._changed.wait(left)
                    continue
                self._options.terminate = True
                self._options = None


class _Served:
    """One model and what is known of it."""

    def __init__(self, place: ModelPlace, orders: Orders) -> None:
        # A worker that starts later must not open another bundle than the one whose signature and policy were checked.
        self.bundle: Bundle = load_bundle(place.folder, threads=orders.threads, digest=place.digest, features=True)
        self.limits = Limits(**orders.limits)
        images = only_image(self.bundle.inputs)
        first = images and not self.bundle.preparation.steps and not self.bundle.preparation.reduces
        self.scaled = orders.scaled_decode and first
        reference = self.bundle.reference
        self.known, self.unfamiliar_reason = familiarity_in(reference, self.bundle.manifest.familiarity)
        self._guarantees: dict[_Asked, Guarantees] = {}
        self.refuse = orders.refuse
        if "unfamiliar" in self.refuse and self.known is None:
            raise RefusedError(
                f"{place.name!r} cannot refuse unfamiliar images: {self.unfamiliar_reason}", fix="change --refuse"
            )
        if "ambiguous" in self.refuse:
            # Whether there are images enough for this coverage is known before the first request.
            self._promised((orders.coverage, None, None, None, None))
        if has_texts(self.bundle.manifest.files):
            # Opened and tested before the process has its limit of memory.
            self.bundle.embed_texts(["words"])
        self._others = {"mask": self._mask, "words": self._words, "thumbnail": self._thumbnail}

    def answer(self, jobs: list[Job], watch: _Watch, decoded: Callable[[], None]) -> list[Answer]:
        """Answer jobs together; each fails for itself."""
        started = time.monotonic()
        answers: list[Answer] = []
        taken: list[tuple[Job, Mapping[str, NDArray[Any]], list[Placement], bytes, VideoFacts | None]] = []
        for job in jobs:
            try:
                if started > job.until:
                    raise LateError("the deadline passed before the image was processed", fix="try again later")
                other = next((call for want, call in self._others.items() if want in job.wants), None)
                if other is not None:
                    answers.append(other(job))
                    continue
                if job.filling is not None:
                    answers.append(fill_picture(self.bundle, job, self.limits, decoded))
                    continue
                taken.append((job, *self._prepared(job)))
            except EyewrightError as error:
                answers.append(_failed(job, error))
            except MemoryError:
                short = LimitError("the image needs more memory than allowed", fix="shrink it", code="decode_memory")
                answers.append(_failed(job, short))
        decoded()
        if not taken:
            return answers
        ready = time.monotonic()
        until = max(job.until for job, *_ in taken)
        given = taken[0][1]
        if len(taken) > 1:
            given = {name: np.concatenate([own[name] for _, own, *_ in taken]) for name in self.bundle.inputs}
        try:
            with watch.over(until) as options:
                raw, features = self.bundle.raw_with_features(given, run_options=options)
        except EyewrightError as error:
            return answers + [_failed(job, error) for job, *_ in taken]
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises types of its own
            return answers + [_failed(job, _run_error(error, until)) for job, *_ in taken]
        spent = (time.monotonic() - ready) * 1000 / len(taken)
        waited = (ready - started) * 1000 / len(jobs)
        at = 0
        for job, own, placements, picture, video in taken:
            # A model without inputs gives every job all of its rows.
            rows = slice_rows(raw, at, at + count_rows(own)) if own else raw
            inner = None if features is None else features[at]
            at += count_rows(own)
            try:
                told = self._told(job, own, placements, rows, inner, watch, (round(waited, 2), round(spent, 2)), video)
                answers.append(msgspec.structs.replace(told, picture=picture) if picture else told)
            except EyewrightError as error:
                answers.append(_failed(job, error))
            except MemoryError:
                answers.append(_failed(job, LimitError("the answer needs more memory than allowed", fix="shrink it")))
        return answers

    def _prepared(self, job: Job) -> tuple[Mapping[str, NDArray[Any]], list[Placement], bytes, VideoFacts | None]:
        """Return prepared arrays by input name, where the image lies in its pixels, if asked the image to keep, and
        what is special about a video."""
        if job.tensors is not None:
            arrays = {n: np.frombuffer(t.data, np.dtype(t.dtype)).reshape(t.shape) for n, t in job.tensors.items()}
            return name_inputs(self.bundle.inputs, arrays), [], b"", None
        preparation = self.bundle.preparation
        if preparation.clip is not None:
            pixels, video = read_clip_bytes(job.data, preparation.clip, limits=self.limits)
            strip = Image.fromarray(pixels)
            one, placement = preparation.apply(strip)
            kept = kept_form(strip, preparation, lossy=True) if "picture" in job.wants else b""
            return {IMAGE: one[None]}, [placement], kept, video
        if preparation.reduces and "picture" not in job.wants:
            found = read_reduced(job.data, preparation.reduction, limits=self.limits)
            return {IMAGE: preparation.apply_reduced(found)[None]}, [preparation.place(found.source_hw)], b"", None
        at_least = true_hw = None
        if self.scaled and job.data[:2] == b"\xff\xd8":
            header = read_header(job.data)
            if header.size_hw is not None:
                true_hw = header.size_hw
                scale = preparation.place(true_hw).scale_yx
                # The size is told before orientation: what is enough for either way round.
                side = round(max(true_hw[0] * scale[0], true_hw[1] * scale[1]))
                at_least = (min(side, *true_hw), min(side, *true_hw))
        picture = read_picture(job.data, limits=self.limits, at_least=at_least)
        if preparation.reduces:
            # What is kept is decoded whole; what the model sees is what it sees of every other file.
            found = read_reduced(job.data, preparation.reduction, limits=self.limits)
            one, placement = preparation.apply_reduced(found), preparation.place(found.source_hw)
        else:
            one, placement = preparation.apply(picture)
        if true_hw is not None and (picture.height > picture.width) == (true_hw[0] > true_hw[1]):
            placement = preparation.place(true_hw)
        elif true_hw is not None:
            placement = preparation.place((true_hw[1], true_hw[0]))
        kept = b""
        if "picture" in job.wants:
            kept = kept_form(picture, preparation, lossy=read_header(job.data).format in _LOSSY)
        return {IMAGE: one[None]}, [placement], kept, None

    def _mask(self, job: Job) -> Answer:
        """Read a mask of class ids that somebody corrected: 255 is ignored."""
        values = read_labels(job.data, limits=self.limits)
        names = self.bundle.labels.names
        held = np.unique(values).tolist()
        strange = [v for v in held if v != _IGNORED and not 0 <= v < len(names)]
        if strange:
            raise UsageError(
                f"expected the class ids 0 to {len(names) - 1} (255: ignore) in the mask, found {strange[0]}",
                fix=f"the classes are {', '.join(f'{k} {n}' for k, n in enumerate(names[:40]))}",
            )
        size = [int(values.shape[0]), int(values.shape[1])]
        known = [v for v in held if v != _IGNORED]
        rows = [
            {"label": names[v], "segmentation": {"size": size, "counts": pack_counts(counts)}}
            for v, counts in zip(known, encode_classes(values, known), strict=True)
        ]
        return Answer(job.id, prediction=msgspec.json.encode(rows))

    def _words(self, job: Job) -> Answer:
        """Return the embedding of a text, and as prediction what of it is not read, or not known to the model."""
        words = job.data.decode("utf-8", "replace")
        vector = self.bundle.embed_texts([words])
        preparation = self.bundle.texts.preparation
        doubt = doubt_words(preparation, words)
        notes = [note for note in (preparation.overlong(words), doubt.note) if note]
        return Answer(
            job.id,
            prediction=msgspec.json.encode(Doubted(notes, doubt.familiar)),
            raw={"embedding": Array(str(vector.dtype), vector.shape, vector.tobytes())},
        )

    def _thumbnail(self, job: Job) -> Answer:
        """Return an image reduced to `top` pixels a side."""
        side = job.top or 1
        picture = read_picture(job.data, limits=self.limits, at_least=(side, side))
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=85)
        return Answer(job.id, picture=buffer.getvalue())

    def _told(
        self,
        job: Job,
        given: Mapping[str, NDArray[Any]],
        placements: list[Placement],
        raw: Mapping[str, NDArray[np.float32]],
        features: NDArray[np.float32] | None,
        watch: _Watch,
        timing: tuple[float, float],
        video: VideoFacts | None = None,
    ) -> Answer:
        arrays = {}
        if "raw" in job.wants:
            arrays = {k: Array(str(v.dtype), v.shape, np.ascontiguousarray(v).tobytes()) for k, v in raw.items()}
        if job.tensors is not None:
            return Answer(job.id, raw=arrays, timing_ms=timing)
        pixels = given[IMAGE]
        asked = (job.coverage, job.coverage_by, job.sets, job.miss_rate, job.conf)
        promised = None if job.coverage is None and job.miss_rate is None else self._promised(asked)
        if promised is not None and job.iou is not None and "miss_rate" in task_of(self.bundle.task_name).options:
            raise UsageError("expected no iou with coverage or miss_rate, found both", fix="leave iou out")
        conf = job.conf if promised is None else promised.conf
        (shown,) = self.bundle.read(raw, placements[:1], conf=conf, iou=job.iou)
        told: dict[str, Any] = {}
        if "prediction" in job.wants:
            told = shown.to_json(top=job.top)
            del told["source"], told["index"]
        look = appearance(pixels[0], placements[0])
        p = None if self.known is None else round(self.known.p(look, features), 4)
        told["unfamiliar"] = None if p is None else {"p": p, "flagged": p <= FLAGGED}
        if p is None:
            told["unfamiliar_reason"] = self.unfamiliar_reason
        if promised is not None:
            told |= promised.told(shown, top=job.top)
        if "explain" in job.wants:
            told["explanations"] = self._explained(job, pixels[0], placements[0], shown, watch)
        if video is not None:
            told["video"] = {**video.to_json(), "notes": [f.message for f in video.findings("")]}
        elif self.bundle.preparation.clip is None and media_of(job.data) == "animation":
            told["notes"] = [FIRST_PICTURE]
        if "doubt" in job.wants:
            doubt = doubt_image(self.bundle.reference, raw)
            told["doubt"] = {"notes": [doubt.note] if doubt.note else [], "familiar": doubt.familiar}
        if "over_time" in job.wants:
            told |= self._over_time(job, watch)
        label, score = shown.headline()
        refused = self._refusals(told)
        if self.refuse:
            # Classes that reach no operating point are not accepted either.
            told.setdefault("accepted", [label] if label else [])
            if refused:
                told["accepted"], told["refused"] = [], refused
        # What is logged is the answer at the model's own operating points, whatever this client asked to see.
        usual = shown if conf is None else self.bundle.read(raw, placements[:1])[0]
        seen = Seen(look.tobytes(), usual.numbers().tobytes(), placements[0].source_hw, label, score, p)
        # Hugging Face's form is the whole answer, so that the server can hand on the bytes as they are.
        rows: list[dict[str, Any]] = [] if refused else shown.to_hub(top=job.top)
        said = _as_json(rows if "hub" in job.wants else told)
        reasons = tuple(one["reason"] for one in refused)
        return Answer(job.id, None, said, arrays, seen, b"", timing, reasons)

    def _refusals(self, told: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return why the server does not stand behind an answer, each reason in a word and in a sentence."""
        found = []
        if "unfamiliar" in self.refuse and told["unfamiliar"]["flagged"]:
            text = f"the image is unlike those that the model knows (p = {told['unfamiliar']['p']})"
            found.append({"reason": "unfamiliar", "text": text})
        if "ambiguous" in self.refuse and len(told["set"]["labels"]) > 1:
            several = ", ".join(told["set"]["labels"][:_NAMED])
            more = len(told["set"]["labels"]) - _NAMED
            several += f" and {more} more" if more > 0 else ""
            text = f"several labels are possible at a coverage of {told['set']['coverage']}: {several}"
            found.append({"reason": "ambiguous", "text": text})
        return found

    def _promised(self, asked: _Asked) -> Guarantees:
        if asked not in self._guarantees:
            if len(self._guarantees) >= _MOST_ASKED:
                self._guarantees.clear()
            coverage, by, sets, miss_rate, conf = asked
            self._guarantees[asked] = guarantees_of(
                self.bundle, coverage=coverage, by=by, sets=sets, miss_rate=miss_rate, conf=conf
            )
        return self._guarantees[asked]

    def _explained(
        self, job: Job, pixels: NDArray[np.uint8], placement: Placement, shown: Prediction, watch: _Watch
    ) -> list[dict[str, Any]]:
        """Return heatmaps as PNG over the source image, with their verdicts."""
        with watch.over(job.until) as options:
            asked = _Stoppable(self.bundle, options)
            try:
                found = explain_prepared(asked, pixels, placement, shown, label=job.label, most=1)
            except EyewrightError:
                raise
            except Exception as error:  # ONNX Runtime raises types of its own
                raise _run_error(error, job.until) from error
        rows = []
        for one in found:
            heat = covered(one.heat, placement)
            buffer = io.BytesIO()
            Image.fromarray(np.rint(heat * 255).astype(np.uint8)).save(buffer, "PNG")
            rows.append({**one.to_json(), "heat_png": base64.b64encode(buffer.getvalue()).decode("ascii")})
        return rows

    def _over_time(self, job: Job, watch: _Watch) -> dict[str, Any]:
        """Return the probabilities of windows of a clip, or why there are none."""
        clip, kept = self.bundle.preparation.clip, OverTimeMaker()
        if clip is None:
            raise UsageError("over_time is for models of clips", fix="leave it out")
        try:
            for window in even_windows(job.data, clip, limits=self.limits):
                one, placement = self.bundle.preparation.apply(Image.fromarray(window.strip))
                with watch.over(job.until) as options:
                    try:
                        raw = self.bundle.raw({IMAGE: one[None]}, run_options=options)
                    except EyewrightError:
                        raise
                    except Exception as error:  # ONNX Runtime raises types of its own
                        raise _run_error(error, job.until) from error
                (found,) = self.bundle.read(raw, [placement])
                timed = replace(cast(ClassPrediction, found), start_s=window.start_s, end_s=window.end_s)
                kept.add(timed)
        except UnreadableImageError as error:
            # The clip itself was predicted; a strip of frames, say, has no times.
            return {"over_time": None, "over_time_reason": error.message}
        done = kept.done()
        return {"over_time": None if done is None else done.to_json()}


class _Stoppable:
    """A bundle whose every run can be ended."""

    def __init__(self, bundle: Bundle, options: Any) -> None:
        self._bundle, self._options = bundle, options
        self.task_name, self.labels, self.inputs = bundle.task_name, bundle.labels, bundle.inputs

    @property
    def preparation(self) -> Preparation:
        return self._bundle.preparation

    def raw(self, given: Given) -> Mapping[str, NDArray[np.float32]]:
        return self._bundle.raw(given, run_options=self._options)

    def predict_images(self, images: Sequence[Example]) -> list[Prediction]:
        return self._bundle.predict_images(images)


def _as_json(told: dict[str, Any] | list[dict[str, Any]]) -> bytes:
    """Encode plain values; what is not finite becomes null."""
    try:
        return msgspec.json.encode(told)
    except (TypeError, UnicodeEncodeError):
        # A number of numpy's, or a name that is not Unicode.
        return msgspec.json.encode(to_jsonable(told))


def kept_form(picture: Image.Image, preparation: Preparation, *, lossy: bool) -> bytes:
    """Return an image as it is kept: decoded and encoded again, so that only its pixels are left, and nothing that
    the preparation needs is lost.

    Grey stays grey. Lossless images stay so (PNG); a JPEG is JPEG of quality 95 without subsampling.
    Only images of more than 1,024 pixels a side are reduced, to no less than twice the scale that the model sees, and
    none whose model has steps before it or takes the strips of clips.
    """
    height, width = picture.height, picture.width
    enough = max(_KEPT_SIDE / max(height, width), 2 * max(preparation.place((height, width)).scale_yx))
    if enough < 1 and not preparation.steps and preparation.clip is None:
        size = (max(1, round(width * enough)), max(1, round(height * enough)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(picture)
    if bool((pixels[..., :1] == pixels[..., 1:]).all()):
        picture = picture.getchannel(0)
    buffer = io.BytesIO()
    if lossy:
        picture.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        picture.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _run_error(error: Exception, until: float) -> EyewrightError:
    if time.monotonic() >= until - 0.01:
        return LateError(
            "the model did not finish before the deadline and was stopped", fix="ask for less, or try again"
        )
    return EyewrightError(f"the model cannot be run: {type(error).__name__}", code="model_failed")


def _failed(job: Job, error: EyewrightError) -> Answer:
    return Answer(job.id, Failure(type(error).__name__, error.code, error.message[:1000], error.fix[:1000]))
