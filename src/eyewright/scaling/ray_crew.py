"""A crew of workers on the nodes of a Ray cluster."""

__all__ = ["RayCrew"]

import os

from eyewright.core.machine import children
from eyewright.scaling.engine import Outcome, Task, asked_of, settled
from eyewright.scaling.plan import Plan
from eyewright.scaling.ray_link import RayLink
from eyewright.scaling.ray_worker import own_version


class RayCrew:
    """Workers of a job on a Ray cluster: at `address`, or one of this machine alone that is started for the job and
    ends with it. By default a worker per core; one that does no image for `timeout_s` is ended. A `broker` that was
    started ahead is used.

    The leases are this process's, and it alone commits: workers write rows to files that it names. What dies, a worker,
    a node, the cluster or this process, costs the shards that were being worked on.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        address: str = "",
        workers: int | None = None,
        timeout_s: float = 300.0,
        broker: children.Child | None = None,
    ) -> None:
        about = {
            "kind": "shards", "folder": os.path.abspath(plan.folder), "model": plan.model, "version": own_version(),
            "shards": plan.n_shards, "timeout_s": timeout_s,
        }  # fmt: skip
        self._link = RayLink(about, address=address, workers=workers, broker=broker)
        self._flying: dict[str, Task] = {}

    @property
    def idle(self) -> int:
        """How many more tasks can be given now: workers that are ready and have none."""
        return self._link.idle

    def give(self, task: Task) -> None:
        """Have a task done."""
        request = asked_of(task)
        self._flying[str(request["out"])] = task
        self._link.give(request)

    def wait(self, timeout_s: float) -> list[Outcome]:
        """Return what has ended, at the latest after `timeout_s`.

        Raises:
            EyewrightError: the cluster or the workers refuse, or cannot write.
            LostError: the cluster is gone, or no worker can be started.
        """
        found = []
        for out, message in self._link.wait(timeout_s):
            task = self._flying.pop(out)
            if "gone" in message:
                found.append(Outcome(task, failure=f"the image ended its worker: {message['gone']}"))
            else:
                found.append(settled(task, message))
        return found

    def close(self) -> None:
        """End all work at once, and the cluster if it was started here."""
        self._link.close()
