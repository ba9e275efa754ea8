"""Named degradations of good images: one list that training and evaluation share, so that both mean the same."""

__all__ = ["DEGRADATIONS", "HOLES", "SELF", "Degradation", "Degraded", "parse_degradation"]

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.extras import import_extra
from eyewright.imaging.decode import read_picture
from eyewright.imaging.first_filling import fill_smoothly
from eyewright.imaging.holes import HoleSource, draw_hole

SELF = "self"
"""The degradation of images that are noisy already and have no clean counterpart."""

PAIRS = "pairs"
"""The degradation of images that come with their clean counterparts: whatever it is, the pairs show it."""

HOLES = "holes"
"""The degradation that takes pixels away: a net for it is also given the hole."""

_Make = Callable[[NDArray[np.uint8], float, np.random.Generator], NDArray[np.uint8]]


class _Kind(NamedTuple):
    make: _Make
    low: float
    high: float
    about: str


class Degraded(NamedTuple):
    """A degraded image, uint8 (h, w) or (h, w, 3), and the standard deviation of the noise in it, in levels; of an
    image with holes, which are filled smoothly, the hole, bool (h, w)."""

    image: NDArray[np.uint8]
    sigma: float
    hole: NDArray[np.bool_] | None = None


def _noise(image: NDArray[np.uint8], sigma: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def _blur(image: NDArray[np.uint8], sigma: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    cv2 = import_extra("cv2", extra="pixels", what="blurring images")
    blurred: NDArray[np.uint8] = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return blurred


def _jpeg(image: NDArray[np.uint8], quality: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    picture.save(buffer, format="JPEG", quality=round(quality))
    return np.asarray(read_picture(buffer.getvalue()).convert(picture.mode))


def _down(image: NDArray[np.uint8], factor: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    scale = round(factor)
    height, width = (side // scale * scale for side in image.shape[:2])
    picture = Image.fromarray(np.ascontiguousarray(image[:height, :width]))
    return np.asarray(picture.resize((width // scale, height // scale), Image.Resampling.BICUBIC))


def _holes(image: NDArray[np.uint8], percent: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    return _filled(image, draw_hole(image.shape[:2], percent / 100, rng=rng))


def _filled(image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    planes = image if image.ndim == 3 else image[..., None]
    return fill_smoothly(planes, hole).reshape(image.shape)


DEGRADATIONS: Mapping[str, _Kind] = MappingProxyType(
    {
        "noise": _Kind(_noise, 0.5, 60, "white Gaussian noise of this standard deviation, in levels of 0-255"),
        "blur": _Kind(_blur, 0.2, 5, "Gaussian blur of this standard deviation, in pixels"),
        "jpeg": _Kind(_jpeg, 1, 95, "JPEG at this quality"),
        "down": _Kind(_down, 2, 2, "half the size, by Pillow's bicubic filter with antialiasing"),
        HOLES: _Kind(_holes, 1, 50, "strokes, boxes and letters over so many per cent of the image"),
    }
)
"""The degradations by name: how each is made, its least and largest value, what the value means."""

_RANGE = re.compile(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class Degradation:
    """Degradations in order, each with the range that its value is drawn from.

    >>> chain = parse_degradation("blur:1 | noise:5-50")
    >>> str(chain), chain.scale, chain.noisy
    ('blur:1 | noise:5-50', 1, True)
    """

    parts: tuple[tuple[str, float, float], ...]
    word: str = ""

    def __str__(self) -> str:
        if self.word:
            return self.word
        return " | ".join(f"{name}:{low:g}" + (f"-{high:g}" if high > low else "") for name, low, high in self.parts)

    @property
    def made(self) -> bool:
        """Whether good images are degraded; not where the data itself holds degraded images."""
        return not self.word

    @property
    def scale(self) -> int:
        """How many times smaller a side becomes."""
        return 2 if any(name == "down" for name, _, _ in self.parts) else 1

    @property
    def holes(self) -> bool:
        """Whether pixels are missing, so that a net is also given the hole."""
        return any(name == HOLES for name, _, _ in self.parts)

    @property
    def noisy(self) -> bool:
        """Whether the level of the noise tells a net something."""
        return bool(self.word) or any(name == "noise" for name, _, _ in self.parts)

    def __call__(
        self,
        image: NDArray[np.uint8],
        *,
        rng: np.random.Generator,
        at: float | None = None,
        source: HoleSource | None = None,
    ) -> Degraded:
        """Degrade an image, uint8 (H, W) or (H, W, 3). Values are drawn evenly from their ranges, or with `at`, in
        [0, 1], taken there in every range. What a `down` leaves over at the right and bottom is cut off. Holes come
        from `source`, by default all are drawn.
        """
        if self.holes:
            ((_, low, high),) = self.parts
            percent = low + (high - low) * (float(rng.random()) if at is None else at)
            hole = (source or HoleSource()).hole(image.shape[:2], percent / 100, rng=rng)
            return Degraded(_filled(image, hole), 0.0, hole)
        sigma = 0.0
        for name, low, high in self.parts:
            value = low + (high - low) * (float(rng.random()) if at is None else at)
            image = DEGRADATIONS[name].make(image, value, rng)
            sigma = float(np.hypot(sigma, value)) if name == "noise" else sigma
        return Degraded(np.ascontiguousarray(image), sigma)


def parse_degradation(text: str) -> Degradation:
    """Read a degradation: "noise:5-50", "jpeg:20-60", "blur:0.5-2", "down:2", several with "|" between; "holes:10-30"
    alone; "self" where the images are noisy already, "pairs" where the data holds both.

    Raises:
        UsageError: an unknown name, a value out of its range, two changes of size, or holes with anything else.
    """
    if text.strip() in (SELF, PAIRS):
        return Degradation((), text.strip())
    parts = []
    for item in text.split("|"):
        name, _, values = (p.strip() for p in item.partition(":"))
        kind = DEGRADATIONS.get(name)
        if kind is None:
            fix = spelling_hint(name, [*DEGRADATIONS, SELF])
            raise UsageError(f"unknown degradation {name!r}", fix=fix, code="degradation")
        match = _RANGE.fullmatch(values)
        low = float(match[1]) if match else -1.0
        high = float(match[2] or low) if match else -1.0
        if not kind.low <= low <= high <= kind.high:
            shown = f"{kind.low:g}" if kind.low == kind.high else f"{kind.low:g} to {kind.high:g}, or a range of it"
            raise UsageError(
                f"{name}: expected {shown} ({kind.about}), found {values!r}", fix=f"as in {_EXAMPLES[name]!r}",
                code="degradation",
            )  # fmt: skip
        parts.append((name, low, high))
    if len(parts) > 1 and any(name == HOLES for name, _, _ in parts):
        raise UsageError(
            "expected 'holes' alone, found it in a chain",
            fix="train one net for holes and one for the rest",
            code="degradation",
        )
    if sum(name == "down" for name, _, _ in parts) > 1:
        raise UsageError("expected one 'down', found several", fix="leave all but one out", code="degradation")
    return Degradation(tuple(parts))


_EXAMPLES = MappingProxyType(
    {"noise": "noise:5-50", "blur": "blur:0.5-2", "jpeg": "jpeg:20-60", "down": "down:2", HOLES: "holes:10-30"}
)
