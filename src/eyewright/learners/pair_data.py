"""What pairs are learnt from: captions as a net takes them, and what may be done to a training image."""

__all__ = ["PairAugmentation", "PairTargets"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyewright.core.tokens import TextInput, TokenPreparation
from eyewright.data.targets.captions import Captions
from eyewright.nets.pairs import TEXTS
from eyewright.training.augment import Augmentation


class PairTargets:
    """Captions of N images: `[rows]` is the prepared texts, int32 (n, K, L), and the number of each caption, int64
    (n, K), the same for the same text; -1 where an image has fewer than K. An image without any has its own number.
    """

    def __init__(self, captions: Sequence[Captions], known: dict[str, int]) -> None:
        self.texts = [c.texts for c in captions]
        self.prepare(TEXTS)
        self.ids = [[known.setdefault(t, len(known)) for t in c.plain] for c in captions]
        self.most = max([1, *(len(n) for n in self.numbers)])

    def prepare(self, texts: TextInput) -> None:
        """Prepare the captions as a net takes them; until then they are bucket numbers. `cut` counts those of
        which a model of tokens reads the beginning alone."""
        self.length = texts.length
        self.numbers = [list(texts.batch(own)[0]) for own in self.texts]
        self.cut = 0
        if isinstance(texts, TokenPreparation):
            self.cut = sum(bool(texts.overlong(t)) for own in self.texts for t in own)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        numbers = np.zeros((len(rows), self.most, self.length), np.int32)
        ids = np.full((len(rows), self.most), -1, np.int64)
        for k, i in enumerate(rows):
            for j, (own, name) in enumerate(zip(self.numbers[int(i)], self.ids[int(i)], strict=True)):
                numbers[k, j], ids[k, j] = own, name
            if not self.ids[int(i)]:
                ids[k, 0] = -2 - int(i)
        return numbers, ids


@dataclass(frozen=True)
class PairAugmentation:
    """What may be done to a training image, once or for each of two views; one of its captions is drawn."""

    plan: Augmentation
    views: int

    def apply(self, pixels: Tensor, targets: Any, *, rng: torch.Generator, progress: float = 0.0) -> tuple[Tensor, Any]:
        """Return the augmented batch, uint8 (N, H, W, C * views), bucket numbers (N, L) and caption numbers (N,)."""
        numbers, ids = targets
        count = (ids != -1).sum(1).clamp(min=1).cpu()
        drawn = (torch.rand(len(ids), generator=rng) * count).long().clamp(max=ids.shape[1] - 1).to(ids.device)
        rows = torch.arange(len(ids), device=ids.device)
        seen = [self.plan.apply(pixels, None, rng=rng)[0] for _ in range(self.views)]
        return torch.cat(seen, 3), (numbers[rows, drawn], ids[rows, drawn])

    def describe(self) -> str:
        """Say it in a few words, for the console and the report."""
        return f"{self.plan.describe()}{'; two views of each image' if self.views == 2 else ''}"
