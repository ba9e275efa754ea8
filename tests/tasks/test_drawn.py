"""What every prediction can do: be drawn, be written, and give its masks as pictures."""

import base64
import io
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import BundleError
from eyewright.tasks.drawn import Drawn, kept_image, mask_png, video_frame


class Negative(Drawn):
    def __init__(self, image: np.ndarray | None) -> None:
        self.image = image

    def line(self, *, top: int | None = None) -> str:
        return "negative"

    def drawn_on(self, image: np.ndarray) -> np.ndarray:
        return 255 - image


def test_a_mask_is_a_png_of_0_and_255_in_base64() -> None:
    mask = np.zeros((3, 5), bool)
    mask[1, 2:] = True
    picture = Image.open(io.BytesIO(base64.b64decode(mask_png(mask), validate=True)))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (5, 3))
    assert np.asarray(picture).tolist() == [[0] * 5, [0, 0, 255, 255, 255], [0] * 5]


def test_the_image_that_was_kept_is_drawn_on_and_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    image = np.full((4, 6, 3), 50, np.uint8)
    one = Negative(image)
    assert (one.plot() == 205).all()
    place = one.save(tmp_path / "a.png")
    assert place == tmp_path / "a.png"
    assert np.array_equal(np.asarray(Image.open(place).convert("RGB")), one.plot())
    assert (image == 50).all()
    for act in (Negative(None).plot, lambda: Negative(None).save(tmp_path / "b.png")):
        with pytest.raises(BundleError, match="without keeping its image"):
            act()
    assert not (tmp_path / "b.png").exists()
    with pytest.raises(TypeError, match="abstract"):
        Drawn()  # type: ignore[abstract]


class Captioned(Drawn):
    """Draws a strip of 10 below the image, and widens it to `width`."""

    def __init__(self, image: np.ndarray | None, width: int, rows: int | None = 4) -> None:
        self.image, self.width, self.rows = image, width, rows

    def line(self, *, top: int | None = None) -> str:
        return "captioned"

    def drawn_on(self, image: np.ndarray) -> np.ndarray:
        drawn = np.full((image.shape[0] + 10, self.width, 3), 10, np.uint8)
        left = (self.width - image.shape[1]) // 2
        drawn[: image.shape[0], left : left + image.shape[1]] = image
        return drawn

    def strip_rows(self, size_hw: tuple[int, int]) -> int | None:
        return self.rows


def test_frames_of_a_video_are_as_large_as_the_image_and_its_strip_say() -> None:
    image = np.full((20, 200, 3), 77, np.uint8)
    frame = video_frame(Captioned(image, 200))
    assert frame.shape == (24, 200, 3)
    assert (frame[:20] == 77).all()
    assert (frame[20:] == 10).all()


def test_a_drawing_that_is_wider_than_its_frame_keeps_its_middle_and_a_narrower_one_is_on_white() -> None:
    image = np.full((20, 160, 3), 77, np.uint8)
    image[:, :3] = 150
    # 7 columns too many: 3 are cut off on the left, 4 on the right.
    wide = video_frame(Captioned(image, 167))
    assert wide.shape == (24, 160, 3)
    assert (wide[:20, :3] == 150).all()
    assert (wide[:20, 3:] == 77).all()
    # A frame has 120 columns at least; 33 of 53 columns are the drawing's margin, 43 on the left of the frame white.
    narrow = video_frame(Captioned(image[:, :33], 33))
    assert narrow.shape == (24, 120, 3)
    assert (narrow[:, :43] == 255).all()
    assert (narrow[:20, 43:46] == 150).all()
    assert (narrow[:20, 46:76] == 77).all()
    assert (narrow[:, 76:] == 255).all()


def test_a_strip_that_is_shorter_than_its_frame_ends_in_white() -> None:
    image = np.full((20, 160, 3), 77, np.uint8)
    frame = video_frame(Captioned(image, 160, rows=15))
    assert frame.shape == (35, 160, 3)
    assert (frame[20:30] == 10).all()
    assert (frame[30:] == 255).all()
    # Without a strip the drawing is the frame.
    assert video_frame(Captioned(image, 160, rows=None)).shape == (30, 160, 3)
    with pytest.raises(BundleError, match="without keeping its image"):
        video_frame(Captioned(None, 160))


def test_a_kept_image_may_be_read_again_each_time_and_is_no_part_of_the_repr() -> None:
    @dataclass(frozen=True, repr=False)
    class One(Negative):
        source: str = ""
        image: np.ndarray | None = kept_image()

        def line(self, *, top: int | None = None) -> str:
            return "one"

    read: list[int] = []

    def again() -> np.ndarray:
        read.append(1)
        return np.full((2, 3, 3), 5, np.uint8)

    assert One().image is None
    given = replace(One("a.png"), image=again)  # type: ignore[arg-type]
    assert (repr(given), repr(One()), len(read)) == ("<One: one in 'a.png'>", "<One: one>", 0)
    assert (given.plot() == 250).all()
    assert len(read) == 1
    assert given.confidence is None
    assert "data:image/" in given._repr_html_()
    assert "data:image/" not in One("a.png")._repr_html_()
