"""Semantic segmentation: a class for every pixel."""

__all__ = ["TASK", "MaskPrediction", "paint"]

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Answers, Predictor
from eyewright.core.report import Metric
from eyewright.core.task import Agreement, Feedback, Limits, MetricInfo, Output, Raw, Task, Words
from eyewright.data.dataset import BACKGROUND
from eyewright.data.targets.objects import mask_objects
from eyewright.imaging.rasters import count_classes, encode_classes, pack_counts
from eyewright.tasks.arrays import array_of
from eyewright.tasks.corrections import corrected_mask
from eyewright.tasks.drawn import Drawn, import_supervision, kept_image, mask_png
from eyewright.tasks.mask_explained import explained
from eyewright.tasks.tiling import cut_view, edge_distance, tile_places

if TYPE_CHECKING:
    from eyewright.data.targets.mask import MaskFile
    from eyewright.data.targets.objects import Objects
    from eyewright.imaging.preparation import Placement
    from eyewright.tasks.corrections import Correction

_SURE_SHARE = 0.0005
_SURE_LEAST = 9
_SHOWN = 6


@dataclass(frozen=True, eq=False, repr=False)
class MaskPrediction(Drawn):
    """The class of every pixel of one image: `mask` uint8 (H, W), class ids.

    `sureness` is float32 (C,): the confidence of the few most confident pixels of a class, 0 for one that is nowhere.
    `second` is what each pixel would be if its class were not accepted.
    """

    mask: NDArray[np.uint8]
    sureness: NDArray[np.float32]
    label_space: LabelSpace
    second: NDArray[np.uint8] | None = None
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = kept_image()

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.mask.shape[0], self.mask.shape[1]

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """How many pixels are of each class, int64 (C,)."""
        return count_classes(self.mask, len(self.label_space))

    @property
    def label_ids(self) -> NDArray[np.int64]:
        """The ids of the classes that are there, the largest first, int64 (k,)."""
        order = np.argsort(-self._counts, kind="stable")
        found: NDArray[np.int64] = order[self._counts[order] > 0]
        return found

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.label_space.names[i] for i in self.label_ids)

    @property
    def scores(self) -> NDArray[np.float32]:
        return self.sureness[self.label_ids]

    @property
    def confidence(self) -> float:
        """The lowest score of the classes in the image."""
        return float(self.scores.min())

    @property
    def areas(self) -> NDArray[np.float64]:
        """The fraction of the image that each of `labels` covers, float64 (k,)."""
        share: NDArray[np.float64] = self._counts[self.label_ids] / self.mask.size
        return share

    @property
    def masks(self) -> NDArray[np.bool_]:
        """The pixels of each of `labels`, bool (k, H, W)."""
        ids = self.label_ids
        return np.stack([self.mask == i for i in ids]) if len(ids) else np.zeros((0, *self.size_hw), np.bool_)

    def annotated(self) -> "tuple[Objects, NDArray[np.float32]]":
        """Return the classes as a dataset has them, one object per class that is not background, and their scores."""
        names = self.label_space.names
        found = mask_objects(self.mask, [k for k, n in enumerate(names) if n.lower() not in BACKGROUND])
        return found, self.sureness[found.label_ids]

    def to_supervision(self) -> Any:
        """Return a `supervision.Detections`, one row per class in the image, in the order of `labels`.

        `xyxy` is the smallest box around the pixels of the class.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        supervision = import_supervision()
        ids, masks = self.label_ids, self.masks
        return supervision.Detections(
            xyxy=np.array([_box_around(mask) for mask in masks], np.float32).reshape(-1, 4),
            mask=masks,
            confidence=self.scores,
            class_id=ids,
            data={"class_name": np.array(self.labels, dtype=np.str_)},
        )

    def numbers(self) -> NDArray[np.float32]:
        """Return the prediction in C numbers, float32 (C,), as drift is tested on: the fraction of the pixels."""
        return (self._counts / self.mask.size).astype(np.float32)

    def line(self, *, top: int | None = None) -> str:
        """Say in a line what was found: the fraction of the image of each class, the `top` largest."""
        pairs = list(zip(self.labels, self.areas, strict=True))[: top or _SHOWN]
        return "  ".join(f"{label} {area:.1%}" for label, area in pairs)

    def headline(self) -> tuple[str, float]:
        """Return the largest class that is not background and its score, under which a log files the prediction."""
        marked = [k for k, n in enumerate(self.labels) if n.lower().strip("_") != "background"]
        return (self.labels[marked[0]], float(self.scores[marked[0]])) if marked else ("", 0.0)

    def drawn_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image, uint8 (H, W, 3), with its classes coloured and named below."""
        from eyewright.imaging.drawing import draw_classes

        return draw_classes(image, self.mask, self.label_space.names)

    def strip_rows(self, size_hw: tuple[int, int]) -> int:
        from eyewright.imaging.drawing import legend_rows

        return legend_rows(size_hw, self.label_space.names)

    def to_hub(self, *, top: int | None = None) -> list[dict[str, Any]]:
        """Return the classes as Hugging Face's pipeline of this task answers, masks as PNG."""
        return [
            {"label": name, "score": float(score), "mask": mask_png(mask)}
            for name, score, mask in zip(self.labels, self.scores, self.masks, strict=True)
        ]

    def to_json(self, *, top: int | None = None) -> dict[str, Any]:
        """Return the classes that are there in the command line's form; masks as COCO's run-length encoding."""
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
                {"size": list(self.size_hw), "counts": pack_counts(counts)}
                for counts in encode_classes(self.mask, ids.tolist())
            ],
        }
        return result if self.time_s is None else {**result, "time_s": self.time_s}


