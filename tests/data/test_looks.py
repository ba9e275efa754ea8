"""Look-alikes are found where images form sessions, and not where they only crowd."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import UsageError
from eyewright.data import open_dataset, scan_dataset
from eyewright.data.group_file import read_group_file, write_group_file
from eyewright.data.grouped import find_groups
from eyewright.data.looks import STRUCTURE, find_sessions, look_spaces
from eyewright.data.series import name_rules


def clumps(rng: np.random.Generator, count: int, size: int, dimensions: int, spread: float) -> NDArray[np.float64]:
    centres = rng.normal(0, 1, (count, dimensions))
    return np.repeat(centres, size, 0) + rng.normal(0, spread, (count * size, dimensions))


@pytest.mark.parametrize("dimensions", [2, 3, 8, 20])
@pytest.mark.parametrize("shape", ["normal", "uniform", "curved"])
def test_unrelated_pictures_form_no_sessions(dimensions: int, shape: str) -> None:
    rng = np.random.default_rng(dimensions)
    for n in (120, 400, 1500):
        vectors = rng.normal(0, 1, (n, dimensions)) if shape == "normal" else rng.uniform(0, 1, (n, dimensions))
        if shape == "curved":
            vectors = np.c_[vectors, vectors**2, np.sin(3 * vectors)]
        assert find_sessions(vectors, range(n), [i % 2 for i in range(n)], "background") is None, n


@pytest.mark.parametrize(("size", "spread"), [(6, 0.15), (24, 0.1)])
def test_sessions_are_found_whatever_their_size(size: int, spread: float) -> None:
    rng = np.random.default_rng(0)
    count = 360 // size
    vectors = clumps(rng, count, size, 4, spread)
    truth = np.repeat(np.arange(count), size)
    found = find_sessions(vectors, range(360), [int(t % 2) for t in truth], "background")
    assert found is not None
    assert found.p_value < 0.01
    assert found.images > 150
    pure = sum(len(set(truth[list(m)].tolist())) == 1 for m in found.members)
    assert pure >= 0.9 * len(found.members)


def test_known_groups_are_no_news() -> None:
    vectors = clumps(np.random.default_rng(0), 100, 4, 4, 0.02)
    known = np.repeat(np.arange(0, 400, 4), 4).tolist()
    strata = [(i // 4) % 2 for i in range(400)]
    assert find_sessions(vectors, known, strata, STRUCTURE) is None
    assert find_sessions(vectors, range(400), strata, STRUCTURE) is not None


def test_classes_that_are_clumps_are_no_sessions() -> None:
    vectors = clumps(np.random.default_rng(0), 40, 9, 4, 0.05)
    assert find_sessions(vectors, range(360), np.repeat(np.arange(40), 9).tolist(), STRUCTURE) is None


def stained(folder: Path, patients: int, slices: int, *, named: str, grey: bool = False) -> dict[str, int]:
    """Write pictures of unlike content, every patient's on paper of one colour; two classes, neutral names if asked."""
    rng = np.random.default_rng(3)
    order = iter(rng.permutation(patients * slices).tolist())
    truth = {}
    for patient in range(patients):
        paper = rng.uniform(140, 250, 3) if not grey else np.full(3, 130 + 120 * patient / patients)
        for piece in range(slices):
            picture = np.broadcast_to(paper, (48, 48, 3)).copy()
            for _ in range(12):
                y, x = rng.integers(0, 40, 2)
                picture[y : y + 8, x : x + 8] = rng.uniform(0, 130, 1 if grey else 3)
            picture += rng.normal(0, 3, picture.shape)
            name = named.format(patient=patient, piece=piece, number=next(order))
            place = folder / "ab"[patient % 2] / name
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(place)
            truth[f"{'ab'[patient % 2]}/{name}"] = patient
    return truth


