"""Every error a user can meet, on one page.

Each error says what was expected, what was found and what to do (`fix`), and carries the exit code that the command
line ends with. Anything that is not an `EyewrightError` is a bug in Eyewright and ends with 70.
"""

__all__ = [
    "BudgetError",
    "BundleError",
    "BusyError",
    "CheckpointError",
    "DatasetError",
    "EyewrightError",
    "InputError",
    "LateError",
    "LeakError",
    "LimitError",
    "LostError",
    "MissingExtraError",
    "OutputError",
    "PackageError",
    "ParityError",
    "PolicyError",
    "RefusedError",
    "UnreadableImageError",
    "UsageError",
    "plain_reason",
    "spelling_hint",
]

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

_MOST_NAMES = 40


class EyewrightError(Exception):
    """Base of every error raised on purpose.

    >>> error = EyewrightError("expected a folder, found a file", fix="pass the folder that holds it")
    >>> str(error)
    'expected a folder, found a file; pass the folder that holds it'
    """

    code = "error"
    exit_code = 70

    def __init__(
        self, message: str, *, fix: str = "", code: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        # What a program may want to know beside the sentence, as plain JSON types.
        self.details = dict(details or {})
        self.message = _one_line(message)
        self.fix = _one_line(fix)
        if code is not None:
            self.code = code
        super().__init__(f"{self.message}; {self.fix}" if self.fix else self.message)


class UsageError(EyewrightError):
    """The command, option, recipe or argument is not one we know (exit 2).

    `path` is the place for the output that cannot be used, where that is the reason: the command line names its option.
    """

    code = "usage"
    exit_code = 2
    path: str | None = None


class OutputError(UsageError):
    """The place named for the output cannot be written: missing, read-only, full (exit 2)."""

    code = "output_not_writable"


class MissingExtraError(UsageError):
    """An optional dependency is not installed; the fix is the install line (exit 2)."""

    code = "missing_extra"


class PackageError(UsageError):
    """What an installed package adds cannot be used: not importable, contradictory, or its code failed (exit 2)."""

    code = "package"


class InputError(EyewrightError):
    """The input cannot be read (exit 3)."""

    code = "input"
    exit_code = 3


class UnreadableImageError(InputError):
    """These bytes are not an image that we read (exit 3)."""

    code = "unreadable_image"


class LimitError(UnreadableImageError):
    """The image is larger than the limits allow; it was refused before decoding (exit 3)."""

    code = "image_over_limit"


class DatasetError(InputError):
    """The dataset is empty, of no known format, or contradicts itself (exit 3)."""

    code = "dataset"


class LeakError(DatasetError):
    """The same or nearly the same image lies on both sides of a split (exit 3)."""

    code = "leak"


class RefusedError(EyewrightError):
    """A model or bundle was refused (exit 4)."""

    code = "refused"
    exit_code = 4


class BundleError(RefusedError):
    """A bundle that is damaged, changed, of a newer format, or disagrees with itself (exit 4)."""

    code = "bundle"


class CheckpointError(RefusedError):
    """A run folder whose weights are damaged or belong to another recipe (exit 4)."""

    code = "checkpoint"


class ParityError(RefusedError):
    """The exported model disagrees with the trained one (exit 4)."""

    code = "parity"


class PolicyError(RefusedError):
    """A model whose evidence is below the policy it has to keep (exit 4)."""

    code = "policy"


class BusyError(EyewrightError):
    """More requests wait than are allowed to wait (exit 70; over HTTP 503)."""

    code = "busy"


class LateError(EyewrightError):
    """There was no answer before the deadline (exit 70; over HTTP 504)."""

    code = "deadline"


class LostError(EyewrightError):
    """The process that had the request died, and not by it (exit 70; over HTTP 503)."""

    code = "worker_lost"


class BudgetError(EyewrightError):
    """What was asked for does not fit in the budget that was asked for (exit 5)."""

    code = "budget"
    exit_code = 5


def spelling_hint(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest known name; nothing is ever corrected silently.

    >>> spelling_hint("adamm", ["adam", "sgd"])
    "did you mean 'adam'?"
    >>> spelling_hint("zzz", ["adam", "sgd"])
    'choose one of: adam, sgd'
    >>> spelling_hint("zzz", (str(n) for n in range(1000)))[-39:]
    '13, 130, 131, 132, 133, … (1,000 names)'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    # Names of images and clients come from the data: there can be millions.
    more = f", … ({len(names):,} names)" if len(names) > _MOST_NAMES else ""
    return "choose one of: " + ", ".join(names[:_MOST_NAMES]) + more


def plain_reason(error: BaseException) -> str:
    """Say why something failed, for a message that names the file itself: what the system calls an error of a file,
    without its number and the path; of an `EyewrightError` the message, without the fix; of a key its name.

    >>> plain_reason(FileNotFoundError(2, "No such file or directory", "a.csv")), plain_reason(ValueError("no"))
    ('No such file or directory', 'no')
    >>> plain_reason(KeyError("scale")), plain_reason(UsageError("expected 1, found 2", fix="change it"))
    ("the key 'scale' is missing", 'expected 1, found 2')
    """
    if isinstance(error, EyewrightError):
        return error.message
    if isinstance(error, KeyError) and error.args:
        return f"the key {error.args[0]!r} is missing"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _one_line(text: str) -> str:
    """Keep a message on one line: file names may hold newlines and control characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
