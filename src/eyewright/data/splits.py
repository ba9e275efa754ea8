"""Split a dataset so that a test result means something: stratified, and nothing similar on two sides."""

__all__ = ["FRACTIONS", "fold_datasets", "group_samples", "split_dataset"]

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from eyewright.core.errors import DatasetError, UsageError
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset, Sample, SplitName
from eyewright.data.grouped import find_groups, with_groups
from eyewright.data.scan import Scan

Part = TypeVar("Part", SplitName, int)

FRACTIONS: Mapping[SplitName, float] = MappingProxyType({"train": 0.7, "val": 0.1, "test": 0.2})
"""Parts of a dataset that comes without a split."""

_ENOUGH_GROUPS = 10
_LARGEST_TEST = 0.3
_FAR_OFF = 0.1
# Far above the rounding of a sum that is kept up to date, and far below one image.
_ROUNDING = 1e-6


def group_samples(dataset: Dataset, scan: Scan | None, *, group_by: str | None = None) -> list[int]:
    """Return for each sample the number of the group that must stay on one side of a split (see `find_groups`)."""
    found: list[int] = find_groups(dataset, scan, group_by=group_by).ids(len(dataset)).tolist()
    return found


def split_dataset(dataset: Dataset, *, scan: Scan | None = None, seed: int = 0, group_by: str | None = None) -> Dataset:
    """Return the dataset with every sample in train, val or test.

    A split that comes with the data is kept. What is missing is taken from train: a dataset without a split is cut
    70/10/20, one without val gives a tenth of train to it, and one with train and val only uses its val as test (it
    was held out) and takes a new val from train. Class proportions are kept; groups (`group_samples`) stay whole. Where
    images form fewer than 50 groups, up to 30 % of them are test, so that its numbers rest on more groups. A class
    that occurs in one group is learnt and not tested, which a note says.

    Raises:
        DatasetError: too few images to have some in every part.
        UsageError: `group_by` is not a regular expression.
    """
    grouping = find_groups(dataset, scan, group_by=group_by)
    groups = grouping.ids(len(dataset)).tolist()
    dataset = with_groups(dataset, grouping)
    present = set(dataset.splits)
    unassigned = [s for s in dataset.samples if s.split is None]
    notes: list[str] = []
    parts: dict[SplitName, float]
    if present and unassigned:
        raise DatasetError(
            f"expected a split for every image, found {len(unassigned)} of {len(dataset)} without one, "
            f"such as {unassigned[0].id!r}",
            fix="fill in the split column",
        )
    if present == {"train", "val", "test"}:
        return dataset
    if not present or present == {"train"}:
        parts = _fractions(groups)
        words = "/".join(f"{100 * share:.0f}" for share in parts.values())
        few = "" if parts == FRACTIONS else f", more test than usual because there are only {len(set(groups))} groups"
        notes.append(f"split {words} by {dataset.kind.shares}{few}")
    elif "train" not in present:
        raise DatasetError(f"the dataset has {' and '.join(sorted(present))} but no train part", fix="add train")
    else:
        parts = {"train": 0.9, "val": 0.1}
        if present == {"train", "val"}:
            dataset = replace(
                dataset,
                samples=tuple(replace(s, split="test" if s.split == "val" else s.split) for s in dataset.samples),
            )
            notes.append("the given val part is held out as test; a tenth of train is used for validation")
        else:
            notes.append("a tenth of train is used for validation")
    chosen = [i for i, s in enumerate(dataset.samples) if s.split in (None, "train")]
    strata = dataset.strata
    lone = _lone_classes([strata[i] for i in chosen], [groups[i] for i in chosen])
    fixed: dict[int, SplitName] = dict.fromkeys(lone.values(), "train")
    assigned = _assign([strata[i] for i in chosen], [groups[i] for i in chosen], parts, seed, fixed=fixed)
    if lone and not present & {"val", "test"}:
        notes.append(_not_tested(dataset, list(lone)))
    samples = list(dataset.samples)
    for i, split in zip(chosen, assigned, strict=True):
        samples[i] = replace(samples[i], split=split)
    if notes and notes[0].startswith("split "):
        notes[0] += _far_off(samples, parts)
    result = dataset.with_samples(samples, *notes)
    lacking = [p for p in ("train", "val", "test") if p not in result.splits]
    if lacking:
        raise _too_small(result, lacking, groups, len(lone), group_by)
    return result


