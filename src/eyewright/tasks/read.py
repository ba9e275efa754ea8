"""Reading: the text of a line. What raw arrays mean and how they look."""

__all__ = ["TASK", "TextPrediction", "read_lines"]

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Answers, Predictor, predict_everything
from eyewright.core.report import Metric
from eyewright.core.task import Agreement, Explained, Feedback, Limits, MetricInfo, Output, Raw, Task, Words
from eyewright.data.targets.text import texts_of
from eyewright.imaging.overlay import caption, caption_rows
from eyewright.imaging.preparation import LINE_STRIDE
from eyewright.tasks.arrays import array_of
from eyewright.tasks.corrections import NotUsableError
from eyewright.tasks.ctc import BLANK, Reading, read_beam, read_greedy
from eyewright.tasks.drawn import Drawn, kept_image

if TYPE_CHECKING:
    from eyewright.data.targets.text import Text
    from eyewright.imaging.preparation import Placement
    from eyewright.tasks.corrections import Correction

_NO_SCORES = np.zeros(0, np.float32)
_NO_SPANS = np.zeros((0, 2), np.float32)


@dataclass(frozen=True, repr=False)
class TextPrediction(Drawn):
    """What a model reads on one line.

    `text` is in the characters of `label_space`. `probability` is that of the whole text, `scores`, float32 (L,), are
    those of its characters, and `spans_x`, float32 (L, 2), where each lies from left to right, in source pixels.

    >>> p = TextPrediction("AB", LabelSpace(("A", "B")), 0.8, np.array([0.9, 0.95], np.float32))
    >>> p.line(), p.headline()
    ('AB  80.0%', ('AB', 0.8))
    """

    text: str
    label_space: LabelSpace
    probability: float = 0.0
    scores: NDArray[np.float32] = field(default_factory=lambda: _NO_SCORES)
    spans_x: NDArray[np.float32] = field(default_factory=lambda: _NO_SPANS)
    source: str = ""
    index: int = 0
    time_s: float | None = None
    image: NDArray[np.uint8] | None = kept_image()

    @property
    def confidence(self) -> float | None:
        """The probability of the text; None where nothing was read."""
        return float(self.probability) if self.text else None

    def numbers(self) -> NDArray[np.float32]:
        """Return how often each character was read, each weighted by its score, float32 (C,), as drift is tested on."""
        ids = {c: i for i, c in enumerate(self.label_space.names)}
        found = np.zeros(len(self.label_space), np.float32)
        for character, score in zip(self.text, self.scores, strict=False):
            found[ids[character]] += score
        return found

    def drawn_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image, uint8 (H, W, 3), with a caption strip of the text below it."""
        return caption(image, self.line())

    def strip_rows(self, size_hw: tuple[int, int]) -> int:
        return caption_rows(size_hw)

    def line(self, *, top: int | None = None) -> str:
        """Say in a line what was read."""
        return f"{self.text}  {self.probability:.1%}" if self.text else "no text"

    def headline(self) -> tuple[str, float]:
        """Return the text that a log files the prediction under, and its probability."""
        return self.text, float(self.probability) if self.text else 0.0

    def to_hub(self, *, top: int | None = None) -> list[dict[str, Any]]:
        """Return the text as Hugging Face's pipeline of image-to-text answers."""
        return [{"generated_text": self.text}]

    def to_json(self, *, top: int | None = None) -> dict[str, Any]:
        """Return the text, its probability, and every character with its score and its place."""
        spans = self.spans_x if len(self.spans_x) == len(self.text) else [(None, None)] * len(self.text)
        result: dict[str, Any] = {
            "source": self.source,
            "index": self.index,
            "text": self.text,
            "probability": round(float(self.probability), 6),
            "characters": [
                {"character": c, "score": round(float(s), 6), "x0": _place(a), "x1": _place(b)}
                for c, s, (a, b) in zip(self.text, self.scores, spans, strict=False)
            ],
        }
        return result if self.time_s is None else {**result, "time_s": self.time_s}


def _place(value: Any) -> float | None:
    return None if value is None else round(float(value), 2)


def decode(
    raw: Raw,
    placements: Sequence["Placement"],
    labels: LabelSpace,
    *,
    iou: float | None = None,
    least: float | None = None,
    most: int | None = None,
) -> list[TextPrediction]:
    """Return one prediction a line from "probabilities", float32 (N, T, 1 + C), by the greedy search.

    Raises:
        BundleError: the array does not have the promised name, shape or range.
    """
    return read_lines(raw, placements, labels, search=read_greedy)


