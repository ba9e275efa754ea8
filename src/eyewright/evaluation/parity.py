"""The parity check: the exported model must predict as the trained one does, on real files, from the bytes up."""

__all__ = ["Images", "Parity", "check_parity"]

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import ParityError
from eyewright.core.inputs import IMAGE, Example, largest_area, prepare
from eyewright.core.predictor import Answers, Predictor, inputs_of
from eyewright.core.task import Agreement, task_of
from eyewright.data.dataset import Dataset

_CHUNK = 128
_PIXELS = 32_000_000


_PLURALS = {"a probability": "probabilities", "a score": "scores"}


@dataclass(frozen=True)
class Parity:
    """The result of the parity check: largest |difference| of a probability or score, predictions that differ, the
    number of images.

    `objects` counts the boxes that were compared, `amounts` are the largest differences of answers that have a unit.
    `images` and `compared` say in words which images were tried, and of what `worst` is a difference.
    """

    worst: float
    decisions_changed: int
    n: int
    tolerance: float
    objects: int = 0
    beside: str = "the trained net"
    images: str = "validation images"
    compared: str = "probabilities"
    amounts: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.objects:
            return f"{self.n} {self.images} gave the same {self.objects} boxes, scores {self._close()}"
        if self.amounts:
            most = ", ".join(f"{name} within {value:.1e}" for name, value in self.amounts.items())
            return f"{self.n} {self.images} have the same predictions, {most} of {self.beside}"
        return f"{self.n} {self.images} have the same predictions, {self.compared} {self._close()}"

    def _close(self) -> str:
        return f"within {self.worst:.1e} of {self.beside}" if self.worst else f"equal to those of {self.beside}"

    def to_json(self) -> dict[str, Any]:
        """Return the numbers."""
        return {
            k: v
            for k, v in asdict(self).items()
            if k not in ("beside", "images", "compared") and (k not in ("objects", "amounts") or v)
        }


class Images(Protocol):
    """What parity is tried on: examples by number, such as the images of a `Dataset`."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Example: ...


def _examples(dataset: Images, rows: NDArray[np.int64], predictor: Predictor) -> list[Example]:
    """Return examples as a model takes them: from the file again for a model that reduces images while they are
    decoded, even if both take the same."""
    if isinstance(dataset, Dataset):
        found: list[Any] = list(dataset.examples(inputs_of(predictor).get(IMAGE), [int(i) for i in rows]))
        return found
    return [dataset.image(int(i)) for i in rows]


def check_parity(
    trained: Predictor,
    exported: Predictor,
    dataset: Images,
    *,
    precision: str = "float32",
    names: tuple[str, str] = ("the exported model", "the trained one"),
    trained_pixels: Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None = None,
) -> Parity:
    """Compare two models on every image of `dataset`, each through its own preparation.

    The trained side sees what training saw: `trained_pixels(indices)` if given (the training cache), else the
    trained model's own preparation of the decoded file. The exported side starts from the file again, so a fault
    anywhere on its way (decoding, orientation, resizing, channel order, scaling) fails the check. Where a model
    computes in another `precision` than float32, two runtimes may differ by a last bit that tips a step of 8:
    `Task.limits` says how far they may be apart. `names` are what both are called when they differ.

    Raises:
        ParityError: a probability differs by more than 1e-4 (of a pixel, or an object's score: 1e-3), or an answer
            differs; boxes are the same from an overlap of 0.99 on.
    """
    task = task_of(trained.task_name)
    limits = task.limits[precision]
    chunk = max(1, min(_CHUNK, _PIXELS // largest_area(inputs_of(trained))))
    found = Agreement(0.0, 0)
    for start in range(0, len(dataset), chunk):
        chosen = np.arange(start, min(start + chunk, len(dataset)))
        given, placements = prepare(inputs_of(trained), _examples(dataset, chosen, trained))
        if trained_pixels is not None:
            given = trained_pixels(chosen)
        theirs_given, theirs_placements = prepare(inputs_of(exported), _examples(dataset, chosen, exported))
        ours = Answers(trained, trained.raw(given), placements)
        theirs = Answers(exported, exported.raw(theirs_given), theirs_placements)
        for name in task.output_names:
            if ours.raw[name].shape != theirs.raw[name].shape:
                raise ParityError(
                    f"expected {name} {ours.raw[name].shape}, found {theirs.raw[name].shape}", fix="export again"
                )
        found = found.joined(task.agree(ours, theirs, limits))
    if not found.worst <= limits.tolerance or found.changed:
        raise ParityError(
            f"{names[0]} differs from {names[1]}: by up to {found.worst:.3g} in {task.words.score} "
            f"(allowed {limits.tolerance:g}), in {found.changed} predictions on {len(dataset)} images",
            fix="nothing was exported; check the preparation and the net's operations",
        )
    beside = "the trained net" if names[1] == "the trained one" else names[1]
    return Parity(
        found.worst,
        found.changed,
        len(dataset),
        limits.tolerance,
        found.objects,
        beside,
        compared=_PLURALS.get(task.words.score, task.words.score),
        amounts=dict(found.amounts),
    )
