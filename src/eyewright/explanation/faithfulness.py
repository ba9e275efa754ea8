"""What an explanation is, and whether it is faithful."""

__all__ = ["Explanation", "Verdict", "judge_faithfulness", "rank_correlation"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from eyewright.core.notebook import html_card
from eyewright.core.predictor import Predictor
from eyewright.core.quoting import quoted
from eyewright.core.rng import generator
from eyewright.core.task import Explained
from eyewright.imaging.clips import contact_sheet
from eyewright.imaging.drawing import draw_objects
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import overlay_heatmap, shrink

_STEPS = 8
# Maps of one image by unrelated nets share its edges and its centre; above this they are one map.
_MOST_ALIKE = 0.8


@dataclass(frozen=True)
class Verdict:
    """Does the map point at what the model used?

    `deletion` is the mean score while the most important pixels are blurred first, `insertion` the mean score while
    they are the first to come back into the blurred image; their difference is the map's gap. `random` is the mean gap
    of `n` random maps of the same coarseness, and the map is `faithful` if its gap is larger than every one of theirs.
    With n = 19 a map without meaning passes once in 20 times.

    `unlearnt` is the rank correlation with the map of the same net with its weights shuffled (Adebayo et al. 2018,
    "Sanity checks for saliency maps"): a map that stays the same, above 0.8, shows the image and not what was learnt,
    and is not faithful. It is None where the weights are not available, as in a bundle.
    """

    faithful: bool
    deletion: float
    insertion: float
    random: float
    n: int
    unlearnt: float | None = None

    def __str__(self) -> str:
        word = "faithful" if self.faithful else "UNFAITHFUL"
        shuffled = "" if self.unlearnt is None else f"; similar with shuffled weights {self.unlearnt:.2f}"
        gap = self.insertion - self.deletion
        numbers = f"insertion minus deletion {gap:.2f}, of random maps {self.random:.2f}{shuffled}"
        if not self.faithful:
            same = self.unlearnt is not None and self.unlearnt > _MOST_ALIKE
            # The number that is shown is their mean, which a map may well be above.
            why = "hardly changes when the weights are shuffled" if same else f"does not beat all {self.n} random maps"
            return f"{word}: the map {why} ({numbers})"
        return f"{word} ({numbers})"


@dataclass(frozen=True)
class Explanation:
    """Which parts of an image support a class or an object: `heat` in [0, 1], float32 (h, w), over the prepared image.

    `box` is the object's, in prepared pixels; None where a class is explained. `task` is the model's. `shown` is what
    was predicted where the score does not say it. `frames` is how many frames of a clip lie one below the other in the
    prepared image. `label_id` is the class of `label`, whose colour the box has.
    """

    heat: NDArray[np.float32]
    pixels: NDArray[np.uint8]
    label: str
    score: float
    method: str
    verdict: Verdict
    source: str = ""
    box: NDArray[np.float64] | None = None
    task: str = ""
    shown: str = ""
    frames: int = 1
    label_id: int = 0

    def __repr__(self) -> str:
        where = f" in {quoted(self.source)}" if self.source else ""
        return f"<Explanation: {self.said} by {self.method}, {self.verdict}{where}>"

    def _repr_html_(self) -> str:
        """Return the heat over the image, with the verdict, for notebooks."""
        picture = {f"{self.method}: {self.verdict}": data_uri(shrink(self.overlay(), 320))}
        return html_card(f"{self.said}", pictures=picture)

    @property
    def said(self) -> str:
        """What is explained, in words: the label and its score, or what was predicted."""
        return f"{self.label} {self.shown or f'{self.score:.1%}'}"

    @property
    def moments(self) -> tuple[float, ...]:
        """The mean heat of each frame of a clip, in the order of time."""
        return tuple(float(h.mean()) for h in np.split(self.heat, self.frames))

    def overlay(self) -> NDArray[np.uint8]:
        """Return the heat over the pixels that the model saw, uint8 (h, w, 3), with the box that is explained."""
        image = np.repeat(self.pixels, 3, axis=2) if self.pixels.shape[2] == 1 else self.pixels
        shown = overlay_heatmap(image, self.heat)
        if self.frames > 1:
            return contact_sheet(shown, self.frames, most=self.frames, columns=8)
        if self.box is None:
            return shown
        return draw_objects(shown, self.box[None], [f"{self.label} {self.score:.0%}"], np.array([self.label_id]))

    def to_json(self) -> dict[str, Any]:
        """Return the facts, without the arrays."""
        return {
            "source": self.source,
            "label": self.label,
            "score": self.score,
            **({"shown": self.shown} if self.shown else {}),
            "method": self.method,
            "faithful": self.verdict.faithful,
            "deletion": self.verdict.deletion,
            "insertion": self.verdict.insertion,
            "random": self.verdict.random,
            "unlearnt": self.verdict.unlearnt,
            **({"moments": [round(m, 4) for m in self.moments]} if self.frames > 1 else {}),
            **({} if self.box is None else {"box_prepared": [round(float(v), 2) for v in self.box]}),
        }


def judge_faithfulness(
    predictor: Predictor,
    pixels: NDArray[np.uint8],
    heat: NDArray[np.floating[Any]],
    target: Explained,
    *,
    coarseness: int,
    seed: int = 0,
    n_random: int = 19,
    unlearnt: float | None = None,
) -> Verdict:
    """Blur pixels in order of importance, and restore them in the same order (Petsiuk et al. 2018, "RISE", section
    4.3).

    `pixels` is uint8 (h, w, C), `heat` (h, w). `coarseness` is the side of the random maps' grid in cells: a smooth
    map must beat smooth random maps, not white noise.
    """
    rng = generator(seed, "faithfulness")
    height, width = heat.shape
    maps = [heat]
    for _ in range(n_random):
        cells = Image.fromarray(rng.random((coarseness, coarseness)).astype(np.float32))
        maps.append(np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC)))
    blurred = _blur(pixels)
    scores = np.array([_scores(predictor, pixels, blurred, m, target) for m in maps])
    gaps = scores[:, 1] - scores[:, 0]
    faithful = bool(gaps[0] > gaps[1:].max()) and (unlearnt is None or unlearnt <= _MOST_ALIKE)
    return Verdict(faithful, float(scores[0, 0]), float(scores[0, 1]), float(gaps[1:].mean()), n_random, unlearnt)


