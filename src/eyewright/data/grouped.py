"""Find what belongs together: equal files, verified copies, one object under several conditions, series by name."""

__all__ = ["LOOK_OPTION", "LOOK_WORDS", "find_groups", "look_proposal", "with_groups"]

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.data.bursts import burst_pairs, counted_pairs
from eyewright.data.dataset import Dataset
from eyewright.data.group_file import is_group_file, read_group_file
from eyewright.data.grouping import Group, Grouping, GroupKind, Proposal
from eyewright.data.likeness import similar_links
from eyewright.data.links import Link
from eyewright.data.looks import STRUCTURE, Sessions, find_sessions, look_spaces
from eyewright.data.mosaics import find_mosaics
from eyewright.data.scan import Scan
from eyewright.data.series import NameRule, name_rules

_ORDER: tuple[GroupKind, ...] = ("same", "copy", "object", "given", "rule", "series")
_EVIDENCE = {
    "same": "identical files",
    "rule": "one key of --group-by",
}
_BURST = "one camera within seconds, similar"
_COUNTED = "neighbours by number, similar"
_TILES = "tiles of one picture, borders that fit"
_LOOKS = "near each other and far from all others"
LOOK_OPTION = "--group-by DIR/groups.csv (which eyewright doctor --out DIR writes)"
"""What a proposal by appearance says until its groups are written."""

LOOK_WORDS: Mapping[str, str] = MappingProxyType(
    {
        STRUCTURE: "what they show",
        "background": "the colour of their background",
        "colours": "their colours and noise",
    }
)
"""A space of looks in words."""

_RUN = 2
_CLEAR = 0.8
_FEWEST = 6
_LARGEST = 0.25


def find_groups(dataset: Dataset, scan: Scan | None, *, group_by: str | None = None, by_name: bool = True) -> Grouping:
    """Return the groups of images that are not independent, the largest first; `scan` is of the dataset's images.

    Always kept together: what the data states (`Sample.group`), equal files, copies and views of one object that were
    verified on pixels, bursts by capture time and camera, and tiles of one picture. `group_by` adds a rule: "folder",
    a CSV of path and group, or a regular expression on names, by its first group if it has one. Without it, a rule
    found in the names is applied where it splits images into groups that are clearly tighter than chance, and proposed
    where it is less clear; where names say nothing, look-alikes are proposed, and kept together where that is very
    clear. "none" keeps only equal files together. `by_name` is False where names say nothing, as of images that a
    server kept.

    Raises:
        UsageError: `group_by` is not a regular expression or such a table, or matches no name, or puts all images into
            one group.
    """
    sets, counted = _Sets(len(dataset)), dataset.reads
    if scan is not None:
        sets.join_keys([r.digest if r.error is None else None for r in scan.records], "same")
    if group_by == "none":
        warning = "related images may be on both sides of the split (--group-by none)"
        fix = "leave out --group-by none, unless every image was taken on its own"
        return Grouping("none", sets.groups({}), warnings=(warning,), remedies=(fix,), counted=counted)
    sets.join_keys([s.group for s in dataset.samples], "given")
    proposals: list[Proposal] = []
    words: dict[str, str] = {"given": dataset.grouped_by}
    remarks: tuple[str, ...] = ()
    if group_by is not None:
        keys, remarks = _keys_of(dataset, group_by)
        sets.join_keys(keys, "rule")
    if scan is not None:
        captures = [r.info.capture if r.info is not None else None for r in scan.records]
        bursts = burst_pairs(captures, dataset.strata, scan.features)
        times = [c.time_s if c is not None else 0.0 for c in captures]
        # What was taken at two times is no copy, however similar; an edited copy has the time of its original.
        _join_bursts(sets, [b for b in bursts if times[b[0]] != times[b[1]]])
        _join_links(sets, scan.links, similar_links(dataset, scan))
        _join_bursts(sets, [b for b in bursts if times[b[0]] == times[b[1]]])
        if by_name and group_by is None and not any(s.group for s in dataset.samples):
            names = [s.id for s in dataset.samples]
            proposals += _join_mosaics(sets, names, scan)
            looks = look_spaces(scan.thumbnails, scan.colours)
            rules = name_rules(names, dataset.strata, dataset.labels.names, scan.features, looks=looks)
            applied = next((rule for rule in rules if _applies(rule, dataset)), None)
            if applied is not None:
                words["series"] = f"similar names by {applied.pattern}"
                sets.join_keys(list(applied.keys), "series")
            others = [rule for rule in rules if rule is not applied and not sets.hold(rule.keys)]
            proposals += [_proposal(rule) for rule in others[: 3 - len(proposals)]]
            if applied is None:
                _join_counted(sets, counted_pairs(names, dataset.strata, scan.features))
                proposals += _join_looks(sets, dataset, scan, looks)
    groups = sets.groups(words)
    warnings = [*((r, "correct the rule of --group-by, or its table") for r in remarks), *_warnings(dataset, groups)]
    texts, fixes = (tuple(w[k] for w in warnings) for k in range(2))
    return Grouping(group_by or "auto", groups, tuple(proposals), texts, fixes, counted)


