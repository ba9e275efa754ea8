"""Start worker processes before their driver has read its plan: both take most of their start to import modules."""

__all__ = ["Ahead", "start_ahead", "start_broker", "start_units", "start_worker"]

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from eyewright.core.machine import children
from eyewright.core.machine.limits import usable_cores
from eyewright.scaling.engines import is_ray, ray_address


def start_worker(folder: Path, model: str, threads: int) -> children.Child:
    """Start a worker process of the job in a folder; it ends with this process. `model` says where the model lies; ""
    means where the plan says."""
    return children.start_child(
        (sys.executable, "-m", "eyewright.scaling.worker", str(folder), str(threads), model),
        environment={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )


def start_units(threads: int, *, folder: str | None = None) -> children.Child:
    """Start a process that does units, such as the training of a fold, in a working directory; it ends with this
    process."""
    return children.start_child(
        # The room above knows what units there are.
        (sys.executable, "-m", "eyewright.lifecycle.units"),
        environment={**os.environ, "OMP_NUM_THREADS": str(threads)},
        folder=folder,
    )


def start_broker(address: str, workers: int | None) -> children.Child:
    """Start the process that joins the cluster at an address, or starts one here for so many workers."""
    cores = max(usable_cores(), workers or 0)
    return children.start_child((sys.executable, "-m", "eyewright.scaling.ray_broker", address, str(cores)))


class Ahead:
    """Worker processes that were started ahead of their crew, which takes them; or the broker of a Ray cluster."""

    def __init__(self, processes: list[children.Child], threads: int, broker: children.Child | None = None) -> None:
        self._processes, self.threads, self._broker = processes, threads, broker

    def take_broker(self) -> children.Child | None:
        """Return the broker, if one was started; it is the caller's now."""
        broker, self._broker = self._broker, None
        return broker

    def take(self, most: int, threads: int) -> list[children.Child]:
        """Return at most so many processes, for a crew whose workers have so many threads; they are its own now."""
        if threads != self.threads:
            return []
        taken, self._processes = self._processes[:most], self._processes[most:]
        return taken

    def close(self) -> None:
        """End the processes that no crew has taken."""
        left = self._processes if self._broker is None else [*self._processes, self._broker]
        for process in left:
            children.end_child(process, group=True)
        self._processes, self._broker = [], None


@contextlib.contextmanager
def start_ahead(
    folder: Path, *, model: str = "", workers: int | None = None, on: str = "local"
) -> Iterator[Ahead | None]:
    """Start the workers of a job that is continued, if there is one, or join the Ray cluster that it is done `on`; what
    nobody takes is ended at the end."""
    if is_ray(on):
        ahead = Ahead([], 0, start_broker(ray_address(on), workers))
        try:
            yield ahead
        finally:
            ahead.close()
        return
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
