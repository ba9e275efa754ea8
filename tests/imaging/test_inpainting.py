"""Holes are filled from what surrounds them, and nothing else is touched."""

import numpy as np
import pytest
from numpy.typing import NDArray

from eyewright.core.errors import MissingExtraError, UsageError
from eyewright.imaging import first_filling, inpainting
from eyewright.imaging.inpainting import choose_method, grown, inpaint_pixels
from eyewright.imaging.steps.arrays import opencv


def bricks(height: int = 120, width: int = 140) -> NDArray[np.uint8]:
    """A texture that repeats."""
    y, x = np.mgrid[:height, :width]
    row = y // 12
    joint = (y % 12 < 2) | ((x + 12 * (row % 2)) % 24 < 2)
    image = np.where(joint[..., None], [210, 205, 200], [150, 60, 40])
    grain = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def ramp(height: int = 80, width: int = 90) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([40 + x, 60 + y, 200 - x], 2).astype(np.uint8)


def psnr_in(found: NDArray[np.uint8], true: NDArray[np.uint8], hole: NDArray[np.bool_]) -> float:
    error = float(np.mean((found[hole].astype(float) - true[hole]) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def hole_in(image: NDArray[np.uint8], top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
    hole = np.zeros(image.shape[:2], bool)
    hole[top : top + height, left : left + width] = True
    return hole


@pytest.mark.parametrize(
    ("method", "dtype"),
    [("fsr", np.uint8), *((m, d) for m in ("ns", "biharmonic", "exemplar") for d in (np.uint8, np.uint16))],
)
@pytest.mark.parametrize("colours", [1, 3])
def test_no_pixel_outside_the_mask_is_changed(method: str, dtype: type, colours: int) -> None:
    image = bricks().astype(dtype) * (257 if dtype is np.uint16 else 1)
    image = image if colours == 3 else np.ascontiguousarray(image[..., 0])
    hole = hole_in(bricks(), 40, 50, 9, 30) | hole_in(bricks(), 0, 0, 8, 8)
    broken = image.copy()
    broken[hole] = np.iinfo(dtype).max
    found = inpaint_pixels(broken, hole, method=method)
    assert found.image.dtype == dtype
    assert np.array_equal(found.image[~hole], broken[~hole])
    assert (found.image[hole] != np.iinfo(dtype).max).mean() > 0.9
    # Both holes are strokes: patches would be no better there.
    assert found.method == ("fsr" if method == "exemplar" and dtype is np.uint8 else method)


def test_patches_continue_a_texture_where_smooth_methods_blur_it() -> None:
    image = bricks()
    hole = hole_in(image, 40, 50, 40, 46)
    broken = image.copy()
    broken[hole] = 255
    found = {m: psnr_in(inpaint_pixels(broken, hole, method=m).image, image, hole) for m in ("ns", "exemplar")}
    assert found["exemplar"] > found["ns"] + 4
    again = inpaint_pixels(broken, hole, method="exemplar")
    assert np.array_equal(again.image, inpaint_pixels(broken, hole, method="exemplar").image), "one seed, one result"


def test_biharmonic_continues_a_ramp_and_is_chosen_for_scratches_in_it_where_fsr_is_not_supported() -> None:
    image = ramp()
    scratch = hole_in(image, 30, 10, 3, 60)
    broken = image.copy()
    broken[scratch] = 0
    deep = broken.astype(np.uint16) * 257
    assert (choose_method(broken, scratch), choose_method(deep, scratch)) == ("fsr", "biharmonic")
    found = inpaint_pixels(deep, scratch)
    assert (found.method, psnr_in(found.image / 257, image, scratch) > 45) == ("biharmonic", True)
    noisy = np.random.default_rng(0).integers(0, 256, image.shape).astype(np.uint8)
    assert choose_method(noisy, scratch) == "fsr"
    assert choose_method(noisy.astype(np.uint16) * 257, scratch) == "ns"


@pytest.mark.parametrize(("side", "chosen"), [(16, "fsr"), (32, "fsr"), (48, "fsr"), (60, "exemplar")])
def test_patches_are_chosen_for_holes_that_frequencies_do_not_span(side: int, chosen: str) -> None:
    image = bricks()
    assert choose_method(image, hole_in(image, 30, 30, side, side)) == chosen


def test_frequencies_continue_waves_that_navier_stokes_flattens() -> None:
    y, x = np.mgrid[:96, :112]
    wave = 128 + 60 * np.sin(x / 2.5) + 40 * np.cos((x + y) / 4)
    image = np.stack([wave, 255 - wave, np.full_like(wave, 90)], 2).clip(0, 255).astype(np.uint8)
    scratch = hole_in(image, 10, 40, 70, 9) | hole_in(image, 50, 0, 5, 112)
    broken = image.copy()
    broken[scratch] = 255
    found = {m: psnr_in(inpaint_pixels(broken, scratch, method=m).image, image, scratch) for m in ("fsr", "ns")}
    assert found["fsr"] > found["ns"] + 6
    black = image.copy()
    black[scratch] = 0
    one, other = (inpaint_pixels(b, scratch, method="fsr").image for b in (broken, black))
    assert np.array_equal(one, other), "what was under the mask plays no part"


@pytest.mark.parametrize("size_hw", [(1, 9), (5, 3), (17, 40), (33, 65)])
def test_frequencies_fill_images_smaller_than_their_blocks(size_hw: tuple[int, int]) -> None:
    image = np.full((*size_hw, 3), (200, 30, 90), np.uint8)
    hole = hole_in(image, 0, 1, 1, 1) | hole_in(image, size_hw[0] - 1, size_hw[1] - 2, 1, 2)
    broken = image.copy()
    broken[hole] = 0
    assert np.abs(inpaint_pixels(broken, hole, method="fsr").image.astype(int) - image).max() <= 3


def test_frequencies_are_refused_in_words_where_they_are_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    image = bricks()
    hole = hole_in(image, 40, 50, 3, 30)
    with pytest.raises(UsageError, match="fills images of 8 bits, found 16"):
        inpaint_pixels(image.astype(np.uint16), hole, method="fsr")
    monkeypatch.delattr(opencv(), "xphoto")
    with pytest.raises(MissingExtraError, match="contributed modules"):
        inpaint_pixels(image, hole, method="fsr")
    assert inpaint_pixels(image, hole).method == "ns"


def test_holes_at_the_left_and_top_edge_keep_their_colours() -> None:
    image = np.full((40, 50, 3), (200, 30, 90), np.uint8)
    hole = hole_in(image, 0, 0, 6, 50) | hole_in(image, 0, 0, 40, 5)
    broken = image.copy()
    broken[hole] = 0
    assert np.array_equal(inpaint_pixels(broken, hole, method="ns").image, image)


def test_a_mask_grows_and_its_edge_fades_inside_what_it_grew_by() -> None:
    image = bricks()
    mask = hole_in(image, 50, 60, 10, 10)
    done = inpaint_pixels(image, mask, method="ns", grow=4, feather=3)
    assert np.array_equal(done.changed, grown(mask, 4))
    assert np.array_equal(done.image[~done.changed], image[~done.changed])
    hard = inpaint_pixels(image, mask, method="ns", grow=4)
    assert np.array_equal(done.image[mask], hard.image[mask]), "the mask itself is filled as a whole"
    ring = done.changed & ~grown(mask, 3)
    apart = [np.abs(i[ring].astype(int) - image[ring]).mean() for i in (done.image, hard.image)]
    assert apart[0] < apart[1]


@pytest.mark.parametrize(
    ("mask", "given", "says"),
    [
        (np.zeros((120, 140), bool), {}, "the mask is empty"),
        (np.ones((120, 140), bool), {}, "covers the whole image"),
        (np.ones((120, 139), bool), {}, "expected a mask of 140x120 pixels, found 139x120"),
        (np.eye(120, 140, dtype=bool), {"method": "nss"}, "unknown method 'nss'; did you mean 'ns'"),
        (np.eye(120, 140, dtype=bool), {"feather": 2}, "feather <= grow"),
        (np.tri(120, 140, dtype=bool) | (np.arange(140) > 70), {"method": "biharmonic"}, "at most 12,000 pixels"),
        (np.arange(140) % 40 > np.zeros((120, 1)), {"method": "exemplar"}, "a patch of pixels outside the mask"),
    ],
)
def test_what_cannot_be_filled_is_refused_in_words(
    mask: NDArray[np.bool_], given: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        inpaint_pixels(bricks(), mask, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["ns", "fsr"])
def test_a_large_image_is_filled_in_windows_as_it_is_in_one(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2, rng = opencv(), np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8), (400, 300), interpolation=cv2.INTER_CUBIC)
    drawn = np.zeros((300, 400), np.uint8)
    for ends in (((0, 20), (399, 250)), ((130, 0), (120, 299))):
        cv2.line(drawn, *ends, 1, 6)
    hole = drawn.astype(bool)
    whole = inpaint_pixels(image, hole, method=method).image
    seen: list[tuple[int, ...]] = []

    def watched(planes: np.ndarray, own: np.ndarray) -> np.ndarray:
        seen.append(own.shape)
        return filling(planes, own)

    name = {"ns": "first_filling._fill_smoothly", "fsr": "inpainting._fill_frequencies"}[method]
    filling = {"ns": first_filling._fill_smoothly, "fsr": inpainting._fill_frequencies}[method]
    monkeypatch.setattr(f"eyewright.imaging.{name}", watched)
    for setting, value in (("_MOST_AT_ONCE", 20_000), ("_CELL", 96), ("_WINDOW_MARGIN", 32), ("_DEEPEST", 12.0)):
        monkeypatch.setattr(first_filling, setting, value)
    parts = inpaint_pixels(image, hole, method=method).image
    assert len(seen) > 6
    assert max(h * w for h, w in seen) <= 160 * 160
    assert np.array_equal(parts[~hole], image[~hole])
    apart = np.abs(parts[hole].astype(int) - whole[hole])
    # Frequencies are found in blocks that begin elsewhere.
    assert apart.mean() < (0.05 if method == "ns" else 1.0)
    # A hole that is wider than what a window sees around it is filled in one go.
    seen.clear()
    hole[100:180, 200:300] = True
    inpaint_pixels(image, hole, method=method)
    assert seen[-1][0] * seen[-1][1] > 20_000