def with_groups(dataset: Dataset, grouping: Grouping) -> Dataset:
    """Return the dataset with the name of its group on every sample that is in one."""
    names: dict[int, str] = {}
    for number, group in enumerate(grouping.groups):
        for i in group.members:
            names[i] = f"g{number + 1:04d}"
    samples = (
        s if (name := names.get(i, s.group)) == s.group else replace(s, group=name)
        for i, s in enumerate(dataset.samples)
    )
    return replace(dataset, samples=tuple(samples), grouping=grouping)


class _Sets:
    """Disjoint sets of samples, each with the weakest reason and similarity that joined it."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))
        self.size = [1] * n
        self._kind: dict[int, int] = {}
        self._score: dict[int, float] = {}
        self._how: dict[int, Counter[str]] = {}

    def find(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int, kind: GroupKind, score: float = 1.0, how: str = "") -> None:
        a, b = sorted((self.find(i), self.find(j)))
        if how:
            self._how.setdefault(a, Counter())[how] += 1
        if a == b:
            return
        self._parent[b] = a
        self.size[a] += self.size[b]
        self._kind[a] = max(self._kind.get(a, 0), self._kind.get(b, 0), _ORDER.index(kind))
        self._score[a] = min(self._score.get(a, 1.0), self._score.get(b, 1.0), score)
        if b in self._how:
            self._how.setdefault(a, Counter()).update(self._how.pop(b))

    def hold(self, keys: Sequence[str | None]) -> bool:
        """Return whether all samples of one key are in one set already."""
        first: dict[str, int] = {}
        pairs = ((first.setdefault(k, self.find(i)), self.find(i)) for i, k in enumerate(keys) if k)
        return all(a == b for a, b in pairs)

    def join_keys(self, keys: Sequence[str | None], kind: GroupKind) -> None:
        first: dict[str, int] = {}
        for i, key in enumerate(keys):
            if key:
                self.join(first.setdefault(key, i), i, kind)

    def groups(self, words: dict[str, str]) -> tuple[Group, ...]:
        members: dict[int, list[int]] = defaultdict(list)
        for i in range(len(self._parent)):
            members[self.find(i)].append(i)
        result = []
        for root, own in members.items():
            if len(own) > 1:
                kind = _ORDER[self._kind.get(root, 0)]
                how = self._how.get(root, Counter())
                pixels = f"{', '.join(h for h, _ in how.most_common(2))}, verified on pixels" if how else ""
                named = words.get(kind) or _EVIDENCE.get(kind) or pixels or "verified on pixels"
                result.append(Group(kind, tuple(own), named, self._score.get(root, 1.0)))
        return tuple(sorted(result, key=lambda g: (-len(g.members), g.members)))


def _join_links(sets: _Sets, links: Sequence[Link], similar: frozenset[tuple[int, int]]) -> None:
    """Join copies, and near-equal images that are `similar` and no copies.

    Views of one object are joined only where two links agree, so that no chain joins what is not similar.
    """
    for link in links:
        if link.exact:
            kind: GroupKind = "object" if (link.i, link.j) in similar else "copy"
            sets.join(link.i, link.j, kind, link.likeness, link.how)
    open_links = sorted((x for x in links if not x.exact), key=lambda x: -x.likeness)
    changed = True
    while changed:
        changed = False
        between: dict[tuple[int, int], int] = Counter()
        for link in open_links:
            a, b = sorted((sets.find(link.i), sets.find(link.j)))
            if a == b:
                continue
            between[a, b] += 1
            if between[a, b] >= 2 or sets.size[a] + sets.size[b] <= 4:
                sets.join(link.i, link.j, "object", link.likeness, link.how)
                changed = True


def _join_bursts(sets: _Sets, pairs: Sequence[tuple[int, int, float]]) -> None:
    for i, j, likeness in pairs:
        sets.join(i, j, "series", likeness, _BURST)


def _join_counted(sets: _Sets, pairs: Sequence[tuple[int, int, float]]) -> None:
    """Join neighbours by number, the most similar first, into runs of at most a quarter of the data.

    Two runs are one only where two links say so: where one recording ends, a single pair is similar now and then.
    """
    most = _LARGEST * len(sets.size)
    left = sorted(pairs, key=lambda p: -p[2])
    changed = True
    while changed:
        changed = False
        between: Counter[tuple[int, int]] = Counter()
        for i, j, likeness in left:
            a, b = sorted((sets.find(i), sets.find(j)))
            if a == b or sets.size[a] + sets.size[b] > most:
                continue
            between[a, b] += 1
            if between[a, b] >= 2 or min(sets.size[a], sets.size[b]) < _RUN:
                sets.join(i, j, "series", likeness, _COUNTED)
                changed = True


def _join_looks(sets: _Sets, dataset: Dataset, scan: Scan, looks: Mapping[str, NDArray[np.float64]]) -> list[Proposal]:
    """Join what is similar in appearance where that is very clear, else propose it."""
    known = [sets.find(i) for i in range(len(dataset))]
    found = [find_sessions(scan.features, known, dataset.strata, STRUCTURE)] if looks else []
    found += [find_sessions(vectors, known, dataset.strata, name) for name, vectors in looks.items()]
    sessions = [s for s in found if s is not None]
    clear = next((s for s in sessions if s.clear), None)
    if clear is not None:
        for own in clear.members:
            for i in own[1:]:
                sets.join(own[0], i, "object", how=_LOOKS)
        return []
    if not sessions:
        return []
    return [look_proposal(max(sessions, key=lambda s: s.nearer))]


def look_proposal(found: Sessions) -> Proposal:
    """Return the question that clumps of look-alikes put to the user."""
    text = (
        f"{found.images} images form {len(found.members)} groups by {LOOK_WORDS.get(found.space, found.space)}, "
        f"which no name shows; nearest neighbours are {found.nearer:.2g} times closer than among unrelated images "
        f"(p = {found.p_value:.2g})"
    )
    shown = tuple(m[:8] for m in found.members[:6])
    groups, images = len(found.members), found.images
    return Proposal(LOOK_OPTION, text, groups, images, found.p_value, shown, found.space, found.members)


def _join_mosaics(sets: _Sets, names: Sequence[str], scan: Scan) -> list[Proposal]:
    """Join the tiles of a picture; where one picture holds much of the data, propose it instead."""
    mosaics = find_mosaics(names, scan.thumbnails)
    if mosaics and len(mosaics[0].members) > _LARGEST * len(names):
        images = sum(len(m.members) for m in mosaics)
        text = f"{images} images are tiles of {len(mosaics)} large pictures by name and borders"
        text += f"; one picture holds {len(mosaics[0].members)} of {len(names)} images"
        shown = tuple(m.members[:8] for m in mosaics[:6])
        return [Proposal(f"--group-by '{mosaics[0].pattern}'", text, len(mosaics), images, mosaics[0].p_value, shown)]
    for mosaic in mosaics:
        for i in mosaic.members[1:]:
            sets.join(mosaic.members[0], i, "series", mosaic.score, _TILES)
    return []


def _keys_of(dataset: Dataset, group_by: str) -> tuple[list[str | None], tuple[str, ...]]:
    """Return the key of every sample under a rule that the user typed, and warnings."""
    names = [s.id for s in dataset.samples]
    remarks: tuple[str, ...] = ()
    if is_group_file(group_by):
        found_keys, remarks = read_group_file(group_by, names)
        keys = [None if k is None else f"table {k}" for k in found_keys]
    elif group_by == "folder":
        keys = [f"folder {posixpath.dirname(n)}" for n in names]
    else:
        try:
            expression = re.compile(group_by)
        except re.error as error:
            raise UsageError(
                f"--group-by expects none, folder, a CSV or a regular expression, found '{group_by}' ({error})",
                fix="correct the expression",
            ) from None
        found = [expression.search(n) for n in names]
        keys = [None if f is None else f"name {f.group(1) if expression.groups else f.group(0)}" for f in found]
    held = {k for k in keys if k is not None}
    if not held:
        raise UsageError(
            f"--group-by '{group_by}' matches none of the {len(names)} names, such as {names[0]!r}",
            fix="correct the expression",
        )
    if len(held) == 1 and len(names) > 1 and None not in keys:
        raise UsageError(
            f"--group-by '{group_by}' puts all {len(names)} images into one group",
            fix="use a rule with several groups, or --group-by none",
        )
    if len(held) == len(keys) - keys.count(None):
        remarks += (f"--group-by '{group_by}' puts no two of the {len(names)} images into one group",)
    return keys, remarks


def _applies(rule: NameRule, dataset: Dataset) -> bool:
    """Return whether a rule is clear enough to be applied by default, and leaves enough groups to split."""
    largest = max(Counter(k for k in rule.keys if k is not None).values())
    clear = rule.effect >= _CLEAR or (rule.pure and not dataset.splits)
    return clear and rule.groups >= _FEWEST and largest <= _LARGEST * len(dataset)


def _proposal(rule: NameRule) -> Proposal:
    examples: dict[str, list[int]] = defaultdict(list)
    for i, key in enumerate(rule.keys):
        if key is not None:
            examples[key].append(i)
    shown = sorted((e for e in examples.values() if len(e) > 1), key=len, reverse=True)[:6]
    look = f" in {LOOK_WORDS.get(rule.look, rule.look)}" if rule.look else ""
    text = (
        f"{rule.images} images in {rule.groups} groups by name; images of a group are {rule.effect:.1f} standard "
        f"deviations more similar than unrelated images of their class{look} (permutation test, p = {rule.p_value:.3f})"
    )
    if rule.pure:
        text = (
            f"{rule.images} images in {rule.groups} groups by name; each group is of one class, and every class has "
            f"several (permutation test, p = {rule.p_value:.3f})"
        )
    option = f"--group-by '{rule.pattern}'"
    return Proposal(option, text, rule.groups, rule.images, rule.p_value, tuple(tuple(e[:8]) for e in shown))


def _warnings(dataset: Dataset, groups: Iterable[Group]) -> list[tuple[str, str]]:
    """Return what is unusual about the groups, each with its remedy."""
    result = []
    n = len(dataset)
    strata = dataset.strata
    group_of = {i: k for k, g in enumerate(groups) for i in g.members}
    of_class: dict[int, set[int]] = defaultdict(set)
    for i, stratum in enumerate(strata):
        if stratum >= 0:
            of_class[stratum].add(group_of.get(i, -1 - i))
    counts = Counter(strata)
    for k, held in sorted(of_class.items()):
        if len(held) == 1 and counts[k] > 1:
            text = f"all {counts[k]} images of {dataset.stratum(k)} belong together"
            text += f": the {dataset.kind.shares} can be trained on or tested, not both"
            fix = "add images of it from another object, place or day; if its images are independent, --group-by none"
            result.append((text, fix))
    largest = max((len(g.members) for g in groups), default=1)
    if largest > 0.2 * n and n >= 20:
        text = f"the largest group holds {largest} of {n} images; check that they belong together"
        fix = (
            "see it with doctor --out DIR; if they do not, name the groups in a table: --group-by FILE.csv (path,group)"
        )
        result.append((text, fix))
    return result
