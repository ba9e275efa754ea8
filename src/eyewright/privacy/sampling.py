"""Poisson samples and Gaussian noise, each a function of a run's secret and the step: replayed steps cost nothing."""

__all__ = ["KEY_FILE", "member_rows", "noise_of", "poisson_rows", "secret_of"]

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyewright.core.errors import CheckpointError
from eyewright.core.files import write_bytes
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular

KEY_FILE = "private.key"
_BYTES = 32


def secret_of(folder: Path, *, resume: bool, seed: int | None) -> bytes:
    """Return the secret of the run in a folder, from which its samples and noise follow.

    It comes from the operating system and is kept in `private.key`, which only the owner can read and which is never
    exported: whoever knows it can subtract the noise. With `seed` it is a function of that seed, for experiments.

    Raises:
        CheckpointError: the run is resumed, and its secret is missing or damaged.
    """
    if seed is not None:
        return hashlib.sha256(f"eyewright private {seed}".encode()).digest()
    path = folder / KEY_FILE
    if path.is_file():
        found = read_regular(path, most=_BYTES, error=CheckpointError, fix="train again in another folder")
        if len(found) != _BYTES:
            raise CheckpointError(f"the secret {quoted(path)} is damaged", fix="train again in another folder")
        return found
    if resume and any((folder / "checkpoints" / name / "state.safetensors").exists() for name in ("last", "previous")):
        # Other noise in the same steps would be paid for twice, and nobody would know.
        raise CheckpointError(
            f"expected the run's secret in {quoted(path)}, found none: its noise cannot be repeated",
            fix="train again in another folder",
        )
    found = secrets.token_bytes(_BYTES)
    write_bytes(path, found, mode=0o600)
    return found


def poisson_rows(secret: bytes, step: int, *, n: int, rate: float) -> NDArray[np.int64]:
    """Return the rows of one step's sample: each of n is in it with probability `rate`, independently; none may be.

    >>> len(poisson_rows(b"", 0, n=10, rate=1.0))
    10
    """
    rng = np.random.Generator(np.random.Philox(key=_number(secret, "sample", step, 128)))
    return np.flatnonzero(rng.random(n) < rate).astype(np.int64)


def member_rows(secret: bytes, step: int, groups: NDArray[np.int64], *, rate: float) -> NDArray[np.int64]:
    """Return the rows of one step's sample of groups: each group is in it with probability `rate`, independently, with
    one of its rows, drawn at random. `groups` int64 (n,) is the group's number of each row, from 0 on.

    So whatever rows a group has, at most one of them changes an update.

    >>> len(member_rows(b"", 0, np.array([0, 0, 1, 1, 1]), rate=1.0))
    2
    """
    sizes = np.bincount(groups)
    starts, order = np.cumsum(sizes) - sizes, np.argsort(groups, kind="stable")
    chosen = poisson_rows(secret, step, n=len(sizes), rate=rate)
    rng = np.random.Generator(np.random.Philox(key=_number(secret, "member", step, 128)))
    place = (rng.random(len(sizes)) * sizes).astype(np.int64)[chosen]
    return np.sort(order[starts[chosen] + np.minimum(place, sizes[chosen] - 1)])


def noise_of(secret: bytes, step: int, like: Sequence[Tensor], *, deviation: float) -> tuple[Tensor, ...]:
    """Return Gaussian noise for one step, a tensor for each of `like`."""
    rng = torch.Generator().manual_seed(_number(secret, "noise", step, 63))
    return tuple(deviation * torch.randn(t.shape, generator=rng).to(t) for t in like)


def _number(secret: bytes, use: str, step: int, bits: int) -> int:
    digest = hashlib.sha256(secret + f"\0{use}\0{step}".encode()).digest()
    return int.from_bytes(digest, "little") >> (256 - bits)
