"""What reports and comparisons held before they were changed, and how to compare with it."""

from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).with_name("golden.json")


def same(new: Any, old: Any, at: str) -> None:
    """New keys may stand beside the old ones; the old ones hold the same, to the last digits."""
    if isinstance(old, dict):
        for key, value in old.items():
            assert key in new, f"{at}.{key} is gone"
            same(new[key], value, f"{at}.{key}")
    elif isinstance(old, list):
        assert len(new) == len(old), at
        for i, (a, b) in enumerate(zip(new, old, strict=True)):
            same(a, b, f"{at}[{i}]")
    elif isinstance(old, float) and not isinstance(new, bool) and isinstance(new, int | float):
        # Sums in another order, on another processor, may differ in the last bits.
        assert new == pytest.approx(old, rel=1e-11, abs=1e-13), at
    else:
        assert new == old, at
