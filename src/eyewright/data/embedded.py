"""Real images that ship inside dependencies, written out as a user's own folder would be."""

__all__ = ["write_digits"]

from pathlib import Path

import numpy as np

from eyewright.core.errors import MissingExtraError
from eyewright.core.files import checked_output
from eyewright.imaging.encode import encode_image


def write_digits(folder: Path) -> Path:
    """Write scikit-learn's 1,797 handwritten digits (8x8, grey, UCI ML repository) as an ImageFolder of PNG files.

    The source's 17 levels, 0-16, become 0-255.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        OutputError: the folder cannot be written.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn is not installed", fix="pip install 'eyewright[train]'") from error
    digits = load_digits()
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    with checked_output(folder):
        for i, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            place = folder / f"{digit}-{names[digit]}" / f"{i:04d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            # Thousands of small files that can be made again need no fsync each.
            place.write_bytes(encode_image(np.rint(pixels * (255 / 16)).astype(np.uint8)))
    return folder
