"""The process that runs a model for the first time: it takes requests on its standard input until that is closed."""

__all__ = ["main"]

import contextlib
import importlib
import json
import os
from typing import Any, BinaryIO

from eyewright.bundle.trial import FRAME
from eyewright.core.errors import EyewrightError
from eyewright.core.machine import limits as bounds
from eyewright.core.machine.lifeline import hold_lifeline


def main() -> None:
    """Answer requests, each a job "module:function" of our own code with JSON and bytes."""
    hold_lifeline()
    source = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints must not stand among the answers.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    # When memory is short, this process goes first.
    bounds.end_first(1000)
    limited = False
    while len(head := source.read(FRAME.size)) == FRAME.size:
        length, size = FRAME.unpack(head)
        request = json.loads(source.read(length))
        module, _, name = str(request.pop("job")).partition(":")
        jobs = importlib.import_module(module)
        limits = request.pop("limits")
        # A runtime that is not installed is said by the job itself.
        with contextlib.suppress(EyewrightError, ImportError):
            jobs.prepare(request)
        if not limited:
            _limit(**limits)
            limited = True
        _say(answers, {"ready": True}, [])
        payload = source.read(size)
        try:
            answer, parts = getattr(jobs, name)(request, payload)
        except EyewrightError as error:
            _say(answers, {"error": _told(error)}, [])
        except MemoryError:
            _say(
                answers, {"error": {"message": "the model needs more memory than allowed", "fix": "do not use it"}}, []
            )
        except Exception as error:  # noqa: BLE001 - whatever a hostile file causes is said of the file
            text = f"the model cannot be used: {type(error).__name__}: {error}"
            _say(answers, {"error": {"message": text[:500], "fix": "export the model again"}}, [])
        else:
            _say(answers, answer, parts)


def _told(error: EyewrightError) -> dict[str, str]:
    return {"kind": type(error).__name__, "message": error.message[:2000], "fix": error.fix, "code": error.code}


def _limit(*, memory: int, cpu_s: int) -> None:
    bounds.no_core_dump()
    # Beyond the parent's own deadline: for a parent that is stopped rather than gone.
    bounds.limit_seconds(cpu_s)
    bounds.limit_memory(memory)


def _say(stream: BinaryIO, answer: dict[str, Any], parts: list[bytes]) -> None:
    text = json.dumps(answer).encode()
    stream.write(FRAME.pack(len(text), sum(len(p) for p in parts)) + text)
    for part in parts:
        stream.write(part)
    stream.flush()
