"""Secure aggregation: a server that learns the sum of its clients' updates and no single one.

Each pair of clients shares a seed and draws a mask with it; one client adds it, the other subtracts it (Bonawitz et al.
2017).
Updates are whole numbers modulo 2^64, so that masks cancel exactly. Here all parties are in one process: this computes
what the server would see, and is no protocol against an attacker in it. `masked_rounds` is the protocol between
processes.
"""

__all__ = ["LEVELS", "dequantise", "masked_update", "quantise", "unmasked_sum", "weighed"]

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import RefusedError

LEVELS = 2**40
"""The steps into which a range [-R, R] is divided; 2^22 clients can be added up."""

Masked = NDArray[np.uint64]


def quantise(update: NDArray[np.floating], largest: float) -> Masked:
    """Return an update as whole numbers modulo 2^64; values in [-`largest`, `largest`] are kept to 2^-40 of that.

    Raises:
        RefusedError: a value is outside. Cutting it would change the sum without anybody seeing it.
    """
    values = np.asarray(update, np.float64)
    over = float(np.abs(values).max(initial=0.0))
    if not over <= largest:
        raise RefusedError(
            f"expected values of an update in the public range [-{largest:g}, {largest:g}], found {over:.4g}",
            fix="raise --secure-range, or lower --lr",
        )
    return np.rint(values * (LEVELS / largest)).astype(np.int64).astype(np.uint64)


def weighed(update: NDArray[np.floating], images: int, everyone: int, largest: float) -> Masked:
    """Return what a client adds to the sum: its update times its part of all images, as whole numbers modulo 2^64.

    Clients weigh their updates themselves: numbers of images are public.

    Raises:
        RefusedError: as `quantise`.
    """
    return quantise(np.asarray(update, np.float64) * (images / float(everyone)), largest)


def masked_update(numbers: Masked, client: int, others: Sequence[int], *, secret: bytes) -> Masked:
    """Return what a client sends: its numbers plus the masks that it shares with each of `others`."""
    sent = numbers.copy()
    for other in others:
        if other != client:
            mask = _mask(secret, client, other, len(numbers))
            sent = sent + mask if client < other else sent - mask
    return sent


def unmasked_sum(
    sent: Mapping[int, Masked], clients: Sequence[int], *, largest: float, secret: bytes, least: int
) -> NDArray[np.float64]:
    """Return the sum of the updates in `sent`, of those `clients` that agreed on masks at the start of the round.

    Masks with clients that dropped out do not cancel; they are recovered from the shares that the others hold, and
    taken out.

    Raises:
        RefusedError: fewer than `least` clients are left, whose shares do not recover the masks.
    """
    if len(sent) < least:
        raise RefusedError(
            f"expected updates of {least} clients or more, found {len(sent)}: the masks cannot be recovered",
            fix="lower --least, or use clients that stay",
        )
    total = np.zeros(len(next(iter(sent.values()))), np.uint64)
    for numbers in sent.values():
        total = total + numbers
    for gone in (c for c in clients if c not in sent):
        for client in sent:
            mask = _mask(secret, client, gone, len(total))
            total = total - mask if client < gone else total + mask
    return dequantise(total, largest)


def dequantise(numbers: Masked, largest: float) -> NDArray[np.float64]:
    """Return the values of a sum of whole numbers modulo 2^64."""
    return numbers.astype(np.int64).astype(np.float64) * (largest / LEVELS)


def _mask(secret: bytes, a: int, b: int, size: int) -> Masked:
    """Return the mask of a pair of clients, the same for both."""
    digest = hashlib.sha256(secret + f"\0mask\0{min(a, b)}\0{max(a, b)}".encode()).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return rng.integers(0, 2**64, size, np.uint64)
