"""Tracks, lines and zones on a frame."""

import numpy as np
import pytest

from eyewright.imaging.trails import Trails


@pytest.mark.parametrize(
    ("line", "inside", "outside"),
    [
        # From left to right: in is below. From top to bottom: in is to the left. By hand, y grows downwards.
        (((40, 50), (160, 50)), (100, 56), (100, 44)),
        (((160, 50), (40, 50)), (100, 44), (100, 56)),
        (((100, 10), (100, 90)), (94, 50), (106, 50)),
        (((100, 90), (100, 10)), (106, 50), (94, 50)),
    ],
)
def test_an_arrow_shows_which_way_counts_as_in(line: tuple, inside: tuple, outside: tuple) -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    none = np.zeros((0, 4))
    drawn = Trails().draw(image, none, np.zeros(0, np.int64), [], time_s=0.0, lines={"": line})
    assert drawn[inside[1], inside[0]].tolist() == [255, 255, 255]
    assert drawn[outside[1], outside[0]].tolist() == [0, 0, 0]
