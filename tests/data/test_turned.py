"""Images turned by quarters, with the turn as their class."""

from pathlib import Path

import numpy as np

from eyewright.data import open_dataset, scan_dataset, split_dataset
from eyewright.data.turned import with_turns
from eyewright.imaging import write_image


def test_every_image_is_there_in_four_turns_that_stay_in_its_part(tmp_path: Path) -> None:
    for k in range(20):
        write_image(tmp_path / f"{k:02d}.png", np.random.default_rng(k).integers(0, 256, (6, 9, 3)).astype(np.uint8))
    data = open_dataset(tmp_path, task="generate")
    assert data.labels.names == (tmp_path.name,)
    assert any("not sorted into classes" in note for note in data.notes)
    scan = scan_dataset(data)
    data = split_dataset(data, scan=scan)
    turned, theirs = with_turns(data, scan, task="classify")
    assert len(turned) == 80
    assert len(turned.labels) == 4
    assert turned.targets.tolist() == [0, 1, 2, 3] * 20
    first = data.image(0)
    for k in range(4):
        np.testing.assert_array_equal(turned.image(k), np.rot90(first, k))
        assert turned.samples[k].split == data.samples[0].split
        assert theirs.records[k].info is not None
        assert theirs.records[k].info.size_hw == np.rot90(first, k).shape[:2]
    np.testing.assert_array_equal(theirs.thumbnails[1], np.rot90(scan.thumbnails[0]))
    assert len({r.digest for r in theirs.records}) == 80
    assert len(with_turns(data, scan, task="classify", most=5)[0]) == 20


def test_images_in_parts_but_in_no_class_are_one_class_for_generation(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        for k in range(3):
            (tmp_path / "photos" / part).mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / "photos" / part / f"{k}.png", np.full((4, 4, 3), 9 * k, np.uint8))
    data = open_dataset(tmp_path / "photos", task="generate")
    assert data.labels.names == ("photos",)
    assert [s.split for s in data.samples] == ["test"] * 3 + ["train"] * 3 + ["val"] * 3
