"""A target: a folder in which a bundle has been made ready for another runtime, sealed as a bundle is."""

__all__ = [
    "TARGET_FILE",
    "GoldenImages",
    "Stored",
    "check_target",
    "checked_target_digests",
    "open_target",
    "prepare",
    "read_sealed_target",
    "read_target",
    "seal_target",
    "target_in",
]

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from eyewright.bundle import trial
from eyewright.bundle.arrays import ArrayFile
from eyewright.bundle.golden import read_golden, run_golden
from eyewright.bundle.load import Bundle
from eyewright.bundle.manifest import Manifest, manifest_from
from eyewright.bundle.schema import FileEntry, check_file_entries
from eyewright.bundle.signature import SIGNATURE, PublicKey, check_signature
from eyewright.bundle.verify import digest_folder, read_listed
from eyewright.core.errors import BundleError, EyewrightError, UsageError
from eyewright.core.files import recover_folder, write_bytes
from eyewright.core.inputs import Example, Inputs
from eyewright.core.installed import installed, open_installed
from eyewright.core.jsonable import dumps_json
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular

TARGET_FILE = "target.json"
"""What says of a folder that it is a target, and of which kind."""

_FORMAT = "eyewright-target"
_AGAIN = "export it again"
_MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Stored:
    """What `target.json` says: the kind of target, the manifest of the bundle, its digest, and what else the kind has
    to say in `about`; `parity` is the result of the parity check."""

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
    whole = (dumps_json(sealed, indent=1) + "\n").encode()
    write_bytes(folder / TARGET_FILE, whole)
    # This process has made the target of a bundle that it knows.
    trial.remember_here(hashlib.sha256(whole).hexdigest())


@dataclass(frozen=True)
class Target:
    """Where another package takes a model (entry points of "eyewright.targets").

    `write(bundle, model, folder)` writes its files into `folder` from the bytes of the ONNX model and returns what
    target.json says of it. `session(files)` opens them again, by name, for the parity check and `predict`: an object
    with `run(names, feeds, options)` as ONNX Runtime's session has.
    """

    write: Callable[[Bundle, bytes, Path], Mapping[str, Any]]
    session: Callable[[Mapping[str, bytes]], Any]


def installed_targets() -> dict[str, Target]:
    """Return the targets of installed packages by name.

    Raises:
        UsageError: an entry that is no target, or cannot be imported.
    """
    targets = {}
    for name in installed("eyewright.targets"):
        found = open_installed("eyewright.targets", name)
        if not isinstance(found, Target):
            raise UsageError(f"expected the installed target {name!r} as a Target, found {type(found).__name__}")
        targets[name] = found
    return targets


def target_in(folder: Path) -> str | None:
    """Return the kind of target that lies in `folder`, or nothing if none does; nothing is checked."""
    recover_folder(folder)
    path = folder / TARGET_FILE
    if not path.is_symlink() and not path.exists():
        return None
    try:
        return str(json.loads(read_regular(path, most=_MOST_BYTES, error=BundleError, fix=_AGAIN))["target"])
    except (EyewrightError, ValueError, KeyError, TypeError, RecursionError):
        return None


def read_target(folder: Path) -> tuple[Stored, Mapping[str, bytes]]:
    """Check every file of a target against its digest; return what it says, and the files' bytes by name.

    Raises:
        BundleError: a file is missing, changed, added, or not a regular file; or what it says is not valid.
    """
    stored, data, _ = read_sealed_target(folder)
    return stored, data


def read_sealed_target(folder: Path, *, key: PublicKey | None = None) -> tuple[Stored, Mapping[str, bytes], str]:
    """Check a target as `read_target` does; return also the SHA-256 of its `target.json`, which names the whole.

    With `key` the target must be signed by it.

    Raises:
        BundleError: as `read_target`; or the signature is not valid.
    """
    said, listed, whole = _read_content(folder)
    check_signature(folder, {**listed, TARGET_FILE: hashlib.sha256(whole).hexdigest()}, key, what="target")
    data = _read_files(folder, said, kept=set(said.files))
    stored = Stored(said.target, manifest_from(said.manifest), said.bundle, said.about, said.parity)
    return stored, data, hashlib.sha256(whole).hexdigest()


def checked_target_digests(folder: Path) -> dict[str, str]:
    """Check every file of a target; return the SHA-256 of each by name, `target.json` among them. No signature is read.

    Raises:
        BundleError: as `read_target`.
    """
    said, listed, whole = _read_content(folder)
    _read_files(folder, said, kept=set())
    return {**listed, TARGET_FILE: hashlib.sha256(whole).hexdigest()}


def _read_files(folder: Path, said: "_Content", *, kept: set[str]) -> dict[str, bytes]:
    files = msgspec.to_builtins(said.files)
    return read_listed(folder, files, free=frozenset({TARGET_FILE, SIGNATURE}), kept=kept, what="target")