def rank_correlation(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """Return Spearman's correlation of two maps of one shape, in [-1, 1]; 0 if one of them is constant.

    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([0.0, 0.1, 0.2]))
    1.0
    """
    ranks = []
    for values in (a, b):
        _, place, count = np.unique(values.ravel(), return_inverse=True, return_counts=True)
        middle = np.cumsum(count) - (count - 1) / 2
        ranks.append(middle[place] - middle[place].mean())
    size = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float(ranks[0] @ ranks[1]) / size if size else 0.0


def _scores(
    predictor: Predictor,
    pixels: NDArray[np.uint8],
    blurred: NDArray[np.uint8],
    heat: NDArray[np.floating[Any]],
    target: Explained,
) -> tuple[float, float]:
    """Return the mean score while pixels go, and the mean score while they come."""
    order = np.argsort(-heat.ravel(), kind="stable")
    whole, without = (a.reshape(-1, pixels.shape[2]) for a in (pixels, blurred))
    batch = np.concatenate([np.repeat(whole[None], _STEPS, axis=0), np.repeat(without[None], _STEPS, axis=0)])
    for k in range(_STEPS):
        hottest = order[: len(order) * (k + 1) // (_STEPS + 1)]
        batch[k, hottest] = without[hottest]
        batch[_STEPS + k, hottest] = whole[hottest]
    found = target(predictor.raw(batch.reshape(-1, *pixels.shape)))
    return float(found[:_STEPS].mean()), float(found[_STEPS:].mean())


def _blur(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return little more than the mean colour: a milder blur would leave a model that goes by colour unmoved."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(max(pixels.shape[:2]) / 2)))
    return soft.reshape(pixels.shape)
