"""Start worker processes before their driver has read its plan: both take most of their start to import modules."""

__all__ = ["Ahead", "start_ahead", "start_worker"]

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from eyewright.core.lifeline import lifeline, lifeline_environment


def start_worker(folder: Path, model: str, threads: int) -> "subprocess.Popen[bytes]":
    """Start a worker process of the job in a folder; it ends with this process. `model` says where the model lies; ""
    means where the plan says."""
    environment = {**os.environ, **lifeline_environment(), "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        (sys.executable, "-m", "eyewright.scaling.worker", str(folder), str(threads), model),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Libraries print what a file tells them to print; nobody reads it.
        stderr=subprocess.DEVNULL,
        pass_fds=(lifeline(),),
        env=environment,
        start_new_session=True,
    )


class Ahead:
    """Worker processes that were started ahead of their crew, which takes them."""

    def __init__(self, processes: list["subprocess.Popen[bytes]"], threads: int) -> None:
        self._processes, self.threads = processes, threads

    def take(self, most: int, threads: int) -> list["subprocess.Popen[bytes]"]:
        """Return at most so many processes, for a crew whose workers have so many threads; they are its own now."""
        if threads != self.threads:
            return []
        taken, self._processes = self._processes[:most], self._processes[most:]
        return taken

    def close(self) -> None:
        """End the processes that no crew has taken."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
            process.wait()
        self._processes = []


@contextlib.contextmanager
def start_ahead(folder: Path, *, model: str = "", workers: int | None = None) -> Iterator[Ahead | None]:
    """Start the workers of a job that is continued, if there is one; those that nobody takes are ended at the end."""
    if not (folder / "plan" / "plan.json").is_file():
        yield None
        return
    cores = len(os.sched_getaffinity(0))
    n = workers or cores
    threads = max(1, cores // n)
    ahead = Ahead([start_worker(folder, model, threads) for _ in range(min(n, cores))], threads)
    try:
        yield ahead
    finally:
        ahead.close()
