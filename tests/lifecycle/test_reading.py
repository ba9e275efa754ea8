"""Pages read line by line, lines drawn to learn from, and training that goes on with other texts."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_text

import eyewright as ew
from eyewright.cli import main
from eyewright.core.errors import DatasetError, EyewrightError, InputError, OutputError, UsageError
from eyewright.data import open_dataset
from eyewright.imaging import encode_image

TEXTS = ["IL-", "LL-I", "I--L"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of three lines, each enlarged twice."""
    canvas = np.full((320, 260, 3), 225, np.uint8)
    rng = np.random.default_rng(9)
    for k, text in enumerate(TEXTS):
        line = np.kron(draw_text(text, rng), np.ones((2, 2, 1), np.uint8))
        canvas[30 + 90 * k : 30 + 90 * k + line.shape[0], 40 : 40 + line.shape[1]] = line
    path = tmp_path_factory.mktemp("page") / "page.png"
    path.write_bytes(encode_image(canvas))
    return path


BOXES = [[40, 30 + 90 * k, 40 + 24 * len(text), 30 + 90 * k + 48] for k, text in enumerate(TEXTS)]


def test_a_page_is_read_line_by_line(lined, page: Path) -> None:  # type: ignore[no-untyped-def]
    found = ew.read_text(lined.bundle, page, lines=BOXES)
    assert [line.text for line in found.lines] == TEXTS
    assert found.text.splitlines() == TEXTS
    assert found.lines[0].to_json()["quad"][:2] == [40.0, 30.0]
    beams = ew.read_text(lined.bundle, page, lines=BOXES, beam=8)
    assert [line.text for line in beams.lines] == TEXTS
    shown = found.plot()
    assert shown.shape == (320, 520, 3)
    # A run answers as its bundle does, and an array as a file.
    again = ew.read_text(lined.run.predictor, np.asarray(ew.read_image(page)), lines=BOXES)
    assert [line.text for line in again.lines] == TEXTS


def test_what_is_read_does_not_depend_on_the_other_lines(lined, page: Path) -> None:  # type: ignore[no-untyped-def]
    together = ew.read_text(lined.bundle, page, lines=BOXES)
    for k, box in enumerate(BOXES):
        (alone,) = ew.read_text(lined.bundle, page, lines=[box]).lines
        assert abs(alone.prediction.probability - together.lines[k].prediction.probability) < 1e-6


