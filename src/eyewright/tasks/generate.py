"""Generation: noise and a class in, an image out. What raw arrays mean, and how generated images are compared."""

__all__ = ["TASK", "GeneratedImage"]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.drawing import CLASS, NOISE
from eyewright.core.errors import BundleError, UsageError
from eyewright.core.inputs import Example
from eyewright.core.labels import LabelSpace
from eyewright.core.prediction import settle_nothing
from eyewright.core.predictor import Answers, Predictor
from eyewright.core.report import Metric
from eyewright.core.task import Agreement, Explained, Feedback, Limits, MetricInfo, Output, Raw, Task, Words
from eyewright.tasks.arrays import array_of
from eyewright.tasks.drawn import Drawn

if TYPE_CHECKING:
    from eyewright.tasks.corrections import Correction


@dataclass(frozen=True, eq=False)
class GeneratedImage(Drawn):
    """An image that a model has drawn: `pixels` uint8 (H, W, C), grey with one channel, and the class it was asked for.

    >>> p = GeneratedImage(np.zeros((2, 2, 1), np.uint8), 1, LabelSpace(("cat", "dog")))
    >>> p.line(), p.rgb.shape
    ('generated dog', (2, 2, 3))
    """

    pixels: NDArray[np.uint8]
    label_id: int
    label_space: LabelSpace
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = None

    @property
    def label(self) -> str:
        """The class that was asked for."""
        return self.label_space.names[self.label_id]

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The image as uint8 (H, W, 3)."""
        return np.ascontiguousarray(np.broadcast_to(self.pixels, (*self.pixels.shape[:2], 3)))

    def numbers(self) -> NDArray[np.float32]:
        """Return the mean brightness in the column of its class, 0 in the others, float32 (C,)."""
        found = np.zeros(len(self.label_space), np.float32)
        found[self.label_id] = self.pixels.mean() / 255
        return found

    def drawn_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the generated image, uint8 (H, W, 3), whatever the other is."""
        return self.rgb

    def plot(self) -> NDArray[np.uint8]:
        """Return the generated image, uint8 (H, W, 3)."""
        return self.rgb

    def line(self, *, top: int | None = None) -> str:
        """Say in a line what was drawn."""
        return f"generated {self.label}"

    def headline(self) -> tuple[str, float]:
        """Return what a log files it under: its class."""
        return self.label, 1.0

    def to_hub(self, *, top: int | None = None) -> list[dict[str, Any]]:
        """Return the image as Hugging Face's text-to-image answers, as PNG in base64."""
        import base64

        from eyewright.imaging.encode import encode_image

        return [{"image": base64.b64encode(encode_image(self.rgb, format="PNG")).decode("ascii")}]

    def to_json(self, *, top: int | None = None) -> dict[str, Any]:
        """Return the class and the size of the image."""
        height, width = self.pixels.shape[:2]
        return {"source": self.source, "index": self.index, "label": self.label, "width": width, "height": height}


def decode(
    raw: Raw,
    placements: Sequence[Any],
    labels: LabelSpace,
    *,
    iou: float | None = None,
    least: float | None = None,
    most: int | None = None,
) -> list[GeneratedImage]:
    """Return one image per example, from "image", uint8 (N, H, W, C) or the same levels as floats.

    Raises:
        BundleError: the array does not have the promised name or shape, or holds no levels.
    """
    found = array_of(raw, "image", len(placements), "H", "W", "C")
    if found.shape[3] not in (1, 3) or found.shape[1] != found.shape[2] or not np.isfinite(found).all():
        raise BundleError(
            f"expected finite square images with 1 or 3 channels, found {found.shape}", fix="export the model again"
        )
    levels = np.clip(np.rint(found), 0, 255).astype(np.uint8)
    return [GeneratedImage(one, _class_of(place), labels) for one, place in zip(levels, placements, strict=True)]


def _class_of(placement: Any) -> int:
    known = placement.get(CLASS) if isinstance(placement, Mapping) else None
    return 0 if known is None else int(known)


def score(
    predictions: Sequence[GeneratedImage],
    targets: Sequence[Any],
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
) -> dict[str, Metric]:
    """Measure images against as many real ones, uint8 (H, W, C), in their pixels at 8x8: a report measures in the
    features of a classifier."""
    from eyewright.metrics.generation import measure_features

    if not predictions:
        return {}
    k = min(5, len(predictions) - 1)
    drawn = np.stack([_small(p.pixels) for p in predictions])
    return measure_features(np.stack([_small(t) for t in targets]), drawn, rng=rng, k=k)[0]


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    rows, columns = (np.linspace(0, n, 9).astype(int)[:-1] for n in pixels.shape[:2])
    summed = np.add.reduceat(np.add.reduceat(pixels.astype(np.float64), rows, 0), columns, 1)
    found: NDArray[np.float64] = summed.mean(-1).ravel() / 255
    return found


def agree(ours: Answers, theirs: Answers, limits: Limits) -> Agreement:
    """Compare what two models draw of the same noise and classes; an image is changed where its mean differs by more
    than the limit, or a pixel by more than a tenth of the range. A last bit may tip a level."""
    a, b = (np.asarray(x.raw["image"], np.float32) / 255 for x in (ours, theirs))
    apart = np.abs(a - b).reshape(len(a), -1)
    worst = float(apart.mean(1).max(initial=0.0))
    changed = int((apart.max(1, initial=0.0) > max(0.1, 10 * limits.tolerance)).sum())
    return Agreement(worst, changed, amounts={"levels of pixels": float(apart.max(initial=0.0)) * 255})


