"""What the pages of boxes and of masks share: ground truth next to prediction, an explanation, weak slices."""

__all__ = [
    "upscale_factor",
    "explain_most_confident",
    "explained_block",
    "upscaled",
    "scene_address",
    "slice_table",
    "worst_block",
]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Report
from eyewright.data.dataset import Dataset
from eyewright.evaluation.blocks import Block, Cell, Scene, Scenes, Span, Table
from eyewright.evaluation.reporting import Explain, Pictures
from eyewright.evaluation.units import show_number
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink

_DRAWN_SIDE = 520
_SCENE_SIDE = 1024

_LOOKED_AT = 5
_SIDE = 448


def upscale_factor(image: NDArray[np.uint8]) -> int:
    """Return how many times an image is enlarged before words are drawn on it, which would hide a small one."""
    longer: int = max(image.shape[:2])
    return max(1, _DRAWN_SIDE // longer)


def scene_address(drawn: NDArray[np.uint8]) -> str:
    """Return a picture of truth or prediction as a data address, at most 1,024 pixels its longer side."""
    return data_uri(shrink(drawn, _SCENE_SIDE) if max(drawn.shape[:2]) > _SCENE_SIDE else drawn)


def upscaled(pixels: NDArray[Any], k: int) -> NDArray[Any]:
    """Return every pixel as k x k of them, (H, W, ...)."""
    return pixels if k == 1 else np.repeat(np.repeat(pixels, k, 0), k, 1)


def worst_block(pictures: Pictures, empty: str) -> Scenes:
    """Return the images under "worst", ground truth next to prediction; `empty` is said where there are none."""
    rows = [
        Scene(
            ((s["truth"], "truth", "truth"), (s["found"], "found", "prediction")),
            below=(Span(s["text"] + " "), Span(s["id"], "soft")),
            of=s["of"],
        )
        for s in pictures.get("worst", ())
    ]
    return Scenes("Worst images" if rows else "Images", rows, empty=empty)


def explain_most_confident(report: Report, dataset: Dataset, pictures: Pictures, explain: Explain) -> Pictures:
    """Return the pictures with one explanation, of the most confident prediction on the worst image that has any."""
    for item in report.items[:_LOOKED_AT]:
        for one in explain([dataset.image(item["index"])], [item["id"]]):
            row = {
                "src": data_uri(shrink(one.overlay(), _SIDE)),
                "label": one.label,
                "score": one.score,
                "id": one.source,
                "method": one.method,
                "verdict": str(one.verdict),
                "faithful": one.verdict.faithful,
            }
            return {**pictures, "explained": [row]}
    return pictures


def explained_block(pictures: Pictures) -> list[Block]:
    """Return the explanations that `explain_most_confident` adds to the pictures."""
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
    lead = f"{name} by number of objects, size and brightness, weakest first."
    return [Table("Weak slices", header, rows, lead=lead)] if rows else []
