"""Texts of lines from tables, from files beside the images, and from boxes of pages."""

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import SHARED

from eyewright import lifecycle
from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.data import open_dataset
from eyewright.data.targets.text import Text, line_text
from eyewright.imaging import encode_image

SROIE = SHARED / "sroie_receipts"


def _image(path: Path, size: tuple[int, int] = (20, 60), value: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(np.full((*size, 3), value, np.uint8)))


def _texts(data) -> dict[str, str]:  # type: ignore[no-untyped-def]
    return {s.id: s.target.written for s in data.samples}


def test_a_table_of_path_and_text_is_read(tmp_path: Path) -> None:
    for name in "abcd":
        _image(tmp_path / f"{name}.png")
    # The same letter in two codings is one character; a row without text is left out and counted.
    rows = 'path,text,split\na.png,"TOTAL, 10",train\nb.png,caf\u00e9,train\nc.png,cafe\u0301,test\nd.png,,train\n'
    (tmp_path / "lines.csv").write_text(rows)
    data = open_dataset(tmp_path, task="read")
    assert _texts(data) == {"a.png": "TOTAL, 10", "b.png": "caf\u00e9", "c.png": "caf\u00e9"}
    assert data.labels.names == tuple(sorted(set("TOTAL, 10caf\u00e9")))
    assert [p.code for p in data.problems] == ["text_empty"]
    assert (data.account.read, data.account.n_dropped) == (3, 1)
    assert data.account.dropped[0].line == 5
    assert [s.split for s in data.samples] == ["train", "train", "test"]


def test_hugging_face_metadata_is_read(tmp_path: Path) -> None:
    _image(tmp_path / "train" / "a.png")
    (tmp_path / "train" / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "AB  C"}\n')
    data = open_dataset(tmp_path, task="read")
    assert _texts(data) == {"train/a.png": "AB C"}
    assert data.format == "hf-imagefolder"


def test_texts_beside_images_are_read_without_a_task(tmp_path: Path) -> None:
    for page, line, text in (("p1", "1", "ONE"), ("p1", "2", ""), ("p2", "1", "TWO")):
        _image(tmp_path / page / f"{line}.png")
        (tmp_path / page / f"{line}.gt.txt").write_text(text + "\n")
    # OCRopus writes binarised images too, and kraken may leave a text without its image.
    _image(tmp_path / "p2" / "1.bin.png")
    (tmp_path / "p2" / "9.gt.txt").write_text("GONE")
    data = open_dataset(tmp_path)
    assert (data.task, data.format) == ("read", "line-files")
    assert _texts(data) == {"p1/1.png": "ONE", "p2/1.png": "TWO"}
    assert {s.group for s in data.samples} == {"p1", "p2"}
    assert {p.code for p in data.problems} == {"text_empty", "missing_image"}
    assert data.account.present == 4


def test_boxes_of_pages_become_lines(tmp_path: Path) -> None:
    page = np.full((60, 200, 3), 255, np.uint8)
    page[10:30, 20:80] = 10
    (tmp_path / "img").mkdir()
    (tmp_path / "box").mkdir()
    (tmp_path / "img" / "r1.png").write_bytes(encode_image(page))
    rows = ["20,10,80,10,80,30,20,30,A, B", "20,40,80,40,80,55,20,55,###", "5,5,5,5,5,5,5,5,X", "no box"]
    (tmp_path / "box" / "r1.csv").write_text("\n".join(rows))
    data = open_dataset(tmp_path, task="read")
    assert data.format == "icdar-text"
    assert _texts(data) == {"img/r1.png#1": "A, B"}
    assert data.samples[0].group == "r1"
    assert data.image(0).shape == (20, 60, 3)
    assert data.image(0).max() == 10, "just the box"
    assert data.account.n_dropped == 3
    assert data.content(0)[:4] == b"\x89PNG"


def test_an_askew_box_is_laid_straight() -> None:
    from PIL import Image

    from eyewright.imaging.text_lines import cut_quad

    page = Image.new("L", (200, 200), 255)
    page.paste(0, (60, 90, 140, 110))
    turned = page.rotate(20, Image.Resampling.BICUBIC, fillcolor=255).convert("RGB")
    cos, sin = np.cos(np.radians(20)), np.sin(np.radians(20))
    quad = [v for x, y in ((-40, -10), (40, -10), (40, 10), (-40, 10)) for v in
            (100 + cos * x + sin * y, 100 - sin * x + cos * y)]  # fmt: skip
    cut = np.asarray(cut_quad(turned, quad))
    assert cut.shape == (20, 80, 3)
    assert cut[3:-3, 3:-3].max() < 60


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("path,text\na.png,\n", "the text is empty"),
        ("path,words\n", "expected rows"),
        ("path,kind\na.png,x\n", "texts of images"),
    ],
)
def test_data_without_texts_is_refused_in_one_line(tmp_path: Path, rows: str, message: str) -> None:
    _image(tmp_path / "a.png")
    (tmp_path / "lines.csv").write_text(rows)
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(tmp_path, task="read")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "   ", "A\nB", "A\x07B", None, 7])
def test_what_is_no_line_is_refused(text: object) -> None:
    with pytest.raises(DatasetError):
        line_text(text)


def test_characters_that_a_model_does_not_know_are_kept_as_unknown(texts: Path) -> None:
    data = open_dataset(texts, task="read")
    moved = data.relabelled(LabelSpace(("L", "I")))
    pairs = [(a.target, b.target) for a, b in zip(data.samples, moved.samples, strict=True)]
    assert all(a.written == b.written for a, b in pairs)
    first = next(b for a, b in pairs if a.written == "L-I" or ("-" in a.written and "I" in a.written))
    assert set(first.ids) <= {-1, 0, 1}
    assert moved.counts()["L"] == data.counts()["L"]


def test_a_data_set_is_written_and_read_again(texts: Path, tmp_path: Path) -> None:
    assert lifecycle.convert(texts, to="csv", task="read", out=tmp_path / "out").images == 240
    first, again = (open_dataset(p, task="read") for p in (texts, tmp_path / "out"))
    assert sorted(_texts(first).values()) == sorted(_texts(again).values())
    assert {s.group for s in again.samples} == {s.group for s in first.samples}


def test_a_target_tells_its_text_in_split_csv() -> None:
    from eyewright.data.targets.text import TEXT

    target = Text("A B", (1, 0, 2))
    assert TEXT.of_cell(target.cell((" ", "A", "B")), (" ", "A", "B")) == target


@pytest.mark.skipif(not SROIE.is_dir(), reason="the receipts are not there")
def test_receipts_become_891_lines_of_55_characters() -> None:
    data = open_dataset(SROIE, task="read")
    assert (len(data), len(data.labels), len({s.group for s in data.samples})) == (891, 55, 16)
    lengths = [len(s.target) for s in data.samples]
    assert (max(lengths), round(np.mean(lengths))) == (51, 10)
