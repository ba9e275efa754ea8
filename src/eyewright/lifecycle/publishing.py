"""A published model as a bundle, as it is: nothing is trained, and parity is checked on images that are drawn."""

__all__ = ["export_published"]

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import CheckpointError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.provenance import describe_machine
from eyewright.core.rng import generator
from eyewright.core.task import task_names, task_of
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.targets.mask import MaskFile
from eyewright.data.tree import FolderTree
from eyewright.imaging.encode import write_image
from eyewright.lifecycle.datasets import load_dataset, target_of
from eyewright.lifecycle.loading import PathLike, need_torch
from eyewright.training.recipe import Recipe
from eyewright.training.run import Run

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.exporting import Parity
    from eyewright.nets.hub import HubBuilder
    from eyewright.nets.pixels import PixelNet

_DRAWN, _SIDES = 24, ((96, 96), (120, 200), (240, 160))


class PublishedRun(Run):
    """A published model in the form of a run that nobody trained; its `folder` holds nothing."""

    @cached_property
    def net(self) -> "PixelNet":
        """The published weights, in a net."""
        from eyewright.training.run import build_net

        return build_net(self.build, self.recipe, self.labels, self.preparation, self.about["scaling"]).eval()


def export_published(
    model: str,
    out: PathLike,
    *,
    data: PathLike | None = None,
    name: str | None = None,
    policy: Mapping[str, float] | None = None,
) -> "tuple[Bundle, Parity]":
    """Export `hf:` and a folder or id as it is, and return the bundle with what the parity check found.

    The task is the one that it was published for. Parity is checked on the images of `data`, else on drawn ones;
    without `data` the bundle does not know what images of its own look like, and compares none with them.

    Raises:
        CheckpointError: it cannot be read, or no task reads it.
        ParityError: the exported model gives other outputs; nothing is left at `out`.
    """
    need_torch()
    from eyewright.exporting import export_bundle
    from eyewright.nets.hub_files import digest_of_checkpoint
    from eyewright.nets.pixels import parameter_count

    if policy:
        raise UsageError("expected no --policy with a published model, which was not measured", fix="leave it out")
    build, task = _builder(model)
    labels, preparation = LabelSpace(build.class_names), build.preparation
    digest = digest_of_checkpoint(build.folder)
    about: dict[str, Any] = {
        "scaling": dict(build.scaling),
        "calibration": {"method": "none"},
        "dataset": {"name": Path(model.removeprefix("hf:")).name, "images": {}},
        "published": {"name": model.removeprefix("hf:"), "digest": digest},
        "seed": 0,
        **describe_machine(),
    }
    with tempfile.TemporaryDirectory() as work:
        recipe = Recipe.from_mapping({"model": model, "task": task})
        run = PublishedRun(Path(work), recipe, labels, preparation, about, build)
        about["parameters"] = parameter_count(run.net)
        if data is not None:
            tried = load_dataset(data, task=task, target=target_of(task, labels)).val
        else:
            tried = _drawn(run, Path(work) / "images")
        bundle, parity = export_bundle(run, Path(out), validation=tried, name=name, describes=data is not None)
    images = parity.images if data is not None else "drawn images"
    return bundle, replace(parity, images=images, beside="the published model")


def _builder(model: str) -> "tuple[HubBuilder, str]":
    """Return the builder of a published model for the task that it was published for, and that task."""
    from eyewright.nets.hub import hub_builder
    from eyewright.training.learner import learner_of

    refused: CheckpointError | None = None
    for task in task_names():
        kind = learner_of(task).hub if task_of(task).learner else None
        if kind is None:
            continue
        build = hub_builder(model, kind)
        try:
            build.check()
        except CheckpointError as error:
            if "which does not" not in error.message:
                raise
            refused = refused or error
            continue
        if build.is_own:
            return build, task
    raise refused or CheckpointError(f"no task reads {model!r}", fix="use another model")


def _drawn(run: Run, folder: Path) -> Dataset:
    """Return drawn images with what the model itself says of them."""
    task, rng = task_of(run.task_name), generator(0, "published", "images")
    folder.mkdir()
    masks = FolderTree(folder)

    def keep(file: str, mask: NDArray[np.uint8]) -> MaskFile:
        write_image(folder / file, mask)
        return MaskFile(masks, file, {i: i for i in range(len(run.labels))})

    order = np.arange(len(run.labels))
    samples = []
    for k in range(_DRAWN):
        height, width = _SIDES[k % len(_SIDES)]
        image = _picture(rng, height, width, rough=k % 4 == 3)
        write_image(folder / f"{k:02d}.png", image)
        (said,) = run.predictor.predict_images([image])
        samples.append(
            Sample(f"{k:02d}.png", task.feedback.taught(said, order, partial(keep, f"{k:02d}.mask.png")), "val")
        )
    return Dataset(FolderTree(folder), tuple(samples), run.labels, "images", run.task_name)


def _picture(rng: np.random.Generator, height: int, width: int, *, rough: bool) -> NDArray[np.uint8]:
    """Return a slope of colours with discs on it, or noise, uint8 (H, W, 3)."""
    if rough:
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    a, b, c = rng.uniform(-128, 128, (3, 3))
    image = 128 + a * (x / width)[..., None] + b * (y / height)[..., None] + c / 4
    for _ in range(4):
        cy, cx, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(4, height / 3)
        image[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = rng.uniform(0, 255, 3)
    found: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return found
