"""Ranges and fewer bits: against numpy, and against what the float model answers."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import eyewright as ew
from eyewright.bundle.session import open_session
from eyewright.catalog import build_of
from eyewright.compression.pixels import straight_from_pixels
from eyewright.compression.quantising import (
    calibrate,
    quantisable_layers,
    quantise_dynamic,
    quantise_static,
    quantise_weights,
    to_half,
)
from eyewright.compression.ranges import METHODS, Seen, choose_ranges, watch_tensors
from eyewright.core.errors import RefusedError
from eyewright.exporting.onnx_model import export_onnx
from eyewright.imaging import Preparation
from eyewright.nets.pixels import PixelNet


def exported(name: str, task: str, side: int, folder) -> bytes:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    body = build_of(name, task)(4, channels=3, size_hw=(side, side))
    # Sharp answers: those of a net that has not learnt are nearly the same for every image.
    with torch.no_grad():
        for module in body.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_var.uniform_(0.2, 1.0)
                module.running_mean.uniform_(-0.3, 0.3)
    net = PixelNet(body, mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3]).eval()
    path = folder / "model.onnx"
    inputs = {"image": Preparation((side, side))}
    export_onnx(net, path, temperature=1.0, task=task, inputs=inputs, metadata={"task": task})
    return path.read_bytes()


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> bytes:  # type: ignore[no-untyped-def]
    return exported("photo_net", "classify", 48, tmp_path_factory.mktemp("photo"))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (24, 6, 6, 3))
    return np.clip(coarse.repeat(8, 1).repeat(8, 2) + rng.normal(0, 10, (24, 48, 48, 3)), 0, 255).astype(np.uint8)


def answers(model: bytes, pixels: np.ndarray) -> np.ndarray:
    return open_session(model).run(None, {"image": pixels})[0]


def test_what_is_seen_of_a_tensor_is_what_numpy_says(photo: bytes, pixels: np.ndarray) -> None:
    proto = onnx.load_from_string(photo)
    name = next(n.output[0] for n in proto.graph.node if n.op_type == "Conv")
    feeds = [{"image": pixels[i : i + 8]} for i in range(0, 24, 8)]
    seen = watch_tensors(photo, [name], feeds)[name]
    proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = open_session(proto.SerializeToString())
    whole = np.concatenate([session.run([name], f)[0].ravel() for f in feeds])
    assert (seen.low, seen.high) == (whole.min(), whole.max())
    expected, _ = np.histogram(whole, bins=len(seen.counts), range=(whole.min(), whole.max()))
    # Numbers on the edge of two bins may be counted in either.
    assert np.abs(seen.counts - expected).sum() <= 1e-3 * len(whole)
    assert seen.counts.sum() == len(whole)


def test_ranges_hold_zero_and_the_one_of_least_error_has_least_error() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 100_000), [40.0]])
    counts, _ = np.histogram(values, bins=1024, range=(values.min(), values.max()))
    seen = {"x": Seen(float(values.min()), float(values.max()), counts)}

    def error(low: float, high: float) -> float:
        unit = (high - low) / 255
        return float(np.mean((values - (np.clip(np.round((values - low) / unit), 0, 255) * unit + low)) ** 2))

    found = {m: choose_ranges(seen, m)["x"] for m in METHODS}
    assert found["minmax"] == (values.min(), 40.0)
    assert found["percentile"][1] < 6
    assert error(*found["mse"]) <= min(error(*found["minmax"]), error(*found["percentile"])) * 1.05
    assert found["entropy"][1] < 40
    positive = choose_ranges({"x": Seen(3.0, 9.0, np.ones(1024, np.int64))}, "minmax")["x"]
    assert positive == (0.0, 9.0)


@pytest.mark.parametrize("method", METHODS)
def test_eight_bits_answer_nearly_as_float_does(photo: bytes, pixels: np.ndarray, method: str) -> None:
    ready = calibrate(photo, pixels)
    small = quantise_static(ready, method=method)
    assert len(small) < len(photo) / 3.5
    wanted, found = answers(photo, pixels), answers(small, pixels)
    assert np.abs(found - wanted).mean() < 0.03
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.95
    kinds = [n.op_type for n in onnx.load_from_string(small).graph.node]
    assert kinds.count("QuantizeLinear") >= 5


def test_layers_that_are_kept_are_computed_in_float(photo: bytes, pixels: np.ndarray) -> None:
    ready = calibrate(photo, pixels)
    layers = quantisable_layers(ready.model)
    everything = quantise_static(ready, keep=layers)
    # The layer that sees the image is computed in float anyway; only its weights are stored in 8 bits.
    alone = quantise_weights(ready.model, keep=layers)
    assert np.abs(answers(everything, pixels) - answers(alone, pixels)).max() < 1e-5
    few = quantise_static(ready, keep=layers[:1])
    assert np.abs(answers(few, pixels) - answers(photo, pixels)).mean() > 0


def test_half_and_eight_bit_weights_keep_inputs_and_answers(photo: bytes, pixels: np.ndarray) -> None:
    wanted = answers(photo, pixels)
    half, weights = to_half(photo), quantise_weights(photo)
    assert len(half) < len(photo) / 1.9
    assert len(weights) < len(photo) / 3.5
    assert np.abs(answers(half, pixels) - wanted).max() < 5e-3
    assert np.abs(answers(weights, pixels) - wanted).max() < 0.05
    for model in (half, weights):
        session = open_session(model)
        assert [(i.name, i.type) for i in session.get_inputs()] == [("image", "tensor(uint8)")]
        assert session.get_outputs()[0].type == "tensor(float)"
        # What explained the file before explains it still.
        assert {p.key for p in onnx.load_from_string(model).metadata_props} >= {"task"}


def test_dynamic_is_for_models_with_matrices(pixels: np.ndarray, tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = exported("vit", "classify", 48, tmp_path)
    ready = calibrate(model, pixels)
    small = quantise_dynamic(ready.model)
    assert len(small) < len(model) / 2
    assert np.abs(answers(small, pixels) - answers(model, pixels)).max() < 0.1
    segmenter = exported("outline_net", "segment", 32, tmp_path)
    with pytest.raises(RefusedError, match="no matrix"):
        quantise_dynamic(segmenter)


def test_boxes_and_masks_survive_eight_bits(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    for name, task, side in (("spot_net", "detect", 64), ("outline_net", "segment", 64)):
        model = exported(name, task, side, tmp_path)
        images = rng.integers(0, 256, (8, side, side, 3)).astype(np.uint8)
        # Two resizes share their scale, which must be widened once.
        assert len(to_half(model)) < 0.6 * len(model)
        small = quantise_static(calibrate(model, images))
        before, after = (
            open_session(model).run(None, {"image": images}),
            open_session(small).run(None, {"image": images}),
        )
        for wanted, found in zip(before, after, strict=True):
            assert wanted.shape == found.shape
            assert np.abs(found - wanted).mean() < 0.02 * max(1.0, np.abs(wanted).max())


def test_a_file_that_is_no_model_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(RefusedError, match="cannot be quantised"):
        calibrate(b"not a model", pixels)


STD = np.array([0.2, 0.25, 0.3])


def one_convolution(mean: list[float], *, stride: int = 1) -> tuple[np.ndarray, np.ndarray, bytes]:
    """The weights, the bias and the model of one layer that sees the image; the answers are its map."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.2, (8, 3, 5, 5)).astype(np.float32)
    bias = rng.normal(0, 0.2, 8).astype(np.float32)
    numbers = {"mean": 255 * np.array(mean), "scale": 1 / (255 * STD)}
    constants = {k: v.reshape(1, 3, 1, 1).astype(np.float32) for k, v in numbers.items()}
    constants |= {"weight": weight, "bias": bias}
    make = onnx.helper.make_node
    nodes = [
        make("Transpose", ["image"], ["moved"], name="moving", perm=[0, 3, 1, 2]),
        make("Cast", ["moved"], ["cast"], name="casting", to=onnx.TensorProto.FLOAT),
        make("Sub", ["cast", "mean"], ["less"], name="centring"),
        make("Mul", ["less", "scale"], ["scaled"], name="scaling"),
        make("Conv", ["scaled", "weight", "bias"], ["map"], name="conv", pads=[2] * 4, strides=[stride] * 2),
        make("Flatten", ["map"], ["answers"], name="flat"),
    ]
    taken = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["n", 16, 20, 3])
    given = onnx.helper.make_tensor_value_info("answers", onnx.TensorProto.FLOAT, ["n", None])
    held = [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = onnx.helper.make_graph(nodes, "one", [taken], [given], held)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    return weight, bias, model.SerializeToString()


def test_pixels_straight_into_the_first_layer_are_the_same_but_for_the_border(pixels: np.ndarray) -> None:
    image = np.ascontiguousarray(pixels[:1, :16, :20])
    # One mean for all channels that is a whole number of levels: then the border is the same too.
    *_, model = one_convolution([0.4, 0.4, 0.4])
    opened = straight_from_pixels(model)
    assert opened is not None
    assert opened.middle == 102
    np.testing.assert_allclose(answers(opened.model, image), answers(model, image), atol=1e-4)
    *_, model = one_convolution([0.2, 0.4, 0.6])
    opened = straight_from_pixels(model)
    assert opened is not None
    apart = np.abs(answers(opened.model, image) - answers(model, image)).reshape(8, 16, 20)
    assert apart[:, 2:-2, 2:-2].max() < 1e-4
    assert apart.max() > 1e-2


def test_rounded_pixels_cost_nothing_but_the_weights(pixels: np.ndarray) -> None:
    image = np.ascontiguousarray(pixels[:8, :16, :20])
    weight, bias, model = one_convolution([0.4, 0.4, 0.4], stride=2)
    found = calibrate(model, image[:1])
    small = quantise_static(found, first="pixels")
    proto = onnx.load_from_string(small)
    kinds = [n.op_type for n in proto.graph.node]
    assert not {"Cast", "Sub", "Mul"} & set(kinds)
    # The codes that the layer takes are the image's own bytes.
    code = next(n for n in proto.graph.node if n.op_type == "Transpose")
    assert code.input[0] == "image"
    assert any(n.op_type == "DequantizeLinear" and n.input[0] == code.output[0] for n in proto.graph.node)
    # What is left is the rounding of the weights to 7 bits, which numpy can do as well, and of what comes out.
    weight = weight / (255 * STD.reshape(1, 3, 1, 1))
    unit = np.abs(weight).reshape(8, -1).max(1).reshape(8, 1, 1, 1) / 64
    coarse = torch.from_numpy((np.round(weight / unit) * unit).astype(np.float32))
    shifted = torch.from_numpy(image[:1].astype(np.float32) - 102).permute(0, 3, 1, 2)
    wanted = torch.conv2d(shifted, coarse, torch.from_numpy(bias), stride=2, padding=2).flatten().numpy()
    step = (wanted.max() - wanted.min()) / 255
    assert np.abs(answers(small, image[:1])[0] - wanted).max() < step


def test_what_is_more_than_scaling_before_the_first_layer_is_left_alone(photo: bytes, pixels: np.ndarray) -> None:
    *_, model = one_convolution([0.4, 0.4, 0.4])
    proto = onnx.load_from_string(model)
    cast = next(n for n in proto.graph.node if n.op_type == "Cast")
    made = onnx.helper.make_node("Sqrt", [cast.output[0]], ["rooted"], name="root")
    for node in proto.graph.node:
        for k, name in enumerate(node.input):
            if name == cast.output[0]:
                node.input[k] = "rooted"
    proto.graph.node.insert(list(proto.graph.node).index(cast) + 1, made)
    assert straight_from_pixels(proto.SerializeToString()) is None
    with pytest.raises(RefusedError, match="raw pixels"):
        quantise_static(calibrate(proto.SerializeToString(), pixels[:1, :16, :20]), first="pixels")
    # A layer that is kept is kept, pixels or not.
    ready = calibrate(photo, pixels)
    kept = quantise_static(ready, keep=quantisable_layers(ready.model)[:1], first="pixels")
    assert np.abs(answers(kept, pixels) - answers(photo, pixels)).mean() < 0.03


def test_a_layer_that_gives_an_answer_itself_is_rounded_too(outlined, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    # The prototypes of instances come straight from a convolution.
    found = ew.compress(outlined.run, out=tmp_path / "s", methods=("int8",), max_drop=["ap=99%"], max_bytes="1G")
    assert found.winner is not None
    pixels = np.random.default_rng(0).integers(0, 256, (2, *outlined.bundle.preparation.size_hw, 3)).astype(np.uint8)
    ours, whole = found.bundle.raw(pixels), outlined.bundle.raw(pixels)
    for name in ("prototypes", "scores", "boxes"):
        assert ours[name].shape == whole[name].shape
        spread = float(whole[name].std())
        assert 0 < np.abs(ours[name] - whole[name]).mean() < 0.25 * spread, name
