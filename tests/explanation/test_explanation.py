import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

import eyewright as ew
from eyewright.core import LabelSpace
from eyewright.core.errors import UsageError
from eyewright.explanation import METHODS, explain_images, judge_faithfulness
from eyewright.explanation.gradients import grad_cam, integrated_gradients
from eyewright.explanation.occlusion import occlusion
from eyewright.imaging import Preparation
from eyewright.nets import PixelNet, conv_net, mlp
from eyewright.training.predictor import TorchPredictor


class CornerPredictor:
    """A model known by heart: it looks at the mean of the upper left quarter and at nothing else."""

    task_name = "classify"
    labels = LabelSpace(("dark", "bright"))
    preparation = Preparation((32, 32), channels=1)

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        bright = pixels[:, :16, :16].mean((1, 2, 3)) / 255
        return {"probabilities": np.stack([1 - bright, bright], 1).astype(np.float32)}

    def predict_images(self, images: object) -> list[object]:
        return []


@pytest.fixture
def bright_corner() -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 40, (32, 32, 1)).astype(np.uint8)
    pixels[4:12, 4:12] = 250
    pixels[20:28, 20:28] = 250
    return pixels


def test_occlusion_points_at_what_the_model_uses(bright_corner: np.ndarray) -> None:
    heat = occlusion(CornerPredictor(), bright_corner, 1)
    assert heat.shape == (32, 32)
    assert heat.min() >= 0
    assert heat.max() == pytest.approx(1.0)
    used, ignored = heat[4:12, 4:12].mean(), heat[20:28, 20:28].mean()
    assert used > 0.5
    assert ignored < 0.05


def test_a_true_map_is_judged_faithful_and_a_false_one_is_not(bright_corner: np.ndarray) -> None:
    true = np.zeros((32, 32))
    true[:16, :16] = 1
    true[4:12, 4:12] = 2
    model = CornerPredictor()
    assert judge_faithfulness(model, bright_corner, true, 1, coarseness=8).faithful
    assert not judge_faithfulness(model, bright_corner, true[::-1, ::-1], 1, coarseness=8).faithful
    assert "UNFAITHFUL" in str(judge_faithfulness(model, bright_corner, true[::-1, ::-1], 1, coarseness=8))


def test_random_maps_pass_about_as_rarely_as_promised(bright_corner: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    passed = 0
    for i in range(60):
        coarse = rng.random((8, 8))
        heat = np.kron(coarse, np.ones((4, 4)))
        passed += judge_faithfulness(CornerPredictor(), bright_corner, heat, 1, coarseness=8, seed=i).faithful
    # One in 20 is expected of 60; more than 9 happens once in 500.
    assert passed <= 9


def net(body: nn.Module) -> PixelNet:
    return PixelNet(body, mean=[0.5] * 3, std=[0.25] * 3).eval()


def test_integrated_gradients_are_captums() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = net(conv_net(3))
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    x = model.scale(torch.from_numpy(pixels[None])).contiguous()
    base = x.mean((2, 3), keepdim=True).expand_as(x)
    expected = IntegratedGradients(model.body).attribute(x, base, target=1, n_steps=32).sum(1).clamp(min=0)
    expected = nn.functional.avg_pool2d(expected.float(), 3, stride=1, padding=1)[0].detach().numpy()
    assert np.allclose(integrated_gradients(model, pixels, 1), expected / expected.max(), atol=1e-5)


def test_grad_cam_by_hand_for_a_net_of_one_convolution() -> None:
    # With a mean over the map and a linear layer, Grad-CAM's weights are the linear layer's, up to a factor.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv = nn.Conv2d(3, 4, 3, padding=1)
        linear = nn.Linear(4, 2)
    model = net(nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear))
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    with torch.no_grad():
        maps = conv(model.scale(torch.from_numpy(pixels[None])))[0]
        expected = torch.relu((linear.weight[1][:, None, None] * maps).sum(0)).numpy()
    assert np.allclose(grad_cam(model, pixels, 1), expected / expected.max(), atol=1e-5)


def test_a_net_without_convolutions_is_refused_with_a_way_out() -> None:
    with pytest.raises(UsageError, match="use --method occlusion"):
        grad_cam(net(mlp(3)), np.zeros((32, 32, 3), np.uint8), 0)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_a_run(finished, shapes, method: str) -> None:  # type: ignore[no-untyped-def]
    if method == "rollout":
        with pytest.raises(UsageError, match="needs a vision transformer"):
            ew.explain(finished.run, shapes / "square/001.png", method=method)
        return
    (found,) = ew.explain(finished.run, shapes / "square/001.png", method=method)
    assert found.label == "square"
    assert found.heat.shape == (32, 32)
    assert 0 <= found.heat.min() <= found.heat.max() <= 1
    assert found.overlay().shape == (32, 32, 3)
    assert found.verdict.n == 19


def test_other_weights_give_another_map(finished, shapes) -> None:  # type: ignore[no-untyped-def]
    """The sanity check of Adebayo et al. 2018: a map that survives random weights says nothing about the model."""
    image = ew.read_image(shapes / "square/001.png")
    run = finished.run
    trained = explain_images(run.predictor, [image], method="gradcam", net=run.net)[0].heat
    import copy

    other = copy.deepcopy(run.net)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for p in other.parameters():
            nn.init.normal_(p, std=0.1)
    predictor = TorchPredictor(other, labels=run.labels, preparation=run.preparation)
    random = explain_images(predictor, [image], method="gradcam", net=other, label="square")[0].heat
    assert abs(np.corrcoef(trained.ravel(), random.ravel())[0, 1]) < 0.7


def test_a_bundle_is_explained_by_occlusion_only(finished, shapes) -> None:  # type: ignore[no-untyped-def]
    path = shapes / "disc/000.png"
    assert ew.explain(finished.bundle, path)[0].method == "occlusion"
    with pytest.raises(UsageError, match="needs a training run"):
        ew.explain(finished.bundle, path, method="gradcam")
    with pytest.raises(UsageError, match="did you mean 'occlusion'"):
        ew.explain(finished.bundle, path, method="oclusion")


def test_another_class_can_be_asked_about(finished, shapes) -> None:  # type: ignore[no-untyped-def]
    assert ew.explain(finished.bundle, shapes / "disc/000.png", label="cross")[0].label == "cross"
    with pytest.raises(ew.EyewrightError, match="unknown class 'crosss'"):
        ew.explain(finished.bundle, shapes / "disc/000.png", label="crosss")
