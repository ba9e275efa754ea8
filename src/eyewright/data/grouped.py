"""Find what belongs together: the same bytes, near copies, groups that the data or a rule states."""

__all__ = ["find_groups"]

from collections import defaultdict

from eyewright.data.dataset import Dataset
from eyewright.data.grouping import Group, Grouping, GroupKind
from eyewright.data.scan import Scan
from eyewright.data.splits import _group_key

_WEAKER: tuple[GroupKind, ...] = ("same", "copy", "given", "rule")
_WORDS = {"same": "the same bytes", "copy": "nearly the same pixels", "given": "stated in the data", "rule": "one key"}


def find_groups(dataset: Dataset, scan: Scan, *, group_by: str | None = None) -> Grouping:
    """Return the groups of images that are not independent, the largest first; `scan` is of the dataset's images.

    `group_by` is "none", "folder" or a regular expression on names, as for `split_dataset`.

    Raises:
        UsageError: `group_by` is not a regular expression.
    """
    if group_by == "none":
        return Grouping("none")
    parent = list(range(len(dataset)))
    reason: dict[int, int] = {}

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(i: int, j: int, kind: GroupKind) -> None:
        a, b = find(i), find(j)
        if a != b:
            parent[max(a, b)] = min(a, b)
            reason[min(a, b)] = max(reason.get(a, 0), reason.get(b, 0), _WEAKER.index(kind))

    first: dict[tuple[GroupKind, str], int] = {}
    for i, (sample, record) in enumerate(zip(dataset.samples, scan.records, strict=True)):
        keys: tuple[tuple[GroupKind, str | None], ...] = (
            ("same", record.digest if record.error is None else None),
            ("given", sample.group),
            ("rule", _group_key(sample.id, group_by)),
        )
        for kind, key in keys:
            if key:
                join(first.setdefault((kind, key), i), i, kind)
    for i, j in scan.near_pairs:
        join(i, j, "copy")
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(dataset)):
        members[find(i)].append(i)
    groups = [
        Group(kind := _WEAKER[reason.get(root, 0)], tuple(own), _WORDS[kind])
        for root, own in members.items()
        if len(own) > 1
    ]
    return Grouping(group_by or "auto", tuple(sorted(groups, key=lambda g: (-len(g.members), g.members))))
