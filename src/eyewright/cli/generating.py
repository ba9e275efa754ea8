"""The verb that draws images by a bundle or a run."""

__all__ = ["add_generating", "generate"]

import argparse
from typing import Any

from eyewright.cli.numbers import Number
from eyewright.cli.terminal import Result, finding, is_quiet, shown_path, warn_of


def generate(o: argparse.Namespace) -> Result:
    """Draw images."""
    from eyewright import lifecycle

    done = lifecycle.generate_images(
        o.model,
        o.out,
        n=o.n,
        label=getattr(o, "class"),
        seed=o.seed or 0,
        steps=o.steps,
        guidance=o.guidance,
        truncation=o.truncation,
        grid=o.grid,
        interpolate=None if o.interpolate is None else tuple(o.interpolate),
        overwrite=o.overwrite,
        quiet=is_quiet(o),
    )
    n = len(done.files)
    text = [f"{n:,} image{'s' * (n != 1)} generated: {shown_path(done.folder)}; each file is marked as generated"]
    if done.copies is not None:
        text.append(f"{done.copies:.1%} are nearer to a training image than 99% of held-out images")
    if done.removed:
        text.append(f"{done.removed:,} file{'s' * (done.removed != 1)} of an earlier draw removed")
    if not o.json:
        warn_of(done.findings)
    out = {"images": done.folder.resolve(), **({} if done.grid is None else {"grid": done.grid.resolve()})}
    return {
        "out": out,
        "model_digest": done.digest,
        "counts": {"images": n, "removed": done.removed},
        "copies": done.copies,
        "files": [{"out": f.out.resolve(), "label": f.label, "seed": f.seed} for f in done.files],
        "findings": [finding(f) for f in done.findings],
        "text": text,
        "exit": 1 if done.findings else 0,
    }


def add_generating(verb: Any) -> None:
    """Declare the options of the verb."""
    p = verb("generate")
    p.add_argument("model", metavar="BUNDLE|RUN", help="a bundle or run trained with --task generate")
    p.add_argument("-n", type=Number(1, 100_000), default=64, metavar="N", help="number of images (default 64)")
    p.add_argument("--class", metavar="NAME", help="class to generate (default: all in turn)")
    p.add_argument(
        "--steps", type=Number(1, 1000), metavar="N", help="sampling steps of a flow model; runs only (default 8)"
    )
    p.add_argument(
        "--guidance",
        type=Number(0, 20, whole=False),
        metavar="G",
        help="classifier-free guidance of a flow model; runs only",
    )
    p.add_argument(
        "--truncation",
        type=Number(0.01, 1, whole=False),
        default=1.0,
        metavar="P",
        help="truncation of the noise; below 1 gives less varied images (default 1)",
    )
    p.add_argument(
        "--grid", action="store_true", help="also write grid.png, all images side by side; an interpolation in one row"
    )
    p.add_argument("--interpolate", nargs=2, metavar=("A", "B"), help="interpolate from class A to class B")
    p.add_argument("--out", metavar="DIR", required=True, help="folder for the images")
    p.add_argument("--overwrite", action="store_true", help="replace an earlier draw in DIR; other files stay")
