"""The verbs that work on pictures without a model: process, segment, encode, steps."""

__all__ = ["add_pictures", "encode", "process", "segment", "steps"]

import argparse
import math
from pathlib import Path
from typing import Any

from eyewright.cli.numbers import Checked, Number
from eyewright.cli.scaling import add_job, encode_job, is_job, process_job
from eyewright.cli.terminal import Result, finding, is_quiet, shown_path, warn, warn_of
from eyewright.core.errors import UnreadableImageError, UsageError
from eyewright.core.sizes import parse_bytes


def process(o: argparse.Namespace) -> Result:
    if is_job(o):
        return process_job(o)
    from eyewright.processing import process_source

    done = process_source(
        o.source,
        o.steps,
        o.out,
        to=o.to,
        quality=o.quality,
        overwrite=o.overwrite,
        resume=o.resume,
        preview=o.preview,
        draft=o.draft,
        workers=o.workers,
        seed=o.seed or 0,
        stride=o.stride,
        max_frames=o.max_frames,
        pages=o.pages,
        quiet=is_quiet(o),
    )
    text = [f"{done.n_written:,} written to {shown_path(done.folder)}"]
    if done.n_skipped:
        text.append(f"{done.n_skipped:,} were there already")
    if done.preview is not None:
        text.append(f"before and after: {shown_path(done.preview)}")
    failed = [f for f in done.findings if f.severity != "note"]
    if failed and not o.json:
        warn(f"{len(failed):,} could not be done:")
    if not o.json:
        warn_of(done.findings)
    out = {"images": done.folder.resolve()} | ({"preview": done.preview.resolve()} if done.preview else {})
    counts = {"written": done.n_written, "skipped": done.n_skipped, "failed": len(failed)}
    return {
        "out": out,
        "steps": str(done.steps),
        "counts": {**counts, "bytes_in": done.bytes_in, "bytes_out": done.bytes_out},
        "findings": [vars(f) for f in done.findings],
        "text": text,
        "exit": 1 if failed else 0,
    }


def segment(o: argparse.Namespace) -> Result:
    from eyewright.processing import segment_file

    values = dict(_pair(item) for item in o.set or ())
    for name in ("box", "points", "markers"):
        if getattr(o, name) is not None:
            values[name] = getattr(o, name)
    done = segment_file(
        o.image, method=o.method, values=values, steps=o.steps, truth=o.truth, out=o.out, overwrite=o.overwrite
    )
    text = [f"{len(done.regions):,} region{'s' * (len(done.regions) != 1)} by {o.method}"]
    if done.dark is not None:
        sides = "dark objects on a bright background" if done.dark else "bright objects on a dark background"
        how = "as given" if "dark" in values and values["dark"] != "auto" else "decided from the picture"
        other = "" if how == "as given" else f"; --set dark={str(not done.dark).lower()} for the other way"
        text.append(f"{sides}, {how}{other}")
    if not o.json:
        warn_of(done.findings)
    text += [f"{name:26} {value:.3f}" for name, value in done.scores.items()]
    text += [f"{name:8} {shown_path(path)}" for name, path in done.paths.items()]
    if o.out is None:
        text.append("pass --out DIR to write labels, overlay, table and COCO")
    return {
        "task": "segment",
        "out": {name: path.resolve() for name, path in done.paths.items()},
        "metrics": {name: {"value": v, "low": None, "high": None, "n": 1} for name, v in done.scores.items()},
        "regions": [vars(r) for r in done.regions[:1000]],
        "counts": {"regions": len(done.regions)},
        "dark": done.dark,
        "findings": [finding(f) for f in done.findings],
        "text": text,
    }


