"""What was acknowledged and is not in the database yet: one `write` an entry, so that `kill -9` loses nothing."""

__all__ = ["Journal"]

import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

from eyewright.core.machine import disk

_HEAD = Struct("<II")
_MOST_ENTRY = 64 * 2**20


class Journal:
    """Segments of length, CRC-32 and bytes in a folder; a segment goes when all of it is in the database.

    The kernel holds what was written when a process dies; only a power cut may cost the last moments.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder))
    ...     journal.append(b"one")
    ...     list(Journal(Path(folder)).left())
    [b'one']
    """

    def __init__(self, folder: Path, *, most_bytes: int = 256 * 2**20) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.most_bytes = folder, most_bytes
        self._old = sorted(folder.glob("journal-*.log"))
        self._number = 1 + max((int(p.stem.partition("-")[2]) for p in self._old), default=0)
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._file = -1
        self._size = 0
        self._kept = sum(p.stat().st_size for p in self._old)

    def append(self, entry: bytes) -> None:
        """Write one entry.

        Raises:
            OSError: the disk is full, or the journal has reached its largest size.
        """
        with self._lock:
            if self._kept + self._size + len(entry) > self.most_bytes:
                raise OSError("the journal has reached its largest size")
            if self._file < 0:
                self._path = self.folder / f"journal-{self._number:012d}.log"
                self._number += 1
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | disk.BINARY
                self._file = os.open(self._path, flags, 0o600)
            data = _HEAD.pack(len(entry), zlib.crc32(entry)) + entry
            done = os.write(self._file, data)
            if done != len(data):
                # A part of an entry must not stand before whole ones.
                os.ftruncate(self._file, self._size)
                raise OSError("the disk is full")
            self._size += done

    def turn(self) -> list[Path]:
        """Begin a new segment; return those that hold what was written so far."""
        with self._lock:
            if self._file >= 0 and self._size:
                os.close(self._file)
                assert self._path is not None
                self._old.append(self._path)
                self._kept += self._size
                self._file, self._size = -1, 0
            return list(self._old)

    def drop(self, segments: list[Path]) -> None:
        """Forget segments whose entries are in the database."""
        with self._lock:
            for path in segments:
                self._kept -= path.stat().st_size if path.exists() else 0
                path.unlink(missing_ok=True)
            self._old = [p for p in self._old if p not in segments]

    def left(self) -> Iterator[bytes]:
        """Return the whole entries of the earlier segments; one that was cut off was never acknowledged."""
        for path in list(self._old):
            data, at = path.read_bytes(), 0
            while at + _HEAD.size <= len(data):
                length, crc = _HEAD.unpack_from(data, at)
                entry = data[at + _HEAD.size : at + _HEAD.size + length]
                if length > _MOST_ENTRY or len(entry) < length or zlib.crc32(entry) != crc:
                    break
                yield entry
                at += _HEAD.size + length

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
