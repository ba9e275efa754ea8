"""Margins of boxes and thresholds of a miss rate: matching, hand-made records, and what is promised over many draws."""

import numpy as np
import pytest
from scipy import stats

from eyewright.metrics.conformal_boxes import (
    BOX_BY,
    BoxBy,
    BoxMargins,
    BoxRecord,
    MissThreshold,
    margin_coverage,
    match_objects,
    missed_fractions,
    record_boxes,
)
from eyewright.metrics.detection import detection_metrics
from eyewright.metrics.matching import Detected, match_detections

NONE = Detected(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))


def _drawn(n: int, rng: np.random.Generator) -> BoxRecord:
    """Draw images of 0 to 5 objects that are as hard as each other within an image."""
    counts = rng.integers(0, 6, n)
    images = np.repeat(np.arange(n), counts)
    hard = rng.normal(size=n)[images]
    scores = 1 / (1 + np.exp(hard - rng.normal(size=len(images))))
    scores[rng.random(len(images)) < 0.05] = -1
    short = rng.normal(0, 0.08, (len(images), 4)) * np.exp(hard / 2)[:, None]
    return BoxRecord(images, rng.integers(0, 2, len(images)), scores, short, np.arange(n))


def _scene(rng: np.random.Generator) -> tuple[Detected, Detected]:
    low = rng.uniform(0, 60, (6, 2))
    true = np.concatenate([low, low + rng.uniform(10, 30, (6, 2))], 1)
    found = np.concatenate([true + rng.normal(0, 2, true.shape), true[:3] + rng.normal(0, 4, (3, 4))])
    labels = rng.integers(0, 2, 6)
    ours = Detected(found, np.r_[labels, labels[:3]], rng.random(9))
    return ours, Detected(true, labels)


def test_what_is_found_is_what_coco_counts_as_found_at_every_threshold_of_the_score() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        ours, theirs = _scene(rng)
        taken = match_objects(ours, theirs)
        assert ours.scores is not None
        for conf in (0.0, 0.3, 0.7):
            kept = ours.scores >= conf
            less = Detected(ours.boxes[kept], ours.labels[kept], ours.scores[kept])
            found = sum(s >= conf for s in ours.scores[taken[taken >= 0]])
            assert found == (match_objects(less, theirs) >= 0).sum()
            matched = match_detections([less], [theirs], 2, areas=("all",), thresholds=np.array([0.5]))
            assert found == sum(int(c.right.sum()) for c in matched.classes)
    assert detection_metrics([ours], [theirs], 2, rng=rng)["ap50"].value is not None


def test_a_crowd_is_neither_found_nor_missed_and_images_without_anything_count_nowhere() -> None:
    crowd = Detected(np.array([[0.0, 0, 9, 9], [20, 20, 29, 29]]), np.array([0, 0]), crowd=np.array([True, False]))
    ours = Detected(np.array([[0.0, 0, 9, 9]]), np.array([0]), np.array([0.8]))
    record = record_boxes([ours, NONE], [crowd, NONE], np.array([4, 5]))
    assert record.scores.tolist() == [-1.0]
    assert record.groups.tolist() == [4, 5]
    missed, groups = missed_fractions(record, np.array([0.5]))
    assert (missed.tolist(), groups.tolist()) == ([1.0], [4])


@pytest.mark.parametrize("by", ["all", "image"])
def test_coverage_of_margins_over_a_thousand_splits_follows_the_beta_law(by: BoxBy) -> None:
    """Given n calibration images, coverage is Beta(n + 1 - l, l) with l = floor((n + 1) alpha) (Vovk 2012)."""
    rng, points, level = np.random.default_rng(3), np.full(2, 0.25), 0.8
    whole = _drawn(400_000, rng)
    # One object of every image that has a found one: the law is for a fixed number of independent images.
    hit = np.flatnonzero(whole.found(points))
    hit = hit[np.unique(whole.images[hit], return_index=True)[1]]
    short, m, n = whole.short[hit], len(hit), 99
    # Margins never shrink a box: boxes that need none tie at 0, below the quantile.
    ranked = np.sort(short.max(1, initial=0.0))
    zeros = np.zeros(m, np.int64)
    covered = []
    for _ in range(1000):
        drawn = rng.choice(m, n)
        record = BoxRecord(np.arange(n), zeros[:n], np.ones(n), short[drawn], np.arange(n))
        margins = BoxMargins.fit(record, points, coverage=level, by=by)
        assert margins is not None
        covered.append(np.searchsorted(ranked, margins.margins[0], "right") / m)
    left = int((n + 1) * (1 - level) + 1e-9)
    assert stats.kstest(covered, stats.beta(n + 1 - left, left).cdf).pvalue > 0.01
    assert stats.kstest(covered, stats.beta(n + 1 - left, left + 2).cdf).pvalue < 0.01


