"""The attention page in a browser: readable in light and dark, without sideways scroll on a phone."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.explanation.test_attention_maps import made

from eyewright.explanation.attention_page import render_attention

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytest.importorskip("playwright")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

# The colours of every button with text, as the browser paints them: the background is that of the nearest opaque box.
_COLOURS = """() => [...document.querySelectorAll("button")].filter((b) => b.textContent.trim()).map((b) => {
  let box = b;
  while (getComputedStyle(box).backgroundColor === "rgba(0, 0, 0, 0)" && box.parentElement) box = box.parentElement;
  return [b.textContent, getComputedStyle(b).color, getComputedStyle(box).backgroundColor];
})"""


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2 of two colours as a browser names them."""

    def luminance(colour: str) -> float:
        rgb = np.array([float(v) for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_buttons_can_be_read_and_nothing_scrolls(browser, scheme: str, width: int, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "attention.html").write_text(render_attention(made()), "utf-8")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto((tmp_path / "attention.html").as_uri())
    for button in ("#mean", "#rolled", "#hide"):
        page.locator(button).click(force=True)
        found = page.evaluate(_COLOURS)
        assert found
        weak = [(text, contrast(a, b)) for text, a, b in found if contrast(a, b) < 4.5]
        assert not weak, weak
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    context.close()


def test_the_list_is_in_the_order_of_weights_that_are_nearly_equal(browser, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    weights = np.full((1, 1, 5, 5), 0.2, np.float32) + 1e-4 * np.array([0, 3, 1, 4, 2], np.float32)
    names = tuple("abcde")
    one = replace(made(), weights=weights, tokens=names, keys=names, words=names, special=(False,) * 5)
    (tmp_path / "attention.html").write_text(render_attention(one, rollout=False), "utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "attention.html").as_uri())
    for mode in ("head", "mean"):
        if mode == "mean":
            page.locator("#mean").click(force=True)
        listed = page.locator("#tables table").first.locator("td.wide").all_text_contents()
        assert listed == list("dbeca"), mode
    page.close()