def _read_content(folder: Path) -> tuple["_Content", dict[str, str], bytes]:
    recover_folder(folder)
    path = folder / TARGET_FILE
    if not path.is_symlink() and not path.exists():
        raise BundleError(f"expected a target at {quoted(folder)}, found none", fix="check the path")
    whole = read_regular(path, most=_MOST_BYTES, error=BundleError, fix=_AGAIN)
    try:
        content = json.loads(whole)
        digest = content.pop("digest")
        body = dumps_json(content, indent=1).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"expected a target at {quoted(folder)}, found none that can be read", fix=_AGAIN) from error
    if content.get("format") != _FORMAT or content.get("format_version") != 1:
        raise BundleError(f"{TARGET_FILE} is of another version", fix="upgrade eyewright", code="bundle_newer")
    if hashlib.sha256(body).hexdigest() != digest:
        raise BundleError(f"{TARGET_FILE} has been changed since it was written", fix=_AGAIN)
    try:
        said = msgspec.convert(content, _Content)
    except (msgspec.ValidationError, OverflowError, RecursionError, UnicodeError) as error:
        raise BundleError(f"{TARGET_FILE} is not valid: {str(error)[:400]}", fix=_AGAIN) from None
    check_file_entries(said.files)
    return said, {name: entry.sha256 for name, entry in said.files.items()}, whole


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    """The schema of `target.json`."""

    format: str
    format_version: int
    target: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    bundle: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    about: dict[str, Any]
    parity: dict[str, Any]
    files: Annotated[dict[str, FileEntry], msgspec.Meta(max_length=10_000)]
    manifest: dict[str, Any]


def open_target(
    folder: Path,
    *,
    others: Mapping[str, Callable[[Mapping[str, bytes]], Any]] | None = None,
    check: str = "eyewright.delivery.target:check_target",
    key: PublicKey | None = None,
) -> Bundle:
    """Open a target that this machine can run, every digest checked and the golden pairs run on its own runtime.

    `others` open kinds that need what this room has not, such as torch: from the files' bytes to a session. A target
    that this machine does not know is first opened in a process that can be killed, by the job `check`
    ("module:function") with the same `others`. With `key` the target must be signed by it.

    Raises:
        BundleError: it is not what was exported, or gives other outputs.
        MissingExtraError: its runtime is not installed.
        UsageError: a target that only lies here, such as a Dockerfile, and has nothing to predict with.
    """
    stored, data, digest = read_sealed_target(folder, key=key)
    known = trial.is_known(digest)
    if not known and stored.target in _openers(others):
        trial.try_folder(check, folder, size=sum(len(v) for v in data.values()), digest=digest)
    bundle = _opened(folder, stored, data, others)
    if known:
        run_golden(bundle, data["golden.npz"], precision=stored.manifest.precision)
    trial.remember(digest)
    return bundle


def check_target(
    request: Mapping[str, Any],
    payload: bytes = b"",
    *,
    others: Mapping[str, Callable[[Mapping[str, bytes]], Any]] | None = None,
) -> tuple[dict[str, Any], list[bytes]]:
    """Open the target in "folder" with this "digest" in this very process and run its golden pairs: a first run's job.

    Raises:
        BundleError: as `open_target`.
    """
    folder = Path(request["folder"])
    stored, data, digest = read_sealed_target(folder)
    if digest != request["digest"]:
        raise BundleError("the target was changed while it was opened", fix="try again")
    run_golden(_opened(folder, stored, data, others), data["golden.npz"], precision=stored.manifest.precision)
    return {}, []


def prepare(request: Mapping[str, Any]) -> None:
    """Import the runtime of the target in "folder", whose time is not the model's."""
    if target_in(Path(request["folder"])) == "openvino":
        from eyewright.delivery.openvino import import_openvino

        import_openvino()
    else:
        import onnxruntime  # noqa: F401


def _openers(
    others: Mapping[str, Callable[[Mapping[str, bytes]], Any]] | None,
) -> dict[str, Callable[[Mapping[str, bytes]], Any]]:
    from eyewright.delivery.openvino import openvino_session
    from eyewright.delivery.transformers_js import pipeline_session
    from eyewright.delivery.web import web_session

    theirs = {name: target.session for name, target in installed_targets().items()}
    own = {"openvino": openvino_session, "web": web_session, "transformers.js": pipeline_session}
    return {**theirs, **own, **(others or {})}


def _opened(
    folder: Path,
    stored: Stored,
    data: Mapping[str, bytes],
    others: Mapping[str, Callable[[Mapping[str, bytes]], Any]] | None,
) -> Bundle:
    openers = _openers(others)
    if stored.target not in openers:
        raise UsageError(f"a {stored.target} target has no model to run here", fix="predict with the bundle")
    if "golden.npz" not in data:
        raise BundleError("the target lists no 'golden.npz'", fix=_AGAIN)
    try:
        session = openers[stored.target](data)
    except (KeyError, StopIteration) as error:
        raise BundleError(f"the target lists no {str(error) or 'model'}", fix=_AGAIN) from None
    return Bundle(folder, stored.manifest, session, reference=None)


@dataclass(frozen=True)
class GoldenImages:
    """The examples of a bundle's golden pairs: what parity is tried on where no others are given."""

    images: tuple[Example, ...]

    @classmethod
    def of(cls, data: bytes, inputs: Inputs) -> "GoldenImages":
        """Read them from the bytes of the `golden.npz` of a model with these inputs."""
        with ArrayFile(data, "golden.npz") as pairs:
            return cls(tuple(read_golden(pairs, inputs)))

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Example:
        return self.images[index]
