"""How images are learnt to be drawn: two nets in one loop, resumed to the bit; augmentation does not leak."""

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eyewright.core.errors import RefusedError, UsageError
from eyewright.core.inputs import blank_inputs
from eyewright.exporting.onnx_model import export_onnx
from eyewright.imaging.preparation import Preparation
from eyewright.learners.generate import LEARNER, GenerateLearning, fed
from eyewright.nets import flow_net, gan_net, generators
from eyewright.nets.augmenting import augment_images
from eyewright.nets.pixels import PixelNet
from eyewright.training.fit import FitResult, fit
from eyewright.training.loop import FitData
from eyewright.training.optimisers import Joined, build_optimiser
from eyewright.training.recipe import Recipe
from eyewright.training.steps import Batch, TrainState


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generators, "_GAN_WIDTHS", (8, 8, 8))
    monkeypatch.setattr(generators, "_FLOW_WIDTHS", (8, 8))
    monkeypatch.setattr("eyewright.learners.generate._VIEWS", 1)


def data() -> FitData:
    rng = np.random.default_rng(0)
    targets = np.arange(48) % 3
    pixels = rng.integers(0, 60, (48, 32, 32, 1)).astype(np.uint8)
    for i, t in enumerate(targets):
        pixels[i, 3 + 8 * t : 10 + 8 * t] = 220
    return FitData(pixels[:32], targets[:32], pixels[32:], targets[32:], tuple(f"image-{i}" for i in range(32)))


def train(folder: Path, kind: Callable[..., Any], *, step: Any = None, **options: Any) -> tuple[PixelNet, FitResult]:
    recipe = Recipe(task="generate", epochs=3, batch=8, ema=0.9, lr=1e-3, amp="off", loss="softplus")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = PixelNet(kind(3, channels=1), mean=(0.5,), std=(0.5,))
    learning = GenerateLearning(net, data(), recipe, 3)
    result = fit(
        net,
        data(),
        recipe,
        objective=learning.objective,
        augmentation=learning.augmentation,
        measure=learning.measure,
        condense=learning.condense,
        main_metric="pixel_coverage",
        folder=folder / "checkpoints",
        device=torch.device("cpu"),
        step=step or LEARNER.step(net),
        **options,
    )
    return net, result


def digest(net: PixelNet) -> str:
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in net.state_dict().values())).hexdigest()


def stopping(net_kind: Callable[..., Any], steps: int) -> Callable[[TrainState, Batch], torch.Tensor]:
    """A step that raises SIGTERM in its own process after so many updates."""
    done = 0

    def step(state: TrainState, batch: Batch) -> torch.Tensor:
        nonlocal done
        done += 1
        if done == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return LEARNER.step(state.net)(state, batch)

    return step


@pytest.mark.parametrize(("kind", "steps"), [(gan_net, 1), (gan_net, 6), (gan_net, 9), (flow_net, 6)])
def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_weights(
    tmp_path: Path, kind: Callable[..., Any], steps: int
) -> None:
    whole, first = train(tmp_path / "whole", kind)
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", kind, step=stopping(kind, steps))
    resumed, second = train(tmp_path / "cut", kind, resume=True)
    assert digest(resumed) == digest(whole)
    last = [(tmp_path / p / "checkpoints/last/state.safetensors") for p in ("whole", "cut")]
    from eyewright.training.checkpoints import read_tensors

    ours, theirs = (read_tensors(p)[0] for p in last)
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours), "both optimisers, averages and the strength are kept"
    assert [r["val_pixel_coverage"] for r in first.history] == [r["val_pixel_coverage"] for r in second.history]


def test_both_optimisers_are_one_state(tmp_path: Path) -> None:
    train(tmp_path, gan_net)
    from eyewright.training.checkpoints import read_tensors

    tensors, _ = read_tensors(tmp_path / "checkpoints/last/state.safetensors")
    net = gan_net(3, channels=1)
    learnt = sum(len(list(getattr(net, part).parameters())) for part in net.learnt_apart)
    assert sum(k.startswith("optimiser.") and k.endswith(".exp_avg_sq") for k in tensors) == learnt
    assert int(tensors["net.body.updates"]) == 12
    optimiser = build_optimiser(PixelNet(net, mean=(0.5,), std=(0.5,)), Recipe(task="generate", lr=1e-3))
    assert isinstance(optimiser, Joined)
    assert len(optimiser.param_groups) == 2
    state = optimiser.state_dict()
    optimiser.load_state_dict(state)
    assert optimiser.state_dict() == state


def test_each_of_the_two_nets_is_updated_against_the_other_held_still(tmp_path: Path) -> None:
    net = PixelNet(gan_net(3, channels=1), mean=(0.5,), std=(0.5,))
    learning = GenerateLearning(net, data(), Recipe(task="generate", loss="relativistic"), 3)
    recipe = Recipe(task="generate", lr=1e-2)
    state = TrainState(net, build_optimiser(net, recipe), learning.objective, recipe)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    batch = Batch(torch.from_numpy(data().train_pixels[:8]), torch.from_numpy(np.asarray(data().train_targets[:8])))
    loss = LEARNER.step(net)(state, batch)
    assert torch.isfinite(loss)
    moved = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert any(k.startswith("body.generator.") for k in moved)
    assert any(k.startswith("body.discriminator.") for k in moved)
    assert all(p.requires_grad for p in net.parameters())


