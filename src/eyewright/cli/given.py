"""Which images a verb is given: after the model, as `--source`, or both ways in one command."""

__all__ = ["add_images", "given_images", "listed", "one_source", "refuse_swapped"]

import argparse
from pathlib import Path
from typing import Any

from eyewright.cli.terminal import shown_path
from eyewright.core.errors import UsageError


def add_images(p: argparse.ArgumentParser, *, help: str, source: str) -> None:
    """Add IMAGE … and `--source`, which mean the same; read both with `given_images`."""
    images = p.add_argument("images", metavar="IMAGE", nargs="+", help=help)
    # Not required, since --source may name them. "*" would match nothing before the first option, and argparse would
    # refuse the images after it.
    images.required = False
    p.add_argument("--source", metavar="S", action="append", help=source)


def given_images(o: argparse.Namespace) -> list[str]:
    """Return what was given in both ways, in order.

    Raises:
        UsageError: nothing.
    """
    given = [*(o.images or ()), *(o.source or ())]
    if not given:
        raise UsageError("expected images after the model, found none", fix="pass a file, folder or glob")
    return [str(text) for text in given]


def one_source(given: list[str], what: str) -> str:
    """Return the only one of what was given, for what takes no more.

    Raises:
        UsageError: there are more.
    """
    if len(given) != 1:
        raise UsageError(f"expected one source {what}, found {len(given)}", fix="pass a folder, or a glob in quotes")
    return given[0]


def listed(sources: list[str]) -> list[Path | str]:
    """Return the files of all sources, those of each sorted."""
    from eyewright.imaging.sources import list_sources

    return [item for source in sources for item in list_sources(source)]


def refuse_swapped(model: str, images: list[str], verb: str) -> None:
    """Refuse images and a model in the wrong order: the model is no bundle or run, and the images are one.

    Raises:
        UsageError: they are swapped.
    """
    if _is_model(model) or not images or not _is_model(images[0]):
        return
    if not Path(model).exists():
        return
    found = f"found a model at {shown_path(Path(images[0]))}"
    raise UsageError(f"expected the model first and the images after it, {found}", fix=f"eyewright {verb} MODEL IMAGE")


def _is_model(given: Any) -> bool:
    place = Path(str(given))
    return any((place / name).is_file() for name in ("bundle.json", "run.json", "target.json", "bundle/bundle.json"))
