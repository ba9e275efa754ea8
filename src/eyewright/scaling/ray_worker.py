"""A worker on a node of a Ray cluster: what `scaling.worker` is in a process of its own.

Ray imports this class by its name on each node; arguments and answers are JSON text. It imports no Ray.
"""

__all__ = ["RayWorker", "own_version", "refusal_of"]

import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from eyewright.core.errors import EyewrightError, RefusedError
from eyewright.core.machine import limits
from eyewright.imaging.workers import told
from eyewright.scaling.plan import Plan, open_plan
from eyewright.scaling.work import Work, open_work
from eyewright.scaling.worker import do_range


def own_version() -> str:
    """Return the version of Eyewright that this process runs.

    >>> own_version().count(".")
    2
    """
    # The package's own module is above this room.
    return str(getattr(sys.modules["eyewright"], "__version__", ""))


def refusal_of(asked: Mapping[str, Any]) -> dict[str, str] | None:
    """Return why this node cannot do what a command with that `version` and working `folder` asks, as `told` says an
    error; None if it can."""
    node, found = socket.gethostname(), asked["version"]
    if found != own_version():
        error = RefusedError(
            f"the node {node} has Eyewright {own_version()}, this is {found}",
            fix="install the same version on all nodes",
            code="ray",
        )
    elif not os.path.isdir(asked["folder"]):
        error = RefusedError(
            f"the node {node} has no folder {asked['folder']}",
            fix="start the command in a folder that all nodes share",
            code="ray",
        )
    else:
        return None
    return told(error)


class RayWorker:
    """An actor that prepares itself once (`open`), then does the ranges of images that it is given (`do`)."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._work: Work | None = None
        self._count = 0

    def open(self, request: str) -> str:
        """Load the plan and the model; the request names the job's folder, the number of threads, where the model is
        ("": where the plan says), and the version of Eyewright that sends it. Returns `ready`, or why it `refused`."""
        asked = json.loads(request)
        limits.no_core_dump()
        os.environ["OMP_NUM_THREADS"] = str(asked["threads"])
        try:
            if asked["version"] != own_version():
                raise RefusedError(
                    f"the node {socket.gethostname()} has Eyewright {own_version()}, the job runs {asked['version']}",
                    fix="install the same version on all nodes",
                    code="job",
                )
            plan = open_plan(Path(asked["folder"]), check=False)
            self._plan = replace(plan, model=asked["model"] or plan.model)
            self._work = open_work(self._plan, int(asked["threads"]))
        except EyewrightError as error:
            return json.dumps({"refused": told(error)})
        return json.dumps({"ready": {"node": socket.gethostname(), "pid": os.getpid()}})

    def do(self, request: str) -> str:
        """Do a range of images; request and answer are those of a worker process."""
        assert self._plan is not None
        assert self._work is not None
        return json.dumps(do_range(self._plan, self._work, json.loads(request), self._sign))

    def count(self) -> int:
        """Return how many images were done since the start: the sign of life, which another thread gives."""
        return self._count

    def _sign(self, n: int) -> None:
        self._count += 1
