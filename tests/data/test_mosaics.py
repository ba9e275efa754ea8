"""Tiles of one large picture are found by their names and their borders, never by names alone."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.data import open_dataset, scan_dataset
from eyewright.data.grouped import find_groups
from eyewright.data.mosaics import find_mosaics

SIDE = 64


def large(seed: int, side: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = [(side // 8, 0.7), (side // 3, 0.3)]
    result = np.zeros((side, side))
    for cells, weight in parts:
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells)).astype(np.uint8))
        result += weight * np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(float)
    return result.astype(np.uint8)


def tiles(step: int, naming: Callable[[str, int, int, int], str], *, pictures: int = 8, rows: int = 3, scattered=False):
    names, shown = [], []
    for p in range(pictures):
        whole = large(p, step * (rows - 1) + SIDE)
        for r in range(rows):
            for c in range(rows):
                names.append(naming(f"scene{'abcdefghij'[p]}", r, c, step))
                if scattered:
                    shown.append(large(100 + 9 * p + 3 * r + c, SIDE))
                else:
                    shown.append(whole[r * step : r * step + SIDE, c * step : c * step + SIDE])
    return names, np.stack(shown)


NAMINGS = {
    "offsets": lambda p, r, c, s: f"a/{p}_x_{c * s:04d}_y_{r * s:04d}.png",
    "offsets, y first": lambda p, r, c, s: f"a/{p}_y{r * s}_x{c * s}.png",
    "rows and columns": lambda p, r, c, s: f"{'ab'[c % 2]}/{p}_r{r:02d}_c{c:02d}.png",
    "words": lambda p, r, c, s: f"a/{p}-row{r}-col{c}.jpg",
    "numbers, row first": lambda p, r, c, s: f"a/{p}__1__{r * s}___{c * s}.png",
    "numbers, column first": lambda p, r, c, s: f"a/{p}_{c}_{r}.png",
}


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("step", [SIDE, SIDE - 16])
def test_tiles_of_one_picture_are_found(naming: str, step: int) -> None:
    names, shown = tiles(step, NAMINGS[naming])
    found = find_mosaics(names, shown)
    assert sorted(m.members for m in found) == [tuple(range(9 * p, 9 * p + 9)) for p in range(8)]


@pytest.mark.parametrize("naming", NAMINGS)
def test_names_of_tiles_on_other_pictures_find_nothing(naming: str) -> None:
    assert find_mosaics(*tiles(SIDE, NAMINGS[naming], scattered=True)) == ()


def test_pictures_whose_every_border_is_alike_are_not_tiles() -> None:
    names, shown = tiles(SIDE, NAMINGS["numbers, row first"], scattered=True)
    ramp = np.linspace(0, 120, SIDE)
    dark = (shown * 0.1 + ramp[:, None] + ramp[None, :]).astype(np.uint8)
    assert find_mosaics(names, dark) == ()


def test_times_and_numbers_that_are_no_positions_find_nothing() -> None:
    names = [f"a/2024_{day:02d}_{shot:03d}.png" for day in range(10) for shot in range(5)]
    shown = np.stack([large(k // 5, SIDE) // 2 + large(100 + k, SIDE) // 2 for k in range(50)])
    assert find_mosaics(names, shown) == ()


@pytest.mark.parametrize("naming", NAMINGS)
def test_the_rule_for_group_by_gives_the_pictures(naming: str) -> None:
    names, shown = tiles(SIDE - 16, NAMINGS[naming])
    rule = re.compile(find_mosaics(names, shown)[0].pattern)
    keys = [rule.search(n).group(1) for n in names]
    assert [keys.index(k) // 9 for k in keys] == [k // 9 for k in range(len(names))]


def test_a_picture_that_holds_most_of_the_data_is_proposed_not_assumed(tmp_path: Path) -> None:
    names, shown = tiles(SIDE - 16, NAMINGS["rows and columns"], pictures=2)
    for name, picture in zip(names, shown, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / name)
    dataset = open_dataset(tmp_path)
    found = find_groups(dataset, scan_dataset(dataset, quiet=True))
    assert "tiles of 2 large pictures" in found.proposals[0].evidence
    assert not any("tiles" in g.evidence for g in found.groups)
    rule = found.proposals[0].option.split("'")[1]
    asked = find_groups(dataset, None, group_by=rule)
    assert [len(g.members) for g in asked.groups] == [9, 9]
