"""Tracks drawn over their frames: a video, an image a frame, and the page that plays them."""

__all__ = ["Pictures", "draw_sequence"]

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.cli.following_files import draws, keeps_images, reports
from eyewright.cli.terminal import plain_stem

if TYPE_CHECKING:
    from collections.abc import Callable

    from eyewright.core.report import Finding
    from eyewright.core.tracks import Tracks
    from eyewright.lifecycle.following import TrackedSequence
    from eyewright.lifecycle.sequence_frames import SequenceFrames
    from eyewright.tracking import Recorder, Watch


class Pictures:
    """What is drawn of one sequence; a frame is in the video, or an image, when `add` returns.

    Raises:
        OutputError: a file cannot be written, or the folder of images is not empty.
    """

    def __init__(self, folder: Path, name: str, saved: Collection[str], watch: "Watch") -> None:
        self._name, self._watch, self._stem = name, watch, plain_stem(f"{name}.x")
        self._folder, self.paths = folder, dict[str, Path]()
        self._drawn: Any = None
        self._video: Any = None
        self._gathering: Any = None
        self._images: Path | None = None
        if draws(saved):
            from eyewright.imaging.webm import WebmWriter

            self.paths["video"] = folder / f"{self._stem}.webm"
            self._video = WebmWriter(self.paths["video"])
        if keeps_images(saved):
            from eyewright.cli.reviewing import new_folder

            self._images = new_folder(folder / f"{self._stem}-images")
            self.paths["images"] = self._images
        if draws(saved) or keeps_images(saved):
            from eyewright.imaging.trails import Trails

            self._drawn = Trails()
        if reports(saved):
            from eyewright.tracking.viewer.gathering import Gathering

            self._gathering = Gathering(clips=bool(watch.lines))

    def add(
        self, image: Any, number: int, time_s: float, ids: Any, boxes_xyxy: Any, label_ids: Any, recorder: "Recorder",
        crossings: Sequence[Any],
    ) -> None:  # fmt: skip
        """Draw one frame, the `number`-th of its source."""
        if self._gathering is not None:
            self._gathering.add(
                time_s, ids, boxes_xyxy, label_ids, labels=recorder.labels, image=image, crossings=crossings
            )
        if self._drawn is None:
            return
        from eyewright.lifecycle.following import draw_tracks

        names = [recorder.labels[k] for k in label_ids.tolist()]
        drawn = draw_tracks(self._drawn, image, boxes_xyxy, ids, names, time_s=time_s, recorder=recorder)
        if self._video is not None:
            self._video.add(drawn, time_s)
        if self._images is not None:
            from eyewright.imaging.encode import write_image

            write_image(self._images / f"{number:06d}.jpg", drawn, quick=True)

    def add_tracked(self, image: Any, number: int, time_s: float, tracks: "Tracks", recorder: "Recorder") -> None:
        """Draw one frame of tracks that are known, sorted by frame; `recorder` counts them."""
        import numpy as np

        at = slice(*np.searchsorted(tracks.frames, [number, number + 1]))
        ids, boxes, labels = tracks.ids[at], tracks.boxes_xyxy[at], tracks.label_ids[at]
        crossings = recorder.watch(ids, boxes, labels, time_s=time_s, frame=number)
        self.add(image, number, time_s, ids, boxes, labels, recorder, crossings)

    def report(self, recorder: "Recorder", n_frames: int, fps: float | None) -> None:
        """Write the page, where one was asked for."""
        from eyewright.core.files import write_page
        from eyewright.tracking.viewer.page import render_tracks

        if self._gathering is None:
            return
        self.paths["report"] = self._folder / f"{self._stem}.html"
        page = render_tracks(
            self._gathering.finish(), recorder, self._watch, title=self._name, n_frames=n_frames, fps=fps
        )
        write_page(self.paths["report"], page)

    def close(self) -> None:
        """Complete the video, and let the memory of the page go."""
        if self._gathering is not None:
            self._gathering.close()
        if self._video is not None:
            self._video.close()


def draw_sequence(
    o: argparse.Namespace,
    saved: Sequence[str],
    sequence: "TrackedSequence",
    frames: "SequenceFrames",
    watch: "Watch",
    note: "Callable[[Finding], None]",
) -> dict[str, Path]:
    """Draw the tracks of a file over their frames; `note` takes what has no picture."""
    import numpy as np

    from eyewright.core.report import Finding
    from eyewright.tracking import Recorder

    tracks = sequence.tracks.ordered()
    numbers, first = np.unique(tracks.frames, return_index=True)
    times = None if tracks.times_s is None else dict(zip(numbers.tolist(), tracks.times_s[first].tolist(), strict=True))
    pictures = Pictures(Path(o.out).resolve(), sequence.name, saved, watch)
    recorder = Recorder(tracks.labels, watch, keep_rows=False)
    seen, last_s = [], 0.0
    try:
        for number, frame in frames.numbered(note):
            time_s = frame.time_s if frame.time_s is not None and o.fps is None else None
            if time_s is None:
                time_s = (times or {}).get(number, (number - 1) / sequence.fps)
            last_s = max(last_s, time_s)
            pictures.add_tracked(frame.image, number, last_s, tracks, recorder)
            seen.append(number)
        pictures.report(sequence.recorder, max(sequence.n_frames, len(seen)), sequence.fps)
    finally:
        pictures.close()
    missing = np.isin(tracks.frames, seen, invert=True)
    if missing.any():
        n = len(np.unique(tracks.frames[missing]))
        text = f"{n:,} frame{'s' * (n != 1)} with tracks have no picture: {len(seen):,} frames in {frames.source}"
        note(Finding("no_picture", text, "check --frames and the numbers of frames", sequence.name))
    return pictures.paths
