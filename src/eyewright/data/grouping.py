"""What belongs together: images of one group are not independent, so splits and intervals keep them together."""

__all__ = ["Group", "GroupKind", "Grouping", "Proposal"]

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

GroupKind = Literal["same", "copy", "series", "object", "rule", "given"]

_KIND_NOUNS: Mapping[str, str] = {
    "same": "identical images",
    "copy": "copies of one image",
    "series": "frames of one series",
    "object": "one object under several conditions",
    "rule": "one key of --group-by",
    "given": "one group stated in the data",
}


@dataclass(frozen=True)
class Group:
    """Images that belong together: at least two, as indices into the dataset's samples, ascending.

    `kind` is the weakest reason that joins them, `evidence` one phrase that says why, such as "turned by 90°" or
    "frames 12 to 47 of cam1_". `score` is the similarity of the least similar link, 0 to 1.
    """

    kind: GroupKind
    members: tuple[int, ...]
    evidence: str
    score: float = 1.0


@dataclass(frozen=True)
class Proposal:
    """A grouping that is likely but not certain: it is applied only when the user asks for it by `option`.

    `evidence` is a sentence with the numbers behind it; `p_value` is of the permutation test against random groups of
    the same sizes; `examples` are some of its groups, as indices into the dataset's samples.
    """

    option: str
    evidence: str
    groups: int
    images: int
    p_value: float
    examples: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Grouping:
    """What belongs together in a dataset, and by which rule it was decided.

    `rule` is "auto", "none", "folder" or a regular expression on names. `groups` are disjoint, the largest first.
    """

    rule: str = "auto"
    groups: tuple[Group, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    warnings: tuple[str, ...] = ()

    def ids(self, n: int) -> NDArray[np.int64]:
        """Return the group number of each of `n` samples, int64 (n,); a sample in no group has a number of its own.

        >>> Grouping(groups=(Group("copy", (0, 2), "resized"),)).ids(3).tolist()
        [0, 1, 0]
        """
        result = np.arange(n)
        for group in self.groups:
            result[list(group.members)] = group.members[0]
        return result

    def within(self, chosen: Sequence[int]) -> "Grouping":
        """Return what belongs together among the `chosen` samples, numbered by their places in `chosen`.

        >>> Grouping(groups=(Group("copy", (0, 2, 3), "resized"), Group("same", (1, 4), "equal"))).within([1, 2, 3]).groups
        (Group(kind='copy', members=(1, 2), evidence='resized', score=1.0),)
        """
        place = {i: k for k, i in enumerate(chosen)}

        def kept(members: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(sorted(place[i] for i in members if i in place))

        groups = (replace(g, members=kept(g.members)) for g in self.groups)
        shown = (replace(p, examples=tuple(own for e in p.examples if (own := kept(e)))) for p in self.proposals)
        largest = sorted((g for g in groups if len(g.members) > 1), key=lambda g: (-len(g.members), g.members))
        return replace(self, groups=tuple(largest), proposals=tuple(shown))

    def describe(self) -> str:
        """Say in one line what is kept together, for the terminal, the report and the model card."""
        if self.rule == "none":
            return "images that belong together were not kept together (--group-by none)"
        if not self.groups:
            return "no images that belong together were found"
        images = sum(len(g.members) for g in self.groups)
        kinds = Counter(g.kind for g in self.groups)
        parts = ", ".join(f"{n} of {_KIND_NOUNS[k]}" for k, n in kinds.most_common())
        noun = "group" if len(self.groups) == 1 else "groups"
        return f"{images} images in {len(self.groups)} {noun} are kept together: {parts}"

    def to_json(self) -> dict[str, Any]:
        """Return the summary that goes into run.json, the report's provenance and bundle.json."""
        return {
            "rule": self.rule,
            "groups": len(self.groups),
            "images_in_groups": sum(len(g.members) for g in self.groups),
            "largest": max((len(g.members) for g in self.groups), default=1),
            "kinds": dict(Counter(g.kind for g in self.groups)),
            "proposals": [
                {"option": p.option, "evidence": p.evidence, "groups": p.groups, "p_value": p.p_value}
                for p in self.proposals
            ],
            "warnings": list(self.warnings),
        }
