"""The page with many images: files, folders and videos, keys to step through them, corrections as COCO."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import draw_scene, draw_shape
from tests.serving.conftest import Served, serving

from eyewright.imaging import write_image
from eyewright.imaging.webm import WebmWriter

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytest.importorskip("playwright")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def two(finished, found, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:  # type: ignore[no-untyped-def]
    cwd = tmp_path_factory.mktemp("batch")
    with serving(f"shapes={finished.paths['bundle']}", f"boxes={found.paths['bundle']}", cwd=cwd) as served:
        yield served


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["wide", "phone"])
def page(browser, two, request: pytest.FixtureRequest) -> Iterator[Any]:  # type: ignore[no-untyped-def]
    from playwright.sync_api import expect

    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=scheme)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    # A file that the server refuses is reported by Chromium itself too; that is no fault of the page.
    faulty = lambda m: m.type == "error" and "422" not in m.text  # noqa: E731
    opened.on("console", lambda m: faults.append(m.text) if faulty(m) else None)
    opened.goto(two.address)
    expect(opened.locator("#model option")).to_have_count(2)
    yield opened
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= width
    context.close()
    assert faults == []


def _predicted(page: Any, n: int) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#batch-text")).to_contain_text(f"{n} of {n} images predicted", timeout=20_000)
    expect(page.locator("#history li")).to_have_count(n)


def test_a_folder_is_predicted_and_walked_by_keys(page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from playwright.sync_api import expect

    rng = np.random.default_rng(0)
    folder = tmp_path / "several"
    for k in range(4):
        write_image((folder if k else folder / "sub") / f"{k}.png", draw_shape("disc", rng))
    (folder / "notes.txt").write_text("no image")
    expect(page.locator("#teach-model")).to_contain_text("shapes knows")
    page.set_input_files("#folder", str(folder))
    _predicted(page, 4)
    titles = page.locator("#history button").evaluate_all("all => all.map(b => b.title)")
    assert sorted(titles) == ["several/1.png", "several/2.png", "several/3.png", "several/sub/0.png"]
    for key, at in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        page.focus("#stage")
        page.keyboard.press(key)
        expect(page.locator("#history button").nth(at)).to_have_attribute("aria-current", "true")
    page.keyboard.press("r")
    expect(page.locator("#said")).to_contain_text("stored with the prediction")


def test_frames_of_a_video_are_images(page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    with WebmWriter(tmp_path / "clip.webm") as video:
        for k in range(5):
            video.add(draw_shape("disc", rng), k / 2)
    page.set_input_files("#file", str(tmp_path / "clip.webm"))
    page.wait_for_function("() => document.querySelectorAll('#history li').length >= 2", timeout=20_000)
    assert "clip.webm at 0.0 s" in page.locator("#history button").evaluate_all("all => all.map(b => b.title)")


def test_what_was_checked_is_saved_as_coco(page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from playwright.sync_api import expect

    rng = np.random.default_rng(1)
    files = [write_image(tmp_path / f"{k}.png", draw_scene(rng)[0]) for k in range(2)]
    page.select_option("#model", "boxes")
    page.set_input_files("#file", [str(f) for f in files])
    _predicted(page, 2)
    expect(page.locator("#save-coco")).to_be_hidden()
    answer = page.evaluate("() => ({...currentAnswer(), title: state.shot.title, shown: judgedRows(currentAnswer())})")
    gone = page.locator("#rows select").first
    gone.select_option("\0gone")
    page.click("#send-rows")
    expect(page.locator("#save-coco")).to_contain_text("Save 1 checked image as COCO")
    with page.expect_download() as download:
        page.click("#save-coco")
    saved = json.loads(Path(download.value.path()).read_text())
    assert saved["images"] == [
        {"id": 1, "file_name": answer["title"], "width": answer["width"], "height": answer["height"]}
    ]
    kept = [answer["boxes_xyxy"][k] for k in answer["shown"][1:]]
    wanted = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in kept]
    assert [a["bbox"] for a in saved["annotations"]] == [pytest.approx(b) for b in wanted]
    names = {c["id"]: c["name"] for c in saved["categories"]}
    assert [names[a["category_id"]] for a in saved["annotations"]] == [answer["labels"][k] for k in answer["shown"][1:]]


def test_run_lengths_are_measured_as_pycocotools_does(page) -> None:  # type: ignore[no-untyped-def]
    coco = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((7, 9), np.uint8, order="F")
    mask[2:6, 3:5] = mask[0, 7] = mask[:, 5] = 1
    coded = coco.encode(mask)
    found = page.evaluate("([c, h]) => measureRuns(c, h)", [coded["counts"].decode(), 7])
    assert found["area"] == coco.area(coded)
    assert found["bbox"] == coco.toBbox(coded).tolist()


def test_files_that_are_not_images_are_refused(page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from playwright.sync_api import expect

    (tmp_path / "a.txt").write_text("x")
    page.set_input_files("#file", str(tmp_path / "a.txt"))
    expect(page.locator("#status")).to_have_text("Expected images or videos, found none.")


def test_what_cannot_be_predicted_stays_listed(page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from playwright.sync_api import expect

    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0cut off")
    for k in range(2):
        write_image(tmp_path / f"c{k}.png", draw_shape("disc", np.random.default_rng(k)))
    page.set_input_files("#file", [str(tmp_path / n) for n in ("a.txt", "b.jpg", "c0.png", "c1.png")])
    expect(page.locator("#batch-text")).to_have_text("2 of 3 images predicted.")
    expect(page.locator("#batch-lost-what")).to_have_text("2 files not predicted")
    listed = page.locator("#batch-lost-list li")
    expect(listed.nth(0)).to_have_text("a.txt: not an image or video")
    expect(listed.nth(1)).to_have_text(re.compile("^b.jpg: .*cut off"))


def test_the_page_is_one_column_before_the_first_image(page) -> None:  # type: ignore[no-untyped-def]
    assert page.evaluate("getComputedStyle(document.querySelector('aside')).display") == "none"
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
