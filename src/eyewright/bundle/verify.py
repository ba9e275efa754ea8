"""Digests before anything else: no byte of a bundle reaches a parser before it is known to be the one exported."""

__all__ = ["bundle_digest", "digest_folder", "files_below", "read_verified"]

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eyewright.bundle.manifest import Manifest, read_manifest
from eyewright.core.errors import BundleError

_FREE = frozenset({"bundle.json", "model.sig"})


def digest_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """Give SHA-256 and size of every file below `folder` by relative name, `bundle.json` and `model.sig` left out."""
    result = {}
    for name in files_below(folder):
        if name not in _FREE:
            data = (folder / name).read_bytes()
            result[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return result


def bundle_digest(folder: Path) -> str:
    """Give the SHA-256 of a bundle's manifest, which holds those of all its files: the name of the whole.

    Raises:
        BundleError: there is none.
    """
    try:
        return hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()
    except OSError as error:
        raise BundleError(f"expected a bundle at {str(folder)!r}, found none", fix="check the path") from error


def read_verified(folder: Path) -> tuple[Manifest, Mapping[str, bytes]]:
    """Check every file of a bundle; give its manifest and the bytes of the model, the golden pairs, the reference.

    The bytes that were checked are the bytes that are given: nothing is opened twice.

    Raises:
        BundleError: a file is missing, changed, added, or a link.
    """
    if not folder.is_dir():
        raise BundleError(f"expected a bundle folder, found {str(folder)!r}", fix="check the path")
    manifest = read_manifest(folder)
    present = set(files_below(folder))
    listed = set(manifest.files)
    again = "export the model again, or copy the bundle again"
    if missing := sorted(listed - present):
        raise BundleError(f"the bundle lacks {missing[0]!r}", fix=again)
    if extra := sorted(present - listed - _FREE):
        raise BundleError(f"the bundle holds {extra[0]!r}, which it does not list", fix="remove it, or export again")
    needed = {manifest.model, "golden.npz"}
    if not listed >= needed:
        raise BundleError(f"the bundle lists no {sorted(needed - listed)[0]!r}", fix=again)
    opened = needed | {"reference.npz"}
    kept = {}
    for name, expected in manifest.files.items():
        path = folder / name
        if path.stat().st_size != expected["bytes"]:
            raise BundleError(f"{name!r} has another size than when it was exported", fix=again)
        digest = hashlib.sha256()
        if name in opened:
            kept[name] = path.read_bytes()
            digest.update(kept[name])
        else:
            with open(path, "rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
        if digest.hexdigest() != expected["sha256"]:
            raise BundleError(f"{name!r} has been changed since it was exported", fix=again)
    return manifest, kept


def files_below(folder: Path) -> list[str]:
    """Name every file below `folder`, with `/` between the parts.

    Raises:
        BundleError: there is a link or a special file.
    """
    names = []
    for place, below, files in os.walk(folder):
        for name in (*below, *files):
            mode = os.lstat(os.path.join(place, name)).st_mode
            relative = os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise BundleError(f"the bundle holds a link or special file, {relative!r}", fix="copy the bundle again")
            if stat.S_ISREG(mode):
                names.append(relative)
    return names
