"""How far a bundle's answers can be trusted: its conformal sets, and its test for unfamiliar images, measured."""

__all__ = ["TrustAsked", "measure_trust", "with_trust"]

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.guarantees import guarantees_of
from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.trust import Known, familiarity_in
from eyewright.core.errors import EyewrightError, RefusedError, UsageError
from eyewright.core.predictor import Predictor
from eyewright.core.progress import track_progress
from eyewright.core.quoting import quoted
from eyewright.core.report import Metric, Report
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.evaluation.together import group_names
from eyewright.imaging.appearance import appearance
from eyewright.imaging.clips import iter_examples
from eyewright.imaging.preparation import image_preparation
from eyewright.imaging.sources import list_sources
from eyewright.imaging.sources.files import read_prepared_files
from eyewright.lifecycle.trusting_boxes import measure_boxes
from eyewright.metrics.bootstrap import rate_metric
from eyewright.metrics.conformal import LabelSets, Method, set_coverage
from eyewright.metrics.conformal_boxes import BoxBy
from eyewright.metrics.familiarity import FLAGGED
from eyewright.metrics.separation import separation


@dataclass(frozen=True)
class TrustAsked:
    """What is to be measured: sets of labels or margins of boxes of a `coverage`, the threshold of a `miss_rate`, and
    images in `unfamiliar`, a folder or file, that the model was not made for; None leaves one out."""

    coverage: float | None = None
    by: BoxBy | None = None
    method: Method | None = None
    unfamiliar: Path | None = None
    miss_rate: float | None = None

    def __post_init__(self) -> None:
        if self.coverage is None and (self.by, self.method) != (None, None):
            raise UsageError("expected --coverage with --coverage-by and --sets, found none", fix="add --coverage 0.9")

    def __bool__(self) -> bool:
        return self.promises or self.unfamiliar is not None

    @property
    def promises(self) -> bool:
        """Whether sets, margins or a miss rate are to be measured."""
        return self.coverage is not None or self.miss_rate is not None


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the bundle says of images: p-values (N,), confidences (N,), and answers in C numbers, (N, C)."""

    p: NDArray[np.float64]
    confidence: NDArray[np.float64]
    answers: NDArray[np.float32]


def with_trust(
    report: Report, predictor: Predictor, dataset: Dataset, asked: TrustAsked, *, seed: int = 0, quiet: bool = True
) -> Report:
    """Return a report with what `measure_trust` finds.

    Raises:
        UsageError: the predictor is no bundle; and as `measure_trust`.
        RefusedError: as `measure_trust`.
    """
    if not isinstance(predictor, Bundle):
        raise UsageError(
            "coverage, miss rates and unfamiliar images are measured for bundles only",
            fix="export the run, pass the bundle",
        )
    metrics, table = measure_trust(predictor, dataset, asked, seed=seed, quiet=quiet)
    return replace(report, metrics={**report.metrics, **metrics}, tables={**report.tables, "trust": table})


def measure_trust(
    bundle: Bundle, dataset: Dataset, asked: TrustAsked, *, seed: int = 0, quiet: bool = True
) -> tuple[dict[str, Metric], dict[str, Any]]:
    """Return metrics of what a bundle promises of its predictions and of its test for unfamiliar images, and a table
    for the report.

    Raises:
        UsageError: sets or margins of a task that has none, or too few validation images for so much coverage; no
            images.
        RefusedError: the bundle cannot recognise unfamiliar images.
    """
    again = load_bundle(bundle.folder, features=True, self_test=False)
    known, reason = familiarity_in(again.reference, again.manifest.familiarity)
    if asked.unfamiliar is not None and known is None:
        raise RefusedError(f"the bundle cannot recognise unfamiliar images: {reason}", fix="leave --unfamiliar out")
    promised = guarantees_of(again, coverage=asked.coverage, by=asked.by, sets=asked.method, miss_rate=asked.miss_rate)
    metrics: dict[str, Metric] = {}
    table: dict[str, Any] = {}
    if promised.margins is not None or promised.missed is not None:
        metrics, table["boxes"] = measure_boxes(again, dataset, promised, seed=seed, quiet=quiet)
        if asked.unfamiliar is None:
            return metrics, table
    sets = promised.sets
    groups = group_names(dataset)
    with track_progress("measuring trust", len(dataset), quiet=quiet) as advance:
        seen = _look_at(again, known, _advancing(dataset.examples(image_preparation(again.inputs)), advance))
    if sets is not None:
        inside, true = sets.of(seen.answers), _true(bundle, dataset)
        metrics["set_coverage"] = set_coverage(inside, true, groups=groups)
        table["sets"] = _sets_table(bundle, sets, inside, true)
    if asked.unfamiliar is not None:
        paths = list_sources(asked.unfamiliar)
        with track_progress("unfamiliar images", len(paths), quiet=quiet) as advance:
            other = _look_at(again, known, _advancing(_opened(again, paths), advance))
        if not len(other.p):
            raise UsageError(f"expected images in {quoted(asked.unfamiliar)}, found none", fix="change --unfamiliar")
        metrics |= _told_apart(seen, other, groups, seed)
        table["unfamiliar"] = {
            "n": len(other.p),
            "level": FLAGGED,
            "features": bool(known and known.features),
            "by_confidence": separation(
                -seen.confidence, -other.confidence, rng=generator(seed, "confidence"), groups=groups
            )["auroc"].value,
            "passed": [str(paths[k]) for k in np.argsort(-other.p, kind="stable")[:12] if other.p[k] > FLAGGED],
        }
    return metrics, table


def _advancing(images: Iterable[Any], advance: Any) -> Iterable[Any]:
    for image in images:
        yield image
        advance(1, "")


def _opened(bundle: Bundle, paths: Any) -> Iterable[Any]:
    if bundle.reads_prepared:
        for _, found in read_prepared_files(paths, bundle.preparation):
            if isinstance(found, EyewrightError):
                raise found
            yield found
        return
    for path in paths:
        for frame in iter_examples(path, bundle.preparation.clip):
            yield frame.image


def _look_at(bundle: Bundle, known: Known | None, images: Iterable[Any]) -> _Seen:
    prepare = image_preparation(bundle.inputs)
    p, confidence, answers = [], [], []
    for image in images:
        pixels, placements = prepare.batch([image])
        raw, features = bundle.raw_with_features(pixels)
        (shown,) = bundle.read(raw, placements)
        look = appearance(pixels[0], placements[0])
        p.append(1.0 if known is None else known.p(look, None if features is None else features[0]))
        confidence.append(shown.headline()[1])
        answers.append(shown.numbers())
    width = len(bundle.labels)
    return _Seen(np.array(p), np.array(confidence), np.array(answers, np.float32).reshape(len(p), width))


def _true(bundle: Bundle, dataset: Dataset) -> NDArray[np.int64]:
    """Return the true classes as numbers of the model, whose order may be another than the dataset's."""
    place = {name: k for k, name in enumerate(bundle.labels.names)}
    own = np.array([place[name] for name in dataset.labels.names], np.int64)
    return own[np.asarray(dataset.targets, np.int64)]


