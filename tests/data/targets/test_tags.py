"""Sets of tags: which an image has, which it has not, and which nobody has judged."""

from pathlib import Path

import numpy as np

from eyewright.core.labels import LabelSpace
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.targets.label import LABEL, Label
from eyewright.data.targets.objects import OBJECTS, Objects, no_objects
from eyewright.data.targets.tags import TAGS, Tags, tag_sets
from eyewright.data.tree import FolderTree

NAMES = ("cat", "dog", "grass")


def test_absent_and_unknown_are_told_apart() -> None:
    values = Tags(frozenset({0}), frozenset({2})).values(3)
    assert values[:2].tolist() == [1, 0]
    assert np.isnan(values[2])


def test_a_cell_of_split_csv_is_read_back_whatever_tags_are_called() -> None:
    names = ("a|b", "?c", "d\\", "e")
    tags = Tags(frozenset({0, 1}), frozenset({2}))
    assert TAGS.of_cell(tags.cell(names), names) == tags
    assert TAGS.of_cell("", names) == Tags(frozenset())
    assert TAGS.of_cell("owl", names) is None


def test_a_tag_that_is_gone_leaves_the_others() -> None:
    tags = Tags(frozenset({0, 1}), frozenset({2}))
    assert tags.without(np.array([-1, 0, 1])) == Tags(frozenset({0}), frozenset({1}))


def test_objects_are_tags_and_ignore_regions_are_not_judged() -> None:
    boxes, ids = np.zeros((3, 4)), np.array([1, 1, 2])
    marked = Objects(boxes, ids, np.array([False, True, True]))
    (tags, none), names = TAGS.made_from[OBJECTS]([marked, no_objects()], NAMES)
    assert tags == Tags(frozenset({1}), frozenset({2}))
    assert none.empty(frozenset())
    assert names == NAMES


def test_a_class_is_one_tag() -> None:
    assert TAGS.made_from[LABEL]([Label(1)], NAMES) == ([Tags(frozenset({1}))], NAMES)


def test_tags_get_ids_in_the_order_of_their_names() -> None:
    targets, names = tag_sets([["dog", "cat"], []], [[], ["ant"]])
    assert names == ("ant", "cat", "dog")
    assert targets == [Tags(frozenset({1, 2})), Tags(frozenset(), frozenset({0}))]


def test_copies_contradict_each_other_only_in_what_all_are_judged_for() -> None:
    a, b = Tags(frozenset({0}), frozenset({1})), Tags(frozenset({0, 1}))
    assert len(set(TAGS.sides([a, b], NAMES))) == 1
    assert len(set(TAGS.sides([Tags(frozenset({0})), b], NAMES))) == 2


def test_the_doctor_names_tags_without_a_contrast_or_a_judgement() -> None:
    targets = [Tags(frozenset({0}), frozenset({2})), Tags(frozenset({0, 1}), frozenset({2})), Tags(frozenset({0, 2}))]
    samples = tuple(Sample(f"{i}.png", t) for i, t in enumerate(targets))
    data = Dataset(FolderTree(Path(".")), samples, LabelSpace(NAMES), "made", "classify")
    found = [(f.code, f.message) for f in TAGS.audit(data, None)]  # type: ignore[arg-type]
    assert [code for code, _ in found] == ["tag_everywhere", "tag_everywhere", "tag_unjudged"]
    assert "'grass' is not annotated in 2 of 3" in found[2][1]
