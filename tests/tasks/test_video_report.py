"""The order test: fewer clips right with their frames in another order, and how far that may be chance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.labels import LabelSpace
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.tree import FolderTree
from eyewright.tasks.class_results import ClassResults
from eyewright.tasks.video_report import REPORTING, VideoResults, say_baseline, say_order


def results(wrong: dict[str, int], n: int = 40, groups: int = 0) -> VideoResults:
    """All clips are right as they are; in each order the first so many are not."""
    targets = np.arange(n) % 2
    scores = np.eye(2, dtype=np.float32)[targets] * 0.8 + 0.1
    named = [f"g{i % groups}" if groups else None for i in range(n)]
    samples = tuple(Sample(f"{i}.mp4", int(t), "test", g) for i, (t, g) in enumerate(zip(targets, named, strict=True)))
    dataset = Dataset(FolderTree(Path(".")), samples, LabelSpace(("sit", "walk")), "clips", "video")
    orders = {}
    for name, k in wrong.items():
        orders[name] = scores.copy()
        orders[name][:k] = orders[name][:k, ::-1]
    return VideoResults(ClassResults(dataset, scores, ((64.0, 100.0),) * n), orders)


def test_the_p_value_is_that_of_flipped_signs() -> None:
    found = results({"shuffled": 8, "reversed": 0}).order_test()
    assert found is not None
    assert found["as_is"] == 1.0
    assert found["shuffled"]["accuracy"] == 0.8
    # By hand: all 8 differences have one sign, which 2 of 2 ** 8 draws of signs have.
    assert found["shuffled"]["p_value"] == pytest.approx(2 / 2**8, abs=0.004)
    assert found["reversed"]["p_value"] == 1.0


def test_clips_of_one_group_count_once() -> None:
    alone, grouped = (results({"shuffled": 8}, groups=g).order_test() for g in (0, 4))
    assert alone is not None
    assert grouped is not None
    # By hand: four groups with one sign, 2 of 2 ** 4.
    assert grouped["shuffled"]["p_value"] == pytest.approx(2 / 2**4)
    assert grouped["shuffled"]["p_value"] > alone["shuffled"]["p_value"]


@pytest.mark.parametrize(("wrong", "said"), [(12, "the model uses their order"), (1, "not shown to use")])
def test_the_report_says_what_the_test_shows(wrong: int, said: str) -> None:
    report = REPORTING.report(results({"shuffled": wrong, "reversed": wrong}), seed=0)
    assert said in REPORTING.summary(report)
    titles = [getattr(b, "title", "") for b in REPORTING.page(report, {}).blocks]
    assert "Order of frames" in titles


def test_without_the_test_nothing_is_said() -> None:
    assert results({}).order_test() is None
    assert say_order(None) == ""


@pytest.mark.parametrize(
    ("better", "said"),
    [("a", "use --model mean_net"), ("b", "help by that much here"), ("neither", "is not significant")],
)
def test_the_baseline_is_said_with_its_paired_interval(better: str, said: str) -> None:
    compared = {
        "baseline": "mean_net", "model": "gru_net", "better": better, "metric": "accuracy", "n": 40, "p_value": 0.5,
        "only_a": 3, "only_b": 5, "value": {"baseline": 0.75, "model": 0.8}, "epochs": {"baseline": 3, "model": 10},
        "differences": {"accuracy": {"value": 0.05, "low": -0.02, "high": 0.12}},
    }  # fmt: skip
    assert say_baseline(None) == ""
    told = say_baseline(compared)
    assert said in told
    assert "reaches 75.0%" in told
    assert "+5.0 points [-2.0, +12.0]" in told
    report = REPORTING.report(results({}), seed=0)
    report = replace(report, tables={**report.tables, "baseline": compared})
    assert told in REPORTING.summary(report)
    (block,) = [b for b in REPORTING.page(report, {}).blocks if getattr(b, "title", "").startswith("Baseline")]
    assert [row[0].text for row in block.rows] == ["gru_net", "mean_net", "difference"]


def test_parts_are_joined_with_their_orders() -> None:
    both = results({"shuffled": 3, "reversed": 1}).joined(results({"shuffled": 2}))
    assert len(both.dataset) == 80
    assert {k: v.shape for k, v in both.orders.items()} == {"shuffled": (80, 2)}


def test_what_is_kept_of_clips_is_that_of_their_classes() -> None:
    made = results({"shuffled": 3})
    weights = np.ones((1, 40))
    assert made.numbers()(weights).keys() == made.classes.numbers()(weights).keys()
    assert made.followed().number(weights).tolist() == [1.0]
    assert made.answers().tolist() == np.eye(2)[np.arange(40) % 2].tolist()
    assert made.asked("accuracy").tolist() == [True] * 40
    assert made.looks == ((64.0, 100.0),) * 40
    assert list(made.rows()) == list(made.classes.rows())
    assert len(list(made.rows())) == 41


def test_frames_in_another_order_are_whole_frames() -> None:
    from eyewright.core.rng import generator
    from eyewright.tasks.video_report import _reordered

    # Four frames of 2 x 3 pixels, one above the other.
    strip = np.repeat(np.arange(4, dtype=np.uint8), 2)[:, None, None] * np.ones((1, 3, 3), np.uint8)
    turned = _reordered(strip, 4, "reversed", 0)
    assert turned.shape == strip.shape
    for row in (0, 7):
        order = generator(0, "shuffle", str(row)).permutation(4)
        wanted = np.concatenate([strip[2 * k : 2 * k + 2] for k in order])
        assert np.array_equal(_reordered(strip, 4, "shuffled", row), wanted)
    assert turned[:, 0, 0].tolist() == [3, 3, 2, 2, 1, 1, 0, 0]


def test_the_table_of_orders_holds_accuracy_bounds_and_p() -> None:
    order = {
        "as_is": 0.75, "reversed": {"accuracy": 0.5, "low": 0.25, "high": 0.625, "p_value": 0.125},
        "shuffled": {"accuracy": 0.625, "low": 0.5, "high": 0.875, "p_value": 0.05},
    }  # fmt: skip
    report = REPORTING.report(results({}), seed=0)
    page = REPORTING.page(replace(report, tables={**report.tables, "order": order}), {})
    (block,) = [b for b in page.blocks if getattr(b, "title", "") == "Order of frames"]
    assert [[c.text for c in row] for row in block.rows] == [
        ["frames in their order", "75.0%", ""], ["frames in random order", "62.5%", "0.05"],
        ["frames in reverse order", "50.0%", "0.12"],
    ]  # fmt: skip
    assert [row[1].bounds for row in block.rows] == ["", "[50.0, 87.5]", "[25.0, 62.5]"]


def test_the_table_of_the_baseline_holds_who_is_right_alone() -> None:
    compared = {
        "baseline": "mean_net", "model": "gru_net", "better": "b", "metric": "accuracy", "n": 40, "p_value": 0.0625,
        "only_a": 3, "only_b": 5, "value": {"baseline": 0.75, "model": 0.875},
        "epochs": {"baseline": 1500, "model": 10},
        "differences": {"accuracy": {"value": 0.125, "low": -0.0625, "high": 0.25}},
    }  # fmt: skip
    report = REPORTING.report(results({}), seed=0)
    page = REPORTING.page(replace(report, tables={**report.tables, "baseline": compared}), {})
    (block,) = [b for b in page.blocks if getattr(b, "title", "").startswith("Baseline")]
    assert [[c.text for c in row] for row in block.rows] == [
        ["gru_net", "87.5%", "10", "5"], ["mean_net", "75.0%", "1,500", "3"],
        ["difference", "+12.5 points", "", "p = 0.062"],
    ]  # fmt: skip
    assert block.rows[2][1].bounds == "[-6.2, +25.0]"


@pytest.mark.parametrize(
    ("p", "accuracy", "goes_by"), [(0.05, 0.5, True), (0.051, 0.5, False), (0.01, 0.9, False), (0.01, 1.0, False)]
)
def test_a_model_goes_by_the_order_where_accuracy_falls_significantly(p: float, accuracy: float, goes_by: bool) -> None:
    said = say_order({"as_is": 0.9, "shuffled": {"accuracy": accuracy, "p_value": p}})
    assert said.startswith("With frames in random order accuracy ")
    assert f"from 90.0% to {accuracy:.1%}" in said
    assert ("the model uses their order" in said) is goes_by
    assert say_order({"as_is": 0.9}) == ""


def test_bounds_of_accuracy_in_another_order_are_those_of_a_share() -> None:
    found = results({"shuffled": 8}).order_test()
    assert found is not None
    # Wilson's interval of 32 of 40.
    n, p, z = 40, 0.8, 1.959964
    middle, half = p + z * z / 2 / n, z * (p * (1 - p) / n + z * z / 4 / n / n) ** 0.5
    bounds = ((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n))
    assert (found["shuffled"]["low"], found["shuffled"]["high"]) == pytest.approx(bounds, abs=1e-6)
