"""The verb that follows objects over time, and how its tracks are measured and compared."""

__all__ = [
    "TRACKS",
    "add_track",
    "boxes_text",
    "compare_tracks",
    "evaluate_tracks",
    "track",
    "warned",
]

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.cli.ending import ended_with, ended_words
from eyewright.cli.following_files import draws, keeps_images, refuse_inputs, reports
from eyewright.cli.following_one import track_one
from eyewright.cli.following_output import Output, write_report, write_tracks
from eyewright.cli.following_pictures import draw_sequence
from eyewright.cli.numbers import Number
from eyewright.cli.pictures import add_stream
from eyewright.cli.terminal import (
    Result,
    fails,
    finding,
    is_quiet,
    note_sound,
    noting,
    printable,
    shown_path,
    stream_stem,
    warn,
)
from eyewright.cli.watching import add_watch, named_numbers
from eyewright.core.errors import InputError, UsageError, spelling_hint
from eyewright.core.quoting import quoted

if TYPE_CHECKING:
    from eyewright.core.report import Finding, Metric
    from eyewright.data.tracks import Sequence as TrackSequence
    from eyewright.lifecycle.following import TrackedSequence
    from eyewright.lifecycle.track_scores import TrackScores
    from eyewright.tracking import TrackerSettings, Watch

TRACKS = "track"
"""What `--task` says for files of tracks, which are no data set of a task."""

_SAVED = ("mot", "json", "csv", "video", "images", "report")
_MOST_FINDINGS = 10_000
_SHOWN = ("hota", "det_a", "ass_a", "loc_a", "mota", "motp", "idf1", "id_switches", "fragmentations", "mostly_tracked")
# What chooses or changes pictures, which files of detections do not have.
_OF_PICTURES = {"rate": None, "stride": 1, "max_frames": None, "latest": False, "iou": None}
_SECONDS = Number(0, 1_000_000, whole=False)
_RATE = Number(0, 100_000, whole=False, open_low=True, open_high=True)


