"""Which image is right for which query, both ways: the definition behind the metrics of embeddings."""

__all__ = ["DEFINITION", "both_ways", "other_views"]

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.metrics.retrieval import Ranks, ranks_of

DEFINITION = (
    "Ranked among the {n} images and {queries} different {what} of this part. For a {one}, every image that it was "
    "written for is correct; for an image, every {one} of its own. One of them is enough. An image with several counts "
    "once, by their mean. Ties count against the model. R@10 by chance: {chance}."
)
_CUT = 0.12


def both_ways(
    images: NDArray[Any], queries: NDArray[Any], items: NDArray[np.int64], names: Sequence[str]
) -> tuple[Ranks, Ranks]:
    """Return the ranks of queries (Q, D) among images (N, D), and of images among the different queries.

    `items` (Q,) is the image of each query; queries of one name are the same.
    """
    n = len(images)
    ids = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].reshape(-1)
    holders: dict[int, set[int]] = {}
    for query, item in zip(ids.tolist(), items.tolist(), strict=True):
        holders.setdefault(query, set()).add(item)
    right = {q: np.array(sorted(own)) for q, own in holders.items()}
    there = Ranks(ranks_of(queries, images, [right[q] for q in ids.tolist()]), items, n)
    first = np.unique(ids, return_index=True)[1] if len(ids) else np.zeros(0, np.int64)
    own: list[set[int]] = [set() for _ in range(n)]
    for query, held in holders.items():
        for item in held:
            own[item].add(query)
    asked = np.array([i for i in range(n) if own[i]], np.int64)
    back = ranks_of(images[asked], queries[first], [np.array(sorted(own[i])) for i in asked])
    return there, Ranks(back, asked, n, prefix="back_")


def other_views(images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Return each image, uint8 (H, W, 3), mirrored and without its border, as a query where there are no captions."""
    found = []
    for image in images:
        height, width = image.shape[:2]
        top, left = round(height * _CUT), round(width * _CUT)
        inner = image[top : height - top or None, left : width - left or None]
        again = Image.fromarray(np.ascontiguousarray(inner[:, ::-1])).resize((width, height), Image.Resampling.BILINEAR)
        found.append(np.asarray(again))
    return found
