"""The workers, and what waits for them: batches go to the idle, the dead are replaced, nothing waits forever."""

__all__ = ["Crew"]

import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import msgspec

from eyewright.core.errors import (
    BundleError,
    BusyError,
    EyewrightError,
    LateError,
    LimitError,
    LostError,
    UnreadableImageError,
)
from eyewright.core.machine.nursery import Nursery
from eyewright.core.machine.nursery import Worker as Process
from eyewright.core.machine.shared_buffer import SharedBuffer, open_shared_buffer
from eyewright.serving.messages import ANSWERS, FRAME, Answer, Batch, Failure, Job, ModelPlace, Progress
from eyewright.serving.settings import Settings

_LOAD_S = 60.0
_MOST_ANSWER = 512 * 2**20
# An image that may take long to decode runs alone, so that it holds nobody up but itself.
_HEAVY_BYTES = 4 * 2**20
# What takes much longer than a prediction.
_LONG = frozenset({"explain", "over_time", "inpaint"})
_GRACE_S = 0.5
_PIECE = 2**17
# Images of a batch that are given to a worker in one go: a millisecond of the loop's time.
_AT_ONCE = 2 * 2**20


@dataclass(eq=False)
class _Waiting:
    model: str
    job: Job
    done: "asyncio.Future[Answer]"
    arrived: float
    alone: bool = False
    tries: int = 0
    queued: bool = True


