"""What a source gives: frames, each with where and when it was taken."""

__all__ = ["Frame", "Source", "reduced_size", "resized"]

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.imaging.video_facts import VideoFacts


@dataclass(frozen=True)
class Frame:
    """One image with where it came from: uint8 (H, W, 3) RGB, origin, index, seconds since the start of a stream.

    `index` counts the source's frames, those that a stride leaves out included; `time_s` is None where there is no
    time, as for files. `reread` returns the same pixels again, so that nobody has to keep them; it is None for a
    camera, which does not give them twice, and for an array, which is the caller's.
    """

    image: NDArray[np.uint8]
    origin: str
    index: int = 0
    time_s: float | None = None
    reread: Callable[[], NDArray[np.uint8]] | None = None


class Source(Protocol):
    """Frames one after another, and a device or connection that is given back by `close`.

    `live` is True where frames come at their own pace whether or not they are taken: cameras and streams. `facts` is
    what is special about a video file, as far as it was read, and None for anything else.
    """

    live: bool

    @property
    def facts(self) -> VideoFacts | None: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...

    def __enter__(self) -> "Source": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def reduced_size(image: NDArray[np.uint8], side: int) -> tuple[int, int]:
    """Return (width, height) of an image whose longer side is reduced to `side`."""
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image, uint8 (H, W) or (H, W, 3), at a size (width, height), by linear interpolation with smoothing;
    the same array where it has that size."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
