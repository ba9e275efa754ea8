from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from scipy import stats
from torch import nn

import eyewright as ew
from eyewright.core import LabelSpace
from eyewright.core.errors import UsageError
from eyewright.explanation import METHODS, Verdict, judge_faithfulness
from eyewright.explanation.faithfulness import rank_correlation
from eyewright.explanation.gradients import grad_cam, integrated_gradients
from eyewright.explanation.occlusion import occlusion
from eyewright.explanation.rise import rise
from eyewright.explanation.rollout import attention_rollout
from eyewright.imaging import Preparation
from eyewright.nets import PixelNet, conv_net, mlp, vit
from eyewright.tasks.classify import ClassTarget


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
    heat = occlusion(CornerPredictor(), bright_corner, ClassTarget(1))
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
    assert judge_faithfulness(model, bright_corner, true, ClassTarget(1), coarseness=8).faithful
    assert not judge_faithfulness(model, bright_corner, true[::-1, ::-1], ClassTarget(1), coarseness=8).faithful
    assert "UNFAITHFUL" in str(judge_faithfulness(model, bright_corner, true[::-1, ::-1], ClassTarget(1), coarseness=8))


def test_random_maps_pass_about_as_rarely_as_promised(bright_corner: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    passed = 0
    for i in range(60):
        coarse = rng.random((8, 8))
        heat = np.kron(coarse, np.ones((4, 4)))
        passed += judge_faithfulness(
            CornerPredictor(), bright_corner, heat, ClassTarget(1), coarseness=8, seed=i
        ).faithful
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


def test_rise_points_at_what_the_model_uses(bright_corner: np.ndarray) -> None:
    heat = rise(CornerPredictor(), bright_corner, [ClassTarget(1)])[0]
    assert heat.shape == (32, 32)
    assert heat.max() == pytest.approx(1.0)
    assert heat[4:12, 4:12].mean() > 4 * heat[20:28, 20:28].mean()


def test_rise_is_the_papers_estimate() -> None:
    """The mean score of the masks that show a pixel less the mean of all, counted mask by mask."""

    class Recorder(CornerPredictor):
        def __init__(self) -> None:
            self.seen: list[np.ndarray] = []

        def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
            self.seen.append(pixels)
            return super().raw(pixels)

    # Where the image is white and its mean colour is not, the masks can be read off what the model was shown.
    image = np.zeros((16, 16, 1), np.uint8)
    image[4:12, 4:12] = 255
    model = Recorder()
    heat = rise(model, image, [ClassTarget(1)], n_masks=200)[0]
    shown = np.concatenate(model.seen)[..., 0].astype(float)
    assert len(shown) == 200
    inside = slice(4, 12)
    masks = (shown[:, inside, inside] - image.mean()) / (255 - image.mean())
    scores = shown[:, :16, :16].mean((1, 2)) / 255
    expected = np.maximum((masks * scores[:, None, None]).sum(0) / masks.sum(0) - scores.mean(), 0)
    got = heat[inside, inside]
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.99


def test_rollout_is_the_papers_product_of_matrices() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = net(vit(3))
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    with torch.inference_mode():
        layers = model.body.attentions(model.scale(torch.from_numpy(pixels[None])))
    rolled = np.eye(65)
    for layer in layers:
        mean = layer[0].numpy().astype(np.float64).mean(0) + np.eye(65)
        rolled = (mean / mean.sum(1, keepdims=True)) @ rolled
    patches = rolled[0, 1:].reshape(8, 8)
    heat = attention_rollout(model, pixels)
    assert heat.shape == (32, 32)
    # Each patch is 4x4 pixels; the centre of a patch, between its middle pixels, is nearest to its own value.
    centres = heat.reshape(8, 4, 8, 4)[:, 1:3, :, 1:3].mean((1, 3))
    assert np.corrcoef(centres.ravel(), patches.ravel())[0, 1] > 0.98


def test_a_map_that_shuffled_weights_do_not_change_is_not_faithful(bright_corner: np.ndarray) -> None:
    true = np.zeros((32, 32))
    true[:16, :16] = 1
    true[4:12, 4:12] = 2
    told = [
        judge_faithfulness(CornerPredictor(), bright_corner, true, ClassTarget(1), coarseness=8, unlearnt=u)
        for u in (0.3, 0.95)
    ]
    assert [v.faithful for v in told] == [True, False]
    assert "similar with shuffled weights 0.95" in str(told[1])


def test_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (2, 8, 8)).astype(float)
    assert rank_correlation(a, b + a) == pytest.approx(stats.spearmanr(a.ravel(), (a + b).ravel()).statistic)
    assert rank_correlation(a, np.zeros((8, 8))) == 0.0


def test_an_edge_detector_is_caught(finished, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """A method that draws the image's own edges, whatever the net: the check of Adebayo et al. must see through it."""
    from eyewright.explanation import methods

    def edges(method: str, net: object, pixels: np.ndarray, targets: list[object]) -> list[np.ndarray]:
        grey = pixels.mean(2)
        found = (np.abs(np.gradient(grey)[0]) + np.abs(np.gradient(grey)[1])).astype(np.float32)
        return [found for _ in targets]

    monkeypatch.setattr(methods, "_inside", edges)
    (found,) = ew.explain(finished.run, shapes / "square/001.png", method="gradcam")
    assert found.verdict.unlearnt == pytest.approx(1.0)
    assert not found.verdict.faithful


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_a_run_is_checked_against_shuffled_weights_and_a_bundle_cannot_be(finished, shapes: Path, method: str) -> None:  # type: ignore[no-untyped-def]
    image = shapes / "square/001.png"
    assert ew.explain(finished.run, image, method=method)[0].verdict.unlearnt is not None
    assert ew.explain(finished.bundle, image, method=method)[0].verdict.unlearnt is None


def test_an_unfaithful_verdict_says_why() -> None:
    alike = str(Verdict(False, 0.1, 0.43, 0.02, 19, unlearnt=0.9))
    assert "hardly changes when the weights are shuffled" in alike
    assert "does not beat all 19 random maps (insertion" in str(Verdict(False, 0.1, 0.11, 0.02, 19, unlearnt=0.1))
