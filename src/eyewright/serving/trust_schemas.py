"""Schemas of guarantees and refusals: unfamiliar images, label sets, outer boxes."""

__all__ = ["LabelSet", "Margins", "MissRate", "Refused", "Unfamiliar"]

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from eyewright.metrics.conformal import By, Method
from eyewright.metrics.conformal_boxes import BoxBy
from eyewright.serving.settings import Reason

Fraction = Annotated[float, Meta(ge=0, le=1)]


class Unfamiliar(Struct):
    """How unlike the images that the model knows this one looks."""

    p: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Conformal p-value: of images like the reference, at most a fraction p have this value or less",
        ),
    ]
    flagged: Annotated[bool, Meta(description="p is 0.01 or less")]


class LabelSet(Struct):
    """Labels among which the true one is with the stated coverage; `n` validation images in so many `groups` say so.

    `open` are classes with too few of them: they are in every set by class."""

    labels: list[str]
    coverage: Fraction
    n: int
    groups: int
    by: By
    method: Method
    open: list[str] | UnsetType = UNSET


class Margins(Struct):
    """By how much each side of a box of each class is moved outward, in fractions of its width and height (`sides`;
    null: to the image's edge), so that the box holds the whole object with the stated coverage, given that it
    was found.

    `n` found objects in `images` validation images and `groups` groups say so; an object is found by a box of its class
    with an IoU of at least `iou`. `open` are classes with too few of them."""

    coverage: Fraction
    by: BoxBy
    iou: Fraction
    n: int
    images: int
    groups: int
    sides: dict[str, float | None]
    open: list[str] | UnsetType = UNSET


class MissRate(Struct):
    """The fraction of an image's objects that may be missed on average, and the score `conf` that objects are
    shown from for that; `images` validation images with objects, in `groups` groups, say so."""

    rate: Fraction
    conf: Fraction
    images: int
    groups: int


class Refused(Struct):
    """Why a prediction is not accepted."""

    reason: Reason
    text: str
