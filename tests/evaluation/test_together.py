"""What a report says of images that look as if they came in sessions."""

from eyewright.data.grouping import Grouping, Proposal
from eyewright.evaluation.together import count_look_alikes, look_alike_finding, say_look_alikes

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
