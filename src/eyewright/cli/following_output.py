"""What `eyewright track` writes: files of tracks, a drawn video, a page."""

__all__ = ["Output", "write_report", "write_tracks"]

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.cli.following_files import draws, keeps_images, reports
from eyewright.cli.following_pictures import Pictures
from eyewright.cli.terminal import plain_stem

if TYPE_CHECKING:
    from eyewright.core.tracks import Tracks
    from eyewright.lifecycle.following import TrackedSequence
    from eyewright.tracking import Recorder, Watch


def write_report(
    o: argparse.Namespace, name: str, sequence: "TrackedSequence", watch: "Watch", *, several: bool
) -> dict[str, Path]:
    """Write the page of a sequence that was tracked without pictures."""
    import numpy as np

    from eyewright.core.files import write_page
    from eyewright.tracking.viewer.gathering import Gathering
    from eyewright.tracking.viewer.page import render_tracks

    tracks, folder = sequence.tracks.ordered(), Path(o.out).resolve()
    with Gathering(clips=False) as gathering:
        numbers, starts = np.unique(tracks.frames, return_index=True)
        times = tracks.times_s if tracks.times_s is not None else (tracks.frames - 1) / sequence.fps
        ends = np.append(starts, len(tracks))[1:]
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True):
            gathering.add(float(times[a]), tracks.ids[a:b], tracks.boxes_xyxy[a:b], tracks.label_ids[a:b])
        none = np.zeros(0, np.int64)
        end_s = max((sequence.n_frames - 1) / sequence.fps, float(times[-1]) if len(numbers) else 0.0)
        gathering.add(end_s, none, np.zeros((0, 4)), none)
        page = render_tracks(
            gathering.finish(), sequence.recorder, watch, title=name, n_frames=sequence.n_frames, fps=sequence.fps
        )
    path = folder / f"{plain_stem(f'{name}.x')}.html"
    write_page(path, page)
    return {"report": folder if several else path}


def write_tracks(
    o: argparse.Namespace, saved: Sequence[str], name: str, tracks: "Tracks", fps: float | None, n_frames: int
) -> dict[str, Path]:
    """Write the tracks of one sequence in every form that was asked for, each file whole or not at all."""
    from eyewright.core.files import write_text
    from eyewright.data.tracks import tracks_to_csv, tracks_to_json, tracks_to_mot

    if o.out is None:
        return {}
    folder, stem = Path(o.out).resolve(), plain_stem(f"{name}.x")
    if "mot" in saved:
        write_text(folder / f"{stem}.txt", tracks_to_mot(tracks))
    if "csv" in saved:
        write_text(folder / f"{stem}.csv", tracks_to_csv(tracks))
    if "json" in saved:
        write_text(folder / f"{stem}.json", tracks_to_json(tracks, name=name, fps=fps, n_frames=n_frames))
    return {"tracks": folder}


