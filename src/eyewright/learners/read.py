"""Learning to read lines of text by connectionist temporal classification (Graves et al. 2006)."""

__all__ = ["LEARNER"]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import DatasetError, UsageError
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.data.targets.text import Text
from eyewright.imaging.preparation import LINE_STRIDE, Preparation
from eyewright.metrics.reading import TextErrors
from eyewright.nets.hub import HubBuilder
from eyewright.nets.pixels import PixelNet
from eyewright.nets.readers import steps_in
from eyewright.tasks.ctc import BLANK, fewest_steps
from eyewright.training.defaults import resolve_recipe
from eyewright.training.learner import Learner
from eyewright.training.lines import TextTargets, plan_lines
from eyewright.training.loop import FitData
from eyewright.training.recipe import Recipe
from eyewright.training.soft_answers import Parts, SoftAnswers

_HEIGHT = 32
_WIDEST = 2048
_VIEWS = 60_000
_NAMED = 3
# A text of one character, or none, is about as wrong as this.
_UNLEARNT, _AS_CONSTANT = 0.8, 0.95


class ReaderAnswers(nn.Module):
    """Logits to probabilities (N, T, 1 + C); steps beyond the end of a line are 0."""

    names: tuple[str, ...] = ("probabilities",)

    def __init__(self, net: PixelNet, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, image: Tensor) -> Tensor:
        found = torch.softmax(self.net(image) / self.temperature, 2)
        steps = steps_in(image.permute(0, 3, 1, 2))
        return found * steps[..., None].to(found.dtype)


def check(dataset: Dataset) -> None:
    """Refuse data without texts to learn from.

    Raises:
        DatasetError: there are none, or a character is to be ignored.
    """
    if not len(dataset.labels):
        raise DatasetError("expected texts, found none", fix="list them in a CSV of path,text")
    if dataset.ignored:
        shown = ", ".join(map(repr, dataset.ignored[:5]))
        raise DatasetError(f"expected no --ignore for texts, found {shown}", fix="leave --ignore out")


