"""What a report says of a run whose training images are private."""

__all__ = ["private_facts"]

from collections.abc import Mapping
from typing import Any


def private_facts(claim: Mapping[str, Any]) -> dict[str, str]:
    """Return what a report says of a private run."""
    return {
        "privacy": f"epsilon {claim['epsilon']:.3f} at delta {claim['delta']:.1e}; unit: one {claim['unit']}; "
        f"{claim['adjacency']}; sampling: {claim['sampling']}",
        "counted in epsilon": "; ".join(claim["counted"]),
        "declared public": "; ".join(claim["public"]),
        "left out for privacy": "; ".join(claim["left_out"]),
    }
