"""The recipe: everything that decides what training does, as one value that can be read, written and compared."""

__all__ = [
    "OPTIMIZERS",
    "SMOOTHED",
    "STEPS",
    "STEP_HELP",
    "TRAINING_STEPS",
    "Recipe",
    "changed_options",
    "loss_names",
    "read_recipe",
    "unknown_loss",
    "write_recipe",
]

import dataclasses
import json
import math
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.files import write_text
from eyewright.core.installed import installed
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.core.task import task_names, task_of
from eyewright.training.federated_options import parse_federated
from eyewright.training.private_options import parse_private

OptimizerName = Literal["muon", "adamw", "adam", "sgd", "momentum", "rmsprop", "gd"]
Schedule = Literal["one_cycle", "cosine", "constant"]
Augment = Literal["auto", "none", "light", "strong"]
Flip = Literal["auto", "none", "horizontal", "both"]
Amp = Literal["auto", "on", "off"]
Baselines = Literal["auto", "none"]
StepName = Literal["plain", "adversarial", "trades", "fast", "augmix", "noise"]
NormName = Literal["linf", "l2"]

_LARGEST = 2**22
_MOST = {"imgsz": 16_384, "frames": 256, "span": 3600, "seed": 2**32 - 1}

SMOOTHED = ("cross_entropy", "binary_cross_entropy")
"""The losses whose truth can be softened (`label_smoothing`)."""

OPTIMIZERS = get_args(OptimizerName)

STEP_HELP: Mapping[str, str] = {
    "plain": "the usual update: forward, loss, backward, clip, step",
    "adversarial": "images perturbed by several gradient steps (PGD)",
    "trades": "clean labels, and consistent predictions under attack (TRADES)",
    "fast": "images perturbed by one gradient step from a random start (fast adversarial training)",
    "augmix": "consistent predictions for mixed augmentations (AugMix)",
    "noise": "images with Gaussian noise, for certified smoothing",
}
"""The training steps that are built in, and what a batch is trained on with each."""

STEPS: tuple[str, ...] = get_args(StepName)

