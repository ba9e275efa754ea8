"""Semantic segmentation: a class for every pixel."""

__all__ = ["MaskPrediction", "Segment"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import BundleError, MissingExtraError
from eyewright.core.labels import LabelSpace
from eyewright.core.report import Metric
from eyewright.tasks.drawn import Drawn

if TYPE_CHECKING:
    from eyewright.imaging.preparation import Placement

_SURE_SHARE = 0.0005
_SURE_LEAST = 9


@dataclass(frozen=True, eq=False)
class MaskPrediction(Drawn):
    """The class of every pixel of one image: `mask` uint8 (H, W), class ids.

    `sureness` is float32 (C,): how sure the surest few pixels of a class are, 0 for one that is nowhere. `second` is
    what each pixel would be if its class were not accepted.
    """

    drawn_as: ClassVar[str] = "segment"

    mask: NDArray[np.uint8]
    sureness: NDArray[np.float32]
    label_space: LabelSpace
    second: NDArray[np.uint8] | None = None
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.mask.shape[0], self.mask.shape[1]

    @property
    def label_ids(self) -> NDArray[np.int64]:
        """The ids of the classes that are there, the largest first, int64 (k,)."""
        areas = np.bincount(self.mask.ravel(), minlength=len(self.label_space))
        order = np.argsort(-areas, kind="stable")
        found: NDArray[np.int64] = order[areas[order] > 0]
        return found

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.label_space.names[i] for i in self.label_ids)

    @property
    def scores(self) -> NDArray[np.float32]:
        return self.sureness[self.label_ids]

    @property
    def areas(self) -> NDArray[np.float64]:
        """The share of the image that each of `labels` covers, float64 (k,)."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.label_space))
        share: NDArray[np.float64] = counts[self.label_ids] / self.mask.size
        return share

    @property
    def masks(self) -> NDArray[np.bool_]:
        """The pixels of each of `labels`, bool (k, H, W)."""
        ids = self.label_ids
        return np.stack([self.mask == i for i in ids]) if len(ids) else np.zeros((0, *self.size_hw), np.bool_)

    def to_supervision(self) -> Any:
        """Return a `supervision.Detections`, one row per class in the image, in the order of `labels`.

        `xyxy` is the smallest box around the pixels of the class.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingExtraError("supervision is not installed", fix="pip install supervision") from error
        ids, masks = self.label_ids, self.masks
        return supervision.Detections(
            xyxy=np.array([_box_around(mask) for mask in masks], np.float32).reshape(-1, 4),
            mask=masks,
            confidence=self.scores,
            class_id=ids,
            data={"class_name": np.array(self.labels, dtype=np.str_)},
        )

    def to_json(self, *, top: int | None = None) -> dict[str, Any]:
        """Give the classes that are there in the command line's form; masks as COCO's run lengths."""
        from eyewright.imaging.rasters import encode_counts, pack_counts

        ids = self.label_ids[:top]
        result: dict[str, Any] = {
            "source": self.source,
            "index": self.index,
            "width": self.size_hw[1],
            "height": self.size_hw[0],
            "labels": [self.label_space.names[i] for i in ids],
            "label_ids": ids.tolist(),
            "scores": [round(float(s), 6) for s in self.sureness[ids]],
            "areas": [round(float(a), 6) for a in self.areas[:top]],
            "segmentations": [
                {"size": list(self.size_hw), "counts": pack_counts(encode_counts(self.mask == i))} for i in ids
            ],
        }
        return result if self.time_s is None else {**result, "time_s": self.time_s}


