"""What a report says of a run whose training images are private."""

__all__ = ["private_facts", "told"]

from collections.abc import Mapping
from typing import Any

_DATASET = ("name", "format", "images", "groups")
_GROUPING = ("words", "rule", "groups", "warnings")


def told(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return `run.json`, or what is made of it, without what follows single training images where these are private:
    the fingerprint of the data, names of files, digests."""
    if not about.get("privacy"):
        return dict(about)
    kept = {
        "dataset": {k: v for k, v in (about.get("dataset") or {}).items() if k in _DATASET},
        "grouping": {k: v for k, v in (about.get("grouping") or {}).items() if k in _GROUPING} or None,
    }
    return {**about, **{k: v for k, v in kept.items() if k in about}}


def private_facts(claim: Mapping[str, Any]) -> dict[str, str]:
    """Return what a report says of a private run."""
    return {
        "privacy": f"epsilon {claim['epsilon']:.3f} at delta {claim['delta']:.1e}; unit: one {claim['unit']}; "
        f"{claim['adjacency']}; sampling: {claim['sampling']}",
        "counted in epsilon": "; ".join(claim["counted"]),
        "declared public": "; ".join(claim["public"]),
        "left out for privacy": "; ".join(claim["left_out"]),
    }