class Output:
    """What is written while a source is followed: a frame that is done is in every file, whatever happens next."""

    def __init__(self, o: argparse.Namespace, saved: Sequence[str], name: str, watch: "Watch") -> None:
        self._o, self._saved, self._name, self._watch = o, saved, name, watch
        self._folder = None if o.out is None else Path(o.out).resolve()
        self._stem = plain_stem(f"{name}.x")
        self._files: dict[str, Any] = {}
        self._pictures: Pictures | None = None
        self._paths: dict[str, Path] = {}
        self._times: list[tuple[int, float]] = []

    def __enter__(self) -> "Output":
        return self

    @property
    def paths(self) -> dict[str, Path]:
        """What has been written."""
        return self._paths | ({} if self._pictures is None else self._pictures.paths)

    def _begin(self) -> None:
        """Open the files, now that there is a frame: a source that cannot be read changes nothing."""
        if self._folder is None or "tracks" in self._paths:
            return
        from eyewright.core.files import checked_output

        with checked_output(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._paths["tracks"] = self._folder
            if not self._o.offline:
                for kind, ending in (("mot", "txt"), ("csv", "csv")):
                    if kind in self._saved:
                        self._files[kind] = open(self._folder / f"{self._stem}.{ending}", "wb", buffering=0)
        if "csv" in self._files:
            self._write("csv", "frame,time_s,id,label,score,x0,y0,x1,y1\n")
        if self._shows() and not self._o.offline:
            self._pictures = Pictures(self._folder, self._name, self._saved, self._watch)

    def __exit__(self, *_: object) -> None:
        if self._pictures is not None:
            self._pictures.close()
        for file in self._files.values():
            file.close()

    def _write(self, kind: str, text: str) -> None:
        from eyewright.core.files import checked_output

        assert self._folder is not None
        with checked_output(self._folder):
            self._files[kind].write(text.encode())

    def add(self, item: Any) -> None:
        """Write one frame of `lifecycle.following.track`."""
        from eyewright.data.tracks import tracks_to_csv, tracks_to_mot

        self._begin()
        if self._o.offline:
            self._times.append((item.index + 1, item.time_s))
            return
        if self._files and len(item):
            rows = _rows_of(item)
            if "mot" in self._files:
                self._write("mot", tracks_to_mot(rows))
            if "csv" in self._files:
                self._write("csv", tracks_to_csv(rows).partition("\n")[2])
        if self._pictures is not None:
            self._pictures.add(
                item.prediction.image, item.index + 1, item.time_s, item.track_ids, item.boxes_xyxy,
                item.found.label_ids, item.recorder, item.crossings,
            )  # fmt: skip

    def _shows(self) -> bool:
        return draws(self._saved) or keeps_images(self._saved) or reports(self._saved)

    def offline(self, recorder: "Recorder") -> "tuple[Recorder, Tracks]":
        """Fill gaps over the whole file, count again, write, and draw by reading the source once more.

        Returns the counts over all tracks, and the tracks.
        """
        import numpy as np

        from eyewright.tracking import Recorder, fill_tracks

        n = self._times[-1][0]
        known = np.array(self._times)
        step = float(np.median(np.diff(known[:, 1]))) if len(known) > 1 else 0.0
        tracks = fill_tracks(recorder.tracks(early=True), seconds_per_frame=step, n_frames=n)
        # Only frames that were looked at, where a stride or rate leaves others out.
        tracks = tracks.keep(np.isin(tracks.frames, known[:, 0].astype(np.int64)))
        fps = None if step <= 0 else round(1 / step, 3)
        self._paths |= write_tracks(self._o, self._saved, self._name, tracks, fps, n)
        if self._shows():
            self._draw_again(tracks)
        return Recorder.of(tracks, self._watch, end_s=self._times[-1][1]), tracks

    def _draw_again(self, tracks: "Tracks") -> None:
        from eyewright.imaging.sources import open_source
        from eyewright.tracking import Recorder

        assert self._folder is not None
        self._pictures = Pictures(self._folder, self._name, self._saved, self._watch)
        recorder = Recorder(tracks.labels, self._watch, keep_rows=False)
        times = dict(self._times)
        # What is left out was noted when the source was read for the first time.
        with open_source(self._o.source, pages=True, note=lambda _: None) as opened:
            for frame in opened:
                number = frame.index + 1
                if number in times:
                    self._pictures.add_tracked(frame.image, number, times[number], tracks, recorder)

    def report(self, recorder: "Recorder", n_frames: int, fps: float | None) -> None:
        """Write the page, where one was asked for."""
        if self._pictures is not None:
            self._pictures.report(recorder, n_frames, fps)


def _rows_of(item: Any) -> "Tracks":
    import numpy as np

    from eyewright.core.tracks import Tracks

    n = len(item)
    return Tracks(
        np.full(n, item.index + 1), item.track_ids, item.boxes_xyxy, item.found.scores, item.found.label_ids,
        item.recorder.labels, np.full(n, item.time_s),
    )  # fmt: skip
