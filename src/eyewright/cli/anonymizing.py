"""The verb that makes images anonymous."""

__all__ = ["add_anonymizing", "anonymize"]

import argparse
from collections.abc import Callable

from eyewright.cli.numbers import Number
from eyewright.cli.terminal import Result, finding, shown_path, talk, warn_of

_MOST = 20


def add_anonymizing(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of anonymize."""
    p = verb("anonymize")
    p.add_argument("source", metavar="SOURCE", help="an image, a video, a folder or a glob")
    p.add_argument("--out", required=True, metavar="DIR", help="folder for the copies (required)")
    p.add_argument(
        "--find", metavar="KINDS", help="faces, heads, plates, text or all; several with commas (default faces)"
    )
    p.add_argument(
        "--detector",
        action="append",
        default=[],
        metavar="BUNDLE",
        help="a bundle that finds boxes of faces, heads, persons, plates or text (repeatable; default: OpenCV's "
        "classical detectors, which miss many)",
    )
    p.add_argument(
        "--boxes",
        metavar="FILE",
        help="hide these boxes: COCO JSON, CSV, predictions.json, or a dataset; for a video: tracks",
    )
    p.add_argument(
        "--how", default="fill", choices=("fill", "blur", "pixelate"), help="how boxes are hidden (default fill)"
    )
    p.add_argument(
        "--conf",
        type=Number(0, 1, whole=False),
        default=0.3,
        metavar="P",
        help="minimum score of a detection (default 0.3)",
    )
    p.add_argument(
        "--tile",
        type=Number(0, 16_384),
        metavar="N",
        help="side of the tiles in pixels; 0 for none (default: half of the shorter side)",
    )
    p.add_argument("--no-flip", action="store_true", help="no horizontal-flip test-time augmentation")
    p.add_argument(
        "--margin",
        type=Number(0, 10, whole=False),
        metavar="F",
        help="enlarge boxes by this fraction of their sides (default: 0.2 for faces, 0.1 for all others)",
    )
    p.add_argument(
        "--hold",
        type=Number(0, 10_000),
        default=5,
        metavar="N",
        help="videos: hide a box for N frames before and after, too (default 5)",
    )
    p.add_argument(
        "--gap",
        type=Number(0, 3600, whole=False),
        default=2.0,
        metavar="S",
        help="videos: longest gap of a track to fill, in seconds (default 2)",
    )
    p.add_argument(
        "--to",
        metavar="FORMAT",
        help="output format: jpeg, png or webp (default: JPEG and WebP stay, all others become PNG)",
    )
    p.add_argument(
        "--quality", type=Number(1, 100), default=92, metavar="Q", help="quality of JPEG and WebP files (default 92)"
    )
    p.add_argument(
        "--keep-metadata",
        metavar="NAMES",
        help="metadata to keep: copyright, artist, gps; several with commas (default none)",
    )
    p.add_argument(
        "--names",
        default="keep",
        choices=("keep", "hash"),
        help="names of the copies: keep (default), or hash: the digest of the new content",
    )
    p.add_argument(
        "--labels",
        default="auto",
        metavar="FORMAT",
        help="annotations to copy: auto (default; COCO, YOLO and VOC), none, or coco, yolo, voc",
    )
    p.add_argument(
        "--check", metavar="BOXES", help="boxes that should be hidden: reports recall with a confidence interval"
    )
    p.add_argument("--model", metavar="BUNDLE", help="evaluate this bundle or run on the images before and after")
    p.add_argument("--report", metavar="DIR", help="write anonymize.html and anonymize.json to this folder")
    p.add_argument("--overwrite", action="store_true", help="replace the content of --out")


def anonymize(o: argparse.Namespace) -> Result:
    """Write anonymous copies, and print how much of what had to be hidden is."""
    from eyewright import lifecycle

    options = talk(o)
    options.pop("seed", None)
    done = lifecycle.anonymize(
        o.source,
        o.out,
        find=o.find,
        detector=o.detector,
        boxes=o.boxes,
        how=o.how,
        conf=o.conf,
        tile=o.tile,
        flip=not o.no_flip,
        margin=o.margin,
        hold=o.hold,
        gap_s=o.gap,
        to=o.to,
        quality=o.quality,
        keep_metadata=[t.strip() for t in (o.keep_metadata or "").split(",") if t.strip()],
        names=o.names,
        labels=o.labels,
        check=o.check,
        model=o.model,
        report=o.report,
        overwrite=o.overwrite,
        **options,
    )
    text = [done.headline()]
    if done.utility is not None:
        text.append(f"{done.utility.name}: before {done.utility.before}, after {done.utility.after}")
    text.append(f"copies       {shown_path(done.folder)}")
    text += [f"report       {shown_path(done.pages['report'])}"] if done.pages else []
    if not o.json:
        warn_of(done.findings, most=_MOST)
    return {
        "out": {"images": done.folder.resolve(), **{k: p.resolve() for k, p in done.pages.items()}},
        "anonymize": done.to_json(),
        "counts": {"written": len(done.files), "failed": len(done.failed)},
        "findings": [finding(f) for f in done.findings],
        "text": text,
        "exit": int(bool(done.failed)),
    }
