"""A burst is a series, though its frames are as similar as copies; an edited copy keeps its original's capture time."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.data import open_dataset
from eyewright.data.grouped import find_groups
from eyewright.data.scan import scan_dataset


@pytest.mark.parametrize(("apart_s", "kind"), [(1, "series"), (0, "copy")])
def test_shots_at_two_times_are_a_series_and_at_one_time_copies(tmp_path: Path, apart_s: int, kind: str) -> None:
    rng = np.random.default_rng(0)
    time = datetime(2024, 5, 1, 10)
    for scene in range(24):
        time += timedelta(minutes=5)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8))
        pixels = np.asarray(coarse.resize((80, 80), Image.Resampling.BICUBIC)).astype(int)
        for shot in range(3):
            exif = Image.Exif()
            exif[271], exif[272] = "Acme", "C1"
            exif.get_ifd(0x8769)[36867] = (time + timedelta(seconds=shot * apart_s)).strftime("%Y:%m:%d %H:%M:%S")
            path = tmp_path / "ab"[scene % 2] / f"{rng.integers(1 << 32):08x}.jpg"
            path.parent.mkdir(exist_ok=True)
            noisy = np.clip(pixels + rng.integers(-10, 11, pixels.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(path, exif=exif, quality=92)
    dataset = open_dataset(tmp_path)
    grouping = find_groups(dataset, scan_dataset(dataset, quiet=True))
    assert [(g.kind, len(g.members)) for g in grouping.groups] == [(kind, 3)] * 24
