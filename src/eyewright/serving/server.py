"""A server from its settings: workers up, self-tests passed, port open, until it is told to end; then it drains."""

__all__ = ["Server", "run_server"]

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eyewright.core.errors import EyewrightError
from eyewright.core.extras import import_extra
from eyewright.core.machine import signals
from eyewright.serving.app import App
from eyewright.serving.crew import Crew
from eyewright.serving.listening import open_port, quiet_server, run_loop, uvicorn_config
from eyewright.serving.live import LiveSources
from eyewright.serving.models import Model, load_table
from eyewright.serving.parsing import end_parsing
from eyewright.serving.protocols.label_studio import Files
from eyewright.serving.searching import Searcher
from eyewright.serving.service import Recorder, Service
from eyewright.serving.settings import Settings

_log = logging.getLogger("eyewright.serving")

Table = Callable[[], tuple[Mapping[str, Model], Mapping[str, str]]]


class Server:
    """One or many bundles behind HTTP. `table` gives the models by name and the challengers that also answer.

    >>> Server(lambda: ({}, {}), Settings()).address
    'http://127.0.0.1:8000'
    """

    def __init__(
        self,
        table: Table,
        settings: Settings,
        *,
        recorder: Recorder | None = None,
        files: Path | None = None,
        live: LiveSources | None = None,
        searcher: Searcher | None = None,
    ) -> None:
        self.settings = settings
        self._table, self._recorder, self._files = table, recorder, files
        self._live = live or LiveSources((), ())
        self._searcher = searcher
        self._port = settings.port
        self._ended = asyncio.Event()
        self._reloading = asyncio.Lock()
        self.service: Service | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self._port}"

    def stop(self) -> None:
        """Take no new requests, answer those that came, then end."""
        self._ended.set()

    async def serve(self, *, ready: Callable[["Server"], None] | None = None) -> None:
        """Serve until `stop`; `ready` is called once requests are answered.

        Raises:
            UsageError: the port is in use or may not be opened.
            BundleError, PolicyError: a model is refused.
        """
        for name in ("uvicorn", "httptools", "python_multipart"):
            import_extra(name, extra="serve", what="serving")
        door = open_port(self.settings)
        self._port = door.getsockname()[1]
        crew = Crew(self.settings)
        try:
            models, challengers = await asyncio.to_thread(self._table)
            self.service = service = Service(models, self.settings, crew, self._recorder)
            service.challengers = dict(challengers)
            service.files = Files(self._files)
            service.live = self._live
            service.searcher = self._searcher
            app = App(service, self.settings, reload=self.reload)
            await crew.start([m.place for m in models.values()])
            self._live.use(models)
            uvicorn, config = uvicorn_config(app, self.settings, app.pace)
            inner = quiet_server(uvicorn)(config)
            serving = asyncio.create_task(inner.serve(sockets=[door]))
            while not inner.started and not serving.done():
                await asyncio.sleep(0.002)
            gc.freeze()
            if ready is not None and not serving.done():
                ready(self)
            ended = asyncio.create_task(self._ended.wait())
            await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            # Readiness goes first, so that whoever sends requests stops; then what came is answered.
            service.draining = True
            await self._live.close()
            await crew.drain(self.settings.drain_s)
            inner.should_exit = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(serving, self.settings.drain_s)
        finally:
            door.close()
            await self._live.close()
            await crew.close()
            await asyncio.to_thread(end_parsing)

    async def reload(self) -> None:
        """Read the table of models again, with workers that take over when they are ready.

        Raises:
            BundleError, PolicyError: one is refused; those before continue.
        """
        if self.service is None:
            return
        async with self._reloading:
            models, challengers = await asyncio.to_thread(self._table)
            await self.service.crew.start([m.place for m in models.values()])
            self.service.models, self.service.challengers = dict(models), dict(challengers)
            self._live.use(models)


def run_server(
    bundles: Sequence[str | Path] = (),
    settings: Settings | None = None,
    *,
    table: Table | None = None,
    recorder: Recorder | None = None,
    files: Path | None = None,
    policy: Mapping[str, float] | None = None,
    live: LiveSources | None = None,
    searcher: Searcher | None = None,
    ready: Callable[[Server], None] | None = None,
) -> None:
    """Serve bundles until SIGTERM or SIGINT; SIGHUP, where it exists, reads the models again. Blocks.

    Raises:
        EyewrightError: as `Server.serve`.
    """
    chosen = settings or Settings()

    def given() -> tuple[Mapping[str, Model], Mapping[str, str]]:
        return load_table(bundles, policy), {}

    async def main() -> None:
        server = Server(table or given, chosen, recorder=recorder, files=files, live=live, searcher=searcher)
        loop = asyncio.get_running_loop()
        signals.on_stop(loop, server.stop)
        held: set[Any] = set()

        def again() -> None:
            task = loop.create_task(_reload_quietly(server))
            held.add(task)
            task.add_done_callback(held.discard)

        signals.on_reload(loop, again)
        await server.serve(ready=ready)

    run_loop(main)


async def _reload_quietly(server: Server) -> None:
    try:
        await server.reload()
    except (EyewrightError, OSError) as error:
        _log.error("the models could not be read again; the previous ones stay in use: %s", error)
