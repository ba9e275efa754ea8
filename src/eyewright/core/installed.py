"""What other installed packages add, found by their entry points; nothing of theirs is imported before it is used."""

__all__ = [
    "GROUPS",
    "Guarded",
    "blamed",
    "import_own",
    "import_place",
    "installed",
    "open_installed",
    "package_of",
    "versions_of",
    "what_was_raised",
]

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import EyewrightError, PackageError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "eyewright.tasks": "a `core.task.Task`",
        "eyewright.nets": "a builder, called as `builder(n_classes, channels=..., size_hw=...)`, that gives a net",
        "eyewright.steps": "an `imaging.steps.Kind`, a step of image processing",
        "eyewright.training_steps": "a `training.steps.Step`, called as `step(state, batch)`, that gives the loss",
        "eyewright.readers": "a `data.readers.Reader`",
        "eyewright.targets": "a `delivery.target.Target`",
    }
)
"""The groups of entry points that are looked at, and what each of their entries must be."""


@cache
def installed(group: str) -> Mapping[str, "EntryPoint"]:
    """Return the entry points of a group by name. What is built in has the same name first.

    >>> dict(installed("eyewright.tasks"))
    {}
    """
    # Imported here: what is built in is found without it, and it takes longer than opening a small model.
    from importlib.metadata import entry_points

    return MappingProxyType({e.name: e for e in entry_points(group=group)})


def package_of(group: str, name: str) -> str:
    """Return the package that an entry point is of, with its version: "eyewright-grades 1.0"."""
    entry = installed(group)[name]
    return entry.module if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def versions_of(used: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the packages that entry points are of, name → version, sorted. Other names are left out.

    Args:
        used: a group and a name each.

    >>> versions_of([("eyewright.tasks", "classify")])
    {}
    """
    entries = [installed(group)[name] for group, name in used if name in installed(group)]
    return dict(sorted((e.dist.name, e.dist.version) for e in entries if e.dist is not None))


@cache
def open_installed(group: str, name: str) -> Any:
    """Import what an entry point names.

    Raises:
        PackageError: its package cannot be imported, or two packages have an entry of this name.
    """
    entry = installed(group)[name]
    if len(owners := _owners(group, name)) > 1:
        raise PackageError(f"{name!r} of {group} is in {' and in '.join(owners)}", fix="remove one of the packages")
    return import_place(entry.value, f"{name!r} of {entry.dist.name if entry.dist else group}")


def import_place(place: str, said: str) -> Any:
    """Import "module:NAME" of another package; `said` is whose it is, for messages.

    Raises:
        PackageError: it cannot be imported.
    """
    module, _, attributes = place.partition(":")
    try:
        found: Any = importlib.import_module(module.strip())
        for attribute in attributes.partition("[")[0].strip().split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:
        raise PackageError(
            f"{said} cannot be imported: {what_was_raised(error)}", fix="install its package again, or remove it"
        ) from error
    return found


def _owners(group: str, name: str) -> list[str]:
    """Return the packages that have an entry of this name."""
    from importlib.metadata import entry_points

    return sorted({e.dist.name if e.dist else e.value for e in entry_points(group=group, name=name)})


@dataclass(frozen=True)
class Guarded:
    """A function of another package: what it raises, and what it returns against its protocol, is said in one line.

    Args:
        call: the function.
        said: whose it is and what it is called: "score of the task 'grade' of eyewright-grades 1.0".
        wrong: `(returned, arguments, named arguments)` to what is wrong with what it returned, such as "expected a
            number, found None", or nothing.

    >>> Guarded(lambda x: 1 / x, "half of eyewright-grades 1.0")(0)
    Traceback (most recent call last):
    eyewright.core.errors.PackageError: half of eyewright-grades 1.0 failed: ZeroDivisionError: division by zero; ...
    """

    call: Callable[..., Any]
    said: str
    wrong: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], str] | None = None

    def __call__(self, *given: Any, **named: Any) -> Any:
        try:
            found = self.call(*given, **named)
        # A full disk or too little memory is not caused by the package.
        except (EyewrightError, OSError, MemoryError):
            raise
        except Exception as error:
            raise PackageError(f"{self.said} failed: {what_was_raised(error)}", fix=REPORT) from error
        if self.wrong is not None and (said := self.wrong(found, given, named)):
            raise PackageError(f"{self.said} does not keep its protocol: {said}", fix=REPORT)
        return found


REPORT = "report it to the authors of that package"


def blamed(error: BaseException) -> PackageError | None:
    """Return an exception as that of the package whose code raised it, where it was not raised by ours.

    The innermost frame of the traceback that is ours or of a package with entry points decides: what NumPy raises when
    a package calls it is the package's.
    """
    traceback, mine, theirs = error.__traceback__, __name__.partition(".")[0], _packages()
    found = None
    while traceback is not None:
        top = str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if top == mine or top in theirs:
            place = f"{os.path.basename(traceback.tb_frame.f_code.co_filename)}:{traceback.tb_lineno}"
            found = None if top == mine else (theirs[top], place, traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    if found is None:
        return None
    owner, place, function = found
    return PackageError(f"{owner} failed in {function} ({place}): {what_was_raised(error)}", fix=REPORT)


def _packages() -> dict[str, str]:
    """Return the modules of packages with entry points, by their first name, and the package with its version."""
    mine = __name__.partition(".")[0]
    found = {}
    for group in GROUPS:
        for name, entry in installed(group).items():
            if (top := entry.module.partition(".")[0]) != mine:
                found[top] = package_of(group, name)
    return found


def import_own(name: str, what: str) -> Any:
    """Import the user's own object by `package.module:function`; `what` is its kind, for messages.

    Raises:
        UsageError: it cannot be imported, for whatever reason: the module is theirs, and so is what it raises.
    """
    module, _, function = name.partition(":")
    # An installed command does not look in the folder it is called in, where the user's own module usually lies.
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"cannot import the {what} {name!r}: {what_was_raised(error)}", fix="use package.module:function"
        ) from error
    finally:
        if added:
            sys.path.remove(here)


def what_was_raised(error: BaseException) -> str:
    """Return what code that is not ours has raised, on one line of at most 200 characters.

    >>> what_was_raised(RuntimeError("a\\nb")), what_was_raised(ImportError("no x"))
    ('RuntimeError: a b', 'no x')
    """
    text = " ".join(str(error).split())
    if not isinstance(error, ImportError | AttributeError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= 200 else text[:199] + "…"
