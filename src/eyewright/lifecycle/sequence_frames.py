"""The pictures of a sequence whose boxes came from elsewhere: which frame of a video or folder a row belongs to."""

__all__ = ["SequenceFrames", "frames_of"]

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from eyewright.core.errors import InputError
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.data.tracks import Sequence as TrackSequence
from eyewright.imaging.decode import read_frames
from eyewright.imaging.headers import FORMATS, Limits
from eyewright.imaging.sources import Frame, is_moving, is_stream, open_source

_IMAGES = frozenset(e for endings in FORMATS.values() for e in endings)


class SequenceFrames:
    """Frames by number, from 1, of a video file, an animation or a folder of images.

    Frames of a video are numbered in their order. Images are numbered by the numbers at the end of their names, from 1
    where the first is 0; where names have none, or one twice, in their order.

    Raises:
        InputError: nothing is there, or the first frame cannot be read.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)
        self._numbers: dict[str, int] = {}
        self.is_video = is_moving(self.source)
        if not self.is_video:
            self._numbers = _numbered([p for p in sorted(Path(source).iterdir()) if _is_image(p)])
        first = next(iter(self._frames(lambda _: None)), None)
        if first is None:
            raise InputError(f"{quoted(self.source)} has no frame that can be read", fix="check it", code="no_frames")
        self.size_hw = first.image.shape[0], first.image.shape[1]

    def times_s(self) -> list[float]:
        """Return when each frame of a video is shown; nothing for a folder, whose images have no times."""
        if not self.is_video:
            return []
        if not is_stream(self.source):
            return [time_s or 0.0 for _, time_s in read_frames(Path(self.source))]
        from eyewright.imaging.sources.video import VideoFile

        video = VideoFile(Path(self.source), limits=Limits())
        try:
            return [time_s for _, time_s in video.moments()]
        finally:
            video.close()

    def numbered(self, note: Callable[[Finding], None] | None = None) -> Iterator[tuple[int, Frame]]:
        """Yield frames with their numbers; `note` takes what `open_source` leaves out."""
        for frame in self._frames(note):
            yield (frame.index + 1 if self.is_video else self._numbers[Path(frame.origin).name]), frame

    def _frames(self, note: Callable[[Finding], None] | None) -> Iterator[Frame]:
        with open_source(self.source, pages=self.is_video, note=note) as opened:
            yield from opened


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _IMAGES and path.is_file()


def _numbered(files: Sequence[Path]) -> dict[str, int]:
    ends = [re.search(r"(\d{1,8})$", p.stem) for p in files]
    numbers = [int(m[1]) for m in ends if m is not None]
    if len(set(numbers)) < len(files):
        return {p.name: k for k, p in enumerate(files, 1)}
    first = int(min(numbers, default=1) == 0)
    return {p.name: n + first for p, n in zip(files, numbers, strict=True)}


def frames_of(sequence: TrackSequence, given: str | None, *, alone: bool) -> SequenceFrames | None:
    """Return the frames of a sequence: of `given`, a video or folder, else of its own folder; None without any.

    `given` is a sequence's video or images (`alone`), or holds for each a folder or video of its name. Images may lie
    in `img1`, as MOTChallenge has them.

    Raises:
        InputError: `given` is not there, or has nothing of the sequence's name.
    """
    if given is None:
        home = sequence.path.parent.parent if sequence.path.is_file() else sequence.path
        own = home / "img1"
        return SequenceFrames(own) if own.is_dir() and any(map(_is_image, own.iterdir())) else None
    place = Path(given)
    if alone and is_moving(given):
        return SequenceFrames(given)
    if not place.is_dir():
        expected = "a video or a folder of images" if alone else "a folder with the frames of each sequence"
        raise InputError(
            f"expected {expected} as --frames, found {'a file' if place.exists() else 'nothing'} at {quoted(given)}",
            fix="check the path",
            code="no_frames",
        )
    folders = [place / sequence.name / "img1", place / sequence.name]
    if alone:
        folders += [place / "img1", place]
    for folder in folders:
        if folder.is_dir() and any(map(_is_image, folder.iterdir())):
            return SequenceFrames(folder)
    videos = [p for p in sorted(place.iterdir()) if p.stem == sequence.name and p.is_file() and is_moving(p)]
    if videos:
        return SequenceFrames(videos[0])
    raise InputError(
        f"expected the frames of {sequence.name!r} in {quoted(given)}, found none",
        fix=f"name the folder or video {sequence.name}, or pass it as --frames",
        code="no_frames",
    )
