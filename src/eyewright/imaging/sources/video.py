"""Moving pictures by OpenCV: video files, cameras, RTSP.

OpenCV's wheel holds an LGPL build of FFmpeg; PyAV's holds x264 and x265, which are not (docs/decisions/0006).
"""

__all__ = ["Camera", "RtspStream", "VideoFile"]

import socket
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from eyewright.core.errors import InputError, LimitError
from eyewright.core.extras import import_extra
from eyewright.core.machine.limits import camera_file
from eyewright.core.quoting import quoted
from eyewright.core.regular import open_regular
from eyewright.imaging.decode import Pixels
from eyewright.imaging.headers import Limits
from eyewright.imaging.sources.containers import no_video, unopened_video
from eyewright.imaging.sources.files import file_stamp, reread_file
from eyewright.imaging.sources.frames import Frame, resized
from eyewright.imaging.video_facts import VideoFacts, facts_of, has_sound

_LARGE = 640 * 360


# A file that gives fewer than this part of the frames that it states breaks off; some state one or two too many.
_WHOLE, _FEW = 0.9, 3


class VideoFile:
    """The frames of a video file, upright, with their times. After the last one `facts` tells whether the file gives
    many fewer frames than it states."""

    live = False
    _index = 0
    _short = ""

    def __init__(self, path: Path, *, limits: Limits) -> None:
        # FFmpeg would wait for a FIFO, and so would a plain open.
        with open_regular(path, most=sys.maxsize, follow=True) as file:
            start = file.read(4096)
        wrong = no_video(path, start)
        if wrong is not None:
            raise wrong
        # An index tells how many frames there are; else their number is the length times the rate, and often one more.
        self.counted = start[4:8] == b"ftyp" or start[8:12] == b"AVI "
        self._path, self._limits = path, limits
        self._cv2 = cv2 = _opencv()
        name = str(path.resolve())
        self._capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        area = self._capture.get(cv2.CAP_PROP_FRAME_WIDTH) * self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if area >= _LARGE:
            # Of small frames, a second thread costs more than it gains.
            self._capture.release()
            self._capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 2])
        if not self._capture.isOpened():
            raise unopened_video(path)
        _check_size(self._capture, str(path), limits)
        # Clockwise, as phones state it.
        self._rotation = int(self._capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        self._sound: bool | None = has_sound(path)
        self._times = array("d")

    @property
    def facts(self) -> VideoFacts:
        """What is special about the file, as far as it was read."""
        return facts_of(self._times[:], rotation=self._rotation, sound=self._sound, breaks_off=self._short)

    @property
    def stated(self) -> tuple[int, float]:
        """How many frames the file states that it holds, and how many of them are shown a second; 0 where it does not.

        Files may be wrong about both."""
        cv2 = self._cv2
        count, fps = (float(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        return (int(count) if 0 < count < 1e9 else 0), (fps if 0 < fps < 1e9 else 0.0)

    def frames(self) -> Iterator[Frame]:
        path = self._path.resolve()
        origin, second = str(path), _SecondReading(path, self._limits)
        for index, time_s in self.moments():
            yield Frame(self.picture(), origin, index, time_s, partial(second.frame, index))

    def moments(self) -> Iterator[tuple[int, float]]:
        """Yield index and time of one frame after another; `picture` gives the pixels of the last one.

        A frame whose pixels nobody asks for is decoded and not converted.

        Raises:
            InputError: there is no frame, or the file breaks off in a way that the decoder does not survive.
        """
        cv2, origin = self._cv2, str(self._path.resolve())
        get, grab, position = self._capture.get, self._capture.grab, cv2.CAP_PROP_POS_MSEC
        index = 0
        last_s = longest_s = 0.0
        del self._times[:]
        while True:
            # Before the frame is taken, this is the time of the frame that comes.
            when = get(position) / 1000
            try:
                good = grab()
            except Exception as error:
                raise self._undecodable(index, error) from error
            if not good:
                if index == 0:
                    raise InputError(
                        f"{origin!r} holds no frame that can be read", fix="copy it again", code="unreadable_video"
                    )
                self._note_end(index, last_s + longest_s)
                return
            time_s = max(when, get(position) / 1000) if index else 0.0
            last_s, longest_s = time_s, max(longest_s, time_s - last_s)
            self._index = index
            self._times.append(time_s)
            yield index, time_s
            index += 1

    def picture(self, into: Pixels | None = None) -> Pixels:
        """Return the pixels of the frame that `moments` came to, uint8 (H, W, 3); with `into`, an array of that form,
        reduced to its size and written there.

        Raises:
            InputError: the frame cannot be converted.
        """
        try:
            good, picture = self._capture.retrieve()
        except Exception as error:
            raise self._undecodable(self._index, error) from error
        if not good:
            raise InputError(
                f"frame {self._index} of {quoted(self._path)} cannot be read",
                fix="copy it again",
                code="unreadable_video",
            )
        cv2 = self._cv2
        if into is None:
            return np.asarray(_rgb(cv2, picture), np.uint8)
        # Reduced before the channels are put in order: that is the same, and less to do.
        picture = resized(picture, (into.shape[1], into.shape[0]))
        if picture.ndim == 3:
            cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=into)
        else:
            into[:] = picture[..., None]
        return into

    def _undecodable(self, index: int, error: Exception) -> InputError:
        return InputError(
            f"{quoted(self._path.resolve())} cannot be decoded after {index} frames: {type(error).__name__}",
            fix="copy it again",
            code="unreadable_video",
        )

    def _note_end(self, given: int, end_s: float) -> None:
        stated, fps = self.stated
        if not stated or given >= min(_WHOLE * stated, stated - _FEW):
            return
        # Of WebM and Matroska the number is the length times a rate, which uneven frames do not have.
        if not fps or end_s < _WHOLE * stated / fps:
            self._short = f"the video breaks off: {given:,} of about {stated:,.0f} frames can be read"

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class _SecondReading:
    """Frames of a video file that was read before: in order, each is decoded once; one that lies before the last that
    was asked for, from the start of the file."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits, self._stamp = path, limits, file_stamp(path)
        self._lock = threading.Lock()
        self._frames: Iterator[Frame] = iter(())
        self._next = 0

    def frame(self, index: int) -> Pixels:
        """Return the pixels of a frame, uint8 (H, W, 3).

        Raises:
            InputError: the file is gone or has changed.
        """
        return reread_file(self._path, self._stamp, lambda _: self._decoded(index))

    def _decoded(self, index: int) -> Pixels:
        with self._lock:
            if index < self._next or self._next == 0:
                self._frames, self._next = self._opened(), 0
            for frame in self._frames:
                self._next = frame.index + 1
                if frame.index == index:
                    return frame.image
            self._next = 0
        raise InputError(
            f"frame {index} of {quoted(self._path)} cannot be read again", fix="copy the file again", code="not_found"
        )

    def _opened(self) -> Iterator[Frame]:
        video = VideoFile(self._path, limits=self._limits)
        try:
            yield from video.frames()
        finally:
            video.close()


class Camera:
    """A camera of this machine, by its number."""

    live = True

    def __init__(self, number: int, *, timeout_s: float) -> None:
        self._number, self._timeout_s = number, timeout_s
        device = camera_file(number)
        # Asked first: OpenCV says nothing of use when there is none, and tries every backend.
        if device is not None and not device.exists():
            there = sorted(p.name for p in device.parent.glob("video*"))
            found = f"found {', '.join(there)}" if there else "found no camera"
            raise InputError(
                f"expected camera {number} at {device}, {found}",
                fix="plug it in, or pass another number",
                code="no_camera",
            )
        cv2 = _opencv()
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise InputError(
                f"camera {number} cannot be opened",
                fix="close what else uses it, or give this user permission to use it",
                code="no_camera",
            )

    def frames(self) -> Iterator[Frame]:
        cv2, started, index = _opencv(), time.monotonic(), 0
        while True:
            good, picture = self._capture.read()
            if not good:
                raise InputError(
                    f"camera {self._number} sends no more frames", fix="plug it in again", code="no_camera"
                )
            yield Frame(_rgb(cv2, picture), f"camera {self._number}", index, time.monotonic() - started)
            index += 1

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


class RtspStream:
    """An RTSP stream over TCP (RFC 2326)."""

    live = True

    def __init__(self, address: str, *, timeout_s: float, limits: Limits) -> None:
        self._address, self._timeout_s = address, timeout_s
        self._shown = _without_password(address)
        self._knock(timeout_s)
        cv2 = _opencv()
        milliseconds = int(timeout_s * 1000)
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds, cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
        self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, options)
        if not self._capture.isOpened():
            self._capture.release()
            raise InputError(
                f"{quoted(self._shown)} sends no stream", fix="check the address and the password", code="no_stream"
            )
        _check_size(self._capture, self._shown, limits)

    def _knock(self, timeout_s: float) -> None:
        """Reach the server first: the reason is known then, and a host that is silent costs no more than the time."""
        parts = urlsplit(self._address)
        try:
            place = (parts.hostname or "", parts.port or (322 if parts.scheme == "rtsps" else 554))
            socket.create_connection(place, timeout_s).close()
        except (OSError, ValueError, UnicodeError) as error:
            reason = "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"cannot reach {quoted(self._shown)}: {reason}", fix="check the address", code="no_stream"
            ) from error

    def frames(self) -> Iterator[Frame]:
        cv2, started, index = _opencv(), time.monotonic(), 0
        while True:
            good, picture = self._capture.read()
            if not good:
                raise InputError(f"{quoted(self._shown)} stopped", fix="check the camera", code="stream_ended")
            yield Frame(_rgb(cv2, picture), self._shown, index, time.monotonic() - started)
            index += 1

    def close(self) -> None:
        """Close the connection."""
        self._capture.release()


def _without_password(address: str) -> str:
    """Name a stream in messages and results without the password in its address."""
    parts = urlsplit(address)
    if "@" not in parts.netloc:
        return address
    return parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]).geturl()


def _check_size(capture: Any, name: str, limits: Limits) -> None:
    cv2 = _opencv()
    height, width = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    if height * width > limits.pixels or max(height, width) > limits.side:
        capture.release()
        raise LimitError(f"{name!r} has frames of {width}x{height} pixels, over the limit", fix="shrink it")


def _rgb(cv2: Any, picture: Any) -> Any:
    # Reversed in memory and not by a view: everything after expects whole arrays.
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)


def _opencv() -> Any:
    return import_extra("cv2", extra="pixels", what="reading videos, cameras and RTSP")
