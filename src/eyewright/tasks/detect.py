"""Detection: where objects are, and of which class."""

__all__ = ["DEFAULT_IOU", "LEAST_SCORE", "TASK", "BoxPrediction", "MaskCrop"]

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Predictor
from eyewright.core.report import Metric
from eyewright.core.task import OBJECT_FILES, Explained, Feedback, Limits, MetricInfo, Output, Raw, Task, Words
from eyewright.imaging.rasters import encode_counts, pack_counts
from eyewright.metrics.matching import Detected, MaskCrop, whole_masks
from eyewright.tasks.box_agreement import agree_on_boxes
from eyewright.tasks.boxes import DEFAULT_IOU, choose_boxes
from eyewright.tasks.corrections import corrected_objects, taught_objects
from eyewright.tasks.drawn import Drawn, import_supervision, kept_image, mask_png
from eyewright.tasks.tiling import join_boxes

if TYPE_CHECKING:
    from eyewright.data.targets.objects import Objects
    from eyewright.imaging.preparation import Placement
    from eyewright.tasks.corrections import Correction

LEAST_SCORE = 0.01
"""Objects of a higher score are kept for measuring; a person sees those at the operating points."""

_MOST = 300
_SHOWN = 6


@dataclass(frozen=True, eq=False, repr=False)
class BoxPrediction(Drawn):
    """The objects found in one image, sorted by confidence.

    `boxes_xyxy` is float32 (n, 4): x0, y0, x1, y1 in source pixels; `scores` float32 (n,), `label_ids` int64 (n,).
    `size_hw` is the image's size. With masks, `crops` holds one per object. `track_ids`, int64 (n,), are a tracker's.

    >>> p = BoxPrediction(np.array([[1, 2, 5, 9]], np.float32), np.array([0.9], np.float32), np.array([1]),
    ...                   LabelSpace(("cat", "dog")), (10, 10))
    >>> p.labels, len(p), p.to_json()["boxes_xyxy"]
    (('dog',), 1, [[1.0, 2.0, 5.0, 9.0]])
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    label_ids: NDArray[np.int64]
    label_space: LabelSpace
    size_hw: tuple[int, int]
    crops: tuple[MaskCrop, ...] | None = None
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = kept_image()
    track_ids: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.label_space.names[i] for i in self.label_ids)

    @property
    def confidence(self) -> float | None:
        """The lowest score of the objects; None without any."""
        return float(self.scores.min()) if len(self) else None

    @property
    def masks(self) -> NDArray[np.bool_] | None:
        """The pixels of each object, bool (n, H, W); None where only boxes are found."""
        return None if self.crops is None else whole_masks(self.crops, self.size_hw)

    def chosen(self, rows: NDArray[Any]) -> "BoxPrediction":
        """Return some of the objects: a mask or indices (n,)."""
        at = np.flatnonzero(rows) if rows.dtype == bool else rows
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[at],
            scores=self.scores[at],
            label_ids=self.label_ids[at],
            crops=None if self.crops is None else tuple(self.crops[i] for i in at),
            track_ids=None if self.track_ids is None else self.track_ids[at],
        )

    def annotated(self) -> "tuple[Objects, NDArray[np.float32]]":
        """Return the objects as a dataset has them, and their scores, float32 (n,)."""
        return taught_objects(self, np.arange(len(self.label_space))), self.scores

    def detected(self) -> Detected:
        """Return the objects as they are measured."""
        boxes = self.boxes_xyxy.astype(np.float64)
        return Detected(boxes, self.label_ids, self.scores.astype(np.float64), masks=self.crops)

    def numbers(self) -> NDArray[np.float32]:
        """Return the prediction in C numbers, float32 (C,), as drift is tested on: the objects of each class."""
        return np.bincount(self.label_ids, minlength=len(self.label_space)).astype(np.float32)

    def drawn_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image, uint8 (H, W, 3), with every object's box, label and score, and its mask if it has one."""
        from eyewright.imaging.drawing import draw_objects

        texts = [f"{n} {s:.0%}" for n, s in zip(self.labels, self.scores, strict=True)]
        if self.track_ids is not None:
            texts = [f"#{t} {text}" for t, text in zip(self.track_ids, texts, strict=True)]
        colours = self.track_ids if self.track_ids is not None else self.label_ids
        return draw_objects(image, self.boxes_xyxy, texts, colours, masks=self.masks)

    def line(self, *, top: int | None = None) -> str:
        """Say in a line what was found: how many objects of each class, among the `top` by score."""
        counts = Counter(self.labels[:top]).most_common()
        shown = ", ".join(f"{label} × {n}" for label, n in counts[:_SHOWN])
        return (shown + (", …" if len(counts) > _SHOWN else "")) or "nothing"

    def headline(self) -> tuple[str, float]:
        """Return the label and score that a log files the prediction under; "" and 0 where nothing was found."""
        return (self.labels[0], float(self.scores[0])) if len(self) else ("", 0.0)

    def to_hub(self, *, top: int | None = None) -> list[dict[str, Any]]:
        """Return the objects as Hugging Face's pipelines answer, with masks as PNG where there are any."""
        masks = self.masks
        rows: list[dict[str, Any]] = []
        for k, (name, score, box) in enumerate(zip(self.labels, self.scores, self.boxes_xyxy.tolist(), strict=True)):
            corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), (round(v) for v in box), strict=True))
            mask = {} if masks is None else {"mask": mask_png(masks[k])}
            rows.append({"label": name, "score": float(score), "box": corners, **mask})
        return rows

    def to_json(self, *, top: int | None = None) -> dict[str, Any]:
        """Return the `top` objects (all with None) in the command line's form; masks as COCO's run-length encoding."""
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
        return import_supervision().Detections(
            xyxy=self.boxes_xyxy,
            mask=self.masks,
            confidence=self.scores,
            class_id=self.label_ids,
            tracker_id=self.track_ids,
            data={"class_name": np.array(self.labels, dtype=np.str_)},
        )


