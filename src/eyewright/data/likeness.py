"""Which near-equal images are copies: of number targets, if their values differ, they show two similar objects."""

__all__ = ["similar_links", "copy_links", "equal_links", "same_pixels"]

from collections.abc import Iterator

import numpy as np

from eyewright.core.errors import EyewrightError
from eyewright.data.dataset import Dataset
from eyewright.data.links import Link
from eyewright.data.scan import Scan


def copy_links(dataset: Dataset, scan: Scan) -> Iterator[Link]:
    """Yield the verified links between copies, without those whose targets say that the images show two things."""
    apart = dataset.kind.apart([s.target for s in dataset.samples])
    for link in scan.links:
        if not link.exact:
            continue
        a, b = dataset.samples[link.i].target, dataset.samples[link.j].target
        if not apart(a, b) or same_pixels(dataset, scan, link.i, link.j):
            yield link


def similar_links(dataset: Dataset, scan: Scan) -> frozenset[tuple[int, int]]:
    """Return the pairs of exact links that are no copies (see `copy_links`)."""
    copies = {(link.i, link.j) for link in copy_links(dataset, scan)}
    return frozenset((link.i, link.j) for link in scan.links if link.exact and (link.i, link.j) not in copies)


def equal_links(dataset: Dataset, scan: Scan) -> tuple[tuple[int, int], ...]:
    """Return the pairs whose targets must be equal: copies, and of targets by degree only those of the same pixels."""
    pairs = ((link.i, link.j) for link in copy_links(dataset, scan))
    return tuple(p for p in pairs if not dataset.kind.by_degree or same_pixels(dataset, scan, *p))


def same_pixels(dataset: Dataset, scan: Scan, i: int, j: int) -> bool:
    """Return whether two images are the same file, or hold the same pixels in other files."""
    if scan.records[i].digest == scan.records[j].digest:
        return True
    if not np.array_equal(scan.thumbnails[i], scan.thumbnails[j]):
        return False
    try:
        return bool(np.array_equal(dataset.image(i), dataset.image(j)))
    except EyewrightError:
        return False
