"""Sample images of a model: those of its golden pairs, for a person who has no image yet."""

__all__ = ["read_samples"]

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.arrays import ArrayFile
from eyewright.bundle.golden import read_golden
from eyewright.bundle.inputs import only_image
from eyewright.bundle.manifest import Manifest
from eyewright.core.errors import EyewrightError
from eyewright.core.task import task_of
from eyewright.imaging.encode import encode_image

_FILE = "golden.npz"
_LEAST_LIKE = 0.3
"""The correlation of neighbouring pixels below which an image is noise, which some bundles hold instead of images."""


def read_samples(folder: Path, manifest: Manifest) -> tuple[bytes, ...]:
    """Return the images of a bundle's golden pairs as PNG files; none for a bundle of clips or of several inputs, or
    where the pairs are noise, as those of a private model are."""
    if not only_image(manifest.inputs) or task_of(manifest.task).reads != "image" or _FILE not in manifest.files:
        return ()
    try:
        data = (folder / _FILE).read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest.files[_FILE]["sha256"]:
            return ()
        with ArrayFile(data, _FILE) as pairs:
            images = [np.asarray(image) for image in read_golden(pairs, manifest.inputs)]
    except (OSError, EyewrightError):
        # The bundle was moved or changed since it was loaded; the page does without samples then.
        return ()
    return tuple(encode_image(image) for image in images if not _is_noise(image))


def _is_noise(image: NDArray[np.uint8]) -> bool:
    """Return whether neighbouring pixels of an image, (H, W, 3), have little to do with each other.

    >>> _is_noise(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8))
    True
    >>> _is_noise(np.zeros((32, 32, 3), np.uint8))
    False
    """
    grey = image.astype(np.float64).mean(-1)
    left, right = grey[:, :-1].ravel(), grey[:, 1:].ravel()
    if left.std() == 0 or right.std() == 0:
        return False
    return bool(np.corrcoef(left, right)[0, 1] < _LEAST_LIKE)
