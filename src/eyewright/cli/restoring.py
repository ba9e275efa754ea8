"""The verbs that repair images: restore by a bundle, inpaint with or without one."""

__all__ = ["add_restoring", "inpaint", "restore"]

import argparse
import math
from typing import Any

from eyewright.cli.numbers import Checked, Number
from eyewright.cli.terminal import Result, finding, is_quiet, printable, shown_path, warn_of
from eyewright.core.errors import UnreadableImageError, UsageError

_LEAST_SHARE = 0.001


def restore(o: argparse.Namespace) -> Result:
    """Restore image files."""
    from eyewright import lifecycle

    done = lifecycle.restore(
        o.bundle,
        o.images,
        o.out,
        strength=o.strength,
        sigma=o.sigma,
        tile=o.tile,
        test_time_augment=o.test_time_augment,
        to=o.to,
        quality=o.quality,
        before_after=o.before_after,
        map=o.map,
        overwrite=o.overwrite,
        quiet=is_quiet(o),
    )
    failed = [f for f in done.findings if f.severity == "error"]
    if failed and not done.files:
        first = failed[0]
        raise UnreadableImageError(f"{first.path}: {first.message}", fix=first.fix, code=first.code)
    text = []
    for f in done.files[:50]:
        # Of a net that undoes a blur, noise was not measured.
        noise = f"noise {f.sigma:5.1f}  " if f.sigma else ""
        changed = f"changed {f.changed:.2%}" if not f.untouched else "unchanged"
        text.append(f"{printable(f.out.name):32} {noise}{changed}")
    if done.files:
        n = len(done.files)
        text.append(f"{n:,} image{'s' * (n != 1)} written to {shown_path(done.folder)}; details are guesses")
    if not o.json:
        warn_of(done.findings)
    return {
        "task": "restore",
        "out": {"images": done.folder.resolve()},
        "degrade": done.degrade,
        "files": [
            {
                "source": f.source.resolve(),
                "out": f.out.resolve(),
                "sigma": round(f.sigma, 3),
                "changed": round(f.changed, 6),
                "height": f.size_hw[0],
                "width": f.size_hw[1],
                "untouched": f.untouched,
            }
            for f in done.files
        ],
        "findings": [finding(f) for f in done.findings],
        "text": text,
        "exit": 1 if failed else 0,
    }


def inpaint(o: argparse.Namespace) -> Result:
    """Fill a part of an image."""
    from eyewright import lifecycle

    finder, filler = lifecycle.bundles_by_role(getattr(o, "with") or (), finds=o.object is not None)
    done = lifecycle.inpaint(
        o.image,
        o.out,
        mask=o.mask,
        box=None if o.box is None else [_box(b) for b in o.box],
        label=o.object,
        model=finder,
        net=filler,
        conf=o.conf,
        method=o.method,
        test_time_augment=o.test_time_augment,
        grow=o.grow,
        feather=o.feather,
        quality=o.quality,
        overwrite=o.overwrite,
        seed=o.seed or 0,
    )
    text = []
    if done.out is not None:
        where = f" in {done.objects} object{'s' * (done.objects != 1)}" if o.object else ""
        share = f"{done.share:.1%}" if done.share >= _LEAST_SHARE else f"below {_LEAST_SHARE:.1%}"
        pixels = f"{done.pixels:,} pixel{'s' * (done.pixels != 1)} ({share})"
        text.append(f"{pixels}{where} filled by {done.method}: {shown_path(done.out)}")
        kept = not any(f.code == "format_loses" for f in done.findings)
        text.append(f"the filled pixels are a guess{'; all others are unchanged' * kept}")
    if not o.json:
        warn_of(done.findings)
    return {
        "out": {} if done.out is None else {"image": done.out.resolve()},
        "method": done.method,
        "counts": {"pixels": done.pixels, "objects": done.objects},
        "changed": round(done.share, 6),
        "findings": [finding(f) for f in done.findings],
        "text": text,
        "exit": 0 if done.out is not None else 1,
    }


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(p) for p in text.split(","))
    except ValueError:
        raise UsageError(f"expected --box as X,Y,W,H in pixels, found {text!r}", fix="such as 10,20,64,48") from None
    if not (all(math.isfinite(v) for v in (x, y, width, height)) and width > 0 and height > 0):
        raise UsageError(f"expected a box with a width and a height above 0, found {text!r}", fix="change --box")
    return x, y, width, height


