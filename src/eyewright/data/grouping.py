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
    "given": "one group",
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
    the same sizes; `examples` are some of its groups, as indices into the dataset's samples. A proposal by
    appearance has no rule on names: `look` is what its images share, and `members` are all of its groups, which
    `doctor` writes as a table for `--group-by`.
    """

    option: str
    evidence: str
    groups: int
    images: int
    p_value: float
    examples: tuple[tuple[int, ...], ...] = ()
    look: str = ""
    members: tuple[tuple[int, ...], ...] = ()

    def divided(self, splits: Sequence[str | None]) -> int:
        """Return how many test images are in a group of `members` that training images are in too."""
        found = 0
        for own in self.members:
            parts = Counter(splits[i] for i in own)
            found += parts["test"] if parts["train"] else 0
        return found


@dataclass(frozen=True)
class Grouping:
    """What belongs together in a dataset, and by which rule it was decided.

    `rule` is "auto", "none", "folder" or a regular expression on names. `groups` are disjoint, the largest first.
    `remedies` says of each warning what to do, with the option. `counted` is what one sample is called.
    """

    rule: str = "auto"
    groups: tuple[Group, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    warnings: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    counted: str = "image"

    def ids(self, n: int) -> NDArray[np.int64]:
        """Return the group number of each of `n` samples, int64 (n,); a sample in no group has a number of its own.

        >>> Grouping(groups=(Group("copy", (0, 2), "resized"),)).ids(3).tolist()
        [0, 1, 0]
        """
        result = np.arange(n)
        for group in self.groups:
            result[list(group.members)] = group.members[0]
        return result

    def chosen(self, rows: Sequence[int]) -> "Grouping":
        """Return the grouping of some of the samples, in the order of `rows`; groups of one image are none.

        >>> Grouping(groups=(Group("copy", (0, 2), "resized"),)).chosen([2, 0]).groups[0].members
        (0, 1)
        """
        place = {row: k for k, row in enumerate(rows)}

        def kept(members: Sequence[int]) -> tuple[int, ...]:
            return tuple(sorted(place[i] for i in members if i in place))

        groups = (replace(g, members=kept(g.members)) for g in self.groups)
        proposals = (
            replace(
                p,
                examples=tuple(kept(e) for e in p.examples),
                members=tuple(own for own in map(kept, p.members) if len(own) > 1),
            )
            for p in self.proposals
        )
        left = sorted((g for g in groups if len(g.members) > 1), key=lambda g: (-len(g.members), g.members))
        return replace(self, groups=tuple(left), proposals=tuple(proposals))

    def describe(self) -> str:
        """Say in one line what is kept together, for the terminal, the report and the model card."""
        if self.rule == "none":
            return f"{self.counted}s that belong together were not kept together (--group-by none)"
        if not self.groups:
            return f"no {self.counted}s that belong together were found"
        images = sum(len(g.members) for g in self.groups)
        kinds = Counter(_KIND_NOUNS[g.kind] + f" ({g.evidence})" * (g.kind == "given") for g in self.groups)
        parts = ", ".join(f"{n} of {noun}" for noun, n in kinds.most_common())
        noun = "group" if len(self.groups) == 1 else "groups"
        return f"{images} {self.counted}s in {len(self.groups)} {noun} are kept together: {parts}"

    def to_json(self, splits: Sequence[str | None] | None = None) -> dict[str, Any]:
        """Return the summary that goes into run.json, the report's provenance and bundle.json.

        With the `splits` of the samples, a proposal by appearance says how many test images it divides from training.
        """
        return {
            "rule": self.rule,
            "groups": len(self.groups),
            "images_in_groups": sum(len(g.members) for g in self.groups),
            "largest": max((len(g.members) for g in self.groups), default=1),
            "kinds": dict(Counter(g.kind for g in self.groups)),
            "proposals": [
                {"option": p.option, "evidence": p.evidence, "groups": p.groups, "p_value": p.p_value}
                | ({"look": p.look, "images": p.images} if p.look else {})
                | ({"divided": p.divided(splits)} if p.look and splits is not None else {})
                for p in self.proposals
            ],
            "warnings": list(self.warnings),
        }
