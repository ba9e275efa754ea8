"""The batched filter against a textbook Kalman filter, one track and one dimension at a time."""

import numpy as np
import pytest

from eyewright.tracking.filters import BoxFilter, FilterNoise, corners_of, states_of


def test_each_number_of_each_track_is_filtered_as_by_matrices() -> None:
    noise = FilterNoise(size_memory_s=1e12)
    rng = np.random.default_rng(0)
    begin = rng.uniform(10, 50, (3, 4))
    batch = BoxFilter(noise)
    batch.add(corners_of(begin))
    mean = [[np.array([v, 0.0]) for v in row] for row in begin]
    cover = [[np.diag([noise.measured**2, noise.first**2]) for _ in row] for row in begin]
    for step in (0.1, 0.04, 0.5, 0.1):
        move = np.array([[1, step], [0, 1]])
        q, d = noise.velocity**2, noise.drift**2
        added = np.array([[q * step**3 / 3 + d * step, q * step**2 / 2], [q * step**2 / 2, q * step]])
        seen = rng.uniform(10, 50, (2, 4))
        batch.predict(step)
        batch.correct(np.array([2, 0]), corners_of(seen))
        for i in range(3):
            for k in range(4):
                m, p = move @ mean[i][k], move @ cover[i][k] @ move.T + added
                if i != 1:
                    gain = p[:, 0] / (p[0, 0] + noise.measured**2)
                    m = m + gain * (seen[0 if i == 2 else 1][k] - m[0])
                    p = p - np.outer(gain, p[0])
                mean[i][k], cover[i][k] = m, p
    assert batch.state == pytest.approx(np.array(mean)[:, :, 0])
    assert batch.velocity == pytest.approx(np.array(mean)[:, :, 1])
    assert batch.spread[:, 0] == pytest.approx(np.array(cover)[:, 0, 0, 0])
    assert batch.spread[:, 2] == pytest.approx(np.array(cover)[:, 0, 1, 1])


def test_two_short_steps_are_one_long_one() -> None:
    a, b = BoxFilter(FilterNoise()), BoxFilter(FilterNoise())
    for f in (a, b):
        f.add(np.array([[8.0, 8, 12, 12]]))
        f.velocity[:] = [[3.0, 1, 0, 0]]
    a.predict(0.4)
    b.predict(0.1)
    b.predict(0.3)
    assert a.state == pytest.approx(b.state)
    assert a.spread == pytest.approx(b.spread)


def test_a_growing_box_stops_growing_when_it_is_not_seen() -> None:
    f = BoxFilter(FilterNoise(size_memory_s=0.5))
    f.add(np.array([[8.0, 8, 12, 12]]))
    f.velocity[:] = [[3.0, 0, 8, 0]]
    for _ in range(100):
        f.predict(0.1)
    assert f.state[0, 0] == pytest.approx(40)
    assert f.state[0, 2] < 10


def test_few_tracks_are_corrected_as_many_are_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    begin, seen = (corners_of(rng.uniform(10, 50, (5, 4))) for _ in range(2))
    plain, batch = BoxFilter(FilterNoise()), BoxFilter(FilterNoise())
    for f, most in ((plain, 8), (batch, 0)):
        monkeypatch.setattr("eyewright.tracking.filters._SMALL", most)
        f.add(begin)
        for step in (0.1, 0.04, 0.5):
            f.predict(step)
            f.correct(np.array([3, 0, 4]), seen[:3])
    assert np.array_equal(plain.state, batch.state)
    assert np.array_equal(plain.velocity, batch.velocity)
    assert np.array_equal(plain.spread, batch.spread)
    assert np.array_equal(np.array(plain.corners_list()), batch.corners())


def test_corners_and_states_are_inverse() -> None:
    boxes = np.array([[1.0, 2, 5, 9], [0, 0, 3, 3]])
    assert corners_of(states_of(boxes)) == pytest.approx(boxes)


def test_a_moving_camera_moves_places_and_velocities() -> None:
    f = BoxFilter(FilterNoise())
    f.add(np.array([[8.0, 17, 12, 23]]))
    f.velocity[:] = [[1.0, 0, 0, 0]]
    # A quarter turn, twice as large, shifted by 100.
    f.move(np.array([[0.0, -2, 100], [2, 0, 0]]))
    assert f.state[0] == pytest.approx([60, 20, 8, 12])
    assert f.velocity[0, :2] == pytest.approx([0, 2])
