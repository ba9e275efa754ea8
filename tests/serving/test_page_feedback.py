"""Feedback on the page in a real browser: boxes by mouse, touch and keyboard, new classes, masks."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.serving.conftest import Served, serving
from tests.serving.test_page import browser  # noqa: F401 - a fixture

from eyewright.monitoring import open_store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
    # Playwright leaves its sockets to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

VIEWS = {"wide": {"width": 1280, "height": 850}, "phone": {"width": 390, "height": 800}}


@pytest.fixture(scope="module")
def all_tasks(finished, found, outlined, painted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    cwd = tmp_path_factory.mktemp("said")
    runs = {"shapes": finished, "boxes": found, "outlines": outlined, "masks": painted}
    named = [f"{name}={run.paths['bundle']}" for name, run in runs.items()]
    with serving(*named, "--keep", "images=100%", "--workers", "1", cwd=cwd) as served:
        served.cwd = cwd  # type: ignore[attr-defined]
        yield served


@pytest.fixture(params=["wide", "phone"])
def page(request: pytest.FixtureRequest, all_tasks, browser) -> Iterator[Any]:  # noqa: F811
    context = browser.new_context(viewport=VIEWS[request.param], has_touch=request.param == "phone")
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    opened.goto(all_tasks.address)
    yield opened
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= VIEWS[request.param]["width"]
    context.close()
    # A browser reports every refused request; the page shows it in words.
    assert [f for f in faults if "400 (Bad Request)" not in f] == []


def _show(page: Any, path: Path, model: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#model option")).to_have_count(4)
    page.select_option("#model", model)
    page.set_input_files("#file", str(path))
    expect(page.locator("#status")).to_contain_text("Answered", timeout=20_000)


def _stored(served: Any, page: Any) -> dict[str, Any]:
    """What was stored of the prediction that is shown."""
    id = page.locator("#answer .hash").inner_text().split()[1]
    for _ in range(60):
        store = open_store(served.cwd / "eyewright-monitor" / "monitor.db")
        said = {row.id: content for row, content, _ in store.feedback()}
        store.close()
        if id in said:
            return said[id]
        time.sleep(0.05)
    raise AssertionError("nothing was stored")


def _send(page: Any) -> None:
    from playwright.sync_api import expect

    page.click("#send-rows")
    expect(page.locator("#said")).to_have_text("Thank you: it is stored with the prediction.")


def _lower(page: Any, n: int) -> None:
    for value in range(90, 4, -5):
        page.locator("#threshold").fill(str(value / 100))
        if page.locator("#rows li").count() >= n:
            return
    raise AssertionError("too little was found")


def _drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag on the canvas from and to shares of its width and height: by touch where the screen has it."""
    frame = page.locator("#canvas-a").bounding_box()
    (x0, y0), (x1, y1) = ((frame["x"] + u * frame["width"], frame["y"] + v * frame["height"]) for u, v in (start, end))
    if page.evaluate("() => navigator.maxTouchPoints") == 0:
        page.mouse.move(x0, y0)
        page.mouse.down()
        page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2)
        page.mouse.move(x1, y1)
        page.mouse.up()
        return
    session = page.context.new_cdp_session(page)
    for kind, points in (
        ("Start", [(x0, y0)]),
        ("Move", [((x0 + x1) / 2, (y0 + y1) / 2)]),
        ("Move", [(x1, y1)]),
        ("End", []),
    ):
        touches = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": touches})
    session.detach()


def test_boxes_are_confirmed_corrected_removed_moved_and_drawn(page, all_tasks, scenes: Path) -> None:
    _show(page, scenes / "test" / "test_003.png", "boxes")
    _lower(page, 3)
    first = page.locator("#rows li").first.locator("button.name").inner_text().split()[1]
    other = next(n for n in ("cross", "disc", "square") if n != first)
    page.locator("#rows select").nth(0).select_option(other)
    page.locator("#rows select").nth(1).select_option("not an object")
    page.click("#add-box")
    _drag(page, (0.1, 0.2), (0.4, 0.6))
    page.locator("#chosen-choice select").select_option("disc")
    # The new box is chosen: it is moved by its middle, and made larger by its lower right handle.
    _drag(page, (0.25, 0.4), (0.35, 0.4))
    _drag(page, (0.5, 0.6), (0.6, 0.7))
    _send(page)
    said = _stored(all_tasks, page)
    objects = said["objects"]
    assert said["correct"] is False
    assert [o["verdict"] for o in objects[:3]] == ["wrong_label", "false_alarm", "right"]
    assert (objects[0]["label"], objects[0]["predicted"]) == (other, first)
    drawn = objects[-1]
    assert (drawn["verdict"], drawn["label"]) == ("missing", "disc")
    assert np.abs(np.array(drawn["box_xyxy"]) / 96 - [0.2, 0.2, 0.6, 0.7]).max() < 0.03


