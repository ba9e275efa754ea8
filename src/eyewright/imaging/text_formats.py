"""What was read on a page in the formats of OCR programs: hOCR 1.2, ALTO 4.2, and the TSV of Tesseract.

A line without a text is left out. All lines are one block of one paragraph, in reading order.
"""

__all__ = ["TEXT_PAGES", "PageText", "alto", "hocr", "tesseract_tsv"]

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from xml.sax.saxutils import escape, quoteattr

from eyewright.imaging.text_words import TextWord

# What XML 1.0 has no form for.
_NO_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_STRAIGHT = 1.5
_ALTO = "http://www.loc.gov/standards/alto/ns-v4#"

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class PageText:
    """A page: the name of its image, its size, and of each line the corners (x0 y0 to x3 y3) and the words."""

    source: str
    size_hw: tuple[int, int]
    lines: Sequence[tuple[tuple[float, ...], Sequence[TextWord]]]
    version: str = ""


def hocr(page: PageText) -> str:
    """Return a page as hOCR: `ocr_page`, `ocr_carea`, `ocr_par`, `ocr_line`, `ocrx_word`, with `bbox` and `x_wconf`."""
    height, width = page.size_hw
    name = _plain(page.source).replace("\\", "\\\\").replace('"', '\\"')
    lines = _lines(page)
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
        '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">',
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">',
        " <head>",
        f"  <title>{escape(_plain(page.source))}</title>",
        '  <meta http-equiv="Content-Type" content="text/html; charset=utf-8"/>',
        f'  <meta name="ocr-system" content={_attribute(f"eyewright {page.version}".strip())}/>',
        '  <meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_par ocr_line ocrx_word ocrp_wconf"/>',
        " </head>",
        " <body>",
        f"""  <div class="ocr_page" id="page_1" title={
            _attribute(f'image "{name}"; bbox 0 0 {width} {height}; ppageno 0')
        }>""",
    ]
    if lines:
        around = _title(_around([box for box, _, _ in lines]))
        out += [
            f'   <div class="ocr_carea" id="block_1_1" title="{around}">',
            f'    <p class="ocr_par" id="par_1_1" title="{around}">',
        ]
        for k, (box, _, words) in enumerate(lines, 1):
            out.append(f'     <span class="ocr_line" id="line_1_{k}" title="{_title(box)}">')
            out += [
                f'      <span class="ocrx_word" id="word_1_{k}_{n}" title="{_title(own)}; x_wconf '
                f'{round(100 * word.confidence)}">{escape(_plain(word.text))}</span>'
                for n, (own, word) in enumerate(words, 1)
            ]
            out.append("     </span>")
        out += ["    </p>", "   </div>"]
    return "\n".join([*out, "  </div>", " </body>", "</html>", ""])


def alto(page: PageText) -> str:
    """Return a page as ALTO 4.2 XML in pixels: `TextLine` with `String` (`WC`, `CC`) and `SP`, and a polygon for lines
    that are askew."""
    height, width = page.size_hw
    lines = _lines(page)
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<alto xmlns="{_ALTO}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="{_ALTO} '
        'http://www.loc.gov/standards/alto/v4/alto-4-2.xsd" SCHEMAVERSION="4.2">',
        " <Description>",
        "  <MeasurementUnit>pixel</MeasurementUnit>",
        f"  <sourceImageInformation><fileName>{escape(_plain(page.source))}</fileName></sourceImageInformation>",
        '  <Processing ID="processing_1">',
        "   <processingCategory>contentGeneration</processingCategory>",
        "   <processingSoftware><softwareName>eyewright</softwareName>"
        f"<softwareVersion>{escape(page.version)}</softwareVersion></processingSoftware>",
        "  </Processing>",
        " </Description>",
        " <Layout>",
        f'  <Page ID="page_1" PHYSICAL_IMG_NR="1" WIDTH="{width}" HEIGHT="{height}">',
        f'   <PrintSpace HPOS="0" VPOS="0" WIDTH="{width}" HEIGHT="{height}">',
    ]
    if lines:
        out.append(f'    <TextBlock ID="block_1" {_place(_around([box for box, _, _ in lines]))}>')
        for k, (box, quad, words) in enumerate(lines, 1):
            out.append(f'     <TextLine ID="line_{k}" {_place(box)}>')
            if not _is_straight(quad):
                points = " ".join(f"{round(x)},{round(y)}" for x, y in zip(quad[0::2], quad[1::2], strict=True))
                out.append(f'      <Shape><Polygon POINTS="{points}"/></Shape>')
            for n, (own, word) in enumerate(words, 1):
                if n > 1:
                    before = words[n - 2][0]
                    gap = max(0, own[0] - before[2])
                    out.append(f'      <SP HPOS="{before[2]}" VPOS="{own[1]}" WIDTH="{gap}"/>')
                doubts = " ".join(str(min(9, int(10 * (1 - s)))) for s in word.scores)
                out.append(
                    f'      <String ID="word_{k}_{n}" {_place(own)} CONTENT={_attribute(_plain(word.text))} '
                    f'WC="{word.confidence:.4f}" CC="{doubts}"/>'
                )
            out.append("     </TextLine>")
        out.append("    </TextBlock>")
    return "\n".join([*out, "   </PrintSpace>", "  </Page>", " </Layout>", "</alto>", ""])


