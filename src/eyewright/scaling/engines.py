"""How engines are named: what does the shards of a job."""

__all__ = ["ENGINES", "check_engine", "is_ray", "ray_address"]

import os
import re

from eyewright.core.errors import UsageError

ENGINES = ("local", "ray", "ray://HOST:PORT", "HOST:PORT")
"""Worker processes of this machine, or a Ray cluster: by its address, or with `ray` the one of $RAY_ADDRESS, else one
that is started on this machine."""

_ADDRESS = re.compile(r"(ray://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")


def check_engine(text: str) -> str:
    """Return the name of an engine, if it is one.

    >>> check_engine("ray://head.example:10001")
    'ray://head.example:10001'

    Raises:
        UsageError: it is none.
    """
    if text in ("local", "ray") or _ADDRESS.fullmatch(text):
        return text
    raise UsageError(f"expected {', '.join(ENGINES[:-1])} or {ENGINES[-1]}, found {text!r}", fix="change --on")


def is_ray(engine: str) -> bool:
    """Return whether an engine is a Ray cluster.

    >>> is_ray("local"), is_ray("10.0.0.1:6379")
    (False, True)
    """
    return check_engine(engine) != "local"


def ray_address(engine: str) -> str:
    """Return the address of a Ray cluster, "" for one that is to be started on this machine.

    >>> ray_address("10.0.0.1:6379")
    '10.0.0.1:6379'
    """
    return os.environ.get("RAY_ADDRESS", "") if engine == "ray" else engine
