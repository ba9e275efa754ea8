"""What predict writes while it predicts: JSON, tables, pictures, a video, annotations, and a folder for review."""

__all__ = ["SAVED", "PredictionFiles", "add_saved", "picture_suffix", "saved_names"]

import argparse
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.cli.following_files import draws
from eyewright.cli.json_lines import LinesFile, join_lines
from eyewright.cli.numbers import Number
from eyewright.cli.prediction_table import PredictionTable
from eyewright.cli.reviewing import ReviewFolder, new_folder
from eyewright.cli.terminal import plain_stem, stream_stem
from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.quoting import quoted

if TYPE_CHECKING:
    from eyewright.core.prediction import Prediction
    from eyewright.core.task import Task

SAVED = ("json", "csv", "images", "video", "coco", "yolo", "crops")
"""What --save takes."""

_FOLDERS = {"coco": "coco", "yolo": "labels", "crops": "crops"}


def add_saved(p: argparse.ArgumentParser) -> None:
    """Add the options that say what predict writes."""
    p.add_argument(
        "--out",
        metavar="DIR",
        help="write predictions.json and annotated images, or an annotated video, to this folder",
    )
    p.add_argument(
        "--save",
        metavar="A,B",
        help=f"of {', '.join(SAVED)} (default json,images; for a video, camera or stream json,video)",
    )
    p.add_argument(
        "--review",
        type=Number(0, 1, whole=False),
        metavar="P",
        help="write predictions with a confidence below P, such as 0.6, to the folder review, lowest first",
    )


def saved_names(o: argparse.Namespace, moving: bool) -> tuple[str, ...]:
    """Return what is to be written, of `SAVED`; `moving` is a source whose frames have times.

    Raises:
        UsageError: something unknown, nothing, no place for it, or a video of what does not move.
    """
    if o.out is None and (o.save is not None or o.review is not None):
        asked = "--save" if o.save is not None else "--review"
        raise UsageError(f"{asked} needs a folder to write to", fix="pass --out DIR")
    if o.save is None:
        if o.out is None:
            return ()
        return ("json",) if o.review is not None else ("json", "video" if moving else "images")
    names = tuple(part.strip().lower() for part in o.save.split(",") if part.strip())
    for name in names:
        if name not in SAVED:
            raise UsageError(f"unknown --save {name!r}", fix=spelling_hint(name, SAVED))
    if not names:
        raise UsageError("expected what to write in --save, found nothing", fix=f"pass some of {', '.join(SAVED)}")
    if draws(names) and not moving:
        raise UsageError(
            f"--save video needs a video, camera or stream, found {quoted(o.source)}", fix="pass --save images"
        )
    return names


