"""Divide images among clients, as unequal as the world does it."""

__all__ = ["dirichlet_shares", "grouped_shares"]

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError

_TRIES = 200


def dirichlet_shares(
    labels: NDArray[np.integer],
    clients: int,
    *,
    alpha: float,
    least: int,
    rng: np.random.Generator,
    groups: Sequence[str] | None = None,
) -> list[NDArray[np.int64]]:
    """Return the rows of each client: of every class, parts that are drawn from a Dirichlet distribution.

    Small `alpha` gives a client few classes, large alpha the same mixture to all (Hsu et al. 2019). A draw in which a
    client has fewer than `least` images is repeated. `groups` names what each image belongs together with: groups stay
    whole, divided by the class of their first image, and `least` counts them.

    >>> rows = dirichlet_shares(np.arange(100) % 5, 4, alpha=1.0, least=5, rng=np.random.default_rng(0))
    >>> len(rows), sorted(np.concatenate(rows).tolist()) == list(range(100))
    (4, True)

    Raises:
        DatasetError: there are too few images, or every draw leaves a client with too few.
    """
    labels = np.asarray(labels)
    if groups is not None:
        _, firsts, owner = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
        parts = dirichlet_shares(labels[firsts], clients, alpha=alpha, least=least, rng=rng)
        return [np.flatnonzero(np.isin(owner.reshape(-1), part)).astype(np.int64) for part in parts]
    if len(labels) < clients * least:
        raise DatasetError(
            f"expected {clients * least:,} training images or more for {clients} clients, found {len(labels):,}",
            fix="lower --clients, or add images",
        )
    for _ in range(_TRIES):
        drawn: list[list[NDArray[np.int64]]] = [[] for _ in range(clients)]
        for label in np.unique(labels):
            rows = rng.permutation(np.flatnonzero(labels == label))
            ends = np.rint(np.cumsum(rng.dirichlet(np.full(clients, alpha))) * len(rows)).astype(np.int64)
            for own, part in zip(drawn, np.split(rows, ends[:-1]), strict=True):
                own.append(part)
        shares = [np.sort(np.concatenate(own)) for own in drawn]
        if min(map(len, shares)) >= least:
            return shares
    raise DatasetError(
        f"expected {least} images or more for each of {clients} clients, found fewer in {_TRIES} draws",
        fix="raise --alpha, or lower --clients",
    )


def grouped_shares(owners: Sequence[str], *, least: int) -> tuple[list[NDArray[np.int64]], tuple[str, ...]]:
    """Return the rows of each client and their names, from the name of the client that each image is of.

    >>> grouped_shares(["b", "a", "b"], least=1)
    ([array([1]), array([0, 2])], ('a', 'b'))

    Raises:
        DatasetError: a client has fewer than `least` images.
    """
    names = tuple(sorted(set(owners)))
    shares = [np.flatnonzero(np.array([o == name for o in owners])).astype(np.int64) for name in names]
    small = min(range(len(names)), key=lambda k: len(shares[k]))
    if len(shares[small]) < least:
        raise DatasetError(
            f"expected {least} training images or more for each client, found {len(shares[small])} for "
            f"{names[small]!r}",
            fix="leave this client out",
        )
    return shares, names
