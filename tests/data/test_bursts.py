"""Bursts are found by capture time, camera and pixels together; no one of them suffices."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.data import open_dataset, scan_dataset
from eyewright.data.grouped import find_groups
from eyewright.imaging import read_thumbnail
from eyewright.imaging.capture import Capture

SHOTS = 3
SCENES = 12


def picture(scene: int, shot: int, *, alike: float = 0.65) -> Image.Image:
    """A scene of soft blobs in which a part has moved on with every shot."""

    def soft(seed: int) -> np.ndarray:
        coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8))
        return np.asarray(coarse.resize((80, 80), Image.Resampling.BICUBIC)).astype(float)

    return Image.fromarray((alike * soft(scene) + (1 - alike) * soft(1000 + 10 * scene + shot)).astype(np.uint8))


def save(image: Image.Image, path: Path, taken: str, camera: str = "EOS", subseconds: str | None = None) -> None:
    exif = Image.Exif()
    exif[271], exif[272] = "Maker", camera
    details = exif.get_ifd(0x8769)
    details[36867] = taken
    if subseconds is not None:
        details[37521] = subseconds
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90, exif=exif)


def groups_of(folder: Path) -> set[frozenset[str]]:
    dataset = open_dataset(folder)
    found = find_groups(dataset, scan_dataset(dataset, quiet=True))
    return {frozenset(dataset.samples[i].id for i in g.members) for g in found.groups}


def name(scene: int, shot: int) -> str:
    """A name that says nothing of the scene."""
    return f"{'ab'[scene % 2]}/{(scene * 7919 + shot * 104729) % 999983:06d}.jpg"


def test_shots_of_one_camera_within_seconds_that_look_alike_are_one_burst(tmp_path: Path) -> None:
    for scene in range(SCENES):
        for shot in range(SHOTS):
            save(picture(scene, shot), tmp_path / name(scene, shot), f"2024:05:01 {8 + scene:02d}:00:0{shot}")
    expected = {frozenset(name(scene, shot) for shot in range(SHOTS)) for scene in range(SCENES)}
    found = groups_of(tmp_path)
    assert len(found & expected) >= SCENES - 1
    assert all(any(g <= e for e in expected) for g in found)


def test_two_cameras_at_one_time_are_not_one_burst(tmp_path: Path) -> None:
    for scene in range(SCENES):
        for shot in range(SHOTS):
            taken = f"2024:05:01 {8 + scene:02d}:00:00"
            save(picture(scene, shot), tmp_path / name(scene, shot), taken, camera=f"camera {shot}")
    assert groups_of(tmp_path) == set()


def test_one_false_time_on_every_file_joins_nothing(tmp_path: Path) -> None:
    for scene in range(2 * SCENES):
        save(picture(scene, 0), tmp_path / name(scene, 0), "2000:01:01 00:00:00")
    assert groups_of(tmp_path) == set()


def test_unlike_pictures_taken_at_once_are_not_joined_beside_true_bursts(tmp_path: Path) -> None:
    for scene in range(SCENES):
        for shot in range(SHOTS):
            save(picture(scene, shot), tmp_path / name(scene, shot), f"2024:05:01 {8 + scene:02d}:00:0{shot}")
        save(picture(500 + scene, 0), tmp_path / name(500 + scene, 0), f"2024:05:01 {8 + scene:02d}:00:04")
    joined = [g for g in groups_of(tmp_path) if any(name(500 + scene, 0) in g for scene in range(SCENES))]
    assert len(joined) <= 1


@pytest.mark.parametrize(
    ("taken", "subseconds", "expected"),
    [
        ("2024:05:01 08:00:01", "25", 1714550401.25),
        ("2024:05:01 08:00:01", None, 1714550401.0),
        ("0000:00:00 00:00:00", None, None),
        ("    :  :     :  :  ", None, None),
    ],
)
def test_capture_times_are_read_with_their_fraction(
    tmp_path: Path, taken: str, subseconds: str | None, expected: float | None
) -> None:
    save(picture(0, 0), tmp_path / "a.jpg", taken, subseconds=subseconds)
    capture = read_thumbnail((tmp_path / "a.jpg").read_bytes(), 64)[0].capture
    assert capture == (None if expected is None else Capture(expected, "Maker/EOS/"))


COUNTED = {
    "IMG": lambda scene, shot: f"IMG_{1000 + 10 * scene + shot}.JPG",
    "camera": lambda scene, shot: f"cam2-{10 * scene + shot:06d}.png",
    "bare": lambda scene, shot: f"{7 * scene + shot:06d}.png",
    "every fifth": lambda scene, shot: f"clip_f{(SHOTS * scene + shot) * 5:05d}.jpg",
}


@pytest.mark.parametrize("naming", COUNTED)
def test_neighbours_by_number_that_look_alike_are_one_run(tmp_path: Path, naming: str) -> None:
    expected = set()
    for scene in range(2 * SCENES):
        own = [f"{'ab'[scene % 2]}/{COUNTED[naming](scene, shot)}" for shot in range(SHOTS)]
        for shot, path in enumerate(own):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            picture(scene, shot, alike=0.75).save(tmp_path / path)
        expected.add(frozenset(own))
    found = groups_of(tmp_path)
    assert len(found & expected) >= 2 * SCENES - 4
    assert sum(not any(g <= e for e in expected) for g in found) <= 1


@pytest.mark.parametrize("naming", COUNTED)
def test_unrelated_photographs_that_are_numbered_are_not_joined(tmp_path: Path, naming: str) -> None:
    for scene in range(2 * SCENES):
        for shot in range(SHOTS):
            path = tmp_path / "ab"[scene % 2] / COUNTED[naming](scene, shot)
            path.parent.mkdir(exist_ok=True)
            picture(scene, shot, alike=0.0).save(path)
    assert groups_of(tmp_path) == set()