class Crops(Protocol):
    """How the masks of the objects kept of one image are read from the raw arrays."""

    def __call__(
        self, raw: Raw, index: int, points: NDArray[np.int64], boxes: NDArray[np.float32], placement: "Placement"
    ) -> tuple[MaskCrop, ...]: ...


def decode(
    raw: Raw,
    placements: Sequence["Placement"],
    labels: LabelSpace,
    *,
    iou: float | None = None,
    least: float | None = None,
    most: int | None = None,
    crops: Crops | None = None,
) -> list[BoxPrediction]:
    """Return one prediction per image from "boxes", float32 (N, A, 4), x0 y0 x1 y1 in prepared pixels, and "scores",
    float32 (N, A, C) in [0, 1].

    Args:
        iou: the IoU threshold of non-maximum suppression within a class, 0.6 unless told; 1 keeps every box, for
            models that find each object once.
        least: the lowest score that is kept, 0.01 unless told.
        most: how many objects per image are kept, 300 unless told.
        crops: reads the masks of the objects, where they have any.

    Raises:
        BundleError: the arrays do not have the promised names, shapes or range.
    """
    boxes, scores = _checked(raw, len(placements), len(labels))
    found = []
    for i, placement in enumerate(placements):
        # Boxes never reach outside the image, so cut them off before they are compared.
        inner = _inner_box(placement)
        cut = np.clip(boxes[i], np.tile(inner[:2], 2), np.tile(inner[2:], 2))
        points, ids = choose_boxes(
            cut,
            scores[i],
            least=LEAST_SCORE if least is None else least,
            iou=DEFAULT_IOU if iou is None else iou,
            most=_MOST if most is None else most,
        )
        kept = cut[points]
        there = ((kept[:, 2:] - kept[:, :2]) > 0).all(1)
        points, ids, kept = points[there], ids[there], kept[there]
        source = placement.to_source(kept.reshape(-1, 2)).reshape(-1, 4)
        height, width = placement.source_hw
        shown = np.clip(source, 0, [width, height, width, height]).astype(np.float32)
        masks = None if crops is None else crops(raw, i, points, shown, placement)
        found.append(BoxPrediction(shown, scores[i, points, ids], ids, labels, placement.source_hw, masks))
    return found


def _checked(raw: Raw, n: int, n_classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
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


def settle(
    prediction: BoxPrediction, thresholds: NDArray[np.float64] | None, conf: float | None = None
) -> BoxPrediction:
    """Return what is shown to a person: objects that reach `conf`, else the operating point of their class."""
    if conf is None and thresholds is None:
        conf = 0.25
    least = np.full(len(prediction), conf) if conf is not None else thresholds[prediction.label_ids]  # type: ignore[index]
    return prediction.chosen(prediction.scores >= least)


def score(
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


def join_views(
    predictor: Predictor, image: NDArray[np.uint8], *, flip: bool, tile: int | None, overlap: float, iou: float | None
) -> BoxPrediction:
    """Return the objects of an image from its tiles, the whole, and with `flip` their mirrors."""
    found = join_boxes(predictor, image, flip=flip, tile=tile, overlap=overlap, iou=iou)
    return BoxPrediction(found.boxes, found.scores, found.label_ids, predictor.labels, image.shape[:2], found.crops)


@dataclass(frozen=True, eq=False)
class BoxTarget:
    """How well the best answer agrees with one object in place and class (Petsiuk et al. 2021, "D-RISE").

    `box` is x0, y0, x1, y1 in prepared pixels; the score is the largest overlap times class score of all answers.
    """

    label: int
    box: NDArray[np.float64]

    shown = ""
    cells = 12

    def __call__(self, raw: Raw) -> NDArray[np.float64]:
        boxes, scores = raw["boxes"].astype(np.float64), raw["scores"][..., self.label].astype(np.float64)
        wide = np.minimum(boxes[..., 2], self.box[2]) - np.maximum(boxes[..., 0], self.box[0])
        high = np.minimum(boxes[..., 3], self.box[3]) - np.maximum(boxes[..., 1], self.box[1])
        both = wide.clip(0) * high.clip(0)
        area = (boxes[..., 2] - boxes[..., 0]).clip(0) * (boxes[..., 3] - boxes[..., 1]).clip(0)
        own = float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))
        best: NDArray[np.float64] = (both / np.maximum(area + own - both, 1e-9) * scores).max(1)
        return best


