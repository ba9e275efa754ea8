"""Camera motion on moved pictures."""

import numpy as np
import pytest

pytest.importorskip("cv2")

from eyewright.tracking.camera import CameraMotion

NONE = np.zeros((0, 4))


def _scene(seed: int, side: int = 400) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), 90, np.uint8)
    for _ in range(120):
        y, x = rng.integers(0, side - 30, 2)
        h, w = rng.integers(6, 30, 2)
        image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return image


def test_a_shift_is_found() -> None:
    scene = _scene(0)
    motion = CameraMotion()
    assert motion.update(scene[50:350, 50:350].copy(), NONE) is None
    found = motion.update(scene[57:357, 38:338].copy(), NONE)
    assert found is not None
    assert found == pytest.approx(np.array([[1, 0, 12], [0, 1, -7]]), abs=0.1)


def test_a_large_frame_is_measured_in_its_own_pixels() -> None:
    scene = _scene(1, 1500)
    motion = CameraMotion()
    motion.update(scene[:1300, :1300].copy(), NONE)
    found = motion.update(scene[20:1320, 30:1330].copy(), NONE)
    assert found is not None
    assert found[:, 2] == pytest.approx([-30, -20], abs=1)


def test_objects_that_move_by_themselves_are_left_out() -> None:
    scene = _scene(2)
    moved = scene.copy()
    moved[100:300, 100:300] = scene[100:300, 80:280]
    box = np.array([[80.0, 100, 300, 300]])
    motion = CameraMotion()
    motion.update(scene, box)
    found = motion.update(moved, box)
    assert found is not None
    assert found == pytest.approx(np.array([[1, 0, 0], [0, 1, 0]]), abs=0.05)


def test_a_scene_cut_an_empty_picture_and_another_size_are_no_motion_and_a_note() -> None:
    # BoT-SORT #39, #78: a crash at a scene cut.
    motion = CameraMotion()
    plain = np.zeros((400, 400, 3), np.uint8)
    for image in (_scene(3), _scene(4), plain, plain, _scene(5), _scene(5, 300), _scene(5, 300)[:40, :40].copy()):
        motion.update(image, NONE)
    assert motion.notes["another frame size"] == 2
    assert sum(motion.notes.values()) >= 5


def test_a_box_over_the_whole_frame_or_outside_it_is_no_crash() -> None:
    motion = CameraMotion()
    for _ in range(2):
        assert motion.update(_scene(6), np.array([[-50.0, -50, 9e9, 9e9], [np.nan] * 4])) is None


def test_the_same_frames_give_the_same_motion() -> None:
    scene = _scene(7)
    answers = []
    for _ in range(2):
        motion = CameraMotion()
        motion.update(scene[:300, :300].copy(), NONE)
        answers.append(motion.update(scene[4:304, 9:309].copy(), NONE))
    assert (answers[0] == answers[1]).all()
