"""What a run keeps of the images it was trained on, so that how new others are can be said later."""

__all__ = ["FEATURES_FILE", "KnownImages", "feature_space", "pack_features", "read_features"]

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.data.scan import Scan

FEATURES_FILE = "features.npz"
"""The file of a run folder that holds a fixed description of its training images."""

_MOST_BYTES = 32_000_000


@dataclass(frozen=True, eq=False)
class KnownImages:
    """A description of training images, float32 (M, D): all of them, or a sample `of` so many."""

    features: NDArray[np.float32]
    of: int
    space: str

    @property
    def note(self) -> str:
        """What a reader must know of it; nothing where all images are there."""
        if len(self.features) == self.of:
            return ""
        return f"Distances are to the nearest of {len(self.features):,} of the {self.of:,} training images."


def feature_space(scan: Scan) -> str:
    """Return the name of the description that `Scan.features` is; others cannot be compared with it."""
    return f"{getattr(type(scan), 'feature_space', 'thumbnail')}-{scan.features.shape[1]}"


def pack_features(scan: Scan, rows: NDArray[Any]) -> bytes:
    """Return the content of `features.npz` for the training images `rows`: at most 32 MB, else an even sample."""
    features = scan.features
    most = max(1, _MOST_BYTES // (4 * features.shape[1]))
    kept = rows if len(rows) <= most else rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(np.int64))]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        features=np.asarray(features[kept], np.float32),
        of=np.array(len(rows)),
        space=np.array(feature_space(scan)),
    )
    return buffer.getvalue()


def read_features(folder: Path) -> KnownImages | None:
    """Read what a run folder keeps of its training images; None where it has nothing, or a damaged file."""
    try:
        # Opened here: numpy leaves a damaged file open.
        with (folder / FEATURES_FILE).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            features, of, space = file["features"], int(file["of"]), str(file["space"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    if features.ndim != 2 or features.dtype != np.float32 or not len(features):
        return None
    return KnownImages(features, of, space)