def fold_datasets(
    dataset: Dataset, k: int, *, scan: Scan | None = None, seed: int = 0, group_by: str | None = None
) -> list[Dataset]:
    """Return `k` datasets for cross-validation: in each, another k-th of the images is test, an eighth of the rest val.

    Class proportions are kept in every fold; groups (`group_samples`) stay whole. A test part that came with the data
    is left out of all folds: it stays for the end.

    Raises:
        UsageError: `k` is less than 2, or `group_by` is not a regular expression.
        DatasetError: a class has fewer images that are not similar than folds, so it would vanish from one.
    """
    if k < 2:
        raise UsageError(f"expected 2 folds or more, found {k}", fix="use --folds 5")
    given = {s.split for s in dataset.samples}
    chosen = [i for i, s in enumerate(dataset.samples) if s.split != "test" or given == {"test"}]
    grouping = find_groups(dataset, scan, group_by=group_by)
    groups = grouping.ids(len(dataset)).tolist()
    dataset = with_groups(dataset, grouping)
    strata = dataset.strata
    targets = [strata[i] for i in chosen]
    of_class: dict[int, set[int]] = defaultdict(set)
    for i, target in zip(chosen, targets, strict=True):
        # Images in which nothing is marked are of no class that could vanish.
        if target >= 0:
            of_class[target].add(groups[i])
    if not of_class:
        raise DatasetError("nothing is marked in any image", fix="annotate some")
    scarce = min(of_class, key=lambda t: len(of_class[t]))
    if len(of_class[scarce]) < k:
        raise DatasetError(
            f"expected {k} distinct images or more of every {dataset.kind.shares}, one for each fold, "
            f"found {len(of_class[scarce])} of {dataset.stratum(scarce)}",
            fix=f"use --folds {len(of_class[scarce])}, or add images"
            if len(of_class[scarce]) > 1
            else f"add images of it, or remove the {dataset.kind.shares}",
        )
    folds = _assign(targets, [groups[i] for i in chosen], dict.fromkeys(range(k), 1 / k), seed)
    seen = set(zip(targets, folds, strict=True))
    vanished = next(((t, f) for t in of_class for f in range(k) if (t, f) not in seen), None)
    if vanished is not None:
        raise DatasetError(
            f"{dataset.stratum(vanished[0])} is missing from a fold: its images are near copies of those of others",
            fix="use fewer --folds, or another --group-by",
        )
    result = []
    for fold in range(k):
        rest = [j for j, f in enumerate(folds) if f != fold]
        shares: dict[SplitName, float] = {"train": 7 / 8, "val": 1 / 8}
        inner = _assign([targets[j] for j in rest], [groups[chosen[j]] for j in rest], shares, seed)
        split: dict[int, SplitName] = {chosen[j]: part for j, part in zip(rest, inner, strict=True)}
        samples = [replace(dataset.samples[i], split=split.get(i, "test")) for i in chosen]
        part = replace(dataset, grouping=grouping.chosen(chosen))
        result.append(part.with_samples(samples, f"fold {fold + 1} of {k}"))
    return result


def _fractions(groups: list[int]) -> dict[SplitName, float]:
    """Return the parts of a dataset without a split: of few groups more are tested, or its interval says nothing."""
    count = len(set(groups))
    if 2 * count > len(groups):
        return dict(FRACTIONS)
    test = min(_LARGEST_TEST, max(FRACTIONS["test"], round(_ENOUGH_GROUPS / count, 2)))
    return {"train": 1 - FRACTIONS["val"] - test, "val": FRACTIONS["val"], "test": test}


def _far_off(samples: Sequence[Sample], parts: Mapping[SplitName, float]) -> str:
    """Return what the parts hold in words, where groups are so large that it is far from what was meant."""
    held = {part: sum(s.split == part for s in samples) / len(samples) for part in parts}
    if all(abs(held[part] - share) <= _FAR_OFF for part, share in parts.items()):
        return ""
    return f"; groups are so large that it became {'/'.join(f'{100 * share:.0f}' for share in held.values())}"


def _lone_classes(targets: list[int], groups: list[int]) -> dict[int, int]:
    """Return the classes whose images are one group, or one image, with the number of that group."""
    held: dict[int, list[int]] = defaultdict(list)
    for target, group in zip(targets, groups, strict=True):
        if target >= 0:
            held[target].append(group)
    return {k: own[0] for k, own in sorted(held.items()) if len(set(own)) == 1}


def _not_tested(dataset: Dataset, lone: list[int]) -> str:
    """Return a note on the classes of which all images are one group."""
    names = [dataset.stratum(k) for k in lone]
    if len(names) == 1:
        return f"{names[0]} is trained on but not tested, because all images of it are one group"
    one, many = dataset.kind.shares, dataset.kind.side[1]
    shown = ", ".join(n.removeprefix(f"{one} ") for n in names[:5]) + " and more" * (len(names) > 5)
    return f"{many} {shown} are trained on but not tested, because all images of each are one group"


