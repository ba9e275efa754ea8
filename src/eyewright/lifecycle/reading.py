"""Reading pages and making lines to learn from: what the verbs `read` and `generate-lines` do."""

__all__ = ["Page", "PageLine", "generate_lines", "read_text"]

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError, OutputError, UsageError, spelling_hint
from eyewright.core.files import checked_output, staged_folder, write_staged
from eyewright.core.inputs import prepare
from eyewright.core.predictor import inputs_of
from eyewright.core.progress import track_progress
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data import open_dataset
from eyewright.data.targets.target import tasks_of
from eyewright.data.targets.text import TEXT, Text
from eyewright.data.texts import decode_text
from eyewright.imaging import read_image
from eyewright.imaging.encode import encode_image
from eyewright.imaging.text_lines import cut_corners, cut_quad, find_lines
from eyewright.imaging.text_words import find_words
from eyewright.lifecycle.loading import unlearnt_of
from eyewright.lifecycle.opening import load_model
from eyewright.tasks.ctc import read_beam, read_greedy
from eyewright.tasks.read import read_lines

if TYPE_CHECKING:
    from eyewright.core.predictor import Predictor
    from eyewright.imaging.text_words import TextWord
    from eyewright.tasks.read import TextPrediction

PathLike = str | Path

_VALIDATED = 0.05
_MOST_LINES = 1_000_000
_BATCH = 32
_LARGEST_TEXT = 2**28


@dataclass(frozen=True)
class PageLine:
    """A line of a page: its corners in pixels, clockwise from the top left (x0 y0 to x3 y3), what was read, and its
    words with their own corners."""

    quad: tuple[float, ...]
    prediction: "TextPrediction"
    words: "tuple[TextWord, ...]" = ()

    @property
    def text(self) -> str:
        return self.prediction.text

    def to_json(self) -> dict[str, Any]:
        """Return the corners, the text and its probability, and each word with its corners."""
        return {
            "quad": list(self.quad),
            "text": self.text,
            "probability": round(float(self.prediction.probability), 6),
            "scores": [round(float(s), 4) for s in self.prediction.scores],
            "words": [{"text": w.text, "quad": list(w.quad), "confidence": round(w.confidence, 4)} for w in self.words],
        }


