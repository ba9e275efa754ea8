"""A target: a folder in which a bundle has been made ready for another runtime, sealed as a bundle is."""

__all__ = ["TARGET_FILE", "Stored", "GoldenImages", "open_target", "read_target", "seal_target", "target_in"]

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.load import Bundle
from eyewright.bundle.manifest import Manifest, manifest_from
from eyewright.bundle.verify import digest_folder, files_below
from eyewright.core.errors import BundleError, UsageError
from eyewright.core.files import write_bytes
from eyewright.core.jsonable import dumps_json

TARGET_FILE = "target.json"
"""What says of a folder that it is a target, and of which kind."""

_FORMAT = "eyewright-target"
_AGAIN = "export it again"
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Stored:
    """What `target.json` says: the kind of target, the manifest of the bundle, its digest, and what else the kind has
    to say in `about`; `parity` is what the gate saw."""

    target: str
    manifest: Manifest
    bundle: str
    about: Mapping[str, Any]
    parity: Mapping[str, Any]


def seal_target(
    folder: Path,
    target: str,
    bundle: Bundle,
    digest: str,
    *,
    about: Mapping[str, Any] | None = None,
    parity: Mapping[str, Any] | None = None,
) -> None:
    """Write `target.json` with the digests of all files in `folder` and of itself."""
    files = {k: v for k, v in digest_folder(folder).items() if k != TARGET_FILE}
    content = {
        "format": _FORMAT,
        "format_version": 1,
        "target": target,
        "bundle": digest,
        "about": dict(about or {}),
        "parity": dict(parity or {}),
        "files": files,
        "manifest": replace(bundle.manifest, files={}).to_json(),
    }
    body = dumps_json(content, indent=1)
    sealed = {**content, "digest": hashlib.sha256(body.encode()).hexdigest()}
    write_bytes(folder / TARGET_FILE, (dumps_json(sealed, indent=1) + "\n").encode())


def target_in(folder: Path) -> str | None:
    """Give the kind of target that lies in `folder`, or nothing if none does; nothing is checked."""
    try:
        return str(json.loads((folder / TARGET_FILE).read_text("utf-8"))["target"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_target(folder: Path) -> tuple[Stored, Mapping[str, bytes]]:
    """Check every file of a target against its digest; give what it says, and the files' bytes by name.

    Raises:
        BundleError: a file is missing, changed, added, or a link.
    """
    path = folder / TARGET_FILE
    try:
        if path.is_symlink() or path.stat().st_size > _MOST_BYTES:
            raise BundleError(f"{TARGET_FILE} is a link or too large", fix=_AGAIN)
        content = json.loads(path.read_bytes())
        digest = content.pop("digest")
        listed, manifest = content["files"], manifest_from(content["manifest"])
        found = Stored(str(content["target"]), manifest, str(content["bundle"]), content["about"], content["parity"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"expected a target at {str(folder)!r}, found none that can be read", fix=_AGAIN) from error
    if content.get("format") != _FORMAT or content.get("format_version") != 1:
        raise BundleError(f"{TARGET_FILE} is of another version", fix="upgrade eyewright", code="bundle_newer")
    if hashlib.sha256(dumps_json(content, indent=1).encode()).hexdigest() != digest:
        raise BundleError(f"{TARGET_FILE} has been changed since it was written", fix=_AGAIN)
    present = set(files_below(folder)) - {TARGET_FILE}
    if missing := sorted(set(listed) - present):
        raise BundleError(f"the target lacks {missing[0]!r}", fix=_AGAIN)
    if extra := sorted(present - set(listed)):
        raise BundleError(f"the target holds {extra[0]!r}, which it does not list", fix="remove it, or export again")
    data = {}
    for name, expected in listed.items():
        data[name] = (folder / name).read_bytes()
        if hashlib.sha256(data[name]).hexdigest() != expected["sha256"]:
            raise BundleError(f"{name!r} has been changed since it was exported", fix=_AGAIN)
    return found, data


def open_target(folder: Path, *, others: Mapping[str, Callable[[Mapping[str, bytes]], Any]] | None = None) -> Bundle:
    """Open a target that this machine can run, every digest checked and the golden pairs run on its own runtime.

    `others` open kinds that need what this room has not, such as torch: from the files' bytes to a session.

    Raises:
        BundleError: it is not what was exported, or answers otherwise.
        MissingExtraError: its runtime is not installed.
        UsageError: a target that only lies here, such as a Dockerfile, and has nothing to predict with.
    """
    from eyewright.bundle.load import run_golden
    from eyewright.delivery.openvino import openvino_session
    from eyewright.delivery.web import web_session

    stored, data = read_target(folder)
    openers = {"openvino": openvino_session, "web": web_session, **(others or {})}
    if stored.target not in openers:
        raise UsageError(f"a {stored.target} target has no model to run here", fix="predict with the bundle")
    session = openers[stored.target](data)
    bundle = Bundle(folder, stored.manifest, session, reference=None)
    run_golden(bundle, data["golden.npz"])
    return bundle


@dataclass(frozen=True)
class GoldenImages:
    """The images of a bundle's golden pairs: what parity is tried on where no others are given."""

    images: tuple[NDArray[np.uint8], ...]

    @classmethod
    def of(cls, data: bytes) -> "GoldenImages":
        """Read them from the bytes of `golden.npz`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as pairs:
            return cls(tuple(pairs[f"image_{i}"] for i in range(int(pairs["n"]))))

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> NDArray[np.uint8]:
        return self.images[index]
