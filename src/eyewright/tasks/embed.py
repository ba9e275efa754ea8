"""Embedding: an image as a vector that lies near those of its captions and of similar images."""

__all__ = ["TASK", "EmbedPrediction"]

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError
from eyewright.core.jsonable import vector_text
from eyewright.core.labels import LabelSpace
from eyewright.core.prediction import settle_nothing
from eyewright.core.predictor import Answers, Predictor, predict_everything
from eyewright.core.report import Metric
from eyewright.core.task import Agreement, Explained, Feedback, Limits, MetricInfo, Output, Raw, Task, Words
from eyewright.data.targets.captions import Captions
from eyewright.imaging.overlay import caption
from eyewright.tasks.arrays import array_of
from eyewright.tasks.corrections import NotUsableError
from eyewright.tasks.drawn import Drawn, kept_image
from eyewright.tasks.tiling import mirrored

if TYPE_CHECKING:
    from eyewright.data.targets.captions import Captions
    from eyewright.imaging.preparation import Placement
    from eyewright.tasks.corrections import Correction

_OFF_UNIT = 1e-2


@dataclass(frozen=True, repr=False)
class EmbedPrediction(Drawn):
    """The vector of an image, float32 (D,) of length 1, and how near the nearest training image is, (C,) in [0, 1]."""

    embedding: NDArray[np.float32]
    typicality: NDArray[np.float32]
    label_space: LabelSpace
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = kept_image()

    def numbers(self) -> NDArray[np.float32]:
        """Return the typicality, float32 (C,), as drift is tested on."""
        return np.asarray(self.typicality, np.float32)

    def drawn_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image, uint8 (H, W, 3), with a caption strip below it."""
        return caption(image, self.line())

    def line(self, *, top: int | None = None) -> str:
        """Say in a line what was predicted."""
        return f"vector of {len(self.embedding)} numbers, typicality {float(self.typicality[0]):.3f}"

    def headline(self) -> tuple[str, float]:
        """Return the name and value that a log files the prediction under."""
        return self.label_space.names[0], float(self.typicality[0])

    def to_hub(self, *, top: int | None = None) -> list[dict[str, Any]]:
        """Return the typicality in the form of Hugging Face's pipelines, whose features have no names."""
        return [{"label": n, "score": float(v)} for n, v in zip(self.label_space.names, self.typicality, strict=True)]

    def to_json(self, *, top: int | None = None) -> dict[str, Any]:
        """Return the vector as base64 of float32 in little-endian order, and the typicality."""
        result: dict[str, Any] = {
            "source": self.source,
            "index": self.index,
            "typicality": round(float(self.typicality[0]), 6),
            "embedding": vector_text(self.embedding),
            "dimensions": len(self.embedding),
        }
        return result if self.time_s is None else {**result, "time_s": self.time_s}


def decode(
    raw: Raw,
    placements: Sequence["Placement"],
    labels: LabelSpace,
    *,
    iou: float | None = None,
    least: float | None = None,
    most: int | None = None,
) -> list[EmbedPrediction]:
    """Return one prediction per image from "embedding", float32 (N, D), and "typicality" (N, C).

    Raises:
        BundleError: an array does not have the promised name or shape, or vectors are not finite or of length 1.
    """
    vectors = array_of(raw, "embedding", len(placements), "D")
    near = array_of(raw, "typicality", len(placements), len(labels))
    lengths = np.sqrt((vectors.astype(np.float64) ** 2).sum(1))
    if not (np.isfinite(near).all() and (np.abs(lengths - 1) <= _OFF_UNIT).all()):
        raise BundleError("expected finite vectors of length 1, found others", fix="export the model again")
    return [EmbedPrediction(v, t, labels) for v, t in zip(vectors, near, strict=True)]


def score(
    predictions: Sequence[EmbedPrediction],
    targets: Sequence[Any],
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
) -> dict[str, Metric]:
    """Measure embeddings against vectors of what each image should be found by, (K, D) an image, both ways."""
    from eyewright.metrics.retrieval import retrieval_metrics
    from eyewright.tasks.embed_ranks import both_ways

    if not predictions:
        return {}
    images = np.stack([p.embedding for p in predictions])
    queries = np.concatenate([np.atleast_2d(t) for t in targets])
    items = np.repeat(np.arange(len(targets)), [len(np.atleast_2d(t)) for t in targets])
    names = [str(k) for k in range(len(queries))]
    return retrieval_metrics(both_ways(images, queries, items, names), rng=rng, groups=groups)


def agree(ours: Answers, theirs: Answers, limits: Limits) -> Agreement:
    """Compare the vectors of two models for the same images: 1 - cosine, and those that are further apart than the
    limit are changed."""
    a, b = (np.asarray(x.raw["embedding"], np.float64) for x in (ours, theirs))
    product = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
    apart = np.maximum(0.0, 1 - product)
    near = np.abs(np.asarray(ours.raw["typicality"], np.float64) - theirs.raw["typicality"]).max(1, initial=0.0)
    worst = np.maximum(apart, near)
    return Agreement(float(worst.max(initial=0.0)), int((worst > limits.tolerance).sum()))


