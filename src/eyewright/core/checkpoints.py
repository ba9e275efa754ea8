"""Recognising a checkpoint of Hugging Face where something else was expected."""

__all__ = ["published_fix"]

import os
import shlex
from pathlib import Path


def published_fix(path: str | Path, otherwise: str, *, then: str = "write {name}") -> str:
    """Return what to do about a path that is not what was expected: `then` if it is a folder as Hugging Face has it,
    with `{name}` as what names it there, else `otherwise`.

    >>> published_fix("/no/such/folder", "check the path")
    'check the path'
    """
    try:
        names = os.listdir(path)
    except OSError:
        return otherwise
    weights = any(name.endswith((".safetensors", ".bin")) for name in names)
    if "config.json" not in names or "bundle.json" in names or not weights:
        return otherwise
    return "it is a Hugging Face checkpoint: " + then.format(name=shlex.quote(f"hf:{path}"))
