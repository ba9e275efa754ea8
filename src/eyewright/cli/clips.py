"""The verb predict for models of clips: whole clips, or windows of a long video and a live stream."""

__all__ = ["add_windows", "predict_clips"]

import argparse
import csv
import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from eyewright.cli.ending import ended_with, ended_words
from eyewright.cli.given import one_source
from eyewright.cli.json_lines import LinesFile, join_lines
from eyewright.cli.numbers import Checked, Number
from eyewright.cli.reviewing import ReviewFolder
from eyewright.cli.reviewing_windows import UncertainTimes
from eyewright.cli.scaling import ON_HELP
from eyewright.cli.terminal import Result, finding, noting, plain_stem, printable, stream_stem, warn
from eyewright.core.errors import InputError, UnreadableImageError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.scaling.engines import ENGINES, check_engine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eyewright.imaging.sampling import ClipSampling
    from eyewright.tasks.over_time import OverTime
    from eyewright.tasks.segments import Windowed

# A last frame is shown for a moment that its time does not tell.
_LATE_S = 0.2
_COLUMNS = ("start_s", "end_s", "label", "score")
_USUAL = MappingProxyType({"hop": 0.5, "on": 0.6, "off": 0.4})


def add_windows(p: argparse.ArgumentParser) -> None:
    """Add the options for windows of time."""
    p.add_argument(
        "--window",
        type=Number(0.05, 3600, whole=False),
        metavar="S",
        help="video models: predict windows of S seconds of a long video or a live stream, and join them to segments",
    )
    for name, least, most, what in (
        ("hop", 0.01, 3600, "seconds from one window to the next"),
        ("on", 0, 1, "confidence at which a segment begins"),
        ("off", 0, 1, "confidence below which a segment ends"),
    ):
        # Jobs of shards have the same option, with the name of an engine.
        engine = name == "on"
        number = Number(least, most, whole=False)
        p.add_argument(
            f"--{name}",
            type=_NumberOrEngine(number) if engine else number,
            metavar={"hop": "S", "on": "P|ENGINE", "off": "P"}[name],
            help=f"with --window: {what} (default {_USUAL[name]})" + (f"; or {ON_HELP}" if engine else ""),
        )


class _NumberOrEngine:
    """A number, or the name of an engine; something like neither is refused as a number."""

    def __init__(self, number: Number) -> None:
        self._number = number

    def __call__(self, text: str) -> int | float | str:
        if text[:1].isalpha() or ":" in text:
            return Checked(check_engine)(text)
        try:
            return self._number(text)
        except argparse.ArgumentTypeError as error:
            said, _, found = str(error).rpartition(", found ")
            engines = f"{', '.join(ENGINES[:-1])} or {ENGINES[-1]}"
            raise argparse.ArgumentTypeError(f"{said} with --window, or for a job {engines}, found {found}") from None


def predict_clips(o: argparse.Namespace, given: list[str], bundle: Any, sampling: "ClipSampling") -> Result:
    """Predict whole clips; with `--window`, tell what happens from when to when."""
    from eyewright.core.task import task_of
    from eyewright.imaging.sources import is_endless

    endless = any(map(is_endless, given))
    if endless:
        one_source(given, "for a camera or stream")

    for name in ("iou", "tile", "classes"):
        if getattr(o, name) is not None:
            task_of(bundle.task_name).require(name)
    findings: list[dict[str, Any]] = []
    window = o.window
    if window is None and sampling.span_s is not None and endless:
        # A model of so many seconds needs no other window.
        window = sampling.span_s
    if window is None:
        if endless:
            raise UsageError(
                f"{given[0]!r} has no end, and is predicted in windows of time", fix="pass --window 2 --hop 0.5"
            )
        refuse_window_options(o)
        _refuse_frame_options(o)
    _fill_in(o)
    output = _Output(o, windows=window is not None)
    try:
        with output:
            segments = _watch(o, given, bundle, window, output, findings) if window is not None else None
            if segments is None:
                _each(o, given, bundle, sampling, output, findings)
    except (KeyboardInterrupt, SystemExit) as error:
        code = ended_with(error)
        if code is None:
            raise
        details = {"out": output.paths, "predictions": output.rows, "segments": output.segments or None}
        raise ended_words(
            code, output.n, "clip" if window is None else "window", output.paths.values(), live=endless,
            asked=o.out is not None, details=details,
        ) from None  # fmt: skip
    if not output.n:
        raise UnreadableImageError("none of the clips can be read", fix="see the lines above")
    return {
        "task": bundle.task_name,
        "out": output.paths,
        "predictions": output.rows,
        **({} if output.review is None else {"review": output.review.to_json(), "text": [output.review.line()]}),
        **({} if segments is None else {"segments": segments}),
        "findings": findings,
        "exit": int(any(f.get("severity") != "note" for f in findings)),
    }


