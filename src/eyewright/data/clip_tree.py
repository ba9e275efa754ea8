"""Clips among a dataset's files: each sample is a video file, a part of one, or a folder of numbered frames."""

__all__ = ["CLIP_EXTENSIONS", "Clip", "ClipTree", "JoinedClips", "same_movement"]

import contextlib
import hashlib
import math
import posixpath
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import UnreadableImageError, UsageError
from eyewright.core.quoting import quoted
from eyewright.data.tree import Encoded, FolderTree, Tree
from eyewright.imaging.clips import StripMaker, contact_sheet, cut_strip, join_strip, read_clip
from eyewright.imaging.decode import ImageInfo
from eyewright.imaging.isolation import Look
from eyewright.imaging.sampling import ClipSampling
from eyewright.imaging.sources.files import VIDEO_EXTENSIONS
from eyewright.imaging.sources.frames import Frame

CLIP_EXTENSIONS = VIDEO_EXTENSIONS
"""What a file that holds a clip is called."""

_CHUNK = 2**20
_WHOLE = ClipSampling()
# Copies that were coded again have a correlation of 0.97 and more, other clips before the same ground up to 0.94.
# Pixels of a mirrored frame fall between those of the small picture.
_SAME, _SAME_MIRRORED, _COLUMNS = 0.95, 0.8, 3


@dataclass(frozen=True)
class Clip:
    """Where a clip lies: a file, or a part of it in seconds from its first frame, or the files of its frames, or a
    picture that holds `strip` frames, one below the other, which were chosen for a model before."""

    file: str
    start_s: float | None = None
    end_s: float | None = None
    frames: tuple[str, ...] = ()
    strip: int = 0

    @property
    def id(self) -> str:
        """Its name in the dataset; a part is written as in Media Fragments URI 1.0, section 4.2.1.

        >>> Clip("a.mp4", 1.0, 2.5).id
        'a.mp4#t=1,2.5'
        """
        if self.start_s is None and self.end_s is None:
            return self.file
        start = "" if self.start_s is None else f"{self.start_s:g}"
        return f"{self.file}#t={start}" + ("" if self.end_s is None else f",{self.end_s:g}")


