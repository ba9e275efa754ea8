"""The seam between models and everything that uses them."""

__all__ = ["Answers", "Predictor", "decode_everything", "inputs_of", "predict_everything", "texts_of"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.inputs import IMAGE, Example, Given, Inputs, prepare
from eyewright.core.labels import LabelSpace
from eyewright.core.prediction import Prediction
from eyewright.core.task import Raw, task_of


class Predictor(Protocol):
    """A model that can be measured, explained and compared, whatever runs it.

    `raw` takes prepared arrays by input name and returns the task's named arrays, first axis N; for a model that takes
    one image, the pixels alone will do, uint8 (N, H, W, C). `predict_images` takes examples, such as images, uint8
    (H, W, 3) RGB of any size, and returns one prediction each, in source pixels.

    `preparation` is that of the image, for a model that takes nothing else; any other model has `inputs` too, how each
    of its inputs is prepared (`inputs_of`).
    """

    task_name: str
    labels: LabelSpace

    @property
    def preparation(self) -> Any: ...

    def raw(self, given: Given, /) -> Mapping[str, NDArray[np.float32]]: ...

    def predict_images(self, images: Sequence[Example], /) -> Sequence[Prediction]: ...


def inputs_of(predictor: Predictor) -> Inputs:
    """Return how each input of a model is prepared, by name; a model that only has a `preparation` takes one image."""
    named: Inputs | None = getattr(predictor, "inputs", None)
    return {IMAGE: predictor.preparation} if named is None else named


def texts_of(predictor: Predictor, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return vectors of texts, float32 (N, D), in the space in which a model embeds images.

    Raises:
        UsageError: the model reads images only, or a text is empty.
    """
    embed = getattr(predictor, "embed_texts", None)
    if embed is None:
        raise UsageError(f"texts are not supported by {type(predictor).__name__}", fix="use the run or its bundle")
    found: NDArray[np.float32] = embed(texts)
    return found


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answered for some images: its `raw` arrays, and the `placements` by which they are read."""

    predictor: Predictor
    raw: Raw
    placements: Sequence[Any]

    @property
    def decoding(self) -> dict[str, Any]:
        """What the model's decoding must know in addition to the arrays, such as the IoU threshold of suppression."""
        return dict(getattr(self.predictor, "decoding", {}))

    def read(self, **options: Any) -> Sequence[Prediction]:
        """Return one prediction per image; `options` replace those of `decoding`."""
        task = task_of(self.predictor.task_name)
        return task.decode(self.raw, self.placements, self.predictor.labels, **{**self.decoding, **options})


def predict_everything(
    predictor: Predictor,
    images: Sequence[Example],
    *,
    least: float | None = None,
    iou: float | None = None,
) -> Sequence[Prediction]:
    """Return one prediction per example with everything in it that is measured, also what is below its operating point.

    Args:
        least: of objects only those whose score reaches it are decoded; the rest would not be shown to anybody.
        iou: the IoU threshold of non-maximum suppression, in (0, 1], instead of the model's own.

    Raises:
        UsageError: `iou` is out of range, or the task has no boxes.
    """
    whole = task_of(predictor.task_name).whole
    if whole is not None:
        return whole(predictor, images)
    given, placements = prepare(inputs_of(predictor), images)
    return decode_everything(predictor, predictor.raw(given), placements, least=least, iou=iou)


def decode_everything(
    predictor: Predictor,
    raw: Raw,
    placements: Sequence[Any],
    *,
    least: float | None = None,
    iou: float | None = None,
) -> Sequence[Prediction]:
    """Return what `predict_everything` returns, from the raw arrays of images that were prepared already."""
    given = {} if least is None else {"least": least}
    if iou is not None:
        task_of(predictor.task_name).require("iou")
        if not 0 < iou <= 1:
            raise UsageError(f"expected an IoU threshold in (0, 1], found {iou}", fix="change --iou")
        given["iou"] = iou
    return Answers(predictor, raw, placements).read(**given)