def preparation(dataset: Dataset, scan: Scan, recipe: Recipe, published: HubBuilder | None) -> Preparation:
    """Return lines in grey, 32 pixels high, as wide as the widest needs, up to 2,048 pixels."""
    height = recipe.imgsz or _HEIGHT
    if height % 16:
        raise UsageError(
            f"expected a height of lines that is a multiple of 16, found {height}", fix="use --imgsz 32 or 48"
        )
    sizes = scan.sizes_hw
    widest = float((sizes[:, 1] * height / np.maximum(sizes[:, 0], 1)).max()) if len(sizes) else 4.0 * height
    # Lines that are read later may be a little longer.
    width = int(np.clip(np.ceil(1.1 * widest / 32) * 32, 4 * height, _WIDEST * height // _HEIGHT))
    return Preparation((height, min(width, 8192)), fit="line", channels=1, steps=recipe.steps)


def resolve(recipe: Recipe, n_train: int, preparation: Preparation) -> Recipe:
    """Fill in what the recipe leaves open. A mirrored line is no text, and half of two lines is none either.

    Raises:
        UsageError: `flip` is asked for.
    """
    if recipe.flip not in ("auto", "none"):
        raise UsageError(f"expected flip 'none' for texts, found {recipe.flip!r}", fix="leave --flip out")
    epochs = recipe.epochs
    if epochs is None and recipe.budget_s is None:
        epochs = int(np.clip(round(_VIEWS * (max(n_train, 1) / 2000) ** 0.3 / max(n_train, 1)), 4, 200))
    given = replace(
        recipe,
        model="crnn" if recipe.model == "auto" else recipe.model,
        epochs=epochs,
        batch=recipe.batch or int(min(32, max(4, n_train // 8))),
        optimizer=recipe.optimizer or "adamw",
        lr=recipe.lr if recipe.lr is not None or (recipe.optimizer or "adamw") != "adamw" else 3e-3,
        augment="light" if recipe.augment == "auto" else recipe.augment,
        flip="none",
        label_smoothing=0.0,
        preview=recipe.preview or 0.0,
        # Now and then a line throws a recurrent net far off.
        clip_norm=recipe.clip_norm or 2.0,
        ema=recipe.ema if recipe.ema is not None else 0.995,
        loss=recipe.loss or "ctc",
    )
    return resolve_recipe(given, n_train, preparation)


def targets(part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> TextTargets:
    """Return the texts of a part, and how many steps each line has.

    Raises:
        DatasetError: a line has fewer steps than its text needs, one a character and one between two that are the same.
    """
    texts = [s.marked(Text) for s in part.samples]
    steps = np.array([_steps(size, preparation) for size in sizes], np.int64)
    needed = np.array([fewest_steps(t.ids) for t in texts], np.int64)
    short = np.flatnonzero(steps < needed)
    if len(short):
        shown = "; ".join(
            f"{part.samples[i].id!r} has {steps[i]} steps for {needed[i]}: {texts[i].written[:40]!r}"
            for i in short[:_NAMED]
        )
        more = f", and {len(short) - _NAMED} more" if len(short) > _NAMED else ""
        raise DatasetError(
            f"{len(short)} of {len(texts)} lines are too narrow for their texts at {preparation.size_hw[0]} pixels of "
            f"height: {shown}{more}",
            fix="correct or remove them (a line may be upright, or its text another one's), or raise --imgsz",
            code="line_too_narrow",
        )
    return TextTargets([[i + 1 for i in t.ids] for t in texts], steps)


def _steps(size_hw: tuple[int, int], preparation: Preparation) -> int:
    placed = preparation.place(size_hw)
    return round(size_hw[1] * placed.scale_yx[1]) // LINE_STRIDE


def answers(net: PixelNet, *, temperature: float = 1.0) -> ReaderAnswers:
    """Return the net with its probabilities for outputs."""
    return ReaderAnswers(net, temperature)


class ReadLearning:
    """How lines are learnt: by the CTC loss a character. Epochs are chosen by 1 - CER of the greedy search."""

    main_metric = "char_accuracy"

    def __init__(self, recipe: Recipe, names: tuple[str, ...]) -> None:
        self.names = names
        self.augmentation = plan_lines(recipe.augment)
        self.unlearnt = ""

    def objective(self, outputs: Tensor, targets: Tensor) -> Tensor:
        logs = functional.log_softmax(outputs.float(), 2).transpose(0, 1)
        known = targets > 0
        lengths = known.sum(1)
        steps = torch.full((len(targets),), outputs.shape[1], dtype=torch.long)
        # Data that cannot be aligned was refused; zero_infinity is for characters that a model does not know.
        each = functional.ctc_loss(
            logs, targets.clamp(min=0), steps, lengths, blank=BLANK, reduction="none", zero_infinity=True
        )
        return (each / lengths.clamp(min=1).to(each.device)).mean()

    def condense(self, outputs: Tensor, targets: Any) -> NDArray[np.int32]:
        """Keep the greedy text of each line, ids from 1, followed by zeros."""
        best = outputs.argmax(2)
        begins = best != functional.pad(best[:, :-1], (1, 0), value=-1)
        kept: NDArray[np.int32] = torch.where(begins, best, 0).cpu().numpy().astype(np.int32)
        # Blanks go to the end, in place.
        order = np.argsort(kept == 0, axis=1, kind="stable")
        return np.take_along_axis(kept, order, 1)

    def measure(self, kept: NDArray[np.int32], targets: Any) -> Mapping[str, float]:
        found = [self._said(row[row > 0]) for row in kept]
        wanted = targets[np.arange(len(kept))]
        true = [self._said(row[row > 0]) for row in wanted]
        numbers = {k: float(v[0]) for k, v in TextErrors(true, found)(np.ones((1, len(kept)))).items()}
        empty = float(np.mean([not text for text in found])) if found else 0.0
        return {"cer": numbers["cer"], "char_accuracy": numbers["char_accuracy"], "exact": numbers["exact"],
                "empty": empty}  # fmt: skip

    def _said(self, ids: NDArray[Any]) -> str:
        return "".join(self.names[int(i) - 1] for i in ids)

    def conclude(
        self, kept: Any, targets: Any, *, groups: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, dict[str, Any]]:
        """Nothing is calibrated: a line is shown with its probability, whatever that is."""
        cer = self.measure(kept, targets)["cer"] if len(kept) else 0.0
        constant = _constant_cer([row[row > 0] for row in targets[np.arange(len(kept))]])
        if cer >= min(_UNLEARNT, _AS_CONSTANT * constant):
            self.unlearnt = (
                f"the model has not learnt to read: its character error rate is {cer:.0%} on {len(kept):,} validation "
                f"lines, and that of one text for all of them {constant:.0%}"
            )
        about = {"method": "none", "reason": "probabilities of texts are shown as they are", "n": len(kept)}
        return {"calibration": {**about, "groups": len(np.unique(groups))}, "thresholds": {}}


def _constant_cer(texts: Sequence[NDArray[np.integer[Any]]]) -> float:
    """Return the lowest character error rate of one character, repeated, as the text of every line.

    The edit distance of n times c and a text is the longer length less the smaller of n and the text's count of c.

    >>> _constant_cer([np.array([1, 1, 2]), np.array([1, 2, 2])])
    0.5
    """
    lengths = np.array([len(t) for t in texts], np.int64)
    if not lengths.sum():
        return 1.0
    best = 1.0
    for one in np.unique(np.concatenate(list(texts))):
        counts = np.array([int((t == one).sum()) for t in texts])
        for n in range(1, int(np.median(lengths)) + 1):
            errors = np.maximum(lengths, n) - np.minimum(counts, n)
            best = min(best, float(errors.sum() / lengths.sum()))
    return best


def learn(net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> ReadLearning:
    """Return what the loop asks while reading is learnt."""
    return ReadLearning(recipe, dataset.labels.names)


def _of_net(outputs: Any) -> Parts:
    return outputs, None


def _of_raw(raw: Mapping[str, NDArray[np.float32]], order: Tensor, size_hw: tuple[int, int]) -> Tensor:
    columns = torch.cat([torch.zeros(1, dtype=torch.long), order.cpu() + 1])
    return torch.from_numpy(raw["probabilities"])[..., columns].clamp(min=1e-8).log()


def _apart(found: Parts, wanted: Parts, softness: float) -> Tensor:
    """Return the divergence of softened distributions, the mean over the steps that both have."""
    steps = min(found[0].shape[1], wanted[0].shape[1])
    own, theirs = (functional.log_softmax(x[:, :steps] / softness, 2) for x in (found[0], wanted[0]))
    inside = (wanted[0][:, :steps].exp().sum(2) > 0.5).to(own.dtype)
    each = functional.kl_div(own, theirs, reduction="none", log_target=True).sum(2)
    return (each * inside).sum() / inside.sum().clamp(min=1) * softness**2


LEARNER = Learner(
    task="read",
    check=check,
    preparation=preparation,
    resolve=resolve,
    targets=targets,
    learn=learn,
    answers=answers,
    soft=SoftAnswers(_of_net, _of_raw, _apart, looks=0.0),
    students=("crnn_gru",),
)
