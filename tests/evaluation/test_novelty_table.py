"""The table behind "how new the test images are": what is counted, measured and said, by its exact values."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from tests.evaluation.answers import answers

from eyewright.core.report import Report
from eyewright.data import Dataset
from eyewright.evaluation.novelty import (
    Followed,
    Novelty,
    measure_novelty,
    novelty_finding,
    say_novelty,
)
from eyewright.evaluation.novelty_pages import novelty_lines, novelty_view
from eyewright.evaluation.validation import Validation
from eyewright.metrics.bootstrap import wilson_interval
from eyewright.metrics.novelty import Nearness


@dataclass(frozen=True)
class Amounts:
    """Results of which the mean of some number is followed, in grams."""

    dataset: Dataset
    values: np.ndarray
    hits: np.ndarray | None = None
    cost: int = 1

    def followed(self) -> Followed:
        def mean(weights: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                return (weights @ self.values) / weights.sum(1)

        return Followed(
            mean, lambda plan, v, samples: plan.interval(v, samples), hits=self.hits, unit="g", cost=self.cost
        )

    def joined(self, other: "Amounts") -> "Amounts":
        samples = self.dataset.samples + other.dataset.samples
        return Amounts(replace(self.dataset, samples=samples), np.append(self.values, other.values))


def amounts(
    values: np.ndarray, task: str = "classify", groups: list[str | None] | None = None, **given: Any
) -> Amounts:
    data = answers("classify", len(values), groups=groups).dataset
    return Amounts(replace(data, task=task), np.asarray(values, float), **given)


def measured(values: Any, distance: Any, ratio: Any = 0.9, **given: Any) -> dict[str, Any]:
    distance = np.asarray(distance, float)
    near = Nearness(distance, np.broadcast_to(np.asarray(ratio, float), distance.shape).copy())
    table = measure_novelty(Novelty(near, note="N."), amounts(np.asarray(values), **given))  # type: ignore[arg-type]
    assert table is not None
    return table


def test_nothing_is_measured_without_distances_or_with_fewer_than_twelve() -> None:
    made = amounts(np.ones(12))
    assert measure_novelty(None, made) is None  # type: ignore[arg-type]
    assert measure_novelty(Novelty(reason="why"), made) == {"reason": "why"}  # type: ignore[arg-type]
    some = np.r_[np.full(11, 0.5), math.nan]
    assert measured(np.ones(12), some) == {"reason": "expected 12 images or more with a known distance, found 11"}
    assert measured(np.ones(12), np.linspace(0, 1, 12))["n"] == 12


def test_thirds_are_cut_by_distance_and_keep_their_ends() -> None:
    values, distance = np.arange(12.0), np.arange(12.0)[::-1] / 10
    table = measured(values, distance)
    assert [(t["part"], t["from"], t["to"], t["n"], t["value"]) for t in table["thirds"]] == [
        ("most like a training image", 0.0, pytest.approx(0.3), 4, 9.5),
        ("in between", pytest.approx(0.4), pytest.approx(0.7), 4, 5.5),
        ("least like any training image", pytest.approx(0.8), 1.1, 4, 1.5),
    ]
    assert all(t["low"] < t["value"] < t["high"] for t in table["thirds"])
    assert (table["rest"]["n"], table["rest"]["value"]) == (8, 7.5)
    # How much worse the newest third is: for accuracy, how much lower.
    assert table["difference"]["value"] == 6.0
    assert table["difference"]["low"] > 0
    assert table["lower"] is True
    assert {k: table[k] for k in ("metric", "unit", "n", "validation", "note", "siblings", "no_new")} == {
        "metric": "accuracy", "unit": "g", "n": 12, "validation": 0, "note": "N.", "siblings": 0, "no_new": False,
    }  # fmt: skip
    assert (table["with_sibling"], table["without_sibling"], table["sibling_difference"]) == (None, None, None)
    assert table["lower_without"] is False


def test_of_an_error_the_newest_third_is_worse_where_it_is_higher() -> None:
    worse = measured(np.arange(12.0), np.arange(12.0), task="regress")
    assert (worse["metric"], worse["difference"]["value"], worse["lower"]) == ("mae", 6.0, True)
    better = measured(np.arange(12.0)[::-1], np.arange(12.0), task="regress")
    assert (better["difference"]["value"], better["lower"]) == (-6.0, False)


def test_distances_that_do_not_make_three_parts_are_not_cut() -> None:
    table = measured(np.arange(12.0), np.full(12, 0.5))
    assert (table["thirds"], table["difference"], table["curve"], table["lower"]) == ([], None, [], False)
    assert "rest" not in table
    # Two images in a third are too few.
    two = np.r_[np.zeros(10), 1.0, 1.1]
    assert measured(np.arange(12.0), two)["thirds"] == []


def test_images_without_a_distance_are_in_no_part() -> None:
    values = np.r_[np.full(6, 100.0), np.arange(12.0)]
    distance = np.r_[np.full(6, math.nan), np.arange(12.0)]
    table = measured(values, distance)
    assert table["n"] == 12
    assert [t["value"] for t in table["thirds"]] == [1.5, 5.5, 9.5]
    whole = measured(np.arange(12.0), np.arange(12.0))
    assert [t["value"] for t in whole["curve"]] == pytest.approx([t["value"] for t in table["curve"]])


def test_the_curve_weighs_the_neighbours_in_rank_by_the_tricube() -> None:
    n, values = 40, np.random.default_rng(0).random(40)
    distance = np.random.default_rng(1).permutation(n) / 10.0
    curve = measured(values, distance)["curve"]
    assert len(curve) == 15
    order = np.argsort(distance)
    for point, at in zip(curve, np.linspace(0, n - 1, 15), strict=True):
        far = np.minimum(1, np.abs(np.arange(n) - at) / 12)
        weights = (1 - far**3) ** 3
        assert point["value"] == pytest.approx(np.average(values[order], weights=weights))
        assert point["distance"] == distance[order][round(at)]
        assert point["low"] < point["value"] < point["high"]


def test_the_curve_of_few_images_reaches_six_to_either_side() -> None:
    values = np.random.default_rng(0).random(12)
    curve = measured(values, np.arange(12.0))["curve"]
    weights = (1 - np.minimum(1, np.arange(12) / 6) ** 3) ** 3
    assert curve[0]["value"] == pytest.approx(np.average(values, weights=weights))


def test_siblings_and_others_are_measured_from_eight_images_on() -> None:
    ratio = np.where(np.arange(20) < 8, 0.1, 0.9)
    values = np.where(np.arange(20) < 8, 0.9, 0.4) + np.arange(20) % 2 / 10
    table = measured(values, np.arange(20.0), ratio)
    assert (table["siblings"], table["no_new"]) == (8, False)
    assert (table["with_sibling"]["n"], table["with_sibling"]["value"]) == (8, pytest.approx(0.95))
    assert (table["without_sibling"]["n"], table["without_sibling"]["value"]) == (12, pytest.approx(0.45))
    assert table["sibling_difference"]["value"] == pytest.approx(0.5)
    assert table["lower_without"] is True
    assert measured(values, np.arange(20.0), np.where(np.arange(20) < 10, 0.1, 0.9))["no_new"] is True
    assert measured(values, np.arange(20.0), np.where(np.arange(20) < 9, 0.1, 0.9))["no_new"] is False


def test_a_part_that_went_well_throughout_has_wilsons_interval() -> None:
    hits = np.ones(12, bool)
    first = measured(hits, np.arange(12.0), hits=hits)["thirds"][0]
    assert (first["low"], first["high"]) == pytest.approx(wilson_interval(4.0, 4))
    # Without hits there is no such interval: what does not vary has none wider than a point.
    point = measured(np.ones(12), np.arange(12.0))["thirds"][0]
    assert point["low"] == point["high"] == 1.0
    mixed = np.arange(12) % 4 != 0
    varied = measured(mixed, np.arange(12.0), hits=mixed)["thirds"][0]
    assert (varied["low"], varied["high"]) != pytest.approx(wilson_interval(3.0, 4))


def test_what_is_not_a_number_is_left_blank() -> None:
    first = measured(np.where(np.arange(12) == 2, math.nan, 1.0), np.arange(12.0))["thirds"][0]
    assert (first["value"], first["low"], first["high"]) == (None, None, None)


def test_groups_are_counted_in_each_part() -> None:
    groups: list[str | None] = [f"g{i // 2}" for i in range(24)]
    table = measured(np.arange(24) % 5, np.arange(24.0), groups=groups)
    assert [t["groups"] for t in table["thirds"]] == [4, 4, 4]
    assert table["rest"]["groups"] == 8
    assert table["difference"]["low"] < table["difference"]["value"] < table["difference"]["high"]


def test_validation_images_are_measured_in_addition() -> None:
    near = Nearness(np.arange(12.0), np.full(12, 0.9))
    far = Nearness(np.arange(12.0) + 100, np.full(12, 0.9))
    more = amounts(np.full(12, 7.0))
    validation = Validation(more.dataset, more, more.values, 7.0, far)  # type: ignore[arg-type]
    novelty = Novelty(near, validation=validation)
    table = measure_novelty(novelty, amounts(np.arange(12.0)))  # type: ignore[arg-type]
    assert table is not None
    assert (table["n"], table["validation"]) == (24, 12)
    assert table["thirds"][2]["value"] == 7.0
    assert "24 validation and test images" in say_novelty({**table, "no_new": True}, "classify")
    assert novelty.beside is validation
    unknown = replace(validation, near=None)
    assert Novelty(near, validation=unknown).beside is None
    assert Novelty(None, validation=validation).beside is None
    alone = measure_novelty(Novelty(near, validation=unknown), amounts(np.arange(12.0)))  # type: ignore[arg-type]
    assert alone is not None
    assert (alone["n"], alone["validation"]) == (12, 0)


PART = {"n": 1200, "value": 0.5, "low": 0.4, "high": 0.6}
OTHER = {"n": 2400, "value": 0.9, "low": 0.8, "high": 1.0}
APART = {"value": 0.404, "low": 0.301, "high": 0.499}


def table(**changed: Any) -> dict[str, Any]:
    return {
        "n": 3600, "siblings": 0, "validation": 0, "thirds": [OTHER, OTHER, PART], "rest": OTHER, "difference": APART,
        "lower": False, "lower_without": False, "no_new": False, "without_sibling": None, "with_sibling": None,
        "sibling_difference": None, **changed,
    }  # fmt: skip


def test_what_the_headline_says_of_new_things() -> None:
    assert (
        say_novelty(None, "classify") == say_novelty({}, "classify") == say_novelty({"reason": "x"}, "classify") == ""
    )
    assert say_novelty(table(), "classify") == ""
    assert say_novelty(table(lower=True), "classify") == (
        "On the third of the 3,600 test images least like any training image the accuracy is only 50.0% (95% interval "
        "40.0% to 60.0%), against 90.0% on the rest (40 points lower, 95% interval 30 to 50)."
    )
    assert say_novelty(
        table(lower_without=True, without_sibling=PART, with_sibling=OTHER, sibling_difference=APART), "classify"
    ) == (
        "On the 1,200 of 3,600 test images without a near copy or sibling in the training data the accuracy is 50.0% "
        "(95% interval 40.0% to 60.0%), against 90.0% on the rest (40 points lower, 95% interval 30 to 50): things "
        "that are new are harder."
    )


def test_of_an_error_the_headline_says_higher_and_its_unit() -> None:
    assert say_novelty(table(lower=True, unit="g"), "regress") == (
        "On the third of the 3,600 test images least like any training image the MAE is 0.50 g (95% "
        "interval 0.40 to 0.60), against 0.9 g on the rest (0.404 g higher, 95% interval 0.301 to 0.499)."
    )
    assert "(0.404 higher, 95%" in say_novelty(table(lower=True), "regress")


def test_near_copies_are_said_from_a_tenth_of_the_images() -> None:
    every, known = "has a near copy or sibling", "this number does not tell how the model performs on new things."
    whole = say_novelty(table(no_new=True, siblings=3600), "classify")
    assert whole == f"Every one of the 3,600 test images {every} in the training data: {known}"
    most = say_novelty(table(no_new=True, siblings=3599), "classify")
    assert most == f"3,599 of the 3,600 test images have a near copy or sibling in the training data: {known}"
    some = "360 of the 3,600 test images have a near copy or sibling in the training data"
    assert say_novelty(table(siblings=360), "classify") == f"{some}."
    assert say_novelty(table(siblings=359), "classify") == ""
    assert say_novelty(table(siblings=360, without_sibling=PART), "classify") == (
        f"{some}; on the other 1,200 the accuracy is 50.0% (95% interval 40.0% to 60.0%)."
    )
    both = say_novelty(table(siblings=360, lower=True), "classify")
    assert both.startswith("On the third of")
    assert both.endswith(f"30 to 50). {some}.")


@pytest.mark.parametrize(
    ("changed", "code", "severity"),
    [
        ({"lower": True}, "weaker_on_new", "warning"),
        (
            {"lower_without": True, "without_sibling": PART, "with_sibling": OTHER, "sibling_difference": APART},
            "weaker_on_new", "warning",
        ),
        ({"no_new": True, "siblings": 3000}, "nothing_new", "warning"),
        ({"lower": True, "no_new": True}, "weaker_on_new", "warning"),
        ({"siblings": 400}, "siblings_in_train", "note"),
    ],
)  # fmt: skip
def test_the_finding_has_the_sentence_and_a_severity(changed: dict[str, Any], code: str, severity: str) -> None:
    found = novelty_finding(table(**changed), "classify")
    assert found is not None
    assert (found.code, found.severity) == (code, severity)
    assert found.message == say_novelty(table(**changed), "classify")
    assert novelty_finding(table(), "classify") is None
    assert novelty_finding(None, "classify") is None


def page_of(task: str, novelty: dict[str, Any]) -> Report:
    return Report(task, ("a",), 3, {}, tables={"novelty": novelty})


def curve(n: int, top: float = 0.5) -> list[dict[str, Any]]:
    return [
        {"distance": k / 10, "value": top, "low": None if k == 1 else top - 0.2, "high": top + 0.2} for k in range(n)
    ]


def third(part: str, **more: Any) -> dict[str, Any]:
    return {"part": part, "from": 0.1234, "to": 1.2, **PART, **more}


def test_the_page_lists_every_part_with_its_distance_and_groups() -> None:
    shown = novelty_view(
        page_of("classify", table(
            thirds=[third("near", groups=1000), third("far")], with_sibling=OTHER, without_sibling=PART, note="Note.",
            curve=curve(3), unit="",
        ))
    )  # fmt: skip
    assert shown is not None
    rows = [(r["part"], r["n"], r["distance"], r["value"], r["interval"]) for r in shown["rows"]]
    assert rows == [
        ("near", "1,200 in 1,000 groups", "0.123 to 1.200", "50.0%", "[40.0, 60.0]"),
        ("far", "1,200", "0.123 to 1.200", "50.0%", "[40.0, 60.0]"),
        ("with a near copy or sibling in training", "2,400", "", "90.0%", "[80.0, 100.0]"),
        ("without a near copy or sibling", "1,200", "", "50.0%", "[40.0, 60.0]"),
    ]
    assert shown["name"] == "accuracy"
    assert shown["note"].startswith("Measured on 3,600 images that were not trained on. The distance is")
    assert shown["note"].endswith("the tenth nearest. Note.")
    # A rate is drawn from 0 to 1; 0.5 of 1.02 over 226 pixels above 240.
    assert f",{240 - 0.5 / 1.02 * 226:.1f}" in shown["chart"]
    assert shown["chart"].count("<polygon") == 1
    assert 'viewBox="0 0 460 280"' in shown["chart"]


def test_the_page_of_an_error_has_its_unit_and_its_own_scale() -> None:
    shown = novelty_view(page_of("regress", table(thirds=[], unit="g", note="", curve=curve(3, 500), validation=600)))
    assert shown is not None
    assert shown["name"] == "MAE [g]"
    assert "(3,000 test, 600 validation)" in shown["note"]
    assert ">500<" in shown["chart"]
    assert "%" not in shown["chart"]
    rates = novelty_view(page_of("read", table(thirds=[], note="", curve=curve(3, 1.5), unit="")))
    assert rates is not None
    assert ">160%<" in rates["chart"], "an error rate may pass 1"


def test_a_curve_of_fewer_than_three_points_is_not_drawn() -> None:
    for points in (curve(2), [*curve(2), {"distance": 1.0, "value": None, "low": None, "high": None}], []):
        shown = novelty_view(page_of("classify", table(thirds=[], note="", curve=points)))
        assert shown is not None
        assert shown["chart"] == ""
    bare = [{**p, "low": None} for p in curve(3)]
    shown = novelty_view(page_of("classify", table(thirds=[], note="", curve=bare)))
    assert shown is not None
    assert "<polygon" not in shown["chart"]
    assert novelty_view(Report("classify", ("a",), 3, {})) is None


def test_markdown_has_every_second_point_of_the_curve() -> None:
    lines = novelty_lines(page_of("classify", table(thirds=[third("near")], note="", curve=curve(5))))
    assert lines[:3] == ["", "## How new the test images are", ""]
    assert "| near | 1,200 | 0.123 to 1.200 | 50.0% [40.0, 60.0] |" in lines
    assert lines[-5:] == [
        "| distance | accuracy, smoothed [95% band] |",
        "|---|---|",
        *(f"| {k / 10:.3f} | 50.0% [30.0, 70.0] |" for k in (0, 2, 4)),
    ]
    assert novelty_lines(page_of("classify", {"reason": "no features"}))[-1] == "Not measured: no features."
    assert novelty_lines(Report("classify", ("a",), 3, {})) == []
    assert novelty_lines(page_of("classify", table(thirds=[], note="", curve=[])))[-1] == "|---|---|---|---|"
