"""A port that is open before anything else starts, uvicorn without its signal handlers, and the event loop."""

__all__ = ["open_port", "quiet_server", "run_loop", "uvicorn_config"]

import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

from eyewright.core.errors import UsageError
from eyewright.core.extras import import_extra
from eyewright.serving.pace import Pace
from eyewright.serving.parsing import short_turns
from eyewright.serving.settings import Settings, is_loopback
from eyewright.serving.wire import bounded_protocol

_log = logging.getLogger("eyewright.serving")

# Where a burst of connections fills it, the kernel drops the next, whose client tries again a second later.
_BACKLOG = 4096
# For so long a connection that has sent nothing is the kernel's: the server does not see it.
_SILENT_S = 5


def uvicorn_config(app: Any, settings: Settings, pace: Pace) -> tuple[Any, Any]:
    """Return uvicorn and its configuration for an application, with the bounds of `settings` on every connection.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
    """
    uvicorn = import_extra("uvicorn", extra="serve", what="serving")
    import_extra("httptools", extra="serve", what="serving")
    # A client's malformed request is no event of the server's; it is counted and answered.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        http=bounded_protocol(settings, pace),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=False,
        timeout_keep_alive=settings.idle_s,
        backlog=_BACKLOG,
    )
    return uvicorn, config


def run_loop(main: Callable[[], Any]) -> None:
    """Run a coroutine function to its end, on uvloop where it is installed."""
    try:
        from uvloop import run
    except ImportError:
        from asyncio import run
    with short_turns():
        run(main())


def quiet_server(uvicorn: Any) -> Any:
    """Return uvicorn's server class without its signal handlers: when to end is decided here."""

    class Quiet(uvicorn.Server):  # type: ignore[misc]
        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield

    return Quiet


def open_port(settings: Settings) -> socket.socket:
    """Bind before anything else is started: a port in use is known at once.

    Raises:
        UsageError: it cannot be opened.
    """
    host = settings.host.strip("[]")
    if host == "localhost":
        host = "127.0.0.1"
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    # The option lets a server start again at once; on Windows it would let two programs have one port.
    own = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR if own is None else own, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Connections inherit it: what the kernel holds for a client that is gone or does not read is given up as well.
        door.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * settings.write_s))
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        # A burst of connections that send nothing takes no time from those who ask, and evicts none of them.
        door.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _SILENT_S)
    try:
        door.bind((host, settings.port))
        # Two sockets may be bound to one port; only one may listen.
        door.listen(_BACKLOG)
    except OSError as error:
        door.close()
        reason = {
            errno.EADDRINUSE: "it is in use",
            errno.EACCES: "this user may not open it",
            errno.EADDRNOTAVAIL: "this machine has no such address",
        }
        raise UsageError(
            f"cannot listen on {settings.host}:{settings.port}: {reason.get(error.errno or 0, error.strerror)}",
            fix="choose another --port, or end what uses it",
            code="port",
        ) from None
    if not is_loopback(settings.host):
        _log.warning("listening on %s: other machines can reach this server; requests need the token", settings.host)
    return door
