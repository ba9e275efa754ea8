"""Masks as people and attackers have them: each is understood, or refused in one line that names it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import eyewright as ew
from eyewright.cli.program import main
from eyewright.imaging import write_image

SIZE = (60, 80)
HOLE = np.zeros(SIZE, bool)
HOLE[20:26, 10:60] = True
WHITE = HOLE * np.uint8(255)
Write = Callable[[Path], object]


def palette(values: NDArray[np.generic], *colours: int) -> Image.Image:
    picture = Image.fromarray(values.astype(np.uint8), "P")
    picture.putpalette([*colours, *[0] * (768 - len(colours))])
    return picture


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = 6
    return exif


def frames(path: Path) -> None:
    Image.fromarray(WHITE).save(path, save_all=True, append_images=[Image.fromarray(255 - WHITE)])


UNDERSTOOD: dict[str, tuple[str, Write]] = {
    "8 bits": ("png", lambda p: Image.fromarray(WHITE).save(p)),
    "1 bit": ("png", lambda p: Image.fromarray(HOLE).save(p)),
    "16 bits": ("png", lambda p: write_image(p, HOLE * np.uint16(65535))),
    "16 bits of 0 and 1": ("png", lambda p: write_image(p, HOLE * np.uint16(1))),
    "palette": ("png", lambda p: palette(HOLE, 0, 0, 0, 255, 255, 255).save(p)),
    "palette, white first": ("png", lambda p: palette(~HOLE, 255, 255, 255, 0, 0, 0).save(p)),
    "palette of VOC": ("png", lambda p: palette(HOLE, 0, 0, 0, 128, 0, 0).save(p)),
    "white on a transparent layer": ("png", lambda p: write_image(p, np.dstack([WHITE * 0 + 255] * 3 + [WHITE]))),
    "turned by EXIF": ("jpg", lambda p: Image.fromarray(np.rot90(WHITE).copy()).save(p, exif=turned(), quality=95)),
    "JPEG in colour with grey fringes": ("jpg", lambda p: Image.fromarray(np.dstack([WHITE] * 3)).save(p, quality=20)),
    "red JPEG": ("jpg", lambda p: Image.fromarray(np.dstack([WHITE, WHITE * 0, WHITE * 0])).save(p, quality=60)),
    "float TIFF": ("tif", lambda p: Image.fromarray(HOLE.astype(np.float32)).save(p)),
    "animated GIF": ("gif", frames),
    "TIFF of pages": ("tif", frames),
}  # fmt: skip

SAID: dict[str, tuple[str, Write, int, str]] = {
    "all black": ("png", lambda p: Image.fromarray(WHITE * 0).save(p), 1, "brightest opaque value is 0 of 255"),
    "too dark": ("png", lambda p: Image.fromarray(HOLE * np.uint8(100)).save(p), 1, "is 100 of 255"),
    "255 in 16 bits": ("png", lambda p: write_image(p, HOLE * np.uint16(255)), 1, "is 255 of 65,535"),
    "black with alpha": (
        "png", lambda p: Image.fromarray(np.dstack([WHITE * 0, WHITE]), "LA").save(p), 1, "white and opaque",
    ),
    "all white": ("png", lambda p: Image.fromarray(WHITE * 0 + 255).save(p), 2, "the mask covers the whole image"),
    "another size": ("png", lambda p: Image.fromarray(WHITE[:50]).save(p), 2, "a mask of 80x60 pixels"),
    "1x1": ("png", lambda p: Image.fromarray(WHITE[20:21, 20:21]).save(p), 2, "found 1x1 in"),
    "lying down by EXIF": ("jpg", lambda p: Image.fromarray(WHITE).save(p, exif=turned()), 2, "upright, found 60x80"),
    "a photograph": (
        "png", lambda p: Image.fromarray(np.arange(4800, dtype=np.uint16).astype(np.uint8).reshape(SIZE)).save(p), 2,
        "of which 75% is grey",
    ),
    "cut off": ("png", lambda p: (Image.fromarray(WHITE).save(p), p.write_bytes(p.read_bytes()[:70])), 3, "cut off"),
    "empty": ("png", lambda p: p.write_bytes(b""), 3, "an empty file"),
    "text": ("png", lambda p: p.write_text("white"), 3, "found text"),
    "a folder": ("", lambda p: p.mkdir(), 3, "found a folder"),
    "nothing": ("png", lambda p: None, 3, "No such file"),
}  # fmt: skip


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return write_image(tmp_path / "picture.png", np.dstack([2 * x, 3 * y, x + y]).astype(np.uint8))


def fill(picture: Path, mask: Path, *more: str, out: str = "out.png") -> int:
    return main(
        ["inpaint", str(picture), "--mask", str(mask), "--method", "ns", "--out", str(picture.parent / out), *more]
    )


@pytest.mark.parametrize("kind", UNDERSTOOD)
def test_a_mask_marks_the_same_pixels_in_every_form(
    kind: str, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ending, write = UNDERSTOOD[kind]
    mask = tmp_path / f"mask.{ending}"
    write(mask)
    assert fill(picture, mask) == 0
    found = capsys.readouterr()
    assert "300 pixels (6.2%) filled by ns" in found.out
    before, after = (ew.read_image(p) for p in (picture, tmp_path / "out.png"))
    assert np.array_equal(before[~HOLE], after[~HOLE])
    assert ("1 further frame" in found.err) == (kind in ("animated GIF", "TIFF of pages"))


@pytest.mark.parametrize("kind", SAID)
def test_what_is_no_mask_is_said_in_one_line_and_nothing_is_written(
    kind: str, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ending, write, code, says = SAID[kind]
    mask = tmp_path / (f"mask.{ending}" if ending else "mask")
    write(mask)
    assert fill(picture, mask) == code
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_a_mask_that_may_be_inverted_or_is_soft_is_noted(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inverted = write_image(tmp_path / "inverted.png", 255 - WHITE)
    assert fill(picture, inverted) == 0
    assert "the mask marks 94% of the image; invert it" in capsys.readouterr().err
    soft = write_image(
        tmp_path / "soft.png", np.tile(np.clip(np.arange(80) * 8 - 100, 0, 255), (60, 1)).astype(np.uint8)
    )
    assert fill(picture, soft, "--overwrite") == 0
    assert "of the mask is grey" in capsys.readouterr().err


def test_the_mask_is_never_written_over_and_the_image_only_on_request(picture: Path, tmp_path: Path) -> None:
    mask = write_image(tmp_path / "mask.png", WHITE)
    before = {p: p.read_bytes() for p in (mask, picture)}
    assert fill(picture, mask, "--overwrite", out="mask.png") == 2
    assert fill(picture, mask, out="picture.png") == 2
    clear = write_image(tmp_path / "clear.png", np.dstack([ew.read_image(picture), WHITE]))
    # A JPEG holds no transparency: the output becomes a PNG, here the mask.
    assert fill(clear, mask, "--overwrite", out="mask.jpg") == 2
    assert {p: p.read_bytes() for p in before} == before
    # An image may be its own mask, and is replaced where that is asked for.
    assert fill(mask, mask, "--overwrite", out="mask.png") == 2
    assert fill(picture, mask, "--overwrite", out="picture.png") == 0
    assert picture.read_bytes() != before[picture]


def test_several_masks_or_boxes_are_all_filled(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask, other = (write_image(tmp_path / f"{k}.png", m) for k, m in enumerate((WHITE, WHITE[::-1].copy())))
    assert fill(picture, mask, "--mask", str(other)) == 0
    assert "600 pixels" in capsys.readouterr().out
    argv = ["inpaint", str(picture), "--method", "ns", "--out", str(tmp_path / "boxes.png")]
    assert main([*argv, "--box", "1,1,5,5", "--box", "40,30,2,3"]) == 0
    assert "31 pixels" in capsys.readouterr().out
    assert main([*argv, "--overwrite", "--box", "-5,-5,20,20"]) == 0
    found = capsys.readouterr()
    assert "225 pixels" in found.out
    assert "the box -5,-5,20,20 reaches over the edge" in found.err
    assert main([*argv, "--overwrite", "--box", "1,1,5,5", "--box", "400,30,2,3"]) == 2
    assert "the box 400,30,2,3 lies outside the image of 80x60" in capsys.readouterr().err


def test_what_a_lossy_format_does_is_not_contradicted(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["inpaint", str(picture), "--box", "3,3,1,1", "--method", "ns", "--out"]
    assert main([*argv, str(tmp_path / "o.jpg")]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "the filled pixels are a guess"
    assert main([*argv, str(tmp_path / "o.png")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 pixel (below 0.1%) filled by ns")
    assert "all others are unchanged" in said
