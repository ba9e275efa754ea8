"""Training in bfloat16 on a CPU: only where the processor has it, a probe shows a gain and the net can use it."""

import pytest
import torch
from torch import nn

from eyewright.training import precision
from eyewright.training.precision import trains_in_bfloat16
from eyewright.training.recipe import Recipe

CPU = torch.device("cpu")


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with AVX512-BF16 on which a probe shows a gain."""
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "cpu_speedup", lambda: 1.8)


def conv() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))


def test_convolutions_train_in_bfloat16_where_it_pays(able: None) -> None:
    assert trains_in_bfloat16(Recipe(), CPU, conv())
    assert not trains_in_bfloat16(Recipe(amp="off"), CPU, conv())
    # Their updates would have to agree, and their probes may not.
    assert not trains_in_bfloat16(Recipe(), CPU, conv(), processes=2)
    assert trains_in_bfloat16(Recipe(amp="on"), CPU, conv(), processes=2)


def test_a_net_of_linear_layers_gains_nothing(able: None) -> None:
    assert not trains_in_bfloat16(Recipe(), CPU, nn.Sequential(nn.Linear(64, 64), nn.Conv2d(1, 1, 1)))


def test_a_probe_without_a_gain_decides(able: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_speedup", lambda: 1.2)
    assert not trains_in_bfloat16(Recipe(), CPU, conv())


def test_a_processor_without_the_instructions_is_never_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    monkeypatch.setattr(precision, "cpu_speedup", lambda: pytest.fail("probed, which takes seconds there"))
    assert not trains_in_bfloat16(Recipe(), CPU, conv())


def test_the_probe_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    precision.cpu_speedup.cache_clear()
    assert precision.cpu_speedup() > 0
    torch.testing.assert_close(torch.rand(4), expected, rtol=0, atol=0)
