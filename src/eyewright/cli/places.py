"""The paths of a command: `~` expanded, never empty, and what is written to held by one command at a time."""

__all__ = ["check_texts", "claimed_by", "naming_option"]

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eyewright.core.errors import EyewrightError, UsageError
from eyewright.scaling.addresses import is_address

# Words that may be empty, and words that are no paths whatever they begin with.
_MAY_BE_EMPTY = frozenset({"steps", "set"})
_NO_PATHS = frozenset(
    {
        "classes",
        "label",
        "labels",
        "ignore",
        "new_class",
        "name",
        "steps",
        "set",
        "policy",
        "group_by",
        "verb",
        "line",
        "zone",
        "pair",
        "case",
    }
)


_POSITIONAL = frozenset({"file", "bundle", "run"})
# The options whose places are written to, or may be: bench --store writes into its bundle.
_WRITTEN = frozenset({"out", "home", "log"}) | _POSITIONAL


def check_texts(options: argparse.Namespace) -> None:
    """Expand `~` in every path of a command, in place, as the shell does where it sees one.

    Raises:
        UsageError: an argument is empty, which as a path would be the current folder; or that folder is gone.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the current folder has been removed", fix="change to another one") from None
    for name, value in vars(options).items():
        if name in ("call", "words"):
            continue
        if isinstance(value, list):
            setattr(options, name, [_checked(name, item, options) for item in value])
        else:
            setattr(options, name, _checked(name, value, options))


def _checked(name: str, value: Any, options: argparse.Namespace) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip() and name not in _MAY_BE_EMPTY:
        option = f"--{name.replace('_', '-')}"
        given = any(word == option or word.startswith(f"{option}=") for word in getattr(options, "words", ()))
        if given:
            raise UsageError(f"expected a value for {option}, found an empty text", fix="write it, or leave it out")
        raise UsageError(f"expected a value for {name.replace('_', '-')}, found an empty text", fix="write it")
    if name in _NO_PATHS or "~" not in value:
        return value
    # NAME=~/a.bundle of serve, hf:~/net of --model.
    for mark in ("=", ":"):
        before, found, path = value.partition(mark)
        if found and path.startswith("~") and "/" not in before:
            return before + found + os.path.expanduser(path)
    return os.path.expanduser(value) if value.startswith("~") else value


def naming_option(error: EyewrightError, options: argparse.Namespace | None) -> EyewrightError:
    """Return an error whose advice names the option that the place came from, where it would name another one.

    >>> error = UsageError("cannot write '/h/lock': permission denied", fix="choose another --out")
    >>> error.path = "/h/lock"
    >>> naming_option(error, argparse.Namespace(out=None, home="/h")).fix
    'choose another --home'
    """
    if options is None or not isinstance(error, UsageError) or error.path is None or "--out" not in error.fix:
        return error
    path = os.path.realpath(error.path)
    best, chosen = "", "out"
    for name, value in vars(options).items():
        if name not in _WRITTEN or not isinstance(value, str):
            continue
        place = os.path.realpath(value)
        if (path == place or path.startswith(place.rstrip("/") + "/")) and len(place) > len(best):
            best, chosen = place, name
    if chosen == "out":
        return error
    named = f"--{chosen.replace('_', '-')}" if chosen not in _POSITIONAL else chosen.upper()
    fix = error.fix.replace("--out", named)
    return type(error)(error.message, fix=fix, code=error.code, details=error.details)


@contextlib.contextmanager
def claimed_by(options: argparse.Namespace) -> Iterator[None]:
    """Hold the folder that a command writes to, so that a second command is refused before it does anything.

    Raises:
        UsageError: another command is writing there.
    """
    out = getattr(options, "out", None)
    follows = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0"
    # Processes elsewhere train into it; the first of them holds it.
    follows = follows or (options.verb in ("train", "harden") and options.on is not None)
    # The verb itself says what is wrong with a file, and the first of several processes holds for all of them. In a
    # store, leases say who does what.
    if out is None or follows or is_address(out) or (os.path.lexists(out) and not os.path.isdir(out)):
        yield
        return
    # Imported only to write: it brings numpy, which help needs not.
    from eyewright.core.files import claimed_output

    with claimed_output(Path(out)):
        yield
