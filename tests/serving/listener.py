"""An application behind the product's own protocol, without the rest of the server."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from eyewright.serving.pace import Pace
from eyewright.serving.settings import Settings
from eyewright.serving.wire import bounded_protocol


@contextlib.asynccontextmanager
async def listening(app: Any, pace: Pace | None = None, **settings: Any) -> AsyncIterator[tuple[int, Any]]:
    """Listen on a port of this machine; yields the port and the connections that are open."""
    import uvicorn

    door = socket.create_server(("127.0.0.1", 0))
    protocol = bounded_protocol(Settings(**settings), Pace(1e9) if pace is None else pace)
    config = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_config=None, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[door])
    try:
        yield door.getsockname()[1], server.server_state.connections
    finally:
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        server.servers[0].close()
