"""The frames that stand for a clip, from a video file: chosen by time, and only those are converted and reduced.

Which frames those are is certain once the times of all are known, at the end of the file. So they are guessed from the
number of frames and the rate that the file states. Where the guess is right, as for most files, the file is decoded
once; else it is decoded again, with the times that the first reading found.
"""

__all__ = ["read_chosen"]

from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError, UnreadableImageError
from eyewright.core.quoting import quoted
from eyewright.imaging.decode import ImageInfo
from eyewright.imaging.headers import Limits
from eyewright.imaging.sampling import ClipSampling
from eyewright.imaging.sources.frames import reduced_size, resized
from eyewright.imaging.sources.video import VideoFile
from eyewright.imaging.video_facts import VideoFacts

_SAME_S = 1e-4
# Containers state times in milliseconds or finer.
_ROUNDED_S = 2e-3


def read_chosen(
    path: Path, sampling: ClipSampling, *, start_s: float | None, end_s: float | None, limits: Limits
) -> tuple[NDArray[np.uint8], ImageInfo]:
    """Return the chosen frames of a video file or a part of one, one below the other, uint8 (T * H, W, 3), and what it
    holds.

    `start_s` and `end_s` are seconds from the first frame; both ends belong to the part. A file that breaks off is read
    as far as it goes, and `short` of what it holds says so.

    Raises:
        UnreadableImageError: there is no frame, or the file is no video.
    """
    reading = _Reading(path, sampling, start_s, end_s, limits)
    try:
        facts = reading.look()
    except InputError as error:
        # What was decoded until here is the clip.
        if not reading.times:
            raise _unreadable(error) from error
        facts = VideoFacts(breaks_off=f"the video breaks off after {len(reading.times):,} frames")
    if not reading.times:
        raise UnreadableImageError("the clip holds no frame", fix="copy it again or remove it")
    strip = reading.strip()
    seconds = reading.times[-1] - reading.times[0]
    return strip, ImageInfo("clip", reading.size_hw, "RGB", 1, len(reading.times), seconds=seconds, video=facts)


def _unreadable(error: InputError) -> UnreadableImageError:
    return UnreadableImageError(error.message, fix=error.fix or "copy it again", code=error.code)


class _Reading:
    """One clip while it is read: the times of its frames, the first of which is frame `begin` of the file."""

    def __init__(
        self, path: Path, sampling: ClipSampling, start_s: float | None, end_s: float | None, limits: Limits
    ) -> None:
        self._path, self._sampling, self._limits = path, sampling, limits
        self._from = -1.0 if start_s is None else start_s - _SAME_S
        self._until = float("inf") if end_s is None else end_s + _SAME_S
        self._frames: NDArray[np.uint8] | None = None
        self._slots: dict[int, int] = {}
        self._filled: set[int] = set()
        self._size: tuple[int, int] | None = None
        self.size_hw = (0, 0)
        self.times = array("d")
        self.begin = 0

    def look(self) -> VideoFacts:
        """Decode the clip, note the times of all frames, and keep those that are guessed to be chosen; return what
        is special about the file.

        Raises:
            InputError: it breaks off in a way that the decoder does not survive, or is no video.
        """
        video = VideoFile(self._path, limits=self._limits)
        try:
            self._plan(self._guessed(video))
            now_s = 0.0
            for index, time_s in video.moments():
                now_s = max(now_s, time_s)
                if now_s > self._until:
                    break
                if now_s < self._from:
                    continue
                if not self.times:
                    self.begin = index
                if index in self._slots or not self.times:
                    self._keep(video, index)
                self.times.append(now_s)
            return video.facts
        finally:
            video.close()

    def strip(self) -> NDArray[np.uint8]:
        """Return the chosen frames, one below the other; the file is decoded once more for those that are not kept.

        Raises:
            UnreadableImageError: the file cannot be read a second time.
        """
        chosen = [self.begin + i for i in self._sampling.chosen(np.frombuffer(self.times))]
        if not self._filled.issuperset(chosen):
            self._plan(chosen)
            self._again()
        frames = self._frames
        assert frames is not None
        first = [self._slots[i] for i in chosen]
        if first != list(range(len(frames))):
            # A frame that is chosen several times was kept once; one that was kept may not be chosen.
            frames = frames[first]
        return frames.reshape(-1, *frames.shape[2:])

    def _again(self) -> None:
        try:
            video = VideoFile(self._path, limits=self._limits)
            try:
                for index, _ in video.moments():
                    if index in self._slots:
                        self._keep(video, index)
                        if len(self._filled) == len(self._slots):
                            return
            finally:
                video.close()
        except InputError as error:
            raise _unreadable(error) from error
        raise UnreadableImageError(f"{quoted(self._path)} changed while it was read", fix="read it again")

    def _guessed(self, video: VideoFile) -> list[int]:
        """Return the numbers of the frames that may be chosen if the file is right about itself."""
        count, fps = video.stated
        found: set[int] = set()
        for n in (count,) if video.counted else (count - 1, count):
            if n <= 0 or not fps:
                continue
            begin = max(0, int(np.ceil(self._from * fps)))
            end = min(n, int(min(self._until * fps, n)) + 1)
            if begin < end:
                times = np.arange(begin, end) / fps
                found.update(begin + i for i in self._sampling.candidates(times, _ROUNDED_S))
        return sorted(found)

    def _plan(self, chosen: list[int]) -> None:
        self._slots = {index: slot for slot, index in enumerate(dict.fromkeys(chosen))}
        self._filled = set()
        self._frames = None

    def _keep(self, video: VideoFile, index: int) -> None:
        slot = self._slots.get(index)
        if self._frames is None:
            whole = video.picture()
            if self._size is None:
                self.size_hw = (whole.shape[0], whole.shape[1])
                self._size = reduced_size(whole, self._sampling.side)
            self._frames = np.empty((max(1, len(self._slots)), self._size[1], self._size[0], 3), np.uint8)
            if slot is not None:
                self._frames[slot] = resized(whole, self._size)
        elif slot is not None:
            # A file may change the size of its frames, a strip cannot.
            video.picture(self._frames[slot])
        if slot is not None:
            self._filled.add(index)
