"""Cross-conformal familiarity; a plain loop over folds and the promised rates are the oracles."""

import numpy as np
import pytest

from eyewright.metrics.familiarity import (
    FLAGGED,
    LEAST_GROUPS,
    CrossConformal,
    spread_over_groups,
    why_too_few,
)


def test_p_is_that_of_a_plain_loop_over_folds_and_groups() -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=(60, 3)), rng.permutation(np.repeat(np.arange(20), 3))
    new = rng.normal(size=(9, 3)) * np.linspace(0.5, 4, 9)[:, None]
    expected = np.ones(9)
    for g in range(20):
        kept = values[groups % 10 != g % 10]
        middle = np.median(kept, 0)
        cov = (kept - middle).T @ (kept - middle) / (len(kept) - 1)
        cov = 0.8 * cov + 0.2 * np.diag(np.diag(cov)) + 1e-6 * np.eye(3)

        def far(x: np.ndarray, middle: np.ndarray = middle, cov: np.ndarray = cov) -> float:
            return float((x - middle) @ np.linalg.solve(cov, x - middle))

        own = np.array([far(x) for x in values[groups == g]])
        expected += [float((own >= far(x)).mean()) for x in new]
    np.testing.assert_allclose(CrossConformal(values, groups).p(new), expected / 21, atol=1e-12)


def test_a_hundred_images_flag_one_in_a_hundred_and_every_stranger() -> None:
    rng = np.random.default_rng(1)
    mix = rng.normal(size=(34, 34)) / 6
    flagged = []
    for _ in range(40):
        known = CrossConformal(rng.normal(size=(100, 34)) @ mix, np.arange(100))
        flagged += (known.p(rng.normal(size=(100, 34)) @ mix) <= FLAGGED).tolist()
        assert (known.p(rng.normal(size=(20, 34)) @ mix + 6) <= FLAGGED).all()
    # 4,000 draws at a rate of 1/101, the references drawn 40 times: 0.0155 is 3 standard errors above.
    assert 0.004 < np.mean(flagged) < 0.0155


def test_images_of_one_group_are_not_taken_for_independent_ones() -> None:
    rng = np.random.default_rng(2)

    def draw(groups: int) -> np.ndarray:
        return np.repeat(rng.normal(size=(groups, 6)), 5, 0) + 0.2 * rng.normal(size=(groups * 5, 6))

    as_groups, as_images = [], []
    for _ in range(40):
        reference, new = draw(100), draw(100)
        as_groups.append((CrossConformal(reference, np.repeat(np.arange(100), 5)).p(new) <= FLAGGED).mean())
        few = reference[:100]
        as_images.append((CrossConformal(few, rng.permutation(100)).p(new) <= FLAGGED).mean())
    assert np.mean(as_groups) < 0.015
    # A hundred images of 20 groups, taken for a hundred groups: the promise is broken.
    assert np.mean(as_images) > 0.025


def test_held_out_values_are_uniform_and_what_never_differs_is_no_reason_to_fail() -> None:
    rng = np.random.default_rng(3)
    p = CrossConformal(rng.normal(size=(500, 4)), np.arange(500)).held_out()
    for level in (0.01, 0.1, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=0.004)
    assert CrossConformal(np.ones((120, 4)), np.arange(120)).p(np.ones((1, 4)))[0] == 1.0


def test_too_few_are_told_in_words() -> None:
    assert why_too_few(LEAST_GROUPS, 4000) == ""
    assert why_too_few(12, 12).startswith("there are 12 reference images; at least 100")
    assert why_too_few(1, 5000).startswith("the 5000 reference images are of 1 group; at least 100")


def test_few_rows_are_drawn_from_every_group_before_many_from_one() -> None:
    groups = np.array([0] * 50 + [1] * 3 + [2])
    chosen = spread_over_groups(groups, 9, np.random.default_rng(0))
    assert np.bincount(groups[chosen]).tolist() == [5, 3, 1]
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert spread_over_groups(groups, 54, np.random.default_rng(0)).tolist() == list(range(54))
