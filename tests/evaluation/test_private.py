"""What a report keeps of a run whose training images are private."""

from eyewright.evaluation.private import private_facts, told

ABOUT = {
    "privacy": {"epsilon": 3},
    "dataset": {"name": "d", "format": "coco", "images": {"train": 3}, "groups": None, "fingerprint": "f", "leaks": 1},
    "grouping": {"words": "by day", "rule": "r", "groups": 3, "warnings": [], "proposals": ["a.png"]},
    "recipe": {"epochs": 3},
}


def test_what_follows_single_images_is_left_out_where_they_are_private() -> None:
    kept = told(ABOUT)
    assert kept["dataset"] == {"name": "d", "format": "coco", "images": {"train": 3}, "groups": None}
    assert kept["grouping"] == {"words": "by day", "rule": "r", "groups": 3, "warnings": []}
    assert (kept["recipe"], kept["privacy"]) == (ABOUT["recipe"], ABOUT["privacy"])


def test_a_run_that_is_not_private_keeps_everything() -> None:
    for privacy in ({}, None):
        about = {**ABOUT, "privacy": privacy}
        assert told(about) == about
        assert told(about) is not about
    assert told({}) == {}


def test_nothing_is_added_that_was_not_there() -> None:
    assert told({"privacy": {"epsilon": 1}}) == {"privacy": {"epsilon": 1}}
    empty = told({"privacy": {"epsilon": 1}, "dataset": None, "grouping": None})
    assert empty == {"privacy": {"epsilon": 1}, "dataset": {}, "grouping": None}


def test_the_facts_of_a_private_run_name_its_budget_and_what_it_leaves_out() -> None:
    claim = {
        "epsilon": 2.99949, "delta": 0.000012, "unit": "image", "adjacency": "add or remove one", "sampling": "Poisson",
        "counted": ["a", "b"], "public": ["c"], "left_out": ["d", "e"],
    }  # fmt: skip
    assert private_facts(claim) == {
        "privacy": "epsilon 2.999 at delta 1.2e-05; unit: one image; add or remove one; sampling: Poisson",
        "counted in epsilon": "a; b",
        "declared public": "c",
        "left out for privacy": "d; e",
    }