TRAINING_STEPS = "eyewright.training_steps"
"""The group of entry points by which another package adds one."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. `None` means: chosen from the data, and written down once chosen.

    `lr` is the peak learning rate, `warmup` the fraction of the run that leads up to it. `preview` is the length in
    epochs of a first, short cycle that climbs and falls like the whole run, so that after seconds it is known what the
    data gives; 0 leaves it out. `l1` and `weight_decay` are penalties; `ema` is the decay of the weight average that is
    validated and exported (0 turns it off); `patience` ends training after that many epochs without a better
    validation score.

    `batch` images pass through the net at once, and `accumulate` such batches make one update; the optimiser "gd" is
    gradient descent proper, one update from all training images. `mixup` and `cutmix` are the alpha of their beta
    distribution (Zhang et al. 2018, Yun et al. 2019), 0 is off. `amp` computes in bfloat16 where that pays: "auto" does
    so on a GPU that has it, and on a CPU for convolutional nets where a short probe shows a gain. `freeze` is the
    fraction of the run in which a pretrained net's head alone is trained; `layer_decay` multiplies the learning rate of
    every layer by that much for each layer above it.

    `huber_delta` is the error at which the Huber loss turns from squares to distances: a difference of probabilities,
    or of amounts in standard deviations of the training values.

    `loss` is one of `Task.losses`: the task decides which there are.

    `step` is what is learnt from a batch: "adversarial" trains on images that `attack_steps` gradient steps have
    changed by at most `eps` in `norm` (pixels from 0 to 1), "fast" on those of one step, "trades" weighs clean labels
    and equal answers under attack by `beta`, "noise" adds Gaussian noise of `sigma`, "augmix" asks for equal answers
    to mixed augmentations; another name is that of an installed package's step, or `package.module:function`.

    `packages` are the other packages that its task, net and steps are of, with their versions ("eyewright-grades 1.0");
    training writes it.

    `private` keeps training images private (`training.private_options`), such as "epsilon=3 delta=1e-5".

    `federated` divides training among clients (`training.federated_options`); `federate` writes it.

    `frames` is how many frames of a clip a net sees, and `span` over how many seconds around the middle of the clip;
    without it over all of the clip.

    `baseline` "auto" also trains the simpler net that a model is compared with, where its learner has one
    (`Learner.baseline`), in a fifth of the budget or a quarter of the epochs.

    `steps` are applied to every image first, here and wherever the model is used, such as "denoise | clahe".

    `edits` is a file of corrected labels and of images to leave out, which is applied to the data (`data.edits`).

    `degrade` is what a net learns to undo (`imaging.degrade`), such as "noise:5-50"; only tasks that answer with images
    read it. `masks` are a folder of masks, which half of the holes to learn from are cut from; without it all are
    drawn.
    """

    task: str = "auto"
    model: str = "auto"
    imgsz: int | None = None
    frames: int | None = None
    span: float | None = None
    steps: str = ""
    edits: str = ""
    degrade: str = ""
    masks: str = ""
    epochs: int | None = None
    budget_s: float | None = None
    batch: int | None = None
    accumulate: int = 1
    optimizer: OptimizerName | None = None
    lr: float | None = None
    schedule: Schedule = "one_cycle"
    warmup: float = 0.2
    preview: float | None = None
    weight_decay: float = 0.01
    l1: float = 0.0
    clip_norm: float = 0.0
    loss: str | None = None
    huber_delta: float = 1.0
    label_smoothing: float | None = None
    class_weights: bool = False
    dropout: float = 0.0
    activation: str | None = None
    augment: Augment = "auto"
    flip: Flip = "auto"
    mixup: float = 0.0
    cutmix: float = 0.0
    step: StepName | str = "plain"
    eps: float | None = None
    norm: NormName = "linf"
    attack_steps: int | None = None
    beta: float | None = None
    sigma: float | None = None
    private: str = ""
    federated: str = ""
    freeze: float | None = None
    layer_decay: float | None = None
    ema: float | None = None
    patience: int | None = None
    baseline: Baselines = "auto"
    device: str = "auto"
    amp: Amp = "auto"
    seed: int = 0
    packages: str | None = None

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), hints[field.name])
        at_least = {
            "imgsz": 4,
            "frames": 2,
            "span": 0.05,
            "epochs": 1,
            "batch": 1,
            "accumulate": 1,
            "patience": 1,
            "seed": 0,
            "attack_steps": 1,
        }
        for name, least in at_least.items():
            value, most = getattr(self, name), _MOST.get(name, 1_000_000)
            if value is not None and value < least:
                raise UsageError(f"expected {name} of {least} or more, found {value}", fix=f"change {name}")
            if value is not None and value > most:
                raise UsageError(f"expected {name} of at most {most:,}, found {value:.6g}", fix=f"change {name}")
        for name in ("warmup", "label_smoothing", "dropout", "ema", "freeze", "preview"):
            if not 0 <= (getattr(self, name) or 0) < 1:
                raise UsageError(f"expected {name} in [0, 1), found {getattr(self, name)}", fix=f"change {name}")
        for name in ("lr", "weight_decay", "l1", "clip_norm", "mixup", "cutmix", "eps", "beta", "sigma"):
            value = getattr(self, name)
            if value is not None and not (0 <= value < math.inf):
                raise UsageError(f"expected {name} of 0 or more, found {value}", fix=f"change {name}")
        if not 0 < self.huber_delta < math.inf:
            raise UsageError(f"expected huber_delta above 0, found {self.huber_delta}", fix="change huber_delta")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise UsageError(f"expected layer_decay in (0, 1], found {self.layer_decay}", fix="change layer_decay")
        self._check_contradictions()

    def _check_contradictions(self) -> None:
        """Refuse options that cannot both be meant; which of them is, only the user knows."""
        own = ":" in self.model
        if self.private:
            parse_private(self.private)
        if self.federated:
            parse_federated(self.federated)
        attacked = self.step in ("adversarial", "trades", "fast")
        if self.loss is not None:
            _check_loss(self.loss, self.task)
        # A recipe that names its packages is read where they are not installed: a bundle that it lies in needs none.
        if self.step not in STEPS and ":" not in self.step and not self.packages and self.step not in _added_steps():
            raise UsageError(f"unknown step {self.step!r}", fix=spelling_hint(self.step, [*STEPS, *_added_steps()]))
        if self.task != "auto":
            task = task_of(self.task)
            if self.mixup or self.cutmix:
                task.require("mixing")
            if self.frames is not None or self.span is not None:
                task.require("frames")
        for wrong, found, fix in (
            (self.epochs is not None and self.budget_s is not None, "epochs or a budget, found both", "leave one out"),
            (
                bool(self.label_smoothing) and self.loss not in (None, *SMOOTHED),
                f"the loss {' or '.join(SMOOTHED)} with label_smoothing, found {self.loss!r}",
                "set label_smoothing to 0 or change loss",
            ),
            (
                self.huber_delta != 1.0 and not self._may_be_huber,
                f"the huber loss with huber_delta, found {self.loss or 'another'!r}",
                "set loss to huber, or leave huber_delta out",
            ),
            (
                self.optimizer == "gd" and self.accumulate > 1,
                "no accumulate with the optimizer 'gd', which accumulates all images",
                "leave accumulate out",
            ),
            (
                self.optimizer == "muon" and self.layer_decay not in (None, 1.0),
                "another optimizer with layer_decay, found 'muon', whose steps do not follow the gradient's size",
                "use --optimizer adamw, or leave layer_decay out",
            ),
            (
                (self.eps is not None or self.norm != "linf") and not attacked,
                f"step adversarial, trades or fast with eps and norm, found {self.step!r}",
                "set step, or leave eps and norm out",
            ),
            (
                self.attack_steps is not None and self.step not in ("adversarial", "trades"),
                f"step adversarial or trades with attack_steps, found {self.step!r}",
                "set step, or leave attack_steps out",
            ),
            (
                self.beta is not None and self.step != "trades",
                f"step trades with beta, found {self.step!r}",
                "set step to trades, or leave beta out",
            ),
            (
                self.sigma is not None and self.step != "noise",
                f"step noise with sigma, found {self.step!r}",
                "set step to noise, or leave sigma out",
            ),
            (
                attacked and self.norm == "linf" and (self.eps or 0) > 1,
                f"eps in [0, 1], a fraction of the pixel range, found {self.eps:g}" if self.eps else "",
                f"did you mean {self.eps:g}/255?" if self.eps else "",
            ),
            (
                bool(self.freeze) and not own,
                f"a pretrained model with freeze, found {self.model!r}, whose weights are new",
                "use an hf: model, or leave freeze out",
            ),
            (
                bool(self.preview) and self.budget_s is not None,
                "no preview with a budget, which the whole run is fitted into",
                "leave preview out",
            ),
            (
                bool(self.private) and (self.step != "plain" or bool(self.accumulate > 1 or self.mixup or self.cutmix)),
                "no step, accumulate, mixup or cutmix with --private, whose gradients are of single images",
                "leave it out",
            ),
            (
                bool(self.private) and (self.class_weights or self.patience is not None or self.budget_s is not None),
                "no class_weights, patience or budget with --private: they follow the training images",
                "set epochs, and leave it out",
            ),
            (
                bool(self.private) and bool(self.l1 or self.clip_norm or self.freeze or self.amp == "on"),
                "no l1, clip_norm, freeze or amp with --private, which has its own clipping in float32",
                "leave it out",
            ),
            (
                bool(self.federated)
                and bool(self.accumulate > 1 or self.mixup or self.cutmix or self.private or self.budget_s is not None),
                "no accumulate, mixup, cutmix, private or budget in a federated recipe",
                "leave it out",
            ),
            (
                bool(self.federated) and self.class_weights,
                "no class_weights in a federated recipe: nobody knows how often a class occurs in all images",
                "leave it out",
            ),
            (
                self.model.startswith("hf:") and self.activation is not None,
                f"no activation with {self.model!r}, whose layers are given",
                "leave activation out",
            ),
        ):
            if wrong:
                raise UsageError(f"expected {found}", fix=fix)

    @property
    def _may_be_huber(self) -> bool:
        if self.loss is None and self.task != "auto":
            return task_of(self.task).losses[0] == "huber"
        return self.loss in (None, "huber")

    @property
    def model_name(self) -> str:
        """The model without where it lies on this machine, for what is shown and handed on.

        >>> Recipe(model="hf:/home/me/nets/vit-small").model_name, Recipe(model="hf:owner/net").model_name
        ('hf:vit-small', 'hf:owner/net')
        """
        kind, colon, place = self.model.partition(":")
        is_folder = kind == "hf" and (place.count("/") != 1 or place.startswith((".", "/", "~")))
        return f"hf:{Path(place).name}" if colon and is_folder else self.model

    @property
    def chosen_by(self) -> str:
        """What the name of the metric begins with that epochs are chosen by: "robust_" where they are validated under
        attack, "noisy_" under noise.

        >>> Recipe(step="trades").chosen_by, Recipe().chosen_by
        ('robust_', '')
        """
        return {"adversarial": "robust_", "trades": "robust_", "fast": "robust_", "noise": "noisy_"}.get(self.step, "")

    def without_places(self) -> "Recipe":
        """Return the recipe with `model_name` for its model, and the names of its file of edits and folder of masks."""
        edits, masks = Path(self.edits).name, Path(self.masks).name
        return dataclasses.replace(self, model=self.model_name, edits=edits, masks=masks)

    def defaults(self) -> list[str]:
        """Return the names of the fields that have their default value.

        >>> "lr" in Recipe(lr=0.1).defaults(), "seed" in Recipe(lr=0.1).defaults()
        (False, True)
        """
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) == f.default]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> "Recipe":
        """Read fields by name; unknown ones fail, and the nearest spelling is suggested.

        >>> Recipe.from_mapping({"optimiser": "adam"})
        Traceback (most recent call last):
        eyewright.core.errors.UsageError: unknown recipe option 'optimiser'; did you mean 'optimizer'?

        Raises:
            UsageError: an unknown option, or a value of the wrong type or range.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for name in data:
            if name not in known:
                raise UsageError(f"unknown recipe option {name!r}", fix=spelling_hint(name, known))
        return cls(**data)


def loss_names() -> tuple[str, ...]:
    """Return the names of the losses of all tasks, those of installed packages too.

    >>> "cross_entropy" in loss_names()
    True
    """
    return tuple(dict.fromkeys(loss for name in task_names() for loss in task_of(name).losses))


def _added_steps() -> Mapping[str, Any]:
    return installed(TRAINING_STEPS)


def unknown_loss(name: str) -> UsageError:
    """Return the refusal of a loss that an objective does not compute."""
    return UsageError(f"unknown loss {name!r}: the task lists it, but its learner has no such objective")


def _check_loss(loss: str, task: str) -> None:
    if task == "auto":
        known = loss_names()
    elif loss in (known := task_of(task).losses):
        return
    elif loss in loss_names():
        noun = task_of(task).words.noun
        raise UsageError(f"expected a loss of {noun} ({', '.join(known)}), found {loss!r}", fix="change loss")
    if loss not in known:
        raise UsageError(f"unknown loss {loss!r}", fix=spelling_hint(loss, known))


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from TOML.

    Raises:
        UsageError: missing, not TOML, or an option that is unknown or out of range.
    """
    if not path.exists():
        raise UsageError(f"cannot read the recipe {quoted(path)}: there is no such file", fix="check the path")
    content = read_regular(path, most=_LARGEST, error=UsageError, follow=True)
    try:
        data = tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the recipe {quoted(path)} is not TOML: {error}", fix="fix the line") from error
    return Recipe.from_mapping(data)


