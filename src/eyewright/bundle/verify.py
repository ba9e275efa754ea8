"""Digests before anything else: no byte of a bundle reaches a parser before it is known to be the one exported."""

__all__ = [
    "MOST_MODEL_BYTES",
    "SIGNATURE",
    "bundle_digest",
    "checked_digests",
    "digest_folder",
    "files_below",
    "read_listed",
    "read_sealed",
    "read_verified",
    "signed_manifest",
]

import hashlib
import os
import stat
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from eyewright.bundle.arrays import MOST_BYTES
from eyewright.bundle.manifest import Manifest, bundle_folder, no_bundle, read_sealed_manifest
from eyewright.bundle.signature import SIGNATURE, PublicKey, check_signature
from eyewright.core.errors import BundleError
from eyewright.core.quoting import quoted
from eyewright.core.regular import digest_of, read_regular, require_path

MOST_MODEL_BYTES = 2 * 2**30
"""The largest model file: protobuf itself allows no more."""

_FREE = frozenset({"bundle.json", SIGNATURE})
_MOST_BYTES = 4 * 2**30
_AGAIN = "export the model again, or copy the bundle again"


def digest_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """Return SHA-256 and size of every file below `folder` by relative name, `bundle.json` and `model.sig` left out."""
    result = {}
    for name in files_below(folder):
        if name not in _FREE:
            digest, size = digest_of(folder / name, most=_MOST_BYTES, error=BundleError, fix=_AGAIN)
            result[name] = {"sha256": digest, "bytes": size}
    return result


def bundle_digest(folder: Path) -> str:
    """Return the SHA-256 of a bundle's manifest, which holds those of all its files: the name of the whole.

    A run folder stands for the bundle in it.

    Raises:
        BundleError: there is none.
    """
    folder = bundle_folder(folder)
    require_path(folder, "a bundle")
    path = folder / "bundle.json"
    if not path.is_symlink() and not path.exists():
        raise no_bundle(folder)
    return digest_of(path, most=_MOST_BYTES, error=BundleError, fix=_AGAIN)[0]


def read_verified(folder: Path) -> tuple[Manifest, Mapping[str, bytes]]:
    """Check every file of a bundle; return its manifest and the bytes of the model, the golden pairs, the reference.

    The bytes that were checked are the bytes that are given: nothing is opened twice.

    Raises:
        BundleError: a file is missing, changed, added, or not a regular file.
    """
    manifest, content, _ = read_sealed(folder)
    return manifest, content


def read_sealed(folder: Path, *, key: PublicKey | None = None) -> tuple[Manifest, Mapping[str, bytes], str]:
    """Check a bundle as `read_verified` does; return also the SHA-256 of its manifest, which names the whole.

    With `key` the bundle must be signed by it.

    Raises:
        BundleError: as `read_verified`; or the signature is not valid.
    """
    require_path(folder, "a bundle")
    if not folder.is_dir():
        raise BundleError(f"expected a bundle folder, found {quoted(folder)}", fix="check the path")
    manifest, digest = signed_manifest(folder, key)
    kept = read_listed(folder, manifest.files, free=_FREE, kept={manifest.model, "golden.npz", "reference.npz"})
    return manifest, kept, digest


def signed_manifest(folder: Path, key: PublicKey | None) -> tuple[Manifest, str]:
    """Read the manifest, with its SHA-256, and check the signature over it and over the digests that it lists.

    A reader that then checks each file against the manifest has checked it against the signature.

    Raises:
        BundleError: the manifest or the signature is not valid; or `key` is given and there is no signature.
    """
    manifest, digest = read_sealed_manifest(folder)
    listed = {name: str(entry["sha256"]) for name, entry in manifest.files.items()}
    check_signature(folder, {**listed, "bundle.json": digest}, key)
    return manifest, digest


def checked_digests(folder: Path) -> dict[str, str]:
    """Check every file of a bundle; return the SHA-256 of each by name, `bundle.json` among them. No signature is read.

    Raises:
        BundleError: a file is missing, changed, added, or not a regular file.
    """
    require_path(folder, "a bundle")
    if not folder.is_dir():
        raise BundleError(f"expected a bundle folder, found {quoted(folder)}", fix="check the path")
    manifest, digest = read_sealed_manifest(folder)
    read_listed(folder, manifest.files, free=_FREE, kept=frozenset())
    return {**{name: str(entry["sha256"]) for name, entry in manifest.files.items()}, "bundle.json": digest}


def read_listed(
    folder: Path,
    files: Mapping[str, Mapping[str, Any]],
    *,
    free: AbstractSet[str],
    kept: AbstractSet[str],
    what: str = "bundle",
) -> dict[str, bytes]:
    """Check every file below `folder` against `files` (name to SHA-256 and size); return the bytes of those in `kept`.

    Files in `free` may be there or not. What is returned is what was checked.

    Raises:
        BundleError: a file is missing, changed, added, too large, or not a regular file.
    """
    present, listed = set(files_below(folder)), set(files)
    if missing := sorted(listed - present):
        raise BundleError(f"the {what} lacks {missing[0]!r}", fix=_AGAIN)
    if extra := sorted(present - listed - free):
        raise BundleError(f"the {what} holds {extra[0]!r}, which it does not list", fix="remove it, or export again")
    found = {}
    for name, expected in files.items():
        path, most = folder / name, _most_of(name)
        if os.lstat(path).st_size != expected["bytes"]:
            raise BundleError(f"{name!r} has another size than when it was exported", fix=_AGAIN)
        if name in kept:
            found[name] = read_regular(path, most=most, error=BundleError, fix=_AGAIN)
            digest = hashlib.sha256(found[name]).hexdigest()
        else:
            digest, _ = digest_of(path, most=most, error=BundleError, fix=_AGAIN)
        if digest != expected["sha256"]:
            raise BundleError(f"{name!r} has been changed since it was exported", fix=_AGAIN)
    return found


def _most_of(name: str) -> int:
    if name.endswith(".npz"):
        return MOST_BYTES
    return MOST_MODEL_BYTES if name.endswith(".onnx") else _MOST_BYTES


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
