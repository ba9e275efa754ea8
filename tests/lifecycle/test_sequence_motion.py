"""Camera motion for detections of one's own: estimated from the pictures of their sequence."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")

from eyewright.cli import main
from eyewright.data.tracks import find_sequences
from eyewright.imaging import encode_image, read_image, write_image
from eyewright.imaging.webm import WebmWriter
from eyewright.lifecycle.following import track_detections
from eyewright.lifecycle.sequence_frames import SequenceFrames

DATA = Path(os.environ.get("EYEWRIGHT_DATA", Path(__file__).parents[3] / "shared" / "data")) / "mot17_frames"

N, STEP = 10, 34


def _scene() -> np.ndarray:
    rng = np.random.default_rng(0)
    scene = np.full((240, 320 + STEP * N, 3), 90, np.uint8)
    for _ in range(260):
        y, x = int(rng.integers(0, 210)), int(rng.integers(0, scene.shape[1] - 30))
        h, w = rng.integers(6, 24, 2)
        scene[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return scene


@pytest.fixture(scope="module")
def panned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera that pans over five boxes that stand still, side by side: as far in a frame as they are apart, and back
    in the next."""
    folder = tmp_path_factory.mktemp("panned")
    scene, rows = _scene(), []
    (folder / "walk").mkdir()
    with WebmWriter(folder / "walk.webm", quality=90) as video:
        for k in range(N):
            left = STEP * (1 + k % 2)
            picture = np.ascontiguousarray(scene[:, left : left + 320])
            video.add(picture, k / 10)
            (folder / "walk" / f"{k + 1:04d}.png").write_bytes(encode_image(picture))
            rows += [f"{k + 1},-1,{100 + STEP * j - left},100,30,40,0.9" for j in range(1, 6)]
    (folder / "walk.txt").write_text("\n".join(rows) + "\n")
    return folder


def _tracks(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict:
    assert main(["track", str(folder / "walk.txt"), "--fps", "10", *options, "--json"]) == 0
    found: dict = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("frames", ["walk.webm", "walk"])
def test_identities_survive_a_camera_that_moves(frames: str, panned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without = _tracks(panned, capsys, "--frames", str(panned / frames))
    moved = _tracks(panned, capsys, "--frames", str(panned / frames), "--camera-motion")
    assert [t["frames"] for t in moved["tracks"]] == [N] * 5
    assert [t["frames"] for t in without["tracks"]] != [N] * 5


def test_frames_without_a_picture_and_a_cut_are_said(
    panned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in (1, 2, 3, 6, 7):
        source = panned / "walk" / f"{k:04d}.png"
        plain = encode_image(np.zeros((240, 320, 3), np.uint8))
        (tmp_path / source.name).write_bytes(plain if k == 3 else source.read_bytes())
    words = ["track", str(panned / "walk.txt"), "--fps", "10", "--frames", str(tmp_path), "--camera-motion", "--json"]
    assert main(words) == 1
    findings = {f["code"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["no_picture"]["message"].startswith("5 frames with detections have no picture")
    assert findings["camera_motion"]["message"].startswith("camera motion is not known in 2 of 5 frames: ")
    assert findings["camera_motion"]["severity"] == "note"


def test_camera_motion_without_pictures_or_with_a_method_of_ones_own_is_one_line(
    panned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["track", str(panned / "walk.txt"), "--camera-motion"]) == 2
    assert "no pictures to estimate camera motion from; pass --frames" in capsys.readouterr().err
    (tmp_path / "still_tracker.py").write_text(
        "class Still:\n    def update(self, *a, **k): ...\n    def reset(self): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["--frames", str(panned / "walk"), "--camera-motion", "--method", "still_tracker:Still"]
    assert main(["track", str(panned / "walk.txt"), *words]) == 2
    assert "built-in methods" in capsys.readouterr().err


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs {DATA}")
def test_real_frames_that_are_panned_keep_their_identities(tmp_path: Path) -> None:
    """MOT17-04 was filmed by a camera that stands; a window of it that moves is a camera that moves."""
    (given,) = find_sequences(DATA / "MOT17-04-FRCNN", "detections")
    boxes = given.read("detections").tracks
    folder, rows = tmp_path / "frames", {"still": "", "moved": ""}
    folder.mkdir()
    for k in range(1, 9):
        left, top = 90 * (k % 2) + 20 * k, 25 * (k % 3)
        picture = read_image(DATA / "MOT17-04-FRCNN" / "img1" / f"{k:06d}.jpg")
        write_image(
            folder / f"{k:06d}.jpg", np.ascontiguousarray(picture[top : top + 1000, left : left + 1600]), quality=90
        )
        here = boxes.frames == k
        for (x0, y0, x1, y1), score in zip(boxes.boxes_xyxy[here], boxes.scores[here], strict=True):
            rows["still"] += f"{k},-1,{x0},{y0},{x1 - x0},{y1 - y0},{score}\n"
            rows["moved"] += f"{k},-1,{x0 - left},{y0 - top},{x1 - x0},{y1 - y0},{score}\n"
    for name, text in rows.items():
        (tmp_path / f"{name}.txt").write_text(text)
    (still,), (moved,) = (find_sequences(tmp_path / f"{name}.txt", "detections") for name in rows)
    shown = {moved.name: SequenceFrames(folder)}
    pairs = []
    for sequence, on in ((still, False), (moved, False), (moved, True)):
        found = track_detections([sequence], frames=shown, fps=30, camera_motion=on)[0].tracks
        lengths = np.bincount(found.ids)
        # Two boxes of one track in a row: what an identity that is lost costs.
        pairs.append(int((lengths[lengths > 0] - 1).sum()))
    assert pairs[1] < 0.75 * pairs[0]
    assert pairs[2] >= 0.97 * pairs[0]
