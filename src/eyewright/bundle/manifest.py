"""What a bundle says of itself: `bundle.json`, read strictly and written canonically."""

__all__ = [
    "FORMAT_VERSION",
    "MODEL_FILES",
    "PRECISIONS",
    "Manifest",
    "bundle_folder",
    "manifest_from",
    "no_bundle",
    "read_manifest",
    "read_sealed_manifest",
    "write_manifest",
]

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eyewright.bundle.inputs import only_image, write_inputs
from eyewright.bundle.schema import MODEL_FILES, PRECISIONS, check_manifest
from eyewright.bundle.trial import remember_here
from eyewright.core.checkpoints import published_fix
from eyewright.core.errors import BundleError, EyewrightError, MissingExtraError, plain_reason
from eyewright.core.files import recover_folder, write_bytes
from eyewright.core.inputs import Inputs, say_inputs
from eyewright.core.jsonable import dumps_json
from eyewright.core.labels import LabelSpace
from eyewright.core.regular import read_regular, require_path
from eyewright.imaging.preparation import Preparation, image_preparation

FORMAT = "eyewright-bundle"
FORMAT_VERSION = 2
"""The newest format that is read. A bundle is written in the oldest that can say what it holds: 1 where it takes one
image, which every version reads, else 2, which names its inputs."""

_AGAIN = "export the model again"
_MOST_BYTES = 16 * 2**20

_MAKE = "eyewright export {name} --out BUNDLE makes a bundle of it"


@dataclass(frozen=True)
class Manifest:
    """The contract of a bundle: task, classes by name, inputs, tensors, what was measured, every file's digest.

    `inputs` says how each input is prepared, by its name among the tensors; `preparation` is that of the image of a
    model that takes nothing else.
    `tensors` names the ONNX inputs and outputs with type, shape, layout and range. `files` maps each relative name to
    its SHA-256 and size in bytes. `decoding` holds what is needed in addition to the tensors to read the model's
    outputs: the IoU threshold of suppression, the standard deviations of training values, for a model of others the
    contract of its own tensors. `familiarity` says how unfamiliar images are recognised, or the `reason` why they are
    not; bundles of earlier versions have none.
    `evidence` holds the numbers of images and groups behind metrics, calibration, thresholds and familiarity.
    """

    name: str
    task: str
    labels: LabelSpace
    inputs: Inputs
    tensors: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    decoding: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    model: str = MODEL_FILES[0]
    precision: str = PRECISIONS[0]
    parent: str = ""
    compression: Mapping[str, Any] = field(default_factory=dict)
    advice: Mapping[str, Any] = field(default_factory=dict)
    familiarity: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def published(self) -> str | None:
        """The digest of the checkpoint that the bundle is, exported as it was published; None for a trained model."""
        about = self.provenance.get("published")
        found = about.get("digest") if isinstance(about, Mapping) else None
        return found if isinstance(found, str) else None

    @property
    def preparation(self) -> Preparation:
        """How the image of a model is prepared that takes nothing else.

        Raises:
            UsageError: the model takes something else.
        """
        return image_preparation(self.inputs)

    @property
    def takes(self) -> str:
        """What the model takes, in a few words: the size of the image, or the names of its inputs."""
        if not only_image(self.inputs):
            return say_inputs(self.inputs)
        height, width = self.preparation.size_hw
        return f"{width}x{height} pixels"

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain JSON types, with format and version."""
        first = only_image(self.inputs)
        return {
            "format": FORMAT,
            "format_version": 1 if first else FORMAT_VERSION,
            "name": self.name,
            "task": self.task,
            "labels": list(self.labels.names),
            **({"preparation": self.preparation.to_json()} if first else {"inputs": write_inputs(self.inputs)}),
            "tensors": self.tensors,
            "metrics": self.metrics,
            "calibration": self.calibration,
            "thresholds": self.thresholds,
            "policy": self.policy,
            "parity": self.parity,
            **({"decoding": dict(self.decoding)} if self.decoding else {}),
            **{k: v for k, v in self._beyond.items() if v},
            "provenance": self.provenance,
            "files": self.files,
        }

    @property
    def _beyond(self) -> dict[str, Any]:
        """What not every bundle says; those without it are written as they always were."""
        plain = (self.model, self.precision) == (MODEL_FILES[0], PRECISIONS[0])
        own = {} if plain else {"model": self.model, "precision": self.precision}
        made = {"parent": self.parent, "compression": dict(self.compression), "advice": dict(self.advice)}
        return {**own, **made, "familiarity": dict(self.familiarity), "evidence": dict(self.evidence)}


def bundle_folder(path: Path) -> Path:
    """Return the folder of the bundle at a path: the path itself, or `bundle` in it where the path is a run that
    `eyewright run` made. A path with neither is returned as it is: reading it says what is missing.
    """
    recover_folder(path)
    inner = path / "bundle"
    recover_folder(inner)
    return inner if not (path / "bundle.json").exists() and (inner / "bundle.json").exists() else path


def no_bundle(folder: Path) -> BundleError:
    """Return the error for a folder without `bundle.json`; for a run it says how to make a bundle of it."""
    shown = str(folder)
    if (folder / "run.json").is_file():
        fix = f"make one: eyewright export {shlex.quote(shown)} --out BUNDLE"
        return BundleError(f"expected a bundle at {shown!r}, found a run without one", fix=fix)
    return BundleError(
        f"expected a bundle at {shown!r}, found no bundle.json", fix=published_fix(folder, "check the path", then=_MAKE)
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `bundle.json` with a digest of itself.

    The model has been made, or run for the first time, by this process: its first run is behind it.
    """
    data = _canonical(manifest.to_json())
    write_bytes(folder / "bundle.json", data)
    remember_here(hashlib.sha256(data).hexdigest())


