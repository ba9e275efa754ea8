"""One object: a drawn one that is taken away and brought back calibrates the verdict."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.tracking.single import SinglePrediction, SingleTracker

pytest.importorskip("cv2")

SIZE = 40


def _ground(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(60, 190, (30, 40, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def _thing(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def _film(seed: int, path: list[tuple[int, int] | None]) -> list[np.ndarray]:
    """Return frames of 320 x 240 with the object at each place of its path, or without it; the light flickers."""
    rng = np.random.default_rng(seed)
    ground, thing = _ground(rng), _thing(rng)
    frames = []
    for place in path:
        frame = ground.copy()
        if place is not None:
            x, y = place
            frame[y : y + SIZE, x : x + SIZE] = thing
        light = rng.uniform(0.9, 1.1)
        frames.append(np.clip(frame * light + rng.normal(0, 4, frame.shape), 0, 255).astype(np.uint8))
    return frames


def _follow(frames: list[np.ndarray], box: tuple[float, float, float, float], method: str) -> list[SinglePrediction]:
    tracker = SingleTracker(method)
    tracker.start(frames[0], box)
    return [tracker.update(f) for f in frames[1:]]


WALK: list[tuple[int, int] | None] = [(20 + 4 * k, 60 + k) for k in range(15)]


@pytest.mark.parametrize("method", ["csrt", "kcf", "mosse"])
@pytest.mark.parametrize("seed", range(3))
def test_an_object_that_goes_is_lost_and_found_again_where_it_comes_back(method: str, seed: int) -> None:
    path = [*WALK, *[None] * 10, *[(220 - 3 * k, 150) for k in range(10)]]
    found = _follow(_film(seed, path), (20, 60, SIZE, SIZE), method)
    states = [p.state for p in found]
    assert set(states[:14]) == {"tracked"}
    assert set(states[15:24]) == {"lost"}
    assert set(states[26:]) == {"tracked"}
    for k in (5, 12, 28, 33):
        place, box = path[k + 1], found[k].box_xyxy
        assert place is not None
        assert box is not None
        assert box[:2] == pytest.approx(place, abs=5)
    assert all(p.box_xyxy is None for p in found if p.state == "lost")


@pytest.mark.parametrize("seed", range(3))
def test_another_object_in_its_place_is_not_it(seed: int) -> None:
    frames = _film(seed, [*WALK, *[None] * 8])
    other = _thing(np.random.default_rng(seed + 100))
    for frame in frames[15:]:
        frame[74 : 74 + SIZE, 76 : 76 + SIZE] = other
    assert {p.state for p in _follow(frames, (20, 60, SIZE, SIZE), "csrt")[16:]} == {"lost"}


@pytest.mark.parametrize("method", ["csrt", "kcf"])
@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_an_object_of_one_colour_is_followed_and_lost_where_it_goes(method: str, noise: float) -> None:
    rng = np.random.default_rng(0)
    ground, frames = _ground(rng), []
    path = [*((20 + 4 * k, 60 + k) for k in range(15)), *[None] * 8, *((200 - 3 * k, 150) for k in range(10))]
    for place in path:
        frame = ground.astype(np.float64)
        if place is not None:
            frame[place[1] : place[1] + 36, place[0] : place[0] + 30] = (200, 30, 40)
        frames.append(np.clip(frame + rng.normal(0, noise, frame.shape), 0, 255).astype(np.uint8))
    found = _follow(frames, (20, 60, 30, 36), method)
    assert {p.state for p in found[:14]} == {"tracked"}
    assert {p.state for p in found[15:22]} == {"lost"}
    assert {p.state for p in found[24:]} == {"tracked"}
    for k in (5, 12, 26, 30):
        place, box = path[k + 1], found[k].box_xyxy
        assert place is not None
        assert box is not None
        assert box[:2] == pytest.approx(place, abs=8)


def test_an_object_that_grows_and_gets_darker_stays_the_same() -> None:
    import cv2

    rng = np.random.default_rng(0)
    ground, thing = _ground(rng), _thing(rng)
    frames = []
    for k in range(25):
        frame, side = ground.copy(), SIZE + k // 2
        frame[60 : 60 + side, 60 : 60 + side] = np.clip(cv2.resize(thing, (side, side)) * (1 - 0.01 * k), 0, 255)
        frames.append(frame)
    found = _follow(frames, (60, 60, SIZE, SIZE), "csrt")
    assert {p.state for p in found} == {"tracked"}
    assert found[-1].box_xyxy is not None
    assert found[-1].box_xyxy[:2] == pytest.approx([60, 60], abs=8)


def test_a_box_that_is_none_and_an_unknown_method_are_refused() -> None:
    frame = _film(0, [(20, 60)])[0]
    for box in ((0, 0, 3, 3), (500, 500, 50, 50), (float("nan"), 0, 20, 20), (10, 10, -20, 20)):
        with pytest.raises(UsageError, match="at least 8 x 8"):
            SingleTracker().start(frame, box)
    with pytest.raises(UsageError, match="did you mean 'csrt'"):
        SingleTracker("csr")
    with pytest.raises(UsageError, match="start before update"):
        SingleTracker().update(frame)


def test_a_black_frame_is_lost_and_no_crash() -> None:
    frames = _film(0, WALK)
    frames[5:7] = [np.zeros_like(frames[0])] * 2
    found = _follow(frames, (20, 60, SIZE, SIZE), "kcf")
    assert [p.state for p in found[4:6]] == ["lost", "lost"]
    assert found[-1].state == "tracked"


def _write_model(path: Path, *, kind: str = "siamese") -> Path:
    """Write a network in the form of OpenCV's VitTrack: it answers where the search region is reddest, in 16 x 16
    cells, with a box of a quarter of the region; or one with other inputs."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper, real = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
    constants = {
        "red": np.array([3.0, -1.5, -1.5], np.float32).reshape(1, 3, 1, 1),
        "quarter": np.full((1, 2, 16, 16), 0.25, np.float32),
        "half": np.full((1, 2, 16, 16), 0.5, np.float32),
        "none": np.zeros((2, 1, 1, 1), np.float32),
        "neither": np.zeros((2, 3, 1, 1), np.float32),
    }
    steps = [
        ("AveragePool", ["search"], "pooled", {"kernel_shape": [16, 16], "strides": [16, 16]}),
        ("Conv", ["pooled", "red"], "redness", {}),
        ("Sigmoid", ["redness"], "output1", {}),
        ("Conv", ["redness", "none"], "nothing", {}),
        ("GlobalAveragePool", ["template"], "mean", {}),
        ("Conv", ["mean", "neither"], "unused", {}),
        ("Add", ["nothing", "quarter"], "sized", {}),
        ("Add", ["sized", "unused"], "output2", {}),
        ("Add", ["nothing", "half"], "output3", {}),
    ]
    shapes = {"template": [1, 3, 128, 128], "search": [1, 3, 256, 256]}
    outputs = {"output1": [1, 1, 16, 16], "output2": [1, 2, 16, 16], "output3": [1, 2, 16, 16]}
    if kind != "siamese":
        steps, shapes, outputs = [("Relu", ["image"], "out", {})], {"image": [1, 3, 8, 8]}, {"out": [1, 3, 8, 8]}
    graph = helper.make_graph(
        [helper.make_node(name, given, [out], **more) for name, given, out, more in steps],
        "g",
        [helper.make_tensor_value_info(k, real, v) for k, v in shapes.items()],
        [helper.make_tensor_value_info(k, real, v) for k, v in outputs.items()],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    )
    return path


