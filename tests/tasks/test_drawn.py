"""What every prediction can do: be drawn, be written, and give its masks as pictures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import BundleError
from eyewright.tasks.drawn import Drawn, mask_png


class Negative(Drawn):
    def __init__(self, image: np.ndarray | None) -> None:
        self.image = image

    def line(self) -> str:
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
