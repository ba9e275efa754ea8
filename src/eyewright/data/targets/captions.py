"""The target of embedding: what people wrote about an image, in one or several texts, or nothing at all."""

__all__ = ["CAPTIONS", "CAPTION_CODES", "NUMBER_NAMES", "Captions"]

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from eyewright.core.ngrams import plain_text
from eyewright.core.report import Finding
from eyewright.data.targets.label import LABEL, Label
from eyewright.data.targets.target import TargetKind
from eyewright.data.targets.whole import WholeImage

if TYPE_CHECKING:
    from eyewright.data.dataset import Dataset
    from eyewright.data.scan import Scan

CAPTION_CODES = MappingProxyType(
    {
        "caption_missing": "an image whose caption is empty",
        "caption_long": "a caption of which only the beginning is read",
        "caption_everywhere": "a caption that most images share",
    }
)
"""Every code that a finding about captions can have, with its meaning."""

NUMBER_NAMES = ("typicality",)
"""What a dataset of captions has instead of classes: the one number that a model answers in addition to the vector."""

_MOSTLY = 0.5


@dataclass(frozen=True)
class Captions(WholeImage):
    """The captions of one image; none where nobody has written any.

    >>> Captions(("a red car",)).cell(())
    '["a red car"]'
    """

    texts: tuple[str, ...] = ()

    @property
    def held(self) -> tuple[int, ...]:
        """The one thing that a model answers of any image."""
        return (0,)

    @property
    def annotations(self) -> int:
        """The number of captions."""
        return len(self.texts)

    @property
    def plain(self) -> tuple[str, ...]:
        """The captions as they are compared."""
        return tuple(plain_text(t) for t in self.texts)

    def empty(self, background: frozenset[int]) -> bool:
        """Return whether there is no caption."""
        return not self.texts

    def renamed(self, ids: NDArray[np.int64]) -> Self:
        """Return the captions: they name no class."""
        return self

    def without(self, ids: NDArray[np.int64]) -> Self:
        """Return the captions: they name no class."""
        return self

    def cell(self, names: Sequence[str]) -> str:
        """Return the captions as a list in JSON."""
        return json.dumps(list(self.texts), ensure_ascii=False) if self.texts else ""


def _of_cell(cell: str, names: Sequence[str]) -> Captions | None:
    try:
        found = json.loads(cell) if cell else []
    except ValueError:
        return None
    right = isinstance(found, list) and all(isinstance(t, str) for t in found)
    return Captions(tuple(found)) if right else None


def _from_labels(targets: Sequence[Label], names: Sequence[str]) -> tuple[list[Captions], tuple[str, ...]]:
    """The name of a class, in words, is the caption of its images."""
    words = [name.replace("/", " ").replace("_", " ").replace("-", " ") for name in names]
    plain = [w if plain_text(w) else n for w, n in zip(words, names, strict=True)]
    return [Captions((" ".join(plain[int(t)].split()),)) for t in targets], NUMBER_NAMES


def _audit(dataset: "Dataset", scan: "Scan") -> list[Finding]:
    found = [*dataset.problems]
    counts = Counter(text for s in dataset.samples for text in set(s.marked(Captions).plain))
    if counts:
        text, n = counts.most_common(1)[0]
        if n > 2 and n > _MOSTLY * len(dataset):
            said = f"{n:,} of the {len(dataset):,} images have the caption {text[:60]!r}: it does not distinguish them"
            found.append(Finding("caption_everywhere", said, "write what is different in each", severity="warning"))
    return found


def _describe(targets: Sequence[Captions], names: Sequence[str]) -> str:
    n = sum(len(t.texts) for t in targets)
    if not n:
        return "no captions"
    unlike = len({text for t in targets for text in t.plain})
    return f"{n:,} caption{'s' * (n != 1)} ({unlike:,} different)"


CAPTIONS = TargetKind(
    "captions",
    least=1,
    side=("caption", "captions"),
    shares="caption",
    made_from=MappingProxyType({LABEL: _from_labels}),
    audit=_audit,
    describe=_describe,
    of_cell=_of_cell,
)
"""Texts about a whole image; the words of a class's name can be one."""
