"""The model for streams: frame by frame it says what the net says of the whole clip, or nothing is exported."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eyewright.bundle.session import open_session
from eyewright.bundle.streams import STATES, Carried
from eyewright.core.errors import BundleError, ParityError
from eyewright.exporting.stream_model import export_stream, streams
from eyewright.nets.clips import gru_net, gru_stream_net
from eyewright.nets.pixels import PixelNet


@pytest.fixture(scope="module")
def net() -> PixelNet:
    torch.manual_seed(0)
    body = gru_stream_net(3, channels=3, size_hw=(6 * 16, 24), frames=6)
    # Other weights than those of a new net, whose biases are 0 and whose means are those of nothing.
    for p in body.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return PixelNet(body, mean=[0.4] * 3, std=[0.2] * 3).eval()


@pytest.fixture(scope="module")
def exported(net: PixelNet, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("stream") / "stream.onnx"
    strips = np.random.default_rng(0).integers(0, 255, (2, 6 * 16, 24, 3), dtype=np.uint8)
    assert export_stream(net, path, temperature=1.7, strips=strips) <= 1e-6
    return path.read_bytes()


def test_a_stream_of_a_clips_frames_gives_the_clips_probabilities(net: PixelNet, exported: bytes) -> None:
    carried = Carried(open_session(exported))
    for seed in (5, 6):
        strip = np.random.default_rng(seed).integers(0, 255, (6, 16, 24, 3), dtype=np.uint8)
        carried.begin()
        for frame in strip:
            found = carried.push(frame)
        with torch.inference_mode():
            whole = torch.softmax(net(torch.from_numpy(strip.reshape(1, 96, 24, 3))) / 1.7, 1).numpy()
        assert found == pytest.approx(whole, abs=1e-6)


def test_what_lies_longer_ago_than_a_clip_fades(exported: bytes) -> None:
    rng = np.random.default_rng(1)
    tail = rng.integers(0, 255, (60, 16, 24, 3), dtype=np.uint8)
    found = []
    for seed in (2, 3):
        carried = Carried(open_session(exported))
        for frame in [*np.random.default_rng(seed).integers(0, 255, (9, 16, 24, 3), dtype=np.uint8), *tail]:
            one = carried.push(frame)
        found.append(one)
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_the_state_does_not_grow(exported: bytes) -> None:
    carried = Carried(open_session(exported))
    sizes = set()
    for k in range(20):
        carried.push(np.full((16, 24, 3), k, np.uint8))
        sizes.add(tuple(carried._state[s].shape for s in STATES))
    assert len(sizes) == 1


def test_a_model_that_differs_is_not_exported(net: PixelNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Carried, "push", lambda self, frame: np.full((1, 3), 1 / 3, np.float32))
    strips = np.random.default_rng(0).integers(0, 255, (1, 6 * 16, 24, 3), dtype=np.uint8)
    with pytest.raises(ParityError, match="frame by frame"):
        export_stream(net, tmp_path / "stream.onnx", temperature=1.0, strips=strips)
    assert not list(tmp_path.iterdir())


def test_only_nets_that_do_not_look_ahead_have_one(net: PixelNet) -> None:
    assert streams(net)
    other = gru_net(3, channels=3, size_hw=(6 * 16, 24), frames=6)
    assert not streams(PixelNet(other, mean=[0.4] * 3, std=[0.2] * 3))


def test_another_model_in_its_place_is_refused() -> None:
    class Session:
        def get_inputs(self) -> list[object]:
            return []

        get_outputs = get_inputs

    with pytest.raises(BundleError, match=r"expected onnx/stream\.onnx with a frame and its state"):
        Carried(Session())
