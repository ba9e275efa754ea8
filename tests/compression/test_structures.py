"""Channels removed, weights set to zero, numbers rounded, teachers followed."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from eyewright.catalog import MODELS, build_of, tasks_of_net
from eyewright.compression.distilling import bundle_teacher, distil_step, net_teacher
from eyewright.compression.pruning import (
    layer_costs,
    layer_names,
    prune_channels,
    set_zeros,
    sparse_step,
    sparsity_of,
    total_work,
)
from eyewright.compression.rounding import rounded, rounding_step
from eyewright.core.errors import RefusedError
from eyewright.core.labels import LabelSpace
from eyewright.imaging.preparation import Preparation
from eyewright.nets.pixels import PixelNet, parameter_count
from eyewright.nets.shapes import take_shapes
from eyewright.training.objectives import classification_objective
from eyewright.training.optimisers import build_optimiser
from eyewright.training.recipe import Recipe
from eyewright.training.steps import Batch, TrainState, plain_step


def net_of(name: str, side: int = 48, classes: int = 3) -> PixelNet:
    torch.manual_seed(0)
    body = build_of(name, tasks_of_net(name)[0])(classes, channels=3, size_hw=(side, side))
    planes = planes_of(name)
    return PixelNet(body, mean=[0.5] * planes, std=[0.25] * planes).eval()


def planes_of(name: str) -> int:
    """Return how many channels a net of colour images takes; one of restoration takes the level of the noise too."""
    return 4 if MODELS[name][0] == "image" else 3


def some(n: int = 4, side: int = 48, planes: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (n, side, side, planes), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def first(outputs) -> torch.Tensor:  # type: ignore[no-untyped-def]
    if isinstance(outputs, torch.Tensor):
        return outputs
    return outputs.learnt if hasattr(outputs, "learnt") else outputs.logits


# Nets of clips take strips; tests/nets/test_clips.py has them. Nets that draw are not compressed.
_OTHERS = ("vector over time", "drawn image")


@pytest.mark.parametrize("name", [n for n, (answers, *_) in MODELS.items() if answers not in _OTHERS])
def test_every_net_of_the_catalogue_loses_channels_and_fits_its_weights_again(name: str) -> None:
    side = 48 if tasks_of_net(name)[0] == "classify" else 64
    net, planes = net_of(name, side), planes_of(name)
    if not layer_names(net) or name == "partial_net":
        kind = "partial convolutions" if layer_names(net) else "net without convolutions"
        with pytest.raises(RefusedError, match=f"not supported for a (net of )?{kind}"):
            prune_channels(net, 0.5, size_hw=(side, side), channels=planes)
        return
    small = prune_channels(net, 0.5, size_hw=(side, side), channels=planes)
    assert parameter_count(small) < 0.95 * parameter_count(net)
    whole, left = (total_work(n, size_hw=(side, side), channels=planes) for n in (net, small))
    assert left < whole
    again = net_of(name, side)
    take_shapes(again, small.state_dict())
    again.load_state_dict(small.state_dict())
    with torch.inference_mode():
        given = some(2, side, planes)
        assert torch.equal(first(again(given)), first(small(given)))
        assert first(net(given)).shape == first(small(given)).shape


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("by_loss", [False, True])
def test_a_recurrent_layer_loses_the_inputs_that_nothing_gives_any_more(
    kind: type[torch.nn.RNNBase], both_ways: bool, by_loss: bool
) -> None:
    """Half of the channels are zeros, of which the layer learns nothing: without them it answers as before."""

    class Body(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 16, 3, 2, 1)
            self.recurrent = kind(16, 8, num_layers=2, batch_first=True, bidirectional=both_ways)
            self.out = torch.nn.Linear(16 if both_ways else 8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.out(self.recurrent(self.conv(x).mean(2).transpose(1, 2))[0])
            return found

    torch.manual_seed(0)
    net = PixelNet(Body(), mean=[0.5] * 3, std=[0.25] * 3).eval()
    with torch.no_grad():
        net.body.conv.weight *= 10
        net.body.conv.weight[::2] = 0
        net.body.conv.bias[::2] = 0
    learn = (lambda one: one(some()).square().sum().backward()) if by_loss else None
    small = prune_channels(net, 0.5, size_hw=(48, 48), channels=3, learn=learn)
    assert (small.body.conv.out_channels, small.body.recurrent.input_size, small.body.recurrent.hidden_size) == (
        8,
        8,
        8,
    )
    again = PixelNet(Body(), mean=[0.5] * 3, std=[0.25] * 3).eval()
    take_shapes(again, small.state_dict())
    again.load_state_dict(small.state_dict())
    for one in (small, again):
        assert torch.allclose(net(some()), one(some()), atol=1e-5)
        one.train()(some()).sum().backward()


def test_removed_channels_are_those_that_count_least() -> None:
    net = net_of("conv_net")
    first_layer = net.body[0]
    with torch.no_grad():
        first_layer.weight[8:] = 0
        first_layer.bias[8:] = 0
    small = prune_channels(net, {"0": 0.7}, size_hw=(48, 48), channels=3)
    assert small.body[0].out_channels == 8
    # Channels of zeros do nothing, so nothing has changed.
    with torch.inference_mode():
        assert torch.allclose(net(some()), small(some()), atol=1e-5)


def test_widths_stay_multiples_of_eight_and_costs_name_layers() -> None:
    net = net_of("photo_net")
    small = prune_channels(net, 0.4, size_hw=(48, 48), channels=3)
    widths = [m.out_channels for m in small.modules() if isinstance(m, torch.nn.Conv2d)]
    assert widths
    assert all(w % 8 == 0 for w in widths)
    costs = layer_costs(net, size_hw=(48, 48), channels=3)
    assert [c.name for c in costs][:2] == ["stages.0.conv", "stages.0.more.0.0"]
    conv = dict(net.body.named_modules())["stages.0.conv"]
    # By hand: a 24x24 map of 64 channels, each from 3x3x64 numbers.
    assert costs[0].work == 24 * 24 * 64 * 9 * conv.in_channels
    with pytest.raises(RuntimeError, match="shape"):
        take_shapes(net_of("conv_net"), {"body.0.weight": torch.zeros(32, 3, 5, 5)})


def test_zeros_stay_zero_while_the_rest_learns() -> None:
    net = set_zeros(net_of("conv_net"), 0.8)
    assert sparsity_of(net) == pytest.approx(0.8, abs=0.02)
    state = TrainState(net.train(), build_optimiser(net, RECIPE), classification_objective(RECIPE), RECIPE)
    step = sparse_step()
    before = [m.weight.clone() for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    for _ in range(3):
        step(state, Batch(some(), torch.tensor([0, 1, 2, 0])))
    after = [m.weight for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a == 0, b == 0)
        assert not torch.equal(a, b)


RECIPE = Recipe(task="classify", model="conv_net", lr=0.01, optimizer="sgd", loss="cross_entropy", weight_decay=0.0)


def test_rounded_numbers_are_those_of_eight_bits_and_the_net_is_itself_afterwards() -> None:
    net = net_of("conv_net")
    plain = net(some())
    with rounded(net):
        coarse = net(some())
        layer = net.body[0]
        x = net.scale(some())
        got = layer(x)
    # By hand: symmetric weights of 7 bits a channel, inputs in 255 steps over their range and zero.
    scale = layer.weight.abs().flatten(1).amax(1) / 64
    weight = (layer.weight / scale[:, None, None, None]).round() * scale[:, None, None, None]
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    unit = (high - low) / 255
    zero = round(-low / unit)
    flat = ((x / unit).round() + zero).clamp(0, 255).sub(zero) * unit
    assert torch.allclose(got, functional.conv2d(flat, weight, layer.bias), atol=1e-3)
    assert not torch.equal(plain, coarse)
    assert torch.equal(plain, net(some()))
    net.train()
    state = TrainState(net, build_optimiser(net, RECIPE), classification_objective(RECIPE), RECIPE)
    targets = torch.tensor([0, 1, 2, 0])
    losses = [float(rounding_step()(state, Batch(some(), targets))) for _ in range(8)]
    assert losses[-1] < losses[0]


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    net = net_of("quick_net")
    student = copy.deepcopy(net)
    teacher = net_teacher(net, "classify")
    state = TrainState(student, build_optimiser(student, RECIPE), classification_objective(RECIPE), RECIPE)
    loss = distil_step(teacher, share=1.0)(state, Batch(some(), torch.tensor([0, 1, 2, 0])))
    assert float(loss) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("as_the_batch", [True, False])
def test_a_teacher_normalises_as_its_student_does(as_the_batch: bool) -> None:
    """A student that is its teacher, and learns: only what goes by another batch's statistics is left to learn."""
    net = net_of("spot_net", 64)
    student = copy.deepcopy(net).train()
    kept = {k: v.clone() for k, v in net.state_dict().items()}
    recipe = Recipe(task="detect", model="spot_net", lr=0.0, optimizer="sgd", weight_decay=0.0)
    state = TrainState(student, build_optimiser(student, recipe), lambda o, t: first(o).sum() * 0, recipe)
    step = distil_step(net_teacher(net, "detect", as_the_batch=as_the_batch), share=1.0, looks=0.0)
    logits = student(some(4, 64)).logits.detach()
    wanted = net(some(4, 64)).logits
    assert torch.allclose(logits, wanted, atol=1e-4) == as_the_batch
    step(state, Batch(some(4, 64), torch.zeros(4)))
    # What the teacher has learnt stays as it was.
    moved = [k for k, v in net.state_dict().items() if not torch.equal(v, kept[k]) and "num_batches" not in k]
    assert not moved


