"""Nets of clips: shapes, what the order of frames means to them, and sizes that are refused."""

import pytest
import torch

from eyewright.core.errors import UsageError
from eyewright.nets.clips import (
    ClipNet,
    RunningPlanes,
    clip_former,
    gru_net,
    gru_stream_net,
    lstm_net,
    lstm_stream_net,
    mean_net,
    share_encoder,
)

SIZE = (8 * 16, 20)


@pytest.mark.parametrize("build", [gru_net, lstm_net, gru_stream_net, lstm_stream_net, clip_former, mean_net])
def test_a_strip_gives_logits(build) -> None:
    net = build(3, channels=1, size_hw=SIZE, frames=8).eval()
    assert isinstance(net, ClipNet)
    assert net(torch.rand(2, 1, *SIZE)).shape == (2, 3)


@pytest.mark.parametrize(
    ("build", "ordered"),
    [(gru_net, True), (lstm_net, True), (gru_stream_net, True), (clip_former, True), (mean_net, False)],
)
def test_only_the_baseline_is_blind_to_the_order_of_frames(build, ordered: bool) -> None:
    torch.manual_seed(0)
    net = build(3, channels=1, size_hw=SIZE, frames=8).eval()
    strips = torch.rand(2, 1, *SIZE)
    backwards = strips.reshape(2, 1, 8, 16, 20).flip(2).reshape(2, 1, *SIZE)
    with torch.no_grad():
        apart = float((net(strips) - net(backwards)).abs().max())
    assert (apart > 1e-3) == ordered
    assert ordered or apart < 1e-5


def test_the_baseline_takes_over_the_encoder_without_the_planes_of_motion() -> None:
    trained, new = gru_net(3, channels=3, size_hw=SIZE, frames=8), mean_net(3, channels=3, size_hw=SIZE, frames=8)
    share_encoder(trained, new)
    theirs, own = trained.encoder.state_dict(), new.encoder.state_dict()
    assert torch.equal(own["body.0.weight"], theirs["body.0.weight"][:, :6])
    assert all(torch.equal(v, theirs[k]) for k, v in own.items() if k != "body.0.weight")


def test_light_and_contrast_of_a_clip_do_not_count() -> None:
    torch.manual_seed(0)
    net = gru_net(3, channels=1, size_hw=SIZE, frames=8).eval()
    strips = 5 * torch.rand(2, 1, *SIZE)
    with torch.no_grad():
        assert torch.allclose(net(strips), net(3 * strips + 2), atol=0.02)


def test_running_planes_do_not_look_ahead() -> None:
    planes = RunningPlanes(6)
    clips = torch.rand(2, 3, 6, 8, 10)
    other = clips.clone()
    other[:, :, 4:] = torch.rand(2, 3, 2, 8, 10)
    a, b = (planes(c).reshape(2, 6, 9, 8, 10) for c in (clips, other))
    assert torch.equal(a[:, :4], b[:, :4])
    assert not torch.equal(a[:, 4:], b[:, 4:])


def test_running_planes_step_by_step_are_those_of_the_clip() -> None:
    planes = RunningPlanes(6)
    clips = torch.rand(2, 3, 6, 8, 10)
    still, before = torch.zeros(2, 3, 8, 10), torch.zeros(2, 2, 3, 8, 10)
    found = []
    for k, frame in enumerate(clips.unbind(2)):
        one, still, before = planes.step(frame, still, before, torch.tensor([float(k)]))
        found.append(one)
    assert torch.allclose(torch.stack(found, 1), planes(clips).reshape(2, 6, 9, 8, 10), atol=1e-5)
    # After as many frames as a clip has, the mean picture forgets: by hand, 1 of 6.
    moved = planes.step(torch.ones(2, 3, 8, 10), still, before, torch.tensor([9.0]))[1]
    assert torch.allclose(moved, still + (1 - still) / 6)


def test_frames_that_are_too_small_are_refused() -> None:
    with pytest.raises(UsageError, match="16 pixels"):
        gru_net(3, channels=1, size_hw=(8 * 12, 20), frames=8)
