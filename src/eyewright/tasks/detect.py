"""Detection and instances: where objects are, of which class, and with masks which pixels are theirs."""

__all__ = ["BoxPrediction", "Detect", "Instance", "MaskCrop"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import BundleError, MissingExtraError
from eyewright.core.labels import LabelSpace
from eyewright.core.report import Metric
from eyewright.metrics.matching import Detected, MaskCrop, whole_masks
from eyewright.tasks.boxes import choose_boxes
from eyewright.tasks.drawn import Drawn

if TYPE_CHECKING:
    from eyewright.imaging.preparation import Placement

LEAST_SCORE = 0.01
"""What is surer than this is kept for measuring; a person sees what passes the operating point of its class."""

DEFAULT_IOU = 0.6
"""From which overlap on two boxes of one class are one object."""

_MOST = 300
_STRIDE = 4


@dataclass(frozen=True, eq=False)
class BoxPrediction(Drawn):
    """The objects found in one image, the surest first.

    `boxes_xyxy` is float32 (n, 4): x0, y0, x1, y1 in source pixels; `scores` float32 (n,), `label_ids` int64 (n,).
    `size_hw` is the image's size. With masks, `crops` holds one an object. `track_ids`, int64 (n,), are a tracker's.

    >>> p = BoxPrediction(np.array([[1, 2, 5, 9]], np.float32), np.array([0.9], np.float32), np.array([1]),
    ...                   LabelSpace(("cat", "dog")), (10, 10))
    >>> p.labels, len(p), p.to_json()["boxes_xyxy"]
    (('dog',), 1, [[1.0, 2.0, 5.0, 9.0]])
    """

    drawn_as: ClassVar[str] = "detect"

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    label_ids: NDArray[np.int64]
    label_space: LabelSpace
    size_hw: tuple[int, int]
    crops: tuple[MaskCrop, ...] | None = None
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = None
    track_ids: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.label_space.names[i] for i in self.label_ids)

    @property
    def masks(self) -> NDArray[np.bool_] | None:
        """The pixels of each object, bool (n, H, W); None where only boxes are found."""
        return None if self.crops is None else whole_masks(self.crops, self.size_hw)

    def chosen(self, rows: NDArray[Any]) -> "BoxPrediction":
        """Give some of the objects: a mask or indices (n,)."""
        at = np.flatnonzero(rows) if rows.dtype == bool else rows
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[at],
            scores=self.scores[at],
            label_ids=self.label_ids[at],
            crops=None if self.crops is None else tuple(self.crops[i] for i in at),
            track_ids=None if self.track_ids is None else self.track_ids[at],
        )

    def detected(self) -> Detected:
        """Give the objects as they are measured."""
        boxes = self.boxes_xyxy.astype(np.float64)
        return Detected(boxes, self.label_ids, self.scores.astype(np.float64), masks=self.crops)

    def to_json(self, *, top: int | None = None) -> dict[str, Any]:
        """Give the `top` surest objects (all with None) in the command line's form; masks as COCO's run lengths."""
        rows = self.chosen(np.arange(len(self))[:top])
        result: dict[str, Any] = {
            "source": self.source,
            "index": self.index,
            "width": self.size_hw[1],
            "height": self.size_hw[0],
            "labels": list(rows.labels),
            "label_ids": rows.label_ids.tolist(),
            "scores": [round(float(s), 6) for s in rows.scores],
            "boxes_xyxy": [[round(float(v), 2) for v in box] for box in rows.boxes_xyxy],
        }
        if rows.track_ids is not None:
            result["track_ids"] = rows.track_ids.tolist()
        if rows.crops is not None:
            from eyewright.imaging.rasters import encode_counts, pack_counts

            masks = rows.masks
            assert masks is not None
            result["segmentations"] = [
                {"size": list(self.size_hw), "counts": pack_counts(encode_counts(m))} for m in masks
            ]
        return result if self.time_s is None else {**result, "time_s": self.time_s}

    def to_supervision(self) -> Any:
        """Return a `supervision.Detections`.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingExtraError("supervision is not installed", fix="pip install supervision") from error
        return supervision.Detections(
            xyxy=self.boxes_xyxy,
            mask=self.masks,
            confidence=self.scores,
            class_id=self.label_ids,
            tracker_id=self.track_ids,
            data={"class_name": np.array(self.labels, dtype=np.str_)},
        )


class Detect:
    """The task: raw "boxes", float32 (N, A, 4), x0 y0 x1 y1 in prepared pixels, and "scores" (N, A, C) in [0, 1]."""

    name = "detect"
    outputs: tuple[str, ...] = ("boxes", "scores")
    main_metric = "ap"

    def decode(
        self,
        raw: Mapping[str, NDArray[np.float32]],
        placements: Sequence["Placement"],
        labels: LabelSpace,
        *,
        iou: float = DEFAULT_IOU,
        least: float = LEAST_SCORE,
        most: int = _MOST,
    ) -> list[BoxPrediction]:
        """Turn raw arrays into one prediction an image, with everything that is surer than `least`.

        Boxes of one class that overlap by more than `iou` are one object. An `iou` of 1 keeps all, for models that
        give each object once.

        Raises:
            BundleError: the arrays do not have the promised names, shapes or range.
        """
        boxes, scores = self._checked(raw, len(placements), len(labels))
        found = []
        for i, placement in enumerate(placements):
            # Boxes never reach outside the image, so cut them off before they are compared.
            inner = _inner_box(placement)
            cut = np.clip(boxes[i], np.tile(inner[:2], 2), np.tile(inner[2:], 2))
            points, ids = choose_boxes(cut, scores[i], least=least, iou=iou, most=most)
            kept = cut[points]
            there = ((kept[:, 2:] - kept[:, :2]) > 0).all(1)
            points, ids, kept = points[there], ids[there], kept[there]
            source = placement.to_source(kept.reshape(-1, 2)).reshape(-1, 4)
            height, width = placement.source_hw
            shown = np.clip(source, 0, [width, height, width, height]).astype(np.float32)
            crops = self._crops(raw, i, points, shown, placement)
            found.append(BoxPrediction(shown, scores[i, points, ids], ids, labels, placement.source_hw, crops))
        return found

    def _checked(
        self, raw: Mapping[str, NDArray[np.float32]], n: int, n_classes: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = raw.get("boxes"), raw.get("scores")
        if boxes is None or scores is None or boxes.ndim != 3 or scores.ndim != 3:
            raise BundleError("expected boxes (N, A, 4) and scores (N, A, C), found others", fix="export again")
        if boxes.shape != (n, boxes.shape[1], 4) or scores.shape != (n, boxes.shape[1], n_classes):
            expected = f"boxes ({n}, A, 4) and scores ({n}, A, {n_classes})"
            raise BundleError(f"expected {expected}, found {boxes.shape} and {scores.shape}", fix="export again")
        if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
            raise BundleError("expected boxes and scores that are finite, found others", fix="export the model again")
        if scores.size and (scores.min() < -1e-3 or scores.max() > 1 + 1e-3):
            raise BundleError("expected scores in [0, 1], found others", fix="export the model again")
        return boxes, scores

    def _crops(
        self,
        raw: Mapping[str, NDArray[np.float32]],
        index: int,
        points: NDArray[np.int64],
        boxes: NDArray[np.float32],
        placement: "Placement",
    ) -> tuple[MaskCrop, ...] | None:
        return None

    def settle(
        self, prediction: BoxPrediction, thresholds: NDArray[np.float64] | None, conf: float | None = None
    ) -> BoxPrediction:
        """Give what is shown to a person: objects that reach `conf`, else the operating point of their class."""
        if conf is None and thresholds is None:
            conf = 0.25
        least = np.full(len(prediction), conf) if conf is not None else thresholds[prediction.label_ids]  # type: ignore[index]
        return prediction.chosen(prediction.scores >= least)

    def score(
        self,
        predictions: Sequence[BoxPrediction],
        targets: Sequence[Detected],
        *,
        rng: np.random.Generator,
        groups: NDArray[Any] | None = None,
    ) -> dict[str, Metric]:
        """Measure predictions against true objects; every metric with its interval over images."""
        from eyewright.metrics.detection import detection_metrics

        n_classes = len(predictions[0].label_space) if predictions else 0
        found = [p.detected() for p in predictions]
        return detection_metrics(found, targets, n_classes, rng=rng, groups=groups)

    def draw(self, image: NDArray[np.uint8], prediction: BoxPrediction) -> NDArray[np.uint8]:
        """Give the image, uint8 (H, W, 3), with every object's box, label and score, and its mask if it has one."""
        from eyewright.imaging.drawing import draw_objects

        texts = [f"{n} {s:.0%}" for n, s in zip(prediction.labels, prediction.scores, strict=True)]
        if prediction.track_ids is not None:
            texts = [f"#{t} {text}" for t, text in zip(prediction.track_ids, texts, strict=True)]
        colours = prediction.track_ids if prediction.track_ids is not None else prediction.label_ids
        return draw_objects(image, prediction.boxes_xyxy, texts, colours, masks=prediction.masks)


