"""What `doctor` finds about where images come from: files that say that a model made them."""

__all__ = ["GENERATED_CODES", "audit_generated"]

from types import MappingProxyType

from eyewright.core.report import Finding
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan

GENERATED_CODES = MappingProxyType({"generated": "images whose file says that a trained model made them"})
"""Every code that a finding about the origin of images can have, with its meaning."""


def audit_generated(dataset: Dataset, scan: Scan) -> list[Finding]:
    """Return one finding for all images that are marked as made by a model, by what their files say."""
    marked = [
        (sample.id, sample.split)
        for sample, record in zip(dataset.samples, scan.records, strict=True)
        if record.generated and record.info is not None
    ]
    if not marked:
        return []
    tested = sum(split in ("val", "test") for _, split in marked)
    where = f", {tested} of them in val or test" if tested else ""
    n = len(marked)
    text = f"{n:,} image{'s say' if n != 1 else ' says'} that a trained model made {'them' if n != 1 else 'it'}{where}"
    fix = "keep generated images out of val and test, otherwise the score says nothing about real images"
    ids = tuple(name for name, _ in marked)
    return [Finding("generated", text, fix, ids[0], severity="warning", paths=ids)]