def _box_around(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def decode(
    raw: Raw,
    placements: Sequence["Placement"],
    labels: LabelSpace,
    *,
    iou: float | None = None,
    least: float | None = None,
    most: int | None = None,
) -> list[MaskPrediction]:
    """Return one prediction per image, in source pixels, from "probabilities", float32 (N, C, H, W) over the prepared
    image, which sum to 1 over C.

    Raises:
        BundleError: the array does not have the promised name, shape or range.
    """
    found = array_of(raw, "probabilities", len(placements), len(labels), "H", "W")
    if not np.isfinite(found).all() or (found.size and np.abs(found.sum(1) - 1).max() > 1e-2):
        raise BundleError("expected probabilities that sum to 1 at every pixel, found others", fix="export again")
    return [paint(one, placement, labels) for one, placement in zip(found, placements, strict=True)]


def paint(probabilities: NDArray[np.float32], placement: "Placement", labels: LabelSpace) -> MaskPrediction:
    """Turn the probabilities of one prepared image, (C, h, w), into a prediction in source pixels.

    Probabilities and not classes are brought to the source's size: edges come out smooth. Memory holds a
    few maps of it, however many classes there are.
    """
    from eyewright.imaging.upsampling import top_two

    height, width = placement.source_hw
    (sy, sx), (oy, ox) = placement.scale_yx, placement.offset_yx
    h, w = probabilities.shape[1:]
    box = (
        float(np.clip(ox, 0, w)),
        float(np.clip(oy, 0, h)),
        float(np.clip(ox + width * sx, 0, w)),
        float(np.clip(oy + height * sy, 0, h)),
    )
    few = max(_SURE_LEAST, round(_SURE_SHARE * height * width))
    found = top_two(probabilities, (height, width), box, few=few)
    # Fewer pixels than that make a class less sure: one alone is noise.
    sureness = (found.peaks / few).astype(np.float32)
    return MaskPrediction(found.first, sureness.clip(0, 1), labels, found.second)


def settle(
    prediction: MaskPrediction, thresholds: NDArray[np.float64] | None, conf: float | None = None
) -> MaskPrediction:
    """Return what is shown to a person: classes whose score is nowhere their operating point (or `conf`) give their
    pixels to the next likely class. The first class, which is the background where there is one, stays."""
    if conf is not None:
        thresholds = np.full(len(prediction.label_space), conf)
    if thresholds is None or prediction.second is None:
        return prediction
    out = prediction.sureness < thresholds
    out[0] = False
    if not out[prediction.label_ids].any():
        return prediction
    mask = np.where(np.take(out, prediction.mask), prediction.second, prediction.mask)
    # What comes next may not be accepted either; then it is the first class.
    mask[np.take(out, mask)] = 0
    return replace(prediction, mask=mask)


def score(
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


def agree(ours: Answers, theirs: Answers, limits: Limits) -> Agreement:
    """Compare the probabilities of two models at every pixel: the largest difference, and pixels of another class."""
    a, b = ours.raw["probabilities"], theirs.raw["probabilities"]
    first, second = a.argmax(1), b.argmax(1)
    differs = first != second
    gap = np.take_along_axis(a, first[:, None], 1) - np.take_along_axis(a, second[:, None], 1)
    changed = differs & (gap[:, 0] > limits.tolerance)
    return Agreement(float(np.abs(a - b).max(initial=0.0)), int(changed.sum()))


def join_views(
    predictor: Predictor, image: NDArray[np.uint8], *, flip: bool, tile: int | None, overlap: float, iou: float | None
) -> MaskPrediction:
    """Return a mask joined from tiles: each pixel's class is that of the tile in which it lies farthest from the edge,
    the probabilities being the mean over mirrors with `flip`."""
    height, width = image.shape[:2]
    places = [(0, 0, height, width)] if tile is None else tile_places((height, width), tile, overlap)
    mask, second = np.zeros((2, height, width), np.uint8)
    depth = np.full((height, width), -1.0, np.float32)
    sureness = np.zeros(len(predictor.labels), np.float32)
    for view in places:
        top, left, bottom, right = view
        pixels, placements = predictor.preparation.batch([cut_view(image, view, False)])
        found = predictor.raw(pixels)["probabilities"][0]
        if flip:
            other, _ = predictor.preparation.batch([cut_view(image, view, True)])
            found = (found + predictor.raw(other)["probabilities"][0][..., ::-1]) / 2
        one = paint(found, placements[0], predictor.labels)
        assert one.second is not None
        rows, columns = (edge_distance(n) for n in (bottom - top, right - left))
        own = np.minimum(rows[:, None], columns[None])
        deeper = own > depth[top:bottom, left:right]
        for whole, part in ((mask, one.mask), (second, one.second), (depth, own)):
            here = whole[top:bottom, left:right]
            here[deeper] = part[deeper]
        sureness = np.maximum(sureness, one.sureness)
    return MaskPrediction(mask, sureness, predictor.labels, second)


def summary(answers: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return how much of each of (N, C) answers is not the first class, (N,)."""
    return "amount", np.asarray(1 - answers[:, 0])


def labelled(answers: NDArray[Any]) -> NDArray[Any]:
    """Return the fraction of the pixels of each class, (N, C)."""
    return answers


def counted(marks: Sequence[int]) -> Iterable[int]:
    """Return what a dataset counts: an image for each class that it shows."""
    return set(marks)


def example(rng: np.random.Generator) -> tuple[Raw, Sequence[Any]]:
    """Return probabilities at every pixel of 12 images, and masks."""
    raw = rng.random((12, 3, 16, 24)).astype(np.float32)
    return {"probabilities": raw / raw.sum(1, keepdims=True)}, list(rng.integers(0, 3, (12, 16, 24)).astype(np.uint8))


def corrected(said: "Correction") -> "MaskFile":
    return corrected_mask(said)


def taught(
    prediction: MaskPrediction, ids: NDArray[np.int64], keep: "Callable[[NDArray[np.uint8]], MaskFile]"
) -> "MaskFile":
    return keep(ids[prediction.mask].astype(np.uint8))


TASK = Task(
    name="segment",
    words=Words(
        noun="segmentation",
        does="Assigns each pixel one of",
        gives="`probabilities` at every prepared pixel",
        usage="mask",
        limits="It knows only these classes.",
        counted="image",
        score="a probability",
        wins="images that one does better",
    ),
    outputs=(Output("probabilities", ("C", "H", "W"), sums=True),),
    metrics=(
        MetricInfo("miou", "mean IoU", "mean over the classes, without background", paired=True),
        MetricInfo("dice", "Dice", "F1 of the pixels"),
        MetricInfo("boundary_f", "boundary F", "how well edges agree"),
        MetricInfo("found", "found", "marked areas with an IoU above 0.1, by class"),
        MetricInfo("foreground_iou", "IoU, any class", "foreground against background"),
        MetricInfo("false_alarms", "false alarms", "clean images with a false detection", False),
        MetricInfo("pixel_accuracy", "pixel accuracy", "", tile=False, paired=True),
    ),
    options=frozenset(
        {"attack", "coco", "conf", "ensemble", "import", "mask", "review", "tile", "top", "unlabelled", "web"}
    ),
    losses=("dice_cross_entropy", "cross_entropy", "focal", "dice", "boundary"),
    columns=("iou", "dice", "boundary_f"),
    foreign=MappingProxyType({"hub": "image-segmentation", "openvino": "Segmentation", "label-studio": "BrushLabels"}),
    contracts=("pixels",),
    decode=decode,
    settle=settle,
    score=score,
    limits=MappingProxyType({"float32": Limits(1e-3, 0.99), "float16": Limits(0.02, 0.95), "int8": Limits(0.05, 0.9)}),
    agree=agree,
    views=join_views,
    explained=explained,
    summary=summary,
    labelled=labelled,
    example=example,
    reference="class_shares",
    target="eyewright.data.targets.mask:MASK",
    needs=frozenset({"outlines"}),
    feedback=Feedback(("objects", "classes"), ("segmentation",), corrected, taught, "masks"),
    net="pixels",
    learner="eyewright.learners.segment:LEARNER",
    reporting="eyewright.tasks.mask_report:REPORTING",
    counted=counted,
    followed="miou",
    spellings=MappingProxyType({"mean_iou": "miou"}),
)
"""A class for every pixel."""
