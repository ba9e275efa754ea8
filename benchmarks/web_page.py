"""The web target in real Chromium beside native ONNX Runtime with one thread: equal answers, and how long they take.

    python benchmarks/web_page.py BUNDLE IMAGES [BUNDLE IMAGES …]

Each bundle is taken to the web by `eyewright export --to web` and served by Python's file server. Every image (200 at
most) is answered by both; then one image's prepared pixels are run 100 times on both sides. Targets: equal to 1e-3, and
within 1.5 times ten of the native time. What a first visit downloads is stated.
"""

import argparse
import base64
import http.server
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

import eyewright as ew
from eyewright import lifecycle
from eyewright.bundle.load import Bundle
from eyewright.bundle.session import open_session
from eyewright.imaging.sources import list_sources

ASK = """async (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const { answer } = await eyewright.predict(new Blob([bytes]));
  return { ...answer, mask: answer.mask ? Array.from(answer.mask) : null };
}"""
TIME = """async (pixels) => {
  const given = Uint8Array.from(pixels), times = [];
  for (let k = 0; k < 110; k++) {
    const began = performance.now();
    await eyewright.run(given);
    times.push(performance.now() - began);
  }
  return times.slice(10);
}"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pairs", nargs="+", metavar="BUNDLE IMAGES")
    o = parser.parse_args()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for bundle, images in zip(o.pairs[::2], o.pairs[1::2], strict=True):
            measure(browser, ew.load_bundle(bundle), [str(p) for p in list_sources(images)][:200])
        browser.close()


def measure(browser: Any, bundle: Bundle, images: list[str]) -> None:
    folder = Path(tempfile.mkdtemp()) / "site"
    made = lifecycle.deliver(bundle.folder, folder, to="web")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    page.locator("body[data-ready]").wait_for(timeout=60_000)
    apart, same = [], 0
    for path in images:
        said = page.evaluate(ASK, base64.b64encode(Path(path).read_bytes()).decode())
        wanted = bundle.predict_images([ew.read_image(path)])[0]
        if bundle.task_name == "segment":
            apart.append(float((np.array(said["mask"]) != wanted.mask.ravel()).mean()))
            same += apart[-1] < 1e-3
        elif bundle.task_name == "classify":
            # By name: two classes that are both next to nothing may change places.
            theirs = dict(zip(said["labels"], said["scores"], strict=True))
            apart.append(max(abs(theirs[n] - float(s)) for n, s in zip(wanted.labels, wanted.scores, strict=True)))
            same += said["labels"][0] == wanted.top1
        else:
            alike = said["labels"] == list(wanted.labels)
            same += alike
            apart.append(float(np.abs(np.array(said["scores"]) - wanted.scores).max(initial=0.0)) if alike else np.inf)
    pixels, _ = bundle.preparation.batch([ew.read_image(images[0])])
    own = Bundle(
        bundle.folder, bundle.manifest, open_session((bundle.folder / bundle.manifest.model).read_bytes(), threads=1)
    )
    native = []
    for _ in range(110):
        began = time.perf_counter()
        own.raw(pixels)
        native.append(1e3 * (time.perf_counter() - began))
    times = page.evaluate(TIME, pixels.ravel().tolist())
    here, there = np.median(native[10:]), np.median(times)
    what = "pixels of the mask" if bundle.task_name == "segment" else "a score"
    print(
        f"{bundle.manifest.name}: {same} of {len(images)} images answered alike, largest difference of {what} "
        f"{max(apart):.1e} (target 1e-3); {there:.2f} ms in the browser, {here:.2f} native with one thread, "
        f"{there / here:.1f} times (target 15); {made.about['download_bytes']:,} bytes downloaded once",
        flush=True,
    )
    page.close()
    server.shutdown()


if __name__ == "__main__":
    main()
