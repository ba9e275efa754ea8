"""Write video that browsers play: WebM (Matroska, RFC 9559) of VP8 key frames (RFC 6386), by Pillow alone.

A lossy WebP picture is one VP8 key frame (RFC 9649, section 2.5), so Pillow encodes the frames and this file frames
them. Every frame is in the file when `add` returns: a process that is killed loses none that was finished, which an
encoder that looks back or a container that is completed at its end cannot promise. The price is size: no frame is
described by the one before it.
"""

__all__ = ["WebmWriter"]

import io
import os
import struct
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import OutputError, UsageError
from eyewright.core.files import checked_output
from eyewright.core.machine import disk
from eyewright.core.quoting import quoted

_UNKNOWN = b"\x01\xff\xff\xff\xff\xff\xff\xff"
_CLUSTER_MS = 5_000
_LARGEST_SIDE = 16_383
_SEEK_ROOM = 64


class WebmWriter:
    """Frames with their own times into one file, each complete on its own.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with WebmWriter(Path(folder, "a.webm")) as video:
    ...         video.add(np.zeros((32, 48, 3), np.uint8), 0.0)
    ...         video.add(np.zeros((32, 48, 3), np.uint8), 0.04)
    ...     Path(folder, "a.webm").read_bytes()[:4].hex()
    '1a45dfa3'

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, *, quality: int = 60) -> None:
        self.path, self._quality = path, quality
        with checked_output(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "wb", buffering=0)
        self.n_frames = 0
        self._size_hw: tuple[int, int] | None = None
        self._start = self._info = self._duration = 0
        self._cluster_ms: int | None = None
        self._last_ms = -1
        # The last frame is shown as long as the one before it.
        self._shown_ms = 1
        self._cues: list[tuple[int, int]] = []

    def add(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Append a frame, uint8 (H, W, 3) RGB, shown from `time_s` on; times ascend, and frames are of one size.

        A frame whose size differs from the first one's is resized to it.
        """
        height, width = image.shape[:2]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UsageError(f"expected a frame of uint8 (H, W, 3), found {image.dtype} {image.shape}")
        picture = Image.fromarray(image)
        if self._size_hw is None:
            if max(height, width) > _LARGEST_SIDE:
                raise UsageError(f"expected frames of up to {_LARGEST_SIDE:,} pixels a side, found {width} x {height}")
            self._size_hw = (height, width)
            self._write(self._head(height, width))
        elif (height, width) != self._size_hw:
            picture = picture.resize(self._size_hw[::-1])
        frame = _key_frame(picture, self._quality)
        # Two frames of one millisecond would be one for a player.
        at = max(round(time_s * 1000), self._last_ms + 1)
        block = b""
        if self._cluster_ms is None or at - self._cluster_ms > _CLUSTER_MS:
            self._cluster_ms = at
            self._cues.append((at, self._file.tell() - self._start))
            block = b"\x1f\x43\xb6\x75" + _UNKNOWN + _element(b"\xe7", _number(at))
        # Track 1, its time in the cluster, a key frame.
        block += _element(b"\xa3", b"\x81" + struct.pack(">hB", at - self._cluster_ms, 0x80) + frame)
        self._write(block)
        if self._last_ms >= 0:
            self._shown_ms = at - self._last_ms
        self._last_ms = at
        self.n_frames += 1
        # Also now, because a process that is killed does not come to `close`.
        self._patch(self._duration, struct.pack(">d", float(at + self._shown_ms)))

    def close(self) -> None:
        """Complete the file with an index, by which a player seeks. A file without it plays."""
        if self._file.closed:
            return
        try:
            if self._size_hw is not None:
                place = self._file.tell() - self._start
                points = b"".join(_cue(at, where) for at, where in self._cues)
                self._write(_element(b"\x1c\x53\xbb\x6b", points))
                seeks = b"".join(
                    _element(b"\x4d\xbb", _element(b"\x53\xab", name) + _element(b"\x53\xac", _number(where)))
                    for name, where in ((b"\x15\x49\xa9\x66", self._info - self._start), (b"\x1c\x53\xbb\x6b", place))
                )
                head = _element(b"\x11\x4d\x9b\x74", seeks)
                self._patch(self._start, head + _void(_SEEK_ROOM - len(head)))
            with checked_output(self.path):
                os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def __enter__(self) -> "WebmWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _head(self, height: int, width: int) -> bytes:
        ebml = _element(
            b"\x1a\x45\xdf\xa3",
            b"".join(
                _element(name, value)
                for name, value in (
                    (b"\x42\x86", b"\x01"), (b"\x42\xf7", b"\x01"), (b"\x42\xf2", b"\x04"), (b"\x42\xf3", b"\x08"),
                    (b"\x42\x82", b"webm"), (b"\x42\x87", b"\x04"), (b"\x42\x85", b"\x02"),
                )
            ),
        )  # fmt: skip
        segment = b"\x18\x53\x80\x67" + _UNKNOWN
        self._start = len(ebml) + len(segment)
        about = _element(b"\x2a\xd7\xb1", _number(1_000_000)) + _element(b"\x4d\x80", b"eyewright")
        about += _element(b"\x57\x41", b"eyewright") + _element(b"\x44\x89", struct.pack(">d", 0.0))
        info = _element(b"\x15\x49\xa9\x66", about)
        self._info = self._start + _SEEK_ROOM
        self._duration = self._info + len(info) - 8
        size = _element(b"\xb0", _number(width)) + _element(b"\xba", _number(height))
        track = _element(b"\xd7", b"\x01") + _element(b"\x73\xc5", b"\x01") + _element(b"\x83", b"\x01")
        track += _element(b"\x9c", b"\x00") + _element(b"\x86", b"V_VP8") + _element(b"\xe0", size)
        tracks = _element(b"\x16\x54\xae\x6b", _element(b"\xae", track))
        return ebml + segment + _void(_SEEK_ROOM) + info + tracks

    def _write(self, data: bytes) -> None:
        with checked_output(self.path):
            view = memoryview(data)
            while view:
                written = self._file.write(view)
                if not written:
                    raise OutputError(f"cannot write {quoted(self.path)}", fix="free some space and run again")
                view = view[written:]

    def _patch(self, place: int, data: bytes) -> None:
        with checked_output(self.path):
            disk.write_at(self._file.fileno(), data, place)


def _key_frame(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    # Its quickest method: frames are many, and live ones do not wait.
    picture.save(buffer, "WEBP", quality=quality, method=0)
    data = buffer.getvalue()
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"VP8 ":
            return data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    raise UsageError("this Pillow cannot encode lossy WebP", fix="install the wheel of Pillow from PyPI")


def _element(name: bytes, content: bytes) -> bytes:
    size = len(content)
    length = 1 if size < 0x7F else 2 if size < 0x3FFF else 4 if size < 0xFFFFFFF else 8
    return name + (size | 1 << (7 * length)).to_bytes(length, "big") + content


def _number(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def _cue(at_ms: int, place: int) -> bytes:
    position = _element(b"\xf7", b"\x01") + _element(b"\xf1", _number(place))
    return _element(b"\xbb", _element(b"\xb3", _number(at_ms)) + _element(b"\xb7", position))


def _void(room: int) -> bytes:
    """Return an element of `room` bytes, at least 2 and at most 128, that players pass over."""
    return b"\xec" + bytes([0x80 | (room - 2)]) + bytes(room - 2)
