"""An estimate follows from what was measured, and says where one machine is enough."""

import json
from pathlib import Path

import numpy as np
import pytest

from eyewright.cli import main
from eyewright.core.errors import BudgetError, InputError
from eyewright.scaling import Measured, cost, estimate_cost, measure_rate
from eyewright.scaling.cost import wall_seconds
from eyewright.scaling.plan import write_plan

AT = Measured(rate=100, low=80, high=125, workers=2, start_s=2, image_bytes=1e5, images=4000, shards=12, failed=0)


def simulated(images: int, rate: float, workers: int, start_s: float, shard: int) -> float:
    """Return the seconds that all images take: each shard goes to the first free worker, as in the engine."""
    free = [start_s] * workers
    for begin in range(0, images, shard):
        k = free.index(min(free))
        free[k] += min(shard, images - begin) / rate
    return max(free)


@pytest.mark.parametrize("images", [1, 9, 10, 11, 20, 25, 30, 95, 1000, 1007])
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_wall_time_is_that_of_a_simulation(images: int, workers: int) -> None:
    expected = simulated(images, 4.0, workers, 1.5, 10)
    assert wall_seconds(images, 4.0, workers, 1.5, 10) == pytest.approx(expected)


def test_one_machine_is_enough_where_it_meets_the_target() -> None:
    cost = estimate_cost(AT, 10_000_000, target_h=24, price=0.5, watts=100)
    # 10,000,000 images / 200 images/s = 13.9 h.
    assert (cost.machines, cost.enough) == (1, True)
    assert cost.hours == pytest.approx(13.89, abs=0.01)
    assert (cost.hours_low, cost.hours_high) == pytest.approx((11.11, 17.36), abs=0.01)
    assert cost.money == pytest.approx(6.94, abs=0.01)
    assert cost.kwh == pytest.approx(1.389, abs=0.001)
    assert "do not scale out" in cost.advice


def test_as_many_machines_as_the_target_needs_and_no_more() -> None:
    cost = estimate_cost(AT, 10**12, target_h=24)
    assert cost.hours <= 24
    assert estimate_cost(AT, 10**12, machines=round(cost.machines * 0.98)).hours > 24
    assert cost.machines == pytest.approx(10**12 / 200 / 86_400, rel=0.02)
    assert not cost.enough
    assert cost.bytes_per_s == pytest.approx(cost.machines * 200 * 1e5)


def test_a_target_below_one_shard_is_refused() -> None:
    # By hand: 2 s to start and 512 images at 100 images/s.
    with pytest.raises(BudgetError, match=r"images in 1\.0 s, found that one shard takes 7\.1 s"):
        estimate_cost(AT, 10**6, target_h=1 / 3600)


def test_a_sample_is_measured_by_a_job(bundle: Path, images: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    words = ["cost", str(bundle), "--source", str(images), "--images", "1e6", "--workers", "1", "--seconds", "1"]
    assert main([*words, "--price", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    measured, cost = said["measured"], said["cost"]
    assert 0 < measured["low"] <= measured["rate"] <= measured["high"]
    # One of the 40 images, each predicted several times, cannot be read.
    assert 0 < measured["failed"] / (measured["images"] + measured["failed"]) < 0.1
    assert cost["hours"] == pytest.approx(1e6 / measured["rate"] / 3600, rel=0.02)
    assert cost["money"] == pytest.approx(2 * cost["hours"], rel=1e-3)


@pytest.mark.parametrize(
    ("images", "expected"), [("20000", "1 min 44 s [1 min 23 s, 2 min 10 s]"), ("1e7", "13.89 h [11.11 h, 17.36 h]")]
)
def test_a_time_is_shown_in_units_that_fit_it(images, expected, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    # By hand: the slower of 2 workers has 20 of the 40 shards of 512, 102.4 [128, 81.9] s, and 2 s to start.
    monkeypatch.setattr("eyewright.scaling.measure_rate", lambda *_, **__: AT, raising=False)
    assert main(["cost", "photos.bundle", "--source", "sample", "--images", images]) == 0
    assert expected in capsys.readouterr().out


def test_images_without_a_result_are_named_and_not_in_the_rate(images, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    tables = {"pilot": [(16, 1.0, 4)] * 8, "job": [(10, 9.0, 1), (10, 1.0, 0), (10, 1.0, 5)]}

    def run_apart(bundle, paths, folder, size, workers, timeout_s):  # type: ignore[no-untyped-def]
        return np.array(tables["pilot"], float), 4.0 + 5.0

    def run(bundle, paths, folder, size, workers, timeout_s):  # type: ignore[no-untyped-def]
        listed = cost._listed(paths, folder)
        write_plan(folder, f"@{listed}", verb="predict", options={})
        return np.array(tables["job"], float)

    monkeypatch.setattr(cost, "_run_apart", run_apart)
    monkeypatch.setattr(cost, "_run", run)
    assert main(["cost", "b", "--source", str(images), "--images", "1000", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    # By hand: 15 results in the 2 s of all shards but the first.
    assert "measured 15 images in 2 shards: 7.5 images/s" in said
    assert "failed   5 images more had no result" in said


def test_a_sample_of_which_nothing_can_be_predicted_is_an_error(bundle, images, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    bad = tmp_path / "bad.png"
    bad.write_bytes((images / "b" / "07.png").read_bytes())
    words = ["cost", str(bundle), "--source", str(bad), "--images", "100", "--workers", "1", "--seconds", "1"]
    assert main(words) == 3
    assert "expected images that can be predicted" in capsys.readouterr().err


def test_a_sample_without_images_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none"):
        measure_rate(bundle, str(tmp_path))
