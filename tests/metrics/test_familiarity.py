"""Cross-conformal familiarity; a plain loop over folds and the promised rates are the oracles."""

import numpy as np
import pytest

from eyewright.metrics.familiarity import (
    FLAGGED,
    LEAST_GROUPS,
    CrossConformal,
    NearestConformal,
    appearance_share,
    joined_p,
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
    assert why_too_few(3, 3, "clip").startswith("there are 3 reference clips; at least 100")
    assert why_too_few(3, 3, "clip").endswith("recognise 1 clip in 100 as unfamiliar")
    assert why_too_few(1, 5000).startswith("the 5000 reference images are of 1 group; at least 100")


def test_few_rows_are_drawn_from_every_group_before_many_from_one() -> None:
    groups = np.array([0] * 50 + [1] * 3 + [2])
    chosen = spread_over_groups(groups, 9, np.random.default_rng(0))
    assert np.bincount(groups[chosen]).tolist() == [5, 3, 1]
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert spread_over_groups(groups, 54, np.random.default_rng(0)).tolist() == list(range(54))


def test_held_out_p_values_are_those_of_a_plain_loop() -> None:
    """The distance of each reference image by the fit without its fold, among those of all others by theirs."""
    rng = np.random.default_rng(5)
    values, groups = rng.normal(size=(50, 3)), np.concatenate([np.arange(25), rng.integers(0, 25, 25)])
    far = np.empty(50)
    for k in range(10):
        kept, own = values[groups % 10 != k], groups % 10 == k
        middle = np.median(kept, 0)
        cov = (kept - middle).T @ (kept - middle) / (len(kept) - 1)
        cov = 0.8 * cov + 0.2 * np.diag(np.diag(cov)) + 1e-6 * np.eye(3)
        far[own] = [(x - middle) @ np.linalg.solve(cov, x - middle) for x in values[own]]
    weights = 1 / np.bincount(groups)[groups]
    wanted = [(weights * (far >= x)).sum() / 25 for x in far]
    np.testing.assert_allclose(CrossConformal(values, groups).held_out(), wanted, atol=1e-12)


def test_fewer_groups_than_folds_are_folds_each() -> None:
    rng = np.random.default_rng(6)
    known = CrossConformal(rng.normal(size=(12, 2)), np.repeat(np.arange(4), 3))
    assert known.groups == 4
    assert known.p(np.full((1, 2), 50.0)).tolist() == [1 / 5]
    assert known.held_out().min() >= 1 / 12 - 1e-12
    assert known.p(np.zeros((0, 2))).shape == (0,)


def test_what_never_differs_in_the_reference_is_seen_where_it_differs() -> None:
    rng = np.random.default_rng(7)
    values = np.concatenate([rng.normal(size=(200, 2)), np.full((200, 1), 0.3)], 1)
    known = CrossConformal(values, np.arange(200))
    same, rounded, other = (np.array([[0.1, 0.1, v]]) for v in (0.3, 0.3 + 1e-6, 1.3))
    assert known.p(rounded) == pytest.approx(known.p(same))
    assert known.p(same)[0] > 0.5
    assert known.p(other)[0] == 1 / 201
    # A column that differs a little is measured in its own spread.
    values[:, 2] += rng.normal(0, 1e-3, 200)
    assert CrossConformal(values, np.arange(200)).p(np.array([[0.0, 0.0, 0.31]]))[0] < 0.02


def test_the_words_name_images_where_each_is_a_group() -> None:
    assert why_too_few(99, 99) == (
        "there are 99 reference images; at least 100 are needed to recognise 1 image in 100 as unfamiliar"
    )
    assert why_too_few(100, 5) == ""
    assert why_too_few(2, 5).startswith("the 5 reference images are of 2 groups; at least")


def test_drawn_rows_differ_with_the_generator_and_are_as_many_as_asked() -> None:
    groups = np.repeat(np.arange(5), 20)
    first, second = (spread_over_groups(groups, 12, np.random.default_rng(s)) for s in (0, 1))
    assert first.tolist() != second.tolist()
    for rows in (first, second):
        assert len(rows) == 12
        assert sorted(np.bincount(groups[rows]).tolist()) == [2, 2, 2, 3, 3]
    assert spread_over_groups(groups, 99, np.random.default_rng(0)).shape == (99,)
    assert spread_over_groups(groups, 0, np.random.default_rng(0)).shape == (0,)


def test_the_nearest_features_are_those_of_a_plain_loop_over_folds_and_groups() -> None:
    rng = np.random.default_rng(8)
    features, groups = rng.normal(size=(60, 5)), rng.permutation(np.repeat(np.arange(20), 3))
    new = np.concatenate([features[:2] * 3, rng.normal(size=(7, 5))])

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    expected = np.ones(9)
    for g in range(20):
        kept = features[groups % 10 != g % 10]

        def far(x: np.ndarray, kept: np.ndarray = kept) -> float:
            return 1 - max(cosine(x, y) for y in kept)

        own = np.array([far(x) for x in features[groups == g]])
        # Float32 inside: what is equal in theory may differ by rounding.
        expected += [float((own >= far(x) - 1e-6).mean()) for x in new]
    np.testing.assert_allclose(NearestConformal(features, groups).p(new), expected / 21, atol=1e-9)


def test_two_tests_together_keep_the_promise_and_find_what_one_alone_does_not() -> None:
    rng = np.random.default_rng(9)
    there = np.array([4.0, 0, 0, 0, 0, 0])
    share = appearance_share(600, 130)
    assert share is not None
    flagged = []
    for _ in range(30):
        look = CrossConformal(rng.normal(size=(600, 4)), np.arange(600))
        near = NearestConformal(rng.normal(size=(130, 6)) + there, np.arange(130))
        p = joined_p(look.p(rng.normal(size=(100, 4))), near.p(rng.normal(size=(100, 6)) + there), share)
        flagged += (p <= FLAGGED).tolist()
        usual, strange = np.zeros((5, 4)), np.tile(-there, (5, 1))
        assert (joined_p(look.p(usual), near.p(strange), share) <= FLAGGED).all()
        assert (joined_p(look.p(usual + 9), near.p(-strange), share) <= FLAGGED).all()
    # 3,000 draws at a rate of at most 0.01, the references drawn 30 times.
    assert np.mean(flagged) < 0.0165


def test_a_test_that_cannot_flag_by_itself_gets_no_share() -> None:
    assert appearance_share(575, 120) is None
    assert appearance_share(576, 120) == pytest.approx(100 / 577)
    assert appearance_share(599, 120) == pytest.approx(1 / 6)
    assert appearance_share(250, 250) == pytest.approx(100 / 251)
    assert appearance_share(198, 198) is None
    assert appearance_share(10_000, 99) is None
    for looks, features in ((599, 120), (250, 250), (199, 199), (5000, 102)):
        share = appearance_share(looks, features)
        assert share is not None
        assert 1 / (looks + 1) / share <= FLAGGED + 1e-12
        assert 1 / (features + 1) / (1 - share) <= FLAGGED + 1e-12


def test_one_image_has_the_value_that_it_has_among_many() -> None:
    rng = np.random.default_rng(5)
    reference, groups = rng.normal(size=(150, 4)), np.arange(150) // 2
    # Images of the reference as well, whose distance is equal to one of its own.
    asked = np.vstack([rng.normal(size=(40, 4)) * 3, reference[:40]])
    near = NearestConformal(reference, groups)
    distances = near._distances(asked.astype(np.float32))
    together = near._ranked.p(distances)
    alone = np.array([near._ranked.p(distances[:, k : k + 1])[0] for k in range(len(asked))])
    assert alone.tobytes() == together.tobytes()
    nothing = np.full((len(distances), 1), np.nan)
    assert near._ranked.p(nothing) == near._ranked.p(np.repeat(nothing, 2, axis=1))[0]
