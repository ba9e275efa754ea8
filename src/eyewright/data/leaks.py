"""What to do where a given split holds copies: they are left out of training, refused, or trained on with a warning."""

__all__ = ["MOST_DROPPED", "find_copies", "leak_rule", "settle_leaks"]

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eyewright.core.errors import LeakError, UsageError
from eyewright.data.account import Reason
from eyewright.data.audit_pixels import audit_pixels
from eyewright.data.copies import LEAK_RULES, Copy, LeakRule, Leaks
from eyewright.data.dataset import Dataset
from eyewright.data.likeness import copy_links
from eyewright.data.scan import Scan

MOST_DROPPED = 0.01
"""Up to this share of the training images copies are left out of training; more are refused."""

# Parts in the order in which they give way: a copy is taken out of train, never out of test.
_YIELDING = ("train", "val", "test")
_SAME = "the same bytes"


def leak_rule(leaks: str | None, allow_leaks: bool = False) -> LeakRule:
    """Return the rule of `--leaks`, of which `--allow-leaks` is another spelling of "allow"; "drop" by default.

    Raises:
        UsageError: an unknown rule, or two that contradict each other.
    """
    if leaks is not None and leaks not in LEAK_RULES:
        raise UsageError(f"expected drop, refuse or allow for --leaks, found {leaks!r}", fix="use one of them")
    if allow_leaks and leaks not in (None, "allow"):
        raise UsageError(f"expected --leaks or --allow-leaks, found --leaks {leaks} and --allow-leaks", fix="drop one")
    return "allow" if allow_leaks else leaks or "drop"


def find_copies(dataset: Dataset, scan: Scan, among: frozenset[str] | None = None) -> tuple[Copy, ...]:
    """Return the training images that are copies of validation or test images, and the validation images that are
    copies of test images, in the order of the samples.

    Copies have the same bytes or were verified on pixels (`Link.exact`); copies of copies count. Frames of a series and
    views of one object are none, nor are images of one colour. Where only equal files was asked to be kept
    together (`--group-by none`) only those count. Verified copies count only where the grouping of the dataset keeps
    them together and, with `among`, where both are of these ids; identical files always.
    """
    parts = [s.split for s in dataset.samples]
    if len(set(parts) - {None}) < 2:
        return ()
    sets = _Sets(len(dataset))
    first: dict[str, int] = {}
    for i, record in enumerate(scan.records):
        if record.error is None:
            sets.join(first.setdefault(record.digest, i), i)
    how: dict[tuple[int, int], str] = {}
    if dataset.grouping is None or dataset.grouping.rule != "none":
        groups = None if dataset.grouping is None else [s.group for s in dataset.samples]
        for link in copy_links(dataset, scan):
            i, j = link.i, link.j
            # Links of fewer or more images may differ a little: only those count that the grouping saw too.
            seen = groups is None or (groups[i] and groups[i] == groups[j])
            if seen and (among is None or {dataset.samples[i].id, dataset.samples[j].id} <= among):
                sets.join(link.i, link.j)
                how[link.i, link.j] = link.how
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(dataset)):
        members[sets.find(i)].append(i)
    crossing = [own for own in members.values() if len({parts[i] for i in own}) > 1]
    if not crossing:
        return ()
    blank = audit_pixels(dataset, scan)[1]
    found: list[tuple[int, Copy]] = []
    for own in crossing:
        left = [i for i in own if i not in blank]
        held = max((str(parts[i]) for i in left), key=_YIELDING.index, default="train")
        of = [i for i in left if parts[i] == held]
        for i in left:
            if parts[i] != held:
                j, words = _nearest(i, of, scan, how)
                found.append((i, Copy(dataset.samples[i].id, str(parts[i]), dataset.samples[j].id, held, words)))
    return tuple(copy for _, copy in sorted(found, key=lambda f: f[0]))