def test_the_augmentation_gets_stronger_while_the_discriminator_overfits_and_weaker_again() -> None:
    net = gan_net(3, channels=1)
    for _ in range(200):
        net.note_real(torch.full((8,), 3.0))
        net.note_update(64)
    strong = float(net.strength)
    assert 0 < strong <= 0.8
    for _ in range(200):
        net.note_real(torch.randn(8))
        net.note_update(64)
    assert float(net.strength) < strong


def test_augmentation_passes_gradients_and_never_mirrors_or_turns() -> None:
    torch.manual_seed(0)
    images = torch.zeros(64, 1, 32, 32)
    images[:, :, 8:24, 8:12] = 1.0
    images.requires_grad_(True)
    found = augment_images(images, torch.tensor(0.6))
    assert found.shape == images.shape
    found.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert augment_images(images, torch.tensor(0.0)) is images
    # A bar left of the middle stays left of the middle: it is moved by an eighth of the side at most.
    bright = (found.detach() > found.detach().amax((2, 3), keepdim=True) - 0.1).float()
    columns = (bright.sum((1, 2)) * torch.arange(32)).sum(1) / bright.sum((1, 2, 3))
    assert float((columns < 17).float().mean()) > 0.8


def test_grey_data_stays_one_channel_and_guidance_changes_a_flow() -> None:
    torch.manual_seed(0)
    net: Any = flow_net(3, channels=1)
    torch.nn.init.normal_(net.velocity.last.conv.weight)
    noise, classes = torch.randn(2, *net.noise_shape), torch.tensor([0, 2])
    plain = net.draw(noise, classes, steps=3)
    assert plain.shape == (2, 1, 32, 32)
    assert torch.allclose(plain, net.draw(noise, classes, steps=3, guidance=torch.ones(2)), atol=1e-4)
    assert not torch.allclose(plain, net.draw(noise, classes, steps=3, guidance=torch.full((2,), 3.0)), atol=1e-3)
    net.heun = True
    assert not torch.allclose(plain, net.draw(noise, classes, steps=3), atol=1e-4)


def test_the_velocity_of_straight_paths_is_what_is_learnt() -> None:
    torch.manual_seed(0)
    net: Any = flow_net(2, channels=1)
    images = torch.rand(4, 1, 32, 32)
    found, true = net(images, torch.tensor([0, 1, 0, 1]))
    assert found.shape == true.shape == images.shape
    assert float((images - true).mean().abs()) < 0.1, "what is left of the image without its velocity is noise"
    assert float((images - true).std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("size", [(28, 28), (32, 64), (256, 256)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    for kind in (gan_net, flow_net):
        with pytest.raises(UsageError, match="32, 64 or 128"):
            kind(3, size_hw=size)


@pytest.mark.parametrize("side", [64, 128])
def test_larger_images_have_more_levels(side: int) -> None:
    gan: Any = gan_net(2, size_hw=(side, side))
    assert gan.draw(torch.randn(1, 64), torch.tensor([1])).shape == (1, 3, side, side)
    assert gan.judged(torch.zeros(2, 3, side, side), torch.tensor([0, 1])).shape == (2,)
    flow: Any = flow_net(2, size_hw=(side, side))
    assert flow.draw(torch.randn(1, 3, side, side), torch.tensor([1]), steps=2).shape == (1, 3, side, side)


def test_few_images_are_shown_several_times_an_epoch_and_few_are_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyewright.learners.generate._VIEWS", 100)
    monkeypatch.setattr("eyewright.learners.generate._VALIDATED", 10)
    found = fed(data(), Recipe(task="generate"), None, None)  # type: ignore[arg-type]
    assert len(found.train_targets) == 128
    assert found.val_pixels.shape == (10, 32, 32, 1)
    assert np.array_equal(found.train_pixels[np.array([1, 33])][0], found.train_pixels[np.array([1, 33])][1])


@pytest.mark.parametrize("kind", [gan_net, flow_net])
def test_a_net_that_draws_is_exported_with_equal_answers(tmp_path: Path, kind: Callable[..., Any]) -> None:
    import onnxruntime

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = PixelNet(kind(3, channels=1), mean=(0.5,), std=(0.5,)).eval()
    answers = LEARNER.answers(net, temperature=1.0).eval()
    inputs = LEARNER.inputs(net, Preparation((32, 32), channels=1))
    export_onnx(net, tmp_path / "m.onnx", temperature=1.0, task="generate", inputs=inputs, metadata={})
    session = onnxruntime.InferenceSession((tmp_path / "m.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    for n in (1, 3):
        fed = {k: np.repeat(v, n, 0)[:n] for k, v in blank_inputs(inputs, 1).items()}
        with torch.inference_mode():
            ours = answers(*(torch.from_numpy(v) for v in fed.values()))
        (theirs,) = session.run(None, fed)
        assert np.abs(ours[0].numpy().astype(int) - theirs).max() <= 1


def test_a_net_that_cannot_be_exported_prints_one_error_and_no_graph(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a trace computes where ONNX wants a constant.
    monkeypatch.setattr(generators.ChannelNorm, "forward", lambda self, x: torch.layer_norm(x, x.shape[1:]))
    net = PixelNet(flow_net(3, channels=1), mean=(0.5,), std=(0.5,)).eval()
    inputs = LEARNER.inputs(net, Preparation((32, 32), channels=1))
    with pytest.raises(RefusedError, match="cannot be exported to ONNX"):
        export_onnx(net, tmp_path / "m.onnx", temperature=1.0, task="generate", inputs=inputs, metadata={})
    assert capfd.readouterr().out == ""
