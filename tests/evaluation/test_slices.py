"""Which slices are looked at, and what is said of each, by exact values."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from eyewright.core import LabelSpace
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.evaluation.slices import _folder_below_class, slice_accuracy, thirds
from eyewright.metrics.bootstrap import wilson_interval


def data_of(n: int, metas: list[dict[str, str]] | None = None, groups: list[str] | None = None) -> Dataset:
    samples = tuple(
        Sample(f"nut/{i}.png", 0, meta=(metas or [{}] * n)[i], group=None if groups is None else groups[i])
        for i in range(n)
    )
    return Dataset(ArrayTree(Path("."), {}), samples, LabelSpace(("nut", "bolt")), "made", "classify")


def flat(n: int) -> list[tuple[float, float]]:
    return [(100.0, 50.0)] * n


def test_a_row_holds_the_slice_and_the_rest() -> None:
    right = np.arange(40) >= 15
    metas = [{"site": "a" if i < 20 else "b"} for i in range(40)]
    rows = slice_accuracy(data_of(40, metas), right, flat(40))
    assert [(r["slice"], r["value"], r["n"], r["accuracy"], r["rest"]) for r in rows] == [
        ("site", "a", 20, 0.25, 1.0), ("site", "b", 20, 1.0, 0.25),
    ]  # fmt: skip
    assert [(r["low"], r["high"]) for r in rows] == [wilson_interval(5, 20), wilson_interval(20, 20)]
    assert [r["weaker"] for r in rows] == [True, False]
    assert "groups" not in rows[0]


def test_a_slice_is_weaker_by_fishers_test_divided_by_the_slices_that_are_looked_at() -> None:
    metas = [{"site": "a" if i < 20 else "b", "day": str(i % 2)} for i in range(40)]
    for wrong in range(8):
        right = np.r_[np.arange(20) >= wrong, np.ones(20, bool)]
        rows = slice_accuracy(data_of(40, metas), right, flat(40))
        p = stats.fisher_exact([[20 - wrong, wrong], [20, 0]], alternative="less").pvalue
        found = next(r for r in rows if r["value"] == "a")
        assert found["weaker"] == (4 * p < 0.05), wrong


def test_a_slice_needs_ten_images_and_a_rest() -> None:
    metas = [{"site": "a" if i < 9 else "b" if i < 19 else "c", "all": "x"} for i in range(40)]
    rows = slice_accuracy(data_of(40, metas), np.arange(40) % 2 == 0, flat(40))
    assert {r["value"] for r in rows} == {"b", "c"}


def test_a_column_of_up_to_twenty_values_is_cut_and_what_is_missing_is_no_value() -> None:
    for values, cut in ((20, True), (21, False)):
        metas = [{"site": f"{i % values:02}"} for i in range(values * 10)]
        rows = slice_accuracy(data_of(len(metas), metas), np.arange(len(metas)) % 3 == 0, flat(len(metas)))
        assert bool(rows) == cut
    some = [{"site": "a"} if i < 15 else {"site": "b"} if i < 30 else {} for i in range(45)]
    rows = slice_accuracy(data_of(45, some), np.arange(45) % 3 == 0, flat(45))
    assert sorted((r["value"], r["n"]) for r in rows) == [("a", 15), ("b", 15)]
    one = [{"site": "a"} if i < 15 else {} for i in range(30)]
    assert slice_accuracy(data_of(30, one), np.ones(30, bool), flat(30)) == []


def test_size_and_brightness_are_cut_into_thirds() -> None:
    looks = [(100.0 + i, 200.0 - i) for i in range(30)]
    rows = slice_accuracy(data_of(30), np.arange(30) >= 10, looks)
    assert {(r["slice"], r["value"]): r["accuracy"] for r in rows} == {
        ("longer side", "up to 110 px"): 0.0, ("longer side", "110 to 119 px"): 1.0,
        ("longer side", "above 119 px"): 1.0,
        ("brightness", "above 190"): 0.0, ("brightness", "181 to 190"): 1.0, ("brightness", "up to 181"): 1.0,
    }  # fmt: skip
    assert [r["accuracy"] for r in rows] == sorted(r["accuracy"] for r in rows)


def test_over_groups_a_slice_counts_them() -> None:
    metas = [{"site": "a" if i < 20 else "b"} for i in range(40)]
    groups = [f"g{i // 4}" for i in range(40)]
    right = np.arange(40) >= 20
    rows = slice_accuracy(data_of(40, metas, groups), right, flat(40))
    assert [(r["value"], r["groups"], r["weaker"]) for r in rows] == [("a", 5, True), ("b", 5, False)]
    # Two groups of twenty cannot say so: their signs may be flipped together in every second way.
    two = slice_accuracy(data_of(40, metas, [f"g{i // 20}" for i in range(40)]), right, flat(40))
    assert not any(r["weaker"] for r in two)


def test_thirds_leave_out_what_is_not_known() -> None:
    values = np.r_[np.arange(30.0), np.nan, np.inf]
    found = thirds(values, "px")
    assert [(name, int(m.sum())) for name, m in found] == [
        ("up to 10 px", 10), ("10 to 19 px", 10), ("above 19 px", 11),
    ]  # fmt: skip
    assert [m[30] for _, m in found] == [False] * 3
    assert thirds(np.full(9, 3.0), "px") == thirds(np.full(3, np.nan), "px") == thirds(np.zeros(0), "px") == []
    # A value on a bound is in the lower third alone.
    assert [(name, np.flatnonzero(m).tolist()) for name, m in thirds(np.arange(4.0), "")] == [
        ("up to 1", [0, 1]), ("1 to 2", [2]), ("above 2", [3]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "label", "folder"),
    [
        ("nut/night/3.png", "nut", "night"),
        ("site/nut/night/3.png", "nut", "site/night"),
        ("a/b/3.png", "b/a", ""),
        ("//x//3.png", "nut", "x"),
        ("3.png", "nut", ""),
    ],
)
def test_the_folder_does_not_say_the_class(name: str, label: str, folder: str) -> None:
    assert _folder_below_class(name, label) == folder
