"""Progress for people: a rich bar on stderr, only on a terminal, imported only then."""

__all__ = ["Progress", "track_progress"]

import contextlib
import sys
from collections.abc import Callable, Iterator

Progress = Callable[[int, str], None]


@contextlib.contextmanager
def track_progress(title: str, total: int | None, *, quiet: bool = False) -> Iterator[Progress]:
    """Return `advance(steps, text)`; without a terminal it does nothing and costs nothing.

    >>> with track_progress("reading", 3, quiet=True) as advance:
    ...     advance(1, "")
    """
    if quiet or not sys.stderr.isatty():
        yield lambda steps, text: None
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
