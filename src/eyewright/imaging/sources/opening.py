"""Open any source: what a name means, and stride, limits, latest-frame mode and reconnection for all of them."""

__all__ = ["is_endless", "is_moving", "is_stream", "open_source"]

import contextlib
import functools
import glob
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from eyewright.core.errors import EyewrightError, InputError, UnreadableImageError, UsageError
from eyewright.core.report import Finding
from eyewright.imaging.decode import name_unreadable, read_frames
from eyewright.imaging.given import given_source
from eyewright.imaging.headers import Limits
from eyewright.imaging.media import media_of
from eyewright.imaging.sources.files import VIDEO_EXTENSIONS, in_order, is_video, list_sources, read_files, read_named
from eyewright.imaging.sources.frames import Frame, Source
from eyewright.imaging.video_facts import VideoFacts

_LOG = logging.getLogger(__name__)
_Note = Callable[[Finding], None] | None
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_SCHEMES = frozenset({"rtsp", "rtsps", "http", "https", "file", "sane"})


def is_endless(source: str | Path | int) -> bool:
    """Return whether a source is a camera, stream or scanner, which has no last frame.

    >>> is_endless("rtsp://camera/1"), is_endless("0"), is_endless("clip.mp4")
    (True, True, False)
    """
    text = str(source)
    if re.match(r"^(rtsps?|https?|sane):", text, re.IGNORECASE):
        return True
    return text.isascii() and text.isdecimal() and (isinstance(source, int) or not Path(text).exists())


def is_stream(source: Any) -> bool:
    """Return whether a source gives frames by itself: a video, camera, stream or scanner, not files or arrays.

    A file that is there is a video by its content, whatever it is called; one that is not, by its name.

    >>> is_stream("rtsp://camera/1"), is_stream("0"), is_stream("photos/")
    (True, True, False)
    """
    if isinstance(source, int):
        return True
    if not isinstance(source, str | Path):
        return False
    if is_endless(source):
        return True
    named = given_source(source)
    path = Path(named)
    # An address is of one file, whatever its name looks like.
    one = named is not source or path.exists() or not glob.has_magic(str(path))
    return one and is_video(path)


def is_moving(source: Any) -> bool:
    """Return whether a source gives frames that have times: a stream (`is_stream`), or an animation, of which
    `open_source` gives every picture with `pages`.

    >>> is_moving("clip.mp4"), is_moving("photo.gif")
    (True, False)
    """
    if is_stream(source):
        return True
    return isinstance(source, str | Path) and media_of(given_source(source)) == "animation"


def open_source(
    source: str | Path | int,
    *,
    stride: int = 1,
    max_frames: int | None = None,
    latest: bool = False,
    reconnect: int | None = None,
    timeout_s: float = 10.0,
    pages: bool = False,
    limits: Limits | None = None,
    note: Callable[[Finding], None] | None = None,
) -> Source:
    """Open a file, folder, glob, video, `file://`, camera number, `rtsp://`, `http://` MJPEG, `sane:DEVICE` or `-`.

    Every `stride`-th frame is given, `max_frames` at most. With `latest`, frames of a live source that come while the
    last one is worked on are dropped, so that each is as new as can be. A stream that breaks is opened again,
    `reconnect` times in a row (None: 10), after pauses of 0.5 s doubling to 30 s; time and index continue. `timeout_s`
    bounds how long a stream may take to answer or to give its next frame.

    With `note`, an image of a folder that cannot be read is left out and noted; after the last frame of a video, it is
    noted that it breaks off, is turned by its metadata, or has a variable frame rate. Without, the first is an error,
    and the others are lines of the log.

    With `pages`, every page of a document and every picture of an animation is a frame, not the first alone.

    The protocol and host of a stream are the caller's: never pass on an address received from a client.

    >>> import tempfile
    >>> import numpy as np
    >>> from eyewright.imaging import write_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_image(Path(folder, "a.png"), np.zeros((2, 3, 3), np.uint8))
    ...     with open_source(folder) as source:
    ...         [frame.image.shape for frame in source]
    [(2, 3, 3)]

    Raises:
        InputError: nothing is there, or it does not answer.
        UsageError: not a source; a stride or limit below 1.
    """
    if stride < 1 or (max_frames is not None and max_frames < 1) or timeout_s <= 0:
        raise UsageError(f"expected a stride and a limit of at least 1, found {stride} and {max_frames}")
    text = os.fspath(source) if not isinstance(source, int) else str(source)
    limits = limits or Limits()
    scheme = re.match(r"^([a-z][a-z0-9+.]+)://", text, re.IGNORECASE)
    if scheme is not None and scheme[1].lower() not in _SCHEMES and not Path(text).exists():
        raise UsageError(
            f"{scheme[1]}:// addresses are not read", fix="pass a path, or an rtsp:// or http:// MJPEG address"
        )
    again: Callable[[], _Frames] | None = None
    if re.match(r"^(rtsps?|https?):", text, re.IGNORECASE):
        again = functools.partial(_open_stream, text, timeout_s, limits)
        opened = again()
    else:
        opened = _open_local(source, text, timeout_s, pages, limits, note)
    return _Opened(opened, again, stride, max_frames, latest, 10 if reconnect is None else reconnect, note, text)


