"""Boxes with texts, drawn on an image."""

import numpy as np

from eyewright.explanation.faithfulness import Explanation, Verdict
from eyewright.imaging.drawing import _place, colour_of, draw_objects


def test_texts_of_boxes_that_overlap_lie_on_none_of_the_others() -> None:
    taken: list[tuple[float, float, float, float]] = []
    for box in ([100, 100, 300, 250], [104, 98, 300, 252], [98, 102, 296, 248], [100, 96, 290, 240]):
        left, top = _place(tuple(map(float, box)), 60, 14, (300, 500), taken)
        assert all(left >= t[2] or left + 60 <= t[0] or top >= t[3] or top + 14 <= t[1] for t in taken), (
            left,
            top,
            taken,
        )
        taken.append((left, top, left + 60, top + 14))


def test_a_text_stays_inside_the_image() -> None:
    for box in ((0.0, 0.0, 400.0, 300.0), (-20.0, 5.0, 30.0, 20.0), (380.0, 290.0, 400.0, 300.0)):
        left, top = _place(box, 60, 14, (300, 400), ())
        assert (0 <= left <= 340, 0 <= top <= 286) == (True, True)


def test_an_explained_box_has_the_colour_of_its_class() -> None:
    pixels = np.full((60, 60, 3), 90, np.uint8)
    verdict = Verdict(True, 0.1, 0.9, 0.1, 0.9)
    box = np.array([20.0, 20.0, 50.0, 50.0])
    for label in (0, 4):
        shown = Explanation(np.zeros((60, 60), np.float32), pixels, "x", 0.5, "m", verdict, box=box, label_id=label)
        assert tuple(shown.overlay()[30, 20]) == colour_of(label)


def test_drawing_leaves_the_image_as_it_was() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    drawn = draw_objects(image, np.array([[2.0, 20.0, 30.0, 38.0]]), ["a"], np.array([1]))
    assert not image.any()
    assert tuple(drawn[30, 2]) == colour_of(1)
