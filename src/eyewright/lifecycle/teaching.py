"""A teacher and what it says of images that nobody labelled."""

__all__ = ["published_predictor", "teacher_for", "with_unlabelled"]

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eyewright.core.errors import DatasetError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.progress import track_progress
from eyewright.core.quoting import quoted
from eyewright.core.task import task_of
from eyewright.data.dataset import Sample
from eyewright.data.readers import MaskFile
from eyewright.data.tree import FolderTree, JoinedTree
from eyewright.imaging import write_image
from eyewright.imaging.headers import FORMATS
from eyewright.lifecycle.datasets import PathLike, Say
from eyewright.lifecycle.opening import load_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eyewright.compression.distilling import Teacher
    from eyewright.core.labels import LabelSpace
    from eyewright.data import Dataset

_PREFIX = "unlabelled/"


def teacher_for(teacher: Any, task: str, labels: "LabelSpace", preparation: Any = None) -> "tuple[Any, Teacher]":
    """Open a teacher, and give it as a Predictor and as what a student of `labels` learns from.

    `teacher` is a bundle, a run, the path of either, or `hf:` and a folder or id of a published classifier or
    segmenter.

    Raises:
        RefusedError: it knows other classes.
        UsageError: it is for another task.
    """
    from eyewright.compression.distilling import bundle_teacher

    predictor = published_predictor(teacher, task) if isinstance(teacher, str) and teacher.startswith("hf:") else None
    if predictor is None:
        predictor, _ = load_model(teacher)
    if predictor.task_name != task:
        raise UsageError(
            f"expected a teacher for {task}, found one for {predictor.task_name}", fix="pass a teacher of the same task"
        )
    return predictor, bundle_teacher(predictor, labels, preparation)


def published_predictor(name: str, task: str) -> Any:
    """Return a published model as it is, with the classes it was published with.

    Raises:
        UsageError: no published model is read for the task.
        CheckpointError: it cannot be read, or takes images of any size.
    """
    from eyewright.nets.hub import hub_builder
    from eyewright.nets.pixels import PixelNet
    from eyewright.training.learner import learner_of
    from eyewright.training.predictor import TorchPredictor

    build = hub_builder(name, learner_of(task).hub)
    labels = LabelSpace(build.class_names)
    preparation = build.preparation
    body = build.for_labels(labels)(len(labels), channels=3, size_hw=preparation.size_hw)
    net = PixelNet(body, mean=build.scaling["mean"], std=build.scaling["std"])
    return TorchPredictor(net, labels=labels, preparation=preparation, task_name=task)


def with_unlabelled(
    dataset: "Dataset", place: PathLike, teacher: Any, work: Path, *, quiet: bool, say: Say
) -> "Dataset":
    """Add images that nobody labelled to the training part, each with what the teacher says of it.

    Raises:
        DatasetError: no image is there.
        UsageError: a task whose objects have outlines.
    """
    task = task_of(dataset.task)
    task.require("unlabelled")
    tree = FolderTree(Path(place))
    known = {extension for several in FORMATS.values() for extension in several}
    names = [n for n in tree.names() if Path(n).suffix.lower() in known]
    if not names:
        raise DatasetError(f"expected images in {quoted(place)}, found none", fix="check --unlabelled")
    order = teacher.labels.mapping_to(dataset.labels)
    masks = FolderTree(work)

    def keep(file: str, mask: "NDArray[np.uint8]") -> MaskFile:
        write_image(work / file, mask)
        return MaskFile(masks, file, {i: i for i in range(len(dataset.labels))})

    samples = []
    with track_progress("teaching", len(names), quiet=quiet) as advance:
        for k, name in enumerate(names):
            (said,) = teacher.predict_images([np.asarray(tree.picture(name))])
            target = task.feedback.taught(said, order, partial(keep, f"{k:06d}.png"))
            samples.append(Sample(_PREFIX + name, target, "train"))
            advance(1, "")
    say(f"{len(names)} images without labels, as the teacher sees them")
    joined = replace(dataset, tree=JoinedTree(dataset.tree, {_PREFIX: tree}))
    return joined.with_samples((*dataset.samples, *samples), f"{len(names)} images labelled by a teacher")
