"""Which models of Hugging Face do a task, and how their answers become ours."""

__all__ = ["CLASSIFIERS", "CLIP_CLASSIFIERS", "DETECTORS", "OUTLINERS", "PAIRS", "SEGMENTERS", "HubKind"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from eyewright.nets.hub_classifier import HubBody
from eyewright.nets.hub_clips import HubClips
from eyewright.nets.hub_detector import HubDetector
from eyewright.nets.hub_masks import HubMasks
from eyewright.nets.hub_pairs import HubPairBody
from eyewright.nets.hub_segmenter import HubSegmenter

# Nets of mask queries that take an image alone; OneFormer wants a text with it.
QUERIES = frozenset({"mask2former", "maskformer", "eomt", "eomt_dinov3"})
"""Types of nets that answer with masks and a class for each of some queries."""

# Detectors whose last class is "nothing", by softmax; the others ask of each class by itself.
_ONE_BACKGROUND = frozenset({"detr", "yolos", "table-transformer"})
_HEADS = ("class_", "class_head", "classifier", "score_head", "criterion.empty_weight")
_UNIVERSAL = ("AutoModelForUniversalSegmentation", "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING")


@dataclass(frozen=True)
class HubKind:
    """A kind of published models.

    Args:
        does: what they do, as in "a 'bert', which does not find objects".
        autos: pairs of transformers' class that builds one and its mapping of configurations; a third value limits it
            to these types of configurations.
        body: `(model, order, type of its configuration)` to a body of ours; of those with `answers` `(model, texts)`.
        any_size: they may take images of any size, so that one is chosen for the data.
        over_time: they take the frames of a clip, of a number that their configuration fixes.
        heads: parts of the names of weights that are new where the classes are; empty: the head as the net names it.
        answers: what they answer in, where that is no classes of their own; they read texts too, whose preparation
            `texts` is (`nets.hub_pairs`).
        limits: types of configurations that do it and are not supported: why, and what to do.
    """

    does: str
    autos: tuple[tuple[str, str, frozenset[str] | None], ...]
    body: Callable[..., nn.Module]
    any_size: bool = True
    heads: tuple[str, ...] = _HEADS
    over_time: bool = False
    answers: tuple[str, ...] = ()
    limits: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def types(self) -> frozenset[str]:
        """The types of configurations that it is limited to; empty where it is not."""
        return frozenset[str]().union(*(types or () for _, _, types in self.autos))

    def refusal(self, kind: str) -> tuple[str, str]:
        """Return why a type of configuration is not taken, and what to do."""
        if kind in self.limits:
            return self.limits[kind]
        if self.answers:
            return f"expected one of these: {', '.join(sorted(self.types))}", "use CLIP or SigLIP"
        return f"which does not {self.does}", "use another model"


def _classifier(model: Any, order: list[int], kind: str) -> nn.Module:
    return HubBody(model, order)


def _clip_classifier(model: Any, order: list[int], kind: str) -> nn.Module:
    return HubClips(model, order)


def _detector(model: Any, order: list[int], kind: str) -> nn.Module:
    return HubDetector(model, order, one_background=kind in _ONE_BACKGROUND)


def _segmenter(model: Any, order: list[int], kind: str) -> nn.Module:
    return HubMasks(model, order, instances=False) if kind in QUERIES else HubSegmenter(model, order)


def _outliner(model: Any, order: list[int], kind: str) -> nn.Module:
    return HubMasks(model, order, instances=True)


CLASSIFIERS = HubKind(
    "classify images",
    (("AutoModelForImageClassification", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING", None),),
    _classifier,
    any_size=False,
    heads=(),
)
CLIP_CLASSIFIERS = HubKind(
    "classify clips",
    (
        (
            "AutoModelForVideoClassification",
            "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING",
            frozenset({"videomae", "vivit", "timesformer"}),
        ),
    ),
    _clip_classifier,
    any_size=False,
    heads=(),
    over_time=True,
)
DETECTORS = HubKind(
    "find objects", (("AutoModelForObjectDetection", "MODEL_FOR_OBJECT_DETECTION_MAPPING", None),), _detector
)
SEGMENTERS = HubKind(
    "segment images",
    (
        ("AutoModelForSemanticSegmentation", "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING", None),
        (*_UNIVERSAL, QUERIES),
    ),
    _segmenter,
)
OUTLINERS = HubKind("outline objects", ((*_UNIVERSAL, QUERIES),), _outliner)
PAIRS = HubKind(
    "match texts with images",
    (("AutoModel", "MODEL_MAPPING", frozenset({"clip", "siglip"})),),
    HubPairBody,
    any_size=False,
    heads=(),
    answers=("typicality",),
    limits={
        "siglip2": (
            "which takes images of any shape (NaFlex): these are not supported",
            "use a SigLIP 2 checkpoint of one size, such as siglip2-base-patch16-256",
        )
    },
)
