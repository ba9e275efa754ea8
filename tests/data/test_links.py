"""Links among drawings: found after lossy coding and resizing, and not between look-alikes of one style."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from eyewright.data.links import find_links
from eyewright.imaging.fingerprint import are_drawn, thumbnails_of


def drawn(n: int) -> list[Image.Image]:
    """Return icons of one style: a disc with a few shapes in plain colours."""
    rng = np.random.default_rng(0)
    icons = []
    for _ in range(n):
        icon = Image.new("RGB", (72, 72), "white")
        pen = ImageDraw.Draw(icon)
        pen.ellipse((4, 4, 68, 68), fill=(255, 204, 77))
        for _ in range(5):
            x, y = rng.integers(8, 50, 2).tolist()
            w, h = rng.integers(6, 20, 2).tolist()
            pen.rectangle((x, y, x + w, y + h), fill=tuple(rng.integers(0, 256, 3).tolist()))
        icons.append(icon)
    return icons


def coded(icon: Image.Image, kind: str, quality: int) -> Image.Image:
    file = io.BytesIO()
    icon.save(file, kind, quality=quality)
    return Image.open(file).convert("RGB")


@pytest.mark.parametrize("change", ["png", "webp", "half"])
def test_copies_of_drawings_are_found_and_look_alikes_are_not(change: str) -> None:
    icons = drawn(120)
    changed = {
        "png": lambda icon: icon,
        "webp": lambda icon: coded(icon, "WEBP", 20),
        "half": lambda icon: icon.resize((36, 36), Image.Resampling.BICUBIC),
    }[change]
    pictures = [*icons, *(changed(icon) for icon in icons[:40])]
    small = np.stack([np.asarray(p.resize((64, 64), Image.Resampling.BOX)) for p in pictures])
    found = {(k.i, k.j) for k in find_links(*thumbnails_of(small), np.ones(len(small), bool))}
    right = {(k, 120 + k) for k in range(40)}
    assert len(found & right) >= 38
    assert not found - right


def photographs(n: int) -> list[Image.Image]:
    rng = np.random.default_rng(1)
    coarse = (Image.fromarray(rng.integers(0, 200, (12, 12, 3)).astype(np.uint8)) for _ in range(n))
    return [im.resize((160, 160), Image.Resampling.BICUBIC) for im in coarse]


@pytest.mark.parametrize("border", [(16, 16), (0, 24)])
def test_copies_in_a_frame_are_found_and_say_so(border: tuple[int, int]) -> None:
    pictures = photographs(60)
    pictures += [ImageOps.expand(p, border, "black") for p in pictures[:20]]
    small = np.stack([np.asarray(p.resize((64, 64), Image.Resampling.BOX)) for p in pictures])
    links = find_links(*thumbnails_of(small), np.ones(len(small), bool))
    found = {(k.i, k.j) for k in links}
    right = {(k, 60 + k) for k in range(20)}
    assert len(found & right) >= 18
    assert not found - right
    assert any("except for a border" in k.how for k in links)


def test_strangers_in_equal_frames_are_not_linked() -> None:
    pictures = [ImageOps.expand(p, 24, "white") for p in photographs(60)]
    small = np.stack([np.asarray(p.resize((64, 64), Image.Resampling.BOX)) for p in pictures])
    assert find_links(*thumbnails_of(small), np.ones(len(small), bool)) == []


def test_many_copies_of_one_picture_are_connected() -> None:
    pictures = photographs(40)
    pictures += [coded(pictures[0].resize((160 - 2 * k, 160 - 2 * k)), "JPEG", 92 - k) for k in range(40)]
    small = np.stack([np.asarray(p.resize((64, 64), Image.Resampling.BOX)) for p in pictures])
    owner = list(range(len(pictures)))
    for link in find_links(*thumbnails_of(small), np.ones(len(small), bool)):
        a, b = owner[link.i], owner[link.j]
        owner = [a if k == b else k for k in owner]
    assert owner[40:] == [owner[0]] * 40
    assert len(set(owner)) == 40


def test_copies_of_few_faint_levels_are_found() -> None:
    """12 bits in a file of 16 are 16 grey levels; a copy of another size has other ones, so that none are equal."""
    pictures = photographs(60)
    pictures += [p.resize((90, 90), Image.Resampling.BICUBIC) for p in pictures[:30]]
    faint = np.stack([np.asarray(p.resize((64, 64), Image.Resampling.BOX)) // 24 for p in pictures])
    grey, colours = thumbnails_of(faint)
    assert grey.std((1, 2)).min() < 2
    found = {(k.i, k.j) for k in find_links(grey, colours, np.ones(len(faint), bool))}
    assert found == {(k, 60 + k) for k in range(30)}


def test_a_dark_photograph_is_no_drawing() -> None:
    """Its steps are small because its range is: read as a drawing, a copy in other light would be another drawing."""
    rng = np.random.default_rng(5)
    coarse = [Image.fromarray(rng.integers(60, 200, (6, 6, 3)).astype(np.uint8)) for _ in range(20)]
    small = np.stack([np.asarray(c.resize((64, 64), Image.Resampling.BICUBIC)) for c in coarse])
    dark = (small * 0.3).astype(np.uint8)
    assert not are_drawn(thumbnails_of(small)[0]).any()
    assert not are_drawn(thumbnails_of(dark)[0]).any()
    found = {(k.i, k.j) for k in find_links(*thumbnails_of(np.concatenate([small, dark])), np.ones(40, bool))}
    assert {(k, 20 + k) for k in range(20)} <= found
