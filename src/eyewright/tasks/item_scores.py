"""How well each image went, out of the rows that a report stores of it."""

__all__ = ["item_scores"]

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def item_scores(
    items: Sequence[Mapping[str, Any]], of: Callable[[Mapping[str, Any]], float] = lambda item: item["score"]
) -> NDArray[np.float64]:
    """Return a number for each image, (N,) by the "index" of its row; NaN where no row has it.

    >>> item_scores([{"index": 1, "score": 0.5}, {"index": 0, "score": 1.0}]).tolist()
    [1.0, 0.5]
    """
    scores = np.full(len(items), np.nan)
    for item in items:
        scores[item["index"]] = of(item)
    return scores