_COLUMNS = "level page_num block_num par_num line_num word_num left top width height conf text"


def tesseract_tsv(page: PageText) -> str:
    """Return a page as the table that `tesseract … tsv` writes: a row per page, block, paragraph, line and word, with
    -1 for the confidence of all but words.

    >>> word = TextWord((10, 5, 40, 5, 40, 15, 10, 15), "AB", (0.9, 0.98))
    >>> text = tesseract_tsv(PageText("a.png", (20, 50), [((10, 5, 40, 5, 40, 15, 10, 15), [word])]))
    >>> text.splitlines()[-1].split("\\t")
    ['5', '1', '1', '1', '1', '1', '10', '5', '30', '10', '90.000000', 'AB']
    """
    height, width = page.size_hw
    rows: list[tuple[object, ...]] = [(1, 1, 0, 0, 0, 0, 0, 0, width, height, -1, "")]
    lines = _lines(page)
    if lines:
        around = _sized(_around([box for box, _, _ in lines]))
        rows += [(2, 1, 1, 0, 0, 0, *around, -1, ""), (3, 1, 1, 1, 0, 0, *around, -1, "")]
    for k, (box, _, words) in enumerate(lines, 1):
        rows.append((4, 1, 1, 1, k, 0, *_sized(box), -1, ""))
        rows += [
            (5, 1, 1, 1, k, n, *_sized(own), f"{100 * word.confidence:.6f}", word.text)
            for n, (own, word) in enumerate(words, 1)
        ]
    return "\n".join("\t".join(map(str, row)) for row in (_COLUMNS.split(), *rows)) + "\n"


TEXT_PAGES: Mapping[str, tuple[str, Callable[[PageText], str]]] = MappingProxyType(
    {"hocr": ("page.hocr", hocr), "alto": ("page.alto.xml", alto), "tsv": ("page.tsv", tesseract_tsv)}
)
"""Formats by name: the file that is written, and the function that returns its text."""


def _lines(page: PageText) -> list[tuple[Box, tuple[float, ...], list[tuple[Box, TextWord]]]]:
    """Return the lines that have words, with boxes in whole pixels; a line is around its words."""
    found = []
    for quad, words in page.lines:
        if words:
            boxes = [_box(word.quad, page.size_hw) for word in words]
            own = [(box, word) for box, word in zip(boxes, words, strict=True)]
            found.append((_around([_box(quad, page.size_hw), *boxes]), tuple(quad), own))
    return found


def _box(quad: Sequence[float], size_hw: tuple[int, int]) -> Box:
    height, width = size_hw
    left, right = (min(max(round(v), 0), width) for v in (min(quad[0::2]), max(quad[0::2])))
    top, bottom = (min(max(round(v), 0), height) for v in (min(quad[1::2]), max(quad[1::2])))
    return left, top, max(right, min(left + 1, width)), max(bottom, min(top + 1, height))


def _around(boxes: Sequence[Box]) -> Box:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _sized(box: Box) -> tuple[int, int, int, int]:
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def _title(box: Box) -> str:
    return "bbox " + " ".join(map(str, box))


def _place(box: Box) -> str:
    left, top, width, height = _sized(box)
    return f'HPOS="{left}" VPOS="{top}" WIDTH="{width}" HEIGHT="{height}"'


def _is_straight(quad: Sequence[float]) -> bool:
    return abs(quad[1] - quad[3]) < _STRAIGHT and abs(quad[0] - quad[6]) < _STRAIGHT


def _plain(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def _attribute(text: str) -> str:
    return quoteattr(text, {"\t": " ", "\n": " "})
