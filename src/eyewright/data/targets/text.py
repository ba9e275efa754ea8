"""The target of reading: the text of one line, as characters of an alphabet that is that of the data."""

__all__ = ["TEXT", "TEXT_CODES", "Text", "alphabet_of", "line_text", "texts_of"]

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.report import Finding
from eyewright.data.targets.target import Side, TargetKind
from eyewright.data.targets.whole import WholeImage

if TYPE_CHECKING:
    from eyewright.data.dataset import Dataset
    from eyewright.data.scan import Scan

TEXT_CODES = MappingProxyType(
    {
        "text_empty": "a line without a text, which is left out",
        "text_unreadable": "a text of several lines, or with control characters; it is left out",
        "text_rare_character": "characters in few lines, which are hardly learnt",
        "text_dense": "a line with so many characters for its width that they can hardly be distinguished",
    }
)
"""Every code that a finding about texts can have, with its meaning."""

_FEW = 3
_BINS = 4
# Pixels a character has at a height of 32, below which no print can be read.
_NARROWEST = 4.0


@dataclass(frozen=True)
class Text(WholeImage):
    """What a line says, composed (NFC), and its characters as ids of the alphabet; -1 for one that is not in it.

    >>> Text("ABBA", (0, 1, 1, 0)).held
    (0, 1)
    """

    written: str
    ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def held(self) -> tuple[int, ...]:
        """The characters of the alphabet that the text holds."""
        return tuple(sorted({i for i in self.ids if i >= 0}))

    def marks(self) -> Sequence[int]:
        """Return the id of every character, as often as it is there."""
        return tuple(i for i in self.ids if i >= 0)

    def strata(self, background: frozenset[int]) -> tuple[int, ...]:
        """One target alone is in no range of lengths; see `TEXT.strata`."""
        return ()

    def empty(self, background: frozenset[int]) -> bool:
        """A line without a text is no target."""
        return False

    def renamed(self, ids: NDArray[np.int64]) -> Self:
        """Return the text with `ids[k]` for character k."""
        return replace(self, ids=tuple(int(ids[i]) if i >= 0 else -1 for i in self.ids))

    def without(self, ids: NDArray[np.int64]) -> Self | None:
        """Return the text with id `ids[k]` for character k; None where it holds one that is ignored."""
        moved = self.renamed(ids)
        return None if any(i < 0 for i in moved.ids) else moved

    def cell(self, names: Sequence[str]) -> str:
        """Return what split.csv says of it: the text."""
        return self.written


def line_text(text: object) -> str:
    """Return the text of a line as it is learnt: composed (NFC), without white space around it.

    Tabs and no-break spaces are spaces; several spaces are one, since their number cannot be seen.

    >>> line_text("  TOTAL\\t 10 ")
    'TOTAL 10'

    Raises:
        DatasetError: it is empty, has several lines, or holds control characters.
    """
    if not isinstance(text, str):
        raise DatasetError("the text is missing", fix="transcribe the line", code="text_empty")
    plain = unicodedata.normalize("NFC", text.strip())
    if "\n" in plain or "\r" in plain:
        raise DatasetError("expected one line of text, found several", fix="cut the image", code="text_unreadable")
    plain = " ".join(plain.split())
    odd = next((c for c in plain if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn")), None)
    if odd is not None:
        found = f"U+{ord(odd):04X}"
        raise DatasetError(
            f"expected characters that can be read, found {found}", fix="remove it", code="text_unreadable"
        )
    if not plain:
        raise DatasetError("the text is empty", fix="transcribe the line, or remove it", code="text_empty")
    return plain


def alphabet_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the characters of texts, in the order of their code points; the space is one of them.

    >>> alphabet_of(["B A", "AC"])
    (' ', 'A', 'B', 'C')
    """
    return tuple(sorted({c for text in texts for c in text}))


def texts_of(texts: Sequence[str], alphabet: Sequence[str]) -> list[Text]:
    """Return texts as targets over an alphabet; characters that it lacks have the id -1."""
    ids = {c: i for i, c in enumerate(alphabet)}
    return [Text(text, tuple(ids.get(c, -1) for c in text)) for text in texts]


def _audit(dataset: "Dataset", scan: "Scan") -> list[Finding]:
    found = [*dataset.problems]
    texts = [s.marked(Text) for s in dataset.samples]
    lines = Counter(c for t in texts for c in set(t.written))
    rare = sorted(c for c, n in lines.items() if n < _FEW)
    if rare and len(texts) >= 20:
        shown = " ".join(rare[:20])
        said = f"{len(rare)} characters are in fewer than {_FEW} lines: {shown}"
        fix = "collect more lines that hold them, or generate some (eyewright generate-lines)"
        found.append(Finding("text_rare_character", said, fix, severity="note"))
    for sample, text, record in zip(dataset.samples, texts, scan.records, strict=True):
        if record.info is None:
            continue
        height, width = record.info.size_hw
        if width * 32 / height < _NARROWEST * len(text) and len(text) > 1:
            said = f"{len(text)} characters in {width}x{height} pixels: {text.written[:40]!r}"
            fix = (
                "check that the text belongs to the image, that the line is horizontal, and that it was not scaled down"
            )
            found.append(Finding("text_dense", said, fix, sample.id))
    return found


def _sides(targets: Sequence[Text], names: Sequence[str]) -> list[Side]:
    order = {text: k for k, text in enumerate(sorted({t.written for t in targets}))}
    return [(float(order[t.written]), t.written) for t in targets]


def _edges(targets: Sequence[Text]) -> NDArray[np.float64]:
    lengths = np.array([len(t) for t in targets], np.float64)
    return np.unique(np.quantile(lengths, np.arange(1, _BINS) / _BINS)) if len(lengths) else np.zeros(0)


def _strata(targets: Sequence[Text], background: frozenset[int]) -> list[tuple[int, ...]]:
    edges = _edges(targets)
    return [(int(np.searchsorted(edges, len(t), side="left")),) for t in targets]


def _stratum(targets: Sequence[Text], stratum: int, names: Sequence[str]) -> str:
    edges = [0, *(int(e) for e in _edges(targets)), max((len(t) for t in targets), default=0)]
    return f"texts of {edges[stratum] + 1} to {edges[min(stratum + 1, len(edges) - 1)]} characters"


def _describe(targets: Sequence[Text], names: Sequence[str]) -> str:
    lengths = [len(t) for t in targets]
    if not lengths:
        return "no texts"
    return f"{len(names)} characters, texts of {min(lengths)} to {max(lengths)}, mean {sum(lengths) / len(lengths):.0f}"


def _of_cell(cell: str, names: Sequence[str]) -> Text | None:
    return texts_of([cell], names)[0] if cell else None


TEXT = TargetKind(
    "texts",
    least=1,
    bare="texts",
    side=("text", "texts"),
    shares="range of lengths",
    audit=_audit,
    sides=_sides,
    strata=_strata,
    stratum=_stratum,
    describe=_describe,
    of_cell=_of_cell,
    open=True,
)
"""The text of a line."""