def changed_options(before: Recipe, now: Recipe) -> list[str]:
    """Say which options differ between two recipes.

    >>> changed_options(Recipe(epochs=3), Recipe(epochs=5))
    ['epochs 3, now 5']
    """
    old, new = before.to_json(), now.to_json()
    return [f"{name} {old[name]}, now {new[name]}" for name in new if old[name] != new[name]]


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe as TOML; options that are None are left out, as TOML has no null."""
    lines = ["# The resolved recipe of this run; train with it again by --recipe."]
    for name, value in recipe.to_json().items():
        if value is not None:
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    write_text(path, "\n".join(lines) + "\n")


def _check_type(name: str, value: Any, hint: Any) -> None:
    options = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)
    for option in options:
        choices = get_args(option)
        if choices and value in choices:
            return
        if option is type(None) and value is None:
            return
        if isinstance(option, type) and isinstance(value, option) and not (option is int and isinstance(value, bool)):
            return
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return
    choices = next((get_args(o) for o in options if get_args(o)), ())
    if choices:
        raise UsageError(f"unknown {name} {value!r}", fix=spelling_hint(str(value), choices))
    wanted = " or ".join(o.__name__ for o in options if o is not type(None))
    raise UsageError(f"expected {name} as {wanted}, found {value!r}", fix=f"change {name}")
