"""How the camera moved in a sequence whose boxes came from elsewhere, from the pictures of the sequence."""

__all__ = ["SequenceMotion"]

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding
from eyewright.imaging.sources import Frame
from eyewright.lifecycle.sequence_frames import SequenceFrames
from eyewright.tracking.camera import CameraMotion

_NONE = np.zeros((0, 4))


class SequenceMotion:
    """The motion of the camera over the pictures of a sequence, each read once, in the order of their numbers.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """

    def __init__(self, frames: SequenceFrames) -> None:
        self._camera = CameraMotion()
        self._findings: list[Finding] = []
        self._source = frames.source
        self._numbered = frames.numbered(self._findings.append)
        self._next: tuple[int, Frame] | None = next(self._numbered, None)
        self._last = self._pictures = self._without = 0

    def until(self, number: int, boxes_xyxy: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """Yield the maps of pixels, float64 (2, 3), from the last picture on to that of frame `number`, in order.

        `boxes_xyxy` (n, 4) are the objects of that frame, which move by themselves. A frame without a picture has no
        motion; the next picture has that of both.
        """
        shown = False
        while self._next is not None and self._next[0] <= number:
            at, frame = self._next
            self._next = next(self._numbered, None)
            # Images whose names are not in the order of their numbers.
            if at <= self._last:
                continue
            self._last, shown = at, at == number
            self._pictures += 1
            moved = self._camera.update(frame.image, boxes_xyxy if shown else _NONE)
            if moved is not None:
                yield moved
        self._without += not shown

    def findings(self) -> list[Finding]:
        """Return what was left out, and between which pictures no motion is known."""
        found = list(self._findings)
        if self._without:
            n = self._without
            text = f"{n:,} frame{'s' * (n != 1)} with detections have no picture, and no camera motion"
            found.append(Finding("no_picture", text, "check --frames and the numbers of frames", self._source))
        return found + self._camera.findings(self._pictures, self._source)
