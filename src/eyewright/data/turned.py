"""Images turned by four quarters, told apart by how far: what a classifier learns from where there are no classes."""

__all__ = ["with_turns"]

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from eyewright.core.labels import LabelSpace
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.scan import Record, Scan
from eyewright.data.targets.label import Label
from eyewright.data.tree import Encoded, Tree

_TURNS = (0, 90, 180, 270)
_MOST = 5_000


class TurnedTree:
    """A tree in which each image is there four times: `turned-90/NAME` is the image NAME turned by 90 degrees against
    the clock."""

    def __init__(self, first: Tree) -> None:
        self.root: Path = first.root
        self._first = first

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(_turned(turn, name) for turn in _TURNS for name in self._first.names()))

    def content(self, name: str) -> bytes:
        return self._first.content(name.partition("/")[2])

    def picture(self, name: str) -> Image.Image:
        folder, _, own = name.partition("/")
        return self._first.picture(own).rotate(int(folder.partition("-")[2]), expand=True)

    def encoded(self, name: str) -> Encoded | None:
        # Its pixels are not those of the file.
        return None

    def folders(self) -> tuple[str, ...]:
        return ()


def with_turns(dataset: Dataset, scan: Scan, *, task: str, most: int = _MOST) -> tuple[Dataset, Scan]:
    """Return the images of a dataset, at most `most` of them, turned by 0, 90, 180 and 270 degrees, with the turn as
    their class, and the scan of them. The first class is called as the images' own.

    A classifier that tells turns apart has learnt what the images show (Gidaris et al. 2018).
    """
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().astype(int)).tolist()
    name = dataset.labels.names[0]
    labels = LabelSpace((name, *(f"{name}, turned by {turn}°" for turn in _TURNS[1:])))
    samples = [
        replace(dataset.samples[i], id=_turned(turn, dataset.samples[i].id), target=Label(k), stated_hw=None)
        for i in rows
        for k, turn in enumerate(_TURNS)
    ]
    records = [_record(scan.records[i], turn) for i in rows for turn in _TURNS]
    thumbnails, colours = (
        np.stack([np.rot90(own[i], k) for i in rows for k in range(4)]) for own in (scan.thumbnails, scan.colours)
    )
    turned = replace(
        dataset, tree=TurnedTree(dataset.tree), samples=_grouped(samples), labels=labels, task=task, grouping=None
    )
    return turned, Scan(tuple(records), thumbnails, colours)


def _turned(turn: int, name: str) -> str:
    return f"turned-{turn}/{name}"


def _record(record: Record, turn: int) -> Record:
    info = record.info
    if info is not None and turn % 180:
        info = replace(info, size_hw=(info.size_hw[1], info.size_hw[0]))
    return replace(record, digest=f"{record.digest}-{turn}", info=info)


def _grouped(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return samples of which the turns of one image are a group."""
    return tuple(replace(s, group=s.group or s.id.partition("/")[2]) for s in samples)
