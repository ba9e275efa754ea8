"""The report's page of reading: the worst lines with both texts, confused characters, errors by length and page."""

__all__ = ["explain_errors", "lay_out", "take_pictures"]

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.predictor import Predictor
from eyewright.core.report import Report
from eyewright.data.dataset import Dataset
from eyewright.evaluation.blocks import Block, Cell, Chart, Page, Scene, Scenes, Span, Table
from eyewright.evaluation.charts import bar_chart
from eyewright.evaluation.reporting import Explain, Pictures
from eyewright.evaluation.units import show_interval, show_number
from eyewright.imaging.encode import data_uri
from eyewright.metrics.reading import align_texts, plain_text

_SHOWN = 30
_HEIGHT = 40
_WIDEST = 620
_PAIRS = 24
_GROUPS = 20
_CHARACTERS = 30
_NONE = "·"


def lay_out(report: Report, pictures: Pictures) -> Page:
    """Return the blocks of the page."""
    blocks: list[Block] = [_worst(report, pictures), _lengths(report), _pairs(report)]
    if report.tables["groups"]:
        blocks.append(_groups(report))
    blocks += [_confidence(report), _characters(report)]
    by_length = [
        (_range(r), 100 * r["cer"]["value"]) for r in report.tables["lengths"] if r["cer"]["value"] is not None
    ]
    hardest = sorted(
        (r for r in report.per_class if r["n"] >= 3 and r["recall"]["value"] is not None),
        key=lambda r: r["recall"]["value"],
    )[:20]
    charts = []
    if by_length:
        svg = bar_chart(by_length, title="CER by length of the text", unit="%")
        charts.append(Chart("CER by length of the text", [Span("Edits for each hundred true characters.")], svg))
    if hardest:
        svg = bar_chart(
            [(_shown(r["label"]), 100 * (1 - r["recall"]["value"])) for r in hardest],
            title="missed characters",
            unit="%",
        )
        note = [Span("Fraction of a character's occurrences; characters with three occurrences or more.")]
        charts.append(Chart("Characters that are missed most", note, svg))
    return Page(blocks, charts, "Lengths and characters")


def _worst(report: Report, pictures: Pictures) -> Scenes:
    scenes = []
    for item in report.items[:_SHOWN]:
        if item["id"] not in pictures or not item["edits"]:
            continue
        shown = pictures[item["id"]]
        true, read = _marked(item["true"], item["predicted"])
        figures = [(shown["image"], item["id"], "")] + [(h, "heat", "") for h in [shown["heat"]] if h]
        edits = f"{item['edits']} edit{'s' * (item['edits'] != 1)}, probability {item['probability']:.1%}"
        scenes.append(
            Scene(
                figures,
                beside=[
                    [Span("true ", "soft small"), *true],
                    [Span("read ", "soft small"), *read],
                    [Span(f"{item['id']}: {edits}", "soft small")],
                ],
            )
        )
    return Scenes("Lines with most errors", scenes, empty="Every line was read without an error.")


def _marked(true: str, read: str) -> tuple[list[Span], list[Span]]:
    """Return both texts with what differs marked; what the other has more is a dot."""
    above: list[Span] = []
    below: list[Span] = []
    for a, b in align_texts(plain_text(true), plain_text(read)):
        same = a == b
        for spans, text, style in ((above, a, "good bold"), (below, b, "bad bold")):
            shown = text if same else _shown(text)
            last = spans[-1] if spans else None
            wanted = "" if same else style
            if last is not None and last.style == wanted:
                spans[-1] = Span(last.text + shown, wanted)
            else:
                spans.append(Span(shown, wanted))
    return above, below or [Span("nothing", "bad")]


def _shown(character: str) -> str:
    return {"": _NONE, " ": "␣"}.get(character, character)


def _range(row: Mapping[str, Any]) -> str:
    return f"{row['from']} or more" if row["to"] is None else f"{row['from']} to {row['to']}"


def _number(name: str, value: Mapping[str, Any]) -> Cell:
    if value["value"] is None:
        return Cell("–", "n")
    return Cell(show_number(name, value["value"]), "n", show_interval(name, value["low"], value["high"]))


