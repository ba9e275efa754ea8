"""Data that the examples draw: shapes with boxes and masks, gauges with a reading."""

import json
import os
import shutil
from pathlib import Path

import numpy as np

from eyewright.imaging import encode_image

SMALL = bool(os.environ.get("EXAMPLES_SMALL"))
"""Little data and few epochs: to see that an example runs."""

KINDS = ("cross", "disc", "square")


def fresh_folder(name: str) -> Path:
    """Return an empty folder for an example, below EXAMPLES_OUT."""
    folder = Path(os.environ.get("EXAMPLES_OUT", "eyewright-examples")) / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def save(path: Path, image: np.ndarray) -> None:
    """Write an image as PNG; `ew.write_image` would wait for the disk after each, which drawn data does not need."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(image))


def shape_mask(kind: str, size: int, x: int, y: int, radius: int) -> np.ndarray:
    """Return the pixels of a shape, bool (size, size)."""
    rows, columns = np.mgrid[0:size, 0:size]
    dy, dx = abs(rows - y), abs(columns - x)
    if kind == "disc":
        return dy**2 + dx**2 <= radius**2
    if kind == "square":
        return np.maximum(dy, dx) <= 0.8 * radius
    return (np.minimum(dy, dx) <= max(1, radius // 4)) & (np.maximum(dy, dx) <= radius)


def draw_scene(rng: np.random.Generator, size: int = 96) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """Return an image, uint8 (size, size, 3), and the kind and mask of each shape in it; shapes do not touch."""
    image = rng.integers(0, 70, (size, size, 3)).astype(np.uint8)
    free, shapes = np.ones((size, size), bool), []
    for _ in range(4):
        kind, radius = str(rng.choice(KINDS)), int(rng.integers(9, 17))
        x, y = rng.integers(radius + 1, size - radius - 1, 2)
        mask = shape_mask(kind, size, int(x), int(y), radius)
        if free[mask].all():
            image[mask] = rng.integers(150, 256, 3)
            free[max(0, y - radius - 2) : y + radius + 3, max(0, x - radius - 2) : x + radius + 3] = False
            shapes.append((kind, mask))
    return image, shapes


def write_shapes(folder: Path, each: int, seed: int = 0) -> Path:
    """Write a folder per class with `each` images of 32x32 pixels."""
    rng = np.random.default_rng(seed)
    for kind in KINDS:
        for i in range(each):
            image = rng.integers(0, 70, (32, 32, 3)).astype(np.uint8)
            radius = int(rng.integers(6, 11))
            x, y = rng.integers(radius + 1, 31 - radius, 2)
            image[shape_mask(kind, 32, int(x), int(y), radius)] = rng.integers(150, 256, 3)
            save(folder / kind / f"{i:03d}.png", image)
    return folder


def write_coco(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Write scenes with boxes as a COCO dataset, a JSON file per split."""
    rng = np.random.default_rng(seed)
    for split, n in counts.items():
        images, annotations = [], []
        for i in range(n):
            image, shapes = draw_scene(rng)
            save(folder / split / f"{split}{i:03d}.png", image)
            images.append({"id": i, "file_name": f"{split}{i:03d}.png", "width": 96, "height": 96})
            for kind, mask in shapes:
                ys, xs = np.nonzero(mask)
                box = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
                annotations.append(
                    {"id": len(annotations), "image_id": i, "category_id": KINDS.index(kind), "bbox": box,
                     "area": int(mask.sum()), "iscrowd": 0}
                )  # fmt: skip
        categories = [{"id": k, "name": kind} for k, kind in enumerate(KINDS)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"instances_{split}.json").write_text(json.dumps(content))
    return folder


def write_masks(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Write scenes with a mask each, whose pixels are class numbers; 0 is the background."""
    rng = np.random.default_rng(seed)
    for split, n in counts.items():
        for i in range(n):
            image, shapes = draw_scene(rng)
            mask = np.zeros(image.shape[:2], np.uint8)
            for kind, pixels in shapes:
                mask[pixels] = 1 + KINDS.index(kind)
            save(folder / split / "images" / f"{i:03d}.png", image)
            save(folder / split / "masks" / f"{i:03d}.png", mask)
    (folder / "classes.txt").write_text("\n".join(("background", *KINDS)))
    return folder


def write_gauges(folder: Path, n: int, seed: int = 0) -> Path:
    """Write tanks that are filled to a level, and a table of their levels in millimetres."""
    rng = np.random.default_rng(seed)
    rows = ["path,level [mm]"]
    for i in range(n):
        level = int(rng.integers(2, 46))
        image = rng.integers(200, 230, (48, 48, 3)).astype(np.uint8)
        image[48 - level :, 12:36] = rng.integers(20, 60, (level, 24, 3))
        save(folder / f"{i:03d}.png", image)
        rows.append(f"{i:03d}.png,{10 * level}")
    (folder / "levels.csv").write_text("\n".join(rows) + "\n")
    return folder