def _box_around(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


class Segment:
    """The task: raw array "probabilities", float32 (N, C, H, W) over the prepared image, which sum to 1 over C."""

    name = "segment"
    outputs: tuple[str, ...] = ("probabilities",)
    main_metric = "miou"

    def decode(
        self, raw: Mapping[str, NDArray[np.float32]], placements: Sequence["Placement"], labels: LabelSpace
    ) -> list[MaskPrediction]:
        """Turn raw arrays into one prediction an image, in source pixels.

        Raises:
            BundleError: the array does not have the promised name, shape or range.
        """
        found = raw.get("probabilities")
        if found is None or found.ndim != 4 or found.shape[:2] != (len(placements), len(labels)):
            shape = None if found is None else found.shape
            expected = f"({len(placements)}, {len(labels)}, H, W)"
            raise BundleError(f"expected probabilities {expected}, found {shape}", fix="export again")
        if not np.isfinite(found).all() or (found.size and np.abs(found.sum(1) - 1).max() > 1e-2):
            raise BundleError("expected probabilities that sum to 1 at every pixel, found others", fix="export again")
        return [self.paint(one, placement, labels) for one, placement in zip(found, placements, strict=True)]

    def paint(self, probabilities: NDArray[np.float32], placement: "Placement", labels: LabelSpace) -> MaskPrediction:
        """Turn the probabilities of one prepared image, (C, h, w), into a prediction in source pixels.

        Probabilities and not classes are brought to the source's size, one class at a time: edges come out smooth,
        and memory holds two maps however many classes there are.
        """
        height, width = placement.source_hw
        (sy, sx), (oy, ox) = placement.scale_yx, placement.offset_yx
        h, w = probabilities.shape[1:]
        box = (
            float(np.clip(ox, 0, w)),
            float(np.clip(oy, 0, h)),
            float(np.clip(ox + width * sx, 0, w)),
            float(np.clip(oy + height * sy, 0, h)),
        )
        best, runner = np.full((2, height, width), -1.0, np.float32)
        mask, second = np.zeros((2, height, width), np.uint8)
        sureness = np.zeros(len(labels), np.float32)
        for c, plane in enumerate(probabilities):
            picture = Image.fromarray(np.ascontiguousarray(plane, np.float32))
            large = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))
            wins = large > best
            places = ~wins & (large > runner)
            runner = np.where(wins, best, np.where(places, large, runner))
            second = np.where(wins, mask, np.where(places, np.uint8(c), second))
            best, mask = np.where(wins, large, best), np.where(wins, np.uint8(c), mask)
        few = max(_SURE_LEAST, round(_SURE_SHARE * mask.size))
        for c in np.unique(mask).tolist():
            own = best[mask == c]
            k = min(few, len(own))
            # Fewer pixels than that make a class less sure: one alone is noise.
            sureness[c] = float(np.partition(own, len(own) - k)[len(own) - k :].sum()) / few
        return MaskPrediction(mask, sureness.clip(0, 1), labels, second)

    def settle(
        self, prediction: MaskPrediction, thresholds: NDArray[np.float64] | None, conf: float | None = None
    ) -> MaskPrediction:
        """Give what is shown to a person: classes that are nowhere as sure as their operating point (or `conf`) give
        their pixels to the next likely class. The first class, which is the background where there is one, stays."""
        if conf is not None:
            thresholds = np.full(len(prediction.label_space), conf)
        if thresholds is None or prediction.second is None:
            return prediction
        out = prediction.sureness < thresholds
        out[0] = False
        if not out[prediction.mask].any():
            return prediction
        mask = np.where(out[prediction.mask], prediction.second, prediction.mask)
        # What comes next may not be accepted either; then it is the first class.
        mask = np.where(out[mask], np.uint8(0), mask)
        return replace(prediction, mask=mask)

    def score(
        self,
        predictions: Sequence[MaskPrediction],
        targets: Sequence[NDArray[np.uint8]],
        *,
        rng: np.random.Generator,
        groups: NDArray[Any] | None = None,
    ) -> dict[str, Metric]:
        """Measure predictions against true masks, uint8 (H, W) with 255 ignored; metrics with intervals over images."""
        from eyewright.metrics.masks import boundary_scores, image_confusion, mask_metrics

        if not predictions:
            return {}
        names = predictions[0].label_space.names
        tables = [image_confusion(p.mask, t, len(names)) for p, t in zip(predictions, targets, strict=True)]
        edges = [boundary_scores(p.mask, t, len(names)) for p, t in zip(predictions, targets, strict=True)]
        fore = range(1, len(names)) if names[0].lower().strip("_") == "background" else range(len(names))
        return mask_metrics(np.stack(tables), np.stack(edges), names, fore, rng=rng, groups=groups)[0]

    def draw(self, image: NDArray[np.uint8], prediction: MaskPrediction) -> NDArray[np.uint8]:
        """Give the image, uint8 (H, W, 3), with its classes coloured and named below."""
        from eyewright.imaging.drawing import draw_classes

        return draw_classes(image, prediction.mask, prediction.label_space.names)
