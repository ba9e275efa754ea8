"""Commands that a signal ends: with a documented exit code, and a line that says what was done and how to continue."""

__all__ = ["EndedError", "ended_with", "ended_words"]

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eyewright.core.errors import EyewrightError

_WORDS = {130: "interrupted", 143: "terminated"}
_MOST_NAMES = 4


class EndedError(EyewrightError):
    """An exit that is not an input error: a signal, or a bug in Eyewright."""

    def __init__(self, message: str, fix: str, exit_code: int, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, fix=fix, code=_WORDS.get(exit_code, "fault"), details=details)
        self.exit_code = exit_code


def ended_with(error: BaseException) -> int | None:
    """Return the exit code of the signal that raised an exception; None where it was something else.

    >>> ended_with(KeyboardInterrupt()), ended_with(SystemExit(143)), ended_with(SystemExit(2))
    (130, 143, None)
    """
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 143 if isinstance(error, SystemExit) and error.code == 143 else None


def ended_words(
    code: int,
    n: int,
    unit: str,
    paths: Iterable[Path],
    *,
    live: bool = False,
    asked: bool = True,
    details: Mapping[str, Any] | None = None,
) -> EndedError:
    """Return what is said of a command that a signal ended after `n` frames, images or clips.

    `paths` are the files and folders that hold them; `live` is a source without an end; `asked` says whether
    anything was to be written.

    >>> str(ended_words(130, 1, "frame", [Path("/a/out/walk.txt")], live=True))
    'interrupted after 1 frame, written to /a/out: walk.txt; run it again with another --out to continue'
    """
    from eyewright.cli.terminal import shown_path

    done = f"{_WORDS[code]} after {n:,} {unit}{'s' * (n != 1)}"
    given = list(dict.fromkeys(paths))
    # A folder of images is said by itself only where nothing else is in it.
    written = [p for p in given if not any(p in other.parents for other in given)]
    if not written or not n:
        fix = "run it again" if asked or not n else "run it again; pass --out DIR to have what is done on disk"
        return EndedError(done, fix, code, details)
    folder = written[0].parent
    names = [p.name + "/" * p.is_dir() for p in written if p.parent == folder]
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    text = f"{done}, written to {shown_path(folder)}: {', '.join(names[:_MOST_NAMES])}{more}"
    fix = "run it again with another --out to continue"
    if not live:
        fix = "run it again: it starts from the beginning and replaces these files"
    return EndedError(text, fix, code, details)
