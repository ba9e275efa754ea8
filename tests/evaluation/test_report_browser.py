"""Reports in a browser: images open large and are stepped through, and nothing scrolls sideways on a phone."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytest.importorskip("playwright")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["wide", "phone"])
def open_page(browser, request: pytest.FixtureRequest) -> Iterator[Any]:  # type: ignore[no-untyped-def]
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=scheme)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)

    def opened(path: Any) -> Any:
        page.goto(path.as_uri())
        return page

    yield opened
    # What is closed must fit too once it is open.
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    context.close()
    assert faults == []


@pytest.mark.parametrize("name", ["finished", "found", "painted", "outlined"])
def test_an_image_opens_large_and_arrows_step_through_all(open_page, name: str, request: pytest.FixtureRequest) -> None:  # type: ignore[no-untyped-def]
    from playwright.sync_api import expect

    page = open_page(request.getfixturevalue(name).paths["report"])
    images = page.locator("main img[data-large]:visible")
    n, first = images.count(), images.first
    assert n > 1
    address = first.get_attribute("src")
    first.click()
    dialog = page.locator("dialog#large")
    large = dialog.locator("figure img")
    expect(dialog).to_be_visible()
    expect(large).to_have_attribute("src", address)
    expect(dialog.locator("h2")).to_have_text(f"Image 1 of {n}")
    # Larger than it was, or as large as it can be.
    assert large.bounding_box()["width"] >= first.bounding_box()["width"]
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("h2")).to_have_text(f"Image 2 of {n}")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator("h2")).to_have_text(f"Image {n} of {n}")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    # By keyboard alone, and the focus returns to the image.
    first.focus()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(first).to_be_focused()


def test_the_name_of_a_class_opens_its_images(open_page, finished) -> None:  # type: ignore[no-untyped-def]
    from playwright.sync_api import expect

    page = open_page(finished.paths["report"])
    name = page.locator("button.link:visible").first
    name.click()
    dialog = page.locator("dialog#large")
    expect(dialog).to_be_visible()
    assert dialog.locator("img").count() > 0
