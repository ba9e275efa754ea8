"""Remake the screenshots of docs/images: python .ci/screenshots.py [--detection REPORT.html] [--out docs/images]

Needs playwright and Debian's chromium, and some minutes. The report is that of the quick start; the server's page shows
a detector trained on drawn scenes; the processing preview has four photographs of scikit-image. The picture of
detection comes from a report that is passed (docs shows BCCD, see benchmarks/README.md); without one it is kept.
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


@contextmanager
def served(bundle: Path, cwd: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "eyewright", "serve", f"shapes={bundle}", "--port", str(port), "--no-log"]
    server = subprocess.Popen(command, cwd=cwd, env=environment(), stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/readyz", timeout=1).close()  # noqa: S310
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
    from drawing import write_coco

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
        with served(work / "shapes.bundle", work) as address:
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
