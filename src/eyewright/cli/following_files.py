"""Which files `eyewright track` writes, and which it must not."""

__all__ = ["draws", "keeps_images", "refuse_inputs", "reports"]

import argparse
from collections.abc import Collection, Iterable
from pathlib import Path

from eyewright.cli.terminal import plain_stem

_ENDINGS = {"mot": "txt", "csv": "csv", "json": "json", "video": "webm", "report": "html"}


def refuse_inputs(
    o: argparse.Namespace, saved: Collection[str], names: Collection[str], detections: Iterable[Path] = ()
) -> None:
    """Refuse to write over the source, detections, frames or truth that are read; `names` are those of the sequences.

    Raises:
        OutputError: a file of the output is one of them.
    """
    from eyewright.core.files import refuse_overwriting
    from eyewright.data.tracks import find_sequences
    from eyewright.imaging.given import given_source

    if o.out is None:
        return
    inputs = [] if o.source is None else [Path(given_source(str(o.source)))]
    inputs += detections
    if o.frames is not None:
        inputs.append(Path(o.frames))
    if o.truth is not None:
        inputs += [s.path for s in find_sequences(Path(o.truth), "truth")]
    folder = Path(o.out)
    stems = [plain_stem(f"{name}.x") for name in names]
    endings = [_ENDINGS[kind] for kind in saved if kind in _ENDINGS]
    refuse_overwriting([folder / f"{stem}.{ending}" for stem in stems for ending in endings], inputs)


def draws(saved: Collection[str]) -> bool:
    """Return whether a drawn video is to be saved."""
    return not {"video"}.isdisjoint(saved)


def keeps_images(saved: Collection[str]) -> bool:
    """Return whether each drawn frame is to be saved as an image."""
    return "images" in saved


def reports(saved: Collection[str]) -> bool:
    """Return whether a page is to be saved."""
    return "report" in saved
