"""`doctor` on images that belong together: one finding for a group, with the remedy that fits the case."""

__all__ = ["GROUP_CODES", "audit_groups"]

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from eyewright.core.report import Finding
from eyewright.data.agreement import Turn, best_turn, marks_differ
from eyewright.data.dataset import Dataset
from eyewright.data.grouping import Group, Grouping, GroupKind, Proposal
from eyewright.data.likeness import copy_links, same_pixels
from eyewright.data.links import Link
from eyewright.data.looks import mostly_drawn
from eyewright.data.scan import Scan
from eyewright.data.targets.target import Side

GROUP_CODES = MappingProxyType(
    {
        "leak": "images that belong together on both sides of a split",
        "conflicting_labels": "copies of one image under two classes, or with marks that contradict each other",
        "duplicate": "the same image more than once in one part",
        "near_duplicate": "copies of one image in one part: saved again, resized, cropped, turned, other exposure",
        "series": "frames or shots of one series; a split keeps them together",
        "proposal": "a --group-by that the data suggests: without it, related images can end up in train and test",
        "grouping": "what is unusual about the groups of a dataset",
    }
)
"""Every code that a finding about images that belong together can have, with its meaning."""

_JUDGED = 300
_SMALL = 32
_MANY = 50
_OF_ONE = 6
_NAMED = 3
_NOUNS: dict[GroupKind, str] = {
    "same": "identical images",
    "copy": "copies of one image",
    "series": "images of one series",
    "object": "images of one object",
    "rule": "images of one group (--group-by)",
    "given": "images of one group",
}
# Parts in the order in which they give way: a copy is taken out of train, never out of test.
_YIELDING = ("train", "val", "test")


@dataclass(frozen=True)
class _Unit:
    """Images of one dataset that belong together, and why; `identical` if their files are.

    `inner` are those that lie in a group which more than copying joins; `stated` if the user or the data named it.
    """

    kind: GroupKind
    members: tuple[int, ...]
    evidence: str
    identical: bool = False
    inner: bool = False
    stated: bool = False


def audit_groups(dataset: Dataset, scan: Scan, grouping: Grouping, *, leave: frozenset[int]) -> list[Finding]:
    """Return a finding for every group, and what its members have to do with splits and labels.

    `leave` are samples that other findings speak of, such as blank images, which all look similar.
    """
    found: list[Finding] = []
    budget = _JUDGED
    for unit in _units(dataset, scan, grouping.groups, leave):
        if unit.kind != "object" or not _is_apart(dataset, unit):
            found += _leaks(dataset, unit)
        conflict: Finding | None = None
        if dataset.kind.by_degree and unit.kind == "copy":
            equal = _same_pixels(dataset, scan, unit)
            conflicts = [c for own in equal if (c := _side_conflict(dataset, scan, own)) is not None]
            found += conflicts
            if not conflicts and (not unit.inner or unit.stated):
                found += _belonging(dataset, unit)
            continue
        if unit.kind in ("same", "copy"):
            conflict = _side_conflict(dataset, scan, unit)
            if conflict is None and dataset.kind.differ is not None and budget > 0:
                conflict, judged = _mark_conflict(dataset, scan, unit)
                budget -= judged
        if conflict is not None:
            found.append(conflict)
        elif not unit.inner or unit.kind == "same" or unit.stated:
            found += _belonging(dataset, unit)
    found += [_proposed(dataset, p) for p in grouping.proposals]
    fixes = itertools.chain(grouping.remedies, itertools.repeat("name the groups with --group-by"))
    found += [Finding("grouping", w, fix) for w, fix in zip(grouping.warnings, fixes, strict=False)]
    told = grouping.rule != "auto" or any(s.group for s in dataset.samples)
    # Of images of a few pixels it cannot be said whether they are drawn.
    small = not len(scan.sizes_hw) or float(np.median(scan.sizes_hw.min(1))) < _SMALL
    if not told and not small and len(dataset) >= _MANY and mostly_drawn(scan.thumbnails):
        text = "most images are drawings or nearly flat: related images cannot be found by content, only by name"
        fix = (
            "if several images show one object or come from one source, name the groups: --group-by folder, a regular "
        )
        fix += "expression on names, or FILE.csv with the columns path and group"
        found.append(Finding("grouping", text, fix, severity="note"))
    return found


def _units(dataset: Dataset, scan: Scan, groups: Sequence[Group], leave: frozenset[int]) -> Iterator[_Unit]:
    """Yield the groups; of those that more than copying joins, the identical images in them too."""
    links = tuple(copy_links(dataset, scan))
    for group in groups:
        members = tuple(i for i in group.members if i not in leave)
        if len(members) < 2:
            continue
        digests: dict[str, list[int]] = defaultdict(list)
        for i in members:
            digests[scan.records[i].digest].append(i)
        identical = len(digests) == 1
        if identical and group.kind in ("same", "copy"):
            yield _Unit("same", members, group.evidence, identical=True)
            continue
        yield _Unit(group.kind, members, group.evidence)
        if group.kind not in ("same", "copy"):
            for same in digests.values():
                if len(same) > 1:
                    yield _Unit("same", tuple(same), "the same bytes", identical=True, inner=True)
            for own, how in _copies(scan, links, members):
                yield _Unit("copy", own, how, inner=True, stated=group.kind in ("rule", "given"))


