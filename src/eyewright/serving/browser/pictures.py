"""Small pictures of a dataset's images: decoded by the one decoder, kept within bounds."""

__all__ = ["Pictures"]

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError
from eyewright.data.dataset import Dataset
from eyewright.evaluation.reporting import reporting_of
from eyewright.imaging.decode import name_unreadable, probe_image, read_picture
from eyewright.imaging.encode import encode_image
from eyewright.imaging.overlay import shrink

_KEPT_BYTES = 96 * 2**20
_QUALITY = 82


class Pictures:
    """Images made small, as JPEG; those that were asked for last are kept, up to 96 MB. Safe for several threads."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._kept: OrderedDict[tuple[int, int, bool], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def jpeg(self, row: int, side: int, *, marks: bool) -> bytes:
        """Return one image with its longer side at `side` pixels at most (small ones are enlarged in whole steps), with
        `marks` what is marked in it too.

        Raises:
            UnreadableImageError: it cannot be read; its name is given.
        """
        key = (row, side, marks)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        data = encode_image(self._made(row, side, marks), format="JPEG", quality=_QUALITY)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = data
                self._bytes += len(data)
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return data

    def _made(self, row: int, side: int, marks: bool) -> NDArray[np.uint8]:
        size_hw, image = self._read(row, side)
        small = shrink(image, side)
        if not marks:
            return small
        try:
            return reporting_of(self._dataset.task).audit.drawn(self._dataset, row, size_hw, small)
        except EyewrightError:
            # What is wrong with the marks is a finding; the image is shown all the same.
            return small

    def _read(self, row: int, side: int) -> tuple[tuple[int, int], NDArray[np.uint8]]:
        """Return an image's size, and its pixels at no less than `side` where that is faster."""
        name = self._dataset.samples[row].id
        with name_unreadable(name):
            file = self._dataset.tree.encoded(name)
            if file is None:
                image = self._dataset.shown(row)
                return (image.shape[0], image.shape[1]), image
            source = file.load()
            size_hw = probe_image(source).size_hw
            return size_hw, np.asarray(read_picture(source, at_least=(side, side)))