def join_views(
    predictor: Predictor, image: NDArray[np.uint8], *, flip: bool, tile: int | None, overlap: float, iou: float | None
) -> EmbedPrediction:
    """Return the mean vector of an image and its mirror, at length 1."""
    views = [image, mirrored(image)] if flip else [image]
    both = cast(Sequence[EmbedPrediction], predict_everything(predictor, views))
    mean = np.mean([p.embedding for p in both], 0)
    vector = np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)
    return replace(both[0], embedding=vector, typicality=np.mean([p.typicality for p in both], 0))


@dataclass(frozen=True)
class VectorTarget:
    """How near an image's vector stays to what it was: the cosine from 0 on."""

    vector: NDArray[np.float32]
    label: int = 0
    shown: str = "similarity to itself"

    @property
    def box(self) -> None:
        return None

    @property
    def cells(self) -> int:
        return 8

    def __call__(self, raw: Raw) -> NDArray[np.float64]:
        found = raw["embedding"].astype(np.float64)
        return np.clip(found @ self.vector.astype(np.float64), 0.0, 1.0)


def explained(raw: Raw, prediction: Any, placement: Any, label: int | None) -> Sequence[Explained]:
    """Return the vector itself: which parts of the image it rests on."""
    return [VectorTarget(raw["embedding"][0])]


def summary(answers: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return the typicality of each of (N, C) answers, (N,)."""
    return "typicality", np.asarray(answers[:, 0])


def labelled(answers: NDArray[Any]) -> NDArray[Any]:
    """Return 1 for each image: no class is predicted."""
    return np.ones_like(answers)


def counted(marks: Sequence[int]) -> Iterable[int]:
    """Return what a dataset counts: one mark per image."""
    return marks


def example(rng: np.random.Generator) -> tuple[Raw, Sequence[Any]]:
    """Return vectors of 12 images, and those of two captions of each."""
    vectors = rng.normal(size=(12, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = rng.uniform(0.5, 1.0, (12, 3)).astype(np.float32)
    return {"embedding": vectors.astype(np.float32), "typicality": near}, [
        v + rng.normal(0, 0.2, (2, 8)) for v in vectors
    ]


def corrected(said: "Correction") -> "Captions":
    """Return the caption that somebody wrote.

    Raises:
        NotUsableError: there is none.
    """
    text = said.content.get("text")
    if not text:
        raise NotUsableError("a vector is neither right nor wrong by itself; say in `text` what the image shows")
    return Captions((text,))


def taught(prediction: EmbedPrediction, ids: NDArray[np.int64], keep: Callable[..., Any]) -> "Captions":
    """Return an image without captions: it is learnt from alone."""
    return Captions()


_RANK = (1.0, float("inf"))


def _recall(k: int, prefix: str, title: str, hint: str) -> MetricInfo:
    return MetricInfo(f"{prefix}recall_at_{k}", f"{title} R@{k}", hint, paired=True, kind="share", tile=k != 5)


def _metrics() -> tuple[MetricInfo, ...]:
    there = "queries (captions; without captions other views) whose image is among the first {}"
    back = "images of which a right query is among the first {}"
    return (
        _recall(10, "", "query to image", there.format(10)),
        _recall(5, "", "query to image", there.format(5)),
        _recall(1, "", "query to image", there.format("one")),
        MetricInfo("median_rank", "median rank", "of the right image; 1 is best", False, bounds=_RANK, kind="plain"),
        _recall(10, "back_", "image to query", back.format(10)),
        _recall(5, "back_", "image to query", back.format(5)),
        _recall(1, "back_", "image to query", back.format("one")),
        MetricInfo(
            "back_median_rank",
            "median rank back",
            "of the right query; 1 is best",
            False,
            tile=False,
            bounds=_RANK,
            kind="plain",
        ),
    )


TASK = Task(
    name="embed",
    words=Words(
        noun="embedding",
        does="Turns each image into a vector of length 1 that lies near those of its captions and of similar images, "
        "and says how typical the image is of the training images",
        gives="a vector of length 1 for each image (dot products compare them), and its typicality: how near the "
        "nearest training image is",
        usage="embedding",
        limits="It knows what the captions of its training data say, in their words; a vector says nothing by itself.",
        counted="image",
        score="1 - cosine",
        wins="found better alone",
        label=("number", "numbers"),
        names_labels=False,
    ),
    outputs=(Output("embedding", ("D",)), Output("typicality", ("C",))),
    metrics=_metrics(),
    options=frozenset(),
    losses=("infonce", "sigmoid"),
    columns=(),
    foreign=MappingProxyType({"hub": "image-feature-extraction"}),
    contracts=(),
    decode=decode,
    settle=settle_nothing,
    score=score,
    limits=MappingProxyType({"float32": Limits(1e-4, 0.99), "float16": Limits(5e-3, 0.95), "int8": Limits(0.1, 0.9)}),
    agree=agree,
    views=join_views,
    explained=explained,
    summary=summary,
    labelled=labelled,
    example=example,
    reference="typicalities",
    target="eyewright.data.targets.captions:CAPTIONS",
    feedback=Feedback(("text",), (), corrected, taught, "csv"),
    net="embedding",
    learner="eyewright.learners.embed:LEARNER",
    reporting="eyewright.tasks.embed_report:REPORTING",
    counted=counted,
    followed="recall_at_10",
    chosen="recall",
)
"""A vector per image, in one space with texts."""
