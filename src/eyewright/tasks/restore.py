"""Restoration: an image in, a better one out. What raw arrays mean, how images are put together, how they look."""

__all__ = ["TASK", "RestoredImage", "run_tiles"]

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.inputs import IMAGE, MASK, Example, whole_image
from eyewright.core.labels import LabelSpace
from eyewright.core.prediction import settle_nothing
from eyewright.core.predictor import Answers, Predictor, inputs_of
from eyewright.core.report import Metric
from eyewright.core.rng import generator
from eyewright.core.task import Agreement, Explained, Feedback, Limits, MetricInfo, Output, Raw, Task, Words
from eyewright.tasks.arrays import array_of
from eyewright.tasks.drawn import Drawn

if TYPE_CHECKING:
    from eyewright.imaging.preparation import Placement
    from eyewright.tasks.corrections import Correction

_LEVEL = 1 / 255


@dataclass(frozen=True, eq=False, repr=False)
class RestoredImage(Drawn):
    """What a model makes of one image.

    `restored` is the whole image, uint8 (H, W, 3); where only a tile was looked at it is None, and `residual`, float32
    (h, w, C), is what is to be added there in fractions of the range. `changed` is the mean absolute change, `sigma`
    the noise that was measured, in levels of 0-255.

    >>> p = RestoredImage(0.02, LabelSpace(("picture",)), sigma=12.5)
    >>> p.line(), p.numbers().tolist()
    ('changed by 2.00% of the range; noise 12.5', [0.019999999552965164])
    """

    changed: float
    label_space: LabelSpace
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = None
    restored: NDArray[np.uint8] | None = None
    residual: NDArray[np.float32] | None = field(default=None, repr=False)
    sigma: float = 0.0

    def numbers(self) -> NDArray[np.float32]:
        """Return the mean absolute change, float32 (C,), as drift is tested on."""
        return np.full(len(self.label_space), self.changed, np.float32)

    def drawn_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the restored image, uint8 (H, W, 3); of a tile alone the image with what is added to its centre."""
        if self.restored is not None:
            return self.restored
        if self.residual is None:
            return image.copy()
        drawn = image.copy()
        height, width = (min(a, b) for a, b in zip(self.residual.shape[:2], image.shape[:2], strict=True))
        own, there = self.residual[:height, :width], drawn[:height, :width]
        drawn[:height, :width] = np.rint(np.clip(there + 255 * own, 0, 255))
        return drawn

    def line(self, *, top: int | None = None) -> str:
        """Say in a line how much was changed, and the noise that was measured."""
        noise = f"; noise {self.sigma:.3g}" if self.sigma else ""
        return f"changed by {self.changed:.2%} of the range{noise}"

    def headline(self) -> tuple[str, float]:
        """Return what a log files the prediction under: the change."""
        return "restored", float(self.changed)

    def to_hub(self, *, top: int | None = None) -> list[dict[str, Any]]:
        """Return the image as Hugging Face's pipeline image-to-image answers, as PNG in base64, where it is whole."""
        import base64

        if self.restored is None:
            return [{"changed": float(self.changed)}]
        from eyewright.imaging.encode import encode_image

        return [{"image": base64.b64encode(encode_image(self.restored, format="PNG")).decode("ascii")}]

    def to_json(self, *, top: int | None = None) -> dict[str, Any]:
        """Return how much was changed, and the size of the result."""
        result: dict[str, Any] = {
            "source": self.source,
            "index": self.index,
            "changed": round(float(self.changed), 6),
            "sigma": round(float(self.sigma), 3),
        }
        if self.restored is not None:
            result |= {"width": self.restored.shape[1], "height": self.restored.shape[0]}
        return result if self.time_s is None else {**result, "time_s": self.time_s}


def decode(
    raw: Raw,
    placements: Sequence["Placement"],
    labels: LabelSpace,
    *,
    iou: float | None = None,
    least: float | None = None,
    most: int | None = None,
) -> list[RestoredImage]:
    """Return one prediction per image, of its central tile alone, from "residual", float32 (N, H, W, C).

    Raises:
        BundleError: the array does not have the promised name or shape, or is not finite.
    """
    found = array_of(raw, "residual", len(placements), "H", "W", "C")
    if not np.isfinite(found).all():
        raise BundleError("expected finite values, found others", fix="export the model again")
    places = [p[IMAGE] if isinstance(p, Mapping) else p for p in placements]
    kept = [_inside(own, place) for own, place in zip(found, places, strict=True)]
    return [RestoredImage(float(np.abs(own).mean()), labels, residual=own) for own in kept]


