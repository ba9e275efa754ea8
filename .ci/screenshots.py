"""Remake the screenshots of docs/images: python .ci/screenshots.py [--detection REPORT.html] [--out docs/images]

Needs playwright and Debian's chromium, and some minutes. The report is that of the quick start, and so are its attack
and the job over shards; the server's page and the tracks show a detector trained on drawn scenes; the data browser has
10,000 drawn images; the processing preview has four photographs of scikit-image. The picture of detection comes from a
report that is passed (docs shows BCCD, see benchmarks/README.md); without one it is kept.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def eyewright(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "eyewright", *map(str, arguments)], check=True, env=environment())


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def write_photographs(folder: Path) -> None:
    """Write four photographs that need different steps: noise, haze, a tilted page, and one that is fine."""
    import numpy as np
    from skimage import data, transform

    from eyewright.imaging import write_image

    rng = np.random.default_rng(0)
    coffee, cat = data.coffee(), data.chelsea()
    noisy = np.clip(coffee + rng.normal(0, 25, coffee.shape), 0, 255).astype(np.uint8)
    hazy = (cat * 0.45 + 90).astype(np.uint8)
    tilted = (255 * transform.rotate(data.page(), 4, cval=0.6)).astype(np.uint8)
    pictures = {"coffee": noisy, "cat": hazy, "page": np.stack([tilted] * 3, -1), "portrait": data.astronaut()}
    for name, pixels in pictures.items():
        write_image(folder / f"{name}.png", np.ascontiguousarray(pixels))


def write_crossing(path: Path, frames: int = 120) -> None:
    """Write a video of three shapes that cross it, 12 frames a second; one passes behind another."""
    import numpy as np
    from drawing import KINDS, shape_mask

    from eyewright.imaging.webm import WebmWriter

    rng = np.random.default_rng(1)
    ground = rng.integers(0, 70, (96, 96, 3)).astype(np.uint8)
    colours = ((240, 190, 160), (160, 230, 180), (170, 180, 250))
    with WebmWriter(path) as video:
        for k in range(frames):
            image, t = ground.copy(), k / (frames - 1)
            ways = ((14 + 68 * t, 26), (82 - 68 * t, 48), (20 + 56 * t, 72 - 20 * t))
            for kind, colour, (x, y) in zip(KINDS, colours, ways, strict=True):
                image[shape_mask(kind, 96, round(x), round(y), 12)] = colour
            video.add(image, k / 12)


@contextmanager
def served(cwd: Path, *command: object, ready: str = "") -> Iterator[str]:
    """Start a verb that serves, and return its address when `ready` answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "eyewright", *map(str, command), "--port", str(port)]
    server = subprocess.Popen(words, cwd=cwd, env=environment(), stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(3000):
            try:
                urllib.request.urlopen(f"{address}/{ready}", timeout=1).close()  # noqa: S310
                break
            except OSError:
                if server.poll() is not None:
                    raise SystemExit("the server ended before it was ready") from None
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def shoot(browser: Any, address: str, out: Path, size: tuple[int, int], act: Any = None) -> None:
    """Write what a page shows at a size; `act` uses the page first and may return the part to show."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme="light")
    page.goto(address)
    part = act(page) if act is not None else None
    (page if part is None else part).screenshot(path=str(out))
    page.close()
    print("wrote", out)


def wait_for_images(page: Any) -> None:
    """Wait until the images of a page are drawn."""
    page.locator("img").first.wait_for(timeout=120_000)
    # The page forbids eval, which a condition in its own language would need.
    page.wait_for_load_state("networkidle", timeout=120_000)
    page.wait_for_timeout(1000)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detection", type=Path, metavar="REPORT.html", help="a report on detection")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--epochs", type=int, default=30, help="of the detector on drawn scenes (default 30)")
    o = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("expected chromium, found none; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "examples")]
    from drawing import write_coco, write_shapes

    o.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as play:
        work = Path(place)
        eyewright("quickstart", "--out", work / "digits", "--quiet")
        scenes = write_coco(work / "scenes", {"train": 240, "val": 40, "test": 40})
        eyewright("train", scenes, "--epochs", o.epochs, "--out", work / "run", "--quiet")
        eyewright("export", work / "run", "--out", work / "shapes.bundle", "--quiet")
        write_photographs(work / "photographs")
        steps = "deskew | denoise:nlm | clahe:clip=2"
        eyewright("process", work / "photographs", "--steps", steps, "--preview", "--out", work / "done", "--quiet")
        shutil.copyfile(work / "done" / "preview.png", o.out / "process.png")
        print("wrote", o.out / "process.png")
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        report = next(iter(sorted((work / "digits").rglob("report.html"))))
        shoot(browser, report.as_uri(), o.out / "report.png", (1200, 1420))
        digits = next(iter(sorted((work / "digits").rglob("run.json")))).parent
        eyewright("attack", digits, "--suite", "quick", "-n", "200", "--out", work / "attacked", "--quiet")
        shoot(browser, (work / "attacked" / "robustness.html").as_uri(), o.out / "robustness.png", (1200, 1100))
        job = ["--on", "local", "--shard-size", "50", "--out", work / "job", "--quiet"]
        write_shapes(work / "many", 1000)
        eyewright("predict", report.parent, "--source", work / "many", *job)
        shoot(browser, (work / "job" / "fleet.html").as_uri(), o.out / "fleet.png", (1200, 700))
        write_crossing(work / "crossing.webm")
        marks = ("--line", "gate=48,0,48,96", "--zone", "middle=30,30 66,30 66,66 30,66")
        crossing = ("--source", work / "crossing.webm", *marks, "--out", work / "tracks", "--quiet")
        eyewright("track", work / "shapes.bundle", *crossing)
        tracks = next(iter(sorted((work / "tracks").rglob("*.html"))))
        shoot(browser, tracks.as_uri(), o.out / "tracks.png", (1200, 1100))
        write_shapes(work / "ten-thousand", 3334)
        with served(work, "browse", work / "ten-thousand") as address:
            shoot(browser, address, o.out / "browse.png", (1200, 900), wait_for_images)
        with served(work, "serve", f"shapes={work / 'shapes.bundle'}", "--no-log", ready="readyz") as address:
            image = str(sorted((scenes / "test").glob("*.png"))[1])

            def use(page: Any) -> None:
                page.set_input_files("#file", image)
                page.locator("#wrong").wait_for()
                page.get_by_role("button", name="Why?").click()
                page.locator("#heat-row").wait_for(timeout=120_000)

            shoot(browser, address, o.out / "page.png", (1180, 760), use)
        if o.detection is not None:
            first = lambda page: page.locator(".scene").first  # noqa: E731
            shoot(browser, o.detection.resolve().as_uri(), o.out / "detection.png", (1200, 900), first)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
