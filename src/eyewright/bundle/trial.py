"""The first run of a model that this machine does not know: in a process that can be killed, within a deadline.

A model can hold a loop that never ends, a step that takes hours, or one that needs all memory, and a runtime cannot be
interrupted while it opens a model. So the first load of a bundle, with its self-test, happens in a child process. What
passed is remembered by the digest of the bundle's manifest, which covers every file: in memory where this process
wrote the bundle itself, else as an empty file in the user's own cache folder.
"""

__all__ = [
    "TensorInfo",
    "Trial",
    "TrialSession",
    "first_run_s",
    "inherited",
    "is_known",
    "remember",
    "remember_here",
    "try_folder",
]

import contextlib
import hashlib
import importlib.util
import json
import os
import stat
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core import errors
from eyewright.core.errors import BundleError, EyewrightError, UsageError, plain_reason
from eyewright.core.machine import children, disk, limits

FRAME = struct.Struct(">II")
"""What precedes a message: the lengths of its JSON and of the bytes after it."""

_FIRST_RUN_S = 3.5
_MOST_PATIENT = 8.0
_SECONDS = "EYEWRIGHT_FIRST_RUN_S"
_KNOWN = "EYEWRIGHT_KNOWN_BUNDLE"
_START_S = 60.0
_BYTES_A_SECOND = 64 * 2**20
_MOST_ANSWER = 2**30
_MOST_REMEMBERED = 4096
_CHILD = "from eyewright.bundle.trial_child import main; main()"
_here: set[str] = set()


def first_run_s(size: int = 0) -> float:
    """Return how many seconds a first run may take, for a model of `size` bytes.

    On a machine that is busy with other programs, a model that is fine takes longer: the default grows with them. What
    EYEWRIGHT_FIRST_RUN_S says does not.

    Raises:
        UsageError: EYEWRIGHT_FIRST_RUN_S is not a number of seconds.
    """
    text = os.environ.get(_SECONDS, "")
    try:
        seconds = float(text) if text else _FIRST_RUN_S * min(_MOST_PATIENT, limits.crowding())
        if not 0 < seconds < 1e6:
            raise ValueError(text)
    except ValueError:
        raise UsageError(f"expected seconds in {_SECONDS}, found {text!r}", fix="change it") from None
    return seconds + size / _BYTES_A_SECOND


def is_known(digest: str) -> bool:
    """Return whether a bundle with this manifest has passed its first run here, with these versions."""
    if digest in _here or digest == os.environ.get(_KNOWN):
        return True
    try:
        found = os.lstat(_place(digest))
    except OSError:
        return False
    # Somebody else's file, or one that somebody else could have put there, says nothing.
    return stat.S_ISREG(found.st_mode) and disk.is_only_mine(found) and _is_own(_place(digest).parent)


def remember_here(digest: str) -> None:
    """Note for this process that it wrote the bundle itself."""
    _here.add(digest)


def remember(digest: str) -> None:
    """Note that a bundle has passed its first run; where no note can be written, it is tried again next time."""
    _here.add(digest)
    place = _place(digest)
    with contextlib.suppress(OSError):
        if place.exists():
            return
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_own(place.parent):
            _prune(place.parent)
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY | disk.NOFOLLOW | disk.CLOEXEC | disk.BINARY, 0o600))


def inherited(digest: str) -> dict[str, str]:
    """Return the environment for a child process that opens a bundle which has passed here."""
    return {**os.environ, _KNOWN: digest}


def _place(digest: str) -> Path:
    cache_home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache_home, "eyewright", "first-runs", hashlib.sha256(f"{digest} {_versions()}".encode()).hexdigest())


@cache
def _versions() -> str:
    """Return what a first run depends on, apart from the bundle; the runtime by its file, without importing it."""
    own = getattr(sys.modules["eyewright"], "__version__", "")
    spec = importlib.util.find_spec("onnxruntime")
    origin = None if spec is None else spec.origin
    stamp = 0 if origin is None else os.stat(origin).st_mtime_ns
    return f"eyewright {own} numpy {np.__version__} onnxruntime {origin} {stamp}"


def _is_own(folder: Path) -> bool:
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and disk.is_only_mine(found)


