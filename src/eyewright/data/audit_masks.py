"""`doctor` on masks: wrong sizes, nothing marked, all of one class, foreground and background exchanged."""

__all__ = ["MASK_CODES", "audit_masks"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError
from eyewright.core.report import Finding
from eyewright.data.targets.target import IGNORE

if TYPE_CHECKING:
    from eyewright.data.dataset import Dataset
    from eyewright.data.scan import Scan
    from eyewright.data.targets.mask import MaskFile

MASK_CODES = MappingProxyType(
    {
        "mask_empty": "masks in which nothing is marked at all",
        "mask_full": "a mask of one class from edge to edge, where others are not",
        "mask_inverted": "a mask in which foreground and background are exchanged",
    }
)
"""Further codes that a finding about masks can have, with their meaning."""

_FEW = 4
_RARE = 0.2


@dataclass(frozen=True)
class _Look:
    """What one mask holds: pixels a class, int64 (256,), and those of them that lie at the image's edge."""

    file: "MaskFile"
    counts: NDArray[np.int64]
    edge: NDArray[np.int64]

    def cover(self, ids: Sequence[int]) -> float:
        """The fraction of pixels that are of these classes."""
        return float(self.counts[list(ids)].sum() / max(1, self.counts[:IGNORE].sum()))

    def edge_cover(self, ids: Sequence[int]) -> float:
        return float(self.edge[list(ids)].sum() / max(1, self.edge[:IGNORE].sum()))

    @property
    def held(self) -> list[int]:
        return np.flatnonzero(self.counts[:IGNORE]).tolist()


def audit_masks(dataset: "Dataset", scan: "Scan", files: Sequence[tuple[int, "MaskFile"]]) -> list[Finding]:
    """Return what is wrong with the masks of a dataset, each given with the number of its sample."""
    found: list[Finding] = []
    looks: list[_Look] = []
    ignored: list[Finding] = []
    for i, file in files:
        info = scan.records[i].info
        if info is None:
            continue
        try:
            values = file.values()
        except EyewrightError:
            # It was said when the list of masks was read.
            continue
        if values.shape != info.size_hw:
            mask_hw = (values.shape[0], values.shape[1])
            turned = info.orientation != 1
            found.append(_wrong_size(file.name, dataset.samples[i].id, mask_hw, info.size_hw, turned=turned))
            continue
        ids = file.read()
        if bool((ids == IGNORE).all()):
            text = "every pixel is ignored: 255, or the value of an ignored class"
            ignored.append(Finding("mask_value", text, "mark something in it, or remove it", file.name))
            continue
        looks.append(_Look(file, np.bincount(ids.ravel(), minlength=256), _edge_counts(ids)))
    if len(ignored) > 1 and not looks:
        text = f"every pixel of all {len(ignored):,} masks is ignored: 255, or the value of an ignored class"
        fix = "export the masks again, with the numbers of the classes"
        return [*found, Finding("mask_empty", text, fix, ignored[0].path, severity="error")]
    found += ignored
    if looks:
        found += _nothing_marked(dataset, looks) or [*_one_class(dataset, looks), *_inverted(dataset, looks)]
    return found


def _wrong_size(name: str, image: str, mask_hw: tuple[int, int], size_hw: tuple[int, int], *, turned: bool) -> Finding:
    text = f"the mask is {mask_hw[1]}x{mask_hw[0]}, its image {image!r} {size_hw[1]}x{size_hw[0]}"
    swapped = mask_hw == size_hw[::-1]
    fix = "export it again"
    if swapped:
        fix = (
            "turn it: its EXIF tag rotates the image"
            if turned
            else "turn it, or export it again: its sides are swapped"
        )
    return Finding("mask_size", text, fix, name, severity="error")


def _edge_counts(ids: NDArray[np.uint8]) -> NDArray[np.int64]:
    edge = np.concatenate([ids[0], ids[-1], ids[1:-1, 0], ids[1:-1, -1]])
    counts: NDArray[np.int64] = np.bincount(edge, minlength=256)
    return counts


def _nothing_marked(dataset: "Dataset", looks: Sequence[_Look]) -> list[Finding]:
    """Return what is wrong where all masks are the same: empty, or one class from edge to edge."""
    if len(looks) < 2:
        return []
    held = {k for look in looks for k in look.held}
    if len(held) > 1:
        return []
    name = dataset.labels.names[held.pop()]
    values = sorted({int(v) for look in looks[:3] for v in np.unique(look.file.values())})
    shown = ", ".join(map(str, values[:5]))
    if not set(dataset.foreground) & {k for look in looks for k in look.held}:
        text = f"nothing is marked in any of the {len(looks):,} masks: every pixel is {name!r} (value {shown})"
        fix = "export the masks again, with the number of a class where something is marked"
        if any(look.counts[IGNORE] for look in looks):
            fix += ", not 255, which means that the class is unknown"
        return [Finding("mask_empty", text, fix, looks[0].file.name, severity="error")]
    text = f"all {len(looks):,} masks are {name!r} from edge to edge (value {shown})"
    return [Finding("mask_full", text, "export the masks again, with background", looks[0].file.name, severity="error")]


def _one_class(dataset: "Dataset", looks: Sequence[_Look]) -> Iterator[Finding]:
    """Yield masks that are one class from edge to edge, where that is rare."""
    foreground = dataset.foreground
    full = [look for look in looks if len(look.held) == 1 and look.held[0] in foreground]
    if not full or len(looks) < _FEW or len(full) > max(1, _RARE * len(looks)):
        return
    for look in full:
        text = f"every pixel is {dataset.labels.names[look.held[0]]!r}, but most masks hold several classes"
        yield Finding("mask_full", text, "check that it was not filled by mistake", look.file.name)


def _inverted(dataset: "Dataset", looks: Sequence[_Look]) -> Iterator[Finding]:
    """Yield masks whose foreground lies where the background of the others does: over most, and along the edge."""
    # Of classes that are listed and never seen, nothing is known.
    seen = {k for look in looks for k in look.held}
    foreground = [k for k in dataset.foreground if k in seen]
    if len(dataset.foreground) == len(dataset.labels):
        return
    partial = [look for look in looks if 0 < look.cover(foreground) < 1]
    if len(partial) < _FEW:
        return
    cover = np.array([look.cover(foreground) for look in partial])
    edge = np.array([look.edge_cover(foreground) for look in partial])
    wide = (cover > 0.5) & (edge > 0.8)
    if len(foreground) == 1 and wide.mean() >= 0.8 and float(np.median(cover)) > 0.7:
        name = dataset.labels.names[foreground[0]]
        text = (
            f"{name!r} covers {float(np.median(cover)):.0%} of the image and its edge in {int(wide.sum()):,} of "
            f"{len(partial):,} masks: foreground and background seem to be exchanged"
        )
        yield Finding("mask_inverted", text, "swap the two values, unless it is intended", partial[0].file.name)
        return
    usual = ~wide
    if wide.sum() > len(partial) / 3 or not usual.any() or float(np.median(edge[usual])) > 0.2:
        return
    high = float(np.quantile(cover[usual], 0.9))
    for k in np.flatnonzero(wide):
        look = partial[k]
        # Turned round it must look like the others, and be far from them as it is.
        alone = len(set(look.held) & set(foreground)) == 1
        if alone and 1 - cover[k] <= 2 * high and cover[k] >= high + 0.2:
            text = (
                f"the foreground covers {cover[k]:.0%} of the image and {edge[k]:.0%} of its edge, where "
                f"{float(np.median(cover[usual])):.0%} is usual: foreground and background seem to be exchanged"
            )
            yield Finding("mask_inverted", text, "swap the two values in this mask", look.file.name)
