"""The verb that shows attention weights: attend."""

__all__ = ["add_attend", "attend"]

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eyewright.cli.numbers import Checked, Number
from eyewright.cli.terminal import Result, printable, shown_path
from eyewright.core.errors import UsageError

_NUMBER = Number(0, 1_000)


def add_attend(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of attend."""
    p = verb("attend")
    p.add_argument("model", metavar="MODEL", help="hf:FOLDER, hf:OWNER/MODEL, a run with vit, or its bundle")
    p.add_argument("source", metavar="TEXT|IMAGE", help="a text or the path of an image, whichever the model takes")
    p.add_argument(
        "--pair", metavar="TEXT", help="second text of an encoder, target text of T5, or text for the image with CLIP"
    )
    p.add_argument(
        "--layer", type=Checked(numbers), metavar="N,N-N|all", help="layers from 0, such as 0-3 (default all)"
    )
    p.add_argument("--head", type=Checked(numbers), metavar="N,N-N|all", help="heads from 0 (default all)")
    p.add_argument("--rollout", action="store_true", help="attention rollout through all layers, averaged over heads")
    p.add_argument(
        "--top", type=Number(0, 10_000), default=20, metavar="N", help="number of largest weights to list (default 20)"
    )
    p.add_argument(
        "--special", action="store_true", help="also list weights onto [CLS], [SEP], registers and padding tokens"
    )
    p.add_argument(
        "--from",
        dest="first",
        type=Number(0, 1_000_000),
        default=0,
        metavar="N",
        help="first of the 128 tokens on the page (default 0)",
    )
    p.add_argument(
        "--out", metavar="DIR", help="write attention.html, attention.json and one .npz per layer to this folder"
    )


def numbers(text: str) -> tuple[int, ...] | None:
    """Read `0-3,7` or `all`.

    >>> numbers("0-2,5"), numbers("all")
    ((0, 1, 2, 5), None)
    """
    if text == "all":
        return None
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low:
            # A sign, and not a range: the whole is no number.
            low, dash = part.strip(), ""
        first, last = int(_NUMBER(low)), int(_NUMBER(high if dash else low))
        if last < first:
            raise argparse.ArgumentTypeError(
                f"expected a range whose first number is not above its last, such as 0-3, found {part.strip()!r}"
            )
        found += range(first, last + 1)
    return tuple(dict.fromkeys(found))


def _chosen(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else numbers(text)


def attend(o: argparse.Namespace) -> Result:
    """Show the attention weights of a text or an image."""
    from eyewright import lifecycle
    from eyewright.core.files import write_page
    from eyewright.explanation.attention_maps import save_attention
    from eyewright.explanation.attention_page import render_attention

    found = lifecycle.attend(o.model, o.source, pair=o.pair)
    most = max(len(one.tokens) for one in found.walk())
    if o.first >= most:
        raise UsageError(f"expected --from below {most:,}, the number of tokens, found {o.first:,}", fix="choose less")
    rolls = [one.rollout() if o.rollout and one.kind != "cross" else None for one in found.walk()]
    chosen = found.select(_chosen(o.layer), _chosen(o.head))
    out: dict[str, Path] = {}
    if o.out is not None:
        folder = Path(o.out)
        page = render_attention(chosen, first_token=o.first)
        files = save_attention(chosen, folder, rollout=o.rollout and chosen.layers == found.layers, top=o.top)
        write_page(folder / "attention.html", page)
        out = {"page": (folder / "attention.html").resolve(), "attention": files[-1].resolve()}
    told: list[dict[str, Any]] = []
    text: list[str] = []
    for one, roll in zip(chosen.walk(), rolls, strict=True):
        row = one.to_json(0)
        row["top"] = [link._asdict() for link in one.top(o.top, special=o.special)]
        layers, heads, queries, keys = one.weights.shape
        # Keys of self-attention are its queries too, and are shown as they are written.
        # The queries of cross-attention are the decoder's, which its own attention shows.
        asking = next((other.words for other in chosen.walk() if other.keys == one.tokens), one.tokens)
        text += [f"{one.kind:8} {layers} layers, {heads} heads, {queries} x {keys} tokens"]
        if roll is not None:
            row["rollout"] = roll[one.read_out].tolist()
            best = sorted(range(len(keys_of := one.words)), key=lambda k, r=roll: -r[one.read_out, k])[:5]  # type: ignore[misc]
            text.append(
                f"rollout  to {printable(asking[one.read_out])}: "
                + ", ".join(f"{printable(keys_of[k])} {roll[one.read_out, k]:.3f}" for k in best)
            )
        text += [
            f"{w['weight']:.3f}    layer {w['layer']:>2}, head {w['head']:>2}: "
            f"{printable(asking[w['query']])} → {printable(one.words[w['key']])}"
            for w in row["top"]
        ]
        told.append(row)
    text += ["note     attention is not an explanation of the prediction", *([found.verdict] if found.verdict else [])]
    text += [f"page     {shown_path(p)}" for k, p in out.items() if k == "page"]
    return {"out": out, "attention": told, "text": text}
