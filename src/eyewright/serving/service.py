"""What every protocol asks for: one image in, one answer out, logged before it is given."""

__all__ = ["Entry", "Recorder", "Service", "Told"]

import asyncio
import itertools
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from eyewright.core import errors
from eyewright.core.errors import EyewrightError, UsageError
from eyewright.core.task import task_of
from eyewright.serving.crew import Crew
from eyewright.serving.exchange import HttpError
from eyewright.serving.live import LiveSources
from eyewright.serving.messages import Answer, Array, Doubted, Filling, Job, Seen
from eyewright.serving.models import Model
from eyewright.serving.schemas import Options
from eyewright.serving.searching import Searcher
from eyewright.serving.settings import Settings

# Models that an error names: a server may have hundreds.
_NAMED = 10


@dataclass(frozen=True)
class Entry:
    """One line of the prediction log. `picture` is the image as it is kept, if it is; `shadow_of` the prediction
    that a challenger answered as well."""

    id: str
    time: float
    model: str
    digest: str
    seen: Seen
    total_ms: float
    picture: bytes = b""
    shadow_of: str = ""


class Recorder(Protocol):
    """Where answers are logged and feedback goes; `monitoring` has one."""

    @property
    def keep_share(self) -> float: ...

    def note(self, entry: Entry) -> None: ...

    def feedback(self, prediction_id: str, content: Mapping[str, Any]) -> bool: ...

    def model_of(self, prediction_id: str) -> str | None: ...

    def image_kept(self, prediction_id: str) -> bool: ...

    def watch(self) -> dict[str, Any]: ...

    def image(self, name: str) -> bytes | None: ...

    def gauges(self) -> list[tuple[str, str, Mapping[str, str], float]]: ...