def add_restoring(verb: Any) -> None:
    """Declare the options of the verbs."""
    p = verb("restore")
    p.add_argument("bundle", metavar="BUNDLE", help="a bundle trained with --task restore")
    p.add_argument("images", metavar="IMAGE", nargs="+", help="files, folders or globs")
    p.add_argument("--out", metavar="DIR", required=True, help="where to write (required)")
    p.add_argument(
        "--strength",
        type=Number(0, 1, whole=False),
        default=1.0,
        metavar="P",
        help="fraction of the change to apply (default 1)",
    )
    p.add_argument(
        "--sigma",
        type=Number(0, 100, whole=False),
        metavar="S",
        help="noise level, 0-255 (default: measured in each image)",
    )
    p.add_argument(
        "--tile",
        type=Number(16, 8192),
        metavar="N",
        help="side of the tiles; smaller ones need less memory and give the same result",
    )
    p.add_argument(
        "--test-time-augment", action="store_true", help="average over 8 flips and rotations: 8 times the time"
    )
    p.add_argument("--before-after", action="store_true", help="also write the image and the result side by side")
    p.add_argument("--map", action="store_true", help="also write a map of the changes")
    p.add_argument("--to", metavar="FORMAT", help="output format: png, tiff, jpeg, … (default: that of the input)")
    p.add_argument(
        "--quality",
        type=Number(1, 100, whole=False),
        default=90,
        metavar="Q",
        help="quality of lossy formats, 1-100 (default 90)",
    )
    p.add_argument("--overwrite", action="store_true", help="replace existing outputs")

    p = verb("inpaint")
    p.add_argument("image", metavar="IMAGE", help="the image file")
    p.add_argument(
        "--mask",
        metavar="FILE",
        action="append",
        help="mask of the same size as the image, white where to fill; repeatable",
    )
    p.add_argument(
        "--box", type=Checked(_box), metavar="X,Y,W,H", action="append", help="fill this box, in pixels; repeatable"
    )
    p.add_argument(
        "--object",
        metavar="NAME",
        action="append",
        help="fill every object of this class that --with finds; repeatable",
    )
    p.add_argument(
        "--with",
        metavar="BUNDLE",
        action="append",
        help="a bundle that finds boxes or masks, for --object; or one that fills holes; twice for both",
    )
    p.add_argument("--conf", type=Number(0, 1, whole=False), metavar="P", help="minimum score of an object")
    p.add_argument(
        "--test-time-augment",
        action="store_true",
        help="with a net, average over 8 flips and rotations: 8 times the time",
    )
    p.add_argument(
        "--method",
        default="auto",
        metavar="NAME",
        help="inpainting method: auto (default), fsr, ns, biharmonic, exemplar or net",
    )
    p.add_argument(
        "--grow", type=Number(0, 256), metavar="N", help="also fill N pixels around the mask (default 3 for objects)"
    )
    p.add_argument(
        "--feather",
        type=Number(0, 256),
        metavar="N",
        help="blend the outer N of these pixels with the image (default 2 for objects)",
    )
    p.add_argument("--out", metavar="FILE", required=True, help="output image; PNG keeps all other pixels unchanged")
    p.add_argument(
        "--quality",
        type=Number(1, 100, whole=False),
        default=90,
        metavar="Q",
        help="quality of lossy formats, 1-100 (default 90)",
    )
    p.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
