"""What a report counts of images that belong together; and a comparison over their groups."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.answers import Answers, answers

from eyewright.core import LabelSpace
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.evaluation import reporting_of
from eyewright.evaluation.together import count_groups, group_names, say_groups

TASKS = ("classify", "detect", "instance", "segment")


def dataset(groups: list[str | None], labels: list[int], *, names: tuple[str, ...] = ("bolt", "nut")) -> Dataset:
    tree = ArrayTree(Path("."), {"x": np.zeros((len(groups), 2, 2), np.uint8)})
    samples = tuple(Sample(f"x/{i}", k, group=g) for i, (g, k) in enumerate(zip(groups, labels, strict=True)))
    return Dataset(tree, samples, LabelSpace(names), "drawn", "classify")


def test_an_image_without_a_group_is_its_own_even_if_a_group_has_its_name() -> None:
    found = group_names(dataset(["x/1", None, "x/1"], [0, 0, 1]))
    assert found is not None
    assert found[0] == found[2] != found[1]
    assert group_names(dataset([None, None], [0, 1])) is None


def test_groups_are_counted_with_the_largest_and_the_classes_of_one_group() -> None:
    data = dataset(["a", "a", "a", "b", None], [0, 0, 1, 1, 1])
    counted = count_groups(data, np.array([1.0, 1.0, 0.0, 1.0, 1.0]))
    assert counted is not None
    assert {k: counted[k] for k in ("n", "groups", "largest", "few")} == {
        "n": 5,
        "groups": 3,
        "largest": 3,
        "few": True,
    }
    # Both images of "bolt" are of group a; those of "nut" are of three.
    assert counted["lone_classes"] == ["bolt"]
    assert "Class “bolt” is tested on one group." in say_groups(counted)
    assert count_groups(dataset([None] * 4, [0, 1, 0, 1]), np.ones(4)) is None


def test_a_class_seen_once_is_not_of_one_group() -> None:
    counted = count_groups(dataset(["a", "b", "b"], [0, 1, 1]), np.ones(3))
    assert counted is not None
    assert counted["lone_classes"] == ["nut"]


def test_images_of_one_group_that_go_alike_count_less() -> None:
    """40 groups of 5: where all of a group go alike there are 40 images' worth, where they do not about 200."""
    groups: list[str | None] = [f"g{i // 5}" for i in range(200)]
    data = dataset(groups, [i % 2 for i in range(200)])
    rng = np.random.default_rng(0)
    alike, apart = np.repeat(rng.random(40) < 0.5, 5).astype(float), (rng.random(200) < 0.5).astype(float)
    counts = [count_groups(data, s) for s in (alike, apart)]
    assert counts[0] is not None
    assert counts[1] is not None
    assert counts[0]["effective_n"] == pytest.approx(40, abs=2)
    assert counts[1]["effective_n"] > 150


@pytest.mark.parametrize("task", TASKS)
def test_a_comparison_over_groups_is_less_sure_than_one_over_images(task: str) -> None:
    """Whole groups go well or badly: B is better in three groups of six, which over images looks like 30 of 60."""
    skill = np.repeat([0.95, 0.95, 0.95, 0.5, 0.5, 0.5], 10)
    groups = [f"{i // 10}" for i in range(60)]
    compare = reporting_of(task).compare

    def compared(own: list[str] | None):  # type: ignore[no-untyped-def]
        a, b = (answers(task, 60, skill=s, groups=own) for s in (skill - 0.4, skill))
        return compare(a.results, b.results, 0)

    alone, together = compared(None), compared(groups)
    assert (alone.groups, together.groups) == (None, 6)
    main = next(iter(alone.differences))
    assert alone.differences[main].value == together.differences[main].value
    assert alone.lead == together.lead > 0
    assert together.p_value > alone.p_value


@pytest.mark.parametrize("task", TASKS)
def test_two_equal_models_are_no_better_and_sides_can_be_exchanged(task: str) -> None:
    a, b = answers(task, 40, skill=np.full(40, 0.4)), answers(task, 40, skill=np.full(40, 0.95))
    compare = reporting_of(task).compare
    same = compare(a.results, a.results, 0)
    assert (same.better, same.only_a, same.only_b, same.p_value) == ("neither", 0, 0, 1.0)
    there, back = compare(a.results, b.results, 0), compare(b.results, a.results, 0)
    assert (there.better, back.better) == ("b", "a")
    assert (there.only_a, there.only_b) == (back.only_b, back.only_a)
    assert there.task == task
    for name, difference in there.differences.items():
        assert difference.value == pytest.approx(-back.differences[name].value)


def test_groups_of_masks_leave_the_background_out_of_lone_classes() -> None:
    made = answers("segment", 30)
    data = replace(
        made.dataset, samples=tuple(replace(s, target=_Held((0, 1)), group="one") for s in made.dataset.samples)
    )
    report = Answers(data, replace(made.results, dataset=data)).report()  # type: ignore[type-var]
    assert report.tables["together"]["lone_classes"] == ["crack"]


class _Held:
    """A target that holds these classes."""

    def __init__(self, held: tuple[int, ...]) -> None:
        self.held = held
