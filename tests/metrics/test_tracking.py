"""Tracking metrics against TrackEval 1.3.0 (`trackeval-1.3.0.json`), and their intervals."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.tracks import Tracks
from eyewright.metrics.tracking import TRACKING_METRICS, combined, count_sequence, paired_tracking, tracking_metrics

_HERE = Path(__file__).parent
_SPEC = importlib.util.spec_from_file_location("tracked_scenes", _HERE / "tracked_scenes.py")
assert _SPEC is not None
assert _SPEC.loader is not None
scenes = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(scenes)
TRACKEVAL = json.loads((_HERE / "trackeval-1.3.0.json").read_text())


def _equal(found: dict[str, float], expected: dict[str, float]) -> None:
    assert set(found) == set(expected) == set(TRACKING_METRICS)
    for name, value in expected.items():
        assert math.isclose(found[name], value, rel_tol=0, abs_tol=1e-9), name


@pytest.mark.parametrize("seed", range(30))
def test_every_number_of_a_drawn_sequence_is_trackevals(seed: int) -> None:
    _equal(combined([count_sequence(*scenes.scene(seed))]), TRACKEVAL[f"drawn-{seed}"])


@pytest.mark.parametrize("seed", range(10))
def test_distractors_and_unmeasured_rows_are_left_out_as_in_mot17(seed: int) -> None:
    _equal(combined([count_sequence(*scenes.flagged(seed))]), TRACKEVAL[f"flagged-{seed}"])


def test_sequences_together_are_trackevals_combined_sequence() -> None:
    _equal(combined([count_sequence(*scenes.scene(k)) for k in range(30)]), TRACKEVAL["drawn combined"])
    _equal(combined([count_sequence(*scenes.flagged(k)) for k in range(10)]), TRACKEVAL["flagged combined"])


@pytest.mark.skipif(not scenes.MOT15.is_dir(), reason="needs ../shared/data/mot15_mini")
@pytest.mark.parametrize("name", ["KITTI-17", "PETS09-S2L1", "TUD-Campus", "TUD-Stadtmitte"])
def test_every_number_of_a_real_sequence_is_trackevals(name: str) -> None:
    _equal(combined([count_sequence(*scenes.mot15(name))]), TRACKEVAL[f"mot15-{name}"])


def test_perfect_tracks_have_no_fault_and_nothing_found_scores_zero() -> None:
    truth = scenes.scene(0)[0]
    best = combined([count_sequence(truth, truth)])
    assert best["hota"] == best["mota"] == best["idf1"] == 1.0
    assert best["id_switches"] == best["false_negatives"] == 0
    nothing = combined([count_sequence(truth, Tracks.of([]))])
    assert nothing["hota"] == nothing["idf1"] == 0.0
    assert nothing["false_negatives"] == len(truth)


def test_a_swapped_identity_costs_association_and_not_detection() -> None:
    truth = Tracks.of([(f, i, 50 * i, 0, 50 * i + 40, 90) for f in range(1, 11) for i in (1, 2)])
    swapped = Tracks.of([(f, i if f < 6 else 3 - i, 50 * i, 0, 50 * i + 40, 90) for f in range(1, 11) for i in (1, 2)])
    found = combined([count_sequence(truth, swapped)])
    assert found["det_a"] == 1.0
    # By hand: of each object 5 frames lie with one identity and 5 with the other: 5 / (10 + 10 - 5).
    assert found["ass_a"] == pytest.approx(1 / 3)
    assert found["id_switches"] == 2
    assert found["idf1"] == 0.5


def test_an_interval_is_over_sequences_and_one_sequence_has_none() -> None:
    rng = np.random.default_rng(0)
    counts = [count_sequence(*scenes.scene(k)) for k in range(8)]
    metrics = tracking_metrics(counts, rng=rng)
    hota = metrics["hota"]
    assert hota.value is not None
    assert hota.low is not None
    assert hota.high is not None
    assert 0 < hota.low < hota.value < hota.high < 1
    assert hota.groups == 8
    assert hota.n == sum(len(scenes.scene(k)[0]) for k in range(8))
    switches = metrics["id_switches"]
    assert switches.low is not None
    assert switches.low >= 0
    alone = tracking_metrics(counts[:1], rng=rng)["hota"]
    assert alone.low is None
    assert alone.high is None


def test_many_sequences_are_bootstrapped() -> None:
    counts = [count_sequence(*scenes.scene(k % 30)) for k in range(201)]
    found = tracking_metrics(counts, rng=np.random.default_rng(0), replicates=50)["mota"]
    assert found.method == "bootstrap over sequences"
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.high


def test_a_difference_is_paired_over_sequences() -> None:
    rng = np.random.default_rng(0)
    worse = [count_sequence(*scenes.scene(k)) for k in range(8)]
    perfect = [count_sequence(scenes.scene(k)[0], scenes.scene(k)[0]) for k in range(8)]
    better = paired_tracking(worse, perfect, rng=rng)["hota"]
    assert better.low is not None
    assert better.low > 0
    same = paired_tracking(worse, worse, rng=rng)["hota"]
    assert same.value == same.low == same.high == 0
    with pytest.raises(ValueError, match="as many sequences"):
        paired_tracking(worse, perfect[:2], rng=rng)