def _inside(residual: NDArray[np.float32], place: "Placement") -> NDArray[np.float32]:
    """Return the part of a tile's residual that lies inside the image, which the tile is the centre of.

    Raises:
        BundleError: it is not of a tile of this image.
    """
    for scale in (1, 2):
        parts = []
        for side, first, source in zip(residual.shape, place.offset_yx, place.source_hw, strict=False):
            if side % scale or abs(side // scale - source - 2 * first) > 1:
                break
            start = max(0, int(first)) * scale
            parts.append(slice(start, start + min(side, source * scale)))
        if len(parts) == 2:
            return residual[tuple(parts)]
    raise BundleError(f"expected the residual of a tile, found {residual.shape}", fix="export the model again")


def filled(predictor: Predictor, image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return an image, uint8 (H, W, 3), whose hole holds a first filling, with that improved by a model for holes."""
    from eyewright.imaging.filling import fill_by_net

    def run(tiles: NDArray[np.uint8], holes: NDArray[np.uint8]) -> NDArray[np.float32]:
        return predictor.raw({IMAGE: tiles, MASK: holes})["residual"]

    return fill_by_net(run, image, hole, inputs_of(predictor)[IMAGE])  # type: ignore[arg-type]


def tried_on(image: NDArray[np.uint8], number: int, preparation: Any) -> Example:
    """Return an image with a drawn hole, filled for a start, and the hole: what a model for holes is tried on."""
    done = preparation.tile.degradation(image, rng=generator(0, "hole", str(number)), at=0.5)
    return {IMAGE: done.image, MASK: done.hole}


def run_tiles(predictor: Predictor) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return how a predictor answers prepared tiles."""

    def run(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return predictor.raw(tiles)["residual"]

    return run


def restore_whole(predictor: Predictor, examples: Sequence[Example]) -> list[RestoredImage]:
    """Return every image restored, tile by tile."""
    from eyewright.imaging.restoring import restore_pixels

    answers = []
    for example in examples:
        if isinstance(example, Mapping) and MASK in example:
            given = example[IMAGE]
            made = filled(predictor, given, np.asarray(example[MASK], bool))
            apart = float(np.abs(made.astype(np.int16) - given).mean()) / 255
            answers.append(RestoredImage(apart, predictor.labels, restored=made))
            continue
        done = restore_pixels(run_tiles(predictor), whole_image(example), predictor.preparation)
        answers.append(RestoredImage(done.changed, predictor.labels, restored=done.image, sigma=done.sigma))
    return answers


def score(
    predictions: Sequence[RestoredImage],
    targets: Sequence[Any],
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
) -> dict[str, Metric]:
    """Measure predictions against pairs of the image as it was given and as it should be, uint8 (H, W, 3) both."""
    from eyewright.metrics.fidelity import ssim
    from eyewright.metrics.restoration import capped_psnr, mean_metrics

    if not predictions:
        return {}
    rows = []
    for prediction, (given, clean) in zip(predictions, targets, strict=True):
        found = prediction.drawn_on(given)
        after, before = capped_psnr(found, clean), capped_psnr(given, clean)
        rows.append((after - before, after, ssim(found, clean), after - before))
    values = np.array(rows, np.float64).reshape(-1, 4)
    named = dict(zip(("baseline_gain", "psnr", "ssim", "psnr_gain"), values.T, strict=True))
    return mean_metrics(named, rng=rng, groups=groups, units=UNITS)


UNITS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("baseline_gain", "psnr", "psnr_gain", "psnr_input", "psnr_baseline"), "dB")
)
"""The units of metrics."""


def agree(ours: Answers, theirs: Answers, limits: Limits) -> Agreement:
    """Compare what two models add to the same tiles; a tile is changed where a pixel differs by a level of 0-255."""
    a, b = (np.asarray(x.raw["residual"], np.float32) for x in (ours, theirs))
    apart = np.abs(a - b)
    changed = int((apart.reshape(len(a), -1).max(1, initial=0.0) > max(_LEVEL, 2 * limits.tolerance)).sum())
    worst = float(apart.max(initial=0.0))
    return Agreement(worst, changed, amounts={"what is added to pixels": worst})


def join_views(
    predictor: Predictor, image: NDArray[np.uint8], *, flip: bool, tile: int | None, overlap: float, iou: float | None
) -> RestoredImage:
    """Return the image restored; with `flip` the mean with its mirror's, mirrored back."""
    (one,) = restore_whole(predictor, [image])
    if not flip:
        return one
    (other,) = restore_whole(predictor, [np.ascontiguousarray(image[:, ::-1])])
    assert one.restored is not None
    assert other.restored is not None
    mean = (one.restored.astype(np.uint16) + other.restored[:, ::-1] + 1) // 2
    return RestoredImage(
        (one.changed + other.changed) / 2, one.label_space, restored=mean.astype(np.uint8), sigma=one.sigma
    )


def explained(raw: Raw, prediction: Any, placement: Any, label: int | None) -> Sequence[Explained]:
    """Refuse: what an image is changed by is seen in the image itself.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        "an explanation is not supported for restoration", fix="see what was changed with eyewright restore --map"
    )


def summary(answers: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return the mean change of each of (N, 1) answers, (N,)."""
    return "change", np.asarray(answers[:, 0])


def labelled(answers: NDArray[Any]) -> NDArray[Any]:
    """Return 1 for each image, (N, C)."""
    return np.ones_like(answers)


def counted(marks: Sequence[int]) -> Iterable[int]:
    """Return what a dataset counts: images."""
    return marks


def example(rng: np.random.Generator) -> tuple[Raw, Sequence[Any]]:
    """Return what is to be added to 12 noisy images, and the images before and after."""
    clean = rng.integers(60, 200, (12, 16, 24, 3)).astype(np.uint8)
    noise = rng.normal(0, 10, clean.shape)
    given = np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
    residual = (clean.astype(np.float32) - given) / 255 + rng.normal(0, 0.01, clean.shape)
    return {"residual": residual.astype(np.float32)}, list(zip(given, clean, strict=True))


def corrected(said: "Correction") -> Any:
    """Refuse: nobody says in words how an image should look.

    Raises:
        NotUsableError: always.
    """
    from eyewright.tasks.corrections import NotUsableError

    raise NotUsableError("feedback on restored images holds no image to learn from")


def taught(prediction: RestoredImage, ids: NDArray[np.int64], keep: Callable[..., Any]) -> Any:
    """Refuse, as `corrected`."""
    from eyewright.tasks.corrections import NotUsableError

    raise NotUsableError("a restored image is not ground truth to learn from")


_DECIBELS = (float("-inf"), float("inf"))

TASK = Task(
    name="restore",
    words=Words(
        noun="restoration",
        does="Restores each image and returns one of the same size, or of a larger one where it was trained to enlarge",
        gives="what is to be added to each tile, in fractions of the range",
        usage="plot()",
        limits="It knows only the degradation that it was trained on, and was measured on that. Details that "
        "are not in the input are guesses.",
        counted="image",
        score="fractions of the range",
        wins="closer alone",
        label=("kind of picture", "kinds of pictures"),
        names_labels=False,
    ),
    outputs=(Output("residual", ("H", "W", "K")),),
    metrics=(
        MetricInfo(
            "baseline_gain",
            "gain over the baseline",
            "in PSNR: over total variation for noise, bicubic for enlarging, Navier-Stokes for holes, else the input",
            paired=True,
            bounds=_DECIBELS,
            kind="plain",
        ),
        MetricInfo("psnr", "PSNR", "mean over the images", paired=True, bounds=(0.0, float("inf")), kind="plain"),
        MetricInfo("ssim", "SSIM", "of the luma; 1 is equal", paired=True, bounds=(-1.0, 1.0), kind="plain"),
        MetricInfo("psnr_gain", "gain over the input", "in PSNR", bounds=_DECIBELS, kind="plain"),
        MetricInfo("psnr_input", "PSNR of the input", "", tile=False, bounds=(0.0, float("inf")), kind="plain"),
        MetricInfo("psnr_baseline", "PSNR of the baseline", "", tile=False, bounds=(0.0, float("inf")), kind="plain"),
        MetricInfo("ssim_input", "SSIM of the input", "", tile=False, bounds=(-1.0, 1.0), kind="plain"),
    ),
    options=frozenset(),
    losses=("mae", "mse", "fill"),
    columns=("psnr", "ssim", "baseline_gain"),
    foreign=MappingProxyType({"hub": "image-to-image"}),
    contracts=(),
    decode=decode,
    settle=settle_nothing,
    score=score,
    limits=MappingProxyType({"float32": Limits(1e-3, 0.99), "float16": Limits(0.01, 0.95), "int8": Limits(0.1, 0.9)}),
    agree=agree,
    views=join_views,
    explained=explained,
    summary=summary,
    labelled=labelled,
    example=example,
    reference="changes",
    target="eyewright.data.targets.picture:PICTURES",
    feedback=Feedback((), (), corrected, taught, "imagefolder"),
    net="image",
    learner="eyewright.learners.restore:LEARNER",
    reporting="eyewright.tasks.restore_report:REPORTING",
    counted=counted,
    followed="psnr",
    chosen="psnr",
    # Ten epochs of 512 parts.
    least_seen=5_120,
    unit=lambda names, metric: UNITS.get(metric, ""),
    whole=restore_whole,
    inputs=MappingProxyType(
        {IMAGE: "eyewright.imaging.preparation:Preparation", MASK: "eyewright.imaging.holes:HoleInput"}
    ),
    optional=frozenset({MASK}),
    tried_on=tried_on,
)
"""An image as it should be."""
