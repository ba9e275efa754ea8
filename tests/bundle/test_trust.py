"""What a bundle's reference says of trust, and which references are refused."""

import numpy as np
import pytest

from eyewright.bundle.trust import familiarity_in, sets_in
from eyewright.core.errors import BundleError, UsageError
from eyewright.imaging.appearance import LOOK

ABOUT = {"method": "cross-conformal", "features": {"tensor": "x", "dimensions": 3, "appearance_share": 0.4}}


def reference() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "familiar": rng.normal(size=(260, LOOK)).astype(np.float32),
        "familiar_groups": np.arange(260, dtype=np.int32),
        "familiar_features": (rng.normal(size=(220, 3)) + np.array([5.0, 0, 0])).astype(np.float32),
        "familiar_feature_groups": np.arange(220, dtype=np.int32),
    }


def test_either_test_flags_an_image_and_features_must_be_given() -> None:
    known, reason = familiarity_in(reference(), ABOUT)
    assert known is not None
    assert (reason, known.features) == ("", True)
    usual, near = np.zeros(LOOK, np.float32), np.array([5, 0, 0], np.float32)
    assert known.p(usual, near) > 0.05
    assert known.p(usual, -near) <= 0.01
    assert known.p(usual + 9, near) <= 0.01
    with pytest.raises(ValueError, match="features=True"):
        known.p(usual)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("familiar_features", None),
        ("familiar_feature_groups", None),
        ("familiar_features", np.zeros((220, 4), np.float32)),
        ("familiar_features", np.full((220, 3), np.nan, np.float32)),
        ("familiar_feature_groups", np.zeros(220)),
        ("familiar_feature_groups", np.full(220, -1)),
        ("familiar_feature_groups", np.zeros((220, 1), np.int32)),
        ("familiar_groups", np.full(260, -1)),
        ("familiar", np.zeros((260, LOOK + 1), np.float32)),
    ],
)
def test_a_reference_that_does_not_fit_the_manifest_is_refused(name: str, values: np.ndarray | None) -> None:
    damaged = reference()
    damaged.pop(name)
    if values is not None:
        damaged[name] = values
    with pytest.raises(BundleError, match="not valid"):
        familiarity_in(damaged, ABOUT)


def sets_reference(n: int = 60) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "nonconformity": rng.random(n).astype(np.float32),
        "set_above": rng.random(n).astype(np.float32),
        "set_labels": (np.arange(n) % 3).astype(np.int32),
        "set_groups": np.arange(n, dtype=np.int32),
    }


def test_each_method_reads_its_own_scores() -> None:
    known = sets_reference()
    for method, name in (("threshold", "nonconformity"), ("adaptive", "set_above")):
        sets = sets_in(known, 3, coverage=0.9, method=method)  # type: ignore[arg-type]
        assert sets.limits.tolist() == pytest.approx([float(np.sort(known[name])[54])] * 3)
    by_class = sets_in(known, 3, coverage=0.9, by="class")
    own = known["nonconformity"][known["set_labels"] == 1]
    assert by_class.limits[1] == pytest.approx(float(np.sort(own)[18]))


def test_an_earlier_bundle_has_sets_over_all_images_only() -> None:
    old = {"nonconformity": sets_reference()["nonconformity"]}
    assert sets_in(old, 3, coverage=0.9).groups == 60
    for option in ({"by": "class"}, {"method": "adaptive"}):
        with pytest.raises(UsageError, match="found none in this one"):
            sets_in(old, 3, coverage=0.9, **option)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="found none in this one"):
        sets_in({}, 3, coverage=0.9)


def test_too_few_images_or_groups_are_said_with_what_is_needed() -> None:
    known = sets_reference()
    with pytest.raises(UsageError, match=r"60 validation images are too few for a coverage of 0.99, which needs 99"):
        sets_in(known, 3, coverage=0.99)
    with pytest.raises(UsageError, match="which needs 49 of any class"):
        sets_in(known, 3, coverage=0.98, by="class")
    with pytest.raises(UsageError, match="6 groups of validation images are too few"):
        sets_in({**known, "set_groups": (np.arange(60) % 6).astype(np.int32)}, 3, coverage=0.9)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("set_labels", np.full(60, 3)),
        ("set_labels", np.zeros(59, np.int32)),
        ("set_labels", np.zeros(60)),
        ("set_groups", np.zeros((60, 2), np.int32)),
        ("nonconformity", np.full(60, np.inf, np.float32)),
        ("nonconformity", np.zeros((60, 2), np.float32)),
    ],
)
def test_damaged_numbers_for_sets_are_refused(name: str, values: np.ndarray) -> None:
    with pytest.raises(BundleError, match="not valid"):
        sets_in({**sets_reference(), name: values}, 3, coverage=0.9)
