"""The models a server has, by name: looked up in a table, never joined to a path."""

__all__ = ["Model", "load_table"]

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eyewright.bundle.inputs import only_image
from eyewright.bundle.manifest import Manifest, bundle_folder
from eyewright.bundle.policy import check_policy
from eyewright.bundle.signature import PublicKey
from eyewright.bundle.verify import signed_manifest
from eyewright.core.errors import UsageError
from eyewright.core.task import task_of
from eyewright.serving.messages import ModelPlace
from eyewright.serving.samples import read_samples

_SHOWN = {"report": ("report.html", "text/html; charset=utf-8"), "card": ("README.md", "text/markdown; charset=utf-8")}


@dataclass(frozen=True, eq=False)
class Model:
    """A bundle under the name that clients call it by; `digest` is the SHA-256 of its bundle.json."""

    name: str
    folder: Path
    digest: str
    manifest: Manifest

    @property
    def place(self) -> ModelPlace:
        return ModelPlace(self.name, str(self.folder), self.digest)

    @property
    def task(self) -> str:
        return self.manifest.task

    @cached_property
    def description(self) -> dict[str, Any]:
        """What a client may know of the model."""
        m = self.manifest
        points = m.thresholds.get("classes") or {}
        known = {info.name: info for info in task_of(m.task).metrics}
        return {
            "name": self.name,
            "title": m.name,
            "task": m.task,
            "reads": task_of(m.task).reads,
            "options": sorted(task_of(m.task).options),
            "digest": self.digest,
            "labels": list(m.labels.names),
            "label_words": list(task_of(m.task).words.label if task_of(m.task).words.names_labels else ()),
            "metric_titles": {k: known[k].title for k in m.metrics if k in known},
            "rates": [k for k in m.metrics if k not in known or known[k].in_percent],
            "units": {k: u for k in m.metrics if (u := task_of(m.task).unit(m.labels.names, k))},
            **self._image,
            "inputs": {
                name: {"kind": one.kind, "dtype": one.dtype, "shape": list(one.shape), "words": one.words}
                for name, one in m.inputs.items()
            },
            "metrics": m.metrics,
            "calibration": m.calibration.get("method"),
            "thresholds": {k: v.get("threshold") for k, v in points.items()},
            "familiarity": dict(m.familiarity),
            "evidence": dict(m.evidence),
            "policy": dict(m.policy),
            "exported": m.provenance.get("exported"),
            "pages": [k for k, (file, _) in _SHOWN.items() if file in m.files],
            "samples": len(self.samples),
        }

    @property
    def _image(self) -> dict[str, Any]:
        """The size of the image of a model that takes nothing else."""
        m = self.manifest
        if not only_image(m.inputs):
            return {}
        return {"size_hw": list(m.preparation.size_hw), "channels": m.preparation.channels}

    @cached_property
    def samples(self) -> tuple[bytes, ...]:
        """Images that the page offers to somebody who has none, as PNG files."""
        return read_samples(self.folder, self.manifest)

    def page(self, kind: str) -> tuple[bytes, str] | None:
        """Return the model's report or card with its media type, None where there is none."""
        known = _SHOWN.get(kind)
        if known is None or known[0] not in self.manifest.files:
            return None
        try:
            data = (self.folder / known[0]).read_bytes()
        except OSError:
            # The folder was moved or removed since the bundle was loaded.
            return None
        same = hashlib.sha256(data).hexdigest() == self.manifest.files[known[0]]["sha256"]
        return (data, known[1]) if same else None


def load_table(
    bundles: Sequence[str | Path], policy: Mapping[str, float] | None = None, *, key: PublicKey | None = None
) -> dict[str, Model]:
    """Return the models of bundle folders, each `FOLDER` or `NAME=FOLDER`, by name; their policies are kept.

    With `key` each bundle must be signed by it. Workers open only the bundle whose `bundle.json` was read here.

    Raises:
        BundleError: no readable bundle, or no valid signature.
        PolicyError: its evidence is below its policy.
        UsageError: none, or two of one name.
    """
    table: dict[str, Model] = {}
    for given in bundles:
        name, folder = _named(given)
        manifest, digest = signed_manifest(folder, key)
        check_policy(folder, manifest, policy)
        if name in table:
            raise UsageError(f"two bundles are called {name!r}", fix="write one of them as OTHER=FOLDER")
        table[name] = Model(name, folder.resolve(), digest, manifest)
    if not table:
        raise UsageError("expected at least one bundle, found none", fix="pass a bundle folder")
    return table


def _named(given: str | Path) -> tuple[str, Path]:
    text = str(given)
    if not Path(text).exists() and "=" in text:
        name, _, place = text.partition("=")
        folder = Path(place)
    else:
        folder = Path(text)
        name = folder.resolve().name.removesuffix(".bundle")
        if name == "bundle":
            name = folder.resolve().parent.name
    folder = bundle_folder(folder)
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name).strip(".-")[:64]
    if not plain or ("=" in text and plain != name and not Path(text).exists()):
        raise UsageError(f"expected a model name of letters, digits, - and _, found {name!r}", fix="change it")
    return plain, folder
