"""What a training begins with: the weights of another model, and the classes that they know."""

__all__ = ["in_labels_of", "weights_in"]

from pathlib import Path
from typing import TYPE_CHECKING

from eyewright.core.errors import DatasetError, InputError
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.core.task import task_of

if TYPE_CHECKING:
    from eyewright.data import Dataset


def in_labels_of(place: Path, dataset: "Dataset") -> "Dataset":
    """Return a dataset whose classes are open in those of the model that is trained on: it may know more of them.

    Raises:
        DatasetError: a training image has one that the model does not know.
    """
    from eyewright.training.run import labels_at

    names = labels_at(place) if dataset.kind.open else None
    if names is None:
        return dataset
    moved = dataset.relabelled(LabelSpace(names))
    for before, after in zip(dataset.samples, moved.samples, strict=True):
        if before.split == "train" and len(after.target.marks()) < len(before.target.marks()):
            unknown = sorted({dataset.labels.names[i] for i in before.target.held} - set(names))
            shown = ", ".join(map(repr, unknown))
            raise DatasetError(
                f"{before.id!r} holds {task_of(dataset.task).words.label[1]} that are new to the weights: {shown}",
                fix="train without --weights, or start from a model that was trained on them",
            )
    return moved


def weights_in(place: Path) -> Path:
    """Return the file of weights in a bundle, a run folder, or a file itself."""
    for path in (place, place / "model.safetensors", place / "checkpoints" / "best" / "model.safetensors"):
        if path.is_file():
            return path
    raise InputError(f"expected weights in {quoted(place)}, found none", fix="pass a run, a bundle or its model file")
