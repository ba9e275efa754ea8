"""Boxes and masks over every protocol, and people who label with the model's help."""

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.serving.conftest import CLIENTS, Served, serving

import eyewright as ew
from eyewright.bundle.guarantees import guarantees_of
from eyewright.imaging.rasters import decode_counts, parse_counts
from eyewright.serving.brush import brush_rle

BOXES = '<View><Image name="photo" value="$img"/><RectangleLabels name="box" toName="photo"/></View>'
BRUSH = '<View><Image name="photo" value="$img"/><BrushLabels name="brush" toName="photo"/></View>'


@pytest.fixture(scope="module")
def every(found, painted, tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Iterator[Served]:
    cwd = tmp_path_factory.mktemp("every")
    bundles = (f"boxes={found.paths['bundle']}", f"pixels={painted.paths['bundle']}")
    with serving(*bundles, "--label-studio-files", str(scenes / "test"), cwd=cwd) as served:
        yield served


@pytest.fixture(scope="module")
def scene(scenes: Path) -> bytes:
    return (scenes / "test" / "test_003.png").read_bytes()


def test_boxes_are_those_of_the_bundle_in_python(every, found, scenes: Path) -> None:
    bundle = ew.load_bundle(found.paths["bundle"])
    for path in sorted((scenes / "test").glob("*.png"))[:6]:
        expected = bundle.predict(path).to_json()
        answer = every.post("/v1/models/boxes/predict", path.read_bytes()).json
        assert answer["labels"] == expected["labels"]
        np.testing.assert_allclose(answer["boxes_xyxy"], expected["boxes_xyxy"], atol=0.02)
    assert every.post("/v1/models/boxes/predict?conf=0.01&iou=0.9", path.read_bytes()).json["labels"]


def test_boxes_have_margins_and_a_threshold_of_a_miss_rate(every, found, scene: bytes) -> None:
    bundle = ew.load_bundle(found.paths["bundle"])
    promised = guarantees_of(bundle, coverage=0.8, by="image", miss_rate=0.5)
    shown = bundle.predict(scene, conf=promised.conf)
    query = "coverage=0.8&coverage_by=image&miss_rate=0.5"
    answer = every.post(f"/v1/models/boxes/predict?{query}", scene).json
    expected = promised.told(shown)
    np.testing.assert_allclose(answer["outer_boxes_xyxy"], expected["outer_boxes_xyxy"], atol=0.05)
    assert (answer["margins"], answer["miss_rate"]) == (expected["margins"], expected["miss_rate"])
    for wrong, words in (
        ("coverage=0.99", "too few for a coverage of 0.99"),
        ("miss_rate=0.5&conf=0.2", "expected conf or miss_rate, found both"),
        ("coverage=0.8&iou=0.5", "expected no iou with coverage or miss_rate"),
        ("coverage=0.8&sets=adaptive", "a set of labels is not supported for detection"),
        ("miss_rate=2", "miss_rate"),
        ("coverage_by=image", "expected coverage with coverage_by"),
    ):
        refused = every.post(f"/v1/models/boxes/predict?{wrong}", scene)
        assert refused.status == 400
        assert words in refused.json["error"]
    other = every.post("/v1/models/pixels/predict?miss_rate=0.5", scene)
    assert (other.status, "not supported for segmentation" in other.json["error"]) == (400, True)


def test_masks_are_those_of_the_bundle_in_python(every, painted, scenes: Path) -> None:
    bundle = ew.load_bundle(painted.paths["bundle"])
    path = scenes / "test" / "test_001.png"
    expected = bundle.predict(path)
    answer = every.post("/v1/models/pixels/predict", path.read_bytes()).json
    for label, mask in zip(answer["labels"], answer["segmentations"], strict=True):
        pixels = decode_counts(parse_counts(mask["counts"]), (96, 96))
        theirs = expected.mask == bundle.labels.id(label)
        assert (pixels == theirs).mean() > 0.999


def test_hugging_faces_client_reads_boxes_and_masks(every, scene: bytes) -> None:
    from huggingface_hub import InferenceClient

    boxes = InferenceClient(model=f"{every.address}/predict/boxes").object_detection(scene, threshold=0.05)
    own = every.post("/v1/models/boxes/predict?conf=0.05", scene).json
    assert [b.label for b in boxes] == own["labels"]
    # Whole pixels here, hundredths there: half a pixel may round either way.
    apart = [abs(b.box.xmin - o[0]) for b, o in zip(boxes, own["boxes_xyxy"], strict=True)]
    assert max(apart) <= 0.51
    parts = InferenceClient(model=f"{every.address}/predict/pixels").image_segmentation(scene)
    masks = {p.label: np.asarray(p.mask) > 0 for p in parts}
    shown = every.post("/v1/models/pixels/predict", scene).json
    assert set(masks) == set(shown["labels"])
    for label, mask in zip(shown["labels"], shown["segmentations"], strict=True):
        np.testing.assert_array_equal(masks[label], decode_counts(parse_counts(mask["counts"]), (96, 96)))


def test_tritons_client_reads_the_raw_tensors_of_files(every, found, scene: bytes) -> None:
    import tritonclient.http as triton

    bundle = ew.load_bundle(found.paths["bundle"])
    pixels, _ = bundle.preparation.batch([ew.read_image(scene)])
    expected = bundle.raw(pixels)
    client = triton.InferenceServerClient(f"{every.host}:{every.port}")
    file = triton.InferInput("image", [2], "BYTES")
    file.set_data_from_numpy(np.array([scene, scene], object))
    answer = client.infer("boxes", [file])
    for name in ("boxes", "scores"):
        for k in range(2):
            np.testing.assert_allclose(answer.as_numpy(name)[k], expected[name][0], atol=1e-3)
    told = json.loads(answer.as_numpy("prediction")[1])
    assert told["labels"] == every.post("/v1/models/boxes/predict", scene).json["labels"]
    client.close()


def test_a_box_and_a_class_are_explained(every, scene: bytes) -> None:
    (one,) = every.post("/v1/models/boxes/predict?explain=true&conf=0.05", scene).json["explanations"]
    assert len(one["box_prepared"]) == 4
    assert every.post("/v1/models/pixels/predict?explain=true", scene).status == 200


def _task(data: str, schema: str = BOXES) -> dict[str, object]:
    return {"tasks": [{"id": 1, "data": {"img": data}}], "label_config": schema}


def test_label_studio_gets_boxes_in_percent(every, scene: bytes) -> None:
    assert every.get("/health").json["status"] == "UP"
    assert every.post("/setup", {"project": "1", "schema": BOXES}).json["model_version"].startswith("boxes-")
    own = every.post("/v1/models/boxes/predict", scene).json
    address = "data:image/png;base64," + base64.b64encode(scene).decode()
    (row,) = every.post("/predict", _task(address)).json["results"]
    assert len(row["result"]) == len(own["labels"]) > 0
    first, box = row["result"][0], own["boxes_xyxy"][0]
    assert (first["from_name"], first["to_name"], first["type"]) == ("box", "photo", "rectanglelabels")
    assert first["value"]["rectanglelabels"] == [own["labels"][0]]
    assert first["value"]["x"] == pytest.approx(100 * box[0] / 96, abs=0.05)
    assert first["value"]["width"] == pytest.approx(100 * (box[2] - box[0]) / 96, abs=0.05)
    assert row["score"] == pytest.approx(own["scores"][0], abs=1e-4)


def test_label_studio_names_files_of_the_folder_and_nothing_else(every, scene: bytes) -> None:
    (row,) = every.post("/predict", _task("/data/local-files/?d=test_003.png")).json["results"]
    assert row["result"]
    outside = (
        "/data/local-files/?d=../train/train_001.png",
        "/etc/passwd",
        "http://169.254.169.254/x",
        "file:///etc/hosts",
    )
    for address in outside:
        (row,) = every.post("/predict", _task(address)).json["results"]
        assert not row["result"]
        assert row["error"]


def test_label_studio_gets_masks_that_its_own_converter_reads(every, scene: bytes) -> None:
    own = every.post("/v1/models/pixels/predict", scene).json
    address = "data:image/png;base64," + base64.b64encode(scene).decode()
    (row,) = every.post("/label-studio/pixels/predict", _task(address, BRUSH)).json["results"]
    shown = {r["value"]["brushlabels"][0]: r["value"]["rle"] for r in row["result"]}
    assert "background" not in shown
    for label, mask in zip(own["labels"], own["segmentations"], strict=True):
        if label in shown:
            pixels = decode_counts(parse_counts(mask["counts"]), (96, 96))
            np.testing.assert_array_equal(_unpacked(shown[label]).reshape(96, 96, 4)[..., 3] > 0, pixels)


def _unpacked(rle: list[int]) -> np.ndarray:
    """Read label-studio's run lengths, bit by bit, after the decoder of label_studio_sdk.converter.brush."""
    bits = "".join(f"{b:08b}" for b in rle)
    at = 0

    def take(n: int) -> int:
        nonlocal at
        at += n
        return int(bits[at - n : at], 2)

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    out = np.zeros(total, np.uint8)
    i = 0
    while i < total:
        run = take(1)
        n = take(sizes[take(2)]) + 1
        if run:
            out[i : i + n] = take(word)
        else:
            for k in range(n):
                out[i + k] = take(word)
        i += n
    return out


@pytest.mark.skipif(not CLIENTS.exists(), reason="the clients' environment is made by `make clients`")
def test_label_studios_own_decoder_reads_our_masks() -> None:
    mask = np.zeros((40, 70), bool)
    mask[3:20, 5:60] = True
    mask[25, 0] = mask[39, 69] = True
    code = (
        "import json, sys, numpy as np\n"
        "from label_studio_sdk.converter.brush import decode_rle\n"
        "print(json.dumps(np.asarray(decode_rle(json.load(sys.stdin))).tolist()))"
    )
    done = subprocess.run((str(CLIENTS), "-c", code), input=json.dumps(brush_rle(mask)), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-500:]
    theirs = np.array(json.loads(done.stdout)).reshape(40, 70, 4)
    np.testing.assert_array_equal(theirs[..., 3] > 0, mask)


def test_a_configuration_without_a_place_is_refused(every) -> None:
    for schema, words in (
        ("<View><Text name='t' value='$t'/></View>", "no RectangleLabels"),
        ("<View", "not XML"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><View/>", "entities"),
    ):
        answer = every.post("/setup", {"schema": schema})
        assert answer.status == 400
        assert words in answer.words


def test_an_annotation_that_began_with_our_boxes_is_feedback(every, scene: bytes) -> None:
    address = "data:image/png;base64," + base64.b64encode(scene).decode()
    (row,) = every.post("/predict", _task(address)).json["results"]
    event = {"action": "ANNOTATION_CREATED", "annotation": {"result": row["result"]}}
    answer = every.post("/webhook", event)
    assert (answer.status, answer.json["stored"]) == (201, 1)
    assert every.post("/webhook", {"action": "PROJECT_UPDATED"}).json["stored"] == 0
    assert every.post("/webhook", {"action": "ANNOTATION_CREATED", "annotation": 3}).json["stored"] == 0


KSERVE = """
import asyncio, sys, json
from kserve import InferInput, InferRequest, InferenceRESTClient, RESTConfig
import numpy as np
async def main():
    address, model, path = sys.argv[1:]
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=1, timeout=30))
    assert await client.is_server_ready(address)
    assert await client.is_server_live(address)
    assert await client.is_model_ready(address, model)
    data = open(path, "rb").read()
    given = InferInput("image", [1], "BYTES")
    given.set_data_from_numpy(np.array([data], dtype=object), binary_data=True)
    answer = await client.infer(address, InferRequest(model_name=model, infer_inputs=[given]), model_name=model)
    named = {o.name: o for o in answer.outputs}
    told = named["prediction"].as_numpy()[0]
    print(told if isinstance(told, str) else told.decode())
asyncio.run(main())
"""


@pytest.mark.skipif(not CLIENTS.exists(), reason="the clients' environment is made by `make clients`")
def test_kserves_client_speaks_to_it_unchanged(every, scenes: Path) -> None:
    path = scenes / "test" / "test_003.png"
    done = subprocess.run(
        (str(CLIENTS), "-c", KSERVE, every.address, "boxes", str(path)), text=True, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["labels"] == every.post("/v1/models/boxes/predict", path.read_bytes()).json["labels"]


@pytest.mark.skipif(not CLIENTS.exists(), reason="the clients' environment is made by `make clients`")
def test_schemathesis_finds_no_fault_of_ours(every, tmp_path: Path) -> None:
    command = (
        str(CLIENTS.parent / "schemathesis"), "run", f"{every.address}/openapi.json", "--checks", "not_a_server_error",
        "--max-examples", "40", "--seed", "1", "--phases", "examples,fuzzing", "--workers", "2",
        "--generation-database", "none", "--no-color",
    )  # fmt: skip
    done = subprocess.run(command, text=True, capture_output=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"\d+ generated", done.stdout), done.stdout[-1500:]
