"""Clips drawn for tests: a bright square that crosses a textured ground from left to right or back."""

__all__ = ["draw_crossing", "write_animation", "write_clip"]

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def draw_crossing(rng: np.random.Generator, *, rightwards: bool, frames: int = 12) -> NDArray[np.uint8]:
    """Return a clip, uint8 (T, 36, 48, 3), whose frames are those of the other direction in another order."""
    ground = rng.integers(40, 90, (36, 48, 1), dtype=np.uint8)
    size, level = int(rng.integers(6, 14)), int(rng.integers(140, 250))
    tops = np.linspace(*rng.uniform(0, 36 - size, 2), frames).round().astype(int)
    clip = np.repeat(ground[None], frames, 0).repeat(3, 3)
    for k, top in enumerate(tops):
        left = round((48 - size) * k / (frames - 1))
        clip[k, top : top + size, left : left + size] = level
    return clip if rightwards else np.ascontiguousarray(clip[::-1])


def write_clip(path: Path, clip: NDArray[np.uint8], *, fps: float = 12.0) -> Path:
    """Write frames as an AVI of JPEG pictures, which every build of OpenCV can."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (clip.shape[2], clip.shape[1]))
    for frame in clip:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def write_animation(path: Path, clip: NDArray[np.uint8], *, step_ms: int) -> Path:
    """Write frames as an animated GIF, PNG or WebP, by the ending of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = map(Image.fromarray, clip)
    exact = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, duration=step_ms, loop=0, **exact)
    return path
