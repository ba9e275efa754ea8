"""What the training images look like in a few numbers, kept with the run for the bundle's familiarity test."""

__all__ = ["LOOKS_FILE", "Looks", "join_looks", "looks_of", "read_looks", "write_looks"]

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import CheckpointError, plain_reason
from eyewright.core.files import write_bytes
from eyewright.core.quoting import quoted
from eyewright.core.rng import generator
from eyewright.imaging.appearance import LOOK, appearance
from eyewright.imaging.preparation import Preparation
from eyewright.metrics.familiarity import spread_over_groups
from eyewright.metrics.points import group_numbers

LOOKS_FILE = "looks.npz"

_MOST = 1000


@dataclass(frozen=True, eq=False)
class Looks:
    """Images as numbers: `values` float32 (N, LOOK) of `imaging.appearance`, and the group of each, None for none."""

    values: NDArray[np.float32]
    groups: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.values)


def looks_of(
    pixels: NDArray[np.uint8],
    sizes_hw: Sequence[tuple[int, int]],
    groups: Sequence[str | None],
    preparation: Preparation,
    *,
    seed: int = 0,
) -> Looks:
    """Return what at most 1,000 prepared images, uint8 (N, H, W, C), look like, spread evenly over their groups."""
    chosen = spread_over_groups(group_numbers(groups), _MOST, generator(seed, "looks")).tolist()
    rows = [appearance(np.asarray(pixels[i]), preparation.place(sizes_hw[i])) for i in chosen]
    return Looks(np.array(rows, np.float32).reshape(-1, LOOK), tuple(groups[i] for i in chosen))


def join_looks(*parts: Looks | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the numbers of all parts, (N, LOOK), and their groups' numbers, (N,); a group may have images in several.

    >>> a, b = (Looks(np.zeros((2, LOOK), np.float32), groups) for groups in (("x", None), (None, "x")))
    >>> join_looks(a, None, b)[1].tolist()
    [0, 1, 2, 0]
    """
    known = [p for p in parts if p is not None]
    groups = group_numbers([g for p in known for g in p.groups])
    return np.concatenate([p.values for p in known]), groups


def write_looks(folder: Path, looks: Looks) -> None:
    """Write `looks.npz` into a run folder."""
    buffer = io.BytesIO()
    names = np.array([g or "" for g in looks.groups], np.str_)
    np.savez_compressed(buffer, allow_pickle=False, values=looks.values, groups=names)
    write_bytes(folder / LOOKS_FILE, buffer.getvalue())


def read_looks(folder: Path) -> Looks | None:
    """Return what `write_looks` wrote; None where a run has none, as those of earlier versions.

    Raises:
        CheckpointError: it is damaged: a bundle without it would not notice unfamiliar images.
    """
    path = folder / LOOKS_FILE
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            values, groups = arrays["values"], arrays["groups"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{quoted(path)} is damaged: {plain_reason(error)}", fix="copy the run again") from None
    if values.ndim != 2 or values.shape[1] != LOOK or len(groups) != len(values):
        raise CheckpointError(f"{quoted(path)} is damaged: its arrays do not match", fix="copy the run again")
    return Looks(np.asarray(values, np.float32), tuple(str(g) or None for g in groups))