def refuse_window_options(o: argparse.Namespace) -> None:
    """Refuse the options of windows, which say nothing without one.

    Raises:
        UsageError: one of them was given.
    """
    for name in _USUAL:
        if getattr(o, name) is not None:
            raise UsageError(
                f"expected --window with --{name}, found --{name} alone", fix=f"pass --window, or leave --{name} out"
            )


def _refuse_frame_options(o: argparse.Namespace) -> None:
    """Refuse what chooses frames of a stream: those of a whole clip are chosen by the rule in the bundle."""
    given = {"stride": o.stride != 1, "max-frames": o.max_frames is not None, "latest": o.latest}
    name = next((name for name, set_ in given.items() if set_), None)
    if name is not None:
        raise UsageError(
            f"expected --window with --{name}, found --{name} alone: frames of whole clips are chosen by time",
            fix=f"pass --window, or leave --{name} out",
        )


def _fill_in(o: argparse.Namespace) -> None:
    for name, usual in _USUAL.items():
        if getattr(o, name) is None:
            setattr(o, name, usual)


class _Output:
    """What is written while clips are predicted: each prediction and each segment is on disk when it is made, and of a
    stream without an end predictions are held for `--json` only."""

    def __init__(self, o: argparse.Namespace, *, windows: bool) -> None:
        folder = Path() if o.out is None else Path(o.out).resolve()
        self._writes, self._keeps = o.out is not None, bool(o.json)
        self._lines, self._table = LinesFile(folder / "predictions.jsonl"), LinesFile(folder / "segments.csv")
        self.rows: list[dict[str, Any]] = []
        self.segments: list[Mapping[str, Any]] = []
        self.paths: dict[str, Path] = {}
        self.n = 0
        self.review: ReviewFolder | None = None
        if o.review is not None:
            times = ("start_s", "end_s") if windows else ("time_s",)
            self.review = ReviewFolder(folder / "review", o.review, column="clip", times=times)
            self.paths["review"] = self.review.folder

    def __enter__(self) -> "_Output":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._table.close()
        if self.review is not None:
            self.review.close()
        if self._lines.begun:
            self.paths["predictions"] = join_lines(self._lines.path)

    def add(self, row: dict[str, Any]) -> None:
        """Take the prediction of a clip or window."""
        from eyewright.core.jsonable import dumps_json

        self.n += 1
        if self._keeps:
            self.rows.append(row)
        if self._writes:
            self._lines.add(dumps_json(row) + "\n")

    def add_segment(self, segment: Mapping[str, Any]) -> None:
        """Take a segment that has ended; before the first, the columns."""
        if self._keeps:
            self.segments.append(segment)
        if not self._writes:
            return
        columns = [k for k in ("source", *_COLUMNS) if k in segment]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        if not self._table.begun:
            writer.writeheader()
        writer.writerow(segment)
        self._table.add(text.getvalue())
        self.paths["segments"] = self._table.path

    def draw(self, found: "OverTime | None", stem: str) -> None:
        """Write a picture of the probabilities over time; of several videos, one each."""
        from eyewright.core.files import write_text

        if found is None or not self._writes:
            return
        path = self._lines.path.parent / f"{stem}{'-' if stem else ''}over-time.svg"
        write_text(path, found.to_svg())
        self.paths[f"over_time {stem}".strip()] = path

    def no_segments(self) -> None:
        """Write a table without rows, where nothing happened."""
        if self._writes and not self._table.begun:
            self._table.add(",".join(_COLUMNS) + "\n")
            self.paths["segments"] = self._table.path


def _shown_of(o: argparse.Namespace) -> dict[str, Any]:
    return {} if o.top is None else {"top": o.top}


def _say(o: argparse.Namespace, text: str) -> None:
    if not (o.json or o.quiet):
        print(printable(text), flush=True)


