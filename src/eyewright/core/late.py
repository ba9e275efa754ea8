"""Import the modules of a package when one of their names is used."""

__all__ = ["late_names"]

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def late_names(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """Return what a package assigns to `__getattr__`; `homes` has the names of each module, relative to the package.

    >>> late_names("eyewright.core", {"errors": ("EyewrightError",)})("EyewrightError").__name__
    'EyewrightError'
    """

    def find(name: str) -> object:
        home = next((module for module, names in homes.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{home}"), name)
        # From now on it is found without this.
        setattr(sys.modules[package], name, value)
        return value

    return find
