"""Labels without training: a bundle that embeds images and texts, told which labels there are."""

__all__ = ["WordedLabels"]

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eyewright.bundle.doubts import doubt_words, label_notes
from eyewright.core.errors import UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.task import task_of
from eyewright.retrieval.coding import unit_vectors
from eyewright.retrieval.labels import label_probabilities
from eyewright.tasks.classify import ClassPrediction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eyewright.core.inputs import Example


class WordedLabels:
    """Predicts the label whose words fit an image best, with a bundle that embeds both.

    A label is its words; one that says "something else" is a label like the others. Probabilities are those of the
    temperature that the bundle was trained with, over these labels alone: an image of none of them gets one too.

    Raises:
        UsageError: the model embeds no texts, fewer than two labels, two of the same words, or one without a word.
    """

    def __init__(self, bundle: Any, labels: Sequence[str]) -> None:
        from eyewright.bundle.texts import has_texts

        self.task_name: str = bundle.task_name
        files = getattr(getattr(bundle, "manifest", None), "files", {})
        if not has_texts(files):
            raise UsageError(
                f"--labels is not supported for {task_of(self.task_name).words.noun} without a text side",
                fix="use a bundle of train --task embed, or search INDEX --labels with a CLIP or SigLIP folder",
            )
        names = tuple(label.strip() for label in labels)
        if len(names) < 2 or len(set(names)) < len(names) or not all(names):
            found = ", ".join(map(repr, names))
            raise UsageError(f"expected two or more different labels, found {found}", fix="change --labels")
        self.labels = LabelSpace(names)
        self._bundle = bundle
        texts = bundle.texts.preparation
        self.notes = label_notes(names, texts.overlong, lambda text: doubt_words(texts, text))
        """What of the labels is not read, and which words the model was not trained on."""
        self._vectors = unit_vectors(bundle.embed_texts(list(names)))
        self._scale, self._bias = bundle.texts.scale, bundle.texts.bias or None

    def predict_images(self, images: "Iterable[Example]", **views: Any) -> list[ClassPrediction]:
        """Return the probability of each label for each image; `views` as the bundle takes them.

        Raises:
            UsageError: a view that the bundle does not support.
        """
        found = self._bundle.predict_images(images, **views)
        vectors = np.stack([one.embedding for one in found])
        odds = label_probabilities(vectors, self._vectors, self._scale, self._bias).astype(np.float32)
        return [ClassPrediction(row, self.labels) for row in odds]
