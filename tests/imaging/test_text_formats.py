"""Pages in the formats of OCR programs: structure as their schemas have it, and boxes of words."""

import csv
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageDraw

from eyewright.imaging.text_formats import TEXT_PAGES, PageText, alto, hocr, tesseract_tsv
from eyewright.imaging.text_lines import cut_corners, cut_quad
from eyewright.imaging.text_words import TextWord, find_words

LINES = [
    ((10, 5, 90, 5, 90, 15, 10, 15), [TextWord((10, 5, 40, 5, 40, 15, 10, 15), 'a<&"', (0.9, 1.0, 0.5, 0.75)),
                                      TextWord((50, 5, 90, 5, 90, 15, 50, 15), "'b", (1.0, 0.0))]),
    # Nothing was read here.
    ((10, 20, 90, 20, 90, 30, 10, 30), []),
    # Askew, and over the edge.
    ((10, 40, 110, 46, 110, 56, 10, 50), [TextWord((10, 40, 110, 46, 110, 56, 10, 50), "é🙂", (1.0, 1.0))]),
]  # fmt: skip
PAGE = PageText('scan "1"\x07 <a>.png', (60, 100), LINES, "1.2")
# By hand from the schema: what may be in what, in which order.
ALTO_CHILDREN = {
    "alto": ["Description", "Layout"],
    "Description": ["MeasurementUnit", "sourceImageInformation", "Processing"],
    "sourceImageInformation": ["fileName"],
    "Processing": ["processingCategory", "processingSoftware"],
    "processingSoftware": ["softwareName", "softwareVersion"],
    "Layout": ["Page"],
    "Page": ["PrintSpace"],
    "PrintSpace": ["TextBlock"],
    "TextBlock": ["TextLine", "TextLine"],
}
NS = "{http://www.loc.gov/standards/alto/ns-v4#}"


def test_alto_has_the_structure_of_its_schema() -> None:
    root = ElementTree.fromstring(alto(PAGE).encode())
    for element in root.iter():
        name, children = element.tag.removeprefix(NS), [c.tag.removeprefix(NS) for c in element]
        if name == "TextLine":
            # Shape?, (String, SP?)+
            assert re.fullmatch("(Shape )?(String (SP )?)+", " ".join(children) + " ")
        else:
            assert children == ALTO_CHILDREN.get(name, ["Polygon"] if name == "Shape" else [])
        for side in ("HPOS", "VPOS", "WIDTH", "HEIGHT"):
            assert float(element.get(side, 0)) >= 0
    ids = [e.get("ID") for e in root.iter() if e.get("ID")]
    assert len(set(ids)) == len(ids)
    (page,) = root.iter(f"{NS}Page")
    assert (page.get("WIDTH"), page.get("HEIGHT"), page.get("PHYSICAL_IMG_NR")) == ("100", "60", "1")
    words = list(root.iter(f"{NS}String"))
    assert [w.get("CONTENT") for w in words] == ['a<&"', "'b", "é🙂"]
    assert [(w.get("WC"), w.get("CC")) for w in words[:2]] == [("0.5000", "0 0 5 2"), ("0.0000", "0 9")]
    assert [int(words[2].get(k)) for k in ("HPOS", "VPOS", "WIDTH", "HEIGHT")] == [10, 40, 90, 16]
    (shape,) = root.iter(f"{NS}Polygon")
    assert shape.get("POINTS") == "10,40 110,46 110,56 10,50"


def test_hocr_nests_pages_areas_paragraphs_lines_and_words() -> None:
    root = ElementTree.fromstring(hocr(PAGE).encode())
    html = "{http://www.w3.org/1999/xhtml}"
    parents = {c: p for p in root.iter() for c in p}
    inside = {"ocr_carea": "ocr_page", "ocr_par": "ocr_carea", "ocr_line": "ocr_par", "ocrx_word": "ocr_line"}
    boxes: dict[object, list[int]] = {}
    for element in root.iter():
        kind = element.get("class")
        if kind is None:
            continue
        assert kind == "ocr_page" or parents[element].get("class") == inside[kind]
        found = re.search(r"bbox (\d+) (\d+) (\d+) (\d+)", element.get("title", ""))
        assert found is not None
        boxes[element] = [int(v) for v in found.groups()]
        if kind != "ocr_page":
            outer, own = boxes[parents[element]], boxes[element]
            assert (outer[0], outer[1]) <= (own[0], own[1])
            assert outer[2] >= own[2] > own[0]
            assert outer[3] >= own[3] > own[1]
    words = [e for e in root.iter() if e.get("class") == "ocrx_word"]
    assert [w.text for w in words] == ['a<&"', "'b", "é🙂"]
    assert words[0].get("title") == "bbox 10 5 40 15; x_wconf 50"
    (page,) = (e for e in root.iter() if e.get("class") == "ocr_page")
    assert page.get("title") == 'image "scan \\"1\\"\ufffd <a>.png"; bbox 0 0 100 60; ppageno 0'
    capabilities = [m.get("content") for m in root.iter(f"{html}meta") if m.get("name") == "ocr-capabilities"]
    assert set(inside) | {"ocr_page", "ocrp_wconf"} == set(capabilities[0].split())


