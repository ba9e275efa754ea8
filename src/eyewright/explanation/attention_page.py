"""The page of attention: every layer and head as a small map, and where a token looks. One file, offline."""

__all__ = ["render_attention"]

import base64
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.jsonable import dumps_json
from eyewright.evaluation.finishing import finish_page
from eyewright.evaluation.pages import style_sheet, template
from eyewright.explanation.attention_maps import Attention
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink

MOST_TOKENS = 128
"""How many tokens of a text one page shows."""

# Of all maps of one input, a byte a weight.
_MOST_BYTES = 6_000_000
_SIDE = 640


def render_attention(attention: Attention, *, first_token: int = 0, rollout: bool = True) -> str:
    """Return the page of an attention and its `others`: one HTML file of at most about 12 MB that needs nothing else.

    Of a text 128 tokens from `first_token` are shown, and a finer grid of patches than fits is averaged; both are said
    on the page. Weights are stored as square roots of 16 bits, and of large maps of 8, which are exact to 0.004 near 1
    and to 0.0004 at 0.01.
    """
    shown = [_part(one, first_token, rollout=rollout) for one in attention.walk()]
    folder = Path(__file__).parent
    title = Path(attention.source).name if attention.kind == "image" else attention.source
    page: str = template("attention.html.j2", folder).render(
        style=style_sheet(),
        attention=attention,
        title=title if len(title) <= 120 else f"{title[:119]}…",
        verdicts=list(dict.fromkeys(a.verdict for a in attention.walk() if a.verdict)),
        notes=[note for part in shown for note in part.pop("notes")],
        # "<" inside a script element could end it: tokens are not ours.
        data=dumps_json(shown).replace("<", "\\u003c"),
        script=(folder / "attention.js").read_text("utf-8"),
    )
    return finish_page(page)


def _part(one: Attention, first: int, *, rollout: bool) -> dict[str, Any]:
    notes: list[str] = []
    maps = one.weights
    whole = one.layers == tuple(range(one.depth)) and len(one.heads) == one.weights.shape[1]
    extra = one.rollout()[None, None].astype(np.float32) if rollout and whole and one.kind != "cross" else None
    tokens, keys, words, special = one.tokens, one.keys, one.words, one.special
    boxes, grid = one.boxes_xyxy, one.grid_hw
    if grid != (0, 0):
        factor = _factor(maps.shape, grid)
        if factor > 1:
            before = len(tokens) - grid[0] * grid[1]
            maps = _pooled(maps, before, grid, factor)
            extra = None if extra is None else _pooled(extra, before, grid, factor)
            rows, columns = -(-grid[0] // factor), -(-grid[1] // factor)
            names = tuple(f"{y * factor},{x * factor}" for y in range(rows) for x in range(columns))
            tokens = keys = words = (*tokens[:before], *names)
            special = (*special[:before], *[False] * len(names))
            boxes = None if boxes is None else _pooled_boxes(boxes, grid, factor)
            notes.append(
                f"The grid of {grid[0]}x{grid[1]} patches is shown as {rows}x{columns}: {factor}x{factor} patches "
                "are one, with the sum of what is attended to in them. The .npz files have all."
            )
            grid = (rows, columns)
    else:
        rows_cut, columns_cut = _cut(len(tokens), first), _cut(len(keys), first)
        left = len(tokens) - (rows_cut.stop - rows_cut.start)
        if left or len(keys) > columns_cut.stop - columns_cut.start:
            maps = maps[:, :, rows_cut, columns_cut]
            extra = None if extra is None else extra[:, :, rows_cut, columns_cut]
            tokens, keys, words, special = (
                tokens[rows_cut],
                keys[columns_cut],
                words[columns_cut],
                special[columns_cut],
            )
            notes.append(
                f"Tokens {columns_cut.start} to {columns_cut.stop - 1} of {len(one.keys)} are shown ({one.kind}); "
                "rows here sum to less than 1. Use --from N for others; the .npz files have all."
            )
    lines = one.words if one.keys == one.tokens else one.tokens
    shown = lines[_cut(len(one.tokens), first)] if grid == (0, 0) else tokens
    picture = None if one.image is None else shrink(one.image, _SIDE)
    # Lists are in the order of the weights, and 8 bits make many of a long text equal.
    bits = 16 if 2 * maps.size <= _MOST_BYTES else 8
    return {
        "bits": bits,
        "kind": one.kind,
        "layers": one.layers,
        "heads": one.heads,
        "shape": maps.shape,
        "maps": _coded(maps, bits),
        "rollout": None if extra is None else _coded(extra, bits),
        "queries": shown,
        "keys": words,
        "special": special,
        "self": one.kind != "cross",
        "grid": grid,
        "picture": None if picture is None else data_uri(picture, format="JPEG", quality=85),
        "size": None if one.image is None else [one.image.shape[1], one.image.shape[0]],
        "boxes": None if boxes is None else [[round(float(v), 1) for v in box] for box in boxes],
        "notes": notes,
    }


def _cut(n: int, first: int) -> slice:
    start = max(0, min(first, n - MOST_TOKENS))
    return slice(start, min(n, start + MOST_TOKENS))


def _coded(maps: NDArray[np.floating[Any]], bits: int) -> str:
    roots = np.rint((2**bits - 1) * np.sqrt(np.clip(maps, 0, 1))).astype("<u2" if bits == 16 else np.uint8)
    return base64.b64encode(roots.tobytes()).decode("ascii")


def _factor(shape: tuple[int, ...], grid: tuple[int, int]) -> int:
    """Return by how much a grid of patches is made coarser for its maps to fit."""
    before = shape[-1] - grid[0] * grid[1]
    factor = 1
    while shape[0] * shape[1] * (before + -(-grid[0] // factor) * -(-grid[1] // factor)) ** 2 > _MOST_BYTES:
        factor += 1
    return factor


def _pooled(maps: NDArray[np.float32], before: int, grid: tuple[int, int], factor: int) -> NDArray[np.float32]:
    """Return maps (L, H, T, T) over a coarser grid: what is attended to is summed, who attends is averaged."""
    for axis, total in ((-1, True), (-2, False)):
        moved = np.moveaxis(maps, axis, -1)
        patches: NDArray[Any] = moved[..., before:].reshape(*moved.shape[:-1], *grid)
        for place in (-2, -1):
            edges = np.arange(0, patches.shape[place], factor)
            sizes = np.diff([*edges, patches.shape[place]])
            patches = np.add.reduceat(patches, edges, axis=place)
            if not total:
                patches = patches / (sizes[:, None] if place == -2 else sizes)
        joined = np.concatenate([moved[..., :before], patches.reshape(*moved.shape[:-1], -1)], -1)
        maps = np.moveaxis(joined, -1, axis)
    return maps.astype(np.float32)


def _pooled_boxes(boxes: NDArray[np.float64], grid: tuple[int, int], factor: int) -> NDArray[np.float64]:
    cells = boxes.reshape(*grid, 4)
    found = []
    for y in range(0, grid[0], factor):
        for x in range(0, grid[1], factor):
            part = cells[y : y + factor, x : x + factor].reshape(-1, 4)
            found.append([*part[:, :2].min(0), *part[:, 2:].max(0)])
    return np.array(found)
