"""What an attacker may do to an image: a norm, and how far a changed image may be from the original in it."""

__all__ = ["NORMS", "Norm", "Threat", "check_norm", "distances", "parse_eps", "show_eps"]

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError

Norm = Literal["linf", "l2"]
NORMS: tuple[str, ...] = get_args(Norm)
_SLACK = 1e-6
_MOST_VALUES = 12


@dataclass(frozen=True)
class Threat:
    """A norm and a bound: pixels are in [0, 1], so that `eps` of "linf" is a fraction of the range of a pixel.

    >>> str(Threat("linf", 8 / 255)), str(Threat("l2", 0.5))
    ('linf 8/255', 'l2 0.5')
    """

    norm: Norm
    eps: float

    def __post_init__(self) -> None:
        check_norm(self.norm)
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise UsageError(f"expected eps of 0 or more, found {self.eps:g}", fix="change --eps")
        if self.norm == "linf" and self.eps > 1:
            raise UsageError(
                f"expected eps in [0, 1], a fraction of the pixel range, found {self.eps:g}",
                fix=f"did you mean {self.eps:g}/255?",
            )

    def __str__(self) -> str:
        return f"{self.norm} {show_eps(self.eps)}"

    def on_grid(self) -> "Threat":
        """Return the largest threat within this one whose steps are whole 8-bit values; of "l2" the same."""
        if self.norm != "linf":
            return self
        return Threat("linf", math.floor(self.eps * 255 + 1e-6) / 255)

    def kept_by(self, changed: NDArray[Any], images: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of N changed images are finite, in [0, 1] and within `eps` of their originals, (N,)."""
        flat = changed.reshape(len(changed), -1)
        if not flat.size:
            return np.ones(len(changed), np.bool_)
        # A comparison without slack loses what lies on the boundary, where most of what is found lies.
        inside = np.isfinite(flat).all(1) & (flat.min(1) >= -_SLACK) & (flat.max(1) <= 1 + _SLACK)
        kept: NDArray[np.bool_] = inside & (distances(changed, images, self.norm) <= self.eps + _SLACK)
        return kept

    def unbounded(self, size: int) -> "Threat":
        """Return the threat that allows any image of `size` values."""
        return Threat(self.norm, 1.0 if self.norm == "linf" else math.sqrt(size))


def check_norm(name: str) -> None:
    """Refuse a norm that is not known.

    Raises:
        UsageError: it is not.
    """
    if name not in NORMS:
        raise UsageError(f"unknown norm {name!r}", fix=f"use {' or '.join(NORMS)}")


def distances(changed: NDArray[Any], images: NDArray[Any], norm: str) -> NDArray[np.float64]:
    """Return how far each of N images was changed, float64 (N,)."""
    delta = (changed.astype(np.float64) - images.astype(np.float64)).reshape(len(images), -1)
    if not delta.size:
        return np.zeros(len(images))
    found: NDArray[np.float64] = np.abs(delta).max(1) if norm == "linf" else np.sqrt((delta**2).sum(1))
    return found


def parse_eps(text: str) -> tuple[float, ...]:
    """Read one or several bounds, each a number or a fraction, and return them in ascending order.

    >>> parse_eps("0.3,8/255")
    (0.03137254901960784, 0.3)

    Raises:
        UsageError: a text of another form, a negative number, or more than 12 of them.
    """
    found: set[float] = set()
    for part in text.split(","):
        above, slash, below = part.strip().partition("/")
        try:
            value = float(above) / (float(below) if slash else 1.0)
        except (ValueError, ZeroDivisionError):
            value = math.nan
        if not math.isfinite(value):
            raise UsageError(f"expected eps such as 8/255 or 0.3, found {part.strip()!r}", fix="change --eps")
        if value < 0:
            raise UsageError(f"expected eps of 0 or more, found {part.strip()!r}", fix="change --eps")
        found.add(value)
    if len(found) > _MOST_VALUES:
        raise UsageError(f"expected at most {_MOST_VALUES} values of eps, found {len(found)}", fix="name fewer")
    return tuple(sorted(found))


def show_eps(eps: float) -> str:
    """Show a bound as a person would write it.

    >>> show_eps(8 / 255), show_eps(0.3), show_eps(0.0)
    ('8/255', '0.3', '0')
    """
    whole = eps * 255
    if eps and abs(whole - round(whole)) < 1e-6 and abs(eps * 100 - round(eps * 100)) > 1e-6:
        return f"{round(whole)}/255"
    return f"{eps:.4g}"
