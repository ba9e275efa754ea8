"""Learning to find objects."""

__all__ = ["LEARNER", "STRONG", "BoxLearning", "resolve_boxes"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.data.dataset import Dataset
from eyewright.data.marks import usable_objects
from eyewright.data.scan import Scan
from eyewright.data.targets.objects import Objects
from eyewright.imaging.preparation import Preparation
from eyewright.metrics.detection import detection_metrics, fit_points
from eyewright.metrics.matching import Detected, match_detections
from eyewright.nets.answers import BoxAnswers
from eyewright.nets.hub import HubBuilder
from eyewright.nets.hub_kinds import DETECTORS
from eyewright.nets.pixels import PixelNet
from eyewright.tasks.boxes import choose_boxes
from eyewright.training.defaults import published_preparation, resolve_scenes, usual_size
from eyewright.training.learner import Learner
from eyewright.training.loop import FitData
from eyewright.training.objectives.detect import CROWD, DetectionObjective
from eyewright.training.recipe import Recipe
from eyewright.training.scenes import SceneAugmentation, plan_scenes
from eyewright.training.soft_answers import BOXES
from eyewright.training.targets import BoxTargets, box_rows

_SIDES = (320, 416, 512, 640)
# Prepared pixels that all but the smallest tenth of the objects should have.
_LEAST_SEEN = 12.0
_KEPT = 100
_IOU, _LEAST = 0.6, 0.01

STRONG = SceneAugmentation(zoom=0.4, shift=0.1, mosaic=0.5, light=0.2, colour=0.2)
"""What is applied to images of objects unless the recipe says otherwise."""


def check(dataset: Dataset) -> None:
    """Refuse a training or validation part in which nothing is marked.

    Raises:
        DatasetError: nothing is marked in one of them.
    """
    for split in ("train", "val"):
        part = dataset.part(split)
        if not any(len(s.marked(Objects)) for s in part.samples):
            raise DatasetError(
                f"nothing is marked in any of the {len(part)} images of {split}", fix=f"annotate {split}"
            )


def preparation(dataset: Dataset, scan: Scan, recipe: Recipe, published: HubBuilder | None) -> Preparation:
    """Choose a size in which nine tenths of the objects can be seen."""
    if published is not None:
        return published_preparation(published, scan, recipe)
    sizes = scan.sizes_hw
    longer = recipe.imgsz or _side_for(dataset, scan)
    grey = scan.is_grey()
    return Preparation(
        usual_size(sizes, longer), fit="letterbox", channels=1 if grey else 3, fill=114, steps=recipe.steps, version=2
    )


def resolve_boxes(recipe: Recipe, n_train: int, preparation: Preparation, *, model: str = "spot_net") -> Recipe:
    """Fill in what the recipe leaves open."""
    return resolve_scenes(recipe, n_train, preparation, model=model, loss="varifocal", batch=16, views=30_000)


def targets(part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> Any:
    """Return boxes, float32 (N, M, 5)."""
    rows = []
    for i, size in enumerate(sizes):
        objects = usable_objects(part.objects(i, size), size)
        rows.append(box_rows(objects, preparation.place(size), seed=part.samples[i].id))
    return BoxTargets(rows)


def learn(net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> "BoxLearning":
    """Return what the loop asks while a detector is trained."""
    return BoxLearning(net, recipe, dataset.labels.names, preparation, STRONG, BoxAnswers(net, masks=False))


def answers(net: PixelNet, *, temperature: float = 1.0) -> BoxAnswers:
    """Return the net with boxes and scores for outputs."""
    return BoxAnswers(net, masks=False)


def decoding(net: PixelNet) -> dict[str, Any]:
    """Return the IoU threshold of suppression, where the net has one of its own."""
    suppression = getattr(net.body, "suppression", None)
    return {} if suppression is None else {"iou": float(suppression)}


class BoxLearning:
    """How a detector is learnt."""

    main_metric = "ap"

    def __init__(
        self,
        net: PixelNet,
        recipe: Recipe,
        names: tuple[str, ...],
        preparation: Preparation,
        strong: SceneAugmentation,
        answers: BoxAnswers,
    ) -> None:
        self.names = names
        body: Any = net.body
        self.augmentation = plan_scenes(recipe, strong, grey=preparation.channels == 1, fill=preparation.fill)
        self._answers = answers
        self._size_hw = preparation.size_hw
        self._suppress = getattr(body, "suppression", _IOU)
        self.objective = body.objective if hasattr(body, "objective") else DetectionObjective(body.points, body.strides)

    def condense(self, outputs: Any, targets: Any) -> NDArray[np.float32]:
        """Return each image's 100 most confident objects, float32 (n, 100, 6): box, score, class id; -1 for none."""
        boxes, scores = (t.cpu().numpy() for t in self._answers.boxes_and_scores(outputs, self._size_hw))
        kept = np.full((len(boxes), _KEPT, 6), -1, np.float32)
        for i, (box, score) in enumerate(zip(boxes, scores, strict=True)):
            points, labels = choose_boxes(box, score, least=_LEAST, iou=self._suppress, most=_KEPT)
            n = len(points)
            kept[i, :n, :4], kept[i, :n, 4], kept[i, :n, 5] = box[points], score[points, labels], labels
        return kept

    def measure(self, kept: NDArray[np.float32], targets: Any) -> Mapping[str, float]:
        found, truth = self._detected(kept, targets)
        matched = match_detections(found, truth, len(self.names), areas=("all",))
        # Intervals are for reports; during training nobody reads them.
        numbers = detection_metrics(
            found, truth, len(self.names), rng=np.random.default_rng(0), replicates=1, matched=matched
        )
        return {name: numbers[name].value or 0.0 for name in ("ap", "ap50")}

    def conclude(
        self, kept: NDArray[np.float32], targets: Any, *, groups: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, dict[str, Any]]:
        found, truth = self._detected(kept, targets)
        matched = match_detections(found, truth, len(self.names), areas=("all",), thresholds=np.array([0.5]))
        return fit_points(matched, self.names, groups=groups, rng=rng)

    def _detected(self, kept: NDArray[np.float32], targets: Any) -> tuple[list[Detected], list[Detected]]:
        found, truth = [], []
        for i, rows in enumerate(kept):
            own = rows[rows[:, 5] >= 0].astype(np.float64)
            found.append(Detected(own[:, :4], own[:, 5].astype(np.int64), own[:, 4]))
            given = targets[np.array([i])]
            real = (given[0] if isinstance(given, tuple) else given)[0].astype(np.float64)
            real = real[(real[:, 4] >= 0) | (real[:, 4] == CROWD)]
            crowd = real[:, 4] == CROWD
            # A crowd has no class of its own here: it excuses every class, so it is there once for each.
            several = [real[~crowd]] + [
                np.concatenate([real[crowd, :4], np.full((int(crowd.sum()), 1), c)], 1) for c in range(len(self.names))
            ] * bool(crowd.any())
            joined = np.concatenate(several)
            flags = np.arange(len(joined)) >= int((~crowd).sum())
            truth.append(Detected(joined[:, :4], joined[:, 4].astype(np.int64), crowd=flags))
        return found, truth


def _side_for(dataset: Dataset, scan: Scan) -> int:
    """Choose the longer side so that nine tenths of the objects can be seen, but no larger than the images are."""
    roots = []
    longest = []
    for sample, record in zip(dataset.samples, scan.records, strict=True):
        if record.info is None:
            continue
        height, width = record.info.size_hw
        longest.append(max(height, width))
        objects = sample.marked(Objects).in_pixels(record.info.size_hw)
        sides = np.abs(objects.boxes_xyxy[:, 2:] - objects.boxes_xyxy[:, :2])
        roots.append(np.sqrt(sides.prod(1)) / max(height, width))
    own = np.concatenate(roots) if roots else np.zeros(0)
    least = float(np.quantile(own, 0.1)) if len(own) else 0.1
    at_most = int(np.ceil(np.median(longest) / 32)) * 32
    wanted = next((s for s in _SIDES if s * least >= _LEAST_SEEN), _SIDES[-1])
    return max(96, min(wanted, at_most))


LEARNER = Learner(
    task="detect",
    check=check,
    preparation=preparation,
    resolve=resolve_boxes,
    targets=targets,
    learn=learn,
    answers=answers,
    soft=BOXES,
    hub=DETECTORS,
    decoding=decoding,
)