def _told_apart(seen: _Seen, other: _Seen, groups: NDArray[Any] | None, seed: int) -> dict[str, Metric]:
    apart = separation(-seen.p, -other.p, rng=generator(seed, "unfamiliar"), groups=groups)
    return {
        "unfamiliar_auroc": apart["auroc"],
        "unfamiliar_missed_at_95": apart["missed_at_95"],
        "unfamiliar_flagged": rate_metric(other.p <= FLAGGED),
        "familiar_flagged": rate_metric(seen.p <= FLAGGED, groups=groups),
    }


def _sets_table(
    bundle: Bundle, sets: LabelSets, inside: NDArray[np.bool_], true: NDArray[np.int64]
) -> Mapping[str, Any]:
    sizes = inside.sum(1)
    rows = []
    for k, name in enumerate(bundle.labels.names):
        own = true == k
        if not own.any():
            continue
        held = rate_metric(inside[own, k])
        rows.append(
            {
                "label": name,
                "n": int(own.sum()),
                "coverage": {"value": held.value, "low": held.low, "high": held.high},
                "size": float(sizes[own].mean()),
                "open": k in sets.open_classes,
            }
        )
    return {
        "coverage": sets.coverage,
        "by": sets.by,
        "method": sets.method,
        "images": sets.n,
        "groups": sets.groups,
        "sizes": {str(k): int(n) for k, n in zip(*np.unique(sizes, return_counts=True), strict=True)},
        "mean_size": float(sizes.mean()),
        "single": float((sizes == 1).mean()),
        "classes": rows,
    }