def add_track(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of track."""
    p = verb("track")
    p.add_argument("bundle", metavar="BUNDLE", nargs="?", help="a detector; not needed with --detections or --one")
    p.add_argument("video", metavar="VIDEO", nargs="?", help="the same as --source")
    p.add_argument("--source", metavar="S", help="video, camera number, rtsp://, http:// MJPEG, or a folder of frames")
    p.add_argument(
        "--detections",
        metavar="FILE|DIR",
        help="track existing detections: MOT text, CSV, JSON, COCO of videos, YOLO labels, CVAT XML",
    )
    p.add_argument(
        "--frames",
        metavar="VIDEO|DIR",
        help="of --detections: the video or images, to draw on, for their size and times, and for --camera-motion",
    )
    p.add_argument("--one", metavar="X,Y,W,H", help="track the one object in this box of the first frame")
    p.add_argument(
        "--method",
        metavar="NAME",
        help="three-stage (default), byte, sort or package.module:function; with --one csrt (default), kcf, mosse or "
        "onnx:FILE",
    )
    p.add_argument("--fps", type=_RATE, metavar="N", help="frames per second, overrides that of the source")
    p.add_argument("--rate", type=_RATE, metavar="N", help="maximum frames per second to process")
    add_stream(p)
    p.add_argument("--latest", action="store_true", help="live streams: skip to the newest frame")
    p.add_argument("--lost", type=_SECONDS, metavar="S", help="seconds to keep a track without detections (default 2)")
    p.add_argument(
        "--confirm", type=_SECONDS, metavar="S", help="seconds before a track or a crossing counts (default 0.1)"
    )
    p.add_argument(
        "--conf",
        type=Number(-1e9, 1e9, whole=False),
        metavar="P",
        help="minimum score of a detection to start a track, on the scale of the detections (default: estimated from "
        "them)",
    )
    p.add_argument(
        "--iou", type=Number(0, 1, whole=False), metavar="P", help="IoU threshold of non-maximum suppression"
    )
    p.add_argument("--classes", metavar="A,B", help="track only these classes")
    add_watch(p)
    p.add_argument("--camera-motion", action="store_true", help="compensate for camera motion")
    p.add_argument(
        "--offline", action="store_true", help="for files: fill gaps, drop short tracks, assign early boxes to tracks"
    )
    p.add_argument("--truth", metavar="FILE|DIR", help="evaluate against this ground truth (HOTA, MOTA, IDF1)")
    p.add_argument("--out", metavar="DIR", help="write tracks to this folder")
    p.add_argument(
        "--save",
        metavar="A,B",
        help="output formats: mot, json, csv, video, images, report (default mot,json,report; for several sequences "
        "mot,json)",
    )


def track(o: argparse.Namespace) -> Result:
    """Follow objects over time."""
    saved = _saved(o)
    if o.one is not None and o.video is None and o.source is None:
        # No bundle is needed, so that what is named is the video.
        o.bundle, o.video = None, o.bundle
    if o.video is not None:
        if o.source is not None:
            raise UsageError(
                f"expected one source, found {quoted(o.video)} and --source {quoted(o.source)}", fix="leave one out"
            )
        o.source = o.video
    if o.detections is None and o.source is None and o.one is None and _is_detections(o.bundle):
        o.bundle, o.detections = None, o.bundle
    if o.detections is not None and o.source is not None:
        raise UsageError("expected either --detections or a video, found both", fix="leave one out")
    if o.detections is None and o.source is None:
        raise _without_source(o)
    if o.detections is not None:
        for name in ("bundle", "one"):
            if getattr(o, name) is not None:
                raise UsageError(f"--detections needs no {name.replace('one', '--one')}", fix="leave one of them out")
        for name, default in _OF_PICTURES.items():
            if (type(getattr(o, name)), getattr(o, name)) != (type(default), default):
                raise UsageError(
                    f"--{name.replace('_', '-')} does not work with --detections, whose rows are all tracked",
                    fix="leave one of them out",
                )
        return _track_files(o, saved)
    if o.frames is not None:
        raise UsageError("--frames goes with --detections", fix="pass the video as --source")
    if o.one is not None:
        if reports(saved):
            raise UsageError("--one has no report", fix="leave report out of --save")
        return track_one(o, saved)
    if o.bundle is None:
        raise UsageError("expected a bundle that gives boxes", fix="pass BUNDLE, or --detections, or --one X,Y,W,H")
    return _track_source(o, saved)


def _without_source(o: argparse.Namespace) -> UsageError:
    """Return what is missing where there is no video and no file of detections."""
    from eyewright.imaging.sources import is_stream

    corners = [text for parts in o.zone for text in parts[1:]]
    taken = next((text for text in corners if not set(text) <= set("0123456789.,-+eE ")), None)
    if taken is not None:
        return UsageError(
            f"{quoted(taken)} was read as a corner of --zone",
            fix='put BUNDLE and VIDEO first, or quote the zone: --zone "NAME=x,y x,y x,y"',
        )
    if o.bundle is None:
        return UsageError("expected a bundle and a video, or --detections FILE", fix="eyewright track BUNDLE VIDEO")
    missing = "bundle" if is_stream(o.bundle) else "video"
    return UsageError(
        f"expected a bundle and a video, found {quoted(o.bundle)} and no {missing}", fix="eyewright track BUNDLE VIDEO"
    )


def _is_detections(given: str | None) -> bool:
    """Return whether what is given in place of a bundle is a file or folder of detections."""
    if given is None:
        return False
    place = Path(given)
    if place.is_dir():
        return not any((place / name).exists() for name in ("bundle.json", "run.json", "bundle"))
    return place.suffix.lower() in (".txt", ".csv", ".json", ".xml")


def _saved(o: argparse.Namespace) -> tuple[str, ...]:
    if o.save is None:
        return () if o.out is None else ("mot", "json") if o.one is not None else ("mot", "json", "report")
    if o.out is None:
        raise UsageError("--save needs a folder to write to", fix="pass --out DIR")
    names = tuple(part.strip().lower() for part in o.save.split(",") if part.strip())
    for name in names:
        if name not in _SAVED:
            raise UsageError(f"unknown --save {name!r}", fix=spelling_hint(name, _SAVED))
    return names


def settings_of(o: argparse.Namespace) -> "TrackerSettings":
    from dataclasses import replace

    from eyewright.tracking import TrackerSettings

    found = TrackerSettings()
    if o.lost is not None:
        found = replace(found, lost_s=o.lost)
    if o.confirm is not None:
        found = replace(found, confirm_s=o.confirm, confirm_first=o.confirm <= found.confirm_s)
    if o.detections is None and o.conf is not None and not 0 <= o.conf <= 1:
        raise UsageError(f"expected --conf from 0 to 1, found {o.conf:g}", fix="scores of a bundle are probabilities")
    if o.detections is not None and o.conf is not None:
        found = replace(found, high=o.conf, low=min(found.low, o.conf))
    return found


def watch_of(o: argparse.Namespace) -> "Watch":
    from eyewright.tracking import Line, Watch, Zone

    lines, zones = [], []
    for text in o.line:
        name, numbers = named_numbers(text, "--line", "NAME=X1,Y1,X2,Y2")
        if len(numbers) != 4:
            raise UsageError(f"expected four numbers in --line, found {text!r}", fix="pass NAME=X1,Y1,X2,Y2")
        lines.append(Line(name, (numbers[0], numbers[1]), (numbers[2], numbers[3])))
    for parts in o.zone:
        text = " ".join(parts)
        name, numbers = named_numbers(text, "--zone", "NAME=X,Y X,Y X,Y")
        if len(numbers) % 2:
            raise UsageError(f"expected pairs of numbers in --zone, found {text!r}", fix="pass NAME=X,Y X,Y X,Y")
        zones.append(Zone(name, tuple(zip(numbers[::2], numbers[1::2], strict=True))))
    names = [x.name for x in lines] + [x.name for x in zones]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise UsageError(f"the name {twice!r} is there twice among lines and zones", fix="choose another name")
    settings = settings_of(o)
    confirm = 0.1 if o.confirm is None else o.confirm
    return Watch(tuple(lines), tuple(zones), o.anchor, confirm, settings.lost_s)


def _classes(o: argparse.Namespace) -> list[str] | None:
    return None if o.classes is None else [c.strip() for c in o.classes.split(",") if c.strip()]


def _track_files(o: argparse.Namespace, saved: Sequence[str]) -> Result:
    from eyewright.data.tracks import find_sequences
    from eyewright.imaging.video_facts import without_sound
    from eyewright.lifecycle.following import track_detections
    from eyewright.lifecycle.sequence_frames import frames_of

    found = find_sequences(Path(o.detections), "detections")
    if o.save is None and len(found) > 1:
        saved = [kind for kind in saved if not reports((kind,))]
    names = [s.name for s in found]
    refuse_inputs(o, saved, names, [s.path for s in found])
    drawn = draws(saved) or keeps_images(saved)
    shown = {}
    if o.frames is not None or drawn or reports(saved) or o.camera_motion:
        shown = {s.name: f for s in found if (f := frames_of(s, o.frames, alone=len(found) == 1)) is not None}
    without = next((name for name in names if name not in shown), None)
    if drawn and without is not None:
        raise UsageError(
            f"the detections of {without!r} have no pictures to draw on",
            fix="pass --frames VIDEO|FOLDER, or leave video and images out of --save",
        )
    started = time.monotonic()
    watch = watch_of(o)
    sequences = track_detections(
        found, frames=shown, fps=o.fps, method=o.method or "three-stage", settings=settings_of(o), offline=o.offline,
        watch=watch, classes=_classes(o), camera_motion=o.camera_motion,
    )  # fmt: skip
    seconds = time.monotonic() - started
    out: dict[str, Path] = {}
    missing: list[Finding] = []
    for sequence in sequences:
        out |= write_tracks(o, saved, sequence.name, sequence.tracks, sequence.fps, sequence.n_frames)
        if sequence.name in shown and (drawn or reports(saved)):
            paths = draw_sequence(o, saved, sequence, shown[sequence.name], watch, missing.append)
            drawn_video = paths.get("video")
            quiet = None if drawn_video is None else without_sound(shown[sequence.name].source, drawn_video)
            missing += [] if quiet is None else [quiet]
            out |= paths if len(sequences) == 1 else {kind: Path(o.out).resolve() for kind in paths}
        elif reports(saved):
            out |= write_report(o, sequence.name, sequence, watch, several=len(sequences) > 1)
    findings = [*(f for s in sequences for f in s.findings), *missing]
    n_frames, spent = sum(s.n_frames for s in sequences), sum(s.cpu_s for s in sequences)
    text = [_line_of(s) for s in sequences]
    for s in sequences:
        text += _counts_text(s.recorder.to_json(), s.name if len(sequences) > 1 else "")
    result: Result = {"sequences": [_sequence_json(s) for s in sequences]}
    if len(sequences) == 1:
        result |= sequences[0].recorder.to_json()
    if o.truth is not None:
        from eyewright.lifecycle.track_scores import evaluate_tracks as measure

        scores = measure({s.name: s.tracks for s in sequences}, o.truth, seed=o.seed or 0)
        findings += scores.findings
        result |= {"metrics": _metrics_json(scores.metrics), "protocol": scores.protocol}
        text += ["", *_metrics_text(scores)]
    text += [f"{name:8} {shown_path(path)}" for name, path in out.items()]
    wrong = warned(o, findings)
    return {
        **result,
        "out": out,
        "rows": {"read": sum(s.rows for s in sequences), "left_out": sum(s.left_out for s in sequences)},
        "frames": n_frames,
        "frames_per_s": round(n_frames / max(seconds, 1e-9), 1),
        "frames_per_cpu_s": round(n_frames / max(spent, 1e-9), 1),
        "findings": [finding(f) for f in findings[:_MOST_FINDINGS]],
        "text": text,
        "exit": 1 if wrong else 0,
    }


def warned(o: argparse.Namespace, findings: "Sequence[Finding]") -> bool:
    """Print the first findings on stderr; return whether one of them is more than a note.

    With --quiet a line still says that rows are missing.
    """
    wrong = [f for f in findings if f.severity != "note"]
    if o.json:
        return bool(wrong)
    shown = wrong[:1] if is_quiet(o) else findings[:5]
    for f in shown:
        warn(str(f))
    more = len(wrong if is_quiet(o) else findings) - len(shown)
    if more > 0:
        warn(f"and {more:,} more; --json has all")
    return bool(wrong)


def _sequence_json(s: "TrackedSequence") -> dict[str, Any]:
    return {"name": s.name, "frames": s.n_frames, "fps": s.fps, "boxes": len(s.tracks), **s.recorder.to_json()}


def _line_of(s: "TrackedSequence") -> str:
    n = len(set(s.tracks.ids.tolist()))
    frames = f"{s.n_frames:,} frame{'s' * (s.n_frames != 1)}"
    return f"{s.name}: {n:,} track{'s' * (n != 1)}, {boxes_text(len(s.tracks))} in {frames}"


def boxes_text(n: int) -> str:
    """Return a number of boxes in words."""
    return f"{n:,} box{'es' * (n != 1)}"


def _counts_text(found: dict[str, Any], name: str) -> list[str]:
    start = f"{name} " if name else ""
    text = [f"{start}line {k}: {v['in']:,} in, {v['out']:,} out" for k, v in found.get("counts", {}).items()]
    for k, v in found.get("zones", {}).items():
        stay = "" if v["dwell"]["median"] is None else f", median stay {v['dwell']['median']:.1f} s"
        text.append(f"{start}zone {k}: {v['now']:,} inside, {v['entered']:,} entered, {v['left']:,} left{stay}")
    return text


def _track_source(o: argparse.Namespace, saved: Sequence[str]) -> Result:
    from eyewright.imaging.sources import is_stream
    from eyewright.lifecycle.following import track as follow

    name = "frames" if str(o.source) == "-" else stream_stem(o.source)
    live = is_stream(o.source) and not Path(str(o.source)).exists()
    if live and o.offline:
        raise UsageError("--offline works with files", fix="leave it out for a camera or stream")
    truth = None if o.truth is None else _truth_of(o, name, live)
    refuse_inputs(o, saved, [name])
    watch = watch_of(o)
    started, n, recorder, fps = time.monotonic(), 0, None, None
    last_s = 0.0
    numbers: list[int] = []
    findings: list[dict[str, Any]] = []
    ended: BaseException | None = None
    with Output(o, saved, name, watch) as output:
        try:
            for item in follow(
                o.source, o.bundle, method=o.method or "three-stage", settings=settings_of(o), conf=o.conf, iou=o.iou,
                classes=_classes(o), watch=watch, camera_motion=o.camera_motion, fps=o.fps, rate=o.rate,
                stride=o.stride, max_frames=o.max_frames, latest=o.latest, keep_rows=not live, note=noting(findings),
            ):  # fmt: skip
                recorder, last_s = item.recorder, item.time_s
                output.add(item)
                n += 1
                if truth is not None:
                    numbers.append(item.index + 1)
                if not is_quiet(o):
                    for c in item.crossings:
                        label = item.recorder.labels[c.label_id]
                        print(
                            printable(f"{c.time_s:8.2f} s: {label} {c.track_id} crosses {c.line} {c.direction}"),
                            flush=True,
                        )
        except (KeyboardInterrupt, SystemExit, InputError) as error:
            # What was tracked so far is completed as if the source had ended here.
            if not n or recorder is None:
                raise
            ended = error
        if recorder is None:
            raise InputError(f"{quoted(o.source)} has no frame that can be read", fix="check it", code="no_frames")
        fps = o.fps or (round((n - 1) / last_s, 3) if last_s > 0 else None)
        if o.offline:
            recorder, tracks = output.offline(recorder, draw=ended is None)
        else:
            tracks = output.online(recorder, fps, live=live)
        recorder.settle()
        output.report(recorder, n, fps)
        out = output.paths
    drawn = out.get("video")
    if drawn is not None:
        note_sound(str(o.source), drawn, findings)
    found = recorder.to_json()
    seconds = time.monotonic() - started
    m = len(found["tracks"])
    text = [
        f"{m:,} track{'s' * (m != 1)} in {n:,} frame{'s' * (n != 1)}, {n / max(seconds, 1e-9):.1f} frames per second"
    ]
    text += _counts_text(found, "")
    result = {**found, "out": out, "frames": n, "frames_per_s": round(n / max(seconds, 1e-9), 2)}
    if ended is not None:
        if not is_quiet(o):
            print("\n".join(map(printable, text)), flush=True)
        if isinstance(ended, InputError):
            raise ended
        details = {**result, "findings": findings}
        raise ended_words(
            ended_with(ended) or 1, n, "frame", output.files(), live=live, asked=o.out is not None, details=details
        )
    if truth is not None:
        import numpy as np

        from eyewright.lifecycle.track_scores import evaluate_tracks as measure

        followed = np.array(numbers, np.int64)
        scores = measure({name: tracks}, [truth], seed=o.seed or 0, frames=followed)
        warned(o, scores.findings)
        findings += [finding(f) for f in scores.findings[:_MOST_FINDINGS]]
        result |= {"metrics": _metrics_json(scores.metrics), "protocol": scores.protocol}
        text += ["", *_metrics_text(scores)]
    text += [f"{k:8} {shown_path(p)}" for k, p in out.items()]
    return {**result, "text": text, "findings": findings, "exit": int(fails(findings))}


def _truth_of(o: argparse.Namespace, name: str, live: bool) -> "TrackSequence":
    """Return the true tracks of a source before it is read: its file, or of a set that of its name.

    Raises:
        UsageError: the source is live, so that its frames have no numbers of their own.
        InputError: nothing is there, or nothing of that name.
    """
    from eyewright.data.tracks import find_sequences

    if live:
        raise UsageError("--truth works with files", fix="leave it out for a camera or stream")
    known = {s.name: s for s in find_sequences(Path(o.truth), "truth")}
    if len(known) > 1 and name not in known:
        raise InputError(
            f"expected ground-truth tracks of {name!r} in {quoted(o.truth)}, found none",
            fix=f"pass its file, or name it {name}.txt",
            code="missing_sequence",
        )
    return known.get(name) or next(iter(known.values()))


def _metrics_json(metrics: Any) -> dict[str, Any]:
    def shown(m: "Metric") -> dict[str, Any]:
        return {"value": m.value, "low": m.low, "high": m.high, "n": m.n, "groups": m.groups}

    return {name: shown(m) for name, m in metrics.items()}


def _metrics_text(scores: "TrackScores") -> list[str]:
    from eyewright.metrics.tracking import TRACKING_METRICS

    text = [scores.said]
    for name in _SHOWN:
        m = scores.metrics[name]
        scale, form = (1.0, ",.0f") if TRACKING_METRICS[name] == "count" else (100.0, ".1f")
        value = format(scale * (m.value or 0.0), form)
        between = (
            ""
            if m.low is None or m.high is None
            else f" [{format(scale * m.low, form)}, {format(scale * m.high, form)}]"
        )
        text.append(f"{name:16} {value}{between}")
    n = len(scores.sequences)
    text.append(f"{n:,} sequence{'s' * (n != 1)}, {scores.metrics['hota'].n:,} true boxes")
    if n > 1:
        text += [f"  {name:28} HOTA {100 * v['hota']:.1f}" for name, v in scores.sequences.items()]
    return text


def evaluate_tracks(o: argparse.Namespace) -> Result:
    """Measure tracks against the ground truth."""
    from eyewright.lifecycle.track_scores import evaluate_tracks as measure

    if o.data is None:
        raise UsageError("expected tracks and their ground truth", fix="eyewright evaluate --task track TRACKS TRUTH")
    scores = measure(o.model, o.data, seed=o.seed or 0)
    out: dict[str, Path] = {}
    content = {
        "metrics": _metrics_json(scores.metrics),
        "sequences": dict(scores.sequences),
        "protocol": scores.protocol,
        "measured": scores.said,
    }
    if o.out is not None:
        from eyewright.core.files import write_json

        out["report_json"] = Path(o.out).resolve() / "report.json"
        write_json(out["report_json"], content)
    wrong = warned(o, scores.findings)
    return {
        "task": "track", **content, "out": out, "findings": [finding(f) for f in scores.findings[:_MOST_FINDINGS]],
        "text": [*_metrics_text(scores), *(f"report   {shown_path(p)}" for p in out.values())],
        "exit": 1 if wrong else 0,
    }  # fmt: skip


def compare_tracks(o: argparse.Namespace) -> Result:
    """Return whether the tracks B are better than A."""
    from eyewright.lifecycle.track_scores import compare_tracks as compare

    if o.data is None:
        raise UsageError(
            "expected two sets of tracks and their ground truth", fix="eyewright compare --task track A B TRUTH"
        )
    found = compare(o.a, o.b, o.data, seed=o.seed or 0)
    # Rows of the ground truth are read twice and reported once.
    findings = list({str(f): f for f in (*found.a.findings, *found.b.findings)}.values())
    warned(o, findings)
    text = [str(found)]
    for name in _SHOWN[:7]:
        m = found.differences[name]
        between = "" if m.low is None or m.high is None else f" [{100 * m.low:+.1f}, {100 * m.high:+.1f}]"
        text.append(f"{name:16} {100 * (m.value or 0.0):+.1f}{between}")
    return {
        "task": "track", "comparison": found.to_json(), "findings": [finding(f) for f in findings[:_MOST_FINDINGS]],
        "text": text, "exit": int(found.better == "a"),
    }  # fmt: skip
