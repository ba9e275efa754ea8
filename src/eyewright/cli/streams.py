"""Standard output and error that may be closed, full, or unable to show a character."""

__all__ = ["STDOUT_CODE", "drop_stdout", "own_streams"]

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any

from eyewright.core.errors import OutputError

STDOUT_CODE = "stdout_not_writable"
"""The code of the error that says so."""

_CLOSED = "it is closed"
_PLAIN, _EXACT = "eyewright.plain", "eyewright.exact"
# What our texts use and code pages such as cp1252 lack.
_PLAINER = {"→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≈": "~", "−": "-", "✓": "ok", "✗": "x", "│": "|", "─": "-"}


def own_streams() -> None:
    """Make this process's streams safe to print to; for programs only, once, before anything else.

    What an encoding cannot show becomes a plainer sign (`->` for an arrow) or, on stdout, a replacement character, on
    stderr an escape; an output that cannot be written raises OutputError; and only Python writes to stderr, since
    libtiff and others print lines there whose words come from the file.
    """
    closed = _open_standard_descriptors()
    out = None if 1 in closed else sys.stdout
    raw: Any = _Closed() if out is None else out.buffer
    encoding = "utf-8" if out is None else out.encoding
    codecs.register_error(_PLAIN, lambda error: _plainer(error, lambda c: "?"))
    codecs.register_error(_EXACT, lambda error: _plainer(error, lambda c: ascii(c)[1:-1]))
    sys.stdout = _Out(raw, encoding=encoding, errors=_PLAIN, line_buffering=out is not None and out.isatty())
    if out is not None:
        # The old one must not close the buffer, which is the new one's.
        _kept.append(out)
    if os.environ.get("EYEWRIGHT_DEBUG"):
        return
    ours = os.dup(2)
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    sys.stderr = os.fdopen(ours, "w", buffering=1, encoding=encoding, errors=_EXACT)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def drop_stdout() -> None:
    """Let what is still to be written to stdout go nowhere: its reader has gone, or it cannot be written."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    if isinstance(sys.stdout, _Out):
        _kept.append(sys.stdout)
        sys.stdout = open(os.devnull, "w", encoding="utf-8")


_kept: list[Any] = []


def _open_standard_descriptors() -> set[int]:
    """Open /dev/null where a standard descriptor is closed: the next file that is opened would take its place."""
    closed: set[int] = set()
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.add(descriptor)
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
    return closed


def _plainer(error: UnicodeError, otherwise: Callable[[str], str]) -> tuple[str, int]:
    """Return what is written for characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAINER.get(c) or otherwise(c) for c in missing), error.end


class _Out(io.TextIOWrapper):
    """Standard output that says in one line why it cannot be written."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritable(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritable(error) from error


class _Closed(io.RawIOBase):
    """What stands for a standard output that was closed before the program began."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise OSError(_CLOSED)


def _unwritable(error: OSError) -> OutputError:
    return OutputError(
        f"cannot write to standard output: {error.strerror or error}", fix="send it elsewhere", code=STDOUT_CODE
    )