@pytest.mark.parametrize("by", BOX_BY)
def test_margins_keep_their_coverage_over_many_draws(by: BoxBy) -> None:
    rng, points, kept = np.random.default_rng(1), np.full(2, 0.25), []
    for _ in range(150):
        margins = BoxMargins.fit(_drawn(120, rng), points, coverage=0.8, by=by)
        assert margins is not None
        new = _drawn(400, rng)
        found, inside = margins.holds(new, points)
        images = new.images[found]
        if by == "image":
            kept.append(margin_coverage(inside, images, new.groups, by).value or 0.0)
        else:
            # What is promised is of an object drawn from a new image: each image weighs the same.
            there = np.bincount(images, minlength=400)
            kept.append(float((np.bincount(images, inside, 400) / np.maximum(there, 1))[there > 0].mean()))
    # The standard error of the mean of 150 draws is below 0.004.
    assert 0.79 < np.mean(kept) < 0.84


def test_a_threshold_keeps_to_its_miss_rate_over_many_draws() -> None:
    rng, missed = np.random.default_rng(2), []
    for _ in range(150):
        found = MissThreshold.fit(_drawn(120, rng), miss_rate=0.3)
        assert found.conf is not None
        missed.append(missed_fractions(_drawn(400, rng), np.full(2, found.conf))[0].mean())
    assert 0.27 < np.mean(missed) < 0.305


def test_the_images_of_a_group_have_one_loss_together() -> None:
    # 40 images of one group miss everything, 20 groups of one image miss nothing below 0.5.
    images, scores = np.arange(60), np.r_[np.full(40, -1.0), np.full(20, 0.5)]
    groups = np.r_[np.zeros(40, int), np.arange(1, 21)]
    record = BoxRecord(images, np.zeros(60, int), scores, np.zeros((60, 4)), groups)
    found = MissThreshold.fit(record, miss_rate=0.1)
    # By hand: (1 group missed + 1 for the new one) / (21 + 1).
    assert found.least == pytest.approx(2 / 22)
    assert (found.conf, found.groups) == (0.5, 21)
    alone = MissThreshold.fit(BoxRecord(images, record.labels, scores, record.short, images), miss_rate=0.1)
    assert alone.conf is None
    assert alone.least == pytest.approx(41 / 61)


def test_too_few_objects_promise_nothing_and_a_rare_class_reaches_to_the_edge() -> None:
    record = BoxRecord(np.arange(8), np.zeros(8, int), np.ones(8), np.zeros((8, 4)), np.arange(8))
    assert BoxMargins.fit(record, np.full(2, 0.5), coverage=0.9) is None
    many = BoxRecord(np.arange(30), np.r_[np.zeros(28, int), 1, 1], np.ones(30), np.full((30, 4), 0.1), np.arange(30))
    margins = BoxMargins.fit(many, np.full(2, 0.5), coverage=0.9, by="class")
    assert margins is not None
    assert margins.open_classes == (1,)
    grown = margins.around(np.array([[10.0, 10, 20, 20]] * 2), np.array([0, 1]), (40, 50))
    assert np.allclose(grown, [[9, 9, 21, 21], [0, 0, 50, 40]], atol=1e-3)


def test_margins_never_shrink_a_box() -> None:
    record = BoxRecord(np.arange(30), np.zeros(30, int), np.ones(30), np.full((30, 4), -0.2), np.arange(30))
    margins = BoxMargins.fit(record, np.array([0.5]), coverage=0.9)
    assert margins is not None
    assert margins.margins.tolist() == [0.0]


def test_a_record_survives_its_arrays_and_other_arrays_are_refused() -> None:
    record = _drawn(10, np.random.default_rng(3))
    arrays = record.arrays()
    again = BoxRecord.of(arrays, 2)
    assert again is not None
    assert np.allclose(again.short, record.short, atol=1e-6)
    assert BoxRecord.of({}, 2) is None
    for name, wrong in (
        ("box_scores", arrays["box_scores"][:-1]),
        ("box_labels", arrays["box_labels"] + 5),
        ("box_images", arrays["box_images"] + 10),
        ("box_short", arrays["box_short"] * np.nan),
        ("box_groups", arrays["box_groups"].astype(np.float32)),
    ):
        with pytest.raises(ValueError, match="do not belong together"):
            BoxRecord.of({**arrays, name: wrong}, 2)