def _copies(scan: Scan, links: Sequence[Link], members: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the sets of verified copies among `members`, with how they differ; identical files are not all of a set."""
    first: dict[str, int] = {}
    set_of = {i: first.setdefault(scan.records[i].digest, i) for i in members}
    hows: dict[int, Counter[str]] = defaultdict(Counter)
    for link in links:
        if link.i not in set_of or link.j not in set_of:
            continue
        a, b = sorted((set_of[link.i], set_of[link.j]))
        hows[a][link.how] += 1
        if a != b:
            hows[a].update(hows.pop(b, Counter()))
            set_of = {i: a if root == b else root for i, root in set_of.items()}
    sets: dict[int, list[int]] = defaultdict(list)
    for i, root in set_of.items():
        sets[root].append(i)
    for root, own in sets.items():
        if len({scan.records[i].digest for i in own}) > 1:
            how = ", ".join(h for h, _ in hows[root].most_common(2) if h)
            yield tuple(own), f"{how}, verified on pixels" if how else "verified on pixels"


def _same_pixels(dataset: Dataset, scan: Scan, unit: _Unit) -> list[_Unit]:
    """Return the sets of members that hold the same pixels; of files that are equal another unit speaks, if `inner`."""
    sets: list[list[int]] = []
    for i in unit.members:
        own = next((s for s in sets if same_pixels(dataset, scan, s[0], i)), None)
        if own is None:
            sets.append([i])
        else:
            own.append(i)
    digests = [{scan.records[i].digest for i in own} for own in sets]
    pairs = zip(sets, digests, strict=True)
    kept = [own for own, held in pairs if len(own) > 1 and not (unit.inner and len(held) == 1)]
    return [_Unit("same", tuple(own), "the same pixels", identical=True, inner=unit.inner) for own in kept]


def _is_apart(dataset: Dataset, unit: _Unit) -> bool:
    """Return whether the targets of the images of one object say that they show it in different states."""
    apart = dataset.kind.apart([s.target for s in dataset.samples])
    first = dataset.samples[unit.members[0]].target
    return any(apart(first, dataset.samples[i].target) for i in unit.members[1:])


def _leaks(dataset: Dataset, unit: _Unit) -> Iterator[Finding]:
    parts: dict[str, list[int]] = defaultdict(list)
    for i in unit.members:
        split = dataset.samples[i].split
        if split is not None:
            parts[split].append(i)
    held = [p for p in _YIELDING if p in parts]
    if len(held) < 2:
        return
    first = held[0]
    out = [i for p in held[:-1] for i in parts[p]]
    where = "; ".join(f"{len(parts[p])} in {p}, such as {_id(dataset, parts[p][0])!r}" for p in held)
    text = f"{_noun(unit)} on both sides of the split: {where}"
    total = sum(s.split == first for s in dataset.samples)
    if unit.kind in ("same", "copy"):
        taken = _names(dataset, out)
        share = f" ({len(parts[first]) / total:.1%} of {first})" if len(held) == 2 and len(out) > 1 else ""
        fix = f"remove {taken} from {' and '.join(held[:-1])}{share}; {held[-1]} stays as it is"
        severity: Literal["error", "warning"] = "error"
    else:
        # They are no copies: training goes on, and the report says how new the test images are.
        fix = f"move the group to one part, or let eyewright split; otherwise metrics are not for new {_what(unit)}"
        severity = "warning"
    order = [*out, *parts[held[-1]]]
    yield _finding(dataset, "leak", text, fix, order, severity)


def _what(unit: _Unit) -> str:
    return {"object": "objects", "series": "series"}.get(unit.kind, "groups")


def _side_conflict(dataset: Dataset, scan: Scan, unit: _Unit) -> Finding | None:
    """Return that copies of one image are on several sides, by what their targets say."""
    by_side: dict[Side, list[int]] = defaultdict(list)
    sides = dataset.kind.sides([dataset.samples[i].target for i in unit.members], dataset.labels.names)
    for i, side in zip(unit.members, sides, strict=True):
        by_side[side].append(i)
    if len(by_side) < 2:
        return None
    found = sorted(by_side.items(), key=lambda item: (len(item[1]), item[0]))
    shown = ", ".join(f"{said} ({_names(dataset, own)})" for (_, said), own in found)
    one, many = dataset.kind.side
    order = [i for _, own in found for i in own]
    if not unit.identical and _only_turned(scan, list(by_side.values())):
        text = f"{_noun(unit)}, but mirrored or turned, under {len(by_side)} {many}: {shown}"
        fix = f"nothing, if the {many} differ in direction; otherwise decide which {one} is right"
        return _finding(dataset, "conflicting_labels", text, fix, order, "note")
    digests = [{scan.records[i].digest for i in own} for own in by_side.values()]
    exact = len(set.union(*digests)) < sum(map(len, digests))
    text = f"{_noun(unit)} under {len(by_side)} {many}: {shown}"
    fix = f"decide which {one} is right; move or remove the others"
    return _finding(dataset, "conflicting_labels", text, fix, order, "error" if exact else "warning")


def _only_turned(scan: Scan, classes: Sequence[Sequence[int]]) -> bool:
    """Return whether images of two classes are copies only when one of them is mirrored or turned."""
    for k, own in enumerate(classes):
        for other in classes[k + 1 :]:
            for i in own[:_OF_ONE]:
                for j in other[:_OF_ONE]:
                    if best_turn(scan.thumbnails[i], scan.thumbnails[j])[0].plain:
                        return False
    return True


def _mark_conflict(dataset: Dataset, scan: Scan, unit: _Unit) -> tuple[Finding | None, int]:
    """Return the first contradiction between a member and the first one, and how many pairs were looked at."""
    first = unit.members[0]
    for judged, other in enumerate(unit.members[1 : _OF_ONE + 1], 1):
        a, b = scan.records[first], scan.records[other]
        if a.info is None or b.info is None:
            continue
        same = a.digest == b.digest
        turn = Turn() if same else best_turn(scan.thumbnails[first], scan.thumbnails[other])[0]
        sizes = (a.info.size_hw, b.info.size_hw)
        said = marks_differ(dataset, first, other, sizes, turn, same=same)
        if said is not None:
            one, two = _id(dataset, first), _id(dataset, other)
            what = "identical images" if same else "copies of one image"
            text = f"{what} with different marks, {one!r} and {two!r}: {said}"
            order = [other, first, *(i for i in unit.members if i not in (first, other))]
            fix = "decide which marks are right and correct the other"
            return _finding(dataset, "conflicting_labels", text, fix, order, "error" if same else "warning"), judged
    return None, min(len(unit.members) - 1, _OF_ONE)


def _belonging(dataset: Dataset, unit: _Unit) -> Iterator[Finding]:
    splits = Counter(dataset.samples[i].split for i in unit.members)
    if unit.kind in ("same", "copy"):
        # What lies in two parts is a leak; here are those that one part holds more than once.
        within = [i for i in unit.members if splits[dataset.samples[i].split] > 1]
        if len(within) < 2:
            return
        names = _names(dataset, within)
        if unit.identical:
            fix = f"keep one and remove {'the other' if len(within) == 2 else f'the other {len(within) - 1}'}"
            yield _finding(dataset, "duplicate", f"{_counted(unit, within)}: {names}", fix, within)
        else:
            fix = "nothing for the split, which keeps them together; remove copies that were not intended"
            yield _finding(dataset, "near_duplicate", f"{_counted(unit, within)}: {names}", fix, within)
    elif (unit.kind == "series" and len(splits) == 1) or (unit.kind == "object" and len(splits) == 1):
        text = f"{_counted(unit, unit.members)}: {_names(dataset, unit.members)}"
        yield _finding(dataset, "series", text, "nothing: a split keeps them together", unit.members, "note")


def _proposed(dataset: Dataset, proposal: Proposal) -> Finding:
    members = [i for example in proposal.examples for i in example]
    text = f"{proposal.evidence} ({proposal.groups:,} groups, {proposal.images:,} images)"
    fix = f"if the images of a group show one thing, train with {proposal.option}"
    paths = tuple(_id(dataset, i) for i in members)
    return Finding("proposal", text, fix, paths[0] if paths else "", severity="warning", paths=paths)


def _noun(unit: _Unit) -> str:
    plain = unit.identical or unit.kind in ("rule", "same")
    return _NOUNS[unit.kind] if plain else f"{_NOUNS[unit.kind]} ({unit.evidence})"


def _counted(unit: _Unit, members: Sequence[int]) -> str:
    return f"{len(members)} {_noun(unit)}"


def _id(dataset: Dataset, index: int) -> str:
    return dataset.samples[index].id


def _names(dataset: Dataset, members: Sequence[int]) -> str:
    shown = ", ".join(repr(_id(dataset, i)) for i in members[:_NAMED])
    return shown + (f" and {len(members) - _NAMED} more" if len(members) > _NAMED else "")


def _finding(
    dataset: Dataset,
    code: str,
    text: str,
    fix: str,
    members: Sequence[int],
    severity: Literal["error", "warning", "note"] = "warning",
) -> Finding:
    paths = tuple(_id(dataset, i) for i in members)
    return Finding(code, text, fix, paths[0], severity=severity, paths=paths)
