"""The verb that restores images by a bundle."""

__all__ = ["add_restoring", "restore"]

import argparse
from typing import Any

from eyewright.cli.numbers import Number
from eyewright.cli.terminal import Result, finding, is_quiet, printable, shown_path, warn
from eyewright.core.errors import UnreadableImageError


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
        changed = f"noise {f.sigma:5.1f}  changed {f.changed:.2%}{'  left as it is' * f.untouched}"
        text.append(f"{printable(f.out.name):32} {changed}")
    if done.files:
        n = len(done.files)
        text.append(f"{n:,} image{'s' * (n != 1)} written to {shown_path(done.folder)}; details are guesses")
    if not o.json:
        for one in done.findings:
            warn(f"{one.path}: {one.message}; {one.fix}")
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


def add_restoring(verb: Any) -> None:
    """Declare the options of the verb."""
    p = verb("restore")
    p.add_argument("bundle", metavar="BUNDLE", help="one that was trained with --task restore")
    p.add_argument("images", metavar="IMAGE", nargs="+", help="files, folders or globs")
    p.add_argument("--out", metavar="DIR", required=True)
    p.add_argument(
        "--strength", type=Number(0, 1, whole=False), default=1.0, metavar="P", help="share of the change that is made"
    )
    p.add_argument(
        "--sigma", type=Number(0, 100, whole=False), metavar="S", help="noise in levels of 0-255 (default: measured)"
    )
    p.add_argument("--tile", type=Number(16, 8192), metavar="N", help="smaller tiles: less memory, the same result")
    p.add_argument("--before-after", action="store_true", help="also write the image and the result side by side")
    p.add_argument("--map", action="store_true", help="also write where and how much was changed")
    p.add_argument("--to", metavar="FORMAT", help="png, tiff, jpeg, … (default: as it came)")
    p.add_argument(
        "--quality", type=Number(1, 100, whole=False), default=90, metavar="Q", help="1-100 for formats that lose"
    )
    p.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
