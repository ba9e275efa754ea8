"""Write a compressed bundle: the smaller model, what it was measured to cost, and whose child it is."""

__all__ = ["write_compressed"]

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.manifest import Manifest, read_manifest
from eyewright.bundle.policy import check_policy
from eyewright.bundle.texts import TEXT_FILES
from eyewright.compression.trials import PRECISIONS, Precise, candidate_bundle
from eyewright.core.files import checked_output, staged_folder, write_bytes, write_page
from eyewright.core.report import Report
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.exporting.bundle_writer import (
    evidence_of,
    golden_pairs,
    measured_of,
    pack_arrays,
    reference_numbers,
    seal,
    validation_looks,
)
from eyewright.exporting.card import model_card
from eyewright.exporting.familiarity import FAMILIAR, familiarity_of, with_features
from eyewright.exporting.features import FeatureReader
from eyewright.training.looks import Looks

# What a model of fewer bits shares with the one it was made from.
_SHARED = ("config.json", "preprocessor_config.json", "recipe.toml", "split.csv", *TEXT_FILES)


def write_compressed(
    base: Bundle,
    precise: Precise,
    out: Path,
    *,
    parent: str,
    policy: Mapping[str, Any],
    compression: Mapping[str, Any],
    validation: Dataset,
    familiar: Bundle | None = None,
    report: Report | None = None,
    report_files: Mapping[str, bytes] | None = None,
    name: str | None = None,
) -> Bundle:
    """Write a model of `base`'s form in another precision to the folder `out`, sealed and self-tested.

    `base` is the float bundle of the same net: classes, preparation, calibration and operating points are its own.
    `parent` is the digest of the bundle that the user gave, `policy` what that asks to have been shown. A model in
    float32 keeps its weights, so that it can be trained further; of others only what is run is kept. `familiar` is a
    bundle of the same preparation whose familiarity test is taken over: what images look like does not change with the
    net. Without one, or where it has none, the test is made from `validation` alone.

    Raises:
        PolicyError: the evidence is below what the bundle asks of itself.
        OutputError: `out` cannot be written.
    """
    manifest = base.manifest
    model_file = manifest.model
    if precise.precision != "float32":
        model_file, computed, _ = PRECISIONS[precise.precision]
        manifest = replace(manifest, model=model_file, precision=computed)
    candidate = candidate_bundle(base, precise)
    reader = FeatureReader(precise.model)
    reference = reference_numbers(candidate, validation, reader)
    looks = validation_looks(reference, validation)
    # What images look like stays; what the net knows of them changes with the net, and is measured again.
    arrays, familiarity = with_features(*_familiarity(familiar, manifest, looks), reader.found(), looks.groups)
    evidence = evidence_of(
        {"calibration": manifest.calibration, "thresholds": manifest.thresholds}, familiarity, report
    )
    manifest = replace(
        manifest,
        name=name or manifest.name,
        parent=parent,
        policy=dict(policy),
        compression=dict(compression),
        metrics=manifest.metrics if report is None else report.to_json()["metrics"],
        provenance={**manifest.provenance, **({} if report is None else {"measured": measured_of(report)})},
        advice={},
        familiarity=familiarity,
        evidence={**manifest.evidence, **evidence},
        files={},
    )
    with staged_folder(out) as stage, checked_output(out):
        (stage / "onnx").mkdir()
        write_bytes(stage / model_file, precise.model)
        kept = (*_SHARED, *(("model.safetensors",) if precise.precision == "float32" else ()))
        for file in kept:
            if (base.folder / file).is_file():
                write_bytes(stage / file, (base.folder / file).read_bytes())
        write_bytes(stage / "golden.npz", golden_pairs(candidate, validation))
        write_bytes(stage / "reference.npz", pack_arrays({**reference, **arrays}))
        for file, data in (report_files or {}).items():
            write_bytes(stage / file, data)
        write_page(stage / "README.md", model_card(manifest))
        seal(stage, manifest, manifest.parity)
        check_policy(stage, read_manifest(stage))
        load_bundle(stage)
    return load_bundle(out)


def _familiarity(
    familiar: Bundle | None, manifest: Manifest, validation: Looks
) -> tuple[dict[str, NDArray[Any]], Mapping[str, Any]]:
    """Return the arrays and the facts of the familiarity test: those of another bundle, else of validation images."""
    if familiar is not None and familiar.preparation == manifest.preparation:
        known = {k: familiar.reference[k] for k in FAMILIAR if k in familiar.reference}
        if len(known) == len(FAMILIAR) and familiar.manifest.familiarity:
            return known, {k: v for k, v in familiar.manifest.familiarity.items() if k != "features"}
    return familiarity_of(validation, noun=task_of(manifest.task).reads)
