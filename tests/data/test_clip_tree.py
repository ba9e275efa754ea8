"""Which clips are copies of one another: those in which the same moves, whatever ground they have in common."""

from pathlib import Path

import cv2
import numpy as np
from tests.drawn_clips import write_clip

from eyewright.data.formats import open_dataset
from eyewright.data.scan import scan_dataset


def _disc(rng: np.random.Generator) -> np.ndarray:
    """Return a clip of a disc that crosses a plain ground from the left, uint8 (T, 96, 128, 3)."""
    x, y, radius, speed = rng.uniform([6, 30, 6, 1.8], [17, 66, 12, 3.6])
    colour, clip = rng.integers(80, 255, 3).tolist(), np.full((int(rng.integers(18, 30)), 96, 128, 3), 40, np.uint8)
    for k, frame in enumerate(clip):
        cv2.circle(frame, (round(x + speed * k), round(y)), round(radius), colour, -1)
    return clip


def test_clips_before_the_same_ground_are_no_copies_and_a_clip_coded_again_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(20):
        clip = _disc(rng)
        write_clip(tmp_path / "ab"[k % 2] / f"clip-{chr(97 + k)}.avi", clip)
        if k == 5:
            small = np.stack([cv2.resize(f, (96, 72), interpolation=cv2.INTER_AREA) for f in clip])
            brighter = np.clip(small.astype(np.int64) + 20, 0, 255).astype(np.uint8)
            write_clip(tmp_path / "b" / "again.avi", brighter)
        if k == 8:
            write_clip(tmp_path / "a" / "mirrored.avi", clip[:, :, ::-1])
    dataset = open_dataset(tmp_path, task="video")
    scan = scan_dataset(dataset, quiet=True)
    names = [s.id for s in dataset.samples]
    found = {(names[x.i], names[x.j]) for x in scan.links}
    assert ("b/again.avi", "b/clip-f.avi") in found
    assert found <= {("b/again.avi", "b/clip-f.avi"), ("a/clip-i.avi", "a/mirrored.avi")}
    # The pictures alone are nearly the same for many of them.
    loose = scan_dataset(dataset, quiet=True)
    object.__setattr__(loose, "clips", False)
    assert len(loose.links) > 2 * len(found)