def read_lines(
    raw: Raw,
    placements: Sequence["Placement"],
    labels: LabelSpace,
    *,
    search: Callable[[NDArray[Any]], Reading] = read_beam,
) -> list[TextPrediction]:
    """Return one prediction a line by a search: `read_greedy` or `read_beam`.

    Raises:
        BundleError: the array does not have the promised name, shape or range.
    """
    found = array_of(raw, "probabilities", len(placements), "steps", 1 + len(labels))
    longest = max((_steps_of(p) for p in placements), default=0)
    if found.shape[1] < longest:
        raise BundleError(f"expected {longest} steps or more for the longest line, found {found.shape[1]}")
    if not ((found >= -1e-6) & (found <= 1 + 1e-6)).all():
        raise BundleError("expected probabilities from 0 to 1, found others", fix="export the model again")
    return [_prediction(search(row), placed, labels) for row, placed in zip(found, placements, strict=True)]


def _steps_of(placed: "Placement") -> int:
    return int(placed.source_hw[1] * placed.scale_yx[1] + 1e-6) // LINE_STRIDE


def _prediction(reading: Reading, placed: "Placement", labels: LabelSpace) -> TextPrediction:
    text = "".join(labels.names[i] for i in reading.ids)
    spans = (reading.steps * LINE_STRIDE - placed.offset_yx[1]) / placed.scale_yx[1]
    spans = np.clip(spans, 0, placed.source_hw[1]).astype(np.float32)
    return TextPrediction(text, labels, reading.probability, reading.scores.astype(np.float32), spans)


def settle(
    prediction: TextPrediction, thresholds: NDArray[np.float64] | None, conf: float | None = None
) -> TextPrediction:
    """Return the prediction; with `conf` a text whose probability is below it is not shown."""
    if conf is None or prediction.probability >= conf:
        return prediction
    return replace(prediction, text="", probability=0.0, scores=_NO_SCORES, spans_x=_NO_SPANS)


def score(
    predictions: Sequence[TextPrediction],
    targets: Sequence[Any],
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
) -> dict[str, Metric]:
    """Measure predictions against true texts; every metric with its interval."""
    from eyewright.metrics.reading import measure_texts

    return measure_texts([str(t) for t in targets], [p.text for p in predictions], rng=rng, groups=groups)


def agree(ours: Answers, theirs: Answers, limits: Limits) -> Agreement:
    """Compare the probabilities of two models for the same lines, and the texts that are read from them.

    A text is changed that differs, where a probability differs by more than rounding.
    """
    a, b = (np.asarray(x.raw["probabilities"], np.float64) for x in (ours, theirs))
    apart = np.abs(a - b)
    margin = _LEVEL if limits.tolerance <= LIMITS["float32"].tolerance else limits.tolerance
    moved = apart.max((1, 2), initial=0.0) > margin
    changed = sum(
        read_greedy(a[i]).ids != read_greedy(b[i]).ids
        for i in np.flatnonzero(moved & (a.argmax(2) != b.argmax(2)).any(1))
    )
    return Agreement(float(apart.max(initial=0.0)), int(changed))


def join_views(
    predictor: Predictor, image: NDArray[np.uint8], *, flip: bool, tile: int | None, overlap: float, iou: float | None
) -> TextPrediction:
    """Return the prediction for a line.

    Raises:
        UsageError: its mirror is asked for too, which is no text.
    """
    if flip:
        raise UsageError("--flip is not supported for reading: the mirror of a line is no text", fix="leave it out")
    (found,) = predict_everything(predictor, [image])
    assert isinstance(found, TextPrediction)
    return found


@dataclass(frozen=True)
class TextTarget:
    """How probable the characters of a text stay at their places, the mean over them; with `label` of that one only."""

    label: int
    steps: tuple[tuple[int, int, int], ...]
    shown: str

    @property
    def box(self) -> None:
        return None

    @property
    def cells(self) -> int:
        return 16

    def __call__(self, raw: Raw) -> NDArray[np.float64]:
        found = raw["probabilities"]
        each = [found[:, a:b, 1 + k].max(1) for k, a, b in self.steps]
        if not each:
            # Nothing was read: how far that stays so.
            return np.asarray(found[..., BLANK].mean(1), np.float64)
        return np.asarray(np.mean(each, axis=0), np.float64)


