"""Segment a picture and write the result: label map, overlay, table, COCO, scores."""

__all__ = ["Segmented", "segment_file"]

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError, UsageError
from eyewright.core.files import checked_output, write_bytes, write_json, write_text
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.imaging.decode import name_unreadable, probe_image, read_image
from eyewright.imaging.encode import encode_image
from eyewright.imaging.segmentation import (
    COLUMNS,
    Region,
    coco_annotations,
    draw_regions,
    measure_regions,
    segment,
    settle,
)
from eyewright.imaging.steps import Steps, parse_steps
from eyewright.metrics.regions import region_scores
from eyewright.processing.losses import lost_finding, reading_losses

_COCO_REGIONS = 5000


@dataclass(frozen=True)
class Segmented:
    """A segmented picture: label map int32 (H, W), its regions, scores against a ground truth if one was given, the
    files.

    `dark` says which side of the cut was labelled: dark objects on a bright background, or bright objects on a dark
    one; None for methods that have no such sides. `findings` say what of the file was left out, such as further pages.
    """

    source: Path
    method: str
    labels: NDArray[np.int32]
    regions: tuple[Region, ...]
    scores: Mapping[str, float]
    paths: Mapping[str, Path]
    dark: bool | None = None
    findings: tuple[Finding, ...] = ()


def segment_file(
    source: str | Path,
    *,
    method: str = "otsu",
    values: Mapping[str, Any] | None = None,
    steps: str | Steps | None = None,
    truth: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> Segmented:
    """Segment one image file, measure its regions and, with `out`, write them.

    `values` are the method's parameters; `steps` are applied before, on the picture as it is (they may not change its
    size). `truth` is a label picture of the same size whose values are region numbers (a palette's indices or grey).
    Written are `NAME-labels.png` (8 or 16 bits), `NAME-overlay.png`, `NAME-regions.csv` and `.json`, `NAME-coco.json`.

    Raises:
        UsageError: an unknown method or parameter, outputs that exist, steps that change the size, more than 65,535
            regions to write.
        InputError: an image that cannot be read, a ground truth of another size.
    """
    path = Path(source)
    with name_unreadable(str(path)):
        native = read_image(path, depth="native")
        lost = reading_losses(path, probe_image(path))
        image: NDArray[Any] = native if native.dtype in (np.uint8, np.uint16) else read_image(path)
    if (image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all():
        image = np.ascontiguousarray(image[..., 0])
    worked = image
    if steps is not None:
        chain = steps if isinstance(steps, Steps) else parse_steps(steps)
        worked = chain(image)
        if worked.shape[:2] != image.shape[:2]:
            raise UsageError(
                "expected steps that keep the picture's size", fix="process it first, then segment the result"
            )
    split = "split it with eyewright process --pages, and segment each page"
    findings = (lost_finding(path, lost, split),) if lost else ()
    full = settle(worked, method, values or {})
    dark = full["dark"] if "dark" in full and full.get("markers", "auto") == "auto" else None
    labels = segment(worked, method, **full)
    regions = measure_regions(labels, image)
    scores: dict[str, float] = {}
    if truth is not None:
        known = _read_labels(Path(truth))
        if known.shape != labels.shape:
            raise InputError(
                f"{quoted(truth)} is {known.shape[1]}x{known.shape[0]} pixels, "
                f"the picture {labels.shape[1]}x{labels.shape[0]}",
                fix="pass the label image that belongs to it",
                code="truth_size",
            )
        scores = region_scores(labels, known)
    paths = {} if out is None else _write(Path(out), path, image, labels, regions, scores, method, dark, overwrite)
    return Segmented(path, method, labels, regions, scores, paths, dark, findings)


def _read_labels(path: Path) -> NDArray[np.int64]:
    """Read a label picture: equal channels are numbers, other colours are numbered in the order of their values."""
    with name_unreadable(str(path)):
        found = np.asarray(read_image(path, depth="native", colour="file"))
    if (found[..., 0] == found[..., 1]).all() and (found[..., 1] == found[..., 2]).all():
        return found[..., 0].astype(np.int64)
    wide = found.astype(np.int64)
    _, index = np.unique(((wide[..., 0] << 32) | (wide[..., 1] << 16) | wide[..., 2]).ravel(), return_inverse=True)
    return np.asarray(index, np.int64).reshape(found.shape[:2])


def _write(
    folder: Path, source: Path, image: NDArray[Any], labels: NDArray[np.int32], regions: tuple[Region, ...],
    scores: Mapping[str, float], method: str, dark: bool | None, overwrite: bool,
) -> dict[str, Path]:  # fmt: skip
    names = {
        "labels": "labels.png",
        "overlay": "overlay.png",
        "table": "regions.csv",
        "regions": "regions.json",
        "coco": "coco.json",
    }
    paths = {key: folder / f"{source.stem}-{name}" for key, name in names.items()}
    existing = next((p for p in paths.values() if p.exists()), None)
    if existing is not None and not overwrite:
        raise UsageError(f"{quoted(existing)} exists", fix="pass --overwrite, or another --out", code="exists")
    if labels.max() > 65_535:
        raise UsageError(f"expected at most 65,535 regions to write, found {labels.max()}", fix="segment more coarsely")
    with checked_output(folder):
        folder.mkdir(parents=True, exist_ok=True)
    depth = np.uint8 if labels.max() < 256 else np.uint16
    write_bytes(paths["labels"], encode_image(labels.astype(depth), format="PNG"))
    write_bytes(paths["overlay"], encode_image(draw_regions(image, labels), format="PNG"))
    table = io.StringIO()
    rows = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    rows.writeheader()
    for region in regions:
        rows.writerow({k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(region).items()})
    write_text(paths["table"], table.getvalue())
    sides = {} if dark is None else {"dark": dark}
    about = {"source": source.name, "method": method, **sides, "size_hw": list(labels.shape), "scores": dict(scores)}
    write_json(paths["regions"], {**about, "regions": [asdict(r) for r in regions]})
    if len(regions) <= _COCO_REGIONS:
        write_json(paths["coco"], coco_annotations(labels, regions, source.name))
    else:
        del paths["coco"]
    return paths
