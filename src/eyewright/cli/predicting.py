"""The verb predict: images one by one, and the frames of a video or stream with a drawn video of them."""

__all__ = ["add_predict", "predict"]

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.cli.clips import add_windows, predict_clips, refuse_window_options
from eyewright.cli.ending import ended_with, ended_words
from eyewright.cli.evaluating import add_promises
from eyewright.cli.given import add_images, given_images, listed, one_source, refuse_swapped
from eyewright.cli.numbers import Fraction, Number
from eyewright.cli.pictures import add_stream
from eyewright.cli.prediction_files import PredictionFiles, add_saved, saved_names
from eyewright.cli.scaling import add_job, is_job, predict_job
from eyewright.cli.scenes import only_classes
from eyewright.cli.terminal import Result, fails, note_sound, noting, printable, warn
from eyewright.core.errors import LimitError, UnreadableImageError, UsageError

if TYPE_CHECKING:
    from eyewright.bundle.guarantees import Guarantees
    from eyewright.bundle.load import Bundle
    from eyewright.core.prediction import Prediction
    from eyewright.core.report import Finding

# A picture of 20,000x20,000.
_TILED_PIXELS = 500_000_000


def add_predict(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of predict."""
    p = verb("predict")
    p.add_argument("bundle", metavar="BUNDLE", help="a bundle, or the run folder that holds it")
    add_images(
        p,
        help="files, folders, globs (quote **), one video, camera number, rtsp:// or http:// MJPEG address, "
        "sane:DEVICE, or - for stdin; for a job also @LIST, a text file with one path per line",
        source="the same as IMAGE",
    )
    add_stream(p)
    p.add_argument("--require-signature", metavar="PUB", help="refuse a bundle not signed by this public key (PEM)")
    p.add_argument("--latest", action="store_true", help="live streams: skip to the newest frame")
    add_saved(p)
    p.add_argument(
        "--top",
        type=Number(1, 1_000_000),
        metavar="K",
        help="labels per image (default 3 in the terminal, 5 in JSON; boxes: all)",
    )
    p.add_argument(
        "--conf",
        type=Number(0, 1, whole=False),
        metavar="P",
        help="confidence threshold (default: the stored operating point of each class)",
    )
    p.add_argument(
        "--iou",
        type=Number(0, 1, whole=False),
        metavar="P",
        help="IoU above which two boxes of one class count as duplicates",
    )
    p.add_argument(
        "--coverage",
        type=Fraction(0.01, 0.999, whole=False),
        metavar="FRACTION",
        help="in JSON: conformal sets of labels with this coverage; for detectors, boxes with conformal margins",
    )
    add_promises(p)
    add_windows(p)
    p.add_argument(
        "--labels",
        metavar='"A,B"',
        help="zero-shot: label each image with the best of these words (embedding bundles)",
    )
    p.add_argument("--classes", metavar="NAMES", help="show only these classes, separated by commas")
    p.add_argument(
        "--tile",
        type=Number(32, 100_000),
        metavar="N",
        help="cut images into tiles of N pixels, for small objects in large images",
    )
    p.add_argument(
        "--overlap",
        type=Number(0, 0.9, whole=False),
        default=0.2,
        metavar="P",
        help="overlap of neighbouring tiles as a fraction (default 0.2)",
    )
    p.add_argument("--test-time-flip", action="store_true", help="horizontal-flip test-time augmentation")
    add_job(p, on=False)


def predict(o: argparse.Namespace) -> Result:
    """Predict images, or the frames of a video or stream."""
    given = given_images(o)
    refuse_swapped(o.bundle, given, "predict")
    o.source = given[0]
    if is_job(o):
        one_source(given, "for a job")
        return predict_job(o)
    from dataclasses import replace

    from eyewright import lifecycle
    from eyewright.core.task import task_of
    from eyewright.imaging.media import media_of
    from eyewright.imaging.preparation import image_preparation
    from eyewright.imaging.sources import is_endless, is_stream

    streamed = any(is_stream(text) for text in given)
    # The pages of a scanner come by themselves too, and are pictures that have no time.
    moving = streamed and not str(o.source).lower().startswith("sane:")
    saved = saved_names(o, moving)
    bundle = lifecycle.open_any(o.bundle, key=o.require_signature)
    task_of(bundle.task_name).require("predict")
    promised = _promised(o, bundle)
    conf = o.conf if promised is None else promised.conf
    if o.labels is not None:
        from eyewright.lifecycle.labelling import WordedLabels

        predictor: Any = WordedLabels(bundle, o.labels.split(","))
        notes = list(predictor.notes)
        for note in notes:
            if not o.json:
                warn(note)
    else:
        predictor, notes = bundle, []
    if o.top is not None and o.labels is None:
        task_of(bundle.task_name).require("top")
    views = {"conf": conf, "iou": o.iou, "flip": o.test_time_flip, "tile": o.tile, "overlap": o.overlap}
    shown_of = {} if o.top is None else {"top": o.top}
    findings: list[dict[str, Any]] = []
    clip = image_preparation(bundle.inputs, "predict").clip
    if clip is not None:
        if o.save is not None:
            noun = task_of(bundle.task_name).words.noun
            raise UsageError(f"--save is not supported for {noun}", fix="leave it out; pass --out")
        return predict_clips(o, given, bundle, clip)
    if streamed:
        one_source(given, "for a video, camera, stream or scanner")
    if o.window is not None:
        raise UsageError(f"--window is not supported for {task_of(bundle.task_name).words.noun}", fix="leave it out")
    refuse_window_options(o)
    looked: Iterator[tuple[Any, Prediction, float | None]]
    plain = o.labels is None and not o.test_time_flip and o.tile is None
    apart = bundle.preparation.reduces or (not {"images", "crops"} & set(saved) and _several(given))
    if not streamed and plain and bundle.reads_prepared and apart:
        looked = _predicted_files(o, bundle, given, findings, conf)
    else:

        def each() -> "Iterator[tuple[Any, Prediction, float | None]]":
            frames = _frames(o, findings) if streamed else _files(o, given, findings)
            for item, name, image, time_s in frames:
                yield item, replace(predictor.predict_images([image], **views)[0], source=name, image=image), time_s

        looked = each()
    n, animations = 0, list[Path]()
    output = PredictionFiles(o, given, saved, task_of(bundle.task_name), bundle.labels.names, keep=o.json)
    try:
        with output:
            for index, (item, found, time_s) in enumerate(looked):
                prediction = replace(only_classes(found, bundle.task_name, o.classes), index=index)
                row = prediction.to_json(**shown_of)
                if promised is not None:
                    row |= promised.told(prediction, top=o.top)
                output.add(row if time_s is None else {**row, "time_s": round(time_s, 4)}, prediction, item, time_s)
                n += 1
                if isinstance(item, Path) and media_of(item) == "animation":
                    animations.append(item)
                if o.json or o.quiet:
                    continue
                # A long folder is shown as it goes; nothing is held back to the end.
                shown = _line(prediction.line(**shown_of), row)
                print(printable(f"{item}: {shown}" if time_s is None else f"{time_s:8.2f} s: {shown}"), flush=True)
    except (KeyboardInterrupt, SystemExit) as error:
        code = ended_with(error)
        if code is None:
            raise
        raise ended_words(
            code, n, "frame" if moving else "image", output.paths.values(), live=is_endless(o.source),
            asked=o.out is not None, details={"out": output.paths, "predictions": output.rows},
        ) from None  # fmt: skip
    if animations:
        noting(findings)(_about_animations(animations))
    drawn = output.paths.get("video")
    if drawn is not None:
        note_sound(o.source, drawn, findings)
    if not n:
        raise UnreadableImageError("none of the images can be read", fix="see the lines above")
    return {
        "task": bundle.task_name,
        "out": output.paths,
        "predictions": output.rows,
        "review": output.review,
        "notes": notes or None,
        "lost": [f"{reason} ({n})" for reason, n in output.lost.items()] or None,
        "text": output.said(),
        "findings": findings,
        "exit": int(fails(findings)),
    }


def _about_animations(paths: "Sequence[Path]") -> "Finding":
    """Return a note on animations, of which a model of images sees the first picture."""
    from eyewright.core.report import Finding
    from eyewright.imaging.media import FIRST_PICTURE

    n, first = len(paths), str(paths[0])
    text = FIRST_PICTURE if n == 1 else f"of each of {n:,} animations, the first picture is predicted, and no other"
    fix = "eyewright process --pages writes every picture as an image"
    return Finding("animation", text, fix, first, severity="note", paths=tuple(map(str, paths)) if n > 1 else ())


def _line(line: str, row: Mapping[str, Any]) -> str:
    """Return the line of a prediction with its set of labels, if there is one."""
    promised = row.get("set")
    if promised is None:
        return line
    return f"{line}  [{promised['coverage']:.1%} set: {', '.join(promised['labels']) or 'no label'}]"


def _promised(o: argparse.Namespace, bundle: "Bundle") -> "Guarantees | None":
    """Return what each prediction is to promise; None where nothing was asked for.

    Raises:
        UsageError: options that the validation images were not predicted with, or a task without promises.
    """
    if (o.coverage, o.coverage_by, o.sets, o.miss_rate) == (None,) * 4:
        return None
    from eyewright.bundle.guarantees import guarantees_of
    from eyewright.core.task import task_of

    given = {"labels": o.labels, "iou": o.iou, "tile": o.tile, "test-time-flip": o.test_time_flip or None}
    given["window"] = o.window
    other = next((name for name, value in given.items() if value is not None), None)
    if other is not None:
        raise UsageError(
            f"expected no --{other} with --coverage or --miss-rate, found both: "
            "validation images were predicted without",
            fix="leave one out",
        )
    if bundle.preparation.clip is not None:
        noun = task_of(bundle.task_name).words.noun
        raise UsageError(f"predict --coverage is not supported for {noun}", fix="use evaluate --coverage or serve")
    return guarantees_of(bundle, coverage=o.coverage, by=o.coverage_by, sets=o.sets, miss_rate=o.miss_rate, conf=o.conf)


def _several(given: list[str]) -> bool:
    """Return whether this may be more than one file: of one, another process would only start later."""
    return len(given) > 1 or (given[0] != "-" and not Path(given[0]).is_file())


def _predicted_files(
    o: argparse.Namespace, bundle: "Bundle", given: list[str], findings: list[dict[str, Any]], conf: float | None
) -> Iterator[tuple[Any, "Prediction", float | None]]:
    items = listed(given)
    for item, found in bundle.predict_files(items, conf=conf, iou=o.iou):
        if isinstance(found, UnreadableImageError):
            _left_out(o, item, found, findings, alone=len(items) == 1)
        else:
            yield item, found, None


def _left_out(
    o: argparse.Namespace, item: Any, error: UnreadableImageError, findings: list[dict[str, Any]], *, alone: bool
) -> None:
    """Note a file that cannot be read and continue; one that is alone ends the command."""
    if error.code == LimitError.code and o.tile is None:
        fix = f"cut it into tiles: --tile 640 reads up to {_TILED_PIXELS:,} pixels; or shrink it"
        error = UnreadableImageError(error.message, fix=fix, code=error.code)
    if alone:
        raise error from None
    path = "-" if item == "-" else str(Path(item).resolve())
    findings.append({"code": error.code, "path": path, "message": error.message, "fix": error.fix})
    warn(f"left out: {error}")


def _files(
    o: argparse.Namespace, given: list[str], findings: list[dict[str, Any]]
) -> Iterator[tuple[Any, str, Any, float | None]]:
    from eyewright.imaging.headers import Limits
    from eyewright.imaging.sources import read_files

    items = listed(given)
    # Whoever asks for tiles has large images, and they are this user's own files.
    limits = Limits(pixels=_TILED_PIXELS) if o.tile is not None else None
    for item, found in read_files(items, limits=limits):
        if isinstance(found, UnreadableImageError):
            _left_out(o, item, found, findings, alone=len(items) == 1)
            continue
        name = "-" if item == "-" else str(Path(item).resolve())
        yield item, name, found, None


def _frames(o: argparse.Namespace, findings: list[dict[str, Any]]) -> Iterator[tuple[Any, str, Any, float | None]]:
    from eyewright.imaging.sources import open_source

    with open_source(
        o.source, stride=o.stride, max_frames=o.max_frames, latest=o.latest, note=noting(findings)
    ) as source:
        for frame in source:
            yield f"frame-{frame.index}", frame.origin, frame.image, frame.time_s
