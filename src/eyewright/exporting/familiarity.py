"""What a bundle needs to recognise images unlike those it knows: reference images as numbers, and what they rest on."""

__all__ = ["FAMILIAR", "NEAR", "familiarity_of", "with_features"]

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.exporting.features import Features
from eyewright.metrics.familiarity import (
    FLAGGED,
    FOLDS,
    LEAST_GROUPS,
    CrossConformal,
    appearance_share,
    spread_over_groups,
    why_too_few,
)
from eyewright.metrics.points import group_numbers
from eyewright.training.looks import Looks, join_looks

FAMILIAR = ("familiar", "familiar_groups")
"""The arrays of the familiarity test in `reference.npz`: reference images as numbers, and the group of each."""

NEAR = ("familiar_features", "familiar_feature_groups")
"""Two more where the net's features are compared as well: those of validation images, and the group of each."""

_MOST = 2000
_MOST_FEATURES = 1000
_MOST_NUMBERS = 500_000
_CHANCE = 0.001


def familiarity_of(
    validation: Looks, training: Looks | None = None, *, noun: str = "image"
) -> tuple[dict[str, NDArray[Any]], Mapping[str, Any]]:
    """Return the arrays of the familiarity test for `reference.npz`, and what `bundle.json` says of it.

    The reference is training and validation images together: the numbers do not depend on what the net has learnt, so
    both may calibrate. Where validation images are flagged more often than chance allows, they are not like training,
    and nor may new ones be: then they alone are the reference, if they are enough. Where there are too few groups the
    arrays are empty, and `reason` says so in words; `noun` is what the model reads, such as "clip".
    """
    values, groups = join_looks(training, validation)
    own = np.arange(len(values)) >= len(values) - len(validation)
    finite = np.isfinite(values).all(1)
    if not finite.all():
        values, groups, own = values[finite], groups[finite], own[finite]
    facts = _facts(groups, own)
    reason = why_too_few(facts["groups"], facts["images"], noun)
    if reason:
        return {}, {"method": "none", "reason": reason, **facts}
    chosen = spread_over_groups(groups, _MOST, generator(0, "familiarity"))
    values, groups, own = values[chosen], groups[chosen], own[chosen]
    known = CrossConformal(values, _shuffled(groups))
    flagged = known.held_out()[own] <= FLAGGED
    if _beyond_chance(flagged, groups[own]) and len(np.unique(groups[own])) >= LEAST_GROUPS:
        values, groups, own = values[own], groups[own], own[own]
    facts = _facts(groups, own)
    share = float(flagged.mean()) if len(flagged) else None
    about = {"method": "cross-conformal", "level": FLAGGED, "folds": FOLDS, **facts, "validation_flagged": share}
    arrays = (values.astype(np.float32), _shuffled(groups).astype(np.int32))
    return dict(zip(FAMILIAR, arrays, strict=True)), about


def with_features(
    arrays: Mapping[str, NDArray[Any]],
    about: Mapping[str, Any],
    features: Features | None,
    groups: Sequence[str | None],
) -> tuple[dict[str, NDArray[Any]], Mapping[str, Any]]:
    """Return a familiarity test, as `familiarity_of` gives it, that also compares the net's features.

    `features` are those of validation images, `groups` what each of them belongs to. The test stays as it was where the
    net has none, or where the groups are too few for two tests.
    """
    if features is None or about.get("method") != "cross-conformal":
        return dict(arrays), about
    values, own = features.values, group_numbers(groups)
    finite = np.isfinite(values).all(1)
    values, own = values[finite], own[finite]
    most = min(_MOST_FEATURES, max(2 * LEAST_GROUPS, _MOST_NUMBERS // values.shape[1]))
    rows = spread_over_groups(own, most, generator(0, "familiarity", "features"))
    values, own = values[rows], own[rows]
    n_groups = len(np.unique(own))
    share = appearance_share(about["groups"], n_groups)
    if share is None:
        return dict(arrays), about
    said = {
        "tensor": features.tensor,
        "dimensions": values.shape[1],
        "images": len(own),
        "groups": n_groups,
        "appearance_share": share,
    }
    near = (values.astype(np.float32), _shuffled(own).astype(np.int32))
    return {**arrays, **dict(zip(NEAR, near, strict=True))}, {**about, "features": said}


def _facts(groups: NDArray[np.int64], own: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "images": len(groups),
        "groups": len(np.unique(groups)),
        "validation_images": int(own.sum()),
        "training_images": int((~own).sum()),
    }


def _shuffled(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups' numbers in random order: which fold a group lies in must not depend on where it came from."""
    own = np.unique(groups, return_inverse=True)[1]
    numbers: NDArray[np.int64] = generator(0, "familiarity", "folds").permutation(int(own.max()) + 1)[own]
    return numbers


def _beyond_chance(flagged: NDArray[np.bool_], groups: NDArray[np.int64]) -> bool:
    """Return whether more groups are flagged than one in a hundred by chance, each by the fraction of its images."""
    if not len(flagged):
        return False
    own = np.unique(groups, return_inverse=True)[1]
    n = int(own.max()) + 1
    count = math.floor(float((np.bincount(own, flagged) / np.bincount(own)).sum()) + 1e-9)
    below = sum(math.comb(n, k) * FLAGGED**k * (1 - FLAGGED) ** (n - k) for k in range(count))
    return 1 - below < _CHANCE
