import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eyewright.core.errors import BundleError, UsageError
from eyewright.imaging import Preparation
from eyewright.imaging.overlay import overlay_heatmap, shrink
from eyewright.testing import check_preparation


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["stretch", "crop", "letterbox"]),
    st.sampled_from(["nearest", "box", "bilinear", "bicubic", "lanczos"]),
    st.sampled_from([1, 3]),
)
def test_every_preparation_conforms(size: tuple[int, int], fit: str, filter: str, channels: int) -> None:
    check_preparation(Preparation(size, fit=fit, filter=filter, channels=channels))  # type: ignore[arg-type]


def test_an_image_of_the_right_size_passes_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    for fit in ("stretch", "crop", "letterbox"):
        assert np.array_equal(Preparation((9, 7), fit=fit)(image)[0], image)  # type: ignore[arg-type]


def test_resizing_is_pillows() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 41, 3)).astype(np.uint8)
    oracle = np.asarray(Image.fromarray(image).resize((20, 30), Image.Resampling.BILINEAR))
    assert np.array_equal(Preparation((30, 20))(image)[0], oracle)


def test_a_letterbox_keeps_the_whole_image_and_fills_the_rest() -> None:
    pixels, placement = Preparation((8, 8), fit="letterbox", fill=5)(np.full((4, 8, 3), 200, np.uint8))
    assert pixels[:2].max() == 5
    assert pixels[6:].max() == 5
    assert pixels[2:6].min() == 200
    assert placement.to_source(np.array([[0.0, 2.0]])).tolist() == [[0.0, 0.0]]


def test_a_crop_takes_the_centre() -> None:
    image = np.zeros((4, 12, 3), np.uint8)
    image[:, 4:8] = 255
    assert Preparation((4, 4), fit="crop", filter="nearest")(image)[0].min() == 255


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_another_shape_or_type_is_refused(image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="expected an image as uint8"):
        Preparation((4, 4))(image)


@pytest.mark.parametrize(
    "change", [{"fit": "strech"}, {"size_hw": [0, 4]}, {"channels": 2}, {"extra": 1}, {"size_hw": 3}]
)
def test_a_damaged_preparation_in_a_bundle_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="preparation is not valid"):
        Preparation.from_json({**Preparation((4, 4)).to_json(), **change})


def test_an_overlay_shows_heat_and_keeps_the_argument() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    heat = np.zeros((8, 8))
    heat[2:4, 2:4] = 1
    out = overlay_heatmap(image, heat)
    assert image.min() == image.max() == 100
    assert out[2, 2].astype(int).sum() > out[7, 7].astype(int).sum()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 128))
@settings(max_examples=30, deadline=None)
def test_a_shrunk_image_is_no_larger_than_asked(height: int, width: int, side: int) -> None:
    assert max(shrink(np.zeros((height, width, 3), np.uint8), side).shape[:2]) <= side


def test_steps_come_before_the_resize_and_travel_as_json() -> None:
    pytest.importorskip("cv2")
    from eyewright.imaging.steps import process

    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    prepare = Preparation((16, 16), steps="gamma:2|clahe:clip=2")
    assert prepare.steps == "gamma:2 | clahe:2"
    pixels, placement = prepare(image)
    wanted, same = Preparation((16, 16))(process(image, "gamma:2 | clahe:2"))
    assert np.array_equal(pixels, wanted)
    assert placement == same
    data = prepare.to_json()
    assert data["steps"] == [{"step": "gamma", "gamma": 2.0}, {"step": "clahe", "clip": 2.0}]
    assert Preparation.from_json(data) == prepare
    assert "steps" not in Preparation((16, 16)).to_json(), "a bundle without steps looks as it always did"
    grey, _ = Preparation((16, 16), steps="threshold:otsu")(image)
    assert set(np.unique(grey[..., 0] == grey[..., 1])) == {True}


@pytest.mark.parametrize("steps", ["resize:64", "corrupt:fog", "depth:8", "claeh", "pool"])
def test_steps_that_cannot_come_before_a_net_are_refused(steps: str) -> None:
    with pytest.raises(UsageError):
        Preparation((16, 16), steps=steps)


@pytest.mark.parametrize(
    "steps", [[{"step": "nothing"}], [{"stp": "gamma"}], "gamma", [3], [{"step": "gamma", "gamma": "x"}]]
)
def test_a_bundle_with_broken_steps_is_refused(steps: object) -> None:
    with pytest.raises(BundleError):
        Preparation.from_json({**Preparation((8, 8)).to_json(), "steps": steps})