def encode(o: argparse.Namespace) -> Result:
    if o.study is not None and not is_job(o):
        return _study(o)
    if not o.images and not o.verify:
        raise UsageError("expected images to encode, found none", fix="pass files or a folder, or --study FOLDER")
    if is_job(o):
        return encode_job(o, _target(o))
    from eyewright.processing.compression import encode_files

    files, findings = encode_files(
        o.images,
        o.out,
        to=o.to,
        target=_target(o),
        keep_icc=o.keep_icc,
        overwrite=o.overwrite,
        workers=o.workers,
        quiet=is_quiet(o),
    )
    text = [
        f"{'file':28} {'codec':>9} {'bytes':>10} {'saved':>6} {'bpp':>6} "
        f"{'PSNR':>6} {'SSIM':>7} {'MS-SSIM':>7} {'score':>5}"
    ]
    for e in files:
        # With the folder below --out, which tells files of one name apart.
        name = str(Path(e.source.name) if e.out is None else e.out.relative_to(o.out).with_name(e.source.name))
        name = name if len(name) <= 28 else "…" + name[-27:]
        numbers = f"{e.saved:6.1%} {e.bits_per_pixel:6.2f} {e.psnr:6.2f} {e.ssim:7.4f} {e.ms_ssim:7.4f} {e.score:5.1f}"
        text.append(f"{name:28} {e.codec:>9} {e.bytes_out:10,} {numbers}")
    before, after = sum(e.bytes_in for e in files), sum(e.bytes_out for e in files)
    if files:
        change = f"{1 - after / before:.1%} saved" if after <= before else f"{after / before - 1:.1%} LARGER"
        text.append(f"{len(files):,} file{'s' * (len(files) != 1)}, {before:,} bytes became {after:,}: {change}")
    if not o.json:
        warn_of(findings)
    missed = any(e.missed for e in files)
    failed = any(f.severity == "error" for f in findings)
    if failed and not files:
        raise UnreadableImageError(
            f"{findings[0].path}: {findings[0].message}", fix=findings[0].fix, code=findings[0].code
        )
    return {
        "out": {"images": Path(o.out).resolve()},
        "files": [_encoded(e) for e in files],
        "counts": {"bytes_in": before, "bytes_out": after},
        "findings": [vars(f) for f in findings],
        "text": text,
        # A target that cannot be met is a budget that was asked for.
        "exit": 5 if missed else 1 if failed else 0,
    }


def _study(o: argparse.Namespace) -> Result:
    from eyewright.processing import study_folder

    study = study_folder(o.study, o.out, workers=o.workers, quiet=is_quiet(o))
    for left_out in study.findings:
        warn(f"left out: {left_out.path}: {left_out.message}")
    text = [f"{study.n} {'picture' if study.n == 1 else 'pictures'}; bytes for the same quality, against JPEG:"]
    for codec, rates in study.rates.items():
        cells = "  ".join(f"{m} {'–' if r is None else f'{r:+.1f} %'}" for m, r in rates.items())
        text.append(f"  {codec:9} {cells}")
    text.append(f"page     {shown_path(study.paths['study'])}")
    return {
        "out": {k: p.resolve() for k, p in study.paths.items()},
        "bjontegaard_percent": study.rates,
        "findings": [vars(f) for f in study.findings],
        "text": text,
        "exit": 1 if study.findings else 0,
    }


def steps(o: argparse.Namespace) -> Result:
    from eyewright.imaging.steps.catalogue import all_steps
    from eyewright.imaging.steps.gallery import write_gallery

    table: dict[str, Any] = {}
    text: list[str] = []
    group = ""
    for name, kind in all_steps().items():
        if kind.group != group:
            group = kind.group
            text += ["", group.upper()] if text else [group.upper()]
        text.append(f"  {name:13} {kind.about}   e.g. {kind.example}")
        table[name] = {
            "group": kind.group, "about": kind.about, "example": kind.example, "depths": list(kind.depths),
            "colours": list(kind.colours), "by": kind.by,
            "parameters": [
                {"name": p.name, "takes": p.range_text, "default": p.default, "about": p.about, "only": list(p.only)}
                for p in kind.parameters
            ],
        }  # fmt: skip
        for p in kind.parameters:
            default = "" if p.default in (None, "") else f", default {p.default}"
            only = f" ({', '.join(p.only)})" if p.only else ""
            text.append(f"      {p.name:11} {p.about}{only}: {p.range_text}{default}")
    out = {}
    if o.out is not None:
        out["gallery"] = write_gallery(Path(o.out), image=o.image).resolve()
        text += ["", f"pictures: {shown_path(out['gallery'])}"]
    else:
        text += ["", "pass --out DIR for a page with a picture of each"]
    return {"steps": table, "out": out, "text": text}


def _target(o: argparse.Namespace) -> Any:
    from eyewright.processing import Target

    given = {
        "quality": o.quality, "bytes": None if o.target_bytes is None else parse_bytes(o.target_bytes),
        "ssim": o.target_ssim, "score": o.target_score,
    }  # fmt: skip
    chosen = {k: v for k, v in given.items() if v is not None}
    if len(chosen) > 1:
        names = " and ".join(f"--{'quality' if k == 'quality' else 'target-' + k}" for k in chosen)
        raise UsageError(f"expected one target, found {names}", fix="leave one out")
    kind: Any = next(iter(chosen), None)
    return None if kind is None else Target(kind, chosen[kind])


def _pair(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise UsageError(f"expected --set NAME=VALUE, found {item!r}", fix="as in --set regions=300")
    return name.strip(), value.strip()


def _encoded(e: Any) -> dict[str, Any]:
    kept = {k: v for k, v in vars(e).items() if k not in ("size_hw",)}
    numbers = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in kept.items()}
    size = {"height": e.size_hw[0], "width": e.size_hw[1], "bits_per_pixel": e.bits_per_pixel, "saved": e.saved}
    return {**numbers, "source": e.source.resolve(), "out": None if e.out is None else e.out.resolve(), **size}