def test_the_softened_loss_is_hintons() -> None:
    teacher, student = net_of("conv_net"), net_of("quick_net")
    state = TrainState(student, build_optimiser(student, RECIPE), classification_objective(RECIPE), RECIPE)
    wanted, found = teacher(some()) / 4, student(some()) / 4
    by_hand = 16 * (wanted.softmax(1) * (wanted.log_softmax(1) - found.log_softmax(1))).sum(1).mean()
    labels = torch.tensor([0, 1, 2, 0])
    hard = functional.cross_entropy(student(some()), labels)
    loss = distil_step(net_teacher(teacher, "classify"), share=0.6, looks=0.0)(state, Batch(some(), labels))
    assert float(loss) == pytest.approx((0.6 * by_hand + 0.4 * hard).item(), rel=1e-4)


@pytest.mark.parametrize(("name", "task"), [("spot_net", "detect"), ("outline_net", "segment")])
def test_boxes_and_masks_are_taught(name: str, task: str) -> None:
    teacher = net_of(name, 64)
    student = prune_channels(teacher, 0.5, size_hw=(64, 64), channels=3).train()
    step = distil_step(net_teacher(teacher, task), share=1.0)
    recipe = Recipe(task=task, model=name, lr=0.003, optimizer="adam")  # type: ignore[arg-type]
    state = TrainState(student, build_optimiser(student, recipe), lambda o, t: first(o).sum() * 0, recipe)
    losses = [float(step(state, Batch(some(4, 64), torch.zeros(4)))) for _ in range(12)]
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


