"""Serve bundles at one address by servers on the nodes of a Ray cluster."""

__all__ = ["serve_replicas"]

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable, Sequence

from eyewright.core.errors import EyewrightError
from eyewright.core.machine import signals
from eyewright.scaling.engines import ray_address
from eyewright.scaling.ray_replicas import RayReplicas
from eyewright.serving.front import Front, serve_front
from eyewright.serving.listening import open_port, run_loop
from eyewright.serving.settings import Settings

_log = logging.getLogger("eyewright.serving")

_WAIT_S = 0.5


def serve_replicas(
    words: Sequence[str],
    settings: Settings,
    *,
    on: str = "ray",
    replicas: int | None = None,
    ready: Callable[[str, int], None] = lambda address, replicas: None,
) -> None:
    """Listen as `settings` says, and forward requests to servers on a Ray cluster, by default one per node, until
    SIGTERM or SIGINT. Blocks. `words` are those of `eyewright serve` for each of them: bundles and options. `ready` is
    called with the address and the number of replicas once one of them answers.

    A replica that ends, or whose node is lost, is replaced. Requests that were being answered by it are sent to another
    one, and are answered with 503 and Retry-After if there is none.

    Raises:
        UsageError: the port is in use.
        EyewrightError: the cluster refuses, it is lost, or no server starts.
    """
    secret = secrets.token_hex(16)
    failed: list[EyewrightError] = []

    async def main() -> None:
        door = open_port(settings)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"http://{host}:{door.getsockname()[1]}"
        front, ended, loop = Front(settings, secret), asyncio.Event(), asyncio.get_running_loop()
        signals.on_stop(loop, ended.set)
        crew = RayReplicas(words, secret, address=ray_address(on), replicas=replicas)
        closing = threading.Event()

        def follow() -> None:
            try:
                while not closing.is_set():
                    for one in crew.wait(_WAIT_S):
                        if one.port:
                            loop.call_soon_threadsafe(front.join, one.name, one.host, one.port)
                        else:
                            _log.warning("a replica has ended; another one is started")
                            loop.call_soon_threadsafe(front.leave, one.name)
            except EyewrightError as error:
                failed.append(error)
                loop.call_soon_threadsafe(ended.set)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            await serve_front(front, door, ended, ready=lambda: ready(address, crew.size))
        finally:
            closing.set()
            await asyncio.to_thread(follower.join)
            await asyncio.to_thread(crew.close)

    run_loop(main)
    if failed:
        raise failed[0]
