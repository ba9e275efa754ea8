"""What workers do, one entry per verb: the seam between the engine and predict, process and others."""

__all__ = ["WORKS", "Work", "open_work"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Protocol

from eyewright.scaling.listing import Item
from eyewright.scaling.plan import Plan
from eyewright.scaling.rows import Row


class Work(Protocol):
    """What a worker process has prepared, such as a model that it has loaded."""

    def rows(self, items: Sequence[Item], first: int, shard: int) -> Iterator[Row]:
        """Yield one row per item of a shard, in order, numbered from `first`; an image that cannot be used is a row
        with its error. Other files are staged under names of the shard (`ledger.staged_name`), so that those of a
        process that died are removed.

        An error that is raised counts against all items: the engine does them again in smaller parts.
        """
        ...


WORKS: Mapping[str, str] = {
    "predict": "eyewright.scaling.predicting:open_predict",
    "process": "eyewright.scaling.processing:open_process",
    "encode": "eyewright.scaling.encoding:open_encode",
    "index": "eyewright.lifecycle.index_jobs:open_index_work",
    "evaluate": "eyewright.lifecycle.evaluate_jobs:open_evaluate_work",
}
"""The function that prepares a worker, by verb. Only these names are imported: a plan is data and names no code. Those
of a higher room are found by name, as tasks find their reports."""


def open_work(plan: Plan, threads: int) -> Work:
    """Prepare a worker of a job that computes with so many threads.

    Raises:
        EyewrightError: the model is not the planned one, or cannot be used.
    """
    module, _, function = WORKS[plan.verb].partition(":")
    opened: Callable[[Plan, int], Work] = getattr(import_module(module), function)
    return opened(plan, threads)