@dataclass(eq=False)
class _Worker:
    """One process and its socket; `running` is the batch it is at."""

    process: Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    generation: int
    buffer: SharedBuffer | None = None
    ready: bool = False
    retired: bool = False
    decoded: bool = False
    stopped_for: str = ""
    running: list[_Waiting] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class Crew:
    """Worker processes that answer jobs, with a queue that has an end.

    >>> import asyncio
    >>> asyncio.run(Crew(Settings(workers=1)).close())
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models: tuple[ModelPlace, ...] = ()
        self.restarts = 0
        self.answered = 0
        self._generation = 0
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = {**os.environ, **one, "MALLOC_ARENA_MAX": "2"}
        self._nursery = Nursery((sys.executable, "-m", "eyewright.serving.nursery"), environment, timeout_s=_LOAD_S)
        self._workers: list[_Worker] = []
        self._pending: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._asking = asyncio.Lock()
        self._wake: asyncio.TimerHandle | None = None
        self._failed, self._fix = "", ""

    @property
    def ready(self) -> bool:
        """Whether there is a worker that has loaded every model and passed its self-tests."""
        return any(w.ready and w.generation == self._generation for w in self._workers)

    @property
    def waiting(self) -> int:
        """How many jobs wait for a worker."""
        return len(self._pending)

    @property
    def running(self) -> int:
        """How many jobs workers are at."""
        return sum(len(w.running) for w in self._workers)

    @property
    def processes(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        return tuple(w.process.pid for w in self._workers)

    async def start(self, models: Sequence[ModelPlace]) -> None:
        """Start the workers with these models; those that ran before end when they are idle.

        Raises:
            BundleError: a model cannot be loaded; what ran before continues.
        """
        before, old_models = list(self._workers), self.models
        self._generation += 1
        self.models, self._failed, self._fix = tuple(models), "", ""
        try:
            first = await self._hire()
            await self._until_ready(first)
        except EyewrightError:
            self._generation -= 1
            self.models = old_models
            raise
        for worker in before:
            self._retire(worker)
        for _ in range(self.settings.n_workers - 1):
            self._keep(self._hire_again())

    async def ask(self, model: str, job: Job) -> Answer:
        """Return the answer to one job.

        Raises:
            BusyError: the queue is full.
            LateError: no answer before the job's deadline.
            LostError: its worker died twice, not by this request.
        """
        if len(self._pending) >= self.settings.queue:
            raise BusyError("the server's queue of requests is full", fix="try again in a second")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(model, job, loop.create_future(), time.monotonic())
        waiting.alone = len(job.data) > _HEAVY_BYTES or not _LONG.isdisjoint(job.wants)
        self._pending.append(waiting)
        self._dispatch()
        late = loop.call_later(max(0.0, job.until - time.monotonic()) + _GRACE_S, _set_late, waiting.done)
        try:
            return await waiting.done
        finally:
            late.cancel()
            if not waiting.done.done():
                waiting.done.cancel()
            if waiting.queued:
                self._pending.remove(waiting)

    def _dispatch(self) -> None:
        """Return what waits to whoever is idle, the oldest first, together with others of its model."""
        while self._pending:
            hired = [w for w in self._workers if w.ready and not w.retired]
            worker = next((w for w in hired if not w.running), None)
            if worker is None:
                return
            # Large images and explanations never have every worker: small images go past those that wait.
            heavy = sum(any(w.alone for w in one.running) for one in hired)
            room = heavy < max(1, len(hired) - 1)
            head = next((w for w in self._pending if room or not w.alone), None)
            if head is None:
                return
            # A share of what waits, so that nobody idles beside a full batch.
            fair = -(-len(self._pending) // len(hired))
            most = 1 if head.alone else min(self.settings.max_batch, fair)
            chosen = [w for w in self._pending if w.model == head.model and (not w.alone or w is head)][:most]
            wait = head.arrived + self.settings.max_wait_ms / 1000 - time.monotonic()
            if len(chosen) < self.settings.max_batch and not head.alone and wait > 0.0002:
                if self._wake is None:
                    self._wake = asyncio.get_running_loop().call_later(wait, self._waited)
                return
            taken = set(map(id, chosen))
            self._pending = deque(w for w in self._pending if id(w) not in taken)
            for one in chosen:
                one.queued = False
            self._give(worker, chosen)

    def _waited(self) -> None:
        self._wake = None
        self._dispatch()

    def _give(self, worker: _Worker, chosen: list[_Waiting]) -> None:
        worker.running, worker.decoded, worker.stopped_for = chosen, False, ""
        images = [w.job.data for w in chosen if w.job.data]
        jobs = [msgspec.structs.replace(w.job, data=b"", follows=len(w.job.data)) for w in chosen]
        batch = Batch(chosen[0].model, jobs)
        if sum(map(len, images)) <= _AT_ONCE and all(_write_images(worker, images)):
            worker.writer.write(_framed(batch, in_buffer=True))
        else:
            self._keep(self._hand_over(worker, batch, images))
        loop = asyncio.get_running_loop()
        # A batch of small images has one image's time for each of them, and is looked at again when that has passed.
        worker.timer = loop.call_later(self.settings.decode_s * len(chosen), self._stop, worker, "decode")

    async def _hand_over(self, worker: _Worker, batch: Batch, images: list[bytes]) -> None:
        """Send a worker large images without a copy of the whole; between two pieces the loop serves others."""
        # The worker is gone: its watcher sees to the job.
        with contextlib.suppress(ConnectionError):
            for in_buffer in _write_images(worker, images):
                if not in_buffer:
                    break
                await asyncio.sleep(0)
                if worker not in self._workers:
                    return
            else:
                worker.writer.write(_framed(batch, in_buffer=True))
                return
            worker.writer.write(_framed(batch, in_buffer=False))
            for piece in _pieces(images):
                worker.writer.write(piece)
                await worker.writer.drain()
                await asyncio.sleep(0)

    def _stop(self, worker: _Worker, why: str) -> None:
        worker.stopped_for = why
        worker.process.kill()

    async def _watch(self, worker: _Worker) -> None:
        """Read what a worker says until it is gone, then see to what it was at."""
        try:
            while True:
                (length,) = FRAME.unpack(await worker.reader.readexactly(FRAME.size))
                if length > _MOST_ANSWER:
                    break
                self._heard(worker, ANSWERS.decode(await worker.reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError):
            pass
        self._dismissed(worker)

    def _heard(self, worker: _Worker, said: Progress) -> None:
        if said.state == "ready":
            worker.ready = True
        elif said.state == "failed":
            self._failed, self._fix = said.text, said.fix
        elif said.state == "decoded":
            worker.decoded = True
            if worker.timer is not None:
                worker.timer.cancel()
            latest = max(w.job.until for w in worker.running)
            left = max(0.0, latest - time.monotonic()) + _GRACE_S
            worker.timer = asyncio.get_running_loop().call_later(left, self._stop, worker, "deadline")
        elif said.state == "done":
            if worker.timer is not None:
                worker.timer.cancel()
            by_id = {a.id: a for a in said.answers}
            for waiting in worker.running:
                answer = by_id.get(waiting.job.id)
                if not waiting.done.done():
                    if answer is None:
                        waiting.done.set_exception(LostError("the worker sent no response", fix="try again"))
                    else:
                        waiting.done.set_result(answer)
            self.answered += len(worker.running)
            worker.running = []
            if worker.buffer is not None:
                worker.buffer.clear()
            if worker.retired:
                worker.writer.close()
        self._dispatch()

    def _dismissed(self, worker: _Worker) -> None:
        """See to what a dead worker was at: everything is tried once more, alone, so that only its cause fails."""
        worker.writer.close()
        if worker.timer is not None:
            worker.timer.cancel()
        if worker in self._workers:
            self._workers.remove(worker)
        if worker.buffer is not None:
            worker.buffer.close()
        left, worker.running = worker.running, []
        for waiting in reversed(left):
            if waiting.done.done():
                continue
            blamed = len(left) == 1 and (worker.stopped_for or waiting.tries)
            if blamed:
                waiting.done.set_result(Answer(waiting.job.id, _blame(worker, self.settings)))
            elif waiting.tries:
                waiting.done.set_exception(LostError("the worker that had this request died", fix="try again"))
            else:
                waiting.tries, waiting.alone, waiting.queued = 1, True, True
                self._pending.appendleft(waiting)
        if self._closing or worker.retired:
            return
        if worker.ready:
            self.restarts += 1
            self._keep(self._hire_again())

    async def _hire_again(self) -> None:
        delay = 0.05
        while not self._closing and len([w for w in self._workers if not w.retired]) < self.settings.n_workers:
            try:
                worker = await self._hire()
                await self._until_ready(worker)
                self._dispatch()
                return
            except (EyewrightError, OSError):
                await asyncio.sleep(delay)
                delay = min(2.0, delay * 2)

    async def _hire(self) -> _Worker:
        """Have the nursery start a worker."""
        s = self.settings
        orders = msgspec.msgpack.encode(
            {
                "models": list(self.models),
                "threads": s.threads,
                "memory": s.worker_memory,
                "scaled_decode": s.scaled_decode,
                "refuse": list(s.refuse),
                "coverage": s.coverage,
                "limits": asdict(s.limits),
                "checked": self.ready,
            }
        )
        async with self._asking:
            process = await asyncio.to_thread(self._nursery.start_worker, orders)
        if process is None:
            raise BundleError("no worker process could be started", fix="see whether there is memory left")
        buffer = await asyncio.to_thread(open_shared_buffer, process.channel)
        process.channel.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=process.channel, limit=2**20)
        worker = _Worker(process, reader, writer, self._generation, buffer)
        self._workers.append(worker)
        self._keep(self._watch(worker))
        return worker

    async def _until_ready(self, worker: _Worker) -> None:
        ends = time.monotonic() + _LOAD_S
        while not worker.ready:
            if worker not in self._workers or time.monotonic() > ends:
                self._stop(worker, "start")
                raise BundleError(self._failed or "a worker ended before it was ready", fix=self._fix)
            await asyncio.sleep(0.005)

    def _retire(self, worker: _Worker) -> None:
        worker.retired = True
        if not worker.running:
            worker.writer.close()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> bool:
        """Wait until nothing waits or runs any more; return whether that was so in time."""
        ends = time.monotonic() + seconds
        while self._pending or self.running:
            if time.monotonic() > ends:
                return False
            await asyncio.sleep(0.01)
        return True

    async def close(self) -> None:
        """End every process."""
        self._closing = True
        for waiting in self._pending:
            if not waiting.done.done():
                waiting.done.set_exception(LostError("the server is shutting down", fix="try another server"))
        self._pending.clear()
        for worker in list(self._workers):
            self._stop(worker, "close")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in list(self._workers):
            worker.writer.close()
            if worker.buffer is not None:
                worker.buffer.close()
        await asyncio.to_thread(self._nursery.close)


def _set_late(done: "asyncio.Future[Answer]") -> None:
    if not done.done():
        error = LateError("there was no response before the deadline", fix="try again later, or ask for less")
        done.set_exception(error)


def _framed(batch: Batch, *, in_buffer: bool) -> bytes:
    data = msgspec.msgpack.encode(msgspec.structs.replace(batch, in_buffer=in_buffer))
    return FRAME.pack(len(data)) + data


def _pieces(images: list[bytes]) -> Iterator[memoryview]:
    for image in images:
        view = memoryview(image)
        for at in range(0, len(view), _PIECE):
            yield view[at : at + _PIECE]


def _write_images(worker: _Worker, images: list[bytes]) -> Iterator[bool]:
    """Write the images of a batch to a worker's buffer in pieces; yield whether there is one, with memory for them."""
    at = 0
    for piece in _pieces(images):
        if worker.buffer is None:
            yield False
            return
        try:
            at = worker.buffer.write(at, piece)
        except OSError:
            worker.buffer.close()
            worker.buffer = None
            yield False
            return
        yield True


def _blame(worker: _Worker, settings: Settings) -> Failure:
    """Say what this one request did to its worker."""
    error: EyewrightError
    if worker.stopped_for == "decode":
        error = LimitError(
            f"the image took longer than {settings.decode_s:g} s to decode", fix="save it again", code="decode_timeout"
        )
    elif worker.stopped_for == "deadline":
        error = LateError("the model did not finish before the deadline", fix="ask for less, or try again")
    else:
        error = UnreadableImageError("the decoder crashed on the image", fix="save it again", code="decoder_crashed")
    return Failure(
        "LateError" if isinstance(error, LateError) else type(error).__name__, error.code, error.message, error.fix
    )