@dataclass(frozen=True)
class Page:
    """The lines of a page in reading order, and its image, uint8 (H, W, 3); `notes` warn of a model that has not learnt
    to read."""

    lines: tuple[PageLine, ...]
    image: NDArray[np.uint8]
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The lines below each other; those in one row are separated by a tab."""
        rows: list[list[PageLine]] = []
        for line in self.lines:
            middle = sum(line.quad[1::2]) / 4
            last = rows[-1][-1] if rows else None
            if (
                last is not None
                and min(last.quad[1::2]) < middle < max(last.quad[1::2])
                and line.quad[0] > last.quad[0]
            ):
                rows[-1].append(line)
            else:
                rows.append([line])
        return "\n".join("\t".join(line.text for line in row) for row in rows)

    def to_json(self) -> dict[str, Any]:
        """Return the lines, and the size that their corners are in."""
        height, width = self.image.shape[:2]
        return {
            "source": self.source,
            "width": width,
            "height": height,
            "lines": [line.to_json() for line in self.lines],
            "notes": list(self.notes),
        }

    def formatted(self, format: str) -> str:
        """Return the page in a format of OCR programs: "hocr", "alto" (ALTO 4.2) or "tsv" (the columns of Tesseract).

        Raises:
            UsageError: there is no such format.
        """
        from eyewright import __version__
        from eyewright.imaging.text_formats import TEXT_PAGES, PageText

        if format not in TEXT_PAGES:
            raise UsageError(f"unknown format {format!r} of a page", fix=spelling_hint(format, TEXT_PAGES))
        height, width = self.image.shape[:2]
        lines = [(line.quad, line.words) for line in self.lines]
        return TEXT_PAGES[format][1](PageText(self.source, (height, width), lines, __version__))

    def plot(self) -> NDArray[np.uint8]:
        """Return the page with its lines framed, and at its right the texts, each where its line stands."""
        from eyewright.imaging.text_pages import draw_page

        shown = [(line.quad, line.text, float(line.prediction.probability)) for line in self.lines]
        return draw_page(self.image, shown)


def read_text(
    model: "Predictor | PathLike",
    image: PathLike | bytes | NDArray[np.uint8],
    *,
    lines: "str | PathLike | Sequence[Sequence[float]]" = "auto",
    beam: int | None = None,
    conf: float | None = None,
) -> Page:
    """Return the lines of a page and what a model of lines reads on them.

    `lines` are their corners: "auto" finds them (`imaging.text_lines.find_lines`), "whole" takes the image for one
    line; or a file with boxes, or rows of four numbers (x0, y0, x1, y1) or eight. `beam` is the width of a prefix beam
    search; without it the greedy search is used. With `conf` lines whose probability is below it have no text.

    Raises:
        UsageError: the model does not read lines, or a box that lies outside the image.
        InputError: the image or the file of boxes cannot be read, or the file has no boxes.
    """
    predictor, owner = load_model(model) if isinstance(model, str | Path) else (model, None)
    task = task_of(predictor.task_name)
    if task.net != "classes a step":
        raise UsageError(f"expected a model that reads lines, found {task.words.noun}", fix="pass one of --task read")
    if beam is not None and not 1 <= beam <= 1000:
        raise UsageError(f"expected a beam of 1 to 1000 texts, found {beam}", fix="change --beam")
    pixels = image if isinstance(image, np.ndarray) else np.asarray(read_image(image), np.uint8)
    height, width = pixels.shape[:2]
    quads: list[tuple[float, ...]]
    if isinstance(lines, str) and lines == "auto":
        quads = [line.quad for line in find_lines(pixels)]
    elif isinstance(lines, str) and lines == "whole":
        quads = [_corners((0, 0, width, height))]
    else:
        rows = read_boxes(Path(lines)) if isinstance(lines, str | Path) else lines
        named = quoted(lines) if isinstance(lines, str | Path) else "lines"
        quads = [_checked(row, width, height, f"box {n} of {named}") for n, row in enumerate(rows, 1)]
    from PIL import Image

    page = Image.fromarray(pixels)
    cut = [np.asarray(cut_quad(page, quad)) for quad in quads]
    found: list[PageLine] = []
    # Lines of about one length are read together: a batch costs what its longest costs.
    order = sorted(range(len(cut)), key=lambda i: cut[i].shape[1] / cut[i].shape[0])
    read: dict[int, TextPrediction] = {}
    for start in range(0, len(order), _BATCH):
        some = order[start : start + _BATCH]
        given, placements = prepare(inputs_of(predictor), [cut[i] for i in some])
        search = read_greedy if beam is None else lambda p: read_beam(p, width=beam)
        answers = read_lines(predictor.raw(given), placements, predictor.labels, search=search)
        read |= {i: task.settle(a, None, conf) for i, a in zip(some, answers, strict=True)}  # type: ignore[misc]
    for i, quad in enumerate(quads):
        one = read[i]
        corners = cut_corners((width, height), quad)
        words = find_words(one.text, one.scores.tolist(), one.spans_x, cut[i], corners)
        found.append(PageLine(quad, one, words))
    unlearnt = unlearnt_of(owner if owner is not None else predictor)
    return Page(tuple(found), pixels, str(image) if isinstance(image, str | Path) else "", unlearnt)


def read_boxes(path: Path) -> list[list[float]]:
    """Read boxes of lines: a JSON list, or a text file with four or eight numbers a line; what follows them is left
    out, such as the texts of ICDAR's files.

    Raises:
        InputError: the file cannot be read, a line holds no box, or there is none.
    """
    found = _boxes_in(path)
    if not found:
        raise InputError(
            f"expected boxes of lines in {quoted(path)}, found none",
            fix="write x0,y0,x1,y1 for each line, or leave --lines out",
        )
    return found


def _boxes_in(path: Path) -> list[list[float]]:
    text = decode_text(read_regular(path, most=_LARGEST_TEXT, fix="check --lines", follow=True), str(path))
    if path.suffix.lower() == ".json":
        try:
            rows = json.loads(text)
            rows = rows["lines"] if isinstance(rows, dict) else rows
            return [[float(v) for v in (r.get("quad") or r["box_xyxy"] if isinstance(r, dict) else r)] for r in rows]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(
                f"expected a list of boxes in {quoted(path)}, found another form", fix="write [[x0, y0, x1, y1], …]"
            ) from error
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        cells = [c.strip() for c in line.replace("\t", ",").replace(" ", ",").split(",") if c.strip()]
        values: list[float] = []
        for cell in cells[:8]:
            try:
                values.append(float(cell))
            except ValueError:
                break
        if not cells:
            continue
        if len(values) < 4:
            if number == 1:
                continue
            raise InputError(
                f"expected x0,y0,x1,y1 in {quoted(path)} line {number}, found {line[:40]!r}", fix="correct the line"
            )
        found.append(values[:8] if len(values) == 8 else values[:4])
    return found


def _checked(row: Sequence[float], width: int, height: int, name: str) -> tuple[float, ...]:
    """Return the corners of a box that is in the image.

    Raises:
        UsageError: it is not, or has no area.
    """
    values = [float(v) for v in row]
    if len(values) not in (4, 8) or not np.isfinite(values).all():
        raise UsageError(
            f"expected four or eight numbers for {name}, found {str(list(row))[:80]}", fix="write x0,y0,x1,y1"
        )
    quad = _corners(values) if len(values) == 4 else tuple(values)
    xs, ys = quad[0::2], quad[1::2]
    inside = min(max(xs), width) - max(min(xs), 0) >= 1 and min(max(ys), height) - max(min(ys), 0) >= 1
    if not inside or max(xs) - min(xs) < 1 or max(ys) - min(ys) < 1:
        raise UsageError(
            f"expected {name} inside the image of {width}x{height} pixels, found {[round(v) for v in values]}",
            fix="give corners in pixels of this image",
        )
    return quad


def _corners(box: Sequence[float]) -> tuple[float, ...]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return (x0, y0, x1, y0, x1, y1, x0, y1)


def generate_lines(
    out: PathLike,
    *,
    n: int = 20_000,
    alphabet: PathLike | None = None,
    texts: PathLike | None = None,
    fonts: Sequence[PathLike] = (),
    case: str = "keep",
    wear: float = 1.0,
    dots: float = 0.15,
    seed: int = 0,
    quiet: bool = True,
) -> Mapping[str, Any]:
    """Draw `n` lines of text and write them as a dataset, `lines.csv` and `images/`, for `train --task read`.

    `alphabet` is a text file whose characters are used; `texts` one with a text a line, whose parts are drawn and whose
    frequencies random texts follow, or a dataset of lines, whose training part is used. At least one is needed. `fonts`
    are folders or files; without any the system's are used. With `case` "upper" or "lower" the text is written down in
    that case, in whatever case it is drawn. `wear`, from 0 to 1, scales noise, blur, grey paper, worn ink and slant;
    `dots` is the fraction of lines in the dots of a matrix printer. One line in twenty is for validation.

    Raises:
        UsageError: no characters, or a value out of its range.
        InputError: a file or folder that cannot be read, or no fonts.
        OutputError: `out` holds something, or cannot be written.
    """
    from eyewright.imaging.typesetting import LineStyle, Typesetter, find_fonts
    from eyewright.processing.line_texts import TextSource

    if not 1 <= n <= _MOST_LINES:
        raise UsageError(f"expected 1 to {_MOST_LINES:,} lines, found {n}", fix="change -n")
    if alphabet is None and texts is None:
        raise UsageError("expected --alphabet or --texts, found neither", fix="pass a file of characters, or of texts")
    corpus = [] if texts is None else _corpus(Path(texts))
    source = TextSource.of(None if alphabet is None else _content(Path(alphabet)), corpus, case=case)
    drawn = sorted(
        {c for a in source.alphabet for c in ((a, a.upper(), a.lower()) if case != "keep" else (a,)) if len(c) == 1}
    )
    setter = Typesetter(find_fonts(fonts), drawn, LineStyle(wear, dots))
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{quoted(folder)} is not empty", fix="choose another --out")
    lacking = [c for c in source.alphabet if c in setter.missing]
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["path", "text", "split"])
    used: set[str] = set()
    with staged_folder(folder) as stage, checked_output(folder), track_progress("drawing", n, quiet=quiet) as advance:
        (stage / "images").mkdir()
        for k in range(n):
            rng = generator(seed, "line", k)
            shown, written = _drawable(source, setter, rng)
            name = f"images/{k:06d}.png"
            write_staged(stage / name, encode_image(setter.draw(shown, rng), png_level=1))
            rows.writerow([name, written, "val" if rng.random() < _VALIDATED else "train"])
            used |= set(written)
            advance(1, "")
        write_staged(stage / "lines.csv", table.getvalue())
    return {
        "folder": folder,
        "lines": n,
        "characters": len(used),
        "fonts": [p.stem for p in setter.fonts],
        "without_font": lacking,
    }


def _drawable(source: Any, setter: Any, rng: np.random.Generator) -> tuple[str, str]:
    for _ in range(200):
        shown, written = source.draw(rng)
        if setter.can_draw(shown):
            return str(shown), str(written)
    raise UsageError(
        "these fonts lack characters of nearly all texts", fix="pass a folder of fonts for this script: --fonts"
    )


def _content(path: Path) -> str:
    return decode_text(read_regular(path, most=_LARGEST_TEXT, follow=True), str(path))


def _corpus(path: Path) -> list[str]:
    """Return the texts of a file, one per line, or those of a dataset of lines that nobody measures on."""
    if path.is_dir() or path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".zip"):
        dataset = open_dataset(path, task=tasks_of(TEXT)[0])
        return [s.marked(Text).written for s in dataset.samples if s.split in (None, "train")]
    texts = [line for line in _content(path).splitlines() if line.strip()]
    if not texts:
        raise InputError(f"expected one text per line in {quoted(path)}, found none", fix="check --texts")
    return texts
