"""What `eyewright track` writes: files of tracks, a drawn video, a page."""

__all__ = ["Output", "RowFiles", "write_report", "write_tracks"]

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.cli.following_files import draws, keeps_images, reports
from eyewright.cli.following_pictures import Pictures
from eyewright.cli.terminal import plain_stem
from eyewright.core.files import checked_output

if TYPE_CHECKING:
    from eyewright.core.tracks import Tracks
    from eyewright.lifecycle.following import TrackedSequence
    from eyewright.tracking import Recorder, Watch

_TEXTS = {"mot": "txt", "csv": "csv", "json": "json"}


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


class RowFiles:
    """The rows of tracks while a source is followed: those of a frame are on disk when `add` returns.

    JSON and the page are whole at the end only. Until then their rows are in `NAME.unfinished.csv`, so that a process
    that is killed leaves them.

    Raises:
        OutputError: a file cannot be written.
    """

    def __init__(self, folder: Path, stem: str, saved: Collection[str]) -> None:
        self._folder, self._stem, self._saved = folder, stem, saved
        self._files: dict[str, Any] = {}
        self.unfinished: Path | None = None
        try:
            with checked_output(folder):
                self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for kind in ("mot", "csv"):
            if kind in self._saved:
                self._files[kind] = open(self._path(kind), "wb", buffering=0)
        if "csv" not in self._saved and not {"json", "report"}.isdisjoint(self._saved):
            self.unfinished = self._folder / f"{self._stem}.unfinished.csv"
            self._files["csv"] = open(self.unfinished, "wb", buffering=0)
        if "csv" in self._files:
            self._files["csv"].write(b"frame,time_s,id,label,score,x0,y0,x1,y1\n")

    def _path(self, kind: str) -> Path:
        return self._folder / f"{self._stem}.{_TEXTS[kind]}"

    @property
    def csv(self) -> Path:
        """The CSV of the rows so far."""
        return self.unfinished or self._path("csv")

    def add(self, rows: "Tracks") -> None:
        """Write the rows of one frame, each file in one go."""
        from eyewright.data.tracks import tracks_to_csv, tracks_to_mot

        if not len(rows):
            return
        with checked_output(self._folder):
            if "mot" in self._files:
                self._files["mot"].write(tracks_to_mot(rows).encode())
            if "csv" in self._files:
                self._files["csv"].write(tracks_to_csv(rows).partition("\n")[2].encode())

    def close(self) -> None:
        """Close the files, which stay."""
        for file in self._files.values():
            file.close()

    def finish(self) -> None:
        """Remove what was written for a process that is killed: the files that were asked for are whole."""
        if self.unfinished is not None:
            self.unfinished.unlink(missing_ok=True)
            self.unfinished = None

    def paths(self) -> list[Path]:
        """Return the files of rows that are there."""
        asked = [self._path(kind) for kind in _TEXTS if kind in self._saved]
        return [p for p in (*asked, *filter(None, [self.unfinished])) if p.exists()]


class Output:
    """What is written while a source is followed: a frame that is done is in every file, whatever happens next."""

    def __init__(self, o: argparse.Namespace, saved: Sequence[str], name: str, watch: "Watch") -> None:
        self._o, self._saved, self._name, self._watch = o, saved, name, watch
        self._folder = None if o.out is None else Path(o.out).resolve()
        self._stem = plain_stem(f"{name}.x")
        self._rows: RowFiles | None = None
        self._pictures: Pictures | None = None
        self._paths: dict[str, Path] = {}
        self._times: list[tuple[int, float]] = []

    def __enter__(self) -> "Output":
        return self

    @property
    def paths(self) -> dict[str, Path]:
        """What has been written."""
        return self._paths | ({} if self._pictures is None else self._pictures.paths)

    def files(self) -> list[Path]:
        """Return every file and folder that has been written."""
        rows = [] if self._rows is None else self._rows.paths()
        pictures = [] if self._pictures is None else [p for p in self._pictures.paths.values() if p.exists()]
        return [*rows, *pictures]

    def _begin(self) -> None:
        """Open the files, now that there is a frame: a source that cannot be read changes nothing."""
        if self._folder is None or "tracks" in self._paths:
            return
        # Offline, too, what is known so far is on disk until the whole is known.
        self._rows = RowFiles(self._folder, self._stem, self._saved)
        self._paths["tracks"] = self._folder
        if self._shows() and not self._o.offline:
            self._pictures = Pictures(self._folder, self._name, self._saved, self._watch)

    def __exit__(self, *_: object) -> None:
        if self._pictures is not None:
            self._pictures.close()
        if self._rows is not None:
            self._rows.close()

    def add(self, item: Any) -> None:
        """Write one frame of `lifecycle.following.track`."""
        self._begin()
        if self._o.offline:
            self._times.append((item.index + 1, item.time_s))
        if self._rows is not None and len(item):
            self._rows.add(_rows_of(item))
        if self._pictures is not None:
            self._pictures.add(
                item.prediction.image, item.index + 1, item.time_s, item.track_ids, item.boxes_xyxy,
                item.found.label_ids, item.recorder, item.crossings,
            )  # fmt: skip

    def _shows(self) -> bool:
        return draws(self._saved) or keeps_images(self._saved) or reports(self._saved)

    def online(self, recorder: "Recorder", fps: float | None, *, live: bool) -> "Tracks":
        """Complete the files that are whole at the end only, and return the tracks.

        While a source was followed a track's class was that of the moment; the files now have the last one. Of a
        `live` source nothing is held in memory, and the file that was written is read.
        """
        from eyewright.data.tracks import read_tracks

        if self._rows is None:
            return recorder.tracks()
        self._rows.close()
        if not live:
            tracks, ended = recorder.tracks(), tuple(k for k in ("json", "csv") if k in self._saved)
        elif "json" in self._saved:
            tracks, ended = read_tracks(self._rows.csv, "tracks").tracks, ("json",)
        else:
            tracks, ended = recorder.tracks(), ()
        if ended:
            self._paths |= write_tracks(self._o, ended, self._name, tracks, fps, int(tracks.n_frames))
        return tracks

    def offline(self, recorder: "Recorder", *, draw: bool = True) -> "tuple[Recorder, Tracks]":
        """Fill gaps over the whole file, count again, write, and with `draw` read the source once more to draw.

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
        if self._rows is not None:
            self._rows.close()
        self._paths |= write_tracks(self._o, self._saved, self._name, tracks, fps, n)
        if draw and self._shows():
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
        """Write the page, where one was asked for; then everything is whole."""
        if self._pictures is not None:
            self._pictures.report(recorder, n_frames, fps)
        if self._rows is not None:
            self._rows.finish()


def _rows_of(item: Any) -> "Tracks":
    import numpy as np

    from eyewright.core.tracks import Tracks

    n = len(item)
    return Tracks(
        np.full(n, item.index + 1), item.track_ids, item.boxes_xyxy, item.found.scores, item.found.label_ids,
        item.recorder.labels, np.full(n, item.time_s),
    )  # fmt: skip
