"""What is kept of a segmenter's predictions: tables of pixels, numbers under weights, changes, rows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle
from tests.evaluation.answers import answers

from eyewright.core import LabelSpace
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.evaluation import reporting_of
from eyewright.metrics.masks import boundary_scores, image_confusion
from eyewright.tasks.mask_results import MaskResults, gather_masks
from eyewright.tasks.segment import MaskPrediction

REPORTING = reporting_of("segment")
NAMES = ("background", "crack", "dent")


def results_of(*pairs: tuple[np.ndarray, np.ndarray]) -> MaskResults:
    """Truth and prediction of each image."""
    tree = ArrayTree(Path("."), {"x": np.zeros((len(pairs), 8, 8, 3), np.uint8)})
    samples = tuple(Sample(f"x/{i:06d}", None) for i in range(len(pairs)))
    data = Dataset(tree, samples, LabelSpace(NAMES), "drawn", task="segment")
    tables = np.stack([image_confusion(p, t, 3) for t, p in pairs])
    edges = np.stack([boundary_scores(p, t, 3) for t, p in pairs])
    return MaskResults(data, tables, edges, tuple((8.0, 0.0) for _ in pairs))


def masks(n: int, seed: int) -> list[np.ndarray]:
    return [m.astype(np.uint8) for m in np.random.default_rng(seed).integers(0, 3, (n, 8, 8))]


def test_numbers_under_weights_are_scikit_learns_of_the_pixels() -> None:
    truth, found = masks(6, 0), masks(6, 1)
    results = results_of(*zip(truth, found, strict=True))
    weights = np.array([[1.0] * 6, [2.0, 0, 0, 1, 3, 0]])
    numbers = results.numbers()(weights)
    for k, w in enumerate(weights):
        pixels = np.repeat(w, 64)
        flat = [np.concatenate([m.ravel() for m in side]) for side in (truth, found)]
        iou = oracle.jaccard_score(*flat, average=None, sample_weight=pixels)
        assert numbers["miou"][k] == pytest.approx(iou[1:].mean())
        assert numbers["pixel_accuracy"][k] == pytest.approx(oracle.accuracy_score(*flat, sample_weight=pixels))
    np.testing.assert_allclose(results.followed().number(weights), numbers["miou"])
    assert next(iter(numbers)) == "miou"


def test_mean_iou_is_not_defined_where_only_background_is() -> None:
    empty = np.zeros((8, 8), np.uint8)
    results = results_of((empty, empty))
    assert np.isnan(results.followed().number(np.ones((1, 1))))
    assert REPORTING.image_scores(REPORTING.items(results)).tolist() == [1.0]


def test_answers_are_shares_of_the_pixels_and_small_changes_are_none() -> None:
    truth = np.zeros((8, 8), np.uint8)
    half = truth.copy()
    half[:4] = 1
    before, after = results_of((truth, half), (truth, truth)), results_of((truth, truth), (truth, truth))
    assert before.answers()[0].tolist() == [0.5, 0.5, 0.0]
    assert REPORTING.changed(before, after) == [
        {"id": "x/000000", "before": {"background": 0.5, "crack": 0.5}, "after": {"background": 1.0}}
    ]
    assert before.asked("miou").all()


def test_each_image_is_compared_with_its_own_truth_at_its_size() -> None:
    rng = np.random.default_rng(3)
    truth = {k: rng.integers(0, 3, size).astype(np.uint8) for k, size in ((4, (8, 6)), (2, (5, 9)))}
    seen = {k: rng.integers(0, 3, m.shape).astype(np.uint8) for k, m in truth.items()}
    space = LabelSpace(NAMES)

    def mask(row: int, size_hw: tuple[int, int]) -> np.ndarray:
        assert truth[row].shape == size_hw
        return truth[row]

    def predict_images(images: Any) -> list[MaskPrediction]:
        return [MaskPrediction(seen[int(i.flat[0])], np.ones(3, np.float32), space) for i in images]

    # The pixels of an image hold its row.
    images = [np.full((*m.shape, 3), k, np.uint8) for k, m in truth.items()]
    empty = np.zeros((8, 8), np.uint8)
    part = results_of((empty, empty), (empty, empty)).dataset
    batch: Any = SimpleNamespace(
        dataset=SimpleNamespace(mask=mask), part=part, rows=list(truth), images=images, looks=((8.0, 0.0), (5.0, 0.0))
    )
    predictor: Any = SimpleNamespace(labels=space, predict_images=predict_images)
    results = gather_masks(predictor, batch)
    for row, table in zip(truth, results.confusions, strict=True):
        assert table.tolist() == oracle.confusion_matrix(truth[row].ravel(), seen[row].ravel()).tolist()
    assert (results.dataset, results.looks) == (part, batch.looks)
    assert len(results.edges) == 2


def test_rows_hold_each_class_that_is_or_was_seen() -> None:
    truth, found = np.zeros((2, 8, 8), np.uint8)
    truth[:4], found[:2] = 1, 1
    found[4:] = 2
    titles, *rows = results_of((truth, found)).rows()
    assert titles == ("id", "label", "iou")
    assert rows == [("x/000000", "crack", "0.5000"), ("x/000000", "dent", "0.0000")]


def test_joined_results_are_those_of_all_images_and_repeats_take_the_first_cut() -> None:
    results = answers("segment", 20).results
    assert isinstance(results, MaskResults)

    def part(a: int, b: int) -> MaskResults:
        own = results.dataset.with_samples(results.dataset.samples[a:b])
        return MaskResults(own, results.confusions[a:b], results.edges[a:b], results.looks[a:b])

    parts = [part(0, 9), part(9, 20)]
    expected = REPORTING.report(results).to_json()
    assert REPORTING.report(parts[0].joined(parts[1])).to_json() == expected
    again = REPORTING.together([*parts, *reversed(parts)], 2, results.dataset)
    assert REPORTING.report(again).to_json() == expected


def test_slices_are_by_the_share_of_the_pixels_that_is_marked() -> None:
    pairs = []
    for k in range(30):
        truth = np.zeros((8, 8), np.uint8)
        truth.ravel()[: 2 + 2 * k] = 1
        found = truth.copy()
        found.ravel()[0] = 0 if k < 10 else 1
        pairs.append((truth, found))
    rows = [r for r in REPORTING.report(results_of(*pairs)).tables["slices"] if r["slice"].startswith("marked")]
    # 2 to 60 of 64 pixels: thirds end at 21.3 and 40.7 of them.
    assert [r["value"] for r in rows] == ["up to 33 %", "33 to 64 %", "above 64 %"]
    assert [r["n"] for r in rows] == [10, 10, 10]
    assert rows[0]["miou"] == pytest.approx((110 - 10) / 110)
    assert rows[1]["miou"] == 1.0
    assert rows[0]["rest"] == 1.0


def test_mean_iou_of_one_class_is_its_iou_and_of_none_is_0() -> None:
    truth = np.zeros((8, 8), np.uint8)
    found = truth.copy()
    truth[:4], found[2:6] = 1, 1
    numbers = results_of((truth, found)).numbers()(np.ones((1, 1)))
    # Two of six rows are in both.
    assert numbers["miou"].tolist() == pytest.approx([1 / 3])
    assert numbers["pixel_accuracy"].tolist() == pytest.approx([0.5])
    none = results_of((np.zeros_like(truth), np.zeros_like(truth))).numbers()(np.array([[1.0], [0.0]]))
    assert none["miou"].tolist() == [0, 0]
    assert none["pixel_accuracy"].tolist() == [1, 0]
