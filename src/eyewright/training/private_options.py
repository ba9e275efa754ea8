"""What `--private` asks for, read from words such as "epsilon=3 delta=1e-5 clip=1"."""

__all__ = ["PrivateOptions", "parse_private"]

import math
from dataclasses import dataclass, fields

from eyewright.core.errors import UsageError, spelling_hint

_AUTO = "auto"


@dataclass(frozen=True)
class PrivateOptions:
    """How training images are kept private; None: chosen beforehand from the net and the number of images.

    Args:
        epsilon: the most that all updates together may cost.
        delta: at which epsilon holds; below 1 / n.
        clip: the length that an image's gradient is cut to.
        noise: the noise multiplier; without it the smallest that keeps to epsilon.
        physical_batch: how many images pass through the net at once; no result depends on it.
        validation: "private": validation images choose nothing, and the last weights are taken; "public": they need not
            be protected, and choose the best epoch, the temperature and the thresholds.
        unit: what epsilon holds for: one "image", or one "group" of images, such as all images of a person.
        noise_from: the operating "system", or the "seed", which anybody can repeat: for experiments.
    """

    epsilon: float
    delta: float | None = None
    clip: float | None = None
    noise: float | None = None
    physical_batch: int | None = None
    validation: str = "private"
    noise_from: str = "system"
    unit: str = "image"

    def __str__(self) -> str:
        """Return the words that are read as this again."""
        shown = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.unit == "image":
            # Recipes of earlier versions do not name it.
            del shown["unit"]
        words = ((k, f"{v:.12g}" if isinstance(v, float) else v) for k, v in shown.items() if v is not None)
        return " ".join(f"{k.replace('_', '-')}={v}" for k, v in words)


def parse_private(text: str) -> PrivateOptions:
    """Read `--private`.

    >>> parse_private("epsilon=3 clip=auto delta=1e-5")
    PrivateOptions(epsilon=3.0, delta=1e-05, clip=None, noise=None, physical_batch=None, validation='private', \
noise_from='system', unit='image')

    Raises:
        UsageError: an unknown word, no epsilon, or a value that is out of range.
    """
    found: dict[str, float | int | str] = {}
    known = [f.name.replace("_", "-") for f in fields(PrivateOptions)]
    for word in text.split():
        name, equals, value = word.partition("=")
        if name not in known:
            raise UsageError(f"unknown word {word!r} in --private", fix=spelling_hint(name, known))
        if not equals or not value:
            raise UsageError(f"expected a value for {name!r} in --private, found none", fix=f"write {name}=VALUE")
        if name.replace("-", "_") in found:
            raise UsageError(f"expected {name!r} once in --private, found it twice", fix="leave one out")
        if value == _AUTO:
            continue
        found[name.replace("-", "_")] = _value(name, value)
    if "epsilon" not in found:
        raise UsageError("expected epsilon in --private, found none", fix="write --private epsilon=3")
    return PrivateOptions(**found)  # type: ignore[arg-type]


def _value(name: str, text: str) -> float | int | str:
    choices = {
        "validation": ("private", "public"),
        "noise-from": ("system", "seed"),
        "unit": ("image", "group"),
    }.get(name)
    if choices is not None:
        if text not in choices:
            raise UsageError(f"expected {name} of {' or '.join(choices)} in --private, found {text!r}", fix="change it")
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    most = 1.0 if name == "delta" else math.inf
    whole = name == "physical-batch"
    if not 0 < value < most or (whole and value != int(value)):
        wanted = "a whole number above 0" if whole else "a number in (0, 1)" if name == "delta" else "a number above 0"
        raise UsageError(f"expected {name} as {wanted} in --private, found {text!r}", fix=f"change {name}")
    return int(value) if whole else value
