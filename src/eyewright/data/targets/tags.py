"""The target of tagging: which of a set of tags an image has, which it has not, and which are not annotated."""

__all__ = ["TAGS", "TAG_CODES", "Tags", "cell_parts", "split_tags", "tag_sets"]

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding
from eyewright.data.targets.label import LABEL, Label
from eyewright.data.targets.objects import OBJECTS, Objects
from eyewright.data.targets.target import Side, TargetKind
from eyewright.data.targets.whole import WholeImage

if TYPE_CHECKING:
    from eyewright.data.dataset import Dataset
    from eyewright.data.scan import Scan

TAG_CODES = MappingProxyType(
    {
        "tag_everywhere": "a tag that every image has",
        "tag_unjudged": "a tag that is not annotated for most images",
        "tag_positive_only": "data that never say which images lack a tag, so that this is assumed",
    }
)
"""Every code that a finding about tags can have, with its meaning."""

_PARTS = re.compile(r"(?:\\.|[^\\|]|\\$)+", re.DOTALL)
_MOSTLY = 0.5


@dataclass(frozen=True)
class Tags(WholeImage):
    """The class ids of the tags that an image has; it has none of the others, except for those that are `unknown`.

    Those that are `assumed` count as absent although no annotation says so: see `tag_sets`.

    >>> tags = Tags(frozenset({0}), unknown=frozenset({2}))
    >>> tags.cell(("cat", "dog", "grass")), tags.values(3).tolist()
    ('cat|?grass', [1.0, 0.0, nan])
    """

    present: frozenset[int]
    unknown: frozenset[int] = frozenset()
    assumed: frozenset[int] = frozenset()

    def values(self, n_tags: int) -> NDArray[np.float32]:
        """Return 1 for a tag that the image has, 0 for one that it has not, NaN where it is not annotated, (C,)."""
        found = np.zeros(n_tags, np.float32)
        found[list(self.present)] = 1
        found[list(self.unknown)] = np.nan
        return found

    @property
    def held(self) -> tuple[int, ...]:
        """The ids of the tags that the image has."""
        return tuple(sorted(self.present))

    def empty(self, background: frozenset[int]) -> bool:
        """Return whether the image has none of the tags, as far as is known."""
        return not self.present and not self.unknown

    def renamed(self, ids: NDArray[np.int64]) -> Self:
        """Return the tags with class id `ids[k]` for k; those of a negative id are gone."""
        every = (self.present, self.unknown, self.assumed)
        present, unknown, assumed = (frozenset(int(ids[k]) for k in own) - {-1} for own in every)
        return replace(self, present=present, unknown=unknown, assumed=assumed)

    def without(self, ids: NDArray[np.int64]) -> Self:
        """Return the tags with class id `ids[k]` for k; those of a negative id are gone."""
        return self.renamed(ids)

    def cell(self, names: Sequence[str]) -> str:
        """Return what split.csv says of it: the tags, and after a question mark those that are not annotated."""
        has = [_escaped(names[k]) for k in sorted(self.present)]
        return "|".join([*has, *(f"?{_escaped(names[k])}" for k in sorted(self.unknown | self.assumed))])


def tag_sets(
    has: Sequence[Sequence[str]], unknown: Sequence[Sequence[str]] | None = None
) -> tuple[list[Tags], tuple[str, ...]]:
    """Return targets and the names of all tags from those that each image has, and those that are not annotated.

    Data that never say that an image lacks a tag are positive-only: nothing could be distinguished, so what nobody has
    judged is assumed to be absent there.

    >>> [t.values(2).tolist() for t in tag_sets([["a"], ["b"]], [["b"], ["a"]])[0]]
    [[1.0, 0.0], [0.0, 1.0]]
    >>> [t.values(2).tolist() for t in tag_sets([["a"], ["b"]], [["b"], []])[0]]
    [[1.0, nan], [0.0, 1.0]]
    """
    unknown = [()] * len(has) if unknown is None else unknown
    names = tuple(sorted({tag for own in (*has, *unknown) for tag in own}))
    ids = {name: k for k, name in enumerate(names)}
    sets = [(frozenset(ids[t] for t in a), frozenset(ids[t] for t in b)) for a, b in zip(has, unknown, strict=True)]
    sets = [(a, b - a) for a, b in sets]
    positive_only = any(b for _, b in sets) and all(len(a) + len(b) == len(names) for a, b in sets)
    return [Tags(a, assumed=b) if positive_only else Tags(a, b) for a, b in sets], names


