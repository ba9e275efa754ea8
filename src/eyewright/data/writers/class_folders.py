"""Folders named by classes, whose names come from annotation files and from feedback, and so from anybody."""

__all__ = ["folder_names"]

import hashlib
import unicodedata
from collections.abc import Sequence

# Bytes of one name: file systems have 255.
_LONGEST = 200
_DEEPEST = 12


def folder_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return a folder for each class, inside the one that is written to, whatever the class is called.

    `/` parts folders, as in classes that were read from nested ones. A part that is empty, `.` or `..`, or that begins
    with a dot as hidden files do, control characters and backslashes are replaced, long parts are shortened; classes
    that would then share a folder get a number.

    >>> folder_names(["cat", "../../etc", "/a/b", "x\\0", "x_"])
    ('cat', '_/_/etc', '_/a/b', 'x__2', 'x_')
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    # Names that are kept as they are come first, so that no other takes their folder.
    for name in sorted(classes, key=lambda c: _folder_name(c) != c):
        plain = folder = _folder_name(name)
        number = 2
        while folder in taken:
            folder = f"{plain}_{number}"
            number += 1
        taken.add(folder)
        found[name] = folder
    return tuple(found[name] for name in classes)


def _folder_name(name: str) -> str:
    parts = []
    for part in name.split("/") if name.count("/") < _DEEPEST else [name.replace("/", "_")]:
        kept = "".join("_" if c == "\\" or unicodedata.category(c) in ("Cc", "Cs") else c for c in part)
        if kept.startswith("."):
            kept = "_" + kept.lstrip(".")
        encoded = kept.encode("utf-8")
        if len(encoded) > _LONGEST:
            digest = hashlib.sha256(encoded).hexdigest()[:8]
            kept = f"{encoded[:_LONGEST].decode('utf-8', 'ignore')}_{digest}"
        parts.append(kept or "_")
    return "/".join(parts)
