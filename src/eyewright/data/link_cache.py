"""The links of a set of pictures, kept on disk: `doctor`, training and a run on one folder search it once."""

__all__ = ["cached_links"]

import hashlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import OutputError
from eyewright.core.files import cache_folder, write_json
from eyewright.data import link_check, link_search, link_space, links
from eyewright.data.links import Link, find_links
from eyewright.imaging import alignment, fingerprint, margins

_FEWEST = 1000
_MOST_FILES = 40
_BLOCK = 4096
_SOURCES = (links, link_search, link_space, link_check, alignment, fingerprint, margins)


def cached_links(
    digests: Sequence[str],
    thumbnails: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    usable: NDArray[np.bool_],
    small: NDArray[np.bool_],
) -> list[Link]:
    """Return `find_links` of pictures, from disk where the same pictures were searched by the same program before.

    Pictures are compared in the order of their `digests`, SHA-256 of the files, so that neither their order nor their
    names nor files that cannot be read change the result. From 1,000 pictures on it is written to the cache folder
    (`EYEWRIGHT_CACHE`, else `~/.cache/eyewright`), under a hash of the digests, of the thumbnails and of the sources of
    the search. A folder that cannot be written is no error: the search is repeated next time.
    """
    rows = np.flatnonzero(usable)
    rows = rows[np.argsort(np.array([digests[i] for i in rows.tolist()], dtype=str), kind="stable")]
    path = _place(digests, thumbnails, colours, small, rows) if len(rows) >= _FEWEST else None
    found = _stored(path, len(rows)) if path is not None else None
    if found is None:
        found = find_links(thumbnails[rows], colours[rows], np.ones(len(rows), bool), small=small[rows])
        if path is not None:
            _store(path, found)
    result = []
    for link in found:
        i, j = sorted((int(rows[link.i]), int(rows[link.j])))
        result.append(Link(i, j, link.likeness, link.exact, link.how))
    return sorted(result, key=lambda link: (link.i, link.j))


def _place(
    digests: Sequence[str],
    thumbnails: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    small: NDArray[np.bool_],
    rows: NDArray[np.int64],
) -> Path | None:
    """Return the file for the links of these pictures; None where the program's sources cannot be read."""
    key = hashlib.sha256()
    try:
        for module in _SOURCES:
            key.update(inspect.getsource(module).encode())
    except OSError:
        return None
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        key.update("\n".join(digests[i] for i in part.tolist()).encode())
        for held in (thumbnails, colours, small):
            key.update(np.ascontiguousarray(held[part]).tobytes())
    return cache_folder() / f"links-{key.hexdigest()[:32]}.json"


def _stored(path: Path, n: int) -> list[Link] | None:
    """Return the links in a file; None where there is none, or one that was damaged."""
    try:
        rows = json.loads(path.read_text("utf-8"))["links"]
        found = [Link(int(i), int(j), float(likeness), bool(exact), str(how)) for i, j, likeness, exact, how in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if all(0 <= link.i < link.j < n for link in found) else None


def _store(path: Path, found: list[Link]) -> None:
    try:
        write_json(path, {"links": [[x.i, x.j, x.likeness, x.exact, x.how] for x in found]})
        files = sorted(path.parent.glob("links-*.json"), key=lambda p: p.stat().st_mtime)
        for old in files[:-_MOST_FILES]:
            old.unlink(missing_ok=True)
    except (OutputError, OSError):
        return