def settle_leaks(dataset: Dataset, scan: Scan, rule: LeakRule, *, among: frozenset[str] | None = None) -> Dataset:
    """Return the dataset as it is trained on under `rule`, with `Dataset.leaks` saying what was found and done.

    "drop" leaves the copies out of train (and val), never out of test, as long as they are at most 1 % of the training
    images. The same files always give the same dataset. A dataset that has been settled is returned as it is. `among`
    is as for `find_copies`: the other images were settled before.

    Raises:
        LeakError: copies under "refuse"; more than 1 % under "drop", or a class or part that would vanish.
    """
    if dataset.leaks is not None:
        return dataset
    copies = find_copies(dataset, scan, among)
    sizes = Counter(str(s.split) for s in dataset.samples)
    held = _held_out(dataset, scan, copies)
    leaks = Leaks(rule, copies, tuple((p, sizes[p]) for p in _YIELDING if sizes[p]), held)
    if copies and rule == "refuse":
        fix = "remove them (eyewright doctor lists them), use --leaks drop, or train on them with --leaks allow"
        raise LeakError(f"{_both(leaks)}; --leaks refuse was asked for", fix=fix)
    if copies and rule == "drop":
        if len(copies) > MOST_DROPPED * sizes["train"]:
            raise LeakError(
                f"{_both(leaks)}; up to {MOST_DROPPED:.0%} of the training images are left out of training, not more",
                fix="remove them (eyewright doctor lists them), let eyewright split, or train on them with --leaks "
                "allow, whose result is too good",
            )
        dataset = _without(dataset, leaks)
    siblings, groups = _siblings(dataset, leaks)
    return replace(dataset, leaks=replace(leaks, siblings=siblings, sibling_groups=groups))


def _both(leaks: Leaks) -> str:
    n = len(leaks.copies)
    verb = "image is" if n == 1 else "images are"
    return f"{n:,} {verb} on both sides of the split: {leaks.counts()}, such as {leaks.copies[0]}"


def _without(dataset: Dataset, leaks: Leaks) -> Dataset:
    """Return the dataset without the copies.

    Raises:
        LeakError: training would lose a class, or validation all of its images.
    """
    out = {c.id for c in leaks.copies}
    rows = [i for i, s in enumerate(dataset.samples) if s.id not in out]
    kept = replace(
        dataset.with_samples((dataset.samples[i] for i in rows), leaks.note()),
        grouping=None if dataset.grouping is None else dataset.grouping.chosen(rows),
        account=dataset.account.with_left_out(
            Reason("copies of validation or test images, left out of training", len(out), leaks.copies[0].id)
        ),
    )
    gone = [p for p in dataset.splits if p not in kept.splits]
    text = f"{_both(leaks)}; without them"
    fix = "move the images of the class to one part, add others to train, or train on them with --leaks allow"
    if gone:
        raise LeakError(f"{text} the {gone[0]} part would be empty", fix=fix)
    before, after = (d.select(lambda s: s.split == "train").counts() for d in (dataset, kept))
    lost = [name for name, n in before.items() if n and not after[name]]
    if lost:
        raise LeakError(f"{text} class {lost[0]!r} would have nothing to learn from", fix=fix)
    return kept


def _held_out(dataset: Dataset, scan: Scan, copies: Sequence[Copy]) -> tuple[tuple[str, int], ...]:
    """Return how many images of each part others are copies of: those named, and those of the same bytes."""
    of = {c.of for c in copies}
    named = {scan.records[i].digest for i, s in enumerate(dataset.samples) if s.id in of}
    parts = {c.of_part for c in copies}
    counts: Counter[str] = Counter()
    for sample, record in zip(dataset.samples, scan.records, strict=True):
        if sample.split in parts and record.digest in named:
            counts[str(sample.split)] += 1
    return tuple((p, counts[p]) for p in _YIELDING if counts[p])


def _siblings(dataset: Dataset, leaks: Leaks) -> tuple[int, int]:
    """Return how many test images are of a group that training images are of too, and the number of such groups.

    Training images that are copies of held-out images count as copies, not as siblings.
    """
    copies = {c.id for c in leaks.copies}
    learnt = {s.group for s in dataset.samples if s.group and s.split == "train" and s.id not in copies}
    tested = [s.group for s in dataset.samples if s.split == "test" and s.group in learnt]
    return len(tested), len(set(tested))


def _nearest(i: int, of: Sequence[int], scan: Scan, how: dict[tuple[int, int], str]) -> tuple[int, str]:
    """Return the image of `of` that `i` is a copy of, and what differs."""
    for j in of:
        if scan.records[i].digest == scan.records[j].digest:
            return j, _SAME
    for j in of:
        words = how.get((min(i, j), max(i, j)))
        if words is not None:
            return j, words
    return of[0], "a copy of a copy"


class _Sets:
    """Disjoint sets of samples."""

    def __init__(self, n: int) -> None:
        self._parent = np.arange(n)

    def find(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = int(self._parent[i])
        return i

    def join(self, i: int, j: int) -> None:
        a, b = sorted((self.find(i), self.find(j)))
        self._parent[b] = a