class ClipTree:
    """A tree in which samples are clips, by their ids; `picture` is the strip of frames that `sampling` chooses."""

    def __init__(self, tree: Tree, clips: Mapping[str, Clip], sampling: ClipSampling) -> None:
        self.root, self.sampling = tree.root, sampling
        self.scanned: Tree = self
        self._tree, self._clips = tree, dict(clips)
        # Of the whole clip, whatever part of it a model sees.
        self._looked_at = _WHOLE

    def with_sampling(self, sampling: ClipSampling) -> "ClipTree":
        """Return the same clips with other frames chosen; a scan of one holds for the other."""
        found = ClipTree(self._tree, self._clips, sampling)
        found.scanned = self.scanned
        return found

    def clip(self, name: str) -> Clip:
        """Return where a sample's clip lies."""
        return self._clips[name]

    def frame(self, name: str) -> Image.Image:
        """Return one numbered frame of a clip that is a folder of them."""
        return self._tree.picture(name)

    def file(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """Return a context in which a file of videos lies on disk, at the path that it gives."""
        return self._on_disk(name)

    def names(self) -> tuple[str, ...]:
        return self._tree.names()

    def content(self, name: str) -> bytes:
        clip = self._clips.get(name)
        if clip is None:
            return self._tree.content(name)
        if clip.frames:
            return b"".join(self._tree.content(f) for f in clip.frames)
        data = self._tree.content(clip.file)
        return data if clip.id == clip.file else data + clip.id.encode("utf-8", "surrogateescape")

    def digest(self, name: str) -> str:
        """Return the SHA-256 of `content`, without holding a long video in memory for each of its parts.

        Raises:
            UnreadableImageError: the file cannot be read.
        """
        clip = self._clips[name]
        if clip.frames or not isinstance(self._tree, FolderTree):
            return hashlib.sha256(self.content(name)).hexdigest()
        found = hashlib.sha256()
        try:
            with (self._tree.root / clip.file).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    found.update(chunk)
        except OSError as error:
            raise UnreadableImageError(
                f"cannot read {quoted(clip.file)}: {error.strerror}", fix="check the file"
            ) from error
        if clip.id != clip.file:
            found.update(clip.id.encode("utf-8", "surrogateescape"))
        return found.hexdigest()

    def picture(self, name: str) -> Image.Image:
        return Image.fromarray(self.strip(name)[0])

    def encoded(self, name: str) -> Encoded | None:
        return None

    def strip(self, name: str) -> tuple[NDArray[np.uint8], ImageInfo]:
        """Return the strip of a clip, uint8 (T * H, W, 3), and what it holds.

        Raises:
            UnreadableImageError: it cannot be read.
        """
        return self._read(name, self.sampling)

    def _read(self, name: str, sampling: ClipSampling) -> tuple[NDArray[np.uint8], ImageInfo]:
        clip = self._clips[name]
        if clip.frames:
            return self._numbered(clip, sampling)
        if clip.strip:
            return self._chosen_before(clip, sampling)
        with self._on_disk(clip.file) as path:
            return read_clip(path, sampling, start_s=clip.start_s, end_s=clip.end_s)

    def look(self, name: str, side: int) -> Look:
        """Return what one clip holds and, small and side by side, what moves in it, uint8 (side, side, 3).

        Clips of a fixed camera show the same room, and are no copies for that.
        """
        try:
            strip, info = self._read(name, self._looked_at)
        except UnreadableImageError as error:
            return Look(None, None, error)
        sheet = contact_sheet(_moving(strip, self._looked_at.frames), self._looked_at.frames)
        small = Image.fromarray(sheet).resize((side, side), Image.Resampling.BOX)
        return Look(info, np.asarray(small))

    def sheet(self, name: str) -> NDArray[np.uint8]:
        """Return some frames as a grid, for people to look at."""
        return contact_sheet(self.strip(name)[0], self.sampling.frames)

    def folders(self) -> tuple[str, ...]:
        return self._tree.folders()

    def _numbered(self, clip: Clip, sampling: ClipSampling) -> tuple[NDArray[np.uint8], ImageInfo]:
        if sampling.span_s is not None:
            raise UsageError(
                f"expected no --span for numbered frames, which have no times, found one for {clip.id!r}",
                fix="leave --span out, or use videos",
            )
        maker = StripMaker(sampling)
        # Without a rate, the number of a frame is all that is known of its time.
        chosen = sampling.chosen(list(range(len(clip.frames))))
        for i in sorted(set(chosen)):
            maker.add(Frame(np.asarray(self._tree.picture(clip.frames[i])), clip.frames[i], i, float(i)))
        return maker.done()

    def _chosen_before(self, clip: Clip, sampling: ClipSampling) -> tuple[NDArray[np.uint8], ImageInfo]:
        strip = np.asarray(self._tree.picture(clip.file))
        if strip.shape[0] % clip.strip:
            raise UnreadableImageError(
                f"{quoted(clip.file)} is not a strip of {clip.strip} frames: its height is {strip.shape[0]}",
                fix="leave it out",
            )
        frames = cut_strip(strip, clip.strip)
        # A span was applied when they were chosen.
        chosen = replace(sampling, span_s=None).chosen(list(range(clip.strip)))
        info = ImageInfo(
            "clip", (frames.shape[1], frames.shape[2]), "RGB", 1, clip.strip, seconds=float(clip.strip - 1)
        )
        return join_strip(frames[chosen]), info

    @contextlib.contextmanager
    def _on_disk(self, name: str) -> Iterator[Path]:
        if isinstance(self._tree, FolderTree):
            yield self._tree.root / name
            return
        # FFmpeg seeks, and reads from files only.
        with tempfile.NamedTemporaryFile(suffix=posixpath.splitext(name)[1]) as file:
            file.write(self._tree.content(name))
            file.flush()
            yield Path(file.name)


class JoinedClips(ClipTree):
    """Clips with others below them, each tree under a prefix; the frames of all are chosen in the same way.

    They are also looked at by these frames: of strips that were kept there are no others, and copies must look similar.
    """

    def __init__(self, first: ClipTree, others: Mapping[str, ClipTree]) -> None:
        super().__init__(first, {}, first.sampling)
        self._looked_at = first.sampling
        self._first, self._others = first, {p: t.with_sampling(first.sampling) for p, t in others.items()}

    def with_sampling(self, sampling: ClipSampling) -> "JoinedClips":
        found = JoinedClips(self._first.with_sampling(sampling), self._others)
        found.scanned, found._looked_at = self.scanned, self._looked_at
        return found

    def clip(self, name: str) -> Clip:
        tree, own, prefix = self._of(name)
        clip = tree.clip(own)
        return replace(clip, file=prefix + clip.file, frames=tuple(prefix + f for f in clip.frames))

    def frame(self, name: str) -> Image.Image:
        tree, own, _ = self._of(name)
        return tree.frame(own)

    def file(self, name: str) -> contextlib.AbstractContextManager[Path]:
        tree, own, _ = self._of(name)
        return tree.file(own)

    def names(self) -> tuple[str, ...]:
        below = [prefix + name for prefix, tree in self._others.items() for name in tree.names()]
        return tuple(sorted([*self._first.names(), *below]))

    def content(self, name: str) -> bytes:
        tree, own, _ = self._of(name)
        return tree.content(own)

    def digest(self, name: str) -> str:
        tree, own, _ = self._of(name)
        return tree.digest(own)

    def _read(self, name: str, sampling: ClipSampling) -> tuple[NDArray[np.uint8], ImageInfo]:
        tree, own, _ = self._of(name)
        return tree.with_sampling(sampling).strip(own)

    def _of(self, name: str) -> tuple[ClipTree, str, str]:
        for prefix, tree in self._others.items():
            if name.startswith(prefix):
                return tree, name[len(prefix) :], prefix
        return self._first, name, ""


def same_movement(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Return whether the same moves in the same places at the same times, as in a clip and its copy.

    Both are grey pictures of `ClipTree.look`, uint8 (side, side). Clips before a plain ground have such pictures nearly
    in common, whatever moves in them. Each frame of the second is compared as it is and mirrored.

    >>> one = np.full((64, 64), 128, np.uint8)
    >>> one[5:9, 5:9] = 255
    >>> same_movement(one, one), same_movement(one, np.roll(one, 8, 1)), same_movement(one, 255 - one)
    (True, False, False)
    """
    side = first.shape[1]
    # The grid has three columns. Each of them is turned round in its own place.
    column = np.arange(side) * _COLUMNS // side
    turned = np.rint((2 * column + 1) * side / _COLUMNS - 1 - np.arange(side)).astype(np.int64)
    # What no frame fills is 0; what does not move is 128 and counts nothing.
    a, b = (np.where(x == 0, 0.0, x.astype(np.float64) - 128) for x in (first, second))
    size = math.sqrt(float((a * a).sum() * (b * b).sum()))
    if size == 0:
        return not a.any() and not b.any()
    same = float((a * b).sum()), float((a * b[:, np.clip(turned, 0, side - 1)]).sum())
    return same[0] >= _SAME * size or same[1] >= _SAME_MIRRORED * size


def _moving(strip: NDArray[np.uint8], frames: int) -> NDArray[np.uint8]:
    """Return a strip of the differences to the clip's mean picture, doubled, around 128."""
    cut = cut_strip(strip, frames).astype(np.float32)
    moved = 128 + 2 * (cut - cut.mean(0))
    shown: NDArray[np.uint8] = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return shown.reshape(strip.shape)
