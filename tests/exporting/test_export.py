"""The parity gate, and what a bundle holds."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import eyewright as ew
from eyewright.bundle import Bundle
from eyewright.catalog import MODELS, build_of, tasks_of_net
from eyewright.core import LabelSpace
from eyewright.core.errors import OutputError, ParityError
from eyewright.core.task import task_of
from eyewright.exporting import check_parity
from eyewright.exporting.onnx_model import export_onnx
from eyewright.imaging import Preparation, encode_image, read_image
from eyewright.imaging.tiles import TileCut
from eyewright.nets import PixelNet
from eyewright.testing import check_predictor
from eyewright.training.cache import build_cache
from eyewright.training.predictor import TorchPredictor


def test_the_run_and_its_bundle_are_predictors_that_agree(finished) -> None:  # type: ignore[no-untyped-def]
    check_predictor(finished.run.predictor)
    check_predictor(finished.bundle)
    assert finished.parity.worst <= 1e-4
    assert finished.parity.decisions_changed == 0
    assert finished.parity.n == len(ew.load_dataset(finished.run.about["data_path"]).val)


class Faulty:
    """The exported model with one planted preprocessing fault."""

    def __init__(self, bundle: Bundle, preparation: Preparation, *, swap: bool = False) -> None:
        self.bundle, self.preparation, self.swap = bundle, preparation, swap
        self.task_name, self.labels = bundle.task_name, bundle.labels

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        return self.bundle.raw(pixels[..., ::-1] if self.swap else pixels)


@pytest.mark.parametrize("fault", ["BGR", "another filter", "crop for stretch", "letterbox"])
def test_a_planted_preprocessing_fault_fails_the_gate(finished, tmp_path: Path, fault: str) -> None:  # type: ignore[no-untyped-def]
    # Wide images that need resizing, so that the way of resizing shows.
    rng = np.random.default_rng(0)
    for i in range(12):
        place = tmp_path / "wide" / ("cross", "disc", "square")[i % 3] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode_image(rng.integers(0, 256, (40, 70, 3)).astype(np.uint8)))
    data = ew.load_dataset(tmp_path / "wide")
    good = finished.bundle.preparation
    preparation = {
        "BGR": good,
        "another filter": replace(good, filter="nearest"),
        "crop for stretch": replace(good, fit="crop"),
        "letterbox": replace(good, fit="letterbox"),
    }[fault]
    assert check_parity(finished.run.predictor, finished.bundle, data).worst <= 1e-4
    with pytest.raises(ParityError, match="differs from the trained one"):
        check_parity(finished.run.predictor, Faulty(finished.bundle, preparation, swap=fault == "BGR"), data)


def test_a_fault_in_export_leaves_nothing_behind(finished, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from eyewright.exporting import bundle_writer

    real = bundle_writer.export_onnx

    def planted(net, path, **options):  # type: ignore[no-untyped-def]
        broken = PixelNet(net.body, mean=[0.0] * 3, std=[1.0] * 3)
        real(broken, path, **options)

    monkeypatch.setattr(bundle_writer, "export_onnx", planted)
    with pytest.raises(ParityError):
        ew.export(finished.run, tmp_path / "out.bundle")
    assert list(tmp_path.iterdir()) == []


def odd_files() -> dict[str, bytes]:
    """One picture as files of every kind that a camera, scanner or program writes."""
    rng = np.random.default_rng(3)
    rgb = np.kron(rng.integers(0, 256, (9, 13, 3)).astype(np.uint8), np.ones((5, 5, 1), np.uint8))
    image = Image.fromarray(rgb)

    def save(what: Image.Image, format: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        what.save(buffer, format, **options)
        return buffer.getvalue()

    files = {}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files[f"exif{orientation}.jpg"] = save(image, "JPEG", exif=exif)
    alpha = image.convert("RGBA")
    alpha.putalpha(Image.fromarray(rgb[..., 0]))
    files["grey.png"] = save(image.convert("L"), "PNG")
    files["rgba.png"] = save(alpha, "PNG")
    files["cmyk.jpg"] = save(image.convert("CMYK"), "JPEG")
    files["palette.png"] = save(image.quantize(16), "PNG", transparency=3)
    files["sixteen.png"] = save(Image.fromarray(rgb[..., 0].astype(np.uint16) * 257), "PNG")
    files["sixteen.tif"] = save(Image.fromarray(rgb[..., 1].astype(np.uint16) * 200), "TIFF")
    files["one-bit.png"] = save(image.convert("1"), "PNG")
    files["moving.gif"] = save(image, "GIF", save_all=True, append_images=[Image.fromarray(255 - rgb)])
    return files


def test_training_and_bundle_see_the_same_bits_whatever_the_file(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for i, (name, data) in enumerate(odd_files().items()):
        place = tmp_path / "odd" / ("cross", "disc")[i % 2] / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    data = ew.load_dataset(tmp_path / "odd")
    assert len(data) == len(odd_files())
    trained_on = build_cache(data, finished.run.preparation)
    for i, sample in enumerate(data.samples):
        path = tmp_path / "odd" / sample.id
        served, _ = finished.bundle.preparation.batch([read_image(path)])
        assert np.array_equal(served[0], trained_on[i]), sample.id
        explained = ew.explain(finished.bundle, path)[0].pixels
        assert np.array_equal(explained, trained_on[i]), sample.id


# They differ from the GRU nets in their cells only.
_ALIKE = ("lstm_net", "lstm_stream_net")


# Nets that draw take no image; tests/lifecycle/test_generate.py exports them.
_TAKE_IMAGES = [n for n, (answers, *_) in MODELS.items() if answers != "drawn image"]


@pytest.mark.parametrize("name", [pytest.param(m, marks=pytest.mark.slow) if m in _ALIKE else m for m in _TAKE_IMAGES])
def test_every_net_is_exported_with_equal_answers_for_every_batch_size(name: str, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        task = tasks_of_net(name)[0]
        # A strip of a clip is 32 frames high.
        size = (32, 32) if task_of(task).reads == "image" else (32 * 16, 16)
        preparation = Preparation(size)
        if MODELS[name][0] == "image":
            preparation = Preparation((64, 64), fit="crop", tile=TileCut(4, "noise:5-50"))
        body = build_of(name, task)(4, channels=3, size_hw=preparation.size_hw)
    planes = preparation.shape[2]
    net = PixelNet(body, mean=[0.4, 0.5, 0.6, 0.5][:planes], std=[0.2, 0.3, 0.25, 0.3][:planes]).eval()
    path = tmp_path / "model.onnx"
    export_onnx(net, path, temperature=0.7, task=task, inputs={"image": preparation}, metadata={"task": task})
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    labels = LabelSpace(tuple("abcd"))
    trained = TorchPredictor(net, labels=labels, preparation=preparation, task_name=task, temperature=0.7)
    for n in (1, 2, 7):
        pixels = np.random.default_rng(n).integers(0, 256, (n, *preparation.shape)).astype(np.uint8)
        names = list(task_of(task).output_names)
        expected = trained.raw(pixels)
        for output, found in zip(names, session.run(names, {"image": pixels}), strict=True):
            assert found.shape == expected[output].shape
            assert np.abs(found - expected[output]).max() < 1e-5 * max(1.0, np.abs(found).max())


def test_the_onnx_file_explains_itself_and_names_no_folder_of_this_machine(finished) -> None:  # type: ignore[no-untyped-def]
    data = (finished.paths["bundle"] / "onnx/model.onnx").read_bytes()
    model = onnx.load_from_string(data)
    props = {p.key: p.value for p in model.metadata_props}
    assert json.loads(props["labels"]) == ["cross", "disc", "square"]
    (image,) = model.graph.input
    dims = [d.dim_value or d.dim_param for d in image.type.tensor_type.shape.dim]
    assert dims[1:] == [32, 32, 3]
    assert isinstance(dims[0], str)
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert str(Path(__file__).parents[2]).encode() not in data


def test_the_bundle_holds_what_the_house_says(finished) -> None:  # type: ignore[no-untyped-def]
    folder = finished.paths["bundle"]
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert names == {
        "README.md",
        "bundle.json",
        "config.json",
        "golden.npz",
        "model.safetensors",
        "onnx/model.onnx",
        "preprocessor_config.json",
        "recipe.toml",
        "reference.npz",
        "report.html",
        "report.json",
        "split.csv",
    }
    manifest = json.loads((folder / "bundle.json").read_text())
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"]
    assert manifest["metrics"]["accuracy"]["n"] == finished.report.n
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "cross", "1": "disc", "2": "square"}
    weights = load_file(folder / "model.safetensors")
    assert all(torch.equal(v, weights[k]) for k, v in finished.run.net.state_dict().items())
    card = (folder / "README.md").read_text()
    assert card.startswith("---\n")
    assert "model-index" in card


def test_no_file_of_a_bundle_says_where_it_was_made(finished) -> None:  # type: ignore[no-untyped-def]
    place = str(Path(finished.run.about["data_path"]).parent).encode()
    for path in finished.paths["bundle"].rglob("*"):
        assert not path.is_file() or place not in path.read_bytes(), path.name


def test_export_replaces_a_bundle_and_nothing_else(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="is not a bundle"):
        ew.export(finished.run, precious)
    assert (precious / "thesis.txt").read_text() == "years"
    ew.export(finished.run, tmp_path / "a.bundle", name="first")
    assert ew.export(finished.run, tmp_path / "a.bundle", name="second").manifest.name == "second"


def test_steps_go_with_the_model_from_training_to_the_bundle(shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    run = ew.train(
        shapes, epochs=1, batch=24, model="mlp", steps="median:3 | gamma:1.5", out=tmp_path / "run", quiet=True
    )
    bundle = ew.export(run, tmp_path / "b.bundle")
    assert bundle.preparation.steps == "median:3 | gamma:1.5"
    again = ew.load_bundle(tmp_path / "b.bundle")
    image = ew.read_image(next((shapes / "disc").glob("*.png")))
    plain = type(again.preparation)(again.preparation.size_hw, channels=again.preparation.channels)
    assert not np.array_equal(plain(image)[0], again.preparation(image)[0])
    assert np.allclose(again.predict(image).scores, run.predictor.predict_images([image])[0].scores, atol=1e-4)