def _lengths(report: Report) -> Table:
    header = [Cell("characters"), Cell("lines", "n"), Cell("CER", "n"), Cell("WER", "n"), Cell("exact lines", "n")]
    rows = [
        [Cell(_range(r)), Cell(f"{r['n']:,}", "n"), *(_number(k, r[k]) for k in ("cer", "wer", "exact"))]
        for r in report.tables["lengths"]
    ]
    return Table("Errors by length of the text", header, rows)


def _pairs(report: Report) -> Table:
    header = [Cell("true"), Cell("read as"), Cell("times", "n"), Cell("of all", "n"), Cell("such as")]
    rows = [
        [
            Cell(_shown(p["true"]) if p["true"] else "nothing"),
            Cell(_shown(p["read"]) if p["read"] else "nothing"),
            Cell(f"{p['n']:,}", "n"),
            Cell(f"{p['n'] / p['of']:.1%}" if p["of"] else "–", "n"),
            Cell(p["example"], "soft"),
        ]
        for p in report.tables["pairs"][:_PAIRS]
    ]
    note = "␣ is a space. Texts are aligned by the fewest edits, of which there may be several."
    return Table("Confused characters", header, rows, note=note)


def _groups(report: Report) -> Table:
    header = [Cell("group"), Cell("lines", "n"), Cell("CER", "n"), Cell("exact lines", "n")]
    rows = [
        [
            Cell(g["group"]),
            Cell(f"{g['n']:,}", "n"),
            Cell(show_number("cer", g["cer"]), "n"),
            Cell(show_number("exact", g["exact"]), "n"),
        ]
        for g in report.tables["groups"][:_GROUPS]
    ]
    return Table(
        "Errors by group", header, rows, lead="Groups are pages or what else belongs together, the worst first."
    )


def _confidence(report: Report) -> Table:
    header = [Cell("probability"), Cell("lines", "n"), Cell("mean probability", "n"), Cell("exact lines", "n")]
    rows = [
        [
            Cell(f"{r['from']:.1%} to {r['to']:.1%}"),
            Cell(f"{r['n']:,}", "n"),
            Cell(f"{r['probability']:.1%}", "n"),
            Cell(f"{r['exact']:.1%}", "n"),
        ]
        for r in report.tables["confidence"]
    ]
    note = "A probability can be trusted where it equals the fraction of exact lines."
    return Table("Lines by the probability of their text", header, rows, note=note)


def _characters(report: Report) -> Table:
    header = [Cell("character"), Cell("there", "n"), Cell("read", "n"), Cell("recall", "n"), Cell("precision", "n")]
    ranked = sorted(report.per_class, key=lambda r: (r["recall"]["value"] if r["n"] else 2.0, -r["n"]))
    rows = [
        [
            Cell(_shown(r["label"])),
            Cell(f"{r['n']:,}", "n"),
            Cell(f"{r['found']:,}", "n"),
            _number("exact", r["recall"]),
            _number("exact", r["precision"]),
        ]
        for r in ranked[:_CHARACTERS]
    ]
    more = len(report.per_class) - _CHARACTERS
    note = f"{more:,} more {'is' if more == 1 else 'are'} in report.json." if more > 0 else ""
    return Table("Characters", header, rows, note=note)


def take_pictures(
    report: Report, dataset: Dataset, predictor_of: Callable[[str], Predictor]
) -> dict[str, dict[str, Any]]:
    """Return pictures of the lines with most errors, by sample id."""
    return {
        i["id"]: {"image": data_uri(_small(dataset.image(i["index"]))), "heat": ""}
        for i in report.items[:_SHOWN]
        if i["edits"]
    }


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a line 40 pixels high, or smaller so that it fits, at the left of a strip as wide as all others."""
    scale = min(_HEIGHT / image.shape[0], _WIDEST / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    strip = Image.new("RGB", (_WIDEST, max(_HEIGHT // 2, size[1])), "white")
    strip.paste(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC), (0, 0))
    return np.asarray(strip)


def explain_errors(report: Report, dataset: Dataset, pictures: Pictures, explain: Explain) -> Pictures:
    """Return the pictures as they are: the place of each character says where it was read, and covering parts of a line
    again and again takes longer than reading it. `eyewright explain` does so for the lines that it is given."""
    return pictures
