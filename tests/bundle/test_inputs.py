"""A bundle names its inputs: one image as ever (format 1), several or none (format 2), and no room asks which."""

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tests.bundle import pairs

import eyewright as ew
from eyewright.bundle import manifest as manifests
from eyewright.bundle.manifest import _canonical, read_manifest, write_manifest
from eyewright.bundle.verify import digest_folder
from eyewright.core.errors import BundleError, UsageError
from eyewright.core.inputs import prepare
from eyewright.delivery.benchmark import _golden_inputs
from eyewright.exporting.card import model_card
from eyewright.imaging import encode_image
from eyewright.imaging.preparation import Preparation
from eyewright.serving.models import Model

FIRST = Path(__file__).parent / "format1"
"""A bundle that Eyewright wrote before inputs had names."""


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIRST, tmp_path / "first"))


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    """Two tasks of a package: "pair" takes an image and a text, "nothing" takes nothing."""
    with pairs.installed():
        yield


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return pairs.write_bundle(tmp_path / "pair", "pair", pairs.pair_model(), pairs.INPUTS, pairs.examples())


def rewrite(folder: Path, change: Any) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    del content["digest"]
    change(content)
    (folder / "bundle.json").write_bytes(_canonical(content))


def test_a_bundle_of_format_1_answers_to_the_bit_as_its_model_does(first: Path) -> None:
    bundle = ew.load_bundle(first)
    assert bundle.inputs == {"image": Preparation((24, 24), fill=114)}
    assert bundle.preparation == bundle.inputs["image"]
    with np.load(FIRST / "golden.npz", allow_pickle=False) as pairs_of_main:
        pixels, promised = pairs_of_main["pixels"], pairs_of_main["probabilities"]
    session = onnxruntime.InferenceSession((FIRST / "onnx/model.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(["probabilities"], {"image": pixels})
    assert np.array_equal(bundle.raw(pixels)["probabilities"], expected)
    assert np.array_equal(bundle.raw({"image": pixels})["probabilities"], expected)
    np.testing.assert_allclose(expected, promised, atol=1e-6)


def test_a_bundle_of_one_image_is_written_as_format_1_byte_for_byte(first: Path) -> None:
    before = (first / "bundle.json").read_bytes()
    write_manifest(first, read_manifest(first))
    assert (first / "bundle.json").read_bytes() == before
    assert json.loads(before)["format_version"] == 1


def test_one_image_may_also_be_said_in_format_2(first: Path) -> None:
    def name(content: dict[str, Any]) -> None:
        content["format_version"] = 2
        content["inputs"] = {"image": {"kind": "image", **content.pop("preparation")}}

    rewrite(first, name)
    assert ew.load_bundle(first).inputs == {"image": Preparation((24, 24), fill=114)}


def test_inputs_are_given_and_prepared_by_name(pair: Path) -> None:
    assert json.loads((pair / "bundle.json").read_text())["format_version"] == 2
    bundle = ew.load_bundle(pair)
    assert bundle.inputs == pairs.INPUTS
    examples = pairs.examples()
    given, known = prepare(bundle.inputs, examples)
    assert isinstance(given, dict)
    raw = bundle.raw(given)
    red = np.array([float(given["image"][i].mean()) for i in range(2)])
    letter = given["text"].mean(1)
    expected = 1 / (1 + np.exp((letter - red) / 100))
    np.testing.assert_allclose(raw["probabilities"][:, 0], expected, atol=1e-5)
    assert known[1]["text"] == len("a longer text")
    assert known[0]["image"].source_hw == (5, 6)
    found = bundle.predict_images(examples)
    assert [p.top1 for p in found] == [("cat", "dog")[int(e < 0.5)] for e in expected]
    assert len(bundle.raw({name: array[:0] for name, array in given.items()})["probabilities"]) == 0


def test_other_inputs_than_the_model_takes_are_refused_in_one_line(pair: Path, first: Path) -> None:
    bundle, given = ew.load_bundle(pair), dict(prepare(pairs.INPUTS, pairs.examples())[0])
    image = np.zeros((4, 4, 3), np.uint8)
    for wrong in (given["image"], {"image": given["image"]}, {**given, "mask": given["text"]}):
        with pytest.raises(UsageError, match="the model takes image and text, found image"):
            bundle.raw(wrong)
    with pytest.raises(UsageError, match=r"expected text as int64 \(N, 4\), found float64 \(2, 4\)"):
        bundle.raw({**given, "text": given["text"].astype(float)})
    with pytest.raises(UsageError, match="inputs of one length"):
        bundle.raw({**given, "text": given["text"][:1]})
    with pytest.raises(UsageError, match="the model takes image and text, found image"):
        bundle.predict_images([image])
    with pytest.raises(UsageError, match="the model takes image, found text"):
        ew.load_bundle(first).predict_images([{"text": "cat"}])


def test_what_works_for_one_image_only_says_so_of_other_models(pair: Path, tmp_path: Path) -> None:
    bundle, image = ew.load_bundle(pair), tmp_path / "image.png"
    image.write_bytes(encode_image(pairs.examples()[0]["image"]))
    for use in (
        lambda: bundle.preparation,
        lambda: bundle.predict(tmp_path),
        lambda: bundle.predict_images(pairs.examples(), flip=True),
        lambda: ew.explain(bundle, image),
        lambda: ew.deliver(pair, tmp_path / "web", to="web"),
    ):
        with pytest.raises(UsageError, match="supported for models that take one image; this one takes image and text"):
            use()
    assert not (tmp_path / "web").exists()


def test_a_model_without_inputs_runs(tmp_path: Path) -> None:
    folder = pairs.write_bundle(tmp_path / "nothing", "nothing", pairs.nothing_model(), {}, [{}])
    bundle = ew.load_bundle(folder)
    assert bundle.raw({})["probabilities"].tolist() == [[0.25, 0.75]]
    assert bundle.predict_images([{}])[0].top1 == "dog"
    with pytest.raises(UsageError, match="takes no input, found image"):
        bundle.raw(np.zeros((1, 4, 4, 3), np.uint8))


def test_a_golden_pair_of_any_input_that_changed_is_noticed(pair: Path) -> None:
    arrays = dict(np.load(pair / "golden.npz"))
    assert arrays["text_1"].tobytes().decode() == "a longer text"
    for key, value, said in (
        ("text_0", np.frombuffer(b"dog", np.uint8), "have different pixels after preparation"),
        ("text_0", arrays["text_0"].astype(np.int64), "'text_0' is not a text"),
        ("prepared_text", arrays["prepared_text"][:1], "expected prepared_text int64"),
        ("probabilities", arrays["probabilities"][:, ::-1], "golden pairs differ"),
    ):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{**arrays, key: value})
        (pair / "golden.npz").write_bytes(buffer.getvalue())
        write_manifest(pair, replace(read_manifest(pair), files=digest_folder(pair)))
        with pytest.raises(BundleError, match=said):
            ew.load_bundle(pair)


def test_an_older_eyewright_refuses_format_2_and_says_what_to_do(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # This is the very check that versions of format 1 have.
    monkeypatch.setattr(manifests, "FORMAT_VERSION", 1)
    with pytest.raises(BundleError, match="format version is 2, this eyewright reads up to 1; upgrade eyewright"):
        ew.load_bundle(pair)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["inputs"].pop("text"), "the task 'pair' takes image and text, the bundle image"),
        (lambda c: c["inputs"]["text"].update(kind="speech"), "of kind 'speech', this eyewright reads 'text'"),
        (lambda c: c["inputs"]["image"].update(size_hw=[0, 4]), "input 'image'"),
        (lambda c: c["inputs"]["image"].update(size_hw=[8, 4]), "the preparation gives uint8"),
        (lambda c: c["inputs"]["text"].update(length=5), r"the preparation gives int64 \(N, \[5\]\)"),
        (lambda c: c["tensors"]["inputs"].pop(), "the inputs are"),
        (lambda c: c["tensors"]["inputs"][0].update(name="picture"), "the inputs are"),
        (lambda c: c.update(preparation={"size_hw": [4, 4]}), "expected the key 'inputs' in format 2"),
        (lambda c: c.update(format_version=1), "expected the key 'preparation' in format 1"),
        (lambda c: c.update(inputs=[]), "not valid"),
    ],
)
def test_inputs_that_contradict_the_task_or_the_tensors_are_refused(pair: Path, change: Any, said: str) -> None:
    rewrite(pair, change)
    with pytest.raises(BundleError, match=said):
        ew.load_bundle(pair)


def test_card_server_and_benchmark_speak_of_every_input(pair: Path) -> None:
    manifest = read_manifest(pair)
    card = model_card(manifest)
    assert "`image`: uint8 (N, 4, 4, 3) RGB pixels and `text`: int64 (N, 4) letters" in card
    about = Model("pair", pair, "0" * 64, manifest).description
    assert about["inputs"]["text"] == {"kind": "text", "dtype": "int64", "shape": [4], "words": "letters"}
    assert "size_hw" not in about
    assert manifest.takes == "image and text"
    named = _golden_inputs(manifest, {"golden.npz": (pair / "golden.npz").read_bytes()})
    assert {k: v.shape for k, v in named.items()} == {"image": (2, 4, 4, 3), "text": (2, 4)}
