"""The options that add generated images to training, and what the verbs say of it."""

__all__ = ["add_generated_options", "asked_generated", "refuse_generated", "said_generated"]

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eyewright.cli.numbers import Number
from eyewright.core.errors import UsageError

if TYPE_CHECKING:
    from eyewright.lifecycle.adding import AddGenerated

_FRACTION, _PAIRS = 0.5, 3


def add_generated_options(p: argparse.ArgumentParser) -> None:
    """Add --add-generated and what goes with it."""
    p.add_argument(
        "--add-generated",
        metavar="RUN|BUNDLE",
        help="also train on images that this generator makes for rare classes, and measure on real validation images "
        "whether they help",
    )
    p.add_argument(
        "--generated-fraction",
        type=Number(0, 1, whole=False, open_low=True, open_high=True),
        metavar="P",
        help=f"fraction of the training images of a rare class that are generated (default {_FRACTION})",
    )
    p.add_argument(
        "--generated-for",
        metavar="NAME",
        action="append",
        default=[],
        help="class to generate images for (repeatable; default: classes with fewer than half the images of the "
        "median class)",
    )
    p.add_argument(
        "--generated-pairs",
        type=Number(1, 100),
        metavar="N",
        help=f"number of pairs of nets, trained with and without generated images (default {_PAIRS})",
    )


def asked_generated(o: argparse.Namespace) -> "AddGenerated | None":
    """Return what was asked for, None where nothing was or the command has no such options.

    Raises:
        UsageError: an option of generated images without a generator.
    """
    if "add_generated" not in o:
        # `harden` trains as `train` does, and has no such options.
        return None
    given = {"fraction": o.generated_fraction, "pairs": o.generated_pairs}
    if o.add_generated is None:
        named = next((k for k, v in {**given, "for": o.generated_for}.items() if v), None)
        if named is not None:
            raise UsageError(f"expected --add-generated with --generated-{named}, found none", fix="add it")
        return None
    from eyewright.lifecycle.adding import AddGenerated

    chosen = {k: v for k, v in given.items() if v is not None}
    return AddGenerated(o.add_generated, labels=tuple(o.generated_for), **chosen)


def refuse_generated(o: argparse.Namespace, other: str) -> None:
    """Refuse generated images together with another option.

    Raises:
        UsageError: they were asked for.
    """
    if asked_generated(o) is not None:
        raise UsageError(f"expected {other} without --add-generated, found both", fix="leave one out")


def said_generated(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `--json` says of generated images in training, and their finding; nothing where there are none."""
    from eyewright.cli.terminal import finding
    from eyewright.evaluation.added import added_finding

    added = about.get("generated")
    if not added:
        return {}
    found = added_finding(added)
    return {"generated": added, "findings": [] if found is None else [finding(found)]}
