"""What a restorer's arrays mean, and how it is measured."""

from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data import open_dataset
from eyewright.imaging import Placement, write_image
from eyewright.metrics.restoration import blind_psnr, capped_psnr, mean_metrics
from eyewright.tasks.restore_page import find_faults
from eyewright.tasks.restore_report import REPORTING, RestoreResults
from eyewright.tasks.restore_trials import COLUMNS
from eyewright.testing import check_reporting, check_task

TASK = task_of("restore")
LABELS = LabelSpace(("picture",))


def test_the_task_is_complete() -> None:
    check_task(TASK)


def results(tmp_path: Path, gain: float, *, n: int = 12, degrade: str = "noise:5-50") -> RestoreResults:
    for k in range(n):
        write_image(tmp_path / f"{k:02d}.png", np.random.default_rng(k).integers(0, 256, (8, 8, 3)).astype(np.uint8))
    dataset = open_dataset(tmp_path, task="restore")
    rng = np.random.default_rng(0)
    before = rng.uniform(15, 30, n)
    plain = before + 6
    spread = rng.normal(0, 0.2, n)
    found = plain + gain + spread - spread.mean()
    values = np.stack([found - plain, found, np.full(n, 0.8), found - before, before, plain, np.full(n, 0.5)], 1)
    return RestoreResults(dataset, values, rng.uniform(5, 50, n), np.full(n, 0.02), degrade)


def test_the_reporting_is_complete(tmp_path: Path) -> None:
    check_reporting(results(tmp_path, 1.0))


def test_a_net_that_loses_to_its_baseline_is_an_error_and_one_that_wins_is_none(tmp_path: Path) -> None:
    (fault,) = find_faults(REPORTING.report(results(tmp_path, -0.5)))
    assert (fault.code, fault.severity) == ("loses_to_baseline", "error")
    assert "loses to total variation" in fault.message
    assert not find_faults(REPORTING.report(results(tmp_path, 0.5)))
    (unsure,) = find_faults(REPORTING.report(results(tmp_path, 0.02)))
    assert unsure.severity == "warning"


def test_two_models_that_undo_different_things_are_not_compared(tmp_path: Path) -> None:
    a, b = results(tmp_path, 1.0), results(tmp_path, 1.0, degrade="jpeg:20-60")
    with pytest.raises(UsageError, match="expected two models that undo the same"):
        REPORTING.compare(a, b, 0)
    better = REPORTING.compare(a, results(tmp_path, 1.5), 0)
    assert better.better == "b"
    assert better.differences["psnr"].value == pytest.approx(0.5, abs=1e-6)
    assert better.lead == pytest.approx(0.5, abs=1e-6)


def test_a_tile_larger_than_the_image_is_cut_to_it_and_one_of_twice_the_size_too() -> None:
    residual = np.arange(8 * 8, dtype=np.float32).reshape(1, 8, 8, 1)
    (small,) = TASK.decode({"residual": residual}, [Placement((4, 6), (1, 1), (2.0, 1.0))], LABELS)
    assert np.array_equal(small.residual, residual[0, 2:6, 1:7])  # type: ignore[attr-defined]
    (large,) = TASK.decode({"residual": residual}, [Placement((20, 30), (1, 1), (-6.0, -11.0))], LABELS)
    assert large.residual.shape == (8, 8, 1)  # type: ignore[attr-defined]
    (twice,) = TASK.decode({"residual": residual}, [Placement((2, 3), (1, 1), (1.0, 0.0))], LABELS)
    assert np.array_equal(twice.residual, residual[0, 2:6, 0:6])  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match="residual of a tile"):
        TASK.decode({"residual": residual}, [Placement((20, 30), (1, 1), (0.0, 0.0))], LABELS)


def test_metrics_are_means_with_intervals_and_leave_out_what_is_not_known_for_all() -> None:
    psnr = np.array([20.0, 22.0, 30.0])
    found = mean_metrics({"psnr": psnr, "ssim": np.array([0.5, np.nan, 0.5])}, rng=generator(0, "t"))
    assert list(found) == ["psnr"]
    assert found["psnr"].value == pytest.approx(24.0)
    assert 20 <= (found["psnr"].low or 0) <= 24 <= (found["psnr"].high or 0) <= 30


def test_psnr_and_ssim_are_those_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (40, 50)).astype(np.uint8)
    b = np.clip(a + rng.normal(0, 12, a.shape), 0, 255).astype(np.uint8)
    assert capped_psnr(a, b) == pytest.approx(metrics.peak_signal_noise_ratio(a, b, data_range=255), abs=1e-4)
    assert capped_psnr(a, a) == 100


def test_the_error_at_hidden_pixels_tells_the_psnr_without_a_clean_image() -> None:
    rng = np.random.default_rng(0)
    clean = np.full((200, 200, 1), 120, np.uint8)
    noisy = np.clip(np.rint(clean + rng.normal(0, 20, clean.shape)), 0, 255).astype(np.uint8)
    found = np.clip(np.rint(clean + rng.normal(0, 8, clean.shape)), 0, 255).astype(np.uint8)
    hidden = rng.random((200, 200)) < 0.25
    assert blind_psnr(found, noisy, hidden, 20.0) == pytest.approx(capped_psnr(found, clean), abs=1.0)


def test_columns_are_in_the_order_of_the_metrics_that_are_compared() -> None:
    assert COLUMNS[0] == TASK.main_metric
    assert set(COLUMNS) == {m.name for m in TASK.metrics}
