"""What of a video file changes how its frames are read, or is lost when they are drawn: said, never silent."""

__all__ = ["VideoFacts", "facts_of", "has_sound", "without_sound"]

import re
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from eyewright.core.report import Finding

_HEAD = 4 * 2**20
_MOST_INDEX = 64 * 2**20
# Intervals between frames: how far from the median, and how many of them, are no rounding.
_UNEVEN, _ROUNDED_S, _FEW = 0.2, 0.003, 0.02
_MP4_SOUND = re.compile(rb"hdlr.{8}soun", re.DOTALL)
_AVI_SOUND = re.compile(rb"strh.{4}auds", re.DOTALL)
_OGG_SOUND = re.compile(rb"\x01vorbis|OpusHead|Speex   |\x7fFLAC")
# The stream type "audio media" of ASF, as it lies in a file.
_ASF_SOUND = bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b")
# PES packets of MPEG with an audio stream, or with AC-3.
_PES_SOUND = re.compile(rb"\x00\x00\x01[\xc0-\xdf\xbd]")
_PACKET = 188
_MKV_SEGMENT, _MKV_TRACKS, _MKV_TRACK, _MKV_KIND = 0x18538067, 0x1654AE6B, 0xAE, 0x83
_AUDIO = 2


@dataclass(frozen=True)
class VideoFacts:
    """What a file says of itself, and what its frames show.

    Args:
        rotation: degrees by which its metadata turn it, clockwise; frames are given upright.
        sound: whether it has sound; None where its container does not tell.
        variable_rate: whether frames are unevenly far apart; each has its own time.
        shortest_s: the shortest time between two frames, 0 where there are not two.
        longest_s: the longest.
        breaks_off: how it breaks off, "" where it does not.
    """

    rotation: int = 0
    sound: bool | None = None
    variable_rate: bool = False
    shortest_s: float = 0.0
    longest_s: float = 0.0
    breaks_off: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the facts in plain types, times in seconds."""
        return {**asdict(self), "shortest_s": round(self.shortest_s, 4), "longest_s": round(self.longest_s, 4)}

    def findings(self, path: str) -> "list[Finding]":
        """Return what a person should know: a video that breaks off is a warning, the rest are notes."""
        from eyewright.core.report import Finding

        found = []
        if self.rotation:
            text = f"the video is turned by {self.rotation}° by its metadata: frames and coordinates are those upright"
            found.append(Finding("rotated", text, "nothing, unless your coordinates are of the frames as stored", path))
        if self.variable_rate:
            text = (
                f"the video has a variable frame rate: frames are {1000 * self.shortest_s:.0f} to "
                f"{1000 * self.longest_s:.0f} ms apart, and each has its own time"
            )
            found.append(Finding("variable_rate", text, "do not compute times from frame numbers", path))
        notes = [Finding(f.code, f.message, f.fix, f.path, severity="note") for f in found]
        if self.breaks_off:
            notes.append(Finding("video_breaks_off", self.breaks_off, "copy it again", path))
        return notes

    def said(self) -> str:
        """Return the facts in a few words for a status line, "" where there is nothing to say."""
        words = [f"turned by {self.rotation}° by its metadata"] if self.rotation else []
        words += ["variable frame rate"] if self.variable_rate else []
        words += ["its sound is not played"] if self.sound else []
        words += [self.breaks_off] if self.breaks_off else []
        return "; ".join(words)


def facts_of(times_s: "array[float]", *, rotation: int, sound: bool | None, breaks_off: str = "") -> VideoFacts:
    """Return the facts of a video by the times of its frames.

    >>> facts_of(array("d", [0, 0.04, 0.08, 0.2, 0.24, 0.36, 0.4]), rotation=0, sound=None).variable_rate
    True
    """
    gaps = np.diff(np.frombuffer(times_s, np.float64)) if len(times_s) > 1 else np.zeros(0)
    # Decoders may be wrong about the first and the last frame.
    gaps = gaps[1:-1] if len(gaps) > 3 else gaps
    if not len(gaps):
        return VideoFacts(rotation, sound, breaks_off=breaks_off)
    middle = float(np.median(gaps))
    off = np.abs(gaps - middle) > max(_UNEVEN * middle, _ROUNDED_S)
    uneven = bool(off.sum() > max(1, _FEW * len(gaps)))
    return VideoFacts(rotation, sound, uneven, float(gaps.min()), float(gaps.max()), breaks_off)


def without_sound(source: str, drawn: Path) -> "Finding | None":
    """Return a note where a source has sound, which the video drawn of it has not; None where it has none."""
    path = Path(source)
    if not path.is_file() or not has_sound(path):
        return None
    from eyewright.core.report import Finding

    return Finding(
        "no_sound",
        f"the source has sound, and {drawn.name} has none",
        f"add it: ffmpeg -i {drawn.name} -i {path.name} -map 0:v -map 1:a -c copy with-sound.mkv",
        str(path),
        severity="note",
    )


def has_sound(path: Path) -> bool | None:
    """Return whether a video file has sound, by its container; None where that does not tell."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
                return _mp4_sound(path)
    except OSError:
        return None
    if head[:4] == b"\x1aE\xdf\xa3":
        return _mkv_sound(head)
    if head[8:12] == b"AVI ":
        return _AVI_SOUND.search(head) is not None
    if head[:4] == b"FLV\x01":
        return bool(head[4:5] and head[4] & 4)
    if head[:4] == b"OggS":
        return _OGG_SOUND.search(head) is not None
    if head[:16] == bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"):
        return _ASF_SOUND in head
    if head[:1] == b"G" and head[_PACKET : _PACKET + 1] == b"G":
        packets = (head[k : k + _PACKET] for k in range(0, len(head) - _PACKET, _PACKET))
        return any(p[1] & 0x40 and _PES_SOUND.search(p) is not None for p in packets)
    if head[:4] == b"\0\0\1\xba":
        return _PES_SOUND.search(head) is not None
    return None


def _mp4_sound(path: Path) -> bool | None:
    # Late: the sources import what decodes, and that these facts.
    from eyewright.imaging.sources.containers import index_of

    index = index_of(path, _MOST_INDEX)
    return None if index is None else _MP4_SOUND.search(index) is not None


def _mkv_sound(head: bytes) -> bool | None:
    """Return whether one of Matroska's tracks is of sound (RFC 9559, section 5.1.4.1.3); None without its tracks."""
    for _, begin, end in (e for e in _elements(head, 0, len(head)) if e[0] == _MKV_SEGMENT):
        for _, first, last in (e for e in _elements(head, begin, end) if e[0] == _MKV_TRACKS):
            tracks = (e for e in _elements(head, first, last) if e[0] == _MKV_TRACK)
            kinds = (k for _, a, b in tracks for k in _elements(head, a, b) if k[0] == _MKV_KIND)
            return any(int.from_bytes(head[a:b], "big") == _AUDIO for _, a, b in kinds)
    return None


def _elements(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield name, first byte and end of the EBML elements of a part of the data; one of unknown size takes the rest."""
    while at < end:
        length = 9 - data[at].bit_length()
        name = int.from_bytes(data[at : at + length], "big")
        size, begin = _vint(data, at + length)
        at = end if size < 0 else min(end, begin + size)
        yield name, begin, at


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable-size integer of EBML, -1 where it says that it is not known, and where what follows begins."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    value = int.from_bytes(data[at : at + length], "big") & ((1 << (7 * length)) - 1)
    return (-1 if value == (1 << (7 * length)) - 1 else value), at + length
