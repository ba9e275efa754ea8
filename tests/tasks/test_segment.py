"""Segmentation: a class for every pixel, and what a person is shown of it."""

import numpy as np
import pytest

from eyewright.core import LabelSpace
from eyewright.core.errors import BundleError
from eyewright.core.task import task_of
from eyewright.imaging.preparation import Placement
from eyewright.tasks.segment import MaskPrediction, paint

LABELS = LabelSpace(("background", "crack", "dent"))
WHOLE = Placement((4, 6), (1.0, 1.0), (0.0, 0.0))


def planes(mask: np.ndarray, sure: float = 0.8) -> np.ndarray:
    rest = (1 - sure) / 2
    return np.stack([np.where(mask == c, sure, rest) for c in range(3)]).astype(np.float32)


def test_every_pixel_gets_its_most_likely_class_and_the_next_one() -> None:
    mask = np.array([[0, 0, 0, 1, 1, 1]] * 4, np.uint8)
    (found,) = task_of("segment").decode({"probabilities": planes(mask)[None]}, [WHOLE], LABELS)
    assert np.array_equal(found.mask, mask)
    assert found.labels == ("background", "crack")
    assert found.areas.tolist() == [0.5, 0.5]
    assert found.second is not None
    assert not (found.second == found.mask).any()


def test_a_class_that_is_not_accepted_gives_its_pixels_to_the_next_one_and_background_keeps_its_own() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[:, 20:] = 1
    two = np.full((40, 40), 2, np.uint8)
    one = MaskPrediction(mask, np.array([0.1, 0.6, 0.0], np.float32), LABELS, two)
    settle = task_of("segment").settle
    shown = settle(one, np.array([0.5, 0.7, 0.0]))
    # The crack's half is the dent's now; the background was as unlikely, and stays.
    assert np.array_equal(shown.mask, np.where(mask == 1, 2, 0))
    # The next class may be refused too: then the first class takes the pixels.
    assert not settle(one, np.array([0.5, 0.7, 0.9])).mask.any()
    assert settle(one, np.array([0.5, 0.6, 0.9])) is one
    assert settle(one, None) is one
    assert not settle(one, None, conf=0.9).mask.any()


def test_few_pixels_make_a_class_less_certain() -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[0, :3] = 1
    found = paint(planes(mask, 0.9), Placement((30, 30), (1.0, 1.0), (0.0, 0.0)), LABELS)
    assert found.sureness[1] == pytest.approx(0.9 * 3 / 9, abs=1e-6)
    assert found.sureness[0] == pytest.approx(0.9, abs=1e-6)
    assert found.sureness[2] == 0


@pytest.mark.parametrize("wrong", [
    {}, {"probabilities": np.zeros((1, 2, 4, 6), np.float32)}, {"probabilities": np.zeros((1, 3, 4, 6), np.float32)},
    {"probabilities": np.full((1, 3, 4, 6), np.nan, np.float32)},
])  # fmt: skip
def test_arrays_that_were_not_promised_are_refused(wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(BundleError):
        task_of("segment").decode(wrong, [WHOLE], LABELS)


def test_a_prediction_says_what_clients_drift_and_logs_need() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:3] = 2
    one = MaskPrediction(mask, np.array([0.9, 0.0, 0.7], np.float32), LABELS)
    assert one.numbers().tolist() == pytest.approx([0.7, 0.0, 0.3])
    assert one.headline() == ("dent", pytest.approx(0.7))
    assert one.line() == "background 70.0%  dent 30.0%"
    assert [r["label"] for r in one.to_hub()] == ["background", "dent"]
    clean = MaskPrediction(np.zeros((4, 4), np.uint8), np.array([0.9, 0, 0], np.float32), LABELS)
    assert clean.headline() == ("", 0.0)
