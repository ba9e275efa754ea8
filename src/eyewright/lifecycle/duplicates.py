"""Near copies among the images of an index: by their pixels, or by what a model makes of them."""

__all__ = ["find_duplicates"]

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.core.report import Finding
from eyewright.data.links import find_links
from eyewright.imaging.decode import read_thumbnail
from eyewright.imaging.fingerprint import thumbnails_of
from eyewright.imaging.headers import Limits
from eyewright.lifecycle.loading import PathLike
from eyewright.lifecycle.searching import index_of

if TYPE_CHECKING:
    from eyewright.retrieval import Index
    from eyewright.retrieval.duplicates import CopyGroup

_SIDE, _SMALL = 64, 32
# A chain of more copies than this is left as the pixels link it.
_CHAIN = 500
# Largest distance of the mean colours of copies, in levels; beyond it, one is the same drawing in another colour.
_OTHER_COLOUR = 16.0


def find_duplicates(
    index: "Index | PathLike",
    *,
    by: Literal["pixels", "embedding"] = "pixels",
    least: float = 0.97,
    root: PathLike | None = None,
) -> "tuple[list[CopyGroup], tuple[Finding, ...]]":
    """Return groups of near copies with the copy to keep, and findings for files that could not be compared.

    By "pixels" the files are read again and compared as `doctor` does: fingerprints propose, aligned pixels decide,
    so a copy is found cropped, mirrored, turned, brightened, compressed or captioned, and a mere look-alike, or the
    same drawing in another colour, is not; two copies of one image that differ too much for that, such as a crop and a
    caption, count if their vectors do.
    By "embedding" those are similar whose vectors have a cosine of at least `least`: what the model takes for the same.
    Either way each two of a group are similar. `root` is where the indexed folder lies now.

    Raises:
        InputError: no index, or it is damaged; no file of it is there any more.
        UsageError: by embedding, too many are similar.
    """
    from eyewright.retrieval.duplicates import CopyGroup, best_copy, find_copies, group_pairs

    opened = index_of(index)
    findings: tuple[Finding, ...] = ()
    rows = dict(opened.rows())
    if by == "embedding":
        ids, vectors = opened.live()
        found = find_copies(ids, vectors, least)
    elif by == "pixels":
        order = sorted(rows)
        pairs, scores, findings = _linked(opened, order, root)
        pairs, scores = _completed(pairs, scores, opened.live()[1], least)
        found = [(tuple(order[m] for m in members), score) for members, score in group_pairs(pairs, scores)]
    else:
        raise UsageError(f"expected 'pixels' or 'embedding', found {by!r}", fix="change it")
    result = []
    for group, lowest in found:
        members = tuple((id, rows[id]) for id in group)
        result.append(CopyGroup(members, best_copy(members), lowest))
    return result, findings


def _linked(
    index: "Index", order: list[int], root: PathLike | None
) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[Finding, ...]]:
    """Return the pairs of places in `order` that are copies, int64 (M, 2), how similar they are, and findings."""
    place, rows = Path(root if root is not None else index.about.get("root", ".")), dict(index.rows())
    small = np.zeros((len(order), _SIDE, _SIDE, 3), np.uint8)
    usable, few = np.zeros(len(order), bool), np.zeros(len(order), bool)
    findings = []
    for k, id in enumerate(order):
        path = place / rows[id].path
        try:
            info, small[k] = read_thumbnail(read_regular(path, most=Limits().bytes, follow=True), _SIDE)
        except (InputError, OSError) as error:
            message = error.message if isinstance(error, InputError) else str(error.strerror)
            findings.append(Finding("unreadable", message, "run eyewright index --update", rows[id].path))
            continue
        usable[k], few[k] = True, min(info.size_hw) < _SMALL
    if order and not usable.any():
        raise InputError(
            f"none of the indexed files can be read below {quoted(place)}", fix="index again with --update"
        )
    grey, colours = thumbnails_of(small)
    chroma = _chroma(small)
    links = [
        link
        for link in find_links(grey, colours, usable, small=few)
        # Pixels are compared by their correlation, which a drawing in another colour does not change.
        if link.exact and np.linalg.norm(chroma[link.i] - chroma[link.j]) <= _OTHER_COLOUR
    ]
    pairs = np.array([(link.i, link.j) for link in links], np.int64).reshape(-1, 2)
    return pairs, np.array([link.likeness for link in links], np.float64), tuple(findings)


def _chroma(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean Cb and Cr (ITU-R BT.601) of images, uint8 (N, H, W, 3): float64 (N, 2).

    >>> _chroma(np.array([[[[255, 0, 0]]], [[[9, 9, 9]]]], np.uint8)).round().tolist()
    [[-43.0, 127.0], [0.0, 0.0]]
    """
    mean = images.reshape(len(images), -1, 3).mean(1) if len(images) else np.zeros((0, 3))
    luma = mean @ (0.299, 0.587, 0.114)
    return np.stack([0.564 * (mean[:, 2] - luma), 0.713 * (mean[:, 0] - luma)], 1)


def _completed(
    pairs: NDArray[np.int64], scores: NDArray[np.float64], vectors: NDArray[np.float16], least: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Add the pairs that pixels link over others only and whose vectors, by the places of `pairs`, are similar."""
    linked = {(a, b): s for (a, b), s in zip(pairs.tolist(), scores.tolist(), strict=True)}
    chain: dict[int, set[int]] = {}
    for a, b in linked:
        joined = chain.get(a, {a}) | chain.get(b, {b})
        for member in joined:
            chain[member] = joined
    for members in {id(c): sorted(c) for c in chain.values() if 2 < len(c) <= _CHAIN}.values():
        own = vectors[members].astype(np.float64)
        near = own @ own.T
        for i, a in enumerate(members):
            for j in range(i + 1, len(members)):
                if (a, members[j]) not in linked and near[i, j] >= least:
                    linked[a, members[j]] = min(float(near[i, j]), 1.0)
    return np.array(list(linked), np.int64).reshape(-1, 2), np.array(list(linked.values()), np.float64)
