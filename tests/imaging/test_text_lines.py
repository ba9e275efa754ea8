"""Lines of text on pages that are drawn here, and on real receipts where they are there."""

import csv

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from tests.conftest import SHARED

from eyewright.imaging.runs import components_of
from eyewright.imaging.text_lines import find_lines, page_angle

SROIE = SHARED / "sroie_receipts"
FONT = ImageFont.load_default(24)


def _page(
    rows: list[tuple[int, int, str]], *, size: tuple[int, int] = (600, 400), turned: float = 0.0
) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Return a page with texts at x, y, and their boxes."""
    page = Image.new("L", size, 235)
    pen = ImageDraw.Draw(page)
    boxes = []
    for x, y, text in rows:
        pen.text((x, y), text, font=FONT, fill=40)
        boxes.append(tuple(round(v) for v in pen.textbbox((x, y), text, font=FONT)))
    if turned:
        page = page.rotate(turned, Image.Resampling.BICUBIC, fillcolor=235)
    noise = np.random.default_rng(0).normal(0, 4, (size[1], size[0]))
    pixels = np.clip(np.asarray(page, float) + noise, 0, 255).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, 2), boxes


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(0.0, w) * max(0.0, h)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


ROWS = [(30, 30, "TAX INVOICE NO 12"), (30, 80, "Coffee beans"), (480, 80, "12.50"), (30, 130, "Total, incl. tax:")]


def test_lines_are_found_in_reading_order_and_columns_are_parted() -> None:
    image, boxes = _page(ROWS)
    found = [line.box_xyxy for line in find_lines(image)]
    assert len(found) == len(boxes)
    for a, b in zip(found, boxes, strict=True):
        assert _overlap(a, b) > 0.6


def test_a_dark_page_is_read_too() -> None:
    image, boxes = _page(ROWS)
    assert len(find_lines(255 - image)) == len(boxes)


@pytest.mark.parametrize("angle", [-4.0, 3.0])
def test_a_page_that_lies_askew_is_laid_straight(angle: float) -> None:
    image, boxes = _page([(60, 60 + 40 * k, "all lines of this page lie askew") for k in range(7)], turned=angle)
    assert page_angle(image[..., 0]) == pytest.approx(-angle, abs=0.5)
    lines = find_lines(image)
    assert len(lines) == len(boxes)
    x0, y0, x1, y1 = lines[0].quad[:4]
    assert np.degrees(np.arctan2(y0 - y1, x1 - x0)) == pytest.approx(angle, abs=0.7)


def test_two_columns_of_running_text_are_read_one_after_the_other() -> None:
    left = [(20, 20 + 36 * k, "running text on the left") for k in range(6)]
    right = [(400, 20 + 36 * k, "and on the right of it") for k in range(6)]
    image, _ = _page([*left, *right], size=(760, 300))
    xs = [line.quad[0] for line in find_lines(image)]
    assert len(xs) == 12
    assert max(xs[:6]) < 100
    assert min(xs[6:]) > 350


@pytest.mark.parametrize("image", [np.full((50, 80, 3), 255, np.uint8), np.zeros((3, 3, 3), np.uint8)])
def test_an_empty_page_has_no_lines(image: np.ndarray) -> None:
    assert find_lines(image) == []


def test_components_are_those_of_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    mask = np.random.default_rng(5).random((60, 90)) < 0.42
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    found = components_of(mask)
    assert len(found) == count
    wanted = {
        (s[1].start, s[0].start, s[1].stop, s[0].stop, int((labels == k + 1).sum()))
        for k, s in enumerate(ndimage.find_objects(labels))
    }
    assert {tuple(c) for c in found} == wanted


@pytest.mark.skipif(not SROIE.is_dir(), reason="the receipts are not there")
def test_most_lines_of_real_receipts_are_found() -> None:
    hit = there = 0
    for name in ("029", "322", "586"):
        image = np.asarray(Image.open(SROIE / "img" / f"{name}.jpg").convert("RGB"))
        found = [line.box_xyxy for line in find_lines(image)]
        with open(SROIE / "box" / f"{name}.csv", encoding="utf-8") as file:
            for row in csv.reader(file):
                values = [int(v) for v in row[:8]]
                box = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
                there += 1
                hit += max((_overlap(box, b) for b in found), default=0) > 0.5
    assert hit / there > 0.85


def test_a_picture_of_noise_is_done_in_bounded_time() -> None:
    import time

    noise = np.random.default_rng(1).integers(0, 256, (700, 700, 3)).astype(np.uint8)
    began = time.process_time()
    find_lines(noise)
    # Without bounds on characters and marks this takes minutes for a large picture.
    assert time.process_time() - began < 5
