"""The other side of `workers`: a process that sets its own limits, does its job and answers."""

__all__ = ["decode", "serve"]

import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import EyewrightError, LimitError
from eyewright.core.machine import disk, limits
from eyewright.core.machine.lifeline import hold_lifeline
from eyewright.core.machine.nursery import receive_file, serve_orders
from eyewright.imaging.decode import read_image
from eyewright.imaging.headers import Limits
from eyewright.imaging.workers import FRAME, told

Job = Callable[[Mapping[str, Any], bytes], tuple[dict[str, Any], NDArray[Any] | None]]


def decode(request: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """Decode one image within the limits that came with it."""
    at_least = request["at_least"]
    pixels = read_image(
        data,
        depth=request["depth"],
        limits=Limits(**request["limits"]),
        at_least=None if at_least is None else (at_least[0], at_least[1]),
    )
    return {}, pixels


def serve(job: Job, shared: int, memory: int, cpu_s: int, incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer until the other side is gone."""
    limits.no_core_dump()
    # Where memory runs out, the kernel ends this process rather than its parent, which can name the file.
    limits.end_first(1000)
    limits.limit_memory(memory)
    _answer(outgoing, {"ready": True})
    while len(head := incoming.read(FRAME.size)) == FRAME.size:
        n_text, n_data = FRAME.unpack(head)
        request = json.loads(incoming.read(n_text))
        limits.allow_seconds(cpu_s)
        pixels: NDArray[Any] | None = None
        try:
            # The bytes count too: what does not fit is refused like pixels that do not fit.
            answer, pixels = job(request, incoming.read(n_data))
            if pixels is not None:
                pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
                answer = {**answer, "shape": pixels.shape, "dtype": str(pixels.dtype)}
                if shared >= 0:
                    _write(shared, pixels)
                    pixels = None
        except EyewrightError as error:
            answer, pixels = _refusal(error), None
        except MemoryError:
            pixels = None
            answer = _refusal(
                LimitError("the image needs more memory than allowed", fix="shrink it", code="decode_memory")
            )
        _answer(outgoing, answer, b"" if pixels is None else pixels.reshape(-1).view(np.uint8).data)


def _refusal(error: EyewrightError) -> dict[str, Any]:
    return {"error": told(error)}


def _answer(outgoing: BinaryIO, answer: Mapping[str, Any], payload: bytes | memoryview = b"") -> None:
    text = json.dumps(answer).encode()
    outgoing.write(FRAME.pack(len(text), len(payload)) + text)
    outgoing.write(payload)
    outgoing.flush()


def _write(shared: int, pixels: NDArray[Any]) -> None:
    view, position = memoryview(pixels.reshape(-1).view(np.uint8).data), 0
    os.ftruncate(shared, pixels.nbytes)
    while position < pixels.nbytes:
        position += disk.write_at(shared, view[position:], position)


def _be_fork(channel: socket.socket, message: bytes) -> None:
    """Be a worker that was forked: everything that it would have from its start, it has from its orders."""
    orders = json.loads(message)
    os.environ.clear()
    os.environ.update(orders["environment"])
    sys.path[:] = orders["path"]
    os.chdir(orders["folder"])
    shared = receive_file(channel)
    job = _job_of(orders["job"])
    serve(job, shared, orders["memory"], orders["cpu_s"], channel.makefile("rb"), channel.makefile("wb"))


def _job_of(name: str) -> Job:
    module, _, function = name.partition(":")
    found: Job = getattr(importlib.import_module(module), function)
    return found


def _be_nursery(arguments: list[str]) -> None:
    # What nearly every worker needs, so that none loads it again; the names are those of `isolation`'s jobs.
    importlib.import_module("eyewright.imaging.isolation")
    Image.preinit()
    # What is loaded stays, in pages that the forks share.
    gc.collect()
    gc.freeze()
    serve_orders(arguments, _be_fork, keeps_codes=True)


def main(arguments: list[str]) -> None:
    """Be a worker that was started by itself, or with one argument what workers are forked from."""
    if len(arguments) == 1:
        _be_nursery(arguments)
        return
    hold_lifeline()
    name, shared, memory, cpu_s = arguments
    job = _job_of(name)
    # Ctrl-C reaches the parent, which decides; a print from a library must not land between messages.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve(job, int(shared), int(memory), int(cpu_s), sys.stdin.buffer, outgoing)


if __name__ == "__main__":
    main(sys.argv[1:])