def cell_parts(cell: str) -> list[str]:
    """Return what bars part in a cell, except for those after a backslash; for `split_tags`.

    >>> cell_parts("cat|?dog|a\\\\|b")
    ['cat', '?dog', 'a\\\\|b']
    """
    return _PARTS.findall(cell)


def split_tags(parts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of tags that an image has, and of those that are not annotated, which follow a question mark.

    A backslash takes the next character as it is.

    >>> split_tags(["cat", "?dog", r"\\?grass"])
    (['cat', '?grass'], ['dog'])
    """
    has = [_plain(p) for p in parts if not p.startswith("?")]
    return has, [_plain(p[1:]) for p in parts if p.startswith("?")]


def _escaped(name: str) -> str:
    name = name.replace("\\", "\\\\").replace("|", "\\|")
    return f"\\{name}" if name.startswith("?") else name


def _plain(part: str) -> str:
    return re.sub(r"\\(.)", r"\1", part)


def _from_labels(targets: Sequence[Label], names: Sequence[str]) -> tuple[list[Tags], tuple[str, ...]]:
    """A class is a tag that the image has, and it has none of the others."""
    return [Tags(frozenset({int(t)})) for t in targets], tuple(names)


def _from_objects(targets: Sequence[Objects], names: Sequence[str]) -> tuple[list[Tags], tuple[str, ...]]:
    """An image has the tags of its objects; a class of which there are ignore regions alone is not judged."""
    held = [frozenset(t.held) for t in targets]
    regions = [frozenset(t.label_ids[t.crowd].tolist()) for t in targets]
    return [Tags(a, b - a) for a, b in zip(held, regions, strict=True)], tuple(names)


def _audit(dataset: "Dataset", scan: "Scan") -> list[Finding]:
    found = [*dataset.problems]
    tags, n = [s.marked(Tags) for s in dataset.samples], len(dataset)
    assumed = sum(len(t.assumed) for t in tags)
    if assumed:
        text = f"no label says that an image lacks a tag: the {assumed:,} tags not annotated are treated as absent"
        fix = "write 0 where an image lacks a tag; until then precision and AP are lower bounds"
        found.append(Finding("tag_positive_only", text, fix))
    for k, name in enumerate(dataset.labels.names):
        has = sum(k in t.present for t in tags)
        unknown = sum(k in t.unknown for t in tags)
        if n > 1 and has + unknown == n and has:
            text = f"no image is without the tag {name!r}: there is nothing to distinguish"
            found.append(Finding("tag_everywhere", text, "add images without it, or leave the tag out"))
        if unknown > _MOSTLY * n:
            text = f"the tag {name!r} is not annotated in {unknown} of {n} images"
            fix = "annotate more of them; its metrics use the others only"
            found.append(Finding("tag_unjudged", text, fix))
    return found


def _sides(targets: Sequence[Tags], names: Sequence[str]) -> list[Side]:
    """Copies contradict each other in what all of them are judged for."""
    judged = frozenset(range(len(names))).difference(*(t.unknown for t in targets))
    sets = [sorted(names[k] for k in t.present & judged) for t in targets]
    return [(float(len(own)), ", ".join(map(repr, own)) or "no tag") for own in sets]


def _stratum(targets: Sequence[Tags], stratum: int, names: Sequence[str]) -> str:
    return f"tag {names[stratum]!r}"


def _describe(targets: Sequence[Tags], names: Sequence[str]) -> str:
    mean = sum(len(t.present) for t in targets) / max(1, len(targets))
    unknown = sum(len(t.unknown) for t in targets) / max(1, len(targets) * len(names))
    judged = f", {unknown:.0%} not annotated" if unknown else ""
    assumed = ", absences assumed" if any(t.assumed for t in targets) else ""
    return f"{len(names)} tag{'s' * (len(names) != 1)}, {mean:.1f} per image{judged}{assumed}"


def _ignoring(classes: int, images: int) -> str:
    return " and left out of the tags"


def _of_cell(cell: str, names: Sequence[str]) -> Tags | None:
    has, unknown = split_tags(cell_parts(cell))
    if not {*unknown, *has} <= set(names):
        return None
    return Tags(frozenset(map(names.index, has)), frozenset(map(names.index, unknown)))


TAGS = TargetKind(
    "tags",
    least=1,
    bare="tags",
    side=("set of tags", "sets of tags"),
    shares="tag",
    made_from=MappingProxyType({LABEL: _from_labels, OBJECTS: _from_objects}),
    audit=_audit,
    sides=_sides,
    stratum=_stratum,
    describe=_describe,
    ignoring=_ignoring,
    of_cell=_of_cell,
)
"""A set of tags per image."""