def join_views(
    predictor: Predictor, image: NDArray[np.uint8], *, flip: bool, tile: int | None, overlap: float, iou: float | None
) -> GeneratedImage:
    """Refuse: a generator looks at no image.

    Raises:
        UsageError: always.
    """
    raise UsageError("a test-time flip is not supported for generation", fix="use eyewright generate")


def explained(raw: Raw, prediction: Any, placement: Any, label: int | None) -> Sequence[Explained]:
    """Refuse: what is drawn has no cause in an image.

    Raises:
        UsageError: always.
    """
    raise UsageError("an explanation is not supported for generation", fix="use eyewright generate --interpolate")


def summary(answers: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return the mean brightness of each of (N, C) answers, (N,)."""
    return "brightness", np.asarray(answers.sum(1))


def labelled(answers: NDArray[Any]) -> NDArray[Any]:
    """Return 1 in the column of each image's class, (N, C)."""
    return (answers > 0).astype(answers.dtype)


def counted(marks: Sequence[int]) -> Iterable[int]:
    """Return what a dataset counts: an image of each class."""
    return set(marks)


def example(rng: np.random.Generator) -> tuple[Raw, Sequence[Any]]:
    """Return 12 drawn images, and as many real ones."""
    drawn, real = (rng.integers(0, 256, (12, 16, 16, 3)) for _ in range(2))
    return {"image": drawn.astype(np.float32)}, list(real.astype(np.uint8))


def asked(targets: Sequence[int]) -> list[Example]:
    """Return what a generator is asked in place of images of these classes: a seed each, and the class."""
    return [{NOISE: seed, CLASS: int(label)} for seed, label in enumerate(targets)]


def corrected(said: "Correction") -> Any:
    """Refuse: nobody says in words how an image should look.

    Raises:
        NotUsableError: always.
    """
    from eyewright.tasks.corrections import NotUsableError

    raise NotUsableError("feedback on generated images holds no image to learn from")


def taught(prediction: GeneratedImage, ids: NDArray[np.int64], keep: object) -> Any:
    """Refuse, as `corrected`."""
    from eyewright.tasks.corrections import NotUsableError

    raise NotUsableError("a generated image is not ground truth to learn from")


_FREE = (float("-inf"), float("inf"))
_LEVEL = 1 / 255

TASK = Task(
    name="generate",
    words=Words(
        noun="generation",
        does="Generates new images of",
        gives="an image, uint8, for normal noise and a class id",
        usage="plot()",
        limits="Generated images are invented and resemble the training images. The model may copy some of them and "
        "miss others (mode collapse); the report measures both.",
        counted="image",
        score="fractions of the range",
        wins="better alone",
    ),
    outputs=(Output("image", ("H", "W", "K")),),
    metrics=(
        MetricInfo(
            "coverage", "coverage", "fraction of real images with a generated one nearby", kind="share", counts=True
        ),
        MetricInfo(
            "fid", "FID", "in features of this data's classifier; 0 is best", False, bounds=(0, _FREE[1]), kind="plain"
        ),
        MetricInfo("label_agreement", "label agreement", "fraction whose class the classifier confirms", kind="share"),
        MetricInfo("copies", "copies", "fraction nearer to training than 99% of held-out images", False, kind="share"),
        MetricInfo("precision", "precision", "fraction of generated images that look real", kind="share"),
        MetricInfo("recall", "recall", "fraction of real images that could be generated", kind="share"),
        MetricInfo("density", "density", "", tile=False, bounds=(0, _FREE[1]), kind="plain"),
        MetricInfo("kid", "KID", "", False, tile=False, bounds=_FREE, kind="plain"),
        MetricInfo("fid_floor", "FID of real images", "", False, tile=False, bounds=(0, _FREE[1]), kind="plain"),
        MetricInfo("pixel_coverage", "coverage in pixels", "of validation images", tile=False),
        MetricInfo("pixel_recall", "recall in pixels", "of validation images", tile=False),
        MetricInfo("coverage_floor", "coverage by real images", "", tile=False, kind="share"),
    ),
    options=frozenset(),
    refuses=frozenset({"compress", "explain", "folds", "predict", "serve", "teacher", "tune"}),
    losses=("softplus", "relativistic", "mse"),
    columns=("coverage", "label_agreement"),
    foreign=MappingProxyType({}),
    contracts=(),
    decode=decode,
    settle=settle_nothing,
    score=score,
    limits=MappingProxyType({"float32": Limits(_LEVEL, 0.99), "float16": Limits(0.02, 0.95), "int8": Limits(0.1, 0.9)}),
    agree=agree,
    views=join_views,
    explained=explained,
    summary=summary,
    labelled=labelled,
    example=example,
    reference="brightness",
    target="eyewright.data.targets.label:LABEL",
    feedback=Feedback((), (), corrected, taught, "imagefolder"),
    net="drawn image",
    learner="eyewright.learners.generate:LEARNER",
    reporting="eyewright.tasks.generate_report:REPORTING",
    counted=counted,
    followed="label_agreement",
    inputs=MappingProxyType({NOISE: "eyewright.core.drawing:NoiseInput", CLASS: "eyewright.core.drawing:ClassInput"}),
    asked=asked,
    one_class=True,
    # Four epochs of a small data set: before, a generator draws noise.
    least_seen=25_600,
)
"""New images like those of a folder."""