def _prune(folder: Path) -> None:
    """Drop the older half of the notes when there are too many."""
    names = os.listdir(folder)
    if len(names) < _MOST_REMEMBERED:
        return
    oldest = sorted(names, key=lambda n: os.lstat(folder / n).st_mtime)[: len(names) // 2]
    for name in oldest:
        os.unlink(folder / name)


def try_folder(job: str, folder: Path, *, size: int, **options: Any) -> None:
    """Have a child process open the bundle or target in `folder` and run its self-test.

    `job` is the function that does it, "module:function"; it comes from our own code, never from a bundle. `size` is
    that of the model.

    Raises:
        EyewrightError: what the child found.
        BundleError: it did not end in time, or crashed.
    """
    with Trial(first_run_s(size), memory=_memory_for(size)) as trial:
        trial.ask(job, {"folder": os.path.abspath(folder), **options})


class Trial:
    """A child process that does what it is asked, one request at a time, in `seconds` of its own work altogether."""

    def __init__(self, seconds: float, *, memory: int) -> None:
        self._seconds, self._left, self._memory = seconds, seconds, memory
        # As this process found its modules; not the current folder, which a stranger may have filled.
        path = os.pathsep.join(dict.fromkeys(os.path.abspath(p) for p in sys.path if p))
        environment = {
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        try:
            # A model that never ends must not outlive the process that tries it.
            self._process = children.start_child((sys.executable, "-P", "-c", _CHILD), environment=environment)
            self._pipes = children.open_pipes(self._process)
        except OSError as error:
            raise BundleError(
                f"no process could be started to try the model: {plain_reason(error)}", fix="free memory"
            ) from error

    def ask(self, job: str, request: Mapping[str, Any], payload: Sequence[bytes] = ()) -> tuple[dict[str, Any], bytes]:
        """Do one request; return the answer as JSON types and bytes.

        Raises:
            EyewrightError: what the job raised.
            BundleError: the time is over, or the process crashed; it is gone then.
        """
        bounds = {"memory": self._memory, "cpu_s": int(self._seconds * (os.cpu_count() or 1)) + 5}
        text = json.dumps({"job": job, "limits": bounds, **request}).encode()
        size = sum(len(part) for part in payload)
        try:
            # Imports are ours and take as long as they take; the time of the model begins after them.
            starts = time.monotonic() + _START_S
            self._pipes.send(FRAME.pack(len(text), size) + text, starts)
            self._receive(starts)
            began = time.monotonic()
            deadline = began + self._left
            for part in payload:
                self._pipes.send(part, deadline)
            answer, data = self._receive(deadline)
            self._left = max(0.1, self._left - (time.monotonic() - began))
        except TimeoutError:
            self.close()
            raise BundleError(
                f"the model's first run did not finish within {self._seconds:.3g} s",
                fix=f"do not use it, or set {_SECONDS}=60 if you know that it is only slow",
                code="first_run_timeout",
            ) from None
        except (EOFError, OSError, ValueError) as error:
            raise self._crash() from error
        if "error" in answer:
            raise _error_from(answer["error"])
        return answer, data

    def close(self) -> None:
        """Kill the process."""
        children.end_child(self._process)

    def _crash(self) -> BundleError:
        code = children.code_of(self._process, 1.0)
        self.close()
        kind, name = limits.reason_of(code)
        why = name if kind == "crash" else "it needed more memory or time than allowed"
        return BundleError(f"the model's first run crashed: {why}", fix="do not use it", code="first_run_crash")

    def _receive(self, deadline: float) -> tuple[dict[str, Any], bytes]:
        length, size = FRAME.unpack(self._pipes.take(FRAME.size, deadline))
        if length > 2**24 or size > _MOST_ANSWER:
            raise ValueError("an output that is too large")
        answer = json.loads(self._pipes.take(length, deadline))
        if not isinstance(answer, dict):
            raise ValueError("an output of another form")
        return answer, self._pipes.take(size, deadline)

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True)
class TensorInfo:
    """A model's input or output as ONNX Runtime describes it."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]


class TrialSession:
    """A model opened in a child process, used as ONNX Runtime's session is; opening and the first run share a deadline.

    Raises:
        BundleError: it cannot be opened, does not end in time, or crashes.
    """

    def __init__(self, model: bytes) -> None:
        self._trial = Trial(first_run_s(len(model)), memory=_memory_for(len(model)))
        try:
            answer, _ = self._trial.ask(f"{_JOBS}:open_model", {}, (model,))
            self._inputs, self._outputs = (list(_infos(answer[k])) for k in ("inputs", "outputs"))
        except BaseException:
            self.close()
            raise

    def get_inputs(self) -> list[TensorInfo]:
        """Return what the model takes."""
        return self._inputs

    def get_outputs(self) -> list[TensorInfo]:
        """Return what the model gives."""
        return self._outputs

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the model; return the outputs of these names, or all.

        Raises:
            BundleError: it cannot be run, does not end in time, or crashes.
        """
        arrays = [np.ascontiguousarray(a) for a in feeds.values()]
        request = {
            "names": list(names) if names is not None else None,
            "feeds": [[k, a.dtype.str, a.shape] for k, a in zip(feeds, arrays, strict=True)],
        }
        answer, data = self._trial.ask(f"{_JOBS}:run_model", request, [a.tobytes() for a in arrays])
        found, at = [], 0
        for code, shape in answer["arrays"]:
            dtype = np.dtype(code)
            if dtype.kind not in "biuf":
                raise BundleError(f"expected numbers from the model, found {dtype}", fix="use another model")
            count = int(np.prod(shape, dtype=np.int64))
            found.append(np.frombuffer(data, dtype, count, at).reshape(shape))
            at += count * dtype.itemsize
        return found

    def close(self) -> None:
        """End the process."""
        self._trial.close()

    def __enter__(self) -> "TrialSession":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


_JOBS = "eyewright.bundle.trial_jobs"


def _infos(rows: Sequence[Sequence[Any]]) -> Iterator[TensorInfo]:
    for name, kind, shape in rows:
        yield TensorInfo(str(name), str(kind), tuple(shape))


def _memory_for(size: int) -> int:
    """Return how much memory a first run may take beyond what a fresh process holds."""
    return 4 * 2**30 + 6 * size


def _error_from(found: Mapping[str, Any]) -> EyewrightError:
    kind = getattr(errors, str(found.get("kind")), BundleError)
    if not (isinstance(kind, type) and issubclass(kind, EyewrightError)):
        kind = BundleError
    return kind(str(found.get("message")), fix=str(found.get("fix", "")), code=str(found.get("code", "bundle")))
