"""Nets that read lines: what comes out for a line depends on that line alone, in torch and in ONNX."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eyewright.core.errors import UsageError
from eyewright.exporting.onnx_model import export_onnx
from eyewright.imaging.preparation import Preparation
from eyewright.learners.read import ReaderAnswers
from eyewright.nets.pixels import PixelNet
from eyewright.nets.readers import crnn, crnn_gru, steps_in
from eyewright.testing import check_net, check_preparation

BUILDERS = [crnn, crnn_gru]


def _net(builder) -> PixelNet:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    net = PixelNet(builder(7, channels=1, size_hw=(32, 256)), **builder.scaling)
    # Running statistics of their own, as after training.
    net.train()
    with torch.no_grad():
        net(_lines([40, 61, 30]))
    return net.eval()


def _lines(steps: list[int], whole: int = 64) -> torch.Tensor:
    pixels = torch.randint(1, 256, (len(steps), 32, 4 * whole, 1), dtype=torch.uint8)
    for i, n in enumerate(steps):
        pixels[i, :, 4 * n :] = 0
    return pixels


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_line_does_not_depend_on_its_neighbours_or_its_padding(builder) -> None:  # type: ignore[no-untyped-def]
    answers = ReaderAnswers(_net(builder), 1.0).eval()
    steps = [3, 64, 17, 40]
    pixels = _lines(steps)
    with torch.inference_mode():
        together = answers(pixels)
        for i, n in enumerate(steps):
            alone = answers(pixels[i : i + 1])
            tight = answers(pixels[i : i + 1, :, : 4 * n])
            assert float((together[i] - alone[0]).abs().max()) < 1e-6
            assert float((together[i, :n] - tight[0]).abs().max()) < 1e-6
            assert not together[i, n:].any(), "beyond its end a line has no probabilities"
    assert float((together[:, :3].sum(2) - 1).abs().max()) < 1e-5


@pytest.mark.parametrize("builder", BUILDERS)
def test_the_onnx_model_takes_any_width_and_agrees(builder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import onnxruntime as ort

    net = _net(builder)
    inputs = {"image": Preparation((32, 256), fit="line", channels=1)}
    export_onnx(net, tmp_path / "m.onnx", temperature=1.0, task="read", inputs=inputs, metadata={})
    session = ort.InferenceSession(tmp_path / "m.onnx")
    answers = ReaderAnswers(net, 1.0).eval()
    for steps, whole in (([9], 9), ([20, 33, 1], 40), ([64, 5], 64), ([150, 300], 300)):
        pixels = _lines(steps, whole)
        with torch.inference_mode():
            wanted = answers(pixels).numpy()
        (found,) = session.run(["probabilities"], {"image": pixels.numpy()})
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-5


@pytest.mark.parametrize("builder", BUILDERS)
def test_reader_nets_pass_the_public_check(builder) -> None:  # type: ignore[no-untyped-def]
    check_net(builder, task="read", size_hw=(32, 64), channels=1)


def test_a_line_ends_before_its_first_empty_column() -> None:
    pixels = torch.ones(1, 1, 4, 24)
    pixels[..., 8:12] = 0
    # What comes after is no part of it, such as what an explanation laid over the padding.
    assert steps_in(pixels).tolist() == [[True, True, False, False, False, False]]


def test_heights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="multiple of 16"):
        crnn(3, size_hw=(40, 64))


def test_a_preparation_of_lines_keeps_the_aspect_and_marks_the_end() -> None:
    prepare = Preparation((32, 256), fit="line", channels=1)
    check_preparation(prepare)
    pixels, placed = prepare(np.zeros((16, 50, 3), np.uint8))
    assert pixels.shape == (32, 256, 1)
    assert (pixels[:, :100].min(), pixels[:, 100:].max()) == (1, 0), "black ink is 1, padding 0"
    assert placed.scale_yx == (2.0, 2.0)
    squeezed, placed = prepare(np.full((16, 400, 3), 9, np.uint8))
    assert squeezed.all()
    assert placed.scale_yx == (2.0, 256 / 400)
    with pytest.raises(UsageError, match="multiple of 4"):
        Preparation((32, 255), fit="line")
