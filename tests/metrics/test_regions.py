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
