"""What `eyewright track` writes: files of tracks, a drawn video, a page."""

__all__ = ["Output", "write_report", "write_tracks"]

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.cli.following_files import draws, reports
from eyewright.cli.terminal import plain_stem

if TYPE_CHECKING:
    from eyewright.core.tracks import Tracks
    from eyewright.lifecycle.following import TrackedSequence
    from eyewright.tracking import Recorder, Watch
    from eyewright.tracking.viewer.gathering import Gathering


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
        self._video: Any = None
        self._trails: Any = None
        self.paths: dict[str, Path] = {}
        self._times: list[tuple[int, float]] = []
        self._gathering: Gathering | None = None

    def __enter__(self) -> "Output":
        return self

    def _begin(self) -> None:
        """Open the files, now that there is a frame: a source that cannot be read changes nothing."""
        if self._folder is None or "tracks" in self.paths:
            return
        from eyewright.core.files import checked_output

        with checked_output(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self.paths["tracks"] = self._folder
            if not self._o.offline:
                for kind, ending in (("mot", "txt"), ("csv", "csv")):
                    if kind in self._saved:
                        self._files[kind] = open(self._folder / f"{self._stem}.{ending}", "wb", buffering=0)
        if "csv" in self._files:
            self._write("csv", "frame,time_s,id,label,score,x0,y0,x1,y1\n")
        if draws(self._saved) and not self._o.offline:
            self._open_video()
        if reports(self._saved):
            from eyewright.tracking.viewer.gathering import Gathering

            self._gathering = Gathering(clips=bool(self._watch.lines))

    def __exit__(self, *_: object) -> None:
        if self._gathering is not None:
            self._gathering.close()
        for file in self._files.values():
            file.close()
        if self._video is not None:
            self._video.close()

    def _open_video(self) -> None:
        from eyewright.imaging.trails import Trails
        from eyewright.imaging.webm import WebmWriter

        assert self._folder is not None
        self.paths["video"] = self._folder / f"{self._stem}.webm"
        self._video, self._trails = WebmWriter(self.paths["video"]), Trails()

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
        if self._gathering is not None:
            self._gathering.add(
                item.time_s, item.track_ids, item.boxes_xyxy, item.found.label_ids, labels=item.recorder.labels,
                image=item.prediction.image, crossings=item.crossings,
            )  # fmt: skip
        if self._video is not None:
            self._draw(item.prediction.image, item.boxes_xyxy, item.track_ids, item.labels, item.time_s, item.recorder)

    def _draw(self, image: Any, boxes: Any, ids: Any, labels: Sequence[str], time_s: float, recorder: Any) -> None:
        from eyewright.lifecycle.following import draw_tracks

        drawn = draw_tracks(self._trails, image, boxes, ids, labels, time_s=time_s, recorder=recorder)
        self._video.add(drawn, time_s)

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
        self.paths |= write_tracks(self._o, self._saved, self._name, tracks, fps, n)
        if draws(self._saved) or reports(self._saved):
            self._draw_again(tracks)
        return Recorder.of(tracks, self._watch, end_s=self._times[-1][1]), tracks

    def _draw_again(self, tracks: "Tracks") -> None:
        import numpy as np

        from eyewright.imaging.sources import open_source
        from eyewright.tracking import Recorder

        if draws(self._saved):
            self._open_video()
        recorder = Recorder(tracks.labels, self._watch, keep_rows=False)
        times = dict(self._times)
        # What is left out was noted when the source was read for the first time.
        with open_source(self._o.source, note=lambda _: None) as opened:
            for frame in opened:
                if frame.index + 1 not in times:
                    continue
                number, time_s = frame.index + 1, times[frame.index + 1]
                at = slice(*np.searchsorted(tracks.frames, [number, number + 1]))
                ids, boxes, labels = tracks.ids[at], tracks.boxes_xyxy[at], tracks.label_ids[at]
                crossings = recorder.watch(ids, boxes, labels, time_s=time_s, frame=number)
                if self._gathering is not None:
                    self._gathering.add(
                        time_s, ids, boxes, labels, labels=tracks.labels, image=frame.image, crossings=crossings
                    )
                if self._video is not None:
                    names = [tracks.labels[k] for k in labels.tolist()]
                    self._draw(frame.image, boxes, ids, names, time_s, recorder)

    def report(self, recorder: "Recorder", n_frames: int, fps: float | None) -> None:
        """Write the page, where one was asked for."""
        from eyewright.core.files import write_page
        from eyewright.tracking.viewer.page import render_tracks

        if self._gathering is None or self._folder is None:
            return
        self.paths["report"] = self._folder / f"{self._stem}.html"
        page = render_tracks(
            self._gathering.finish(), recorder, self._watch, title=self._name, n_frames=n_frames, fps=fps
        )
        write_page(self.paths["report"], page)


def _rows_of(item: Any) -> "Tracks":
    import numpy as np

    from eyewright.core.tracks import Tracks

    n = len(item)
    return Tracks(
        np.full(n, item.index + 1), item.track_ids, item.boxes_xyxy, item.found.scores, item.found.label_ids,
        item.recorder.labels, np.full(n, item.time_s),
    )  # fmt: skip
