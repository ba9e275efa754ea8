import numpy as np
import pytest
import torch

from eyewright.catalog import MODELS, build_of, tasks_of_net
from eyewright.core.errors import UsageError
from eyewright.core.task import task_of
from eyewright.nets import PixelNet, conv_net, parameter_count, quick_net
from eyewright.nets.activations import ACTIVATIONS
from eyewright.nets.classifiers import WhitenedStem
from eyewright.testing import check_net


# Nets that draw take no image; tests/learners/test_generate.py has them.
@pytest.mark.parametrize("name", [n for n, (answers, *_) in MODELS.items() if answers != "drawn image"])
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (24, 1), (96, 3)])
def test_every_net_in_the_catalogue_conforms(name: str, size: int, channels: int) -> None:
    task = tasks_of_net(name)[0]
    if task != "classify":
        size = -(-size // 32) * 32
    # A strip of a clip is 32 frames high.
    height = size if task_of(task).reads == "image" else 32 * 16
    check_net(build_of(name, task), task=task, size_hw=(height, size), channels=channels)


def test_a_net_of_another_task_is_refused_and_the_right_ones_are_named() -> None:
    with pytest.raises(UsageError, match="for the task 'detect', not for 'classify'") as caught:
        build_of("spot_net", "classify")
    assert "conv_net" in (caught.value.fix or "")


def test_conv_net_is_the_articles_to_the_last_weight() -> None:
    # By hand: 896 + 18,496 + 36,928 + 65,600 + 650.
    net = conv_net(10)
    assert [sum(p.numel() for p in m.parameters()) for m in net if list(m.parameters())] == [
        896,
        18496,
        36928,
        65600,
        650,
    ]
    assert parameter_count(net) == 122_570


def test_the_small_default_has_the_size_that_it_says() -> None:
    assert 190_000 < parameter_count(quick_net(10)) < 210_000
    assert 70_000 < parameter_count(quick_net(10, channels=1, size_hw=(28, 28))) < 100_000


def test_conv_net_says_which_images_are_too_small() -> None:
    with pytest.raises(UsageError, match="18 pixels"):
        conv_net(10, size_hw=(16, 32))


def test_the_whitened_stem_decorrelates_patches() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(200, 3, 16, 16, generator=generator).cumsum(3) / 4
    stem = WhitenedStem(3, kernel=4, stride=2, most=12)
    stem.fit_patches(images)
    patches = torch.nn.functional.unfold(images, 4, stride=2)
    flat = patches.permute(0, 2, 1).reshape(-1, 48)
    projected = flat @ stem.weight[:12].reshape(12, 48).T
    covariance = projected.T @ projected / len(projected)
    assert torch.allclose(covariance, torch.eye(12), atol=0.05)
    assert torch.equal(stem.weight[12:], -stem.weight[:12])


def test_pixels_are_scaled_inside_the_net() -> None:
    net = PixelNet(torch.nn.Identity(), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    pixels = np.array([[[[255, 255, 255]]]], np.uint8)
    assert net(torch.from_numpy(pixels)).flatten().tolist() == pytest.approx([1.0, 3.0, 1.0])


@pytest.mark.parametrize(("name", "said"), [("conv_nett", "conv_net"), ("nowhere.nets:tiny", "cannot import")])
def test_a_wrong_model_name_is_refused(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_of(name)


def test_an_unknown_activation_suggests_the_spelling() -> None:
    with pytest.raises(UsageError, match="did you mean 'gelu'"):
        quick_net(3, activation="gleu")


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", "silu"])
def test_conv_net_gives_what_the_article_prints_whatever_the_order_of_pooling(activation: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = conv_net(5, activation=activation)
    act = ACTIVATIONS[activation]()
    conv = [m for m in net if isinstance(m, torch.nn.Conv2d)]
    dense = [m for m in net if isinstance(m, torch.nn.Linear)]
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        y = torch.nn.functional.max_pool2d(act(conv[0](x)), 2)
        y = torch.nn.functional.max_pool2d(act(conv[1](y)), 2)
        y = dense[1](act(dense[0](act(conv[2](y)).flatten(1))))
        torch.testing.assert_close(net(x), y, atol=1e-6, rtol=1e-5)
