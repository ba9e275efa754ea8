"""Several nets that answer as one: of distributions by default, of whatever a task says otherwise."""

import torch
from torch import nn

from eyewright.nets.ensemble import Ensemble
from eyewright.nets.pixels import PixelNet


def _constant(*logits: float) -> PixelNet:
    class Body(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([logits]).expand(len(x), -1)

    return PixelNet(Body(), mean=[0.0], std=[1.0])


def test_the_mean_answer_is_of_softened_distributions_by_default() -> None:
    made = Ensemble([_constant(2.0, 0.0), _constant(0.0, 1.0)], [2.0, 1.0])(torch.zeros(1, 1, 4, 4))
    wanted = (torch.tensor([1.0, 0.0]).softmax(0) + torch.tensor([0.0, 1.0]).softmax(0)) / 2
    assert torch.allclose(made.softmax(1)[0], wanted, atol=1e-6)


def test_a_task_says_what_the_mean_of_its_answers_is() -> None:
    def largest(logits, count):  # type: ignore[no-untyped-def]
        found = list(logits)
        assert len(found) == count
        return torch.stack(found).amax(0)

    made = Ensemble([_constant(2.0, 0.0), _constant(0.0, 1.0)], [2.0, 1.0], largest)(torch.zeros(1, 1, 4, 4))
    assert made.tolist() == [[1.0, 1.0]]
