"""A bundle loaded by transformers.js as it lies, in real Chromium: are its answers those of Python?

    npm install --ignore-scripts @huggingface/transformers
    python benchmarks/transformers_js.py node_modules BUNDLE [BUNDLE …]

The page loads the bundle's folder by `AutoModel.from_pretrained`, with the dtype that the bundle's precision has there
("fp32", "q8", "fp16"), and gives it the uint8 pixels of the golden images. Target: equal to 1e-3.
"""

import argparse
import functools
import http.server
import json
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

import eyewright as ew
from eyewright.delivery.target import GoldenImages

DTYPES = {"onnx/model.onnx": "fp32", "onnx/model_quantized.onnx": "q8", "onnx/model_fp16.onnx": "fp16"}
PAGE = """<!doctype html><title>transformers.js</title><script type="importmap">{"imports": {
"onnxruntime-web/webgpu": "/node_modules/onnxruntime-web/dist/ort.webgpu.mjs",
"onnxruntime-web": "/node_modules/onnxruntime-web/dist/ort.mjs",
"onnxruntime-common": "/node_modules/onnxruntime-common/dist/esm/index.js"}}</script>
<script type="module">
import { AutoModel, Tensor, env } from "/node_modules/@huggingface/transformers/dist/transformers.web.js";
Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, localModelPath: "/models/" });
env.useBrowserCache = false;
env.backends.onnx.wasm.wasmPaths = "/node_modules/onnxruntime-web/dist/";
env.backends.onnx.wasm.numThreads = 1;
globalThis.answer = async (dtype, pixels, dims) => {
  const model = await AutoModel.from_pretrained("bundle", { dtype, device: "wasm" });
  const found = await model({ image: new Tensor("uint8", Uint8Array.from(pixels), dims) });
  return Object.fromEntries(Object.entries(found).map(([name, t]) => [name, Array.from(t.data)]));
};
document.body.dataset.ready = "yes";
</script>"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("modules")
    parser.add_argument("bundles", nargs="+")
    o = parser.parse_args()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for folder in o.bundles:
            measure(browser, Path(o.modules).resolve(), Path(folder).resolve())
        browser.close()


def measure(browser: object, modules: Path, folder: Path) -> None:
    bundle = ew.load_bundle(folder)
    site = Path(tempfile.mkdtemp())
    (site / "index.html").write_text(PAGE)
    (site / "models").mkdir()
    (site / "models" / "bundle").symlink_to(folder)
    (site / "node_modules").symlink_to(modules)
    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()  # type: ignore[attr-defined]
    page.on("console", lambda m: print("  console:", m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: print("  page:", e))
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    page.locator("body[data-ready]").wait_for(state="attached", timeout=60_000)
    images = GoldenImages.of((folder / "golden.npz").read_bytes(), bundle.inputs).images
    pixels, _ = bundle.preparation.batch(list(images))
    dtype = DTYPES[bundle.manifest.model]
    given = json.dumps([dtype, pixels.ravel().tolist(), list(pixels.shape)])
    found = page.evaluate(f"async () => await answer(...{given})")
    worst = 0.0
    for name, wanted in bundle.raw(pixels).items():
        unit = 1.0 if name in ("probabilities", "scores") else max(1.0, float(np.abs(wanted).max()))
        worst = max(worst, float(np.abs(np.array(found[name]) - wanted.ravel()).max()) / unit)
    print(
        f"{bundle.manifest.name} ({dtype}): largest difference {worst:.1e} (target 1e-3), {len(images)} images",
        flush=True,
    )
    page.close()
    server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


if __name__ == "__main__":
    main()
