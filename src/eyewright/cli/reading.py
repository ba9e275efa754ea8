"""The verbs of text in images: read a page, and make lines to learn from."""

__all__ = ["add_reading", "generate", "read"]

import argparse
from collections.abc import Callable
from pathlib import Path

from eyewright.cli.numbers import Number
from eyewright.cli.terminal import Result, is_quiet, printable, shown_path, warn
from eyewright.core.errors import UsageError, spelling_hint

SAVED = ("png", "json", "txt", "hocr", "alto", "tsv")
"""What --save takes."""

_PLAIN = {"png": "page.png", "json": "page.json", "txt": "page.txt"}
_FRACTION = Number(0, 1, whole=False)


def add_reading(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of these verbs."""
    p = verb("read")
    p.add_argument("model", metavar="RUN|BUNDLE", help="a model of --task read")
    p.add_argument("image", metavar="IMAGE", help="a page, a receipt, or with --lines whole one line")
    p.add_argument(
        "--lines",
        metavar="BOXES|auto|whole",
        default="auto",
        help="a file with x0,y0,x1,y1 (or four corners) per line; auto: detect lines; whole: the image is one "
        "line (default auto)",
    )
    p.add_argument(
        "--beam", type=Number(1, 1000), metavar="N", help="prefix beam search over N texts (default: greedy)"
    )
    p.add_argument("--conf", type=_FRACTION, metavar="P", help="minimum probability of a text to show it")
    p.add_argument("--out", metavar="DIR", help="write page.png, page.json and page.txt to this folder")
    p.add_argument(
        "--save",
        metavar="A,B",
        help=f"of {', '.join(SAVED)} (default png,json,txt): hOCR, ALTO XML and Tesseract's TSV have boxes of words",
    )

    p = verb("generate-lines")
    p.add_argument("--out", metavar="DIR", required=True, help="where to write lines.csv and images/")
    p.add_argument(
        "-n", type=Number(1, 1_000_000), default=20_000, metavar="N", help="number of lines (default 20,000)"
    )
    p.add_argument("--alphabet", metavar="FILE", help="a text file with the characters to use")
    p.add_argument(
        "--texts", metavar="FILE|DATA", help="a file with one text per line, or a dataset of text lines, to imitate"
    )
    p.add_argument(
        "--fonts", metavar="DIR", action="append", default=[], help="fonts (repeatable; default: the system's)"
    )
    p.add_argument("--case", metavar="C", default="keep", help="keep, upper or lower: case of the texts")
    p.add_argument(
        "--wear",
        type=_FRACTION,
        default=1.0,
        metavar="F",
        help="strength of noise, blur and worn ink, 0 to 1 (default 1)",
    )
    p.add_argument(
        "--dots", type=_FRACTION, default=0.15, metavar="F", help="fraction of dot-matrix print (default 0.15)"
    )


def read(o: argparse.Namespace) -> Result:
    """Read the lines of a page."""
    from eyewright import lifecycle
    from eyewright.core.files import refuse_overwriting, write_bytes, write_json, write_page, write_text
    from eyewright.imaging import encode_image
    from eyewright.imaging.given import given_source

    files = _files(o)
    refuse_overwriting(files.values(), [Path(given_source(o.image)), Path(str(o.lines))])
    page = lifecycle.read_text(o.model, o.image, lines=o.lines, beam=o.beam, conf=o.conf)
    for name, path in files.items():
        if name == "png":
            write_bytes(path, encode_image(page.plot(), png_level=6))
        elif name == "json":
            write_json(path, page.to_json())
        elif name == "txt":
            write_text(path, page.text + "\n")
        else:
            write_page(path, page.formatted(name))
    out = {k: path.resolve() for k, path in files.items()}
    for note in page.notes:
        if not o.json:
            warn(f"{note}; train it longer, or on more data")
    if not page.lines and not o.json:
        warn("no line was found; give boxes by --lines, or --lines whole if the image is one line")
    # Columns are apart by a tab, which a terminal may draw as nothing.
    text = ["   ".join(printable(column) for column in row.split("\t")) for row in page.text.splitlines()]
    text += (
        [f"page     {shown_path(out['png'])}"] if "png" in out else [f"wrote    {shown_path(p)}" for p in out.values()]
    )
    return {"out": out, **page.to_json(), "text": text, "exit": 0 if page.lines else 1}


def _files(o: argparse.Namespace) -> dict[str, Path]:
    """Return what is to be written, by the name that --save gives it.

    Raises:
        UsageError: something unknown or nothing, or no place for it.
    """
    if o.out is None:
        if o.save is not None:
            raise UsageError("--save needs a folder to write to", fix="pass --out DIR")
        return {}
    from eyewright.imaging.text_formats import TEXT_PAGES

    named = _PLAIN | {name: file for name, (file, _) in TEXT_PAGES.items()}
    asked = (
        ("png", "json", "txt") if o.save is None else tuple(p.strip().lower() for p in o.save.split(",") if p.strip())
    )
    for name in asked:
        if name not in SAVED:
            raise UsageError(f"unknown --save {name!r}", fix=spelling_hint(name, SAVED))
    if not asked:
        raise UsageError("expected what to write in --save, found nothing", fix=f"pass some of {', '.join(SAVED)}")
    return {name: Path(o.out) / named[name] for name in dict.fromkeys(asked)}


def generate(o: argparse.Namespace) -> Result:
    """Draw lines of text to learn from."""
    from eyewright import lifecycle

    made = lifecycle.generate_lines(
        o.out,
        n=o.n,
        alphabet=o.alphabet,
        texts=o.texts,
        fonts=o.fonts,
        case=o.case,
        wear=o.wear,
        dots=o.dots,
        seed=o.seed or 0,
        quiet=is_quiet(o),
    )
    folder = shown_path(made["folder"])
    text = [
        f"{made['lines']:,} lines of {made['characters']} characters in {len(made['fonts'])} fonts, in {folder}",
        f"train    eyewright train {folder} --task read --group-by none --leaks allow --augment none",
    ]
    if made["without_font"]:
        warn(f"no font holds {' '.join(made['without_font'][:20])}; these characters are on no line")
    return {
        "out": {"data": made["folder"].resolve()},
        "counts": {"lines": made["lines"], "characters": made["characters"]},
        "fonts": made["fonts"],
        "without_font": made["without_font"],
        "text": text,
        "exit": 1 if made["without_font"] else 0,
    }
