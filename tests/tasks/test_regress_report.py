"""How regression is measured, compared and shown, by hand on four images of two quantities."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.tasks.test_class_results import Told

from eyewright.core.labels import LabelSpace
from eyewright.core.report import Metric, Report
from eyewright.data import Dataset, Sample
from eyewright.data.targets.numbers import Numbers, Quantity
from eyewright.data.tree import ArrayTree
from eyewright.evaluation import reporting_of
from eyewright.evaluation.reporting import Batch
from eyewright.metrics.bootstrap import resample
from eyewright.tasks.regress_report import REPORTING, NumberResults
from eyewright.testing import check_reporting

NAMES = ("weight [g]", "count")
QUANTITIES = (Quantity("weight", "g"), Quantity("count"))
TRUE = np.array([[10.0, 1], [20, 2], [30, 3], [40, 4]])
OFF = np.array([[0.0, 0], [0, 0.5], [12, 0], [3, -2]])
SPREAD = np.array([10.0, 1.0])


def data_of(true: np.ndarray, names: tuple[str, ...] = NAMES) -> Dataset:
    n = len(true)
    tree = ArrayTree(Path("."), {"x": np.full((n, 20, 30, 3), 90, np.uint8)})
    samples = tuple(Sample(f"x/{i:06d}", Numbers(tuple(v), QUANTITIES)) for i, v in enumerate(true.tolist()))
    return Dataset(tree, samples, LabelSpace(names), "drawn", "regress")


def results(off: np.ndarray = OFF, **options: Any) -> NumberResults:
    return NumberResults(data_of(TRUE), (TRUE + off).astype(np.float32), **options)


def test_the_reporting_is_complete() -> None:
    rng = np.random.default_rng(0)
    true = np.stack([rng.normal(50, 10, 40), rng.normal(5, 2, 40)], 1)
    found = (true + rng.normal(0, (2, 0.5), (40, 2))).astype(np.float32)
    check_reporting(NumberResults(data_of(true), found))
    check_reporting(NumberResults(data_of(true), found, np.array([4.0, 1.0]), np.array([10.0, 2.0])))


def test_an_image_is_scored_by_its_error_in_standard_deviations() -> None:
    # The mean errors of the images in deviations: 0, 0.25, 0.6 and (0.3 + 2) / 2.
    assert results(spread=SPREAD).each.tolist() == pytest.approx([1, 1 / 1.25, 1 / 1.6, 1 / 2.15])
    own = TRUE.std(0)
    assert results().unit.tolist() == pytest.approx(own.tolist())
    assert results().each[2] == pytest.approx(1 / (1 + 12 / own[0] / 2))
    same = NumberResults(data_of(np.full((2, 2), 5.0)), np.full((2, 2), 5.0, np.float32))
    assert same.unit.tolist() == [1e-12, 1e-12]
    assert same.each.tolist() == [1.0, 1.0]


def test_what_is_kept_of_two_parts_is_joined_in_their_order() -> None:
    whole = results(reach=np.array([1.0, 1.0]), spread=SPREAD)
    first, second = (
        replace(whole, dataset=whole.dataset.with_samples(whole.dataset.samples[a:b]), values=whole.values[a:b])
        for a, b in ((0, 1), (1, 4))
    )
    joined = second.joined(first)
    assert [s.id[-1] for s in joined.dataset.samples] == ["1", "2", "3", "0"]
    assert joined.values.tolist() == whole.values[[1, 2, 3, 0]].tolist()
    assert joined.reach is whole.reach
    assert joined.spread is whole.spread
    assert whole.answers().tolist() == whole.values.tolist()
    assert whole.asked("mae").tolist() == [True] * 4


def test_numbers_under_weights_are_errors_in_standard_deviations() -> None:
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 1, 0]])
    found = results(spread=SPREAD).numbers()(weights)
    assert found["mae"].tolist() == pytest.approx([(0 + 0.25 + 0.6 + 1.15) / 4, (0.25 * 2 + 0.6) / 3])
    followed = results(spread=SPREAD).followed()
    assert followed.number(weights).tolist() == pytest.approx(found["mae"].tolist())
    assert followed.unit == "SD"
    plan = resample(4, replicates=50, rng=np.random.default_rng(0), groups=None)
    low, high = followed.interval(plan, 0.5, np.linspace(0.0, 1.0, 101))
    assert (low, high) == (pytest.approx(plan.interval(0.5, np.linspace(0, 1, 101), kind="plain")[0]), high)
    assert 0 <= low < 0.5 < high


def test_rows_say_true_and_found_numbers() -> None:
    titles, _, second, *_ = results().rows()
    assert titles == ("id", "true weight [g]", "true count", "weight [g]", "count")
    assert second == ("x/000001", "20", "2", "20", "2.5")


class Fixed:
    """A predictor that gives the true numbers with `OFF`, whatever it is shown."""

    task_name, decoding = "regress", {}
    labels = LabelSpace(NAMES)

    class preparation:
        @staticmethod
        def batch(images: Any) -> tuple[Any, Any]:
            from eyewright.imaging.preparation import Preparation

            return Preparation((8, 8)).batch(images)

    def raw(self, pixels: Any) -> dict[str, Any]:
        return {"values": (TRUE + OFF)[: len(pixels)].astype(np.float32)}


def gathered(predictor: Any) -> NumberResults:
    data = data_of(TRUE)
    images = [data.image(i) for i in range(4)]
    batch = Batch(data, [0, 1, 2, 3], images, ())
    found = REPORTING.gather(predictor, batch)
    assert isinstance(found, NumberResults)
    return found


def test_numbers_of_a_batch_are_kept_with_the_intervals_of_the_model() -> None:
    plain = gathered(Fixed())
    assert plain.values.tolist() == (TRUE + OFF).tolist()
    assert plain.reach is None
    assert plain.spread is None
    known = Fixed()
    known.thresholds, known.spread = np.array([2.0, 1.0]), SPREAD  # type: ignore[attr-defined]
    found = gathered(known)
    assert found.reach is known.thresholds  # type: ignore[attr-defined]
    assert found.spread is known.spread  # type: ignore[attr-defined]


def test_nets_of_a_cross_validation_are_averaged_by_image() -> None:
    whole = results()

    def fold(rows: list[int], values: list[list[float]], spread: Any = None) -> NumberResults:
        part = whole.dataset.with_samples(whole.dataset.samples[i] for i in rows)
        return NumberResults(part, np.array(values, np.float32), np.ones(2), spread)

    cuts = [
        fold([3, 0], [[1.0, 2], [3, 4]], np.array([1.0, 3])), fold([1, 2], [[5, 6], [7, 8]], np.array([3.0, 5])),
        fold([0, 1], [[9, 9], [1, 1]], np.array([1.0, 3])), fold([2, 3], [[3, 3], [5, 5]], np.array([3.0, 5])),
    ]  # fmt: skip
    joined = REPORTING.together(cuts, 2, whole.dataset)
    assert joined.values.tolist() == [[6, 6.5], [3, 3.5], [5, 5.5], [3, 3.5]]
    assert joined.spread.tolist() == [2, 4]
    assert joined.reach is None
    cuts[0] = replace(cuts[0], spread=None)
    assert REPORTING.together(cuts, 2, whole.dataset).spread is None


def test_a_report_holds_each_quantity_in_its_unit() -> None:
    report = REPORTING.report(results(reach=np.array([5.0, 1.0]), spread=SPREAD))
    weight, count = report.per_class
    assert (weight["label"], weight["n"], weight["unit"], count["unit"]) == ("weight [g]", 4, "g", "")
    assert (weight["mae"]["value"], count["mae"]["value"]) == (pytest.approx(15 / 4), pytest.approx(2.5 / 4))
    assert (weight["coverage"]["value"], count["coverage"]["value"]) == (0.75, 0.75)
    assert (weight["mae"]["unit"], weight["coverage"]["unit"], weight["rmse"]["unit"]) == ("g", "", "g")
    assert weight["rmse"]["value"] == pytest.approx(np.sqrt((144 + 9) / 4))
    # The median of 10 to 40 is 25, of 1 to 4 is 2.5: both guesses are off by one step of the mean.
    assert (weight["guess"], count["guess"]) == (10.0, 1.0)
    assert report.metrics["mae"].value == pytest.approx((0 + 0.25 + 0.6 + 1.15) / 4)
    assert report.metrics["mae"].unit == "SD"
    assert report.tables["scatter"]["count"].tolist() == [[1, 1], [2, 2.5], [3, 3], [4, 2]]
    assert list(report.tables["ranges"]) == list(NAMES)
    assert "coverage" not in REPORTING.report(results()).metrics


def test_of_many_images_at_most_a_thousand_are_drawn() -> None:
    true = np.stack([np.arange(2001.0), np.arange(2001.0)], 1)
    measured = NumberResults(data_of(true), true.astype(np.float32), spread=np.ones(2))
    drawn = REPORTING.report(measured).tables["scatter"]["count"]
    assert drawn[:, 0].tolist() == list(range(0, 2001, 3))
    exactly = NumberResults(data_of(true[:1000]), true[:1000].astype(np.float32), spread=np.ones(2))
    assert len(REPORTING.report(exactly).tables["scatter"]["count"]) == 1000


def test_items_begin_with_the_largest_error_and_name_the_worst_quantity() -> None:
    rows = REPORTING.items(results(spread=SPREAD))
    assert [r["index"] for r in rows] == [3, 2, 1, 0]
    assert rows[0] == {
        "id": "x/000003", "name": "000003", "index": 3, "true": "weight [g] 40, count 4",
        "predicted": "weight [g] 43.0, count 2.0", "worst": "count", "score": pytest.approx(1 / 2.15),
    }  # fmt: skip
    assert rows[1]["worst"] == "weight [g]"
    assert REPORTING.image_scores(rows).tolist() == pytest.approx([1, 1 / 1.25, 1 / 1.6, 1 / 2.15])


def test_a_model_of_another_order_of_quantities_is_compared_by_name() -> None:
    a = results(spread=SPREAD)
    order = [1, 0]
    turned = Dataset(a.dataset.tree, a.dataset.samples, LabelSpace((NAMES[1], NAMES[0])), "drawn", "regress")
    b = NumberResults(turned, (TRUE + OFF / 2)[:, order].astype(np.float32), spread=np.array([5.0, 100.0]))
    compared = REPORTING.compare(a, b, 0)
    # Half of every error, in the deviations of the first.
    assert compared.differences["mae"].value == pytest.approx(-(0 + 0.25 + 0.6 + 1.15) / 8)
    (third, fourth) = REPORTING.changed(a, b)[-2:]
    assert third == {"id": "x/000002", "before": "42, 3", "after": "36, 3", "true": "30, 3"}
    assert fourth["id"] == "x/000003"
    assert [r["id"][-1] for r in REPORTING.changed(a, b)] == ["1", "2", "3"]


def test_rounding_is_no_difference_and_a_tenth_of_a_deviation_no_change() -> None:
    a = results(spread=SPREAD)
    near = NumberResults(a.dataset, a.values + np.float32([9e-4, 9e-5]), spread=SPREAD)
    assert REPORTING.compare(a, near, 0).differences["mae"].value == 0
    farther = NumberResults(a.dataset, a.values + np.float32([0.0, 2e-4]), spread=SPREAD)
    assert REPORTING.compare(a, farther, 0).differences["mae"].value != 0
    moved = a.values.copy()
    moved[0, 0] += 0.9
    moved[1, 1] += 0.2
    assert [r["id"][-1] for r in REPORTING.changed(a, replace(a, values=moved))] == ["1"]


def shown(coverage: Metric | None = None, labels: tuple[str, ...] = NAMES) -> Report:
    rate = {"value": 0.9, "low": 0.8, "high": 0.95, "unit": ""}

    def amount(value: float | None, unit: str) -> dict[str, Any]:
        half = None if value is None else value / 2
        return {"value": value, "low": half, "high": None if half is None else 3 * half, "unit": unit}

    rows = [
        {"label": label, "n": 30, "mae": amount(k + 2.0, unit), "rmse": amount(k + 4.0, unit), "r2": rate,
         "median_error": amount(None, unit), "guess": 10.0 * (k + 1), "unit": unit}
        for k, (label, unit) in enumerate(zip(labels, ("g", ""), strict=False))
    ]  # fmt: skip
    items = tuple(
        {"id": f"d/{k}.png", "name": f"{k}.png", "index": k, "true": f"true {k}", "predicted": f"found {k}",
         "worst": labels[k % len(labels)], "score": 0.5}
        for k in range(30)
    )  # fmt: skip
    ranges = {"weight [g]": [{"from": 1.0, "to": 2.5, "n": 1234, "mae": amount(1.5, "g"), "bias": 0.25}]}
    scatter = {"weight [g]": np.array([[1.0, 2.0], [3.0, 3.5]])}
    metrics = {"mae": Metric(0.5)} | ({} if coverage is None else {"coverage": coverage})
    return Report("regress", labels, 30, metrics, tuple(rows), {"ranges": ranges, "scatter": scatter}, items)


def test_the_summary_says_errors_guesses_and_intervals() -> None:
    assert reporting_of("regress").summary(shown(Metric(0.9, 0.8, 0.95))) == (
        "weight [g]: off by 2.0 g (95% interval 1.0 to 3.0) on average; always predicting the median "
        "would be off by 10 g. "
        "count: off by 3.0 (95% interval 1.5 to 4.5) on average; always predicting the median would be off by 20. "
        "The 90% prediction intervals hold the true value for 90.0% (95% interval 80.0% to 95.0%) of the images."
    )
    assert reporting_of("regress").summary(shown()).endswith("too few validation images were left for them.")


def cells(rows: Any) -> list[list[tuple[str, str]]]:
    return [[(c.text, c.bounds) for c in row] for row in rows]


def test_the_page_holds_pictures_tables_and_charts() -> None:
    pictures = {f"d/{k}.png": {"image": f"data:{k}", "heat": "data:heat" if k == 1 else ""} for k in (0, 1, 29)}
    page = REPORTING.page(shown(), pictures)
    gallery, table, ranges = page.blocks
    assert (gallery.title, len(gallery.shots)) == ("Largest errors", 2)
    plain, heated = gallery.shots
    assert list(plain.images) == [("data:0", "0.png")]
    assert [[(s.text, s.style) for s in line] for line in plain.lines] == [
        [("found 0", "bad")],
        [("true true 0", "soft")],
    ]
    assert list(heated.images) == [("data:1", "1.png"), ("data:heat", "heatmap of count")]
    assert [[s.text for s in line] for line in heated.lines] == [["found 1"], ["true true 1"], ["heat: count"]]
    alone = REPORTING.page(shown(labels=("weight [g]",)), pictures).blocks[0].shots[1]
    assert [[s.text for s in line] for line in alone.lines] == [["found 1"], ["true true 1"]]
    assert [c.text for c in table.header] == ["quantity", "MAE", "RMSE", "R²", "median error", "MAE of the median"]
    assert cells(table.rows) == [
        [
            ("weight [g]", ""),
            ("2.0", "[1.0, 3.0]"),
            ("4.0", "[2.0, 6.0]"),
            ("0.900", "[0.800, 0.950]"),
            ("–", ""),
            ("10", ""),
        ],
        [
            ("count", ""),
            ("3.0", "[1.5, 4.5]"),
            ("5.0", "[2.5, 7.5]"),
            ("0.900", "[0.800, 0.950]"),
            ("–", ""),
            ("20", ""),
        ],
    ]
    assert ranges.title == "Error by range of weight [g]"
    assert cells(ranges.rows) == [[("1 to 2.5", ""), ("1,234", ""), ("1.50", "[0.75, 2.25]"), ("+0.25", "")]]
    assert [c.style for c in ranges.header] == ["", "n", "n", "n"]
    assert [c.title for c in page.charts] == ["Predicted against true weight [g]", "Error of weight [g]"]
    scatter, residual = (c.svg for c in page.charts)
    assert scatter.count("<circle") == residual.count("<circle") == 2
    for svg in (scatter, residual):
        assert 'viewBox="0 0 380 280"' in svg
    assert "found weight [g]" in scatter
    assert "found weight [g]" not in residual


def test_pictures_are_of_the_24_largest_errors_and_12_are_explained() -> None:
    data = SimpleNamespace(image=lambda index: np.full((300, 200, 3), index, np.uint8))
    report = shown()
    pictures = REPORTING.pictures(report, data, lambda name: SimpleNamespace())  # type: ignore[arg-type]
    assert list(pictures) == [f"d/{k}.png" for k in range(24)]
    assert pictures["d/3.png"]["heat"] == ""
    asked: list[Any] = []

    def explain(images: Any, ids: Any, labels: Any = ()) -> list[Told]:
        asked.extend(zip([int(i[0, 0, 0]) for i in images], ids, labels, strict=True))
        return [Told("d/2.png")]

    explained = REPORTING.explained(report, data, pictures, explain)  # type: ignore[arg-type]
    assert asked == [(k, f"d/{k}.png", NAMES[k % 2]) for k in range(12)]
    assert [name for name, p in explained.items() if p["heat"]] == ["d/2.png"]
    assert explained["d/2.png"]["image"] == pictures["d/2.png"]["image"]


def test_the_doctor_says_the_numbers_below_a_picture() -> None:
    data = data_of(TRUE)
    audit, small = REPORTING.audit, np.zeros((2, 2, 3), np.uint8)
    assert audit.caption(data, 1) == data.samples[1].target.cell(NAMES)
    assert audit.drawn(data, 0, (2, 2), small) is small
    assert audit.tiles(data) == audit.charts(data, None) == ()  # type: ignore[arg-type]
