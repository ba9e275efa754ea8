"""Decode untrusted images in a process that can be killed.

Caps on the header stop most hostile files, but not one whose cost only shows while it is decoded, and not a decoder
that crashes. A worker has limits on memory, processor time and wall time; the one that breaks them is killed and
replaced, and the file gets a named reason. Files of one's own need none of this and are decoded in process.
"""

__all__ = ["Bounds", "DecodePool", "Worker", "error_from", "told"]

import dataclasses
import json
import queue
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core import errors
from eyewright.core.errors import EyewrightError, LimitError, UnreadableImageError
from eyewright.core.machine import children, limits
from eyewright.imaging.decode import Deep, Depth
from eyewright.imaging.headers import Limits
from eyewright.imaging.worker_start import Orders, Running, make_ready, start_process

FRAME = struct.Struct(">II")
"""What precedes a message: the lengths of its JSON and of the bytes after it."""

_JSON_CAP = 2**20
_DTYPES: Mapping[str, type] = {
    "uint8": np.uint8,
    "uint16": np.uint16,
    "int32": np.int32,
    "uint32": np.uint32,
    "float32": np.float32,
}


@dataclass(frozen=True)
class Bounds:
    """What one request may cost: bytes of memory beyond what a fresh worker holds, seconds of processor and wall time.

    A worker is replaced after so many `answers`, so that what a library leaks ends with it.
    """

    memory: int = 512 * 2**20
    cpu_s: int = 4
    wall_s: float = 2.0
    answers: int = 5000