def explained(raw: Raw, prediction: Any, placement: Any, label: int | None) -> Sequence[Explained]:
    """Return the objects that were found, sorted by confidence."""
    scale, offset = np.array(placement.scale_yx[::-1] * 2), np.array(placement.offset_yx[::-1] * 2)
    rows = [k for k, c in enumerate(prediction.label_ids) if label in (None, int(c))]
    boxes = prediction.boxes_xyxy.astype(np.float64) * scale + offset
    return [BoxTarget(int(prediction.label_ids[k]), boxes[k]) for k in rows]


def summary(answers: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return how many objects each of (N, C) answers holds, (N,)."""
    return "amount", np.asarray(answers.sum(1))


def labelled(answers: NDArray[Any]) -> NDArray[Any]:
    """Return how many objects of each class were found, (N, C)."""
    return answers


def _inner_box(placement: "Placement") -> NDArray[np.float64]:
    """Return where the source image lies in the prepared one: x0, y0, x1, y1."""
    height, width = placement.source_hw
    (sy, sx), (oy, ox) = placement.scale_yx, placement.offset_yx
    return np.array([ox, oy, ox + width * sx, oy + height * sy])


def counted(marks: Sequence[int]) -> Iterable[int]:
    """Return what a dataset counts: every object."""
    return marks


def example(rng: np.random.Generator) -> tuple[Raw, Sequence[Any]]:
    """Return six boxes in each of 12 images, and two true objects in each."""
    corner = rng.random((12, 6, 2)) * [16, 10]
    boxes = np.concatenate([corner, corner + 2 + rng.random((12, 6, 2)) * 4], 2).astype(np.float32)
    truth = [Detected(b[:2].astype(np.float64), np.array([0, 2])) for b in boxes]
    return {"boxes": boxes, "scores": rng.random((12, 6, 3)).astype(np.float32)}, truth


LIMITS = MappingProxyType({"float32": Limits(1e-3, 0.99), "float16": Limits(0.02, 0.95), "int8": Limits(0.05, 0.9)})

METRICS = (
    MetricInfo("ap", "AP50:95", "mean over IoU thresholds from 0.5 to 0.95", paired=True),
    MetricInfo("ap50", "AP50", "average precision at an IoU threshold of 0.5", paired=True),
    MetricInfo("recall", "recall", "objects that are found at the operating points"),
    MetricInfo("precision", "precision", "detections that are right at the operating points"),
    MetricInfo("f1", "F1", "harmonic mean of precision and recall"),
    MetricInfo("ar_100", "AR", "recall at any score, mean over IoU thresholds"),
    MetricInfo("pq", "panoptic quality", "", tile=False),
)


def corrected(said: "Correction") -> "Objects":
    return corrected_objects(said, outlined=False)


def taught(prediction: BoxPrediction, ids: NDArray[np.int64], keep: object) -> "Objects":
    return taught_objects(prediction, ids)


TASK = Task(
    name="detect",
    words=Words(
        noun="detection",
        does="Finds objects and their boxes, of",
        gives="`boxes` (x0 y0 x1 y1 in prepared pixels) and `scores`; boxes of one class that overlap are one object",
        usage="boxes_xyxy",
        limits="It knows only these classes, and may miss objects that are small or hidden.",
        counted="object",
        score="a score",
        wins="images that one does better",
    ),
    outputs=(Output("boxes", ("A", 4)), Output("scores", ("A", "C"))),
    metrics=METRICS,
    options=OBJECT_FILES
    | {"attack", "classes", "conf", "coverage", "import", "iou", "miss_rate", "tile", "top", "unlabelled", "web"},
    losses=("varifocal",),
    columns=("ap50", "ap", "precision", "recall", "f1"),
    foreign=MappingProxyType({"hub": "object-detection", "openvino": "YOLOv8", "label-studio": "RectangleLabels"}),
    contracts=("boxes_scores", "joined", "grid"),
    decode=decode,
    settle=settle,
    score=score,
    limits=LIMITS,
    agree=agree_on_boxes,
    views=join_views,
    explained=explained,
    summary=summary,
    labelled=labelled,
    example=example,
    reference="objects",
    target="eyewright.data.targets.objects:OBJECTS",
    feedback=Feedback(("objects",), ("box_xyxy",), corrected, taught, "coco"),
    net="boxes",
    learner="eyewright.learners.detect:LEARNER",
    reporting="eyewright.tasks.box_report:REPORTING",
    counted=counted,
    followed="ap50",
    spellings=MappingProxyType({"map": "ap", "map50": "ap50"}),
)
"""Boxes of objects."""
