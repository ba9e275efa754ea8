"""Learning to outline objects: as detection, and whose each pixel is."""

__all__ = ["LEARNER"]

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.data.dataset import Dataset
from eyewright.data.marks import usable_objects
from eyewright.data.targets.objects import Objects
from eyewright.imaging.preparation import Preparation
from eyewright.learners import detect
from eyewright.learners.detect import BoxLearning
from eyewright.nets.answers import BoxAnswers
from eyewright.nets.hub_kinds import OUTLINERS
from eyewright.nets.pixels import PixelNet
from eyewright.training.cache import build_array
from eyewright.training.loop import FitData
from eyewright.training.recipe import Recipe
from eyewright.training.targets import BoxTargets, ObjectTargets, box_rows, owner_map

_STRONG = replace(detect.STRONG, paste=0.3, kind="objects")


def targets(part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> Any:
    """Return boxes, float32 (N, M, 5), and whose each pixel is, uint16 (N, H, W), of the objects with outlines."""
    rows, outlined = [], []
    for i, size in enumerate(sizes):
        objects = usable_objects(part.objects(i, size), size)
        objects = objects.chosen(np.array([bool(o) for o in objects.outlines], bool))
        rows.append(box_rows(objects, preparation.place(size), seed=part.samples[i].id))
        outlined.append(objects)

    def fill(out: NDArray[np.uint16], i: int) -> None:
        out[i] = _owners(outlined[i], sizes[i], preparation)

    return ObjectTargets(BoxTargets(rows), build_array((len(part), *preparation.size_hw), np.uint16, fill, key=key))


def learn(net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> BoxLearning:
    """Return what the loop asks while instances are learnt."""
    return BoxLearning(net, recipe, dataset.labels.names, preparation, _STRONG, BoxAnswers(net, masks=True))


def answers(net: PixelNet, *, temperature: float = 1.0) -> BoxAnswers:
    """Return the net with boxes, scores, and what makes masks for outputs."""
    return BoxAnswers(net, masks=True)


def _owners(objects: Objects, size_hw: tuple[int, int], preparation: Preparation) -> NDArray[np.uint16]:
    """Paint the objects of one image at the prepared size."""
    masks = [o.mask(size_hw) for o in objects.outlines]
    owners = owner_map(masks, size_hw)
    return preparation.apply_labels(owners, outside=0).astype(np.uint16)


LEARNER = replace(
    detect.LEARNER,
    task="instance",
    resolve=partial(detect.resolve_boxes, model="spot_mask_net"),
    targets=targets,
    learn=learn,
    answers=answers,
    hub=OUTLINERS,
)
