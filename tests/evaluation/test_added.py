"""The verdict on generated images: planted gains and losses, and what chance alone gives."""

from typing import Any

import numpy as np
import pytest

from eyewright.core.labels import LabelSpace
from eyewright.data.dataset import Dataset, Sample
from eyewright.evaluation import added
from eyewright.evaluation.added import added_finding, compare_pairs, say_added
from eyewright.tasks.class_results import ClassResults


class _Nothing:
    pass


def _dataset(n: int) -> Dataset:
    tree: Any = _Nothing()
    samples = tuple(Sample(f"{i}", int(i % 10 == 0), "val") for i in range(n))  # type: ignore[arg-type]
    return Dataset(tree, samples, LabelSpace(("usual", "rare")), "imagefolder", "classify")


def _results(data: Dataset, right: np.ndarray) -> ClassResults:
    truth = data.targets
    answered = np.where(right, truth, 1 - truth)
    return ClassResults(
        data,
        np.eye(2, dtype=np.float32)[answered] * np.float32(0.8) + np.float32(0.1),
        tuple((32.0, 100.0) for _ in range(len(data))),
    )


def _verdict(monkeypatch: pytest.MonkeyPatch, sides: list[tuple[float, float]], n: int = 400) -> dict[str, Any]:
    """Compare nets that are right on these fractions of the rare images, without and with generated ones."""
    data = _dataset(n)

    def gather(predictors: Any, dataset: Any, **options: Any) -> Any:
        return [_results(data, p) for p in predictors]

    monkeypatch.setattr(added, "gather_results", gather)
    pairs: list[Any] = []
    for k, (without, own) in enumerate(sides):
        rng = np.random.default_rng(k)
        draws = rng.random(n)
        rare = data.targets == 1
        pairs.append(tuple(np.where(rare, draws < share, draws < 0.95) for share in (without, own)))
    return compare_pairs(pairs, data, ["rare"])


def test_a_planted_gain_and_a_planted_harm_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    gain = _verdict(monkeypatch, [(0.4, 0.9), (0.42, 0.9), (0.38, 0.88)])
    assert gain["verdict"] == "better"
    one = gain["classes"]["rare"]
    assert one["n"] == 40
    assert one["low"] > 0.2
    assert gain["differences"]["balanced_accuracy"]["value"] == pytest.approx(one["value"] / 2)
    harm = _verdict(monkeypatch, [(0.9, 0.4), (0.9, 0.42), (0.88, 0.38)])
    assert harm["verdict"] == "worse"
    finding = added_finding({"images": {"rare": 9}, "verdict": harm})
    assert finding is not None
    assert (finding.code, finding.severity) == ("generated_images_harm", "error")
    assert added_finding({"images": {"rare": 9}, "verdict": gain}) is None
    assert "difference -" in say_added({"images": {"rare": 9}, "verdict": harm})


def test_equal_nets_and_seeds_that_disagree_are_no_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    same = _verdict(monkeypatch, [(0.6, 0.6)] * 2)
    assert same["verdict"] == "same"
    assert same["differences"]["accuracy"]["value"] == 0
    # Each pair alone is beyond the chance of the images, but the sign depends on the seed.
    apart = _verdict(monkeypatch, [(0.4, 0.95), (0.95, 0.4), (0.4, 0.95)])
    alone = _verdict(monkeypatch, [(0.4, 0.95)])
    assert alone["verdict"] == "better"
    assert apart["verdict"] == "same"
    assert apart["method"] == "bootstrap, seeds by t"
    finding = added_finding({"images": {"rare": 9}, "verdict": apart})
    assert finding is not None
    assert (finding.code, finding.severity) == ("generated_images_no_gain", "warning")
