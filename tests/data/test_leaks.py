"""Copies between given parts: what is found, what is left out, what is refused."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import LeakError, UsageError
from eyewright.data import Dataset, leak_rule, open_dataset, scan_dataset, settle_leaks, split_dataset
from eyewright.data.audit_pixels import audit_pixels
from eyewright.data.copies import LeakRule
from eyewright.data.grouping import Grouping
from eyewright.data.leaks import find_copies
from eyewright.imaging import encode_image, read_image


def photo(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    few = Image.fromarray(rng.integers(40, 216, (8, 10, 3)).astype(np.uint8))
    wide = np.asarray(few.resize((80, 64), Image.Resampling.BICUBIC)).astype(np.int64)
    return np.clip(wide + rng.integers(-9, 10, wide.shape), 0, 255).astype(np.uint8)


def darker(seed: int) -> np.ndarray:
    return (photo(seed) * 0.8 + 5).astype(np.uint8)


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(pixels))


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """120 training images, 20 of validation, 20 of test; no copies."""
    seed = 0
    for part, n in (("train", 60), ("val", 10), ("test", 10)):
        for name in ("bolt", "nut"):
            for i in range(n):
                seed += 1
                put(tmp_path / part / name / f"{i:03d}.png", photo(seed))
    return tmp_path


def settled(folder: Path, rule: LeakRule = "drop", *, group_by: str | None = None) -> Dataset:
    data = open_dataset(folder)
    scan = scan_dataset(data, quiet=True)
    return settle_leaks(split_dataset(data, scan=scan, group_by=group_by), scan, rule)


def ids(data: Dataset, part: str) -> set[str]:
    return {s.id for s in data.samples if s.split == part}


def copy(folder: Path, source: str, target: str) -> None:
    (folder / target).write_bytes((folder / source).read_bytes())


def test_a_copy_is_left_out_of_train_and_never_out_of_test(parts: Path) -> None:
    copy(parts, "test/nut/000.png", "train/nut/copy.png")
    data = settled(parts)
    assert "train/nut/copy.png" not in ids(data, "train")
    assert len(ids(data, "train")) == 120
    assert len(ids(data, "test")) == 20
    assert data.leaks is not None
    assert str(data.leaks.copies[0]) == "'train/nut/copy.png' of 'test/nut/000.png' (the same bytes)"
    assert any("1 of 121 training images (0.83 %) is a copy of 1 of 20 test images" in n for n in data.notes)
    assert [(r.n, r.path) for r in data.account.left_out] == [(1, "train/nut/copy.png")]


def test_a_copy_under_other_light_counts_and_names_how(parts: Path) -> None:
    put(parts / "train/nut/darker.png", darker(141))
    data = settled(parts)
    assert data.leaks is not None
    assert [(c.id, c.how) for c in data.leaks.dropped] == [("train/nut/darker.png", "the same view")]


def test_a_validation_image_gives_way_to_test_and_a_training_image_to_validation(parts: Path) -> None:
    copy(parts, "test/nut/000.png", "val/nut/copy.png")
    data = settled(parts)
    assert "val/nut/copy.png" not in ids(data, "val")
    copy(parts, "val/bolt/000.png", "train/bolt/copy.png")
    (parts / "val/nut/copy.png").unlink()
    data = settled(parts)
    assert "val/bolt/000.png" in ids(data, "val")
    assert "train/bolt/copy.png" not in ids(data, "train")


def test_more_than_one_in_a_hundred_is_refused_with_the_numbers_and_the_options(parts: Path) -> None:
    for k in range(6):
        copy(parts, f"test/nut/{k:03d}.png", f"train/nut/copy{k}.png")
    with pytest.raises(LeakError) as met:
        settled(parts)
    assert "6 of 126 training images (4.8 %) are copies of 6 of 20 test images" in met.value.message
    assert "up to 1%" in met.value.message
    assert "--leaks allow" in str(met.value.fix)


def test_refuse_refuses_one_copy_and_allow_keeps_it_with_a_warning(parts: Path) -> None:
    copy(parts, "test/nut/000.png", "train/nut/copy.png")
    with pytest.raises(LeakError, match="--leaks refuse was asked for"):
        settled(parts, "refuse")
    data = settled(parts, "allow")
    assert "train/nut/copy.png" in ids(data, "train")
    assert data.leaks is not None
    assert "too good" in data.leaks.warnings()[0]


def test_siblings_are_kept_and_counted(parts: Path) -> None:
    data = settled(parts, group_by=r"(00\d)\.png")
    assert data.leaks is not None
    assert (data.leaks.copies, data.leaks.siblings, data.leaks.sibling_groups) == ((), 20, 10)
    assert "20 of 20 test images belong to 10 groups" in data.leaks.warnings()[0]
    assert len(data) == 160


def test_images_of_one_colour_are_no_copies(parts: Path) -> None:
    for part in ("train", "test"):
        put(parts / part / "nut" / "black.png", np.zeros((64, 80, 3), np.uint8))
    data = settled(parts, "refuse")
    assert data.leaks is not None
    assert not data.leaks.copies


def test_group_by_none_looks_at_bytes_only(parts: Path) -> None:
    put(parts / "train/nut/darker.png", darker(141))
    copy(parts, "test/nut/000.png", "train/nut/copy.png")
    data = settled(parts, "allow", group_by="none")
    assert data.leaks is not None
    assert [c.id for c in data.leaks.copies] == ["train/nut/copy.png"]


def test_a_class_that_would_vanish_is_refused_by_name(parts: Path) -> None:
    put(parts / "test/washer/1.png", photo(900))
    (parts / "train/washer").mkdir()
    copy(parts, "test/washer/1.png", "train/washer/1.png")
    with pytest.raises(LeakError, match="class 'washer' would have nothing to learn from"):
        settled(parts)


def test_groups_point_at_the_same_images_after_something_was_left_out(parts: Path) -> None:
    copy(parts, "test/nut/000.png", "train/bolt/000a.png")
    copy(parts, "train/nut/005.png", "train/nut/005b.png")
    data = settled(parts)
    assert data.grouping is not None
    (group,) = data.grouping.groups
    assert [data.samples[i].id for i in group.members] == ["train/nut/005.png", "train/nut/005b.png"]


def test_the_same_files_in_another_order_leave_the_same_images_out(parts: Path) -> None:
    copy(parts, "test/nut/000.png", "train/nut/copy.png")
    first = settled(parts)
    data = open_dataset(parts)
    samples = list(data.samples)
    random.Random(1).shuffle(samples)
    data = data.with_samples(samples)
    other = settle_leaks(data, scan_dataset(data, quiet=True), "drop")
    assert {s.id for s in other.samples} == {s.id for s in first.samples}


def test_an_unknown_rule_and_a_contradiction_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="expected drop, refuse or allow for --leaks, found 'ignore'"):
        leak_rule("ignore")
    with pytest.raises(UsageError, match="--leaks refuse and --allow-leaks"):
        leak_rule("refuse", True)
    assert (leak_rule(None), leak_rule(None, True), leak_rule("allow", True)) == ("drop", "allow", "allow")


def test_copies_that_are_allowed_are_not_called_siblings_that_are_no_copies(parts: Path) -> None:
    copy(parts, "test/nut/000.png", "train/nut/copy.png")
    put(parts / "train" / "nut" / "dark.png", darker(131))
    leaks = settled(parts, "allow").leaks
    assert leaks is not None
    assert leaks.copies
    assert (leaks.siblings, leaks.sibling_groups) == (0, 0)
    assert not any("They are no copies" in w for w in leaks.warnings())


def deep(seed: int) -> np.ndarray:
    """12-bit values in an image of 16 bits: its high byte has nine levels."""
    rng = np.random.default_rng(seed)
    few = Image.fromarray(rng.normal(1200, 300, (6, 6)).astype(np.float32))
    wide = np.asarray(few.resize((96, 96), Image.Resampling.BICUBIC)) + rng.normal(0, 30, (96, 96))
    return np.clip(wide, 0, 4095).astype(np.uint16)


def test_copies_of_12_bit_images_are_found_and_their_narrow_range_is_named(tmp_path: Path) -> None:
    for i in range(40):
        for part in ("train", "test"):
            path = tmp_path / part / "ab"[i % 2] / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(deep(i + 100 * (part == "test"))).save(path)
    # As a server keeps it: the high byte, saved anew.
    kept = read_image(tmp_path / "test" / "a" / "00.png")
    Image.fromarray(kept[..., 0]).save(tmp_path / "train" / "a" / "kept.png")
    Image.fromarray(np.full((96, 96), 900, np.uint16)).save(tmp_path / "train" / "a" / "flat.png")
    Image.fromarray(np.full((96, 96), 900, np.uint16)).save(tmp_path / "test" / "a" / "flat.tif")
    data = open_dataset(tmp_path)
    scan = scan_dataset(data, quiet=True)
    copies = find_copies(split_dataset(data, scan=scan), scan)
    assert [(c.id, c.of) for c in copies] == [("train/a/kept.png", "test/a/00.png")]
    (finding,) = (f for f in audit_pixels(data, scan)[0] if f.code == "narrow_range")
    assert len(finding.paths) == 82
    assert "of 256 levels are left" in finding.message


def test_images_of_16_bits_that_use_them_are_not_named(tmp_path: Path) -> None:
    for i in range(4):
        path = tmp_path / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(deep(i) * 16).save(path)
    data = open_dataset(tmp_path)
    assert audit_pixels(data, scan_dataset(data, quiet=True))[0] == []


def test_links_that_the_grouping_did_not_see_are_no_leak(tmp_path: Path) -> None:
    from dataclasses import replace

    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8).repeat(12, 0).repeat(12, 1)
    for i in range(6):
        other = np.clip(picture.astype(int) + i, 0, 255).astype(np.uint8)
        path = tmp_path / ("train" if i < 4 else "val") / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(other))
    data = open_dataset(tmp_path)
    scan = scan_dataset(data, quiet=True)
    assert find_copies(data, scan)
    assert not find_copies(data, scan, frozenset())
    assert not find_copies(replace(data, grouping=Grouping()), scan)