def test_a_stain_is_proposed_and_its_table_is_obeyed(tmp_path: Path) -> None:
    truth = stained(tmp_path / "data", 30, 6, named="{number:04d}x.png")
    dataset = open_dataset(tmp_path / "data")
    scan = scan_dataset(dataset, quiet=True)
    grouping = find_groups(dataset, scan)
    [proposal] = grouping.proposals
    assert proposal.look in ("background", "colours")
    assert not grouping.groups
    names = [s.id for s in dataset.samples]
    pure = sum(len({truth[names[i]] for i in m}) == 1 for m in proposal.members)
    assert pure >= 0.9 * len(proposal.members)
    # Of a split at random, most test images share a stain with training images.
    splits = ["test" if k % 5 == 0 else "train" for k in range(len(names))]
    assert proposal.divided(splits) > 0.3 * splits.count("test")
    assert proposal.divided(["train"] * len(names)) == 0
    write_group_file(tmp_path / "groups.csv", names, proposal.members)
    obeyed = find_groups(dataset, scan, group_by=str(tmp_path / "groups.csv"))
    assert {g.members for g in obeyed.groups} == set(proposal.members)
    assert {g.kind for g in obeyed.groups} == {"rule"}
    assert not obeyed.proposals


def test_a_stain_confirms_a_number_in_the_names(tmp_path: Path) -> None:
    stained(tmp_path, 12, 6, named="P{patient:03d}_s{piece}.png", grey=True)
    dataset = open_dataset(tmp_path)
    scan = scan_dataset(dataset, quiet=True)
    names = [s.id for s in dataset.samples]
    spaces = look_spaces(scan.thumbnails, scan.colours)
    assert set(spaces) == {"background", "colours"}
    [rule, *others] = name_rules(names, dataset.strata, dataset.labels.names, scan.features, looks=spaces)
    assert not others, others
    assert rule.groups == 12
    assert rule.look
    assert rule.effect > 0.8
    assert len(find_groups(dataset, scan).groups) == 12


def test_groups_of_one_class_each_are_groups_whatever_they_look_like() -> None:
    rng = np.random.default_rng(0)
    names = [f"{'ab'[p % 2]}/P{p:03d}_s{k}.png" for p in range(20) for k in range(5)]
    strata = [p % 2 for p in range(20) for _ in range(5)]
    features = rng.normal(0, 1, (100, 8)).astype(np.float32)
    [rule] = name_rules(names, strata, ("a", "b"), features)
    assert rule.pure
    assert rule.groups == 20
    # Groups of both classes say nothing, and neither does a number that is the class.
    assert not name_rules(names, [i % 2 for i in range(100)], ("a", "b"), features)
    classes = [f"{'ab'[k % 2]}/{k % 2}_{k:03d}.png" for k in range(100)]
    assert not name_rules(classes, [k % 2 for k in range(100)], ("a", "b"), features)


def test_drawings_have_no_looks() -> None:
    thumbnails = np.zeros((50, 64, 64), np.uint8)
    thumbnails[:, 20:40, 20:40] = 200
    assert not look_spaces(thumbnails, np.zeros((50, 16, 16, 3), np.uint8))


def test_a_table_of_groups_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    write_group_file(path, ["a/1.png", 'a/"2,".png', "b/3.png"], [[0, 1]])
    assert read_group_file(str(path), ["a/1.png", 'a/"2,".png', "b/3.png"]) == (["g0001", "g0001", None], ())
    path.write_text("\ufeffnote,group,path\nx,7,./a/1.png\ny,,b/3.png\nz,7,gone.png\n", "utf-8")
    keys, warnings = read_group_file(str(path), ["a/1.png", "b/3.png"])
    assert keys == ["7", None]
    assert warnings == (f"1 of the 3 paths in {str(path)!r} are not in the data, such as 'gone.png'",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("", "found nothing"),
        ("file,group\na.png,1\n", "found file, group"),
        ("path,group\na.png,1\na.png,2\n", "line 3: 'a.png' is in the groups '1' and '2'"),
        ("path,group\nz.png,1\n", "puts none of the 2 images into a group: it names 'z.png', the data 'a.png'"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "groups.csv"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=said):
        read_group_file(str(path), ["a.png", "b.png"])
