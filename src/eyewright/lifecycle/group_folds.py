"""Cross-validation over groups: how does a model fare on a group that it has learnt nothing of?"""

__all__ = ["MOST_LEFT_OUT", "group_folds", "with_groups"]

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from eyewright.core.errors import DatasetError
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data import fold_datasets
from eyewright.data.splits import group_samples
from eyewright.lifecycle.datasets import scan_of

if TYPE_CHECKING:
    from eyewright.data import Dataset, Scan

MOST_LEFT_OUT = 20
"""Up to this number of groups they are left out one by one; more are put into folds of whole groups."""

_FOLDS = 10
_VALIDATION = 1 / 8


def with_groups(dataset: "Dataset", scan: "Scan", *, group_by: str | None = None) -> "Dataset":
    """Return the dataset with `Sample.group` set for every image that belongs together with another.

    A group that the data states keeps its name, where it is not joined with others.
    """
    ids = _ids(dataset, scan, group_by)
    members: dict[int, list[int]] = defaultdict(list)
    for i, group in enumerate(ids):
        members[group].append(i)
    samples = list(dataset.samples)
    for own in members.values():
        given = {samples[i].group for i in own}
        name = given.pop() if len(given) == 1 else None
        for i in own:
            samples[i] = replace(samples[i], group=(name or samples[own[0]].id) if len(own) > 1 else None)
    return replace(dataset, samples=tuple(samples))


def group_folds(
    dataset: "Dataset", *, scan: "Scan", seed: int = 0, group_by: str | None = None
) -> tuple[list["Dataset"], str]:
    """Return a dataset for each group, in which that group is the test part, and a sentence that says which was done.

    Validation images are whole groups too, about an eighth of the rest, unless a class would vanish from training then;
    then they are single images of the groups that are trained on. More than 20 groups are put into 10 folds of whole
    groups. A test part that came with the data is left out.

    Raises:
        DatasetError: fewer than 3 groups, or a class that occurs in one group only.
    """
    given = {s.split for s in dataset.samples}
    chosen = [i for i, s in enumerate(dataset.samples) if s.split != "test" or given == {"test"}]
    groups = _ids(dataset, scan, group_by)
    members: dict[int, list[int]] = defaultdict(list)
    for i in chosen:
        members[groups[i]].append(i)
    if len(members) < 3:
        raise DatasetError(
            f"expected 3 groups or more to leave out one by one, found {len(members)}",
            fix="say what belongs together with --group-by, or use --folds 5",
        )
    if len(members) > MOST_LEFT_OUT:
        parts = fold_datasets(dataset, _FOLDS, scan=scan, seed=seed, group_by=group_by)
        note = f"{len(members):,} groups, too many to leave out one by one: {_FOLDS} folds of whole groups."
        return [with_groups(p, _of(p, dataset, scan), group_by=group_by) for p in parts], note
    _refuse_lone_classes(dataset, members)
    names = with_groups(dataset, scan, group_by=group_by).samples
    parts = []
    for k, test in enumerate(members):
        rest = [own for group, own in members.items() if group != test]
        val = _validation(dataset, rest, generator(seed, "validation", k))
        held = set(members[test])
        samples = [replace(names[i], split="test" if i in held else "val" if i in val else "train") for i in chosen]
        parts.append(dataset.with_samples(samples, f"group {k + 1} of {len(members)} left out"))
    return parts, f"{len(members)} groups, left out one by one."


def _ids(dataset: "Dataset", scan: "Scan", group_by: str | None) -> list[int]:
    return group_samples(dataset, scan, group_by=group_by)


def _of(part: "Dataset", whole: "Dataset", scan: "Scan") -> "Scan":
    return scan if part.samples == whole.samples else scan_of(part)


def _refuse_lone_classes(dataset: "Dataset", members: dict[int, list[int]]) -> None:
    of_class: dict[int, set[int]] = defaultdict(set)
    for group, own in members.items():
        for i in own:
            for label in dataset.held(i):
                of_class[label].add(group)
    lone = {label: next(iter(groups)) for label, groups in of_class.items() if len(groups) == 1}
    # Of masks the background may be marked or not; it is learnt from every image.
    for label, group in lone.items():
        if label in dataset.foreground:
            name = dataset.labels.names[label]
            own = [i for i in members[group] if label in dataset.held(i)]
            task = task_of(dataset.task)
            n = sum(list(task.counted(dataset.samples[i].target.marks())).count(label) for i in own)
            held = f"{len(own):,} image{'s' * (len(own) != 1)}"
            if task.words.counted != "image":
                held = f"{n:,} {task.words.counted}{'s' * (n != 1)} in {held}"
            raise DatasetError(
                f"class {name!r} occurs in one group only ({held}, such as {dataset.samples[own[0]].id!r}): with the "
                f"group left out the class cannot be learnt",
                fix="use --folds 5 with another --group-by, add images of other groups, or remove the class",
            )


def _validation(dataset: "Dataset", rest: list[list[int]], rng: "object") -> set[int]:
    """Choose about an eighth of the images: whole groups if every class stays in training, else single images."""
    assert isinstance(rng, np.random.Generator)
    wanted = max(1, round(_VALIDATION * sum(len(own) for own in rest)))
    held = {i: set(dataset.held(i)) for own in rest for i in own}
    order = [rest[k] for k in rng.permutation(len(rest))]
    order.sort(key=len)
    every = set().union(*held.values())
    val: set[int] = set()
    for own in order:
        kept = [i for other in rest for i in other if i not in val and i not in own]
        if kept and set().union(*(held[i] for i in kept)) == every:
            val |= set(own)
        if len(val) >= wanted:
            break
    if val:
        return val
    images = [i for own in rest for i in own]
    return {images[k] for k in rng.permutation(len(images))[:wanted].tolist()}
