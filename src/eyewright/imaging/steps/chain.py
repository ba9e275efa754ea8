"""A chain of steps: read from one line of text or from JSON, checked before the first pixel is touched."""

__all__ = ["Step", "Steps", "parse_steps", "process"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.rng import generator
from eyewright.imaging.given import read_image
from eyewright.imaging.steps.arrays import Pixels
from eyewright.imaging.steps.catalogue import step_kind
from eyewright.imaging.steps.kinds import Kind, Value


@dataclass(frozen=True)
class Step:
    """One step with every parameter that was given, checked; the others have their defaults."""

    name: str
    values: Mapping[str, Value] = field(default_factory=dict)
    _whole: Mapping[str, Any] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        kind = _kind(self.name)
        checked: dict[str, Value] = {}
        for name, given in self.values.items():
            parameter = kind.parameter(name)
            if parameter is None:
                known = [p.name for p in kind.parameters]
                raise UsageError(
                    f"step {self.name!r} has no parameter {name!r}",
                    fix=spelling_hint(name, known) if known else "it has none",
                    code="step_parameter",
                )
            checked[name] = parameter.read(given, self.name)
        method = self._method(kind, checked)
        for parameter in kind.parameters:
            belongs = not parameter.only or method in parameter.only
            if parameter.name in checked and not belongs:
                whose = ", ".join(parameter.only)
                raise UsageError(
                    f"{self.name}: {parameter.name!r} belongs to {whose}, not to {method!r}",
                    fix="leave it out",
                    code="step_parameter",
                )
            if belongs and parameter.default is None and parameter.name not in checked:
                raise UsageError(
                    f"step {self.name!r} needs {parameter.name!r}, {parameter.range_text}",
                    fix=f"as in {kind.example!r}",
                    code="step_parameter",
                )
        object.__setattr__(self, "values", MappingProxyType(checked))
        # A default may be written as a person would write it, rows of numbers as text. Read once, not at every image.
        whole = {
            p.name: p.read(p.default, self.name) if p.kind == "numbers" and p.default is not None else p.default
            for p in kind.parameters
            if not p.only or method in p.only
        }
        object.__setattr__(self, "_whole", MappingProxyType({**whole, **checked}))

    def __str__(self) -> str:
        kind = _kind(self.name)
        parts = []
        for k, (name, value) in enumerate(self.values.items()):
            bare = k == 0 and kind.parameters[0].name == name
            parts.append(_written(value) if bare else f"{name}={_written(value)}")
        return self.name + (":" + ",".join(parts) if parts else "")

    def __call__(self, image: Pixels, *, rng: np.random.Generator | None = None) -> Pixels:
        """Apply it to uint8 or uint16, (H, W) or (H, W, 3).

        Raises:
            UsageError: a depth or colour that the step does not take.
        """
        kind = _kind(self.name)
        _check_image(image, self.name, kind)
        if kind.random:
            drawn = rng if rng is not None else generator(0, "step", self.name)
            return kind.call(image, rng=drawn, **self._whole)
        return kind.call(image, **self._whole)

    @staticmethod
    def _method(kind: Kind, values: Mapping[str, Value]) -> Value | None:
        return values.get(kind.parameters[0].name, kind.parameters[0].default) if kind.parameters else None


@dataclass(frozen=True)
class Steps:
    """Steps in order; text and JSON give the same chain back.

    >>> steps = parse_steps("median:3 | gamma:1.5")
    >>> str(steps)
    'median:3 | gamma:1.5'
    >>> Steps.from_json(steps.to_json()) == steps
    True
    """

    steps: tuple[Step, ...] = ()

    def __call__(self, image: Pixels, *, seed: int = 0) -> Pixels:
        """Apply all of them, uint8 or uint16, (H, W) or (H, W, 3); `seed` fixes random steps.

        Raises:
            UsageError: an image that a step cannot take; the step is named.
        """
        for index, step in enumerate(self.steps):
            # Making a generator takes longer than the quick steps do.
            random = _kind(step.name).random
            image = step(image, rng=generator(seed, "step", str(index)) if random else None)
        return image

    def __str__(self) -> str:
        return " | ".join(str(step) for step in self.steps)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the chain as plain JSON types."""
        return [
            {"step": s.name, **{k: [list(r) for r in v] if isinstance(v, tuple) else v for k, v in s.values.items()}}
            for s in self.steps
        ]

    @classmethod
    def from_json(cls, rows: Sequence[Mapping[str, Any]]) -> "Steps":
        """Read `to_json`'s form.

        Raises:
            UsageError: an unknown step or parameter.
        """
        found = []
        for row in rows:
            if not isinstance(row, Mapping) or not isinstance(row.get("step"), str):
                raise UsageError(f"expected steps as objects with a name in 'step', found {row!r}", code="step")
            found.append(Step(row["step"], {k: v for k, v in row.items() if k != "step"}))
        return cls(tuple(found))


def parse_steps(text: str | Sequence[Mapping[str, Any]]) -> Steps:
    """Read steps from text, `name:value,parameter=value | name`, or from JSON.

    The first values may be given bare, in the order in which `eyewright steps` lists the parameters.

    >>> str(parse_steps("denoise:nlm,strength=5|clahe:clip=2|resize:640"))
    'denoise:nlm,strength=5 | clahe:2 | resize:640'

    Raises:
        UsageError: an unknown step or parameter (the nearest spelling is said), a value outside its range, no step.
    """
    if not isinstance(text, str):
        return Steps.from_json(text)
    found = []
    for part in text.split("|"):
        name, _, rest = part.strip().partition(":")
        if not name:
            raise UsageError("expected a step between '|', found nothing", fix="see eyewright steps", code="step")
        kind = _kind(name.strip())
        values: dict[str, Value] = {}
        bare = True
        for position, item in enumerate(p.strip() for p in rest.split(",") if rest.strip()):
            key, equals, value = item.partition("=")
            if equals:
                bare = False
            elif not bare or position >= len(kind.parameters):
                raise UsageError(
                    f"{name}: expected parameter=value, found {item!r}", fix=f"as in {kind.example!r}", code="step"
                )
            else:
                key, value = kind.parameters[position].name, item
            if key.strip() in values:
                raise UsageError(f"{name}: {key.strip()!r} is given twice", fix="leave one out", code="step")
            values[key.strip()] = value.strip()
        found.append(Step(name.strip(), values))
    return Steps(tuple(found))


def process(image: Any, steps: str | Steps | Sequence[Mapping[str, Any]], *, seed: int = 0) -> Pixels:
    """Apply steps to one image, uint8 or uint16, (H, W) grey or (H, W, 3) RGB; or what `eyewright.read_image` reads.

    >>> process(np.full((4, 6, 3), 64, np.uint8), "invert | resize:3x2").tolist()[0][0]
    [191, 191, 191]

    Raises:
        UsageError: as `parse_steps`, or an image that a step cannot take.
    """
    chain = steps if isinstance(steps, Steps) else parse_steps(steps)
    return chain(image if isinstance(image, np.ndarray) else read_image(image), seed=seed)


def _kind(name: str) -> Kind:
    return step_kind(name)


def _check_image(image: Pixels, name: str, kind: Kind) -> None:
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise UsageError(f"{name}: expected an image (H, W) or (H, W, 3), found {image.shape}", code="step_image")
    if str(image.dtype) not in kind.depths:
        depths = " or ".join(kind.depths)
        fix = "put the step 'depth:8' before it" if image.dtype == np.uint16 else "read it with eyewright.read_image"
        raise UsageError(f"step {name!r} takes {depths}, found {image.dtype}", fix=fix, code="step_image")
    colour = "grey" if image.ndim == 2 else "rgb"
    if colour not in kind.colours:
        fix = "put the step 'grey' before it" if colour == "rgb" else "put the step 'rgb' before it"
        raise UsageError(f"step {name!r} takes {' or '.join(kind.colours)}, found {colour}", fix=fix, code="step_image")


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "/".join(" ".join(f"{v:g}" for v in row) for row in value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)
