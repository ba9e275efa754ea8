"""Inpainting on the page, in a real browser: by the mouse, by keys, and on a phone."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.serving.test_page import CHROMIUM, browser  # noqa: F401 - a fixture

from eyewright.imaging import read_image, write_image

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
SIZE = (90, 120)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([2 * x, 2 * y, 128 + 60 * np.sin(x / 5)], 2).astype(np.uint8)
    return write_image(tmp_path_factory.mktemp("fill") / "photo.png", image)


def opened(browser: Any, served: Any, photo: Path, **how: Any) -> Any:  # noqa: F811
    page = browser.new_context(**how).new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(served.address)
    page.click("#tab-fill")
    page.set_input_files("#fill-file", str(photo))
    page.wait_for_selector("#fill-canvas:visible")
    return page


def painted(page: Any) -> NDArray[np.bool_]:
    """The mask as it would be sent."""
    data = page.evaluate("async () => [...new Uint8Array(await (await maskFile()).arrayBuffer())]")
    return np.asarray(Image.open(BytesIO(bytes(data))).convert("L")) > 127


def drag(page: Any, *points: tuple[float, float]) -> None:
    """Draw with the mouse through points in pixels of the image."""
    frame = page.locator("#fill-canvas").bounding_box()
    for k, (x, y) in enumerate(points):
        page.mouse.move(
            frame["x"] + (x + 0.5) / SIZE[1] * frame["width"], frame["y"] + (y + 0.5) / SIZE[0] * frame["height"]
        )
        if k == 0:
            page.mouse.down()
    page.mouse.up()


def test_a_mask_is_painted_filled_compared_and_saved(browser, served, photo: Path) -> None:  # noqa: F811
    from playwright.sync_api import expect

    page = opened(browser, served, photo, viewport={"width": 1280, "height": 900})
    expect(page.locator("#fill-go")).to_be_disabled()
    assert page.locator("#fill-net").is_hidden()
    page.locator("#fill-size").fill("6")
    drag(page, (20, 30), (60, 30), (100, 50))
    mask = painted(page)
    assert mask[30, 20:60].all()
    assert mask[28:32, 40].all()
    assert not mask[36, 40]
    page.click("#fill-box")
    drag(page, (70, 60), (89, 79))
    assert painted(page)[60:80, 70:90].all()
    page.click("#fill-undo")
    assert np.array_equal(painted(page), mask)
    page.click("#fill-erase")
    drag(page, (40, 30), (41, 30))
    assert not painted(page)[30, 40]
    page.click("#fill-undo")
    page.select_option("#fill-method", "ns")
    page.click("#fill-go")
    expect(page.locator("#fill-status")).to_contain_text("filled by ns", timeout=20_000)
    expect(page.locator("#fill-canvas")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#fill-split")).to_have_value("52")
    drag(page, (30, 40), (90, 40))
    expect(page.locator("#fill-split")).to_have_value("75")
    with page.expect_download() as waited:
        page.click("#fill-save")
    assert waited.value.suggested_filename == "photo-filled.png"
    before, after = read_image(photo), read_image(Path(waited.value.path()))
    assert np.array_equal(after[~mask], before[~mask])
    # The picture is smooth: what is filled is near what was there.
    assert np.abs(after[mask].astype(int) - before[mask]).mean() < 12
    page.click("#fill-back")
    assert np.array_equal(painted(page), mask)
    page.click("#fill-go")
    page.click("#fill-keep")
    expect(page.locator("#fill-go")).to_be_disabled()
    assert not painted(page).any()
    page.context.close()


def test_keys_paint_and_set_boxes_on_a_phone(browser, served, photo: Path) -> None:  # noqa: F811
    from playwright.sync_api import expect

    page = opened(browser, served, photo, viewport={"width": 390, "height": 844}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#fill-size").fill("8")
    page.focus("#fill-canvas")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    expect(page.locator("#fill-status")).to_have_text("Painted at 60, 41.")
    assert painted(page)[41, 60]
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert painted(page)[41, 60:69].all()
    for _ in range(3):
        page.keyboard.press("Control+z")
    assert not painted(page).any()
    page.click("#fill-box")
    page.focus("#fill-canvas")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not painted(page).any()
    for key in ("Space", "ArrowRight", "ArrowRight", "ArrowDown", "Space"):
        page.keyboard.press(key)
    mask = painted(page)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert (len(rows), len(columns)) == (2, 3)
    page.click("#fill-go")
    expect(page.locator("#fill-status")).to_contain_text("6 pixels", timeout=20_000)
    page.context.close()


def test_a_refusal_is_shown_and_the_mask_stays(browser, served, photo: Path) -> None:  # noqa: F811
    from playwright.sync_api import expect

    page = opened(browser, served, photo, viewport={"width": 1280, "height": 900})
    page.click("#fill-box")
    drag(page, (0, 0), (SIZE[1] - 1, SIZE[0] - 1))
    page.click("#fill-go")
    expect(page.locator("#fill-status")).to_contain_text("covers the whole image")
    expect(page.locator("#fill-status")).to_have_class("bad")
    assert painted(page).all()
    expect(page.locator("#fill-go")).to_be_enabled()
    page.context.close()