def _open_stream(address: str, timeout_s: float, limits: Limits) -> "_Frames":
    # Each kind is imported when it is opened: nobody who reads files needs HTTP or a scanner.
    if address.lower().startswith("rtsp"):
        from eyewright.imaging.sources.video import RtspStream

        return RtspStream(address, timeout_s=timeout_s, limits=limits)
    from eyewright.imaging.sources.mjpeg import MjpegStream

    return MjpegStream(address, timeout_s=timeout_s, limits=limits)


def _open_local(
    source: str | Path | int, text: str, timeout_s: float, pages: bool, limits: Limits, note: _Note
) -> "_Frames":
    if text.lower().startswith("sane:"):
        from eyewright.imaging.sources.scanner import Scanner

        return Scanner(text[5:], limits=limits)
    if not is_stream(source):
        return _Files(text, pages, limits, note)
    from eyewright.imaging.sources.video import Camera, VideoFile

    if text.isdecimal():
        return Camera(int(text), timeout_s=timeout_s)
    return VideoFile(Path(given_source(text)), limits=limits)


class _Frames(Protocol):
    """What each kind of source is: frames, whether they come by themselves, and an end."""

    live: bool

    def frames(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class _Files:
    """Files at rest, in their order."""

    live = False

    def __init__(self, text: str, pages: bool, limits: Limits, note: _Note) -> None:
        self._items, self._pages, self._limits = in_order(list_sources(text)), pages, limits
        self._note, self._alone = note, len(self._items) == 1

    def frames(self) -> Iterator[Frame]:
        # One that cannot be read has its time, and the frames after it keep theirs.
        begun = None
        if self._alone and self._note is not None and Path(self._items[0]).suffix.lower() in VIDEO_EXTENSIONS:
            text = "the file is named as a video and holds a picture"
            self._note(Finding("not_a_video", text, "pass a video", str(self._items[0]), severity="note"))
        for index, (item, found) in enumerate(self._found()):
            origin = "-" if item == "-" else str(Path(item).resolve())
            if isinstance(found, UnreadableImageError):
                if self._note is not None and item == begun:
                    # The pictures before the damage are the animation.
                    text = f"the animation breaks off: {found.message}"
                    self._note(Finding("video_breaks_off", text, found.fix or "copy it again", origin))
                    continue
                if self._note is None or self._alone:
                    raise found
                self._note(Finding(found.code, found.message, found.fix or "", origin))
            else:
                image, shown_at = found
                begun = item
                yield Frame(image, origin, index, shown_at)

    def _found(self) -> Iterator[tuple[Path | str, tuple[Any, float | None] | UnreadableImageError]]:
        """Yield each image with when it is shown, or why it cannot be read."""
        if not self._pages:
            for item, found in read_files(self._items, limits=self._limits):
                yield item, found if isinstance(found, UnreadableImageError) else (found, None)
            return
        for item in self._items:
            try:
                if item == "-":
                    yield item, (read_named(item), None)
                    continue
                with name_unreadable(str(item)):
                    for page in read_frames(Path(item), limits=self._limits):
                        yield item, page
            except UnreadableImageError as error:
                yield item, error

    def close(self) -> None:
        """Hold nothing."""


class _Opened:
    """A source with stride, limit, latest-frame mode and reconnection."""

    def __init__(
        self, opened: _Frames, again: Callable[[], _Frames] | None, stride: int, max_frames: int | None, latest: bool,
        reconnect: int, note: _Note = None, name: str = "",
    ) -> None:  # fmt: skip
        self.live, self._note, self._name = opened.live, note, name
        self._opened, self._again = opened, again
        self._stride, self._max_frames, self._latest, self._reconnect = stride, max_frames, latest, reconnect
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        frames = self._newest() if self._latest and self.live else self._unbroken()
        given = 0
        try:
            for frame in frames:
                if frame.index % self._stride:
                    continue
                yield frame
                given += 1
                if self._max_frames is not None and given >= self._max_frames:
                    return
        finally:
            if given:
                self._tell()

    @property
    def facts(self) -> VideoFacts | None:
        """What is special about a video file, as far as it was read; None for any other source."""
        found: VideoFacts | None = getattr(self._opened, "facts", None)
        return found

    def _tell(self) -> None:
        facts = self.facts
        for found in () if facts is None else facts.findings(self._name):
            if self._note is not None:
                self._note(found)
            else:
                _LOG.log(logging.INFO if found.severity == "note" else logging.WARNING, "%s", found)

    def _unbroken(self) -> Iterator[Frame]:
        """Yield frames across breaks, index and time continuing."""
        started = time.monotonic()
        index, seen, tries, pause = 0, False, 0, _FIRST_PAUSE_S
        while not self._closed.is_set():
            broken: EyewrightError | None = None
            try:
                for frame in self._opened.frames():
                    seen, tries, pause = True, 0, _FIRST_PAUSE_S
                    when = time.monotonic() - started if self._again is not None else frame.time_s
                    yield replace(frame, index=index, time_s=when)
                    index += 1
            except InputError as error:
                if self._again is None or not seen:
                    raise
                broken = error
            if self._again is None:
                return
            # An end without an error is a break too: a camera does not end.
            self._opened.close()
            while not self._closed.is_set():
                tries += 1
                if tries > self._reconnect:
                    if broken is not None:
                        raise broken
                    return
                self._closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                try:
                    self._opened = self._again()
                    break
                except InputError as error:
                    broken = error

    def _newest(self) -> Iterator[Frame]:
        """Read on a thread of its own and give the newest frame; older ones are dropped."""
        arrived = threading.Condition()
        slot: list[Frame | BaseException | None] = []

        def read() -> None:
            end: BaseException | None = None
            try:
                for frame in self._unbroken():
                    with arrived:
                        slot[:] = [frame]
                        arrived.notify()
                    if self._closed.is_set():
                        break
            except BaseException as error:  # noqa: BLE001 - raised where the frames are taken
                end = error
            with arrived:
                slot.append(end)
                arrived.notify()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            while True:
                with arrived:
                    while not slot:
                        arrived.wait()
                    item = slot.pop(0)
                if isinstance(item, Frame):
                    yield item
                elif item is not None:
                    raise item
                else:
                    return
        finally:
            self._closed.set()
            thread.join(5.0)

    def close(self) -> None:
        """Release the device or connection."""
        self._closed.set()
        with contextlib.suppress(EyewrightError):
            self._opened.close()

    def __enter__(self) -> "_Opened":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
