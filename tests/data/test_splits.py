from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyewright.core import LabelSpace
from eyewright.core.errors import DatasetError, UsageError
from eyewright.data import Dataset, Sample, open_dataset, scan_dataset, split_dataset
from eyewright.data.tree import FolderTree
from eyewright.imaging import encode_image


def made(targets: list[int], *, groups: list[str | None] | None = None, split: list[str] | None = None) -> Dataset:
    samples = tuple(
        Sample(f"{i}.png", t, split[i] if split else None, groups[i] if groups else None)  # type: ignore[arg-type]
        for i, t in enumerate(targets)
    )
    return Dataset(
        FolderTree(Path("/nowhere")), samples, LabelSpace(tuple("abcdefghij"[: max(targets) + 1])), "test", "classify"
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(10, 120), min_size=2, max_size=6), st.integers(0, 5))
def test_classes_keep_their_shares_and_every_image_has_one_part(sizes: list[int], seed: int) -> None:
    data = made([t for t, n in enumerate(sizes) for _ in range(n)])
    found = split_dataset(data, seed=seed)
    assert [s.id for s in found.samples] == [s.id for s in data.samples]
    for target, n in enumerate(sizes):
        counts = Counter(s.split for s in found.samples if s.target == target)
        for part, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
            assert abs(counts[part] - share * n) <= 1.5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=60, max_size=150))
def test_a_group_is_never_on_two_sides(rows: list[tuple[int, int]]) -> None:
    targets = [t for t, _ in rows]
    data = made(targets, groups=[f"g{g}" for _, g in rows])
    try:
        found = split_dataset(data)
    except DatasetError:
        return
    sides: dict[str | None, set[str | None]] = {}
    for s in found.samples:
        sides.setdefault(s.group, set()).add(s.split)
    assert all(len(parts) == 1 for parts in sides.values())


def test_the_seed_decides() -> None:
    data = made([0, 1] * 50)
    assert split_dataset(data, seed=1) == split_dataset(data, seed=1)
    assert split_dataset(data, seed=1) != split_dataset(data, seed=2)


def test_three_images_a_class_are_enough() -> None:
    found = split_dataset(made([0, 0, 0, 1, 1, 1]))
    for target in (0, 1):
        assert {s.split for s in found.samples if s.target == target} == {"train", "val", "test"}


def test_one_image_a_class_is_too_few() -> None:
    with pytest.raises(DatasetError, match="too few images"):
        split_dataset(made([0, 1]))


def test_a_complete_split_is_kept() -> None:
    data = made([0, 1] * 3, split=["train", "train", "val", "val", "test", "test"])
    assert [s.split for s in split_dataset(data).samples] == [s.split for s in data.samples]


def test_a_missing_val_is_taken_from_train_only() -> None:
    found = split_dataset(made([0, 1] * 60, split=["train"] * 100 + ["test"] * 20))
    assert Counter(s.split for s in found.samples) == {"train": 90, "val": 10, "test": 20}
    assert all(s.split == "test" for s in found.samples[100:])


def test_a_given_val_is_held_out_as_test_when_there_is_none() -> None:
    found = split_dataset(made([0, 1] * 60, split=["train"] * 100 + ["val"] * 20))
    assert all(s.split == "test" for s in found.samples[100:])
    assert "held out as test" in found.notes[-1]


@pytest.mark.parametrize("split", [["test"] * 4, ["train", "train", None, None]])
def test_a_split_that_makes_no_sense_is_refused(split: list[str]) -> None:
    with pytest.raises(DatasetError):
        split_dataset(made([0, 1, 0, 1], split=split))


def test_alike_images_stay_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(20):
        image = np.kron(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8), np.ones((8, 8, 1), np.uint8))
        for copy in range(4):
            place = tmp_path / "ab"[i % 2] / f"{i}-{copy}.png"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(encode_image(np.clip(image.astype(int) + copy, 0, 255).astype(np.uint8)))
    data = open_dataset(tmp_path)
    found = split_dataset(data, scan=scan_dataset(data))
    sides: dict[str, set[str | None]] = {}
    for s in found.samples:
        sides.setdefault(s.id.split("/")[1].split("-")[0], set()).add(s.split)
    assert all(len(parts) == 1 for parts in sides.values())
    assert set(found.splits) == {"train", "val", "test"}


