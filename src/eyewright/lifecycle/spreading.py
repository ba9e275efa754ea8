"""What trainings need to be done elsewhere: paths that hold on every machine, the same data, folders of their own."""

__all__ = ["digest_of", "on_every_node", "path_of", "refuse_other", "when_free"]

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from eyewright.core.errors import RefusedError, UsageError
from eyewright.training.recipe import Recipe

if TYPE_CHECKING:
    from eyewright.data import Dataset

_T = TypeVar("_T")
# The process of a driver that was killed notices it within this time, and then releases its folder.
_RELEASED_S = 90.0
_AGAIN_S = 0.5


def path_of(data: "Dataset | str | Path", option: str) -> str:
    """Return where data is, for processes of other machines.

    Raises:
        UsageError: it is no path.
    """
    if not isinstance(data, str | Path):
        raise UsageError(f"expected the path of the data with {option} and --on, found a dataset", fix="pass its path")
    text = str(data)
    return os.path.abspath(text) if os.path.exists(text) else text


def on_every_node(recipe: Recipe) -> Recipe:
    """Return a recipe whose files are named by their absolute paths.

    >>> on_every_node(Recipe(model="mlp")) == Recipe(model="mlp")
    True
    """
    named: dict[str, Any] = {}
    for field in ("edits", "masks"):
        if getattr(recipe, field):
            named[field] = os.path.abspath(getattr(recipe, field))
    kind, colon, folder = recipe.model.partition(":")
    if kind == "hf" and colon and os.path.isdir(folder):
        named["model"] = f"hf:{os.path.abspath(folder)}"
    return replace(recipe, **named)


def digest_of(part: "Dataset") -> str:
    """Return what two machines compare of data: which images there are, and which part each is in."""
    rows = sorted((s.id, s.split or "") for s in part.samples)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def refuse_other(part: "Dataset", digest: str) -> None:
    """Refuse data of this machine that is not the data of the command.

    Raises:
        RefusedError: images were added or removed, or other ones are there.
    """
    if digest_of(part) != digest:
        raise RefusedError(
            f"the data on {socket.gethostname()} has other images than where the command runs",
            fix="use data that all nodes share, and that does not change",
            code="data",
        )


def when_free(train: Callable[[], _T]) -> _T:
    """Return what `train` returns, once nobody else trains in its folder: a process that was given up may still do.

    Raises:
        EyewrightError: as `train`.
    """
    until = time.monotonic() + _RELEASED_S
    while True:
        try:
            return train()
        except UsageError as error:
            if error.code != "run_in_use" or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)
