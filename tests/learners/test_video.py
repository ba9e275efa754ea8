"""Augmentation of clips: all frames alike, and times in their order."""

import numpy as np
import pytest
import torch

from eyewright.imaging.preparation import Preparation
from eyewright.imaging.sampling import ClipSampling
from eyewright.learners.video import ClipAugmentation, ClipLearning
from eyewright.training.augment import Augmentation
from eyewright.training.loop import FitData
from eyewright.training.recipe import Recipe


def strips(n: int = 4, frames: int = 8) -> torch.Tensor:
    ramp = torch.arange(frames, dtype=torch.uint8).view(1, frames, 1, 1, 1) * 10
    picture = torch.randint(0, 100, (n, 1, 16, 20, 1), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return (picture + ramp).reshape(n, frames * 16, 20, 1)


def test_all_frames_of_a_clip_are_moved_alike() -> None:
    plan = ClipAugmentation(8, Augmentation(shift=0.2, flip=True), cut=0.0)
    found, _ = plan.apply(strips(), None, rng=torch.Generator().manual_seed(1))
    cut = found.reshape(4, 8, 16, 20, 1).int()
    steps = (cut[:, 1:] - cut[:, :-1]).unique().tolist()
    assert steps == [10]
    assert not torch.equal(found, strips())


def test_times_stay_in_order_and_within_the_clip() -> None:
    plan = ClipAugmentation(8, Augmentation())
    found, _ = plan.apply(strips(64), None, rng=torch.Generator().manual_seed(1))
    first = found.reshape(64, 8, 16, 20)[:, :, 0, 0].int()
    assert (first.diff(dim=1) >= 0).all()
    assert len(torch.unique(first - first[:, :1])) > 3


def test_nothing_to_do_changes_nothing() -> None:
    assert torch.equal(
        ClipAugmentation(8, Augmentation(), cut=0.0).apply(strips(), None, rng=torch.Generator())[0], strips()
    )


@pytest.mark.parametrize(("names", "mirrored"), [(("sit", "walk"), True), (("turn left", "turn right"), False)])
def test_clips_are_mirrored_unless_a_class_is_a_direction(names: tuple[str, str], mirrored: bool) -> None:
    empty = np.zeros((2, 8, 8, 1), np.uint8)
    data = FitData(empty, np.array([0, 1]), empty, np.array([0, 1]))
    learning = ClipLearning(data, Recipe(), names, Preparation((8, 8), channels=1, clip=ClipSampling(2, 16)))
    assert learning.augmentation.plan.flip == mirrored
