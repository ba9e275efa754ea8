"""What a report on restored images holds of each, by hand on three images."""

from typing import Any

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.task import task_of
from eyewright.data import Dataset, Sample
from eyewright.data.targets.picture import Picture
from eyewright.tasks.restore_report import REPORTING, RestoreResults
from eyewright.tasks.restore_trials import COLUMNS

TASK = task_of("restore")
# Gain over the baseline, PSNR, SSIM, gain over the input, PSNR of the input and of the baseline, SSIM of the input.
VALUES = [[1.0, 30.0, 0.75, 10.0, 20.0, 29.0, 0.5], [-2.0, 24.0, 0.5, 2.0, 22.0, 26.0, 0.25],
          [0.5, 120.0, 1.0, 8.0, 26.0, 33.5, 0.75]]  # fmt: skip


def made(values: Any = VALUES, *, degrade: str = "noise:5-50", clean: str = "") -> RestoreResults:
    samples = tuple(Sample(f"d/{k}.png", Picture(clean)) for k in range(len(values)))
    data = Dataset(None, samples, LabelSpace(("picture",)), "folder", "restore")  # type: ignore[arg-type]
    n = len(values)
    return RestoreResults(data, np.array(values), np.arange(10.0, 10 + n), np.full(n, 0.25), degrade)


def test_items_begin_with_the_image_that_gained_least() -> None:
    items = REPORTING.items(made())
    assert [(i["index"], i["gain"], i["psnr"], i["sigma"], i["name"]) for i in items] == [
        (1, -2.0, 24.0, 11.0, "1.png"), (2, 0.5, 120.0, 12.0, "2.png"), (0, 1.0, 30.0, 10.0, "0.png"),
    ]  # fmt: skip
    # A score is the PSNR as a fraction of the highest, 100 dB, and at most 1.
    assert REPORTING.image_scores(items).tolist() == pytest.approx([0.3, 0.24, 1.0])
    assert REPORTING.image_scores([{"index": 0, "score": -0.5}]).tolist() == [0.0]


def test_numbers_are_means_under_weights_of_what_is_known_for_all() -> None:
    weights = np.array([[1.0, 1, 1], [3, 1, 0]])
    found = made().numbers()(weights)
    assert set(found) == set(COLUMNS)
    assert found["psnr"].tolist() == pytest.approx([58, (90 + 24) / 4])
    assert found["baseline_gain"].tolist() == pytest.approx([-0.5 / 3, 0.25])
    unknown = np.array(VALUES)
    unknown[1, 2] = np.nan
    assert set(made(unknown).named) == set(COLUMNS) - {"ssim"}
    followed = made().followed()
    assert followed.number(weights).tolist() == pytest.approx([58, 28.5])
    assert followed.unit == "dB"
    assert made().answers().tolist() == [[0.25]] * 3
    assert made().asked("psnr").tolist() == [True] * 3


def test_rows_hold_each_number_and_nothing_where_it_is_not_known() -> None:
    values = np.array(VALUES[:1])
    values[0, 2] = np.nan
    titles, row = made(values).rows()
    assert titles == ("id", *COLUMNS, "sigma", "changed")
    assert row == ("d/0.png", "1", "30", "", "10", "20", "29", "0.5", "10", "0.25")


def test_images_have_changed_by_more_than_a_tenth_of_a_decibel_in_both_directions() -> None:
    moved = np.array(VALUES)
    moved[:, 1] = (30.0625, 24.125, 119.875)
    assert REPORTING.changed(made(), made(moved)) == [
        {"id": "d/1.png", "before": "24.00 dB", "after": "24.12 dB"},
        {"id": "d/2.png", "before": "120.00 dB", "after": "119.88 dB"},
    ]


def test_differences_of_rounding_are_none() -> None:
    """A hundredth of a decibel, and of SSIM a ten-thousandth; each number for itself."""

    def difference(name: str, moved: float) -> float:
        values = np.array(VALUES)
        values[:, COLUMNS.index(name)] += moved
        return float(REPORTING.compare(made(), made(values), 0).differences[name].value or 0.0)

    assert difference("psnr", 0.009) == difference("psnr", -0.009) == difference("ssim", 0.00009) == 0.0
    assert difference("psnr", 0.011) == pytest.approx(0.011)
    assert difference("ssim", -0.0002) == pytest.approx(-0.0002)
    with pytest.raises(UsageError, match="undo the same, found 'noise:5-50' and 'self'"):
        REPORTING.compare(made(), made(degrade="self"), 0)
    assert REPORTING.compare(made(degrade="self"), made(degrade="self"), 0).n == 3


def test_a_report_names_the_baseline_and_holds_every_image() -> None:
    report = REPORTING.report(made(degrade="down:2"))
    assert (report.tables["degrade"], report.tables["baseline"], report.tables["levels"]) == ("down:2", "bicubic", [])
    assert np.array(report.tables["each"]["psnr"]).tolist() == [30, 24, 120]
    assert np.array(report.tables["each"]["psnr_input"]).tolist() == [20, 22, 26]
    (row,) = report.per_class
    assert (row["label"], row["n"], row["psnr"]["value"], row["psnr"]["unit"]) == ("picture", 3, 58.0, "dB")
    assert (row["ssim"]["value"], row["ssim"]["unit"]) == (0.75, "")


def test_the_doctor_says_which_images_are_pairs() -> None:
    assert REPORTING.audit.caption(made(clean="clean.png").dataset, 0) == "pair"
    assert REPORTING.audit.caption(made().dataset, 0) == ""


def test_what_is_added_to_the_example_takes_its_noise_away() -> None:
    raw, pairs = TASK.example(np.random.default_rng(0))
    assert raw["residual"].shape == (12, 16, 24, 3)
    for residual, (given, clean) in zip(raw["residual"], pairs, strict=True):
        assert 60 <= clean.min() <= clean.max() < 200
        assert 8 < (given.astype(float) - clean).std() < 12
        left = given + 255 * residual - clean.astype(float)
        assert 2 < left.std() < 3.2
