"""Captions are readable whatever the size of the image."""

import numpy as np
import pytest
from PIL import ImageFont

from eyewright.imaging.overlay import _wrapped, caption


@pytest.mark.parametrize("width", [16, 120, 400])
def test_a_caption_is_never_cut_off(width: int) -> None:
    text = "weight [g] 12.5 [12, 13]  temperature [°C] 8.81 [6.70, 10.92]"
    drawn = caption(np.zeros((20, width, 3), np.uint8), text)
    strip = drawn[20:]
    assert (strip[:, [0, -1]] == 255).all()
    assert (strip[[0, -1]] == 255).all()
    lines = _wrapped(text, ImageFont.load_default(10), 112)
    assert len(lines) > 1
    assert " ".join(lines).split() == text.split()