def test_the_table_has_the_columns_and_levels_of_tesseract() -> None:
    rows = list(csv.DictReader(io.StringIO(tesseract_tsv(PAGE)), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert list(rows[0]) == ["level", "page_num", "block_num", "par_num", "line_num", "word_num", "left", "top",
                             "width", "height", "conf", "text"]  # fmt: skip
    assert [r["level"] for r in rows] == list("12345545")
    assert [r["text"] for r in rows if r["level"] == "5"] == ['a<&"', "'b", "é🙂"]
    assert {r["conf"] for r in rows if r["level"] != "5"} == {"-1"}
    assert [float(r["conf"]) for r in rows if r["level"] == "5"] == [50, 0, 100]
    assert [(r["line_num"], r["word_num"]) for r in rows[3:]] == [
        ("1", "0"), ("1", "1"), ("1", "2"), ("2", "0"), ("2", "1")
    ]  # fmt: skip


@pytest.mark.parametrize("format", TEXT_PAGES)
def test_a_page_without_a_text_is_valid_too(format: str) -> None:
    text = TEXT_PAGES[format][1](PageText("a.png", (60, 100), LINES[1:2]))
    if format == "tsv":
        assert len(text.splitlines()) == 2
    else:
        root = ElementTree.fromstring(text.encode())
        assert not [e for e in root.iter() if e.tag.endswith("TextBlock") or e.get("class") == "ocr_carea"]


@pytest.mark.parametrize("angle", [0, 4])
def test_words_stand_where_their_ink_does(angle: float) -> None:
    page = Image.new("RGB", (300, 120), "white")
    pen = ImageDraw.Draw(page)
    for left, right in ((40, 90), (110, 180), (192, 240)):
        pen.rectangle((left, 50, right - 1, 69), fill="black")
    # As a net places characters: a few pixels within each.
    text, middles = "ab cde fg", [52, 78, 100, 122, 145, 168, 186, 204, 228]
    turn = np.deg2rad(angle)
    centre, wheel = np.array([150, 60]), np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])

    def turned(x: float, y: float) -> np.ndarray:
        return (np.array([x, y]) - centre) @ wheel + centre

    page = page.rotate(-angle, Image.Resampling.BICUBIC, fillcolor="white")
    quad = np.concatenate([turned(x, y) for x, y in ((36, 46), (244, 46), (244, 74), (36, 74))])
    line, corners = cut_quad(page, quad.tolist()), cut_corners(page.size, quad.tolist())
    spans = (np.array(middles)[:, None] + [-2, 2] - 36) * line.width / 208
    words = find_words(text, [0.9] * 9, spans, np.asarray(line), corners)
    assert [w.text for w in words] == ["ab", "cde", "fg"]
    for word, (left, right) in zip(words, ((40, 90), (110, 180), (192, 240)), strict=True):
        expected = np.concatenate([turned(x, y) for x, y in ((left, 46), (right, 46), (right, 74), (left, 74))])
        assert np.abs(np.array(word.quad) - expected).max() < 2.5


def test_characters_without_places_have_no_words() -> None:
    line = np.zeros((5, 9, 3), np.uint8)
    corners = np.zeros((4, 2))
    assert find_words("ab", [1, 1], np.zeros((0, 2)), line, corners) == ()
    assert find_words("", [], np.zeros((0, 2)), line, corners) == ()
    # Words that touch are parted half-way.
    line[::2] = 255
    one, other = find_words(
        "a b", [1] * 3, np.array([[1, 2], [4, 5], [7, 8]]), line, np.array([(0, 0), (9, 0), (9, 5), (0, 5)])
    )
    assert one.quad[2] == other.quad[0] == 4.5