def test_group_by_a_pattern_in_the_name() -> None:
    samples = tuple(Sample(f"c{i % 2}/person{i // 4}_{i}.png", i % 2) for i in range(80))
    data = Dataset(FolderTree(Path("/nowhere")), samples, LabelSpace(("c0", "c1")), "test", "classify")
    found = split_dataset(data, group_by=r"(person\d+)_")
    sides: dict[int, set[str | None]] = {}
    for i, s in enumerate(found.samples):
        sides.setdefault(i // 4, set()).add(s.split)
    assert all(len(parts) == 1 for parts in sides.values())
    with pytest.raises(UsageError, match="--group-by"):
        split_dataset(data, group_by="(")


def test_of_few_groups_more_are_tested() -> None:
    groups = [f"scene {i // 12}" for i in range(240)]
    found = split_dataset(made([i % 2 for i in range(240)], groups=groups))
    tested = {s.group for s in found.samples if s.split == "test"}
    assert len(tested) == 6
    assert "split 60/10/30 by class, more test than usual because there are only 20 groups" in found.notes
    many = split_dataset(made([i % 2 for i in range(240)], groups=[f"scene {i // 3}" for i in range(240)]))
    assert "split 70/10/20 by class" in many.notes


def test_a_class_that_lives_in_one_group_is_learnt_and_not_tested() -> None:
    # The lone class is the largest group, which the neediest part took before, whichever that was.
    targets = [0] * 40 + [1] * 60 + [2] * 25
    groups = ["clip"] * 40 + [f"b{i // 3}" for i in range(60)] + [f"c{i // 5}" for i in range(25)]
    for seed in range(5):
        found = split_dataset(made(targets, groups=groups), seed=seed)
        assert {s.split for s in found.samples if s.target == 0} == {"train"}
        for target in (1, 2):
            assert {s.split for s in found.samples if s.target == target} == {"train", "val", "test"}
        assert any(n.startswith("class 'a' is trained on but not tested") for n in found.notes)


def test_classes_of_one_group_each_are_refused_with_the_numbers_and_the_way_out() -> None:
    data = made([i // 50 for i in range(150)], groups=[f"clip {i // 50}" for i in range(150)])
    with pytest.raises(DatasetError) as caught:
        split_dataset(data)
    assert "the 150 images belong together in 3 groups, and all images of 3 of 3 classes are one group" in str(
        caught.value
    )
    assert "--group-by none" in str(caught.value.fix)


def test_images_of_one_scene_are_not_said_to_be_too_few() -> None:
    with pytest.raises(DatasetError, match=r"too few groups to split: .* the 8 images belong together in 1 group"):
        split_dataset(made([0] * 8, groups=["street"] * 8))


def test_a_group_larger_than_a_split_is_learnt_from() -> None:
    groups = ["big"] * 210 + [f"s{i // 14}" for i in range(94)]
    targets = [0] * 108 + [1] * 102 + [i % 2 for i in range(94)]
    for seed in range(5):
        found = split_dataset(made(targets, groups=groups), seed=seed)
        assert {s.split for s in found.samples if s.group == found.samples[0].group} == {"train"}
        assert {s.split for s in found.samples} == {"train", "val", "test"}


def test_two_groups_of_each_class_are_too_few_for_three_parts() -> None:
    data = made([i % 2 for i in range(80)], groups=[f"{i % 2} {i // 2 % 2}" for i in range(80)])
    with pytest.raises(DatasetError, match=r"too few groups to split: nothing left for val"):
        split_dataset(data)


def test_three_groups_of_each_class_are_enough() -> None:
    data = made([i % 2 for i in range(90)], groups=[f"{i % 2} {i // 2 % 3}" for i in range(90)])
    for seed in range(5):
        found = {(s.split, s.target) for s in split_dataset(data, seed=seed).samples}
        assert found == {(p, k) for p in ("train", "val", "test") for k in (0, 1)}


@pytest.mark.parametrize("seed", range(6))
def test_a_class_of_one_image_is_learnt_and_one_inside_the_groups_of_others_too(seed: int) -> None:
    for groups in ([None] * 41, [None] * 39 + ["pair"] * 2):
        single = split_dataset(made([0] * 40 + [1], groups=groups), seed=seed)
        assert single.samples[-1].split == "train"
    data = made([int(i in (0, 30)) for i in range(60)], groups=[f"g{i // 3}" for i in range(60)])
    assert any(s.split == "train" for s in split_dataset(data, seed=seed).samples if s.target == 1)


def test_a_note_says_what_large_groups_made_of_the_parts() -> None:
    data = made([i % 2 for i in range(200)], groups=["abcd"[i // 50] for i in range(200)])
    (note,) = split_dataset(data).notes
    sizes = Counter(s.split for s in split_dataset(data).samples)
    words = "/".join(f"{sizes[p] / 2:.0f}" for p in ("train", "val", "test"))
    assert note.endswith(f"; groups are so large that it became {words}")