class Worker:
    """One process that does one job, named `module:function`, for one caller at a time.

    A job takes (request as JSON types, bytes) and gives (answer as JSON types, array or None). The name comes from our
    own code, never from a request.
    """

    def __init__(self, job: str, bounds: Bounds | None = None) -> None:
        self.job = job
        self.bounds = bounds or Bounds()
        self.replaced = 0
        self._process: Running | None = None
        self._answered = 0
        # The worker writes arrays here and the parent reads them with pread: never mapped, since a worker that cuts
        # the file short would then kill its parent by SIGBUS. Without such files arrays come with the answer.
        self._shared = children.SharedBytes()

    def start(self) -> None:
        """Have what a process starts from ready before the first request, and do not wait for it."""
        make_ready()

    @property
    def pid(self) -> int | None:
        """The number of the process, None while there is none."""
        return None if self._process is None else self._process.pid

    def start_process(self) -> None:
        """Start the process now rather than at the first request; `ask` waits until it is ready."""
        if self._process is not None and self._process.alive():
            return
        # One that died by itself is cleared away first.
        self.close_process()
        orders = Orders(self.job, self.bounds.memory, self.bounds.cpu_s)
        self._process = start_process(orders, self._shared)
        self._answered = -1

    def ask(self, request: Mapping[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], NDArray[Any] | None]:
        """Do one request; the time counts from when the process is ready.

        Raises:
            EyewrightError: what the job raised.
            LimitError: it took longer or more memory than its bounds; the process was killed.
            UnreadableImageError: the process crashed.
        """
        if self._answered >= self.bounds.answers:
            self.close_process()
        self.start_process()
        if self._process is None:
            raise RuntimeError("the worker has no process")
        pipes = self._process.pipes
        started = time.monotonic()
        try:
            if self._answered < 0:
                self._receive(pipes, started + 60.0)
                self._answered = 0
                started = time.monotonic()
            text = json.dumps(request).encode()
            deadline = started + self.bounds.wall_s
            pipes.send(FRAME.pack(len(text), len(payload)) + text, deadline)
            pipes.send(payload, deadline)
            answer, size = self._receive(pipes, deadline)
            pixels = self._array(answer, pipes, size, deadline)
        except TimeoutError:
            self._kill()
            raise LimitError(
                f"the image took longer than {self.bounds.wall_s:g} s to decode",
                fix="save it again, or raise the limit",
                code="decode_timeout",
            ) from None
        except (BrokenPipeError, EOFError, ConnectionError) as error:
            raise self._crash() from error
        except BaseException:
            # Left in the middle of a message, a worker cannot be asked again.
            self._kill()
            raise
        self._answered += 1
        if "error" in answer:
            raise error_from(answer["error"])
        return answer, pixels

    def close(self) -> None:
        """End the process and give back what it held."""
        self.close_process()
        self._shared.close()

    def close_process(self) -> None:
        """End the process; the next request starts a new one."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _kill(self) -> None:
        if self._process is not None:
            self.replaced += 1
        self.close_process()
        self._shared.clear()

    def _crash(self) -> EyewrightError:
        code = None if self._process is None else self._process.code(1.0)
        self._kill()
        why, name = limits.reason_of(code)
        if why == "time":
            return LimitError(
                f"the image took more than {self.bounds.cpu_s} s of CPU time",
                fix="save it again",
                code="decode_timeout",
            )
        if why == "memory":
            return LimitError("the image took more memory than there is", fix="shrink it", code="decode_memory")
        return UnreadableImageError(
            f"the decoder crashed on the image ({name})", fix="save it again or remove it", code="decoder_crashed"
        )

    def _receive(self, pipes: children.Pipes, deadline: float) -> tuple[dict[str, Any], int]:
        length, size = FRAME.unpack(pipes.take(FRAME.size, deadline))
        if length > _JSON_CAP:
            raise EOFError
        answer = json.loads(pipes.take(length, deadline))
        if not isinstance(answer, dict):
            raise EOFError
        return answer, size

    def _array(
        self, answer: Mapping[str, Any], pipes: children.Pipes, size: int, deadline: float
    ) -> NDArray[Any] | None:
        if "shape" not in answer:
            return None
        dtype = np.dtype(_DTYPES[answer["dtype"]])
        array = np.empty(tuple(int(n) for n in answer["shape"]), dtype)
        view = memoryview(array.reshape(-1).view(np.uint8).data)
        if self._shared.descriptor < 0:
            if size != array.nbytes:
                raise EOFError
            view[:] = pipes.take(size, deadline)
        else:
            self._shared.read_into(view)
        return array


class DecodePool:
    """Workers that decode images, for callers on any number of threads.

    >>> from eyewright.imaging import encode_image
    >>> with DecodePool(1) as pool:
    ...     pool.read(encode_image(np.zeros((2, 3, 3), np.uint8))).shape
    (2, 3, 3)
    """

    def __init__(
        self,
        workers: int = 1,
        *,
        limits: Limits | None = None,
        bounds: Bounds | None = None,
        job: str = "eyewright.imaging.worker_main:decode",
    ) -> None:
        self.limits = limits or Limits()
        self._workers = [Worker(job, bounds) for _ in range(workers)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._closed = threading.Event()
        for worker in self._workers:
            worker.start_process()
            self._idle.put(worker)

    @property
    def replaced(self) -> int:
        """How many workers were killed or crashed so far."""
        return sum(worker.replaced for worker in self._workers)

    @property
    def processes(self) -> tuple[int, ...]:
        """The process ids of the workers that run."""
        return tuple(w.pid for w in self._workers if w.pid is not None)

    def read(
        self, data: bytes, *, depth: Depth = "8", at_least: tuple[int, int] | None = None, wait_s: float = 60.0
    ) -> Deep:
        """Decode as `read_image` does, in a worker; wait up to `wait_s` seconds for one that is free.

        Raises:
            UnreadableImageError, LimitError, MissingExtraError: as `read_image`; a broken bound is a LimitError.
        """
        if len(data) > self.limits.bytes:
            raise LimitError(f"the file has {len(data)} bytes, over the limit of {self.limits.bytes}", fix="shrink it")
        try:
            worker = self._idle.get(timeout=wait_s)
        except queue.Empty:
            raise LimitError("every decoder is busy", fix="try again later", code="busy") from None
        try:
            request = {"depth": depth, "at_least": at_least, "limits": dataclasses.asdict(self.limits)}
            _, pixels = worker.ask(request, data)
        finally:
            self._idle.put(worker)
        if pixels is None:
            raise RuntimeError("the worker returned no pixels")
        return pixels

    def close(self) -> None:
        """End the workers."""
        if not self._closed.is_set():
            self._closed.set()
            for worker in self._workers:
                worker.close()

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def told(error: EyewrightError) -> dict[str, str]:
    """Return an error as JSON types, for `error_from` in another process."""
    kind = type(error).__name__
    return {"kind": kind, "message": error.message[:2000], "fix": error.fix[:2000], "code": error.code}


def error_from(found: Mapping[str, Any]) -> EyewrightError:
    """Return the error that `told` describes."""
    kind = getattr(errors, str(found.get("kind")), UnreadableImageError)
    if not (isinstance(kind, type) and issubclass(kind, EyewrightError)):
        kind = UnreadableImageError
    return kind(str(found.get("message")), fix=str(found.get("fix", "")), code=str(found.get("code", "input")))