class Instance(Detect):
    """The task: boxes and scores, and "coefficients" (N, A, K) of "prototypes" (N, K, H/4, W/4), in logits."""

    name = "instance"
    outputs = ("boxes", "scores", "coefficients", "prototypes")

    def _crops(
        self,
        raw: Mapping[str, NDArray[np.float32]],
        index: int,
        points: NDArray[np.int64],
        boxes: NDArray[np.float32],
        placement: "Placement",
    ) -> tuple[MaskCrop, ...] | None:
        coefficients, prototypes = raw.get("coefficients"), raw.get("prototypes")
        if coefficients is None or prototypes is None or coefficients.shape[2:] != prototypes.shape[1:2]:
            raise BundleError("expected coefficients (N, A, K) and prototypes (N, K, h, w)", fix="export again")
        shape = prototypes.shape[2:]
        logits = (coefficients[index, points] @ prototypes[index].reshape(prototypes.shape[1], -1)).reshape(-1, *shape)
        return tuple(_crop(one, box, placement) for one, box in zip(logits, boxes, strict=True))


def _crop(logits: NDArray[np.float32], box: NDArray[np.float32], placement: "Placement") -> MaskCrop:
    """Bring one mask from a quarter of the prepared size to source pixels, inside its box."""
    height, width = placement.source_hw
    left, top = (int(np.floor(v)) for v in box[:2])
    right, bottom = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    corners = np.array([[left, top], [right, bottom]], np.float64)
    scale, offset = np.array(placement.scale_yx[::-1]), np.array(placement.offset_yx[::-1])
    (x0, y0), (x1, y1) = (corners * scale + offset) / _STRIDE
    limit = (logits.shape[1], logits.shape[0])
    x0, x1 = (float(np.clip(v, 0, limit[0])) for v in (x0, x1))
    y0, y1 = (float(np.clip(v, 0, limit[1])) for v in (y0, y1))
    if x1 - x0 <= 0 or y1 - y0 <= 0:
        return MaskCrop(top, left, np.zeros((bottom - top, right - left), bool))
    picture = Image.fromarray(np.ascontiguousarray(logits, np.float32))
    size = (right - left, bottom - top)
    large = np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=(x0, y0, x1, y1)))
    return MaskCrop(top, left, large > 0)


def _inner_box(placement: "Placement") -> NDArray[np.float64]:
    """Give where the source image lies in the prepared one: x0, y0, x1, y1."""
    height, width = placement.source_hw
    (sy, sx), (oy, ox) = placement.scale_yx, placement.offset_yx
    return np.array([ox, oy, ox + width * sx, oy + height * sy])
