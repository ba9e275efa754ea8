"""Agreement of segmentations. Oracles: scikit-image, scikit-learn, values by hand."""

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.core.rng import generator
from eyewright.metrics.regions import boundary_f, covering, rand_index, region_scores, variation_of_information

RNG = generator(0, "regions")
A = np.kron(RNG.integers(0, 6, (6, 6)), np.ones((8, 8), int))
B = np.roll(A, 3, 1)


def test_variation_of_information_is_scikit_images() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    wanted = metrics.variation_of_information(A, B)
    assert variation_of_information(B, A) == pytest.approx((wanted[1], wanted[0]), abs=1e-9)


def test_the_adjusted_rand_index_is_scikit_learns() -> None:
    cluster = pytest.importorskip("sklearn.metrics")
    assert rand_index(A, B) == pytest.approx(cluster.adjusted_rand_score(A.ravel(), B.ravel()), abs=1e-12)


def test_covering_by_hand() -> None:
    truth = np.array([[1, 1, 2, 2]])
    found = np.array([[5, 5, 5, 7]])
    # 1 is best met by 5 (2 of 3), 2 by 7 (1 of 2); both cover half.
    assert covering(found, truth) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_boundary_within_the_tolerance_counts_and_one_beyond_does_not() -> None:
    truth = np.zeros((100, 100), int)
    truth[:, 50:] = 1
    near, far = np.zeros_like(truth), np.zeros_like(truth)
    near[:, 51:] = 1
    far[:, 60:] = 1
    assert boundary_f(near, truth) == 1.0
    assert boundary_f(far, truth) == 0.0
    assert boundary_f(np.zeros_like(truth), truth) == 0.0
    assert boundary_f(np.zeros_like(truth), np.ones_like(truth)) == 1.0


def test_equal_partitions_with_other_numbers_agree_fully() -> None:
    scores = region_scores(A * 7 + 3, A)
    assert scores["boundary_f"] == scores["covering"] == scores["rand_index"] == 1.0
    assert scores["variation_of_information"] == pytest.approx(0, abs=1e-9)


def test_maps_of_other_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="one size"):
        covering(A, A[:-1])


def test_a_boundary_is_met_within_its_share_of_the_diagonal() -> None:
    """Of a diagonal of 500 pixels 0.75 % is 3.75, and of a small one at least a pixel."""

    def halves(at: int) -> np.ndarray:
        return np.tile(np.arange(400) >= at, (300, 1)).astype(int)

    for shift, score in ((3, 1.0), (4, 0.0), (-3, 1.0), (-4, 0.0)):
        assert boundary_f(halves(200 + shift), halves(200)) == score
        assert boundary_f(halves(200 + shift).T, halves(200).T) == score
    assert boundary_f(halves(208), halves(200), tolerance=0.0159) == 0.0
    assert boundary_f(halves(208), halves(200), tolerance=0.0161) == 1.0
    small = np.array([[0, 0, 0, 1, 1, 1]])
    assert boundary_f(np.array([[0, 0, 1, 1, 1, 1]]), small) == 1.0
    assert boundary_f(np.array([[0, 1, 1, 1, 1, 1]]), small) == 0.0


def test_boundary_f_is_the_harmonic_mean_of_precision_and_recall() -> None:
    truth = np.zeros((20, 40), int)
    truth[:, 20:] = 1
    found = truth.copy()
    # A second line: half of the found boundary is a true one.
    found[:, 30:] = 2
    assert boundary_f(found, truth) == pytest.approx(2 * 0.5 / 1.5)
    assert boundary_f(truth, found) == pytest.approx(2 * 0.5 / 1.5)
    # A third of all boundary pixels has no partner in a part of another height.
    part = truth.copy()
    part[10:] = 0
    # 10 columns' pixels and 20 along the lower side of the part, against 20 true ones of which 11 are near.
    precision, recall = 11 / 30, 11 / 20
    found_f = boundary_f(part, truth)
    assert found_f == pytest.approx(2 * precision * recall / (precision + recall), abs=0.02)


def test_measures_of_regions_of_unlike_areas() -> None:
    truth = np.array([[0, 0, 0, 0, 0, 1]])
    found = np.array([[3, 3, 3, 8, 8, 8]])
    # Of 5 pixels 3 are met at best (3 of 5), of the last 1 of 3.
    assert covering(found, truth) == pytest.approx((5 * 3 / 5 + 1 / 3) / 6)
    under, over = variation_of_information(found, truth)
    log2 = np.log2
    assert under == pytest.approx(0.5 * (-(2 / 3) * log2(2 / 3) - (1 / 3) * log2(1 / 3)))
    assert over == pytest.approx(5 / 6 * (-(3 / 5) * log2(3 / 5) - (2 / 5) * log2(2 / 5)))
    scores = region_scores(found, truth)
    assert scores["variation_of_information"] == pytest.approx(under + over)
    assert (scores["under_segmentation"], scores["over_segmentation"]) == (under, over)
    assert (scores["covering"], scores["rand_index"]) == (covering(found, truth), rand_index(found, truth))
    assert scores["boundary_f"] == boundary_f(found, truth)


def test_the_rand_index_of_one_region_and_of_single_pixels() -> None:
    cluster = pytest.importorskip("sklearn.metrics")
    one, each = np.zeros((2, 3), int), np.arange(6).reshape(2, 3)
    for a, b in ((one, one), (each, each), (one, each), (each, one)):
        assert rand_index(a, b) == pytest.approx(cluster.adjusted_rand_score(a.ravel(), b.ravel()))
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (5, 7)), rng.integers(0, 4, (5, 7))
    assert rand_index(a, b) == pytest.approx(cluster.adjusted_rand_score(a.ravel(), b.ravel()))


def test_what_is_no_pair_of_label_maps_is_refused() -> None:
    for wrong in (np.zeros((0, 4), int), np.zeros(4, int), np.zeros((2, 2, 2), int)):
        with pytest.raises(UsageError, match="one size"):
            covering(wrong, wrong)