def test_a_model_in_a_file_follows_and_the_verdict_is_still_ours(tmp_path: Path) -> None:
    method = f"onnx:{_write_model(tmp_path / 'net.onnx')}"
    rng = np.random.default_rng(0)
    ground, thing = _ground(rng) // 3, np.zeros((SIZE, SIZE, 3), np.uint8)
    thing[..., 0] = np.kron(rng.integers(150, 256, (5, 5)), np.ones((8, 8)))
    frames = []
    for k in range(30):
        frame = ground.copy()
        if k < 15 or k >= 22:
            frame[60 : 60 + SIZE, 40 + 3 * k : 40 + 3 * k + SIZE] = thing
        frames.append(frame)
    found = _follow(frames, (40, 60, SIZE, SIZE), method)
    states = [p.state for p in found]
    assert set(states[:13]) == {"tracked"}
    # The network answers with a box in every frame, wherever something is a little red.
    assert set(states[15:21]) == {"lost"}
    assert states[-1] == "tracked"
    assert found[10].box_xyxy is not None
    assert found[10].box_xyxy[:2] == pytest.approx([40 + 3 * 11, 60], abs=11)


def test_a_file_that_is_no_such_model_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from eyewright.cli import main
    from eyewright.imaging.webm import WebmWriter

    with WebmWriter(tmp_path / "film.webm") as video:
        for k, frame in enumerate(_film(0, WALK[:3])):
            video.add(frame, k / 10)
    (tmp_path / "text.onnx").write_text("no network")
    _write_model(tmp_path / "other.onnx", kind="other")
    args = ["track", "--one", "20,60,40,40", "--source", str(tmp_path / "film.webm"), "--method"]
    for name, code in (("nothing", 3), ("text", 4), ("other", 4)):
        assert main([*args, f"onnx:{tmp_path / name}.onnx"]) == code, name
        assert capsys.readouterr().err.count("\n") == 1
    good = _write_model(tmp_path / "net.onnx")
    assert main([*args, f"onnx:{good}", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"] == {"path": str(good), "sha256": hashlib.sha256(good.read_bytes()).hexdigest()}
