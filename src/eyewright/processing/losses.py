"""What of a file is lost when it is read as one opaque picture."""

__all__ = ["lost_finding", "reading_losses"]

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eyewright.core.report import Finding
from eyewright.imaging.decode import ImageInfo, read_clear
from eyewright.imaging.headers import Limits


def reading_losses(
    source: str | Path | bytes, info: ImageInfo, *, limits: Limits | None = None, keeps_clear: bool = False
) -> list[str]:
    """Return in words what `read_image` leaves out of a file: transparency, frames after the first.

    `info` is what `probe_image` returns for the file. A file that can be transparent and is opaque everywhere loses
    nothing. Further pictures in a JPEG are previews, depth and gain maps of the first: they do not count.
    `keeps_clear`: the reader keeps transparency.

    >>> from eyewright.imaging.decode import probe_image
    >>> from eyewright.imaging.encode import encode_image
    >>> data = encode_image(np.full((4, 4, 4), 100, np.uint8), format="PNG")
    >>> reading_losses(data, probe_image(data))
    ['transparency, laid over white']

    Raises:
        UnreadableImageError, LimitError, MissingExtraError: as `read_image`.
    """
    lost = []
    if info.clear and not keeps_clear:
        clear = read_clear(source, limits=limits)
        if clear is not None and clear[..., -1].min() < np.iinfo(clear.dtype).max:
            lost.append("transparency, laid over white")
    if info.frames > 1 and info.format != "JPEG":
        lost.append(f"{info.frames - 1:,} further frame{'s' * (info.frames > 2)}")
    return lost


def lost_finding(path: str | Path, lost: Sequence[str], fix: str = "keep the original") -> Finding:
    """Return the note about what the output of a file does not hold."""
    return Finding("lost", f"left out: {'; '.join(lost)}", fix, str(path), severity="note")
