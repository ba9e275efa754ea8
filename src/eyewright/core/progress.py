"""Progress for people: a rich bar on stderr of a terminal, a bar in the output of a notebook's cell, else nothing."""

__all__ = ["Progress", "track_progress"]

import contextlib
import html
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from eyewright.core.durations import show_duration

Progress = Callable[[int, str], None]

# What is done within this time shows no bar in a notebook, where a bar stays in the saved output.
_SHOWN_AFTER_S = 1.0
# Every update is a message to the browser.
_LEAST_BETWEEN_S = 0.2


class _Displayed(Protocol):
    """The handle of an output that can be replaced, as IPython gives it."""

    def update(self, obj: object) -> None: ...


@contextlib.contextmanager
def track_progress(title: str, total: int | None, *, quiet: bool = False) -> Iterator[Progress]:
    """Return `advance(steps, text)`; without a terminal or a notebook it does nothing and costs nothing.

    >>> with track_progress("reading", 3, quiet=True) as advance:
    ...     advance(1, "")
    """
    if quiet or not (sys.stderr.isatty() or _in_notebook()):
        yield lambda steps, text: None
        return
    if not sys.stderr.isatty():
        bar_ = _NotebookBar(title, total)
        try:
            yield bar_.advance
        finally:
            bar_.end()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = ("[progress.description]{task.description}", BarColumn(bar_width=30), TaskProgressColumn())
    with Bar(
        *columns, TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=Console(stderr=True), transient=True
    ) as bar:
        job = bar.add_task(title, total=total, text="")
        yield lambda steps, text: bar.update(job, advance=steps, text=text)


def _in_notebook() -> bool:
    """Return whether the code runs in the kernel of a notebook; IPython is looked for only where it is loaded."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class _NotebookBar:
    """A bar in the output of the cell, which shows after a second and ends as one line that says how long it took."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title, self._total = title, total
        self._done, self._text = 0, ""
        self._started = self._drawn = time.monotonic()
        self._shown: _Displayed | None = None

    def advance(self, steps: int, text: str) -> None:
        """Count steps, and draw the bar when it is due."""
        self._done, self._text = self._done + steps, text
        now = time.monotonic()
        if now - self._started >= _SHOWN_AFTER_S and now - self._drawn >= _LEAST_BETWEEN_S:
            self._draw(self._running(now - self._started), now)

    def end(self) -> None:
        """Replace the bar, if it was shown, by a line."""
        if self._shown is not None:
            now = time.monotonic()
            took = show_duration(now - self._started)
            if self._total is not None and self._done < self._total:
                took = f"stopped at {self._done / self._total:.0%} after {took}"
            self._draw(f"{html.escape(self._title)}: {took} {html.escape(self._text)}", now)

    def _running(self, seconds: float) -> str:
        """Return the bar as HTML: how much is done, the time left, and the text of the last step."""
        if self._total is None:
            bar, how_far = "<progress></progress>", f"{self._done:,}"
        else:
            bar = f'<progress max="{self._total}" value="{min(self._done, self._total)}"></progress>'
            how_far = f"{min(1.0, self._done / max(1, self._total)):.0%}"
            if 0 < self._done < self._total:
                how_far += f", {show_duration(seconds * (self._total - self._done) / self._done)} left"
        return f"{html.escape(self._title)} {bar} {how_far} {html.escape(self._text)}"

    def _draw(self, content: str, now: float) -> None:
        display = importlib.import_module("IPython.display")
        drawn = display.HTML(f'<div role="status" style="font-variant-numeric: tabular-nums">{content}</div>')
        if self._shown is None:
            self._shown = display.display(drawn, display_id=True)
        else:
            self._shown.update(drawn)
        self._drawn = now
