"""What the pages of boxes and of masks share: truth beside prediction, an explanation, weak slices."""

__all__ = [
    "SCENE_SIDE",
    "add_heats",
    "doubted",
    "enlargement",
    "explained_block",
    "larger",
    "slice_table",
    "worst_block",
]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Report
from eyewright.evaluation.blocks import Block, Cell, Scene, Scenes, Span, Table
from eyewright.evaluation.reporting import Heat, Pictures
from eyewright.evaluation.units import show_number
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink

SCENE_SIDE = 520
"""The longer side in pixels of a picture of truth or prediction."""


_HEAT_SIDE = 448
_LOOKED_AT = 5


def enlargement(image: NDArray[np.uint8]) -> int:
    """Return how many times an image is enlarged before words are drawn on it, which would hide a small one."""
    longer: int = max(image.shape[:2])
    return max(1, SCENE_SIDE // longer)


def larger(pixels: NDArray[Any], k: int) -> NDArray[Any]:
    """Return every pixel as k x k of them, (H, W, ...)."""
    return pixels if k == 1 else np.repeat(np.repeat(pixels, k, 0), k, 1)


def worst_block(pictures: Pictures, empty: str) -> Scenes:
    """Return the images under "worst", truth beside prediction; `empty` is said where there are none."""
    rows = [
        Scene(
            ((s["truth"], "truth", "truth"), (s["found"], "found", "prediction")),
            below=(Span(s["text"] + " "), Span(s["id"], "soft")),
        )
        for s in pictures.get("worst", ())
    ]
    return Scenes("Worst images" if rows else "Images", rows, empty=empty)


def doubted(report: Report, pictures: Pictures) -> Sequence[Mapping[str, Any]]:
    """Return the images that went worst: on the first that has a prediction it is explained."""
    return report.items[:_LOOKED_AT]


def add_heats(pictures: Pictures, heats: Sequence[Heat]) -> Pictures:
    """Return the pictures with explanations under "explained"."""
    rows = [
        {
            "src": data_uri(shrink(h.image, _HEAT_SIDE)),
            "label": h.label,
            "score": h.score,
            "id": h.id,
            "method": h.method,
            "verdict": h.verdict,
            "faithful": h.faithful,
        }
        for h in heats
    ]
    return {**pictures, "explained": rows}


def explained_block(pictures: Pictures) -> list[Block]:
    """Return the explanations under "explained"."""
    rows = [
        Scene(
            ((e["src"], "heatmap", ""),),
            beside=(
                (Span(e["label"], "bold"), Span(f", {e['score']:.1%}, in "), Span(e["id"], "soft")),
                (
                    Span(
                        "Regions that support this prediction: by how much its score falls when a patch is covered "
                        f"({e['method']})."
                    ),
                ),
                (Span(e["verdict"], "soft" if e["faithful"] else "bad"),),
            ),
        )
        for e in pictures.get("explained", ())
    ]
    return [Scenes("Explanation", rows)] if rows else []


def slice_table(report: Report, key: str, name: str, short: str) -> list[Block]:
    """Return the table of slices, whose metric is under `key`; `name` begins a sentence, `short` heads a column."""
    slices = report.tables.get("slices") or ()
    rows = [
        (
            Cell(r["slice"]),
            Cell(r["value"], "wide"),
            Cell(str(r["n"]), "n"),
            Cell(show_number("rate", r[key]), "n"),
            Cell(show_number("rate", r["rest"]), "n"),
        )
        for r in slices
    ]
    header = (Cell("slice"), Cell("value"), Cell("images", "n"), Cell(short, "n"), Cell("the rest", "n"))
    lead = f"{name} by number of objects, size and brightness, the weakest first."
    return [Table("Weak slices", header, rows, lead=lead)] if rows else []
