"""What is said of the images that chose the epoch, and what may be behind a difference from the test part."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.evaluation.answers import NAMES, answers
from tests.evaluation.test_results import Bright, counted

from eyewright.core import LabelSpace
from eyewright.core.report import Metric, Report
from eyewright.data import Dataset
from eyewright.evaluation import validation as module
from eyewright.evaluation.validation import (
    Validation,
    _by_choice,
    _by_class,
    _by_distance,
    _mixture_explains,
    choice_optimism,
    compare_validation,
    history_optimism,
    measure_validation,
    say_choice,
    say_validated,
    validation_facts,
    validation_finding,
)
from eyewright.metrics.groups import Clusters
from eyewright.metrics.novelty import Nearness


@pytest.mark.parametrize(
    ("higher", "epochs", "optimism", "said"),
    [
        (False, 100, 0.02, None),
        (True, 9, 0.02, None),
        (True, 10, None, "the best of 10 epochs was chosen on these 1,200 validation images"),
        (True, 10, 0.0, "the best of 10 epochs was chosen on these 1,200 validation images"),
        (
            True, 10, 0.021,
            "the best of 10 epochs was chosen on these 1,200 validation images, which alone makes about 2.1 points",
        ),
    ],
)  # fmt: skip
def test_many_epochs_explain_a_validation_score_that_is_higher(
    higher: bool, epochs: int, optimism: float | None, said: str | None
) -> None:
    assert _by_choice(higher, epochs, 1200, optimism) == ([] if said is None else [said])


HIGH = ", which tends to be too high{}: the best of {} epochs was chosen on these {}; trust the test part"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 1, "n": 1}, "validation accuracy 50.0% on 1 image"),
        ({"epochs": 0, "n": 2000}, "validation accuracy 50.0% on 2,000 images"),
        ({"epochs": 2, "n": 499}, "validation accuracy 50.0%" + HIGH.format("", 2, "499 images")),
        ({"epochs": 2, "n": 500}, "validation accuracy 50.0% (best of 2 epochs on 500 images)"),
        (
            {"epochs": 2, "n": 900, "groups": 499},
            "validation accuracy 50.0%" + HIGH.format("", 2, "900 images in 499 groups"),
        ),
        (
            {"epochs": 2, "n": 900, "groups": 500},
            "validation accuracy 50.0% (best of 2 epochs on 900 images in 500 groups)",
        ),
        ({"epochs": 1, "n": 9, "groups": 1}, "validation accuracy 50.0% on 9 images in 1 group"),
        ({"epochs": 1, "n": 9, "groups": 9}, "validation accuracy 50.0% on 9 images"),
        (
            {"epochs": 3, "n": 9, "optimism": 0.014},
            "validation accuracy 50.0%" + HIGH.format(", by about 1 point", 3, "9 images"),
        ),
        (
            {"epochs": 3, "n": 9, "optimism": 0.016},
            "validation accuracy 50.0%" + HIGH.format(", by about 2 points", 3, "9 images"),
        ),
        ({"epochs": 3, "n": 9, "optimism": 0.004}, "validation accuracy 50.0%" + HIGH.format("", 3, "9 images")),
    ],
)
def test_how_the_score_of_the_best_epoch_is_said(given: dict[str, Any], said: str) -> None:
    assert say_choice("accuracy", 0.5, **given) == said


def test_the_optimism_of_an_amount_is_not_in_points() -> None:
    assert say_choice("mae", 2.5, 3, 9, optimism=0.5, unit="g") == "validation MAE 2.5 g" + HIGH.format(
        "", 3, "9 images"
    )


def test_the_facts_of_a_run_say_what_its_score_rests_on() -> None:
    about = {
        "task": "classify",
        "training": {"val_accuracy": 0.5, "epochs": 3, "optimism": 0.014},
        "dataset": {"images": {"val": 9}, "groups": {"val": 4}},
        "calibration": {"n": 77},
    }
    facts = validation_facts(about)
    assert facts == {
        "metric": "accuracy", "value": 0.5, "epochs": 3, "n": 9, "groups": 4, "optimism": 0.014,
        "said": "validation accuracy 50.0%" + HIGH.format(", by about 1 point", 3, "9 images in 4 groups"),
    }  # fmt: skip
    assert say_validated(about) == facts["said"]
    kept = validation_facts({**about, "chosen_on": {"images": 6, "groups": 2}})
    assert kept is not None
    assert (kept["n"], kept["groups"]) == (6, 2)
    last = validation_facts({**about, "training": {**about["training"], "chosen": "last"}})  # type: ignore[dict-item]
    assert last is not None
    assert (last["epochs"], last["optimism"], last["said"]) == (
        1, None, "validation accuracy 50.0% on 9 images in 4 groups",
    )  # fmt: skip
    first = validation_facts({**about, "training": {**about["training"], "chosen": "best"}})  # type: ignore[dict-item]
    assert first is not None
    assert first["epochs"] == 3


def test_the_facts_of_an_older_run_say_less() -> None:
    assert validation_facts({}) is None
    assert validation_facts({"training": None, "dataset": None}) is None
    assert say_validated({"training": {"metric": "mae", "val_accuracy": 0.5}}) == ""
    old = validation_facts({"training": {"val_accuracy": 0.0}, "calibration": {"n": 77}})
    assert old is not None
    assert (old["value"], old["n"], old["groups"], old["epochs"]) == (0.0, 77, None, 0)
    none = validation_facts({"training": {"val_accuracy": 0.5}})
    assert none is not None
    assert none["n"] == 0
    units = {"task": "regress", "labels": ["weight [g]"], "training": {"metric": "mae", "val_mae": 2.0}}
    shown = validation_facts(units)
    assert shown is not None
    assert shown["metric"] == "mae"


def test_the_best_epoch_is_compared_with_a_line_through_its_neighbours() -> None:
    # Five epochs to either side, itself left out; those farther away do not count.
    scores = [0.0] * 3 + [0.50, 0.52, 0.54, 0.56, 0.58, 0.90, 0.62, 0.64, 0.66, 0.68, 0.70] + [0.0] * 3
    assert choice_optimism(scores) == pytest.approx(0.3)
    # At the end of the history a line would run ahead: there the best of the others bounds it.
    assert choice_optimism([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9]) == pytest.approx(0.2)
    assert choice_optimism([0.9, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]) == pytest.approx(0.9 - 0.7)
    assert choice_optimism([0.9, 0.4, 0.45, 0.4, 0.45, 0.4, 0.1, 0.1]) == pytest.approx(
        0.9 - min(0.45, float(np.polyfit(range(1, 6), [0.4, 0.45, 0.4, 0.45, 0.4], 1)[1]))
    )
    # Of equals the last counts, and it is never below zero.
    equal = [0.5, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9]
    assert choice_optimism(equal) == pytest.approx(0.9 - min(0.5, float(np.polyfit(range(-5, 0), equal[2:7], 1)[1])))
    assert choice_optimism([0.5] * 8) == pytest.approx(0.0, abs=1e-12)
    assert choice_optimism([0.5] * 7) is None
    assert choice_optimism([0.5] * 7 + [math.inf]) is None


def test_the_optimism_of_a_history_needs_every_score() -> None:
    rows = [{"val_accuracy": f"{0.5 + 0.1 * (k == 4)}"} for k in range(9)]
    assert history_optimism(rows, "accuracy") == pytest.approx(0.1)
    assert history_optimism(rows, "mae") is None
    assert history_optimism([*rows, {"val_accuracy": "?"}], "accuracy") is None
    assert history_optimism([*rows, {"val_accuracy": ""}], "accuracy") is None


def test_at_most_500_validation_images_are_predicted_from_first_to_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 5)
    near = Nearness(np.arange(9.0), np.arange(9.0))
    found = measure_validation(Bright(), counted(9), near=near)  # type: ignore[arg-type]
    assert [s.id[-1] for s in found.dataset.samples] == ["0", "2", "4", "6", "8"]
    assert found.near is not None
    assert found.near.distance.tolist() == [0, 2, 4, 6, 8]
    assert (found.value, found.scores.tolist()) == (1.0, [1.0] * 5)
    whole = measure_validation(Bright(), counted(5), near=near)  # type: ignore[arg-type]
    assert whole.near is near
    assert len(whole.dataset) == 5
    assert measure_validation(Bright(), counted(9)).near is None  # type: ignore[arg-type]


def compared(
    validation_right: np.ndarray, test_right: np.ndarray, *, epochs: int = 30, groups: bool = False, **given: Any
) -> dict[str, Any] | None:
    made = answers("classify", len(test_right), skill=test_right)
    own = answers(
        "classify",
        len(validation_right),
        groups=[f"g{i // 4}" for i in range(len(validation_right))] if groups else None,
    )
    validation = Validation(
        own.dataset, own.results, validation_right.astype(float), float(validation_right.mean()), None
    )
    return compare_validation(
        validation, made.dataset, made.report(), training={"metric": "accuracy", "epochs": epochs}, **given
    )


def test_a_difference_is_tested_from_eight_images_a_side_on() -> None:
    assert compared(np.ones(7), np.ones(20)) is None
    assert compared(np.ones(20), np.ones(7)) is None
    found = compared(np.ones(8), np.ones(8))
    assert found is not None
    assert found["validation"] == {"value": 1.0, "n": 8, "groups": 8, "score": 1.0}
    assert {k: found[k] for k in ("metric", "p_value", "differs", "causes")} == {
        "metric": "accuracy", "p_value": 1.0, "differs": False, "causes": [],
    }  # fmt: skip
    assert "unit" not in found


def test_scores_of_images_differ_only_where_the_metric_does() -> None:
    """The rank of an image is lower among fewer: recall at 10 may be 100 % on both sides."""
    made, own = answers("classify", 60, skill=np.ones(60)), answers("classify", 60)
    ranks = Validation(own.dataset, own.results, np.full(60, 0.5), 1.0, None)
    found = compare_validation(ranks, made.dataset, made.report(), training={"metric": "accuracy", "epochs": 1})
    assert found is not None
    assert (found["p_value"] < 0.05, found["differs"], found["causes"]) == (True, False, [])


def test_a_metric_within_the_interval_of_the_other_part_does_not_differ() -> None:
    """The score of a generated image, whether it is covered, depends on how many images there are."""
    right = np.arange(60) % 20 > 0
    made, own = answers("classify", 60, skill=right), answers("classify", 60)
    covered = Validation(own.dataset, own.results, np.ones(60) * 5, 0.96, None)
    report = made.report()
    assert report.metrics["accuracy"].value == 0.95
    assert report.metrics["accuracy"].low < 0.96 < report.metrics["accuracy"].high
    found = compare_validation(covered, made.dataset, report, training={"metric": "accuracy", "epochs": 1})
    assert found is not None
    assert (found["p_value"] < 0.05, found["differs"]) == (True, False)


def test_a_difference_beyond_chance_is_explained_by_the_choice_only_where_validation_went_better() -> None:
    half = np.arange(60) % 2
    better = compared(np.ones(60), half, history=[{"val_accuracy": f"{0.5 + 0.02 * (k == 20)}"} for k in range(30)])
    assert better is not None
    assert better["differs"] is True
    assert better["causes"] == [
        "the best of 30 epochs was chosen on these 60 validation images, which alone makes about 2.0 points"
    ]
    assert better["choice"] == {"metric": "accuracy", "epochs": 30, "optimism": pytest.approx(0.02)}
    worse = compared(half, np.ones(60))
    assert worse is not None
    assert (worse["differs"], worse["causes"]) == (True, [])
    assert worse["choice"] == {"metric": "accuracy", "epochs": 30, "optimism": None}
    once = compared(half, np.ones(60), epochs=1)
    assert once is not None
    assert once["choice"] is None
    twice = compared(half, np.ones(60), epochs=2)
    assert twice is not None
    assert twice["choice"]["epochs"] == 2


def test_whole_groups_are_compared() -> None:
    found = compared(np.arange(40) // 4 % 2, np.ones(40), groups=True)
    assert found is not None
    assert (found["validation"]["n"], found["validation"]["groups"], found["test"]["groups"]) == (40, 10, 40)


def test_the_finding_says_both_scores_and_the_causes() -> None:
    told: dict[str, Any] = {
        "differs": True, "p_value": 0.0123, "causes": ["one", "two"],
        "validation": {"value": 0.9, "n": 1000}, "test": {"value": None, "n": 40},
    }  # fmt: skip
    found = validation_finding(told, "classify")
    assert found is not None
    assert (found.code, found.severity) == ("validation_differs", "warning")
    assert found.message == (
        "the accuracy is 90.0% on 1,000 validation images and not defined on 40 test images, a significant difference "
        "(p = 0.012): one; two"
    )
    unknown = validation_finding({**told, "causes": []}, "classify")
    assert unknown is not None
    assert unknown.message.endswith(
        "no cause was found in classes, distances to training images or the number of epochs"
    )
    grams = validation_finding({**told, "unit": "g"}, "regress")
    assert grams is not None
    assert "0.9 g on 1,000 validation" in grams.message
    for none in (None, {}, {**told, "differs": False}):
        assert validation_finding(none, "classify") is None


def clusters(*sizes: int) -> list[Clusters]:
    return [Clusters(np.arange(n)) for n in sizes]


def near(low: float, high: float, siblings: int, n: int = 40) -> Nearness:
    return Nearness(np.linspace(low, high, n), np.where(np.arange(n) < siblings, 0.1, 0.9))


@pytest.mark.parametrize(
    ("higher", "first", "second", "said"),
    [
        (True, near(0.1, 0.2, 0), near(0.5, 0.6, 0), "test images are less like the training images than validation"),
        (False, near(0.5, 0.6, 0), near(0.1, 0.2, 0), "validation images are less like the training images than test"),
        (False, near(0.1, 0.2, 0), near(0.5, 0.6, 0), None),
        (True, near(0.5, 0.6, 0), near(0.1, 0.2, 0), None),
        (True, near(0.1, 0.6, 0), near(0.1, 0.6, 0), None),
        (True, near(0.1, 0.6, 38), near(0.1, 0.6, 2), ": 95% of validation and 5% of test have a near"),
        (False, near(0.1, 0.6, 2), near(0.1, 0.6, 38), ": 5% of validation and 95% of test have a near copy"),
        (False, near(0.1, 0.6, 38), near(0.1, 0.6, 2), None),
    ],
)  # fmt: skip
def test_a_part_that_is_farther_from_training_explains_that_it_went_worse(
    higher: bool, first: Nearness, second: Nearness, said: str | None
) -> None:
    found = _by_distance(higher, (first, second), clusters(40, 40), np.random.default_rng(0))
    assert len(found) == (said is not None)
    if said is not None:
        assert said in found[0]


def test_siblings_are_only_said_where_their_shares_differ_by_more_than_a_tenth() -> None:
    rng = np.random.default_rng(0)
    alike = _by_distance(True, (near(0.1, 0.2, 4), near(0.5, 0.6, 0)), clusters(40, 40), rng)
    assert alike[0].endswith(")")
    apart = _by_distance(True, (near(0.1, 0.2, 5), near(0.5, 0.6, 0)), clusters(40, 40), rng)
    assert apart[0].endswith(": 12% of validation and 0% of test have a near copy or sibling there")


def test_distances_that_are_not_known_explain_nothing() -> None:
    whole = near(0.1, 0.2, 0)
    partly = Nearness(np.where(np.arange(40) == 3, math.nan, 0.9), np.full(40, 0.9))
    for pair in ((None, whole), (whole, None), (partly, near(0.5, 0.6, 0)), (whole, partly)):
        assert _by_distance(True, pair, clusters(40, 40), np.random.default_rng(0)) == []


def side(targets: np.ndarray, right: np.ndarray, names: tuple[str, ...] = NAMES) -> tuple[Dataset, np.ndarray]:
    made = answers("classify", len(targets)).dataset
    samples = tuple(replace(s, target=int(t)) for s, t in zip(made.samples, targets, strict=True))
    return replace(made, samples=samples, labels=LabelSpace(names)), right.astype(float)


def test_a_class_that_is_more_frequent_explains_a_difference_that_it_makes() -> None:
    # Bolts go well and nuts do not; the validation part is three quarters bolts, the test part one quarter.
    first = np.where(np.arange(80) % 4 == 0, 1, 0)
    second = np.where(np.arange(80) % 4 == 0, 0, 1)
    sides = [side(first, first == 0), side(second, second == 0)]
    assert _mixture_explains(sides)
    rng = np.random.default_rng(0)
    assert _by_class(sides, clusters(80, 80), rng) == [
        "“bolt” is in 75% of the validation images and in 25% of the test images"
    ]
    # The same shares where both classes go alike explain nothing; neither do equal mixtures.
    even = [side(first, np.ones(80)), side(second, np.arange(80) % 2)]
    assert not _mixture_explains(even)
    assert _by_class(even, clusters(80, 80), rng) == []
    same = [side(first, first == 0), side(first, np.zeros(80))]
    assert not _mixture_explains(same)
    # Nor one class alone, or equal scores.
    assert not _mixture_explains([side(np.zeros(9, int), np.ones(9)), side(np.zeros(9, int), np.zeros(9))])
    assert not _mixture_explains([side(first, first == 0), side(second, second == 1)])


def test_the_mixture_must_explain_three_tenths_of_the_gap() -> None:
    first, second = np.repeat([0, 1], [60, 40]), np.repeat([0, 1], [30, 70])
    # In validation bolts score 1 and nuts 0: of a test part mixed as it is, 0.6 becomes 0.3.
    for test_score, explains in ((-0.39, True), (-0.41, False)):
        sides = [side(first, first == 0), side(second, np.full(100, test_score))]
        assert _mixture_explains(sides) is explains


def test_classes_are_matched_by_name() -> None:
    first = np.where(np.arange(80) % 4 == 0, 1, 0)
    second = np.where(np.arange(80) % 4 == 0, 0, 1)
    other = np.where(second == 0, 1, 0)
    sides = [side(first, first == 0), side(other, second == 0, ("nut", "bolt", "washer"))]
    assert _by_class(sides, clusters(80, 80), np.random.default_rng(0)) == [
        "“bolt” is in 75% of the validation images and in 25% of the test images"
    ]


def test_the_unit_of_the_metric_is_kept() -> None:
    made = answers("classify", 20)
    report: Report = made.report()
    report = replace(report, metrics={**report.metrics, "accuracy": Metric(0.5, unit="g")})
    validation = Validation(made.dataset, made.results, np.ones(20), 1.0, None)
    found = compare_validation(validation, made.dataset, report, training={})
    assert found is not None
    assert found["unit"] == "g"
    assert found["choice"] is None
    assert found["test"]["value"] == 0.5


@pytest.mark.parametrize(
    ("far", "said"),
    [((0.01, 0.5), "(p = 0.02)"), ((0.5, 0.0125), None), ((0.0249, 0.5), "(p = 0.05)"), ((0.025, 0.5), None)],
)
def test_the_smaller_of_two_p_values_counts_twice(
    far: tuple[float, float], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = list(far)
    monkeypatch.setattr(module, "two_sample_p_value", lambda *a, **k: values.pop(0))
    # The test part lies farther from training; none of its images has a sibling there, nor of the other.
    pair = (near(0.1, 0.2, 0), near(0.5, 0.6, 0))
    found = _by_distance(True, pair, clusters(40, 40), np.random.default_rng(0))
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
