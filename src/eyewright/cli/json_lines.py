"""Rows that are on disk as soon as they are made, so that a killed process leaves all that are done."""

__all__ = ["LinesFile", "join_lines"]

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any


class LinesFile:
    """A file that is opened at its first line and holds every line at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None

    @property
    def begun(self) -> bool:
        """Whether there is a line."""
        return self._file is not None

    def add(self, lines: str) -> None:
        """Write whole lines.

        Raises:
            OutputError: they cannot be written.
        """
        from eyewright.core.files import checked_output

        with checked_output(self.path.parent):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self.path, "wb", buffering=0)
            self._file.write(lines.encode("utf-8", "surrogateescape"))

    def close(self) -> None:
        """Close the file, which stays."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> "LinesFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def join_lines(lines: Path) -> Path:
    """Make one JSON list of a file of JSON lines, in its place with the ending `.json`, and return its path."""
    from eyewright.core.files import write_parts

    def parts() -> Iterator[bytes]:
        start = b"[\n"
        with open(lines, "rb") as file:
            for line in file:
                yield start + line.rstrip(b"\n")
                start = b",\n"
        yield b"\n]\n"

    path = lines.with_suffix(".json")
    write_parts(path, parts())
    lines.unlink()
    return path
