"""Start worker processes before their driver has read its plan: both take most of their start to import modules."""

__all__ = ["Ahead", "start_ahead", "start_worker"]

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from eyewright.core.machine import children
from eyewright.core.machine.limits import usable_cores


def start_worker(folder: Path, model: str, threads: int) -> children.Child:
    """Start a worker process of the job in a folder; it ends with this process. `model` says where the model lies; ""
    means where the plan says."""
    return children.start_child(
        (sys.executable, "-m", "eyewright.scaling.worker", str(folder), str(threads), model),
        environment={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )


class Ahead:
    """Worker processes that were started ahead of their crew, which takes them."""

    def __init__(self, processes: list[children.Child], threads: int) -> None:
        self._processes, self.threads = processes, threads

    def take(self, most: int, threads: int) -> list[children.Child]:
        """Return at most so many processes, for a crew whose workers have so many threads; they are its own now."""
        if threads != self.threads:
            return []
        taken, self._processes = self._processes[:most], self._processes[most:]
        return taken

    def close(self) -> None:
        """End the processes that no crew has taken."""
        for process in self._processes:
            children.end_child(process, group=True)
        self._processes = []


@contextlib.contextmanager
def start_ahead(folder: Path, *, model: str = "", workers: int | None = None) -> Iterator[Ahead | None]:
    """Start the workers of a job that is continued, if there is one; those that nobody takes are ended at the end."""
    if not (folder / "plan" / "plan.json").is_file():
        yield None
        return
    cores = usable_cores()
    n = workers or cores
    threads = max(1, cores // n)
    ahead = Ahead([start_worker(folder, model, threads) for _ in range(min(n, cores))], threads)
    try:
        yield ahead
    finally:
        ahead.close()
