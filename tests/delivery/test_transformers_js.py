"""The transformers.js target: `pipeline("image-classification")` in Node gives the bundle's answers."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import eyewright as ew
from eyewright import lifecycle
from eyewright.cli import main
from eyewright.core.errors import BundleError, UsageError
from eyewright.delivery.transformers_js import _processor
from eyewright.exporting.pixel_values import with_pixel_values
from eyewright.imaging import encode_image
from eyewright.imaging.preparation import Preparation

MODULES = Path(os.environ.get("EYEWRIGHT_NODE_MODULES", "node_modules"))
CLIENT = MODULES / "@huggingface" / "transformers" / "dist" / "transformers.node.mjs"

ASK = """
const { pipeline, env } = await import(process.argv[1]);
Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, localModelPath: process.argv[2] });
const classify = await pipeline("image-classification", process.argv[3], { dtype: "fp32" });
console.log(JSON.stringify(await classify(process.argv.slice(4), { top_k: null })));
"""


@pytest.mark.skipif(
    not CLIENT.is_file() or shutil.which("node") is None,
    reason="needs node and @huggingface/transformers: npm install --ignore-scripts @huggingface/transformers, and its "
    "node_modules in EYEWRIGHT_NODE_MODULES",
)
def test_the_pipeline_answers_as_the_bundle_does(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    lifecycle.deliver(finished.run.folder, tmp_path / "t", to="transformers.js")
    files = []
    for i, file in enumerate(sorted(Path(finished.run.about["data_path"]).rglob("*.png"))[::8]):
        # One larger than the model's size and not square, as all of a list must be.
        files.append(tmp_path / f"{i}.png")
        files[-1].write_bytes(encode_image(Preparation((75, 60))(ew.read_image(file))[0]))
    command = ["node", "--input-type=module", "-e", ASK, CLIENT.resolve().as_uri(), f"{tmp_path}/", "t"]
    command += map(str, files)
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    answers = json.loads(asked.stdout.splitlines()[-1])
    for wanted, found in zip(finished.bundle.predict(files), answers, strict=True):
        assert [f["label"] for f in found] == list(wanted.labels)
        assert np.abs(np.array([f["score"] for f in found]) - wanted.scores).max() < 0.02


def test_the_target_is_sealed_and_predicts_here(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "t"
    bundle = str(finished.paths["bundle"])
    assert main(["export", bundle, "--to", "transformers.js", "--out", str(folder), "--quiet"]) == 0
    image = next(Path(finished.run.about["data_path"]).rglob("*.png"))
    assert np.allclose(ew.verify(folder).predict(image).scores, finished.bundle.predict(image).scores, atol=1e-6)
    config = json.loads((folder / "config.json").read_text())
    assert [config["id2label"][str(i)] for i in range(3)] == list(finished.bundle.labels.names)
    model = onnx.load(folder / "onnx" / "model.onnx")
    assert [i.name for i in model.graph.input] == ["pixel_values"]
    assert [o.name for o in model.graph.output] == ["logits"]
    (folder / "config.json").write_text(json.dumps({**config, "id2label": {"0": "other"}}))
    with pytest.raises(BundleError, match="config"):
        ew.verify(folder)


def tiny(channels: int) -> bytes:
    """A model whose "probabilities" are the mean levels of the upper and of the lower half."""
    text = f"""<ir_version: 10, opset_import: ["" : 20]>
    m (uint8[N, 8, 6, {channels}] image) => (float[N, 2] probabilities)
    <int64[1] row = {{1}}, int64[2] parts = {{4, 4}}, int64[3] all = {{1, 2, 3}},
     float full = {{255.0}}> {{
        wide = Cast<to = 1>(image)
        unit = Div(wide, full)
        a, b = Split<axis = 1>(unit, parts)
        c = ReduceMean<keepdims = 0>(a, all)
        d = ReduceMean<keepdims = 0>(b, all)
        one = Unsqueeze(c, row)
        two = Unsqueeze(d, row)
        probabilities = Concat<axis = 1>(one, two)
    }}"""
    return onnx.parser.parse_model(text).SerializeToString()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_the_model_sees_the_pixels_that_ours_sees(channels: int, fit: str) -> None:
    rng = np.random.default_rng(0)
    plain = onnxruntime.InferenceSession(tiny(channels))
    wrapped = onnxruntime.InferenceSession(
        with_pixel_values(tiny(channels), channels=channels, fitting=(fit, "bilinear", 90))
    )
    for height, width in [(8, 6), (8, 3), (31, 40), (5, 2), (1, 9)]:
        image = rng.integers(20, 250, (height, width, 3)).astype(np.uint8)
        pixels, _ = Preparation((8, 6), fit=fit, channels=channels, fill=90)(image)  # type: ignore[arg-type]
        values = (image.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)[None]
        ours = plain.run(None, {"image": pixels[None]})[0]
        theirs = np.exp(wrapped.run(None, {"pixel_values": values})[0])
        assert np.allclose(theirs, ours, atol=1e-6 if (height, width) == (8, 6) else 2 / 255)


def test_what_the_client_cannot_do_is_refused(finished, found, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="not supported for detection"):
        lifecycle.deliver(found.paths["bundle"], tmp_path / "t", to="transformers.js")
    assert not (tmp_path / "t").exists()

    class Prepared:
        def __init__(self, preparation: Preparation) -> None:
            self.preparation = preparation

    def processor(*args: object, **options: object) -> dict[str, object]:
        return _processor(Prepared(Preparation(*args, **options)))  # type: ignore[arg-type]

    for bad in ({"fit": "crop"}, {"fit": "letterbox", "filter": "lanczos"}, {"steps": "denoise | clahe"}):
        with pytest.raises(UsageError):
            processor((32, 48), **bad)
    assert processor((32, 32), fit="crop")["size"] == {"shortest_edge": 32}
    assert processor((32, 32), fit="shorter", inner=40)["crop_size"] == {"height": 32, "width": 32}
    assert processor((32, 48), inner=50)["size"] == {"height": 50, "width": 50}
    assert processor((32, 48))["do_resize"] is processor((32, 48), fit="letterbox")["do_resize"] is False
