"""What the page of a generator says and shows, on a report made by hand."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core.report import Metric, Report
from eyewright.tasks.generate_page import explain_errors, find_faults, grid_of, lay_out, summarise


def row(label: str, high: float | None) -> dict[str, Any]:
    return {"label": label, "n": 9, "coverage": {"value": 0.5, "low": 0.4, "high": high}}


def report(
    *, copies: Metric | None = None, coverage: Metric | None = None, floor: Metric | None = None,
    rows: Any = (), accuracy: float = 0.98, images: int = 5000, items: Any = (),
) -> Report:  # fmt: skip
    metrics = {
        "copies": copies or Metric(0.01, 0.0, 0.02), "coverage": coverage or Metric(0.9, 0.85, 0.95),
        "fid": Metric(12.345), "label_agreement": Metric(0.75),
    } | ({} if floor is None else {"coverage_floor": floor})  # fmt: skip
    judge = {"digest": "0123456789abcdef", "accuracy": {"value": accuracy}, "features": 64}
    tables = {"judge": judge, "dropped_features": 3, "copy_limit": 1.2345, "training_images": images}
    return Report("generate", ("a", "b"), 40, metrics, tuple(rows), tables, tuple(items))


def codes(made: Report) -> list[tuple[str, str]]:
    return [(f.code, f.severity) for f in find_faults(made)]


def test_a_generator_that_does_nothing_wrong_has_no_findings() -> None:
    assert codes(report(floor=Metric(0.95), rows=[row("a", 0.9)])) == []
    assert codes(report()) == []


@pytest.mark.parametrize(("low", "found"), [(0.02, False), (0.021, True), (None, False)])
def test_copies_are_found_above_two_per_cent(low: float | None, found: bool) -> None:
    faults = find_faults(report(copies=Metric(0.1, low, 0.2)))
    assert [(f.code, f.severity) for f in faults] == [("copies", "error")] * found
    if found:
        assert faults[0].message.startswith("10.0% [2.1%, 20.0%] of the generated images are nearer")
    assert codes(report(copies=Metric(None, 0.5))) == []
    (open_ended,) = find_faults(report(copies=Metric(0.1, 0.05, None)))
    assert "[5.0%, 100.0%]" in open_ended.message


@pytest.mark.parametrize(("high", "found"), [(0.39, True), (0.4, False), (None, False)])
def test_coverage_collapses_below_half_of_what_real_images_reach(high: float | None, found: bool) -> None:
    faults = find_faults(report(coverage=Metric(0.3, 0.2, high), floor=Metric(0.8)))
    assert [(f.code, f.severity) for f in faults] == [("collapse", "error")] * found
    if found:
        assert faults[0].message == "coverage 30.0% is less than half that of real images, 80.0%: mode collapse"
    assert codes(report(coverage=Metric(0.3, 0.2, high), floor=Metric(0.0))) == []
    assert codes(report(coverage=Metric(0.3, 0.2, high), floor=Metric(None))) == []


def test_an_undertrained_generator_has_not_collapsed() -> None:
    short = {"said": "the budget was enough for 1 epoch", "fix": "give --budget 9m or more"}
    for made in (
        report(coverage=Metric(0.0, 0.0, 0.1), floor=Metric(0.8)),
        report(floor=Metric(0.8), rows=[row("a", 0.1)]),
    ):
        (fault,) = find_faults(replace(made, tables={**made.tables, "undertrained": short}))
        assert (fault.code, fault.severity, fault.fix) == ("undertrained", "error", "give --budget 9m or more")
        assert fault.message.endswith("the generator is undertrained, the budget was enough for 1 epoch")
        assert "collapse" not in fault.message


def test_large_distances_are_written_as_on_the_tiles() -> None:
    made = report(floor=Metric(0.95))
    large = {"fid": Metric(1062.3, 1005.0, 1120.0), "fid_floor": Metric(1822.4)}
    made = replace(made, metrics={**made.metrics, **large})
    assert "FID 1,062 (real images: 1,822)" in summarise(made)


def test_classes_that_collapsed_are_named_where_the_whole_has_not() -> None:
    rows = [row("a", 0.1), row("b", 0.4), row("c", None), *(row(f"k{k}", 0.39) for k in range(4))]
    (fault,) = find_faults(report(floor=Metric(0.8), rows=rows))
    assert (fault.code, fault.severity) == ("collapse", "error")
    assert fault.message.startswith("coverage of a, k0, k1, k2 is less than half of that of real images")
    (whole,) = find_faults(report(coverage=Metric(0.3, 0.2, 0.35), floor=Metric(0.8), rows=rows))
    assert whole.message.startswith("coverage 30.0%")


@pytest.mark.parametrize(
    ("options", "found"),
    [({"accuracy": 0.799}, [("weak_judge", "warning")]), ({"accuracy": 0.8}, []),
     ({"images": 499}, [("few_images", "warning")]), ({"images": 500}, [])],
)  # fmt: skip
def test_a_weak_judge_and_few_images_are_warnings(options: dict[str, Any], found: Any) -> None:
    assert codes(report(**options)) == found


def test_the_summary_says_by_whom_it_is_measured() -> None:
    made = report(floor=Metric(0.95))
    made = replace(made, metrics={**made.metrics, "fid_floor": Metric(1.234)})
    assert summarise(made) == (
        "90.0% of the real images have a generated one near (real images reach 95.0%); FID 12.35 (real images: 1.234) "
        "in 64 features, 3 of them constant; 75.0% are seen as their class; 1.0% are nearer to a training image than "
        "99% of held-out images. Measured by a classifier with accuracy 98.0% (digest 0123456789ab) that had no part "
        "in training the generator."
    )
    plain = report(coverage=Metric(None))
    plain = replace(plain, metrics={**plain.metrics, "fid": Metric(None), "fid_floor": Metric(None)})
    assert summarise(plain).startswith(
        "not known of the real images have a generated one near (real images reach not known); FID – in 64 features"
    )


def test_the_page_shows_a_grid_classes_and_what_is_nearest() -> None:
    items = [
        {"seed": k, "label": "a", "seen": "b", "copy": k == 0, "distance": 1.23456 + k} for k in range(20)
    ]  # fmt: skip
    made = report(items=items)
    classes, table = lay_out(made, {}).blocks
    assert (classes.title, classes.empty, list(classes.shots)) == ("Real and generated", "No pictures.", [])
    assert len(table.rows) == 16
    assert [[c.text for c in one] for one in table.rows[:2]] == [
        ["0", "a", "b", "1.23", "possible"], ["1", "a", "b", "2.23", "no"],
    ]  # fmt: skip
    assert [c.text for c in table.header] == ["seed", "asked for", "seen as", "distance", "copy"]
    assert table.lead == "Distances in features; 1% of held-out images are nearer than 1.23."
    shown = {"grid": "data:g", "classes": [{"label": "a", "real": "data:r", "generated": "data:d"}]}
    grid, classes, _ = lay_out(made, shown).blocks
    assert list(grid.shots[0].images) == [("data:g", "64 generated images")]
    assert grid.shots[0].lines[0][0].text == "seeds 0 to 63, classes in turn"
    assert list(classes.shots[0].images) == [("data:r", "real a"), ("data:d", "generated a")]
    assert classes.shots[0].lines[0][0].text == "a"


@pytest.mark.parametrize(("n", "columns", "grid"), [(5, 2, (3, 2)), (4, 2, (2, 2)), (3, 8, (1, 3)), (1, 1, (1, 1))])
def test_a_grid_has_a_grey_line_around_each_image(n: int, columns: int, grid: tuple[int, int]) -> None:
    images = np.stack([np.full((3, 5, 3), 10 * k, np.uint8) for k in range(n)])
    sheet = grid_of(images, columns)
    rows, across = grid
    assert sheet.shape == (rows * 4 + 1, across * 6 + 1, 3)
    wanted = np.full_like(sheet, 128)
    for k in range(n):
        y, x = divmod(k, across)
        wanted[y * 4 + 1 : y * 4 + 4, x * 6 + 1 : x * 6 + 6] = 10 * k
    assert np.array_equal(sheet, wanted)


def test_nothing_is_explained() -> None:
    pictures: dict[str, Any] = {}
    assert explain_errors(report(), SimpleNamespace(), pictures, lambda *a: []) is pictures  # type: ignore[arg-type]