class PredictionFiles:
    """What is written while images are predicted: an image or frame that is done is on disk, and with `keep` in `rows`.

    Raises:
        UsageError: the task does not support it (`Task.require`).
        OutputError: a folder of it is not empty: its files would mix with the new ones.
    """

    def __init__(
        self,
        o: argparse.Namespace,
        given: Sequence[str],
        saved: tuple[str, ...],
        task: "Task",
        labels: Sequence[str],
        *,
        keep: bool,
    ) -> None:
        self._saved, self._keep, self._labels = saved, keep, labels
        self._folder = None if o.out is None else Path(o.out).resolve()
        self._stem, self._root = stream_stem(given[0]), _root_of(given)
        self._open: dict[str, LinesFile] = {}
        self._table = PredictionTable()
        self._video: Any = None
        self._named: set[str] = set()
        self._review: ReviewFolder | None = None
        self.lost: Counter[str] = Counter()
        self.paths: dict[str, Path] = {}
        self.rows: list[dict[str, Any]] = []
        if self._folder is not None and draws(saved):
            from eyewright.core.files import refuse_overwriting
            from eyewright.imaging.given import given_source

            refuse_overwriting([self._folder / f"{self._stem}.webm"], [Path(given_source(given[0]))])
        for name in (n for n in saved if n in _FOLDERS):
            task.require(name)
            assert self._folder is not None
            self.paths[name] = new_folder(self._folder / _FOLDERS[name])
        if o.review is not None:
            task.require("review")
            assert self._folder is not None
            self._review = ReviewFolder(self._folder / "review", o.review)
            self.paths["review"] = self._review.folder
        if "crops" in saved:
            from eyewright.data.writers.class_folders import folder_names

            self._crop_folders = folder_names(labels)

    @property
    def review(self) -> dict[str, Any] | None:
        """How many predictions are in the folder for review, and how many have no confidence; None without one."""
        return None if self._review is None else self._review.to_json()

    def said(self) -> list[str]:
        """Return lines for a person: where everything was written, and what could not be."""
        from eyewright.cli.terminal import shown_path

        lines = [f"wrote    {shown_path(path)}" for path in self.paths.values()]
        if self._review is not None:
            lines.append(self._review.line())
        return [*lines, *(f"lost     {reason} ({n:,})" for reason, n in self.lost.items())]

    def __enter__(self) -> "PredictionFiles":
        return self

    def __exit__(self, *_: object) -> None:
        if self._video is not None:
            self._video.close()
        for file in self._open.values():
            file.close()
        if self._folder is None:
            return
        if self._review is not None:
            self._review.close()
        if "predictions.jsonl" in self._open:
            self.paths["predictions"] = join_lines(self._open["predictions.jsonl"].path)
        if "coco" in self._saved:
            self._write_coco(self.paths["coco"])
        if "yolo" in self._saved:
            from eyewright.data.writers.boxes import yolo_head

            self._write(self.paths["yolo"] / "data.yaml", "\n".join(yolo_head(self._labels)) + "\n")

    def add(self, row: Mapping[str, Any], prediction: "Prediction", item: Any, time_s: float | None) -> None:
        """Write one image or frame."""
        from eyewright.core.jsonable import dumps_json

        if self._keep:
            self.rows.append(dict(row))
        if self._folder is None:
            return
        if "json" in self._saved:
            self._append("predictions.jsonl", dumps_json(row) + "\n")
        if "csv" in self._saved:
            self.paths["table"] = self._folder / "predictions.csv"
            self._append("predictions.csv", self._table.lines(row))
        stem = f"{prediction.index:05d}-{plain_stem(item)}"
        if "images" in self._saved:
            prediction.save(self._folder / f"{stem}{picture_suffix(item)}")
            self.paths["images"] = self._folder
        if draws(self._saved):
            if self._video is None:
                from eyewright.imaging.webm import WebmWriter

                self.paths["video"] = self._folder / f"{self._stem}.webm"
                self._video = WebmWriter(self.paths["video"])
            from eyewright.tasks.drawn import video_frame

            self._video.add(video_frame(prediction), time_s or 0.0)
        self._annotate(prediction, item, stem)
        if self._review is not None:
            self._review.take(prediction, stem, picture_suffix(item), prediction.save)

    def _annotate(self, prediction: Any, item: Any, stem: str) -> None:
        """Write one image in the formats of other tools."""
        from eyewright.core.jsonable import dumps_json
        from eyewright.tasks.annotated import coco_image, crops, yolo_lines

        if "coco" in self._saved:
            line = dumps_json(coco_image(prediction, self._name(item)))
            self._append("coco/images.jsonl", line + "\n")
        if "yolo" in self._saved:
            text = yolo_lines(prediction, lost=self._lose)
            self._write(self.paths["yolo"] / f"{self._free(os.path.splitext(self._name(item))[0])}.txt", text)
        if "crops" in self._saved:
            from eyewright.imaging.encode import write_image

            for k, (label, cut) in enumerate(crops(prediction, prediction.image)):
                write_image(self.paths["crops"] / self._crop_folders[label] / f"{stem}_{k:03d}.png", cut, quick=True)

    def _name(self, item: Any) -> str:
        """Return how an image is called from the folder that was given, or a frame from its video."""
        if not isinstance(item, Path):
            return "stdin" if item == "-" else f"{self._stem}/{item}"
        return Path(os.path.relpath(item.absolute(), self._root)).as_posix()

    def _free(self, name: str) -> str:
        """Return a name that no other label file has: YOLO knows images by theirs without the extension."""
        free, k = name, 2
        while free in self._named:
            free, k = f"{name}_{k}", k + 1
        if free != name:
            self._lose("images that differ in their extension alone: their label files are numbered")
        self._named.add(free)
        return free

    def _lose(self, reason: str) -> None:
        self.lost[reason] += 1

    def _write(self, path: Path, text: str) -> None:
        from eyewright.core.files import write_text

        write_text(path, text)

    def _append(self, name: str, lines: str) -> None:
        """Write whole lines at the end of a file of `--out`, which is opened at the first."""
        assert self._folder is not None
        if name not in self._open:
            self._open[name] = LinesFile(self._folder / name)
        self._open[name].add(lines)

    def _write_coco(self, folder: Path) -> None:
        from eyewright.core.files import write_parts
        from eyewright.tasks.annotated import coco_parts, coco_results

        lines = folder / "images.jsonl"

        def images() -> Iterator[dict[str, Any]]:
            with (
                contextlib.suppress(FileNotFoundError),
                open(lines, encoding="utf-8", errors="surrogateescape") as file,
            ):
                for line in file:
                    yield json.loads(line)

        write_parts(folder / "annotations.json", _encoded(coco_parts(images, self._labels)))
        write_parts(folder / "results.json", _encoded(coco_results(images)))
        lines.unlink(missing_ok=True)


def picture_suffix(item: Any) -> str:
    """Return the extension of the annotated image of a file: ".jpg" for a photograph, which as PNG takes ten times as
    long and five times the space; ".png" for a lossless file, and for what has no name."""
    from eyewright.core.errors import EyewrightError
    from eyewright.core.regular import open_regular
    from eyewright.imaging.headers import is_lossy

    if not isinstance(item, Path):
        return ".png"
    try:
        with open_regular(item, most=sys.maxsize, follow=True) as file:
            return ".jpg" if is_lossy(file.read(1024)) else ".png"
    except (OSError, EyewrightError):
        # Whoever draws it has read it, or says why not.
        return ".png"


def _encoded(parts: Iterable[str]) -> Iterator[bytes]:
    return (part.encode("utf-8", "surrogateescape") for part in parts)


def _root_of(given: Sequence[str]) -> Path:
    """Return the folder that images are named from: the given one, or that of a file or of what a glob begins with; of
    several, the folder that holds them all."""
    if len(given) > 1:
        return Path(os.path.commonpath([_root_of([one]) for one in given]))
    place = Path(given[0]).absolute()
    if place.is_dir():
        return place
    parts = [p for p in (place, *place.parents) if not any(c in str(p) for c in "*?[")]
    return parts[0].parent if parts[0] == place else parts[0]