def _too_small(
    dataset: Dataset, lacking: list[str], groups: list[int], lone: int, group_by: str | None
) -> DatasetError:
    """Return the error of a dataset that cannot be split: too few images, or too few groups of them."""
    n, count, classes = len(dataset), len(set(groups)), len(dataset.labels)
    held_classes = f", {classes} classes" if classes else ""
    nothing = f"nothing left for {' and '.join(lacking)}"
    if n < 3 * classes or count == n:
        text = f"too few images to split: {nothing} ({n} images, {count} distinct{held_classes})"
        return DatasetError(text, fix=f"collect at least 3 different images per {dataset.kind.shares}")
    held = f"{count} group{'s' * (count != 1)}"
    asked = group_by not in (None, "none")
    by = f" by --group-by '{group_by}' and because they are copies" if asked else ""
    text = f"too few groups to split: {nothing}, because the {n} images belong together in {held}{by}"
    if lone:
        of = f" of {classes} class{'es' * (classes != 1)}" if classes else ""
        text += f", and all images of {lone}{of} are one group"
    if asked:
        fix = "use a --group-by that makes at least 3 groups of each class, add images of other groups, or leave it out"
        return DatasetError(text, fix=fix)
    fix = (
        "add images of other things of each class (another clip, scene or object), at least 3; or use --group-by none, "
        "whose numbers do not tell how the model performs on new things"
    )
    return DatasetError(text, fix=fix)


def _assign(
    targets: list[int],
    groups: list[int],
    parts: Mapping[Part, float],
    seed: int,
    *,
    fixed: Mapping[int, Part] | None = None,
) -> list[Part]:
    """Return the part of each sample: groups, the largest first, go where their classes lack the largest share.

    `fixed` names the parts of some groups by their numbers; the others share what is left.
    """
    names = list(parts)
    members: dict[int, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    # Strata may be -1 (nothing is marked): the last row of `lack` is theirs.
    counts = np.bincount([t + 1 for t in targets]) if targets else np.zeros(1)
    counts = np.roll(counts, -1)
    lack: list[list[float]] = np.outer(counts, list(parts.values())).tolist()
    order = list(members.values())
    generator(seed, "split").shuffle(order)
    order.sort(key=len, reverse=True)
    result: list[Part] = [names[0]] * len(targets)
    share = list(parts.values())
    places = range(len(names))
    # What each part lacks in all: kept up to date, because a sum over a thousand classes for every group takes long.
    total = np.sum(lack, 0).tolist()
    fixed = fixed or {}
    order.sort(key=lambda own: groups[own[0]] not in fixed)
    for alike in order:
        held = [targets[i] for i in alike]
        # Relative to its share, the neediest part takes the group; a part that would overflow comes last.
        need = [sum(lack[t][k] for t in held) / len(held) for k in places]
        rank = [n / s if n >= 0.5 else n - 1e6 for n, s in zip(need, share, strict=True)]
        highest = max(rank)
        part = rank.index(highest)
        if len(alike) > 1 and len(alike) > min(total) - _ROUNDING and len(alike) > np.sum(lack, 0).min():
            # Rounding must not decide between parts that lack equally much; a group that not every part can hold goes
            # to the one that is meant to be the largest.
            even = [r >= highest - 1e-6 * abs(highest) for r in rank]
            part = max(places, key=lambda k: share[k] if even[k] else -1.0)
        if groups[alike[0]] in fixed:
            part = names.index(fixed[groups[alike[0]]])
        total[part] -= len(alike)
        for i in alike:
            result[i] = names[part]
            lack[targets[i]][part] -= 1
    _fill_empty(result, targets, list(members.values()), names)
    _teach_all(result, targets, list(members.values()), names)
    return result


def _teach_all(result: list[Part], targets: list[int], groups: list[list[int]], names: list[Part]) -> None:
    """Let no class go without training images: of a class that is only held out, the smallest group is learnt."""
    train = names[0]
    if train != "train":
        return
    learnt = {t for t, part in zip(targets, result, strict=True) if part == train}
    only_held_out = {t for t in targets if t >= 0} - learnt
    of_class: dict[int, list[list[int]]] = defaultdict(list)
    for group in groups:
        for target in {targets[i] for i in group} & only_held_out:
            of_class[target].append(group)
    for target in sorted(only_held_out):
        held = of_class[target]
        chosen = min(held, key=lambda g: (len(g), result[g[0]] == "test", g))
        if result[chosen[0]] != train:
            for i in chosen:
                result[i] = train


def _fill_empty(result: list[Part], targets: list[int], groups: list[list[int]], names: list[Part]) -> None:
    """Let no part go without a class that has enough groups to share: classes of few images round to nothing."""
    of_class: dict[int, list[list[int]]] = defaultdict(list)
    for group in groups:
        if len({targets[i] for i in group}) == 1:
            of_class[targets[group[0]]].append(group)
    for own in of_class.values():
        for name in reversed(names):
            held = {n: [g for g in own if result[g[0]] == n] for n in names}
            spare = max(names, key=lambda n: len(held[n]))
            if not held[name] and len(held[spare]) > 1:
                for i in held[spare][-1]:
                    result[i] = name