def explained(raw: Raw, prediction: Any, placement: Any, label: int | None) -> Sequence[Explained]:
    """Return the text as a whole, or one character of it wherever it stands."""
    reading = read_greedy(raw["probabilities"][0])
    steps = [(k, int(a), int(b)) for k, (a, b) in zip(reading.ids, reading.steps, strict=True)]
    if label is not None:
        own = tuple(s for s in steps if s[0] == label)
        return [TextTarget(label, own, prediction.label_space.names[label])] if own else []
    return [TextTarget(steps[0][0] if steps else 0, tuple(steps), prediction.text)]


def summary(answers: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return how many characters were read on each line, each weighted by its score, (N,)."""
    return "characters", np.asarray(answers.sum(1))


def labelled(answers: NDArray[Any]) -> NDArray[Any]:
    """Return how much of each character was read, (N, C)."""
    return answers


def counted(marks: Sequence[int]) -> Iterable[int]:
    """Return what a dataset counts: every character."""
    return marks


def example(rng: np.random.Generator) -> tuple[Raw, Sequence[Any]]:
    """Return probabilities of 12 lines at 6 steps, and true texts."""
    found = rng.dirichlet(np.full(4, 0.4), (12, 6)).astype(np.float32)
    return {"probabilities": found}, ["abc", "a", "cab"] * 4


def corrected(said: "Correction") -> "Text":
    """Return the text that was said to be right, or that of a prediction that was called right.

    Raises:
        NotUsableError: neither is there.
    """
    text = said.content.get("text", said.predicted if said.right else None)
    if not text:
        raise NotUsableError("it says that the prediction is wrong, and not what is right")
    (target,) = texts_of([text], said.names)
    if min(target.ids) < 0:
        raise NotUsableError("its text holds characters that the model does not know")
    return target


def taught(prediction: TextPrediction, ids: NDArray[np.int64], keep: Callable[..., Any]) -> "Text":
    """Return the text that was read as that of the line."""
    (own,) = texts_of([prediction.text], prediction.label_space.names)
    return own.renamed(ids)


_LEVEL = 1e-6
LIMITS = MappingProxyType({"float32": Limits(1e-4, 0.99), "float16": Limits(0.03, 0.95), "int8": Limits(0.1, 0.9)})
_RATE = (0.0, float("inf"))

TASK = Task(
    name="read",
    words=Words(
        noun="reading",
        does="Reads on each image of a line",
        gives="a text in the characters of `config.json`",
        usage="text",
        limits="It reads one line at a time, in these characters only, and returns a text for any image. It is "
        "less accurate on fonts, sizes and wear that differ from its training data.",
        counted="character",
        score="a probability",
        wins="better read alone",
        label=("character", "characters"),
    ),
    outputs=(Output("probabilities", ("T", "K")),),
    metrics=(
        MetricInfo(
            "cer", "CER", "character error rate: edits for each true character", False, paired=True, bounds=_RATE,
            kind="plain", rate=True,
        ),
        MetricInfo(
            "wer", "WER", "word error rate: edits of words for each true word", False, paired=True, bounds=_RATE,
            kind="plain", rate=True,
        ),
        MetricInfo(
            "exact", "exact lines", "fraction of lines that are read without an error", paired=True, counts=True,
            kind="share",
        ),
        MetricInfo(
            "char_accuracy", "1 - CER", "what epochs are chosen by", tile=False, paired=True,
            bounds=(float("-inf"), 1.0), kind="plain", rate=True,
        ),
    ),
    options=frozenset({"review"}),
    losses=("ctc",),
    columns=("recall", "precision"),
    foreign=MappingProxyType({"hub": "image-to-text"}),
    contracts=(),
    decode=decode,
    settle=settle,
    score=score,
    limits=LIMITS,
    agree=agree,
    views=join_views,
    explained=explained,
    summary=summary,
    labelled=labelled,
    example=example,
    reference="characters_read",
    target="eyewright.data.targets.text:TEXT",
    feedback=Feedback(("text",), (), corrected, taught, "csv", letters=True),
    net="classes a step",
    learner="eyewright.learners.read:LEARNER",
    reporting="eyewright.tasks.read_report:REPORTING",
    counted=counted,
    followed="cer",
    chosen="char_accuracy",
)  # fmt: skip
"""The text of a line."""
