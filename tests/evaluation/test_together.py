"""What a report says of images that look as if they came in sessions."""

import numpy as np
import pytest
from tests.evaluation.answers import answers

from eyewright.core.report import Report
from eyewright.data.grouping import Grouping, Proposal
from eyewright.evaluation.together import (
    count_groups,
    count_look_alikes,
    look_alike_finding,
    say_groups,
    say_look_alikes,
    say_untested,
)

MEMBERS = ((0, 1, 2), (3, 4), (5, 6))
BY_LOOK = Proposal("--group-by groups.csv", "why", 3, 7, 0.001, look="background", members=MEMBERS)


def test_divided_look_alikes_are_said_once_and_in_numbers() -> None:
    splits = ["train", "test", "test", "train", "train", "test", "test", "test"]
    said = Grouping(proposals=(BY_LOOK,)).to_json(splits)
    assert said["proposals"][0]["divided"] == 2
    counted = count_look_alikes(said, 5)
    assert counted is not None
    text = say_look_alikes(counted)
    assert "7 images lie in 3 look-alike groups by the colour of their background (p = 0.001)" in text
    assert "2 of the 5 test images share one with training images" in text
    finding = look_alike_finding(counted)
    assert finding is not None
    assert finding.message == text
    assert "groups.csv" in finding.fix


def test_a_split_that_keeps_look_alikes_together_is_not_blamed() -> None:
    kept = Grouping(proposals=(BY_LOOK,)).to_json(["train"] * 3 + ["test"] * 5)
    assert count_look_alikes(kept, 5) is None
    few = Grouping(proposals=(BY_LOOK,)).to_json(["train", "test"] + ["train"] * 6)
    assert count_look_alikes(few, 50) is None
    by_name = Proposal("--group-by x", "why", 3, 7, 0.001)
    assert count_look_alikes(Grouping(proposals=(by_name,)).to_json(["train", "test"] * 4), 4) is None
    assert count_look_alikes(None, 5) is None
    assert say_look_alikes(None) == ""
    assert look_alike_finding(None) is None


def counts(**changed: object) -> dict[str, object]:
    return {"n": 100, "groups": 30, "largest": 6, "effective_n": 70.0, "few": False, "lone_classes": [], **changed}


def test_the_sentence_on_groups_says_how_sure_the_interval_is() -> None:
    plain = "The 100 images form 30 groups; intervals are computed over groups."
    worth = " The effective sample size is about 70 images."
    # 70 is 0.7 of 100: from there down it is worth a sentence.
    assert say_groups(counts()) == plain + worth
    assert say_groups(counts(effective_n=70.1)) == plain
    assert say_groups(None) == say_groups({}) == ""
    assert say_groups(counts(n=1000, groups=1)).startswith(
        "All 1,000 images belong to one group: no interval can be computed"
    )
    few = say_groups(counts(groups=5, few=True, effective_n=1.0))
    assert few.startswith("The 100 images form 5 groups; intervals are t intervals over only 5 groups, so they are")
    assert "effective" not in few


def test_classes_of_one_group_are_named_up_to_four() -> None:
    start = "The 100 images form 30 groups; intervals are computed over groups."
    found = [
        say_groups(counts(effective_n=100, lone_classes=list("abcdef"[:k]))).removeprefix(start) for k in (1, 2, 4, 6)
    ]
    assert found == [
        " Class “a” is tested on one group.",
        " Classes “a”, “b” are tested on one group each.",
        " Classes “a”, “b”, “c”, “d” are tested on one group each.",
        " Classes “a”, “b”, “c”, “d” and 2 more are tested on one group each.",
    ]


def test_look_alikes_count_from_a_tenth_of_the_test_images() -> None:
    proposal = {"divided": 5, "images": 7, "groups": 3, "look": "background", "p_value": 0.01, "option": "x"}
    said = {"n": 50, "divided": 5, "images": 7, "groups": 3, "look": "background", "p_value": 0.01}
    assert count_look_alikes({"proposals": [proposal]}, 50) == said
    assert count_look_alikes({"proposals": [proposal]}, 51) is None
    assert count_look_alikes({"proposals": [{**proposal, "divided": 0}]}, 0) is None
    # A proposal that divides nothing does not hide the next one.
    assert count_look_alikes({"proposals": [{}, proposal]}, 50) == said
    assert count_look_alikes({}, 50) is None
    finding = look_alike_finding(said)
    assert finding is not None
    assert (finding.code, finding.severity) == ("look_alikes", "warning")
    assert finding.fix.endswith("train with --group-by DIR/groups.csv")
    assert "groups by something (p = 0.01)" in say_look_alikes({**said, "look": "something"})


def untested(*rows: tuple[str, int]) -> str:
    per_class = tuple({"label": label, "n": n} for label, n in rows)
    return say_untested(Report("classify", tuple(label for label, _ in rows), 3, {}, per_class))


def test_classes_without_a_test_image_are_named_and_the_background_is_none() -> None:
    assert untested(("a", 1), ("Background", 0)) == untested() == ""
    assert untested(("a", 1), ("b", 0)) == "No test image shows class “b”: these numbers say nothing about it."
    assert untested(("a", 0), ("b", 0)) == "No test image shows classes “a”, “b”: these numbers say nothing about them."


@pytest.mark.parametrize(("groups", "largest", "few"), [(9, 5, True), (10, 4, False)])
def test_fewer_than_ten_groups_are_few(groups: int, largest: int, few: bool) -> None:
    drawn = answers("classify", 40, groups=[f"g{i % groups}" for i in range(40)])
    counted = count_groups(drawn.dataset, np.ones(40))
    assert counted is not None
    assert (counted["n"], counted["groups"], counted["largest"], counted["few"]) == (40, groups, largest, few)


def test_images_that_are_each_a_group_of_their_own_are_not_counted() -> None:
    for groups in (None, [f"g{i}" for i in range(40)]):
        assert count_groups(answers("classify", 40, groups=groups).dataset, np.ones(40)) is None
