"""The corrected t interval of folds against its formula by hand and SciPy's quantile."""

import math

import numpy as np
import pytest
from scipy import stats

from eyewright.metrics import corrected_interval


def test_the_interval_is_nadeaus_and_bengios() -> None:
    scores, share = [0.8, 0.9, 0.7, 0.85], 1 / 3
    found = corrected_interval(scores, test_share=share, confidence=0.9)
    half = stats.t.ppf(0.95, 3) * math.sqrt(np.var(scores, ddof=1) * (1 / 4 + share))
    assert (found.value, found.low, found.high) == pytest.approx((0.8125, 0.8125 - half, 0.8125 + half))
    assert (found.n, found.method, found.confidence) == (4, "corrected t", 0.9)
    usual = corrected_interval(scores, test_share=share)
    assert usual.confidence == 0.95
    assert usual.high - usual.low > 2 * half


def test_an_interval_ends_where_the_metric_does_and_one_fold_has_none() -> None:
    found = corrected_interval([0.2, 0.98], test_share=1.0, bounds=(0.0, 1.0))
    assert (found.low, found.high) == (0.0, 1.0)
    two = corrected_interval([0.5, 0.51], test_share=0.1, bounds=(0.0, 1.0))
    assert 0 < two.low < 0.505 < two.high < 1
    one = corrected_interval([0.5], test_share=0.1)
    assert (one.value, one.low, one.high, one.n) == (0.5, None, None, 1)
