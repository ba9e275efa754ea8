"""What a bundle says of itself: `bundle.json`, read strictly and written canonically."""

__all__ = [
    "FORMAT_VERSION",
    "MODEL_FILES",
    "PRECISIONS",
    "Manifest",
    "manifest_from",
    "read_manifest",
    "write_manifest",
]

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eyewright.core.errors import BundleError
from eyewright.core.files import write_bytes
from eyewright.core.jsonable import dumps_json
from eyewright.core.labels import LabelSpace
from eyewright.imaging.preparation import Preparation
from eyewright.tasks import TASKS

FORMAT = "eyewright-bundle"
FORMAT_VERSION = 1
_AGAIN = "export the model again"
_MOST_BYTES = 64 * 2**20

MODEL_FILES = ("onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/model_fp16.onnx")
"""The names that a bundle's model may have: those by which other libraries look for one of its precision."""

PRECISIONS = ("float32", "float16", "int8")
"""What a model may compute in; the tolerances of self-test and parity go by it."""


@dataclass(frozen=True)
class Manifest:
    """The contract of a bundle: task, classes by name, Preparation, tensors, what was measured, every file's digest.

    `tensors` names the ONNX inputs and outputs with type, shape, layout and range. `files` maps each relative name to
    its SHA-256 and size in bytes. `decoding` holds what is needed beside the tensors to read the model's answers: from
    which overlap on boxes are one object, and for a stranger's model the contract of its own tensors. `familiarity`
    says how unfamiliar images are recognised, or the `reason` why they are not; bundles of earlier versions have none.
    `evidence` holds the numbers of images and groups behind metrics, calibration, thresholds and familiarity.
    """

    name: str
    task: str
    labels: LabelSpace
    preparation: Preparation
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

    def to_json(self) -> dict[str, Any]:
        """Give the manifest as plain JSON types, with format and version."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "task": self.task,
            "labels": list(self.labels.names),
            "preparation": self.preparation.to_json(),
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


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `bundle.json` with a digest of itself."""
    write_bytes(folder / "bundle.json", _canonical(manifest.to_json()))


def read_manifest(folder: Path) -> Manifest:
    """Read and check `bundle.json`: canonical, self-consistent, of a version we know.

    Raises:
        BundleError: missing, changed by a single bit, of a newer format, or incomplete.
    """
    path = folder / "bundle.json"
    try:
        if path.is_symlink() or path.stat().st_size > _MOST_BYTES:
            raise BundleError("bundle.json is a link or too large", fix=_AGAIN)
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"expected a bundle at {str(folder)!r}, found no readable bundle.json", fix="check the path"
        ) from error
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise BundleError(f"bundle.json is damaged: {error}", fix=_AGAIN) from error
    if content.get("format") != FORMAT:
        raise BundleError(f"expected format {FORMAT!r}, found {content.get('format')!r}", fix=_AGAIN)
    version = content.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise BundleError(
            f"the bundle's format version is {version}, this eyewright reads up to {FORMAT_VERSION}",
            fix="upgrade eyewright",
            code="bundle_newer",
        )
    digest = content.pop("digest", None)
    if _canonical(content) != data or digest is None:
        raise BundleError("bundle.json has been changed since it was written", fix=_AGAIN)
    return manifest_from(content)


def manifest_from(content: Mapping[str, Any]) -> Manifest:
    """Read what `Manifest.to_json` gives.

    Raises:
        BundleError: it is incomplete, or of a task, model or precision that is unknown here.
    """
    try:
        task, model = content["task"], content.get("model", MODEL_FILES[0])
        precision = content.get("precision", PRECISIONS[0])
        if model not in MODEL_FILES or precision not in PRECISIONS:
            raise BundleError(
                f"the bundle's model is {model!r} in {precision!r}, unknown here", fix="upgrade eyewright"
            )
        if task not in TASKS:
            raise BundleError(f"the bundle is for the task {task!r}, which is unknown here", fix="upgrade eyewright")
        return Manifest(
            name=str(content["name"]),
            task=task,
            labels=LabelSpace(tuple(content["labels"])),
            preparation=Preparation.from_json(content["preparation"]),
            tensors=content["tensors"],
            files=content["files"],
            metrics=content["metrics"],
            calibration=content["calibration"],
            thresholds=content["thresholds"],
            policy=content["policy"],
            parity=content["parity"],
            decoding=content.get("decoding", {}),
            provenance=content["provenance"],
            model=model,
            precision=precision,
            parent=str(content.get("parent", "")),
            compression=content.get("compression", {}),
            advice=content.get("advice", {}),
            familiarity=content.get("familiarity", {}),
            evidence=content.get("evidence", {}),
        )
    except (KeyError, TypeError) as error:
        raise BundleError(f"bundle.json lacks {error}", fix=_AGAIN) from error


def _canonical(content: Mapping[str, Any]) -> bytes:
    body = dumps_json(content, indent=1)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return (dumps_json({**content, "digest": digest}, indent=1) + "\n").encode()
