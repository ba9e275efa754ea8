"""The recipe: everything that decides what training does, as one value that can be read, written and compared."""

__all__ = ["LOSSES", "OPTIMIZERS", "Recipe", "read_recipe", "write_recipe"]

import dataclasses
import json
import math
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.files import write_text

Loss = Literal["cross_entropy", "binary_cross_entropy", "mse", "huber", "focal"]
OptimizerName = Literal["muon", "adamw", "adam", "sgd", "momentum", "rmsprop"]
Schedule = Literal["one_cycle", "cosine", "constant"]
Augment = Literal["auto", "none", "light", "strong"]
Flip = Literal["auto", "none", "horizontal"]

LOSSES = get_args(Loss)
OPTIMIZERS = get_args(OptimizerName)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. `None` means: chosen from the data, and written down once chosen.

    `lr` is the peak learning rate, `warmup` the share of the run that leads up to it. `l1` and `weight_decay` are
    penalties; `ema` is the decay of the weight average that is validated and exported (0 turns it off); `patience`
    ends training after that many epochs without a better validation score.
    """

    task: str = "classify"
    model: str = "auto"
    imgsz: int | None = None
    epochs: int | None = None
    budget_s: float | None = None
    batch: int | None = None
    optimizer: OptimizerName = "muon"
    lr: float | None = None
    schedule: Schedule = "one_cycle"
    warmup: float = 0.2
    weight_decay: float = 0.01
    l1: float = 0.0
    clip_norm: float = 0.0
    loss: Loss = "cross_entropy"
    label_smoothing: float | None = None
    class_weights: bool = False
    dropout: float = 0.0
    activation: str | None = None
    augment: Augment = "auto"
    flip: Flip = "auto"
    ema: float = 0.99
    patience: int | None = None
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), hints[field.name])
        at_least = {"imgsz": 4, "epochs": 1, "batch": 1, "patience": 1, "seed": 0}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"expected {name} of {least} or more, found {value}", fix=f"change {name}")
        for name in ("warmup", "label_smoothing", "dropout", "ema"):
            if not 0 <= (getattr(self, name) or 0) < 1:
                raise UsageError(f"expected {name} in [0, 1), found {getattr(self, name)}", fix=f"change {name}")
        for name in ("lr", "weight_decay", "l1", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not (0 <= value < math.inf):
                raise UsageError(f"expected {name} of 0 or more, found {value}", fix=f"change {name}")
        if self.label_smoothing and self.loss != "cross_entropy":
            raise UsageError(
                f"label_smoothing is for the cross_entropy loss, found {self.loss!r}", fix="set it to 0 or change loss"
            )
        if self.epochs is not None and self.budget_s is not None:
            raise UsageError("expected epochs or a budget, found both", fix="leave one out")

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON types."""
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


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from TOML.

    Raises:
        UsageError: missing, not TOML, or an option that is unknown or out of range.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the recipe {str(path)!r}: {error.strerror}", fix="check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the recipe {str(path)!r} is not TOML: {error}", fix="mend the line") from error
    return Recipe.from_mapping(data)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe as TOML; options that are None are left out, as TOML has no null."""
    lines = ["# The resolved recipe of this run; train with it again by --recipe."]
    for name, value in recipe.to_json().items():
        if value is not None:
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    write_text(path, "\n".join(lines) + "\n")


def _check_type(name: str, value: Any, hint: Any) -> None:
    options = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
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
