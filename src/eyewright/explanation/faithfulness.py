"""What an explanation is, and whether it may be believed."""

__all__ = ["Explanation", "Verdict", "judge_faithfulness"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.predictor import Predictor
from eyewright.core.rng import generator
from eyewright.imaging.overlay import overlay_heatmap

_STEPS = 10


@dataclass(frozen=True)
class Verdict:
    """Does the map point at what the model used? `deletion` is the mean score while the hottest pixels go first,
    `random` the same for `n` random maps of the same coarseness; `faithful` if it is below every one of them.

    With n = 19 a map without meaning passes once in 20 times.
    """

    faithful: bool
    deletion: float
    random: float
    n: int

    def __str__(self) -> str:
        word = "faithful" if self.faithful else "UNFAITHFUL"
        return f"{word} (score while deleting {self.deletion:.2f}, at random {self.random:.2f})"


@dataclass(frozen=True)
class Explanation:
    """Where an image speaks for a class: `heat` in [0, 1], float32 (h, w), over the prepared image."""

    heat: NDArray[np.float32]
    pixels: NDArray[np.uint8]
    label: str
    score: float
    method: str
    verdict: Verdict
    source: str = ""

    def overlay(self) -> NDArray[np.uint8]:
        """Give the heat over the pixels that the model saw, uint8 (h, w, 3)."""
        image = np.repeat(self.pixels, 3, axis=2) if self.pixels.shape[2] == 1 else self.pixels
        return overlay_heatmap(image, self.heat)

    def to_json(self) -> dict[str, Any]:
        """Give the facts, without the arrays."""
        return {
            "source": self.source,
            "label": self.label,
            "score": self.score,
            "method": self.method,
            "faithful": self.verdict.faithful,
            "deletion": self.verdict.deletion,
            "random": self.verdict.random,
        }


def judge_faithfulness(
    predictor: Predictor,
    pixels: NDArray[np.uint8],
    heat: NDArray[np.floating[Any]],
    target: int,
    *,
    coarseness: int,
    seed: int = 0,
    n_random: int = 19,
) -> Verdict:
    """Delete pixels from the hottest down and watch the score fall (Petsiuk et al. 2018, "RISE", deletion metric).

    `pixels` is uint8 (h, w, C), `heat` (h, w). Deleted pixels become the image's mean colour. `coarseness` is the
    side of the random maps' grid in cells: a smooth map must beat smooth random maps, not white noise.
    """
    rng = generator(seed, "faithfulness")
    height, width = heat.shape
    maps = [heat]
    for _ in range(n_random):
        cells = Image.fromarray(rng.random((coarseness, coarseness)).astype(np.float32))
        maps.append(np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC)))
    scores = [_deletion_score(predictor, pixels, m, target) for m in maps]
    return Verdict(scores[0] < min(scores[1:]), scores[0], float(np.mean(scores[1:])), n_random)


def _deletion_score(
    predictor: Predictor, pixels: NDArray[np.uint8], heat: NDArray[np.floating[Any]], target: int
) -> float:
    order = np.argsort(-heat.ravel(), kind="stable")
    fill = np.rint(pixels.mean((0, 1))).astype(np.uint8)
    flat = pixels.reshape(-1, pixels.shape[2])
    batch = np.repeat(flat[None], _STEPS, axis=0)
    for k in range(1, _STEPS + 1):
        batch[k - 1, order[: len(order) * k // _STEPS]] = fill
    raw = predictor.raw(batch.reshape(_STEPS, *pixels.shape))["probabilities"]
    return float(raw[:, target].mean())