def read_manifest(folder: Path) -> Manifest:
    """Read and check `bundle.json`: canonical, self-consistent, of a version we know.

    Raises:
        BundleError: missing, changed by a single bit, of a newer format, or incomplete.
    """
    return read_sealed_manifest(folder)[0]


def read_sealed_manifest(folder: Path) -> tuple[Manifest, str]:
    """Read `bundle.json` as `read_manifest` does; return it with the SHA-256 of the very bytes that were read.

    Raises:
        BundleError: as `read_manifest`.
    """
    recover_folder(folder)
    require_path(folder, "a bundle")
    path = folder / "bundle.json"
    if not path.is_symlink() and not path.exists():
        raise no_bundle(folder)
    data = read_regular(path, most=_MOST_BYTES, error=BundleError, fix=_AGAIN)
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise BundleError(f"bundle.json is damaged: {error}", fix=_AGAIN) from error
    if content.get("format") != FORMAT:
        raise BundleError(f"expected format {FORMAT!r}, found {_shown(content.get('format'))}", fix=_AGAIN)
    version = content.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise BundleError(
            f"the bundle's format version is {_shown(version)}, this eyewright reads up to {FORMAT_VERSION}",
            fix="upgrade eyewright",
            code="bundle_newer",
        )
    digest = content.pop("digest", None)
    try:
        unchanged = _canonical(content) == data
    except (ValueError, RecursionError) as error:
        raise BundleError(f"bundle.json is damaged: {type(error).__name__}", fix=_AGAIN) from error
    if not unchanged or digest is None:
        raise BundleError("bundle.json has been changed since it was written", fix=_AGAIN)
    manifest = manifest_from(content)
    for name in (manifest.model, "golden.npz"):
        if name not in manifest.files:
            raise BundleError(f"the bundle lists no {name!r}", fix=_AGAIN)
    return manifest, hashlib.sha256(data).hexdigest()


def manifest_from(content: Mapping[str, Any]) -> Manifest:
    """Read what `Manifest.to_json` gives.

    Raises:
        BundleError: it is not valid by its schema, or contradicts itself.
    """
    inputs = check_manifest(content)
    try:
        return Manifest(
            name=content["name"],
            task=content["task"],
            labels=LabelSpace(tuple(content["labels"])),
            inputs=inputs,
            tensors=content["tensors"],
            files=content["files"],
            metrics=content["metrics"],
            calibration=content["calibration"],
            thresholds=content["thresholds"],
            policy=content["policy"],
            parity=content["parity"],
            decoding=content.get("decoding", {}),
            provenance=content["provenance"],
            model=content.get("model", MODEL_FILES[0]),
            precision=content.get("precision", PRECISIONS[0]),
            parent=content.get("parent", ""),
            compression=content.get("compression", {}),
            advice=content.get("advice", {}),
            familiarity=content.get("familiarity", {}),
            evidence=content.get("evidence", {}),
        )
    except (BundleError, MissingExtraError):
        raise
    except (EyewrightError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise BundleError(f"bundle.json is not valid: {plain_reason(error)}", fix=_AGAIN) from error


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**18 else "a huge number"
    return text if len(text) <= 80 else f"{text[:80]} …"


def _canonical(content: Mapping[str, Any]) -> bytes:
    body = dumps_json(content, indent=1)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return (dumps_json({**content, "digest": digest}, indent=1) + "\n").encode()
