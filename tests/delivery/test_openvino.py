"""What OpenVINO's Model API needs of an export: RGB for grey models, boxes and scores in one output, its own words."""

import os
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import onnx
import pytest

import eyewright as ew
from eyewright import lifecycle

ov = pytest.importorskip("openvino")

# The Python of an environment with openvino-model-api, which pins packages of its own.
CLIENT = os.environ.get("EYEWRIGHT_MODEL_API_PYTHON", "")

ASK = """
import sys
import numpy as np
from model_api.adapters import OpenvinoAdapter, create_core
from model_api.models import Model
adapter = OpenvinoAdapter(create_core(), sys.argv[1], plugin_config={"INFERENCE_PRECISION_HINT": "f32"})
model = Model.create_model(adapter)
found = {}
for name, image in np.load(sys.argv[2]).items():
    answer = model(image)
    if hasattr(answer, "top_labels"):
        found[name] = np.array([answer.top_labels[0].name])
    elif hasattr(answer, "bboxes"):
        found[name] = np.concatenate([answer.bboxes, answer.labels[:, None], answer.scores[:, None]], 1)
    else:
        found[name] = answer.resultImage
np.savez(sys.argv[3], **found)
"""


def grey_model() -> bytes:
    text = """<ir_version: 10, opset_import: ["" : 20]>
    m (uint8[N, 4, 5, 1] image) => (float[N, 4, 5, 1] probabilities) { probabilities = Cast<to = 1>(image) }"""
    return onnx.parser.parse_model(text).SerializeToString()


def test_a_grey_model_makes_pillows_grey_of_rgb() -> None:
    from PIL import Image

    from eyewright.delivery.openvino import _taking_rgb

    model = _taking_rgb(ov.Core().read_model(model=grey_model()))
    assert str(model.input(0).get_partial_shape()) == "[?,4,5,3]"
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rgb = np.random.default_rng(0).integers(0, 256, (300, 4, 5, 3)).astype(np.uint8)
    found = compiled({"image": rgb})[0][..., 0]
    wanted = np.stack([np.asarray(Image.fromarray(one).convert("L")) for one in rgb])
    assert np.array_equal(found, wanted)
    # Grey itself comes through to the bit, which is what our own session gives.
    levels = np.arange(256, dtype=np.uint8)
    grey = np.repeat(np.resize(levels, (13, 4, 5, 1)), 3, 3)
    assert np.array_equal(compiled({"image": grey})[0], grey[..., :1])


def test_boxes_and_scores_are_one_output_and_come_apart_again(found, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    lifecycle.deliver(found.paths["bundle"], tmp_path / "t", to="openvino")
    model = ov.Core().read_model(tmp_path / "t" / "model.xml")
    assert [o.get_any_name() for o in model.outputs] == ["detections"]
    opened = ew.verify(tmp_path / "t")
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8)
    pixels, _ = opened.preparation.batch([image])
    ours, theirs = found.bundle.raw(pixels), opened.raw(pixels)
    for name in ("boxes", "scores"):
        assert np.abs(ours[name] - theirs[name]).max() < 1e-3


def test_what_the_model_api_is_told(found, painted, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def told(made, name: str) -> dict[str, str]:  # type: ignore[no-untyped-def]
        lifecycle.deliver(made.paths["bundle"], tmp_path / name, to="openvino")
        info = ET.parse(tmp_path / name / "model.xml").getroot().find("rt_info/model_info")
        assert info is not None
        return {node.tag: node.get("value", "") for node in info}

    boxes = told(found, "boxes")
    assert (boxes["model_type"], boxes["pad_value"]) == ("YOLOv8", str(found.bundle.preparation.fill))
    assert float(boxes["confidence_threshold"]) == pytest.approx(found.bundle.thresholds.min(), abs=1e-6)
    masks = told(painted, "masks")
    # Its masks' labels leave the background out, and it stretches masks back.
    assert masks["labels"].split() == list(painted.bundle.labels.names[1:])
    assert masks["resize_type"] == "standard"


@pytest.mark.skipif(not CLIENT, reason="needs EYEWRIGHT_MODEL_API_PYTHON: a Python with openvino-model-api")
def test_the_model_api_answers_as_we_do(finished, found, painted, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for made in (finished, found, painted):
        data = ew.load_dataset(made.run.about["data_path"], task=made.bundle.task_name).test
        images = [data.image(i) for i in range(min(6, len(data)))]
        folder = lifecycle.deliver(made.paths["bundle"], tmp_path / made.bundle.task_name, to="openvino").folder
        np.savez(tmp_path / "given.npz", **{str(i): image for i, image in enumerate(images)})
        places = (folder / "model.xml", tmp_path / "given.npz", tmp_path / "found.npz")
        command = [CLIENT, "-c", ASK, *map(str, places)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        answers = np.load(tmp_path / "found.npz")
        for i, wanted in enumerate(made.bundle.predict_images(images)):
            answer = answers[str(i)]
            if made is finished:
                assert answer[0] == wanted.top1
            elif made is painted:
                assert (answer == wanted.mask).mean() > 0.95
            elif len(wanted):
                # The surest object: whole pixels there, ours between them.
                first = answer[answer[:, 5].argmax()]
                assert np.abs(first[:4] - wanted.boxes_xyxy[0]).max() <= 1
                assert int(first[4]) == wanted.label_ids[0]
                assert first[5] == pytest.approx(wanted.scores[0], abs=1e-3)