def test_boxes_are_corrected_by_keyboard_alone(page, all_tasks, scenes: Path) -> None:
    _show(page, scenes / "test" / "test_003.png", "boxes")
    _lower(page, 2)
    page.focus("#add-box")
    page.keyboard.press("Enter")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowRight"):
        page.keyboard.press(key)
    page.locator("#sheet [data-box=m0]").focus()
    page.keyboard.press("ArrowUp")
    page.locator("#sheet [data-box=m1]").focus()
    page.keyboard.press("Delete")
    page.focus("#send-rows")
    page.keyboard.press("Enter")
    from playwright.sync_api import expect

    expect(page.locator("#said")).to_contain_text("Thank you")
    objects = _stored(all_tasks, page)["objects"]
    assert [o["verdict"] for o in objects[:2]] == ["wrong_box", "false_alarm"]
    assert objects[-1]["box_xyxy"] == pytest.approx([0.35 * 96 + 2, 0.35 * 96 + 1, 0.65 * 96 + 3, 0.65 * 96 + 1])


def test_a_new_class_is_declared_in_words_and_stored_as_such(page, all_tasks, shapes: Path, scenes: Path) -> None:
    from playwright.sync_api import expect

    _show(page, shapes / "disc" / "004.png", "shapes")
    page.select_option("#true-label", label="new class …")
    page.fill("#new-class", "ring")
    page.keyboard.press("Enter")
    expect(page.locator("#true-label")).to_have_value("ring")
    page.click("#wrong button[type=submit]")
    expect(page.locator("#said")).to_contain_text("Thank you")
    assert _stored(all_tasks, page) == {"label": "ring", "new_classes": ["ring"]}
    # A spelling of a class that the model knows is that class.
    page.select_option("#true-label", label="new class …")
    page.fill("#new-class", " Cross ")
    page.keyboard.press("Enter")
    expect(page.locator("#true-label")).to_have_value("cross")
    _show(page, scenes / "test" / "test_003.png", "boxes")
    _lower(page, 1)
    page.locator("#rows select").first.select_option(label="new class …")
    page.fill("#new-class", "ring")
    page.click("#class-box button.primary")
    _send(page)
    said = _stored(all_tasks, page)
    assert (said["objects"][0]["label"], said["objects"][0]["verdict"]) == ("ring", "wrong_label")
    assert said["new_classes"] == ["ring"]


def test_instances_keep_their_outlines_and_take_one_from_a_mask(page, all_tasks, scenes: Path, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    from eyewright.imaging.rasters import decode_counts, parse_counts

    _show(page, scenes / "test" / "test_003.png", "outlines")
    _lower(page, 2)
    page.locator("#rows select").nth(1).select_option("outline is wrong")
    page.click("#add-box")
    _drag(page, (0.1, 0.1), (0.3, 0.3))
    mask = np.zeros((96, 96), np.uint8)
    mask[10:30, 12:40] = 255
    Image.fromarray(mask).save(tmp_path / "one.png")
    page.set_input_files("#shape-file", str(tmp_path / "one.png"))
    expect(page.locator("#said")).to_contain_text("is taken from one.png")
    Image.fromarray(mask[:50]).save(tmp_path / "short.png")
    page.set_input_files("#shape-file", str(tmp_path / "short.png"))
    expect(page.locator("#said")).to_contain_text("96x50 pixels, expected those of the image, 96x96")
    _send(page)
    objects = _stored(all_tasks, page)["objects"]
    assert [o["verdict"] for o in objects[:2]] == ["right", "wrong_box"]
    assert ["segmentation" in o for o in objects[:2]] == [True, False]
    given = objects[-1]["segmentation"]
    assert (decode_counts(parse_counts(given["counts"]), (96, 96)) == (mask > 0)).all()


def test_classes_of_a_mask_are_judged_and_a_corrected_mask_is_uploaded(
    page, all_tasks, scenes: Path, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    from eyewright.imaging.rasters import decode_counts, parse_counts

    _show(page, scenes / "test" / "test_003.png", "masks")
    page.locator("#rows select").last.select_option("wrong")
    _send(page)
    said = _stored(all_tasks, page)
    assert sorted(said["classes"].values()) == [False] + [True] * (len(said["classes"]) - 1)
    # The page's own mask is an indexed PNG of class numbers: corrected in an editor, it is taken as it is.
    with page.expect_download() as saved:
        page.click("#save-mask")
    saved.value.save_as(tmp_path / "mask.png")
    image = Image.open(tmp_path / "mask.png")
    assert (image.mode, image.size) == ("P", (96, 96))
    numbers = np.array(image)
    numbers[:20, :30] = 2
    again = Image.fromarray(numbers, "P")
    again.putpalette(image.getpalette())
    again.save(tmp_path / "mask.png")
    page.set_input_files("#mask-file", str(tmp_path / "mask.png"))
    expect(page.locator("#said")).to_have_text("Thank you: it is stored with the prediction.")
    time.sleep(0.8)
    objects = _stored(all_tasks, page)["objects"]
    names = page.locator("#mask-classes").inner_text()
    label = next(part.split(" = ")[1] for part in names.split(", ") if part.startswith("2 = "))
    (mine,) = [o for o in objects if o["label"] == label]
    assert (decode_counts(parse_counts(mine["segmentation"]["counts"]), (96, 96)) == (numbers == 2)).all()
    Image.fromarray(numbers[:40]).save(tmp_path / "short.png")
    faults = page.locator("#said")
    page.set_input_files("#mask-file", str(tmp_path / "short.png"))
    expect(faults).to_contain_text("expected a mask of the image's size, 96x96, found 96x40")
