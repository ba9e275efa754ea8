"""What a model was not trained on: unknown words and unfamiliar images, whose embeddings say little."""

__all__ = ["Doubt", "doubt_image", "doubt_words", "label_notes"]

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.ngrams import TextPreparation
from eyewright.core.quoting import quoted

TYPICALITY = "typicality"
_ALPHA = 0.05
# With fewer validation images no p-value is as small as that.
_LEAST = 20
_NAMED = 5
_SHOWN = 40


class Doubt(NamedTuple):
    """What to say of a query, "" where there is nothing, and whether its model was trained on queries like it."""

    note: str = ""
    familiar: bool = True


def doubt_words(preparation: object, words: str) -> Doubt:
    """Return the words that the model was not trained on; a query of which they are half or more is unfamiliar.

    Models that read tokens were trained on parts of words, and so know every word in part.

    >>> doubt_words(TextPreparation(), "a red car")
    Doubt(note='', familiar=True)
    """
    if not isinstance(preparation, TextPreparation):
        return Doubt()
    unknown, n = preparation.unknown_words(words)
    if not unknown:
        return Doubt()
    named = ", ".join(quoted(w) for w in unknown[:_NAMED])
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    which = f"the model was not trained on the word {named}"
    if len(unknown) > 1:
        which = f"the model was not trained on the words {named}{more}"
    return Doubt(which, 2 * len(unknown) < n)


def doubt_image(reference: Mapping[str, NDArray[Any]], raw: Mapping[str, NDArray[Any]]) -> Doubt:
    """Return whether an image is less typical than 95 % of the validation images that a bundle's `reference` keeps.

    `raw` is what the model answered for this image. The fraction of validation images that are no more typical is a
    conformal p-value (Laxhammar and Falkman 2010): of images like those of training, 5 % are called unfamiliar.

    >>> usual = {"typicality": np.linspace(0.4, 0.9, 100)}
    >>> doubt_image(usual, {"typicality": np.array([[0.6]])})
    Doubt(note='', familiar=True)
    >>> print(doubt_image(usual, {"typicality": np.array([[0.2]])}).note)
    the image is unlike those that the model was trained on (typicality 0.20; 95 % of validation images reach 0.43)
    """
    usual, own = reference.get(TYPICALITY), raw.get(TYPICALITY)
    if usual is None or own is None or usual.ndim != 1 or len(usual) < _LEAST or own.size != 1:
        return Doubt()
    value = float(own.ravel()[0])
    p = (1 + int((usual <= value).sum())) / (1 + len(usual))
    if not p <= _ALPHA:
        return Doubt()
    least = float(np.quantile(usual, _ALPHA))
    known = f"95 % of validation images reach {least:.2f}"
    return Doubt(
        f"the image is unlike those that the model was trained on (typicality {value:.2f}; {known})", familiar=False
    )


def label_notes(
    labels: Iterable[str], overlong: Callable[[str], str], doubt: Callable[[str], Doubt]
) -> tuple[str, ...]:
    """Return a line for each label of which only the beginning is read, or with words that are not known.

    >>> label_notes(["cat", "dog"], lambda text: "it is cut" if text == "dog" else "", lambda text: Doubt())
    ("label 'dog': it is cut",)
    """
    return tuple(
        f"label {quoted(label if len(label) <= _SHOWN else label[:_SHOWN] + '…')}: {note}"
        for label in labels
        for note in (overlong(label), doubt(label).note)
        if note
    )