def _watch(
    o: argparse.Namespace,
    given: list[str],
    bundle: Any,
    window_s: float,
    output: _Output,
    findings: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Predict windows of one source, or of every video of several; their segments then name their file."""
    from eyewright.imaging.given import given_source
    from eyewright.imaging.sources import is_endless

    if len(given) == 1 and (is_endless(given[0]) or Path(given_source(given[0])).is_file()):
        segments = _watch_one(o, bundle, given[0], {}, window_s, output, findings)
        output.no_segments()
        return segments
    segments = []
    paths = _listed(given, findings)
    for index, path in enumerate(paths):
        _say(o, f"{path}:")
        try:
            named = {"source": str(path.resolve())}
            stem = f"{index:05d}-{plain_stem(path)}"
            if path.is_dir():
                raise InputError(
                    f"expected a video, found numbered images, which have no times, at {quoted(path)}",
                    fix="leave --window out, or pass a video",
                    code="no_times",
                )
            segments += _watch_one(o, bundle, str(path), named, window_s, output, findings, stem)
        except InputError as error:
            if len(paths) == 1:
                raise
            findings.append({"code": error.code, "path": str(path), "message": error.message, "fix": error.fix})
            warn(f"left out: {error}")
    output.no_segments()
    return segments


def _watch_one(
    o: argparse.Namespace,
    bundle: Any,
    source: str,
    named: Mapping[str, str],
    window_s: float,
    output: _Output,
    findings: list[dict[str, Any]],
    stem: str = "",
) -> list[dict[str, Any]]:
    from eyewright.bundle.clips import predict_windows
    from eyewright.imaging.sources import open_source
    from eyewright.tasks.over_time import OverTimeMaker
    from eyewright.tasks.segments import Segment, SegmentJoiner

    segments: list[dict[str, Any]] = []

    def note(segment: Segment) -> None:
        segments.append({**named, **segment.to_json()})
        output.add_segment(segments[-1])
        _say(o, segment.line())

    joiner, over_time = SegmentJoiner(on=o.on, off=o.off), OverTimeMaker()
    uncertain: UncertainTimes | None = None
    if output.review is not None:
        named_by = f"{stem or stream_stem(source)}-"
        uncertain = UncertainTimes(output.review, window_s=window_s, hop_s=o.hop, stem=named_by)
    highest = last_s = 0.0
    n = 0
    try:
        with open_source(
            source, stride=o.stride, max_frames=o.max_frames, latest=o.latest, pages=True, note=noting(findings)
        ) as opened:
            frames = opened if uncertain is None else uncertain.watched(opened)
            for p in predict_windows(bundle, frames, window_s=window_s, hop_s=o.hop, conf=o.conf):
                window = cast("Windowed", p)
                output.add(p.to_json(**_shown_of(o)))
                over_time.add(window)
                if uncertain is not None:
                    uncertain.add(p, window)
                highest, last_s, n = max(highest, p.confidence or 0.0), window.end_s or 0.0, n + 1
                for segment in joiner.add(window):
                    note(segment)
    finally:
        # Also where a signal or a broken stream ends it: what has begun is a segment up to there.
        for segment in joiner.end():
            note(segment)
        if uncertain is not None:
            uncertain.end()
        output.draw(over_time.done(), stem)
    if n == 1 and last_s < window_s - _LATE_S:
        text = f"the video is {last_s:.1f} s long, shorter than a window of {window_s:g} s: it is one window"
        findings.append(finding(Finding("short_video", text, "pass a shorter --window", source, severity="note")))
        warn(text)
    if not segments:
        _say(
            o, f"no segment in {n:,} window{'s' * (n != 1)}: the highest confidence is {highest:.2f}, --on is {o.on:g}"
        )
    return segments


def _listed(given: list[str], findings: list[dict[str, Any]]) -> list[Path]:
    """Return the clips of all sources, those of each sorted."""
    from eyewright.imaging.clip_files import list_clips

    return [path for source in given for path in list_clips(source, note=noting(findings))]


def _each(
    o: argparse.Namespace,
    given: list[str],
    bundle: Any,
    sampling: "ClipSampling",
    output: _Output,
    findings: list[dict[str, Any]],
) -> None:
    from dataclasses import replace

    from eyewright.imaging.clips import contact_sheet, iter_clips

    clips = _listed(given, findings)
    for index, path in enumerate(clips):
        try:
            (frame,) = iter_clips(path, sampling, note=noting(findings))
        except UnreadableImageError as error:
            if len(clips) == 1:
                raise
            findings.append({"code": error.code, "path": str(path), "message": error.message, "fix": error.fix})
            warn(f"left out: {error}")
            continue
        (found,) = bundle.predict_images([frame.image], conf=o.conf, flip=o.test_time_flip)
        sheet = contact_sheet(frame.image, sampling.frames)
        p = replace(found, source=frame.origin, index=index, image=sheet)
        output.add(p.to_json(**_shown_of(o)))
        if o.out is not None:
            p.save(Path(o.out) / f"{index:05d}-{plain_stem(path)}.png")
        if output.review is not None:
            play = partial(_play, frame.image, path, sampling)
            output.review.take(p, f"{index:05d}-{plain_stem(path)}", ".webm", play)
        _say(o, f"{path}: {p.line()}")


def _play(strip: "NDArray[np.uint8]", path: Path, sampling: "ClipSampling", to: Path) -> None:
    """Write the frames that the model saw of a clip as a video that browsers play, as long as what they were chosen
    from, and at least a second."""
    from eyewright.imaging.clips import cut_strip, read_clip
    from eyewright.imaging.sampling import even_times
    from eyewright.imaging.webm import WebmWriter

    seconds = sampling.span_s
    if seconds is None:
        # Decoded again, because only few clips are reviewed.
        seconds = read_clip(path, sampling)[1].seconds or 0.0
    with WebmWriter(to) as video:
        times = even_times(0.0, max(seconds, 1.0), sampling.frames)
        for picture, time_s in zip(cut_strip(strip, sampling.frames), times.tolist(), strict=True):
            video.add(picture, time_s)