def add_pictures(verb: Any) -> None:
    """Declare the options of these verbs."""
    p = verb("process")
    p.add_argument("source", metavar="SOURCE", help="file, folder, glob, video, camera number, stream or scanner")
    p.add_argument(
        "--steps",
        metavar="STEPS",
        required=True,
        help="processing steps, such as 'denoise | clahe:clip=2 | resize:640'",
    )
    p.add_argument("--out", metavar="DIR", required=True, help="where to write (required)")
    p.add_argument(
        "--to", metavar="FORMAT", help="output format: jpeg, png, webp, avif, tiff, … (default: that of the input)"
    )
    p.add_argument(
        "--quality",
        type=Number(1, 100, whole=False),
        default=90,
        metavar="Q",
        help="quality of lossy formats, 1-100 (default 90)",
    )
    p.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    p.add_argument("--resume", action="store_true", help="continue an interrupted batch")
    p.add_argument("--preview", action="store_true", help="write a sheet with the first files before and after")
    p.add_argument(
        "--pages", action="store_true", help="process every page of a document and every frame of an animation"
    )
    p.add_argument("--draft", action="store_true", help="decode JPEG files at reduced scale if the first step resizes")
    p.add_argument("--workers", type=Number(1, 1024), metavar="N", help="number of processes (default: one per core)")
    add_job(p, resume=False, workers=False)
    add_stream(p)

    p = verb("segment")
    p.add_argument("image", metavar="IMAGE", help="the image file")
    p.add_argument(
        "--method",
        default="otsu",
        metavar="NAME",
        help="otsu, adaptive, multi-otsu, k-means, slic, felzenszwalb, quick-shift, watershed, grabcut, flood, "
        "components",
    )
    p.add_argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="a parameter of the method, such as regions=300; "
        "dark=auto|true|false: otsu, adaptive and watershed label dark objects on a bright background (true) or bright "
        "objects on a dark one (false); by default (auto) the background is what touches the border most and varies "
        "least",
    )
    p.add_argument("--box", metavar="'X Y W H'", help="for grabcut")
    p.add_argument("--points", metavar="'X Y/X Y'", help="for flood")
    p.add_argument("--markers", metavar="'X Y/X Y'", help="for watershed")
    p.add_argument("--steps", metavar="STEPS", help="processing steps before the segmentation, such as 'smooth:guided'")
    p.add_argument("--truth", metavar="PNG", help="label image to score against")
    p.add_argument("--out", metavar="DIR", help="write labels, overlay, table and COCO to this folder")
    p.add_argument("--overwrite", action="store_true", help="replace existing outputs")

    p = verb("encode")
    p.add_argument("images", metavar="IMAGE", nargs="*", help="files, folders or globs")
    p.add_argument("--out", metavar="DIR", default="encoded", help="output folder (default encoded)")
    p.add_argument(
        "--to",
        default="auto",
        metavar="CODEC",
        help="codecs: auto, or jpeg, webp, avif, jxl, jpeg2000, png; several with commas",
    )
    p.add_argument(
        "--quality", type=Number(1, 100, whole=False), metavar="Q", help="quality, 1-100, on the scale of the codec"
    )
    p.add_argument(
        "--target-ssim",
        type=Number(0, 1, whole=False, open_low=True),
        metavar="S",
        help="target SSIM of the luma, such as 0.98",
    )
    p.add_argument("--target-bytes", type=Checked(parse_bytes), metavar="N", help="maximum size of a file, such as 50k")
    p.add_argument(
        "--target-score",
        type=Number(0, 100, whole=False, open_low=True),
        metavar="S",
        help="target SSIMULACRA 2 score (default 90: no visible loss)",
    )
    p.add_argument("--keep-icc", action="store_true", help="keep the colour profile")
    p.add_argument("--study", metavar="FOLDER", help="compare all codecs on a folder; writes study.html")
    p.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    p.add_argument(
        "--workers",
        type=Number(1, 1024),
        metavar="N",
        help="number of threads, for a job of processes (default: all cores)",
    )
    add_job(p, workers=False)

    p = verb("steps")
    p.add_argument("--out", metavar="DIR", help="write a page with a picture of each step")
    p.add_argument(
        "--image", metavar="IMAGE", help="image to show the steps on (default: one that ships with scikit-image)"
    )


def add_stream(p: argparse.ArgumentParser) -> None:
    """Declare the options of a source of frames."""
    p.add_argument(
        "--stride",
        type=Number(1, 1_000_000_000),
        default=1,
        metavar="N",
        help="videos and streams: take every N-th frame",
    )
    p.add_argument(
        "--max-frames", type=Number(1, 1_000_000_000), metavar="N", help="videos and streams: stop after N frames"
    )