class Told(msgspec.Struct, frozen=True):
    """An answer with the name it can be referred to by."""

    id: str
    model: Model
    answer: Answer
    total_ms: float

    def json(self) -> bytes:
        """Return the whole answer as JSON."""
        head = {
            "model": self.model.name,
            "digest": self.model.digest,
            "task": self.model.task,
            "prediction_id": self.id,
            "calibration": self.model.manifest.calibration.get("method"),
            "timing_ms": {
                "decode": self.answer.timing_ms[0],
                "model": self.answer.timing_ms[1],
                "total": self.total_ms,
            },
        }
        rest = self.answer.prediction
        return msgspec.json.encode(head)[:-1] + (b"," + rest[1:] if len(rest) > 2 else b"}")

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The same facts as headers, for protocols whose answers have no room for them."""
        return [
            (b"x-eyewright-prediction", self.id.encode()),
            (b"x-eyewright-bundle", self.model.digest.encode()),
        ]


class Service:
    """The table of models, the crew that runs them, the log."""

    def __init__(
        self, models: Mapping[str, Model], settings: Settings, crew: Crew, recorder: Recorder | None = None
    ) -> None:
        self.models: dict[str, Model] = dict(models)
        self.settings, self.crew, self.recorder = settings, crew, recorder
        self.challengers: dict[str, str] = {}
        self.files: Any = None
        self.live = LiveSources((), ())
        self.searcher: Searcher | None = None
        self.searching = 0
        self.search_turn = asyncio.Lock()
        self.draining = False
        self.served: list[Callable[[str, float], None]] = []
        self.refused: list[Callable[[str, str], None]] = []
        self._numbers = itertools.count(1)
        self._shadows: set[asyncio.Task[None]] = set()
        self._rng = random.Random(os.urandom(8))  # noqa: S311 - which images are kept is no secret

    @property
    def ready(self) -> bool:
        return self.crew.ready and not self.draining

    @property
    def default(self) -> Model:
        """The model that is meant where none is named: the first."""
        return next(iter(self.models.values()))

    def model(self, name: str) -> Model:
        """Return the model of that name.

        Raises:
            HttpError: there is none.
        """
        found = self.models.get(name)
        if found is None or name in self.challengers.values():
            # The names are those of GET /v1/models, which asks for the same token as this route.
            served = sorted(set(self.models) - set(self.challengers.values()))
            more = f" and {len(served) - _NAMED} more" if len(served) > _NAMED else ""
            fix = f"use one of: {', '.join(served[:_NAMED])}{more}; see /v1/models"
            raise HttpError(404, "model", "there is no model of that name", fix=fix)
        return found

    async def predict(
        self, model: Model, data: bytes, options: Options, *, wants: tuple[str, ...] = ("prediction",)
    ) -> Told:
        """Answer one encoded image, and log the answer before it is given.

        Raises:
            EyewrightError: as the worker, or for a queue that is full or a deadline that passed.
        """
        if not data:
            raise HttpError(400, "empty", "expected an image, found an empty body", fix="send the file's bytes")
        if options.explain:
            wants = (*wants, "explain")
        if options.over_time:
            wants = (*wants, "over_time")
        keeps = self.recorder is not None and self._rng.random() < self.recorder.keep_share
        if keeps:
            wants = (*wants, "picture")
        started = time.monotonic()
        answer = await self._ask(model.name, data, options, wants, started)
        total = time.monotonic() - started
        told = Told(_new_id(), model, answer, round(total * 1000, 2))
        self._note(told)
        for heard in self.served:
            heard(model.name, total)
        for reason in answer.refused:
            for noted in self.refused:
                noted(model.name, reason)
        challenger = self.challengers.get(model.name)
        if challenger is not None and not self.crew.waiting:
            task = asyncio.get_running_loop().create_task(self._shadow(challenger, told.id, data))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)
        return told

    async def predict_tensors(self, model: Model, tensors: dict[str, Array]) -> Answer:
        """Return the raw arrays for prepared arrays by input name.

        Raises:
            EyewrightError: as `predict`.
        """
        started = time.monotonic()
        job = Job(next(self._numbers), b"", started + self.settings.deadline_s, ("raw",), tensors)
        answer = _whole(await self.crew.ask(model.name, job))
        for heard in self.served:
            heard(model.name, time.monotonic() - started)
        return answer

    async def embed_image(self, model: Model, data: bytes) -> tuple[NDArray[np.float32], Doubted]:
        """Return the embedding of an encoded image, float32 (D,), and whether the model was trained on images like it.

        Raises:
            EyewrightError: as `predict`.
        """
        answer = await self._ask(model.name, data, Options(), ("raw", "doubt"), time.monotonic())
        return _vector(answer), msgspec.json.decode(answer.prediction, type=_Told).doubt

    async def embed_words(self, model: Model, words: str) -> tuple[NDArray[np.float32], Doubted]:
        """Return the embedding of a text, float32 (D,), and what of it the model does not read or was not trained on.

        Raises:
            EyewrightError: as `predict`; UsageError: there is no word in it.
        """
        answer = await self._ask(model.name, words.encode(), Options(), ("words",), time.monotonic())
        return _vector(answer), msgspec.json.decode(answer.prediction, type=Doubted)

    async def reduce_image(self, model: Model, data: bytes, side: int) -> bytes:
        """Return an encoded image as JPEG of at most `side` pixels a side; a worker decodes it, as any image.

        Raises:
            EyewrightError: as `predict`.
        """
        job = Job(next(self._numbers), data, time.monotonic() + self.settings.deadline_s, ("thumbnail",), top=side)
        return _whole(await self.crew.ask(model.name, job)).picture

    async def fill(self, model: Model, image: bytes, mask: bytes, filling: Filling) -> Answer:
        """Return an encoded image with a part of it filled, as PNG, by a model that fills holes or without one.

        Raises:
            EyewrightError: as `predict`.
        """
        if not image:
            raise HttpError(400, "empty", "expected an image, found an empty body", fix="send the file's bytes")
        until = time.monotonic() + self.settings.deadline_s
        job = Job(next(self._numbers), image + mask, until, ("inpaint",), filling=filling)
        return _whole(await self.crew.ask(model.name, job))

    def task_of(self, prediction_id: str) -> str | None:
        """Return the task behind a prediction: None if that is not in the log, "" if its model is gone."""
        name = None if self.recorder is None else self.recorder.model_of(prediction_id)
        if name is None:
            return None
        return self.models[name].task if name in self.models else ""

    def labels_of(self, prediction_id: str) -> tuple[str, ...]:
        """Return the classes of the model behind a prediction; none if that is not in the log, or the model is gone."""
        name = None if self.recorder is None else self.recorder.model_of(prediction_id)
        return self.models[name].manifest.labels.names if name in self.models else ()

    async def read_mask(self, model: Model, data: bytes) -> list[dict[str, Any]]:
        """Read a mask of a model's class ids, an encoded image, as objects: a label and a run-length encoding each.

        Raises:
            EyewrightError: as `predict`; UsageError: a model without masks, or a number that is no class.
        """
        task_of(model.task).require("mask")
        if not data:
            raise HttpError(400, "empty", "expected a mask, found an empty body", fix="send the file's bytes")
        answer = await self._ask(model.name, data, Options(), ("mask",), time.monotonic())
        found: list[dict[str, Any]] = msgspec.json.decode(answer.prediction)
        return found

    async def _ask(self, model: str, data: bytes, options: Options, wants: tuple[str, ...], started: float) -> Answer:
        task = task_of(self.models[model].task)
        for option in ("conf", "iou", "top", "coverage", "miss_rate", "sets"):
            if getattr(options, option) is not None:
                task.require(option)
        if options.conf is not None and options.miss_rate is not None:
            raise UsageError("expected conf or miss_rate, found both", fix="leave one out: a miss rate chooses conf")
        if options.coverage is None and (options.coverage_by is not None or options.sets is not None):
            raise UsageError("expected coverage with coverage_by and sets, found none", fix="add coverage=0.9")
        coverage = options.coverage
        if coverage is None and "ambiguous" in self.settings.refuse:
            coverage = self.settings.coverage
        job = Job(
            next(self._numbers),
            data,
            started + self.settings.deadline_s,
            wants,
            None,
            options.conf,
            options.iou,
            options.top,
            coverage,
            options.label,
            options.coverage_by,
            options.sets,
            miss_rate=options.miss_rate,
        )
        return _whole(await self.crew.ask(model, job))

    async def _shadow(self, challenger: str, shadow_of: str, data: bytes) -> None:
        """Let the challenger answer too; whatever happens to it, nobody waits for it."""
        try:
            answer = await self._ask(challenger, data, Options(), ("prediction",), time.monotonic())
        except EyewrightError:
            return
        self._note(Told(_new_id(), self.models[challenger], answer, 0.0), shadow_of=shadow_of)

    def _note(self, told: Told, *, shadow_of: str = "") -> None:
        if self.recorder is None or told.answer.seen is None:
            return
        self.recorder.note(
            Entry(
                told.id,
                time.time(),
                told.model.name,
                told.model.digest,
                told.answer.seen,
                told.total_ms,
                told.answer.picture,
                shadow_of,
            )
        )


class _Told(msgspec.Struct):
    """The part of a prediction that says whether the model was trained on images like the one asked for."""

    doubt: Doubted


def _vector(answer: Answer) -> NDArray[np.float32]:
    found = answer.raw["embedding"]
    return np.frombuffer(found.data, np.dtype(found.dtype)).astype(np.float32).reshape(-1)


def _whole(answer: Answer) -> Answer:
    """Return an answer, or raise what it failed with."""
    if answer.failure is None:
        return answer
    failure = answer.failure
    kind = getattr(errors, failure.kind, EyewrightError)
    if not (isinstance(kind, type) and issubclass(kind, EyewrightError)):
        kind = EyewrightError
    raise kind(failure.message, fix=failure.fix, code=failure.code)


def _new_id() -> str:
    """Return a name that sorts by time and cannot be guessed."""
    return f"{time.time_ns():016x}{os.urandom(6).hex()}"
