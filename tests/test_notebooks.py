"""Values in Python and notebooks: a short repr, an HTML card, and images in every form that people have them."""

import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eyewright as ew
from eyewright.core.errors import UnreadableImageError, UsageError
from eyewright.imaging.given import given_source

VOID = {"img", "br", "meta", "link"}


class Balanced(HTMLParser):
    """Collects tags, and checks that each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def values(finished, shapes: Path) -> dict[str, Any]:
    bundle = ew.load_bundle(finished.paths["bundle"])
    image = shapes / "disc" / "003.png"
    return {
        "Dataset": ew.load_dataset(shapes),
        "Run": finished.run,
        "Report": finished.report,
        "Bundle": bundle,
        "ClassPrediction": bundle.predict(image),
        "Explanation": ew.explain(bundle, image)[0],
    }


def test_a_repr_is_one_short_line_that_says_what_it_is(values: dict[str, Any]) -> None:
    for name, value in values.items():
        said = repr(value)
        assert said.startswith(f"<{name}"), said
        assert len(said.replace(str(Path.cwd()), "")) < 400
        assert "\n" not in said
    assert "imagefolder: 72 images, 3 classes" in repr(values["Dataset"])
    assert "3 classes, accuracy" in repr(values["Bundle"])
    assert re.search(r"validation accuracy \d+\.\d%>", repr(values["Run"]))


def test_a_notebook_shows_a_whole_card_without_scripts_or_addresses(values: dict[str, Any]) -> None:
    for name, value in values.items():
        page = Balanced(value._repr_html_())
        assert page.open == [], name
        assert not {"script", "style", "link"} & set(page.seen), name
        assert not re.search(r"(src|href)=\"(?!data:)", value._repr_html_()), name
    assert Balanced(values["Dataset"]._repr_html_()).seen.count("img") == 8
    assert "disc" in values["ClassPrediction"]._repr_html_()
    assert "accuracy" in values["Report"]._repr_html_()


def test_names_are_escaped(values: dict[str, Any]) -> None:
    hostile = dataclasses.replace(values["ClassPrediction"], source="<script>alert(1)</script>")
    assert "<script>" not in hostile._repr_html_()
    assert "&lt;script&gt;" in hostile._repr_html_()


def test_a_prediction_whose_image_was_not_kept_shows_itself_without(values: dict[str, Any]) -> None:
    bare = dataclasses.replace(values["ClassPrediction"], image=None)
    assert "img" not in Balanced(bare._repr_html_()).seen


def test_every_kind_of_prediction_has_the_short_repr() -> None:
    from eyewright.tasks import classify, detect, embed, read, regress, restore, segment, tag
    from eyewright.tasks.drawn import Drawn

    kinds = {
        kind
        for module in (classify, detect, embed, read, regress, restore, segment, tag)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Drawn) and kind is not Drawn
    }
    assert len(kinds) >= 8
    assert all(kind.__repr__ is Drawn.__repr__ for kind in kinds), kinds


def forms(path: Path) -> dict[str, Any]:
    """One image in every form."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return {
        "path": path,
        "text": str(path),
        "address": path.resolve().as_uri(),
        "bytes": path.read_bytes(),
        "bytearray": bytearray(path.read_bytes()),
        "memoryview": memoryview(path.read_bytes()),
        "array": pixels,
        "Pillow": Image.open(path),
        "Pillow RGBA": Image.open(path).convert("RGBA"),
    }


def test_an_image_is_the_same_in_every_form(values: dict[str, Any], shapes: Path, tmp_path: Path) -> None:
    path = tmp_path / "my disc.png"
    path.write_bytes((shapes / "disc" / "003.png").read_bytes())
    expected = np.asarray(Image.open(path).convert("RGB"))
    bundle = values["Bundle"]
    first = bundle.predict(path).probabilities
    steps = ew.process(expected, "invert")
    for name, form in forms(path).items():
        assert np.array_equal(ew.read_image(form), expected), name
        assert np.array_equal(bundle.predict(form).probabilities, first), name
        assert np.array_equal(bundle(form).probabilities, first), name
        assert np.array_equal(ew.process(form, "invert"), steps), name
    assert len(ew.explain(bundle, [path, Image.open(path)])) == 2
    (one, two) = bundle([path.resolve().as_uri(), Image.open(path)])
    assert np.array_equal(one.probabilities, two.probabilities)


def test_a_pillow_image_is_turned_as_its_exif_says_and_stays_unchanged() -> None:
    stored = np.zeros((4, 6, 3), np.uint8)
    stored[0, 0] = 255
    image = Image.fromarray(stored)
    image.getexif()[274] = 6
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=image.getexif())
    opened = Image.open(io.BytesIO(buffer.getvalue()))
    assert np.array_equal(given_source(opened), ew.read_image(buffer.getvalue()))
    assert given_source(opened).shape == (6, 4, 3)
    assert opened.size == (6, 4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_of_pillow_is_read(mode: str) -> None:
    image = Image.new("L", (3, 2), 255)
    image = (
        Image.new(mode, (3, 2), 40_000)
        if mode == "I;16"
        else image.convert("RGB" if mode == "CMYK" else "L").convert(mode)
    )
    found = ew.read_image(image)
    assert (found.dtype, found.shape) == (np.uint8, (2, 3, 3))


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (Image.new("F", (3, 2)), UnreadableImageError, "float"),
        ("file://server/share/a.png", UsageError, "'server'"),
        (3, UsageError, "found int"),
        (np.zeros((2, 3, 3), np.float32), UsageError, "float32"),
        (np.zeros((2, 3, 4), np.uint8), UsageError, r"\(2, 3, 4\)"),
        ("file:///nothing/here.png", UnreadableImageError, "nothing/here.png"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(source: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        ew.read_image(source)
