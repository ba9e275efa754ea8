"""The web target in a real browser: the same pixels, the same answers, and nothing sent anywhere."""

import base64
import http.server
import io
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eyewright as ew
from eyewright import lifecycle
from eyewright.core.errors import MissingExtraError
from eyewright.imaging.preparation import Preparation

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def runtime() -> Path:
    from eyewright.delivery.web import find_runtime

    try:
        return find_runtime()
    except MissingExtraError as error:
        pytest.skip(str(error))


class Site:
    """A plain file server of one folder, as any host of static files is."""

    def __init__(self, folder: Path) -> None:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, directory=str(folder), **options)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> "Site":
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def opened(browser: Any, address: str) -> tuple[Any, list[str]]:
    page = browser.new_context().new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    allowed = (address, "blob:", "data:")
    page.on("request", lambda r: faults.append(r.url) if not r.url.startswith(allowed) or r.method != "GET" else None)
    page.goto(address)
    page.locator("body[data-ready]").wait_for(timeout=60_000)
    return page, faults


_ASK = """async (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const { answer, pixels } = await eyewright.predict(new Blob([bytes]));
  return { ...answer, mask: answer.mask ? Array.from(answer.mask) : null, pixels: Array.from(pixels) };
}"""


def ask(page: Any, path: Path) -> Any:
    return page.evaluate(_ASK, base64.b64encode(path.read_bytes()).decode())


def photographs(folder: Path, source: list[Path]) -> list[Path]:
    """The images as they are, and others of odd sizes as PNG and JPEG."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for k, (width, height) in enumerate([(301, 117), (33, 240), (500, 500)]):
        picture = Image.fromarray(ew.read_image(source[k])).resize((width, height))
        noisy = np.clip(np.asarray(picture).astype(int) + rng.integers(-9, 10, (height, width, 3)), 0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{k}.png")
        buffer = io.BytesIO()
        Image.fromarray(noisy.astype(np.uint8)).save(buffer, "JPEG", quality=90)
        (folder / f"{k}.jpg").write_bytes(buffer.getvalue())
    return [*source[3:6], *sorted(folder.iterdir())]


@pytest.mark.parametrize("name", ["finished", "found", "painted"])
def test_a_browser_answers_as_python_does(
    name: str, browser: Any, runtime: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made = request.getfixturevalue(name)
    result = lifecycle.deliver(made.paths["bundle"], tmp_path / "site", to="web", runtime=runtime)
    assert ew.verify(tmp_path / "site").labels == made.bundle.labels
    assert 14e6 < result.about["download_bytes"] < 25e6
    root = Path(made.run.about["data_path"])
    images = photographs(tmp_path / "images", sorted(root.rglob("*.png"))[:6])
    answers = 0
    with Site(tmp_path / "site") as site:
        page, faults = opened(browser, site.address)
        for path in images:
            image = ew.read_image(path)
            said, wanted = ask(page, path), made.bundle.predict_images([image])[0]
            pixels, _ = made.bundle.preparation(image)
            if path.suffix == ".png":
                assert said["pixels"] == pixels.ravel().tolist()
            else:
                # Two JPEG decoders may differ by a level.
                assert np.abs(np.array(said["pixels"]) - pixels.ravel().astype(int)).max() <= 2
            near = 1e-3 if path.suffix == ".png" else 2e-2
            answers += len(said["labels"])
            if name == "finished":
                assert tuple(said["labels"]) == wanted.labels
                assert said["scores"] == pytest.approx(wanted.scores.tolist(), abs=near)
                assert tuple(said["accepted"]) == tuple(
                    n for n in wanted.label_space.names if n in wanted.accepted
                ) or (set(said["accepted"]) == set(wanted.accepted))
            elif path.suffix == ".png":
                assert said["scores"] == pytest.approx(wanted.scores.tolist(), abs=near)
                assert said["labels"] == list(wanted.labels)
                if name == "found":
                    found = np.array(said["boxes_xyxy"]).reshape(-1, 4)
                    assert np.abs(found - wanted.boxes_xyxy).max(initial=0.0) < 0.05
                else:
                    assert (np.array(said["mask"]) != wanted.mask.ravel()).mean() < 1e-3
        assert answers > 0
        assert faults == []
        page.context.close()


def test_a_person_uses_the_page(browser: Any, runtime: Path, finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from playwright.sync_api import expect

    lifecycle.deliver(finished.paths["bundle"], tmp_path / "site", to="web", runtime=runtime)
    path = sorted(Path(finished.run.about["data_path"]).rglob("*.png"))[0]
    with Site(tmp_path / "site") as site:
        page, faults = opened(browser, site.address)
        page.set_input_files("#file", str(path))
        expect(page.locator("#status")).to_contain_text("Answered", timeout=20_000)
        top = finished.bundle.predict(path).top1
        expect(page.locator("#answer li").first).to_contain_text(top)
        assert top in page.locator("#canvas").get_attribute("aria-label")
        page.set_input_files("#file", files=[{"name": "x.png", "mimeType": "image/png", "buffer": b"not an image"}])
        expect(page.locator("#status")).to_have_class("bad", timeout=20_000)
        page.set_viewport_size({"width": 340, "height": 700})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 340
        assert faults == []
        page.context.close()


def test_every_way_to_prepare_gives_pillows_bits(browser: Any, runtime: Path, finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    lifecycle.deliver(finished.paths["bundle"], tmp_path / "site", to="web", runtime=runtime)
    rng = np.random.default_rng(0)
    ways = [
        Preparation((40, 56), fit=fit, filter=filter, channels=channels, fill=114)  # type: ignore[arg-type]
        for fit in ("stretch", "crop", "letterbox")
        for filter in ("nearest", "box", "bilinear", "bicubic", "lanczos")
        for channels in (1, 3)
    ]
    ways += [Preparation((32, 32), fit="shorter", inner=40), Preparation((32, 32), fit="stretch", inner=36)]
    new = [
        Preparation((6, 9), fit=fit, channels=channels, fill=114, version=2)  # type: ignore[arg-type]
        for fit in ("stretch", "crop", "letterbox")
        for channels in (1, 3)
    ]
    new.append(Preparation((5, 5), fit="shorter", inner=6, channels=1, version=2))
    script = """async ([data, width, height, how]) => {
      const { prepare } = await import('./prepare.js');
      const found = prepare({ data: Uint8Array.from(data), width, height, channels: 3 }, how);
      return [Array.from(found.pixels), found.placement.scale, found.placement.offset];
    }"""
    with Site(tmp_path / "site") as site:
        page, _ = opened(browser, site.address)
        # No factor divides the last two, so that a block at the edge is a part of one.
        for height, width, chosen in ((77, 50, ways), (40, 56, ways), (21, 90, ways), (77, 131, new), (61, 43, new)):
            image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
            for how in chosen:
                pixels, placement = how(image)
                got, scale, offset = page.evaluate(script, [image.ravel().tolist(), width, height, how.to_json()])
                assert got == pixels.ravel().tolist(), how
                assert scale == pytest.approx(placement.scale_yx)
                assert offset == pytest.approx(placement.offset_yx)
        page.context.close()
