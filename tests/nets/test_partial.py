"""Partial convolutions: what is not known counts for nothing, and holes close layer by layer."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from eyewright.core.errors import UsageError
from eyewright.imaging.first_filling import fill_smoothly
from eyewright.nets.partial import PARTIAL_ALIGN, PARTIAL_REACH, PartialConv, partial_net
from eyewright.testing import check_net


def test_where_everything_is_known_it_is_a_convolution() -> None:
    conv = PartialConv((2, 3), 4)
    values, known = torch.randn(1, 5, 9, 11), torch.ones(1, 2, 9, 11)
    found, seen = conv(values, known)
    plain = functional.conv2d(values, conv.conv.weight)
    assert torch.allclose(found[..., 1:-1, 1:-1], plain, atol=1e-5)
    assert seen.all()


def test_a_mean_is_that_of_the_known_pixels() -> None:
    """By hand: with weights of 1/9, a window of 2 known pixels gives their mean, one of none gives 0."""
    conv = PartialConv((1,), 1)
    torch.nn.init.constant_(conv.conv.weight, 1 / 9)
    known = torch.zeros(1, 1, 5, 7)
    known[0, 0, 2, 1] = known[0, 0, 2, 3] = 1
    values = torch.zeros(1, 1, 5, 7)
    values[0, 0, 2, 1], values[0, 0, 2, 3] = 4.0, 8.0
    found, seen = conv(values, known)
    assert found[0, 0, 2, :6].tolist() == pytest.approx([4, 4, 6, 8, 8, 0])
    assert seen[0, 0, 2].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert seen[0, 0, 0].tolist() == [0] * 7


def test_the_net_is_complete_and_looks_no_further_than_its_reach() -> None:
    def build(n_classes: int, *, channels: int, size_hw: tuple[int, int]) -> torch.nn.Module:
        return partial_net(n_classes, channels=channels - 1, size_hw=size_hw)

    check_net(build, task="restore", channels=4, n_classes=1)
    torch.manual_seed(0)
    net = partial_net(1, channels=1, size_hw=(256, 256)).eval()
    for conv in (m for m in net.modules() if isinstance(m, torch.nn.Conv2d)):
        torch.nn.init.normal_(conv.weight, std=0.1)
    x = torch.rand(1, 2, 256, 256)
    x[:, 1] = 0
    x[:, 1, 40:220:7] = 1
    x[:, 1, 90:170, 90:170] = 1
    with torch.inference_mode():
        plain = net(x)
        for place in ((0, 128, 129), (1, 130, 135), (0, 89, 131)):
            other = x.clone()
            other[(0, *place)] = 1 - other[(0, *place)]
            moved = (net(other) != plain)[0, 0].nonzero()
            assert len(moved)
            assert int((moved - torch.tensor(place[1:])).abs().max()) <= PARTIAL_REACH


def test_what_lies_in_the_hole_reaches_only_the_mix_with_the_first_filling() -> None:
    """The lines and the encoder never see it: with all weight on the lines, the result does not depend on it."""
    torch.manual_seed(0)
    net = partial_net(1, channels=3, size_hw=(64, 64)).eval()
    torch.nn.init.zeros_(net.draw.weight)  # type: ignore[arg-type, union-attr]
    torch.nn.init.constant_(net.share, 30.0)  # type: ignore[arg-type]
    image, hole = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    hole[..., 20:28, :] = 1
    other = torch.where(hole > 0, torch.rand_like(image), image)
    with torch.inference_mode():
        a, b = (i + net(torch.cat([i, hole], 1)) for i in (image, other))
    assert torch.allclose(a[..., 20:28, 8:56], b[..., 20:28, 8:56], atol=1e-5)


def test_untrained_it_continues_edges_that_navier_stokes_breaks() -> None:
    y, x = np.mgrid[:96, :96]
    image = np.where((x + y) // 12 % 2, 60, 200).astype(np.uint8)[..., None].repeat(3, 2)
    hole = np.zeros((96, 96), bool)
    hole[40:52, 16:80] = True
    first = fill_smoothly(image, hole)
    torch.manual_seed(0)
    net = partial_net(1, channels=3, size_hw=(96, 96)).eval()
    given = np.concatenate([first / 255, hole[..., None]], 2).astype(np.float32)
    with torch.inference_mode():
        added = net(torch.from_numpy(given).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    before, after = (np.mean((i - image / 255)[hole] ** 2) for i in (first / 255, first / 255 + added))
    assert after < before / 3


def test_sizes_that_its_strides_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match=f"sides that {PARTIAL_ALIGN} divides"):
        partial_net(1, size_hw=(60, 64))
    with pytest.raises(UsageError, match="keeps the size"):
        partial_net(1, scale=2, size_hw=(64, 64))