class _Known:
    """A teacher with classes in another order, that takes other pixels."""

    task_name = "classify"
    labels = LabelSpace(("b", "a"))
    preparation = Preparation((8, 8), channels=1)

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        assert pixels.shape[1:] == (8, 8, 1)
        bright = pixels.mean((1, 2, 3)) / 255
        return {"probabilities": np.stack([bright, 1 - bright], 1).astype(np.float32)}


def test_a_teachers_classes_meet_by_name_and_its_pixels_are_made_for_it() -> None:
    teacher = bundle_teacher(_Known(), LabelSpace(("a", "b")), Preparation((16, 16)))  # type: ignore[arg-type]
    white = torch.full((1, 16, 16, 3), 255, dtype=torch.uint8)
    assert teacher.answer(white)[0].argmax(1).tolist() == [1]
    with pytest.raises(RefusedError, match="expected a teacher that knows 'c'") as caught:
        bundle_teacher(_Known(), LabelSpace(("a", "c")), Preparation((16, 16)))  # type: ignore[arg-type]
    assert caught.value.code == "teacher_classes"


def test_plain_steps_are_what_they_were() -> None:
    a, b = net_of("conv_net").train(), net_of("conv_net").train()
    targets = torch.tensor([0, 1, 2, 0])
    state = TrainState(a, build_optimiser(a, RECIPE), classification_objective(RECIPE), RECIPE)
    loss = plain_step(state, Batch(some(), targets))
    by_hand = functional.cross_entropy(b(some()), targets)
    assert float(loss) == pytest.approx(by_hand.item())
