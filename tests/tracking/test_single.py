"""One object: a drawn one that is taken away and brought back calibrates the verdict."""

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.tracking.single import SinglePrediction, SingleTracker

pytest.importorskip("cv2")

SIZE = 40


def _ground(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(60, 190, (30, 40, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def _thing(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def _film(seed: int, path: list[tuple[int, int] | None]) -> list[np.ndarray]:
    """Return frames of 320 x 240 with the object at each place of its path, or without it; the light flickers."""
    rng = np.random.default_rng(seed)
    ground, thing = _ground(rng), _thing(rng)
    frames = []
    for place in path:
        frame = ground.copy()
        if place is not None:
            x, y = place
            frame[y : y + SIZE, x : x + SIZE] = thing
        light = rng.uniform(0.9, 1.1)
        frames.append(np.clip(frame * light + rng.normal(0, 4, frame.shape), 0, 255).astype(np.uint8))
    return frames


def _follow(frames: list[np.ndarray], box: tuple[float, float, float, float], method: str) -> list[SinglePrediction]:
    tracker = SingleTracker(method)
    tracker.start(frames[0], box)
    return [tracker.update(f) for f in frames[1:]]


WALK: list[tuple[int, int] | None] = [(20 + 4 * k, 60 + k) for k in range(15)]


@pytest.mark.parametrize("method", ["csrt", "kcf"])
@pytest.mark.parametrize("seed", range(3))
def test_an_object_that_goes_is_lost_and_found_again_where_it_comes_back(method: str, seed: int) -> None:
    path = [*WALK, *[None] * 10, *[(220 - 3 * k, 150) for k in range(10)]]
    found = _follow(_film(seed, path), (20, 60, SIZE, SIZE), method)
    states = [p.state for p in found]
    assert set(states[:14]) == {"tracked"}
    assert set(states[15:24]) == {"lost"}
    assert set(states[26:]) == {"tracked"}
    for k in (5, 12, 28, 33):
        place, box = path[k + 1], found[k].box_xyxy
        assert place is not None
        assert box is not None
        assert box[:2] == pytest.approx(place, abs=5)
    assert all(p.box_xyxy is None for p in found if p.state == "lost")


@pytest.mark.parametrize("seed", range(3))
def test_another_object_in_its_place_is_not_it(seed: int) -> None:
    frames = _film(seed, [*WALK, *[None] * 8])
    other = _thing(np.random.default_rng(seed + 100))
    for frame in frames[15:]:
        frame[74 : 74 + SIZE, 76 : 76 + SIZE] = other
    assert {p.state for p in _follow(frames, (20, 60, SIZE, SIZE), "csrt")[16:]} == {"lost"}


def test_an_object_that_grows_and_gets_darker_stays_the_same() -> None:
    import cv2

    rng = np.random.default_rng(0)
    ground, thing = _ground(rng), _thing(rng)
    frames = []
    for k in range(25):
        frame, side = ground.copy(), SIZE + k // 2
        frame[60 : 60 + side, 60 : 60 + side] = np.clip(cv2.resize(thing, (side, side)) * (1 - 0.01 * k), 0, 255)
        frames.append(frame)
    found = _follow(frames, (60, 60, SIZE, SIZE), "csrt")
    assert {p.state for p in found} == {"tracked"}
    assert found[-1].box_xyxy is not None
    assert found[-1].box_xyxy[:2] == pytest.approx([60, 60], abs=8)


def test_a_box_that_is_none_and_an_unknown_method_are_refused() -> None:
    frame = _film(0, [(20, 60)])[0]
    for box in ((0, 0, 3, 3), (500, 500, 50, 50), (float("nan"), 0, 20, 20), (10, 10, -20, 20)):
        with pytest.raises(UsageError, match="at least 8 x 8"):
            SingleTracker().start(frame, box)
    with pytest.raises(UsageError, match="did you mean 'csrt'"):
        SingleTracker("csr")
    with pytest.raises(UsageError, match="start before update"):
        SingleTracker().update(frame)


def test_a_black_frame_is_lost_and_no_crash() -> None:
    frames = _film(0, WALK)
    frames[5:7] = [np.zeros_like(frames[0])] * 2
    found = _follow(frames, (20, 60, SIZE, SIZE), "kcf")
    assert [p.state for p in found[4:6]] == ["lost", "lost"]
    assert found[-1].state == "tracked"
