"""The data browser on a port, until it is told to end."""

__all__ = ["Browser"]

import asyncio
import contextlib
import threading
from collections.abc import Callable

from eyewright.core.extras import import_extra
from eyewright.core.machine import signals
from eyewright.serving.browser.app import BrowserApp
from eyewright.serving.browser.editor import Editor
from eyewright.serving.browser.table import Table
from eyewright.serving.listening import open_port, quiet_server, run_loop, uvicorn_config
from eyewright.serving.parsing import end_parsing
from eyewright.serving.settings import Settings


class Browser:
    """A table of images behind HTTP. `work` looks at the images in a thread of its own, while the page is open."""

    def __init__(
        self, table: Table, editor: Editor, settings: Settings, *, work: Callable[[], None] = lambda: None
    ) -> None:
        self.table, self.editor, self.settings, self._work = table, editor, settings, work
        self._port = settings.port

    @property
    def address(self) -> str:
        """Where it listens."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self._port}"

    def run(self, *, ready: "Callable[[Browser], None] | None" = None) -> None:
        """Serve until SIGTERM or SIGINT; `ready` is called once requests are answered. Blocks.

        Raises:
            UsageError: the port is in use or may not be opened.
            MissingExtraError: the extra `serve` is not installed.
        """
        for name in ("uvicorn", "httptools"):
            import_extra(name, extra="serve", what="browsing")
        door = open_port(self.settings)
        self._port = door.getsockname()[1]
        try:
            run_loop(lambda: self._serve(door, ready))
        finally:
            door.close()

    async def _serve(self, door: object, ready: "Callable[[Browser], None] | None") -> None:
        app = BrowserApp(self.table, self.editor, self.settings)
        uvicorn, config = uvicorn_config(app, self.settings, app.pace)
        inner = quiet_server(uvicorn)(config)
        ended = asyncio.Event()
        signals.on_stop(asyncio.get_running_loop(), ended.set)
        serving = asyncio.create_task(inner.serve(sockets=[door]))
        while not inner.started and not serving.done():
            await asyncio.sleep(0.002)
        # It holds no lock and writes nothing: the program may end while it is at work.
        threading.Thread(target=self._work, name="eyewright-browse", daemon=True).start()
        if ready is not None and not serving.done():
            ready(self)
        waiting = asyncio.create_task(ended.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        inner.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(serving, self.settings.drain_s)
        await asyncio.to_thread(end_parsing)
