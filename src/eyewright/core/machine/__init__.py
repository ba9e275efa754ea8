"""Everything that depends on the operating system; nowhere else is a name that one of them lacks.

`disk`: locks, fsync, names that replace nothing. `limits`: cores, memory, what a process may use. `children`: processes
that can be killed, and their messages. `lifeline`: children that end with their parent. `nursery`: workers with a
socket. `signals`: how a program is told to stop. Each asks whether the system has a function, not what it is called,
so that a test can hide them.
"""

__all__ = ["find_module"]

import importlib
from typing import Any


def find_module(name: str) -> Any:
    """Return a module that some systems or installations lack, None where it is missing.

    >>> find_module("no_such_module") is None
    True
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
