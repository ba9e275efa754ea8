"""The page in a real browser: what a person does, step by step."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.conftest import Served, serving

from eyewright.monitoring import open_store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
    # Playwright leaves its sockets to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def two(finished, found, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    cwd = tmp_path_factory.mktemp("page")
    with serving(f"shapes={finished.paths['bundle']}", f"boxes={found.paths['bundle']}", cwd=cwd) as served:
        served.cwd = cwd  # type: ignore[attr-defined]
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        opened = play.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, two) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1300, "height": 850})
    context.grant_permissions(["camera", "clipboard-read", "clipboard-write"], origin=two.address)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    opened.on(
        "request", lambda r: faults.append(r.url) if not r.url.startswith((two.address, "blob:", "data:")) else None
    )
    opened.goto(two.address)
    yield opened
    context.close()
    assert faults == []


def test_a_class_has_the_colour_that_reports_and_drawn_files_give_it(browser) -> None:
    from eyewright.imaging.drawing import DRAWING_SCRIPT, colour_of

    opened = browser.new_page()
    opened.add_script_tag(path=str(DRAWING_SCRIPT))
    shown = opened.evaluate("[...Array(200).keys()].map(colourOf)")
    opened.close()
    assert shown == ["#" + bytes(colour_of(k)).hex() for k in range(200)]


def _show(page: Any, path: Path, model: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#model option")).to_have_count(2)
    page.select_option("#model", model)
    page.set_input_files("#file", str(path))
    expect(page.locator("#status")).to_contain_text("Answered", timeout=20_000)


def test_a_file_is_answered_explained_and_corrected(page, two, shapes: Path) -> None:
    from playwright.sync_api import expect

    path = shapes / "disc" / "005.png"
    _show(page, path, "shapes")
    told = two.post("/v1/models/shapes/predict", path.read_bytes()).json
    expect(page.locator("#answer .top")).to_have_text(told["labels"][0])
    expect(page.locator("#answer .bars li")).to_have_count(3)
    page.click("#explain")
    expect(page.locator("#heat-row")).to_be_visible(timeout=20_000)
    assert page.locator("#true-label option").all_inner_texts()[1:] == ["cross", "disc", "square", "new class …"]
    page.select_option("#true-label", "square")
    page.click("#wrong button[type=submit]")
    expect(page.locator("#status")).to_contain_text("Thank you")
    store = open_store(two.cwd / "eyewright-monitor" / "monitor.db")
    for _ in range(40):
        said = [content for _, content, _ in store.feedback(model="shapes")]
        if said:
            break
        page.wait_for_timeout(100)
    store.close()
    assert said[-1] == {"label": "square"}


def test_a_file_is_taken_before_the_models_are_known(browser, two, shapes: Path) -> None:  # type: ignore[no-untyped-def]
    from playwright.sync_api import expect

    opened = browser.new_page()
    held: list[Any] = []
    opened.route("**/v1/models", lambda route: held.append(route))
    opened.goto(two.address)
    opened.set_input_files("#file", shapes / "disc" / "000.png")
    opened.wait_for_timeout(100)
    held[0].continue_()
    expect(opened.locator("#status")).to_contain_text("Answered in")
    opened.close()


def test_the_slider_filters_at_once_without_asking_again(page, scenes: Path) -> None:
    from playwright.sync_api import expect

    _show(page, scenes / "test" / "test_003.png", "boxes")
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    counts = []
    for value in ("0.05", "0.5", "1"):
        page.locator("#threshold").fill(value)
        counts.append(page.locator("#answer .bars li").count())
    assert counts[0] >= counts[1] >= counts[2] == 0
    assert counts[0] > 0
    assert asked == []
    page.click("#usual")
    expect(page.locator("#threshold-value")).to_have_text("stored")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_an_image_can_be_dropped_and_pasted(page, event: str, shapes: Path) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#model option")).to_have_count(2)
    page.select_option("#model", "shapes")
    data = list((shapes / "cross" / "004.png").read_bytes())
    page.evaluate(
        """([kind, bytes]) => {
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array(bytes)], "thing.png", { type: "image/png" }));
            const options = { bubbles: true, cancelable: true };
            const told = kind === "drop" ? new DragEvent("drop", { dataTransfer: carried, ...options })
                : new ClipboardEvent("paste", { clipboardData: carried, ...options });
            (kind === "drop" ? document.getElementById("stage") : document.body).dispatchEvent(told);
        }""",
        [event, data],
    )
    expect(page.locator("#status")).to_contain_text("Answered", timeout=20_000)
    expect(page.locator("#answer .bars li")).to_have_count(3)


def test_two_models_stand_side_by_side(page, scenes: Path) -> None:
    from playwright.sync_api import expect

    _show(page, scenes / "test" / "test_002.png", "boxes")
    page.select_option("#second", "shapes")
    expect(page.locator("#figure-b")).to_be_visible()
    expect(page.locator("#caption-b")).to_contain_text("shapes:", timeout=10_000)


def test_the_camera_takes_a_picture(page) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#model option")).to_have_count(2)
    page.click("#webcam")
    expect(page.locator("#snap")).to_be_visible(timeout=10_000)
    page.click("#snap")
    expect(page.locator("#status")).to_contain_text("Answered", timeout=20_000)
    expect(page.locator("#video")).to_be_hidden()


def test_history_shows_earlier_images_again(page, shapes: Path) -> None:
    from playwright.sync_api import expect

    _show(page, shapes / "disc" / "001.png", "shapes")
    first = page.locator("#answer .hash").inner_text()
    _show(page, shapes / "cross" / "001.png", "shapes")
    expect(page.locator("#history li")).to_have_count(2)
    page.locator("#history button").nth(1).click()
    expect(page.locator("#answer .hash")).to_have_text(first)


def test_code_for_programs_can_be_copied_and_runs(page, two, shapes: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    _show(page, shapes / "disc" / "001.png", "shapes")
    page.click("#code summary")
    page.click("#copy-curl")
    assert page.evaluate("() => navigator.clipboard.readText()").startswith("curl --data-binary")
    page.click("#copy-python")
    code = page.evaluate("() => navigator.clipboard.readText()")
    (tmp_path / "image.jpg").write_bytes((shapes / "disc" / "001.png").read_bytes())
    done = subprocess.run((sys.executable, "-c", code), cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert two.post("/v1/models/shapes/predict", (tmp_path / "image.jpg").read_bytes()).json["labels"][0] in done.stdout


def test_the_watch_and_the_model_are_shown(page) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#model option")).to_have_count(2)
    page.click("#tab-watch")
    expect(page.locator("#watch")).to_contain_text("Predictions")
    page.click("#tab-about")
    expect(page.locator("#about")).to_contain_text("accuracy")
    expect(page.locator("#about")).to_contain_text("disc")


def test_it_works_by_keyboard_on_a_phone_in_the_dark(browser, two, shapes: Path) -> None:
    from playwright.sync_api import expect

    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark", has_touch=True)
    page = context.new_page()
    # Asked for before the key is pressed: the browser begins to hand choosers over some time after it is asked to.
    page.on("filechooser", lambda _: None)
    page.goto(two.address)
    expect(page.locator("#model option")).to_have_count(2)
    # Nothing reaches past the edge of a small screen.
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    page.focus("#stage")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(str(shapes / "disc" / "002.png"))
    expect(page.locator("#status")).to_contain_text("Answered", timeout=20_000)
    label = page.locator("#canvas-a").get_attribute("aria-label")
    assert "%" in label
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert dark == "rgb(16, 21, 28)"
    named = page.evaluate(
        "() => [...document.querySelectorAll('button, input, select')].filter(e => e.offsetParent && "
        "!(e.textContent.trim() || e.labels && e.labels.length || e.ariaLabel || e.title)).length"
    )
    assert named == 0
    context.close()


def test_a_token_is_asked_for_and_kept_for_the_session(browser, finished, tmp_path: Path, shapes: Path) -> None:
    from playwright.sync_api import expect

    environment = {"EYEWRIGHT_TOKEN": "open-sesame"}
    with serving(str(finished.paths["bundle"]), "--no-log", cwd=tmp_path, environment=environment) as served:
        context = browser.new_context()
        page = context.new_page()
        page.goto(served.address)
        expect(page.locator("#token-box")).to_be_visible()
        page.fill("#token", "open-sesame")
        page.keyboard.press("Enter")
        expect(page.locator("#model option")).to_have_count(1)
        page.set_input_files("#file", str(shapes / "disc" / "002.png"))
        expect(page.locator("#status")).to_contain_text("Answered", timeout=20_000)
        context.close()


def test_a_live_source_is_watched_and_lines_are_drawn_on_it(browser, finished, found, tmp_path: Path) -> None:
    from playwright.sync_api import expect
    from tests.conftest import draw_scene

    from eyewright.imaging.webm import WebmWriter

    with WebmWriter(tmp_path / "clip.webm", quality=90) as video:
        scene, _ = draw_scene(np.random.default_rng(3))
        for k in range(1200):
            video.add(scene, k / 10)
    arguments = ("--source", f"yard={tmp_path / 'clip.webm'}", "--source", "gone=http://127.0.0.1:9/x.mjpg")
    models = (f"shapes={finished.paths['bundle']}", f"boxes={found.paths['bundle']}", "--follow", "boxes")
    more = ("--line", "yard/gate=0,50,96,50", "--workers", "1", "--no-log")
    environment = {"EYEWRIGHT_TOKEN": "a-token-here"}
    with serving(*models, *arguments, *more, cwd=tmp_path, environment=environment) as served:
        context = browser.new_context(viewport={"width": 390, "height": 844})
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(served.address)
        page.fill("#token", "a-token-here")
        page.click("#token-box button")
        page.click("#tab-live")
        expect(page.locator("#live-names li")).to_have_count(2)
        expect(page.locator("#live-names .chip").nth(1)).to_have_text("lost, reconnecting …", timeout=20_000)
        page.wait_for_function("document.getElementById('live-picture').naturalWidth === 96", timeout=20_000)
        expect(page.locator("#live-counts")).to_contain_text("gate")
        expect(page.locator("#live-counts")).to_contain_text("In view")
        page.wait_for_function("document.getElementById('live-sheet').hasAttribute('viewBox')")
        box = page.locator("#live-sheet").bounding_box()
        at = lambda x, y: (box["x"] + box["width"] * x, box["y"] + box["height"] * y)  # noqa: E731
        page.click("#live-line")
        page.mouse.move(*at(0.25, 0.25))
        page.mouse.down()
        page.mouse.move(*at(0.75, 0.5), steps=3)
        page.mouse.up()
        page.click("#live-zone")
        for corner in ((0.25, 0.5), (0.5, 0.5), (0.5, 0.75), (0.25, 0.5)):
            page.mouse.click(*at(*corner))
        expect(page.locator("#live-options")).to_contain_text("--line yard/line1=24,24,72,48")
        expect(page.locator("#live-options")).to_contain_text("--zone yard/zone1=24,48 48,48 48,72")
        page.fill("#live-shapes input >> nth=0", "front door")
        page.click("#live-shapes button >> nth=0")
        expect(page.locator("#live-options")).to_contain_text("--line yard/front-door=72,48,24,24")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.click("#tab-look")
        assert faults == []
        context.close()
        ends = time.monotonic() + 10
        while served.get("/v1/sources/yard", authorization="Bearer a-token-here").json["viewers"]:
            assert time.monotonic() < ends
            time.sleep(0.05)