def test_the_verb_writes_picture_text_and_json(lined, page: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("x0,y0,x1,y1\n" + "".join(",".join(map(str, b)) + "\n" for b in BOXES))
    code = main(
        ["read", str(lined.bundle.folder), str(page), "--lines", str(boxes), "--out", str(tmp_path / "out"), "--json"]
    )
    told = json.loads(capsys.readouterr().out)
    assert (code, [line["text"] for line in told["lines"]]) == (0, TEXTS)
    assert (tmp_path / "out" / "page.txt").read_text().splitlines() == TEXTS
    assert json.loads((tmp_path / "out" / "page.json").read_text())["width"] == 260
    assert Image.open(tmp_path / "out" / "page.png").size == (520, 320)
    # Its own JSON is a file of boxes too.
    given = ew.read_text(lined.bundle, page, lines=tmp_path / "out" / "page.json")
    assert given.text.splitlines() == TEXTS


def test_a_reader_that_has_learnt_nothing_is_warned_about_everywhere(
    texts: Path, page: Path, tmp_path: Path, capsys
) -> None:  # type: ignore[no-untyped-def]
    said: list[str] = []
    run = ew.train(texts, task="read", epochs=1, lr=1e-9, out=tmp_path / "run", say=said.append)
    assert any(line.startswith("warning: the model has not learnt to read") for line in said)
    bundle = ew.export(run, tmp_path / "bundle")
    assert "has not learnt to read" in (bundle.folder / "README.md").read_text()
    for model in (tmp_path / "run", bundle.folder):
        main(["read", str(model), str(page), "--lines", "whole"])
        assert "has not learnt to read" in capsys.readouterr().err
        main(["read", str(model), str(page), "--lines", "whole", "--json"])
        assert "has not learnt to read" in json.loads(capsys.readouterr().out)["notes"][0]


def test_columns_are_apart_in_the_terminal_and_by_a_tab_in_the_file(lined, page: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    x0, y0, x1, y1 = BOXES[0]
    middle = (x0 + x1) / 2
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(f"x0,y0,x1,y1\n{x0},{y0},{middle},{y1}\n{middle},{y0},{x1},{y1}\n")
    argv = ["read", str(lined.bundle.folder), str(page), "--lines", str(boxes), "--out", str(tmp_path / "out")]
    assert main(argv) == 0
    left, right = (tmp_path / "out" / "page.txt").read_text().rstrip("\n").split("\t")
    assert f"{left}   {right}\n" in capsys.readouterr().out


def test_a_page_is_not_written_over_itself(lined, page: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    own = tmp_path / "page.png"
    own.write_bytes(page.read_bytes())
    before = own.read_bytes()
    assert main(["read", str(lined.bundle.folder), str(own), "--out", str(tmp_path)]) == 2
    assert "is read and would be overwritten" in capsys.readouterr().err
    assert own.read_bytes() == before


def test_an_empty_page_is_a_finding(lined, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "white.png").write_bytes(encode_image(np.full((90, 90, 3), 255, np.uint8)))
    assert main(["read", str(lined.bundle.folder), str(tmp_path / "white.png")]) == 1
    assert "no line was found" in capsys.readouterr().err


@pytest.mark.parametrize("lines", [[[0, 0, 5]], [[300, 0, 400, 20]], [[10, 10, 10, 30]], [[0, 0, float("nan"), 5]]])
def test_boxes_outside_the_image_are_refused(lined, page: Path, lines) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="box"):
        ew.read_text(lined.bundle, page, lines=lines)


def test_bad_input_of_the_verb_is_one_line(lined, page: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="a model that reads lines"):
        ew.read_text(SimpleNamespace(task_name="classify"), page)  # type: ignore[arg-type]
    (tmp_path / "boxes.txt").write_text("1,2,3,4\nnone\n")
    with pytest.raises(InputError, match="line 2"):
        ew.read_text(lined.bundle, page, lines=tmp_path / "boxes.txt")
    with pytest.raises(InputError, match="cannot read"):
        ew.read_text(lined.bundle, page, lines=tmp_path / "gone.txt")
    with pytest.raises(UsageError, match="beam"):
        ew.read_text(lined.bundle, page, lines=BOXES, beam=0)
    with pytest.raises(EyewrightError, match="flip"):
        lined.bundle.predict(page, flip=True)


def test_lines_are_drawn_alike_from_a_seed_and_read_as_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("Total 10.00\nTax Invoice\nThank you!\n")
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        made = ew.generate_lines(tmp_path / name, n=30, texts=tmp_path / "texts.txt", case="upper", seed=seed)
        assert made["lines"] == 30
    files = {n: [p.read_bytes() for p in sorted((tmp_path / n).rglob("*.*"))] for n in "abc"}
    assert files["a"] == files["b"] != files["c"]
    data = open_dataset(tmp_path / "a", task="read")
    assert len(data) == 30
    assert set(data.labels.names) <= set("TOTAL 10.00TAX INVOICETHANK YOU!23456789")
    assert all(s.target.written == s.target.written.upper() for s in data.samples)
    assert data.account.complete


def test_drawn_lines_show_their_text(tmp_path: Path) -> None:
    (tmp_path / "alphabet.txt").write_text("I-")
    ew.generate_lines(tmp_path / "lines", n=12, alphabet=tmp_path / "alphabet.txt", wear=0, dots=0)
    data = open_dataset(tmp_path / "lines", task="read")
    for i, sample in enumerate(data.samples):
        image = data.image(i)
        assert image.min() < 120 < 200 < image.max(), f"ink on paper for {sample.target.written!r}"
    wide = [data.image(i).shape[1] / data.image(i).shape[0] / len(s.target) for i, s in enumerate(data.samples)]
    assert max(wide) < 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "--alphabet or --texts"),
        ({"alphabet": "gone.txt"}, "cannot read"),
        ({"alphabet": "a.txt", "fonts": ["gone"]}, "folder of fonts"),
        ({"alphabet": "a.txt", "fonts": ["empty"]}, "expected fonts"),
        ({"alphabet": "a.txt", "n": 0}, "1 to 1,000,000 lines"),
        ({"alphabet": "a.txt", "case": "title"}, "unknown case"),
        ({"alphabet": "a.txt", "wear": 2.0}, "from 0 to 1"),
        ({"alphabet": "space.txt"}, "characters to draw"),
        ({"alphabet": "han.txt"}, "fonts holds"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch, given, message: str) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name, text in (("a", "AB"), ("space", "  "), ("han", "\u6f22\u5b57\u4eee\u540d\u4ea4\u3058\u308a\u6587")):
        (tmp_path / f"{name}.txt").write_text(text)
    with pytest.raises(EyewrightError, match=message) as caught:
        ew.generate_lines(tmp_path / "out", **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("AB")
    with pytest.raises(OutputError, match="not empty"):
        ew.generate_lines(tmp_path, alphabet=tmp_path / "a.txt", n=1)


def test_training_goes_on_in_the_alphabet_of_the_weights(lined, texts: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rows = ["path,text"] + [
        f"{texts / f'{i:03d}.png'},{t}" for i, t in enumerate(_written(texts)) if set(t) <= {"I", "L"}
    ]
    (tmp_path / "few.csv").write_text("\n".join(rows))
    run = ew.train(
        tmp_path / "few.csv", task="read", weights=lined.bundle.folder, out=tmp_path / "run", epochs=1, batch=8,
        lr=1e-5, augment="none",
    )  # fmt: skip
    assert run.labels == lined.bundle.labels, "characters that only the first data held are still known"
    assert run.about["training"]["val_char_accuracy"] > 0.9, "it begins where the other ended"
    split = [f"{row},{'test' if k % 4 == 0 else 'train'}" for k, row in enumerate(rows[1:40])]
    odd = ["path,text,split", *split, f"{texts / '239.png'},IQ,train"]
    (tmp_path / "odd.csv").write_text("\n".join(odd))
    with pytest.raises(DatasetError, match="characters that are new to the weights: 'Q'"):
        ew.train(tmp_path / "odd.csv", task="read", weights=lined.bundle.folder, out=tmp_path / "no", epochs=1)


def _written(texts: Path) -> list[str]:
    return [line.split(",")[1] for line in (texts / "lines.csv").read_text().splitlines()[1:]]


def test_texts_with_unknown_characters_are_measured(lined, texts: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "odd.csv").write_text(f"path,text\n{texts / '001.png'},IQL\n{texts / '002.png'},LL\n")
    report = ew.evaluate(lined.bundle, tmp_path / "odd.csv", allow_leaks=True)
    assert report.tables["totals"]["unknown"] == {"Q": 1}
    assert (report.metrics["cer"].value or 0) >= 1 / 5, "what it does not know it gets wrong"


def test_a_page_is_written_for_programs_of_ocr_with_boxes_of_words(lined, page: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("".join(",".join(map(str, b)) + "\n" for b in BOXES))
    wanted = ["read", str(lined.bundle.folder), str(page), "--lines", str(boxes), "--out", str(tmp_path / "out")]
    assert main([*wanted, "--save", "hocr,alto,tsv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(told["out"]) == ["alto", "hocr", "tsv"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["page.alto.xml", "page.hocr", "page.tsv"]
    words = [w for line in told["lines"] for w in line["words"]]
    assert [w["text"] for w in words] == TEXTS
    for word, (x0, y0, x1, y1) in zip(words, BOXES, strict=True):
        quad = word["quad"]
        assert x0 <= quad[0] < quad[2] <= x1
        assert (quad[1], quad[5]) == (y0, y1)
    table = (tmp_path / "out" / "page.tsv").read_text().splitlines()
    assert [row.split("\t")[-1] for row in table if row.startswith("5\t")] == TEXTS
    for save, said in (("pdf", "unknown --save"), (",", "found nothing")):
        assert main([*wanted, "--save", save]) == 2
        assert said in capsys.readouterr().err
    assert main([*wanted[:-2], "--save", "tsv"]) == 2
    assert "--save needs a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("", 3, "found none"),
        ("x0,y0,x1,y1\n", 3, "found none"),
        ("[]", 3, "found none"),
        ("40,30,136,78\n5000,10,5100,40\n", 2, "box 2 of "),
        ("40,nan,136,78\n", 2, "box 1 of "),
    ],
)
def test_a_file_without_boxes_on_the_page_is_one_line(
    lined, page: Path, tmp_path: Path, capsys, content: str, code: int, said: str
) -> None:  # type: ignore[no-untyped-def]
    boxes = tmp_path / ("boxes.json" if content == "[]" else "boxes.csv")
    boxes.write_text(content)
    assert main(["read", str(lined.bundle.folder), str(page), "--lines", str(boxes)]) == code
    err = capsys.readouterr().err.strip()
    assert said in err
    assert len(err.splitlines()) == 1
