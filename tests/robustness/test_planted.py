"""Eight defences that hide how a net can be attacked, and make it no safer: the evaluation must expose each of them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.robustness.conftest import Toy
from torch import Tensor, nn
from torch.nn import functional

from eyewright.imaging.decode import read_encoded
from eyewright.imaging.encode import encode_image
from eyewright.robustness import attack_predictor
from eyewright.robustness.report import RobustnessReport

EPS = 0.3


class Front(nn.Module):
    """A defence in front of a net: a function of the images."""

    def __init__(self, body: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.change = body, change

    def forward(self, images: Tensor) -> Tensor:
        return self.body(self.change(images))


class Behind(Front):
    def forward(self, images: Tensor) -> Tensor:
        return self.change(self.body(images))


def _jpeg(images: Tensor) -> Tensor:
    rows = [
        read_encoded(
            encode_image(np.repeat((np.rint(i[0] * 255)).astype(np.uint8)[..., None], 3, -1), format="JPEG", quality=75)
        )
        for i in images.detach().clamp(0, 1).numpy()
    ]
    return torch.from_numpy(np.stack(rows)[..., :1].astype(np.float32) / 255).permute(0, 3, 1, 2)


def _median(images: Tensor) -> Tensor:
    padded = functional.pad(images.detach(), (1, 1, 1, 1), mode="reflect").numpy()
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return torch.from_numpy(np.median(windows, axis=(-2, -1)).astype(np.float32))


def _resized(images: Tensor) -> Tensor:
    side = int(torch.randint(6, 11, (1,)))
    small = functional.interpolate(images, (side, side), mode="bilinear", align_corners=False)
    return functional.interpolate(small, (8, 8), mode="bilinear", align_corners=False)


class Detector(nn.Module):
    """Refuses what is not on the grid of its training images: it then answers nothing, the same for all classes."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        # scikit-learn's digits have 17 grey values.
        off = (images * 16 - (images * 16).round()).abs().flatten(1).amax(1) > 0.05
        logits = self.body(images)
        return torch.where(off[:, None], torch.zeros_like(logits), logits)


PLANTED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "gradient killer": lambda body: Front(body, lambda x: x.detach() + 0 * x),
    "temperature": lambda body: Behind(body, lambda logits: 1000 * logits),
    "quantised input": lambda body: Front(body, lambda x: (x * 7).round() / 7),
    "random resize": lambda body: Front(body, _resized),
    "stochastic dropout": lambda body: Front(body, lambda x: functional.dropout(x, 0.1, training=True)),
    "jpeg": lambda body: Front(body, _jpeg),
    "median filter": lambda body: Front(body, _median),
    "detector": Detector,
}


def attacked(toy: Toy, defence: Callable[[nn.Module], nn.Module] = lambda body: body) -> RobustnessReport:
    return attack_predictor(
        toy.predictor(defence), toy.dataset, attacks=("apgd",), eps=(EPS,), steps=20, queries=100, n=40
    )


@pytest.fixture(scope="module")
def undefended(toy: Toy) -> RobustnessReport:
    return attacked(toy)


def test_the_net_itself_passes_every_check_and_falls(undefended: RobustnessReport) -> None:
    assert [c.status for c in undefended.checks] == ["pass"] * 8, [c for c in undefended.checks if c.status != "pass"]
    assert undefended.verdict == "evidence"
    assert undefended.clean.value is not None
    assert undefended.headline.robust.value is not None
    assert undefended.clean.value > 0.85
    assert undefended.headline.robust.value < 0.1
    assert "robust_accuracy" in undefended.metrics


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_each_planted_defence_is_exposed(name: str, toy: Toy, undefended: RobustnessReport) -> None:
    torch.manual_seed(0)
    report = attacked(toy, PLANTED[name])
    robust = report.headline.robust.value
    assert robust is not None
    if name == "detector":
        # A refused image counts as lost, so hiding behind refusals gains nothing: it falls like the net without it.
        assert robust <= (undefended.headline.robust.high or 0)
        return
    assert report.verdict == "not evidence", report.checks
    assert report.sentence().startswith("Not evidence: ")
    assert "robust_accuracy" not in report.metrics


def test_most_planted_defences_look_robust_without_the_checks(toy: Toy, undefended: RobustnessReport) -> None:
    """What makes the checks necessary: the plain number would be believed."""
    high = undefended.headline.robust.high or 0
    fooled = [
        n
        for n in ("gradient killer", "quantised input")
        if (attacked(toy, PLANTED[n]).headline.robust.value or 0) > high
    ]
    assert len(fooled) == 2
