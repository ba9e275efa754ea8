"""Every layout of clips gives the same samples; what cannot be used is named."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.drawn_clips import write_clip

from eyewright.core.errors import DatasetError
from eyewright.data.audit import audit_dataset
from eyewright.data.clip_tree import ClipTree
from eyewright.data.formats import open_dataset
from eyewright.data.scan import scan_dataset
from eyewright.imaging.encode import encode_image


def still(level: int = 90) -> np.ndarray:
    return np.full((5, 16, 16, 3), level, np.uint8)


def put(folder: Path, *names: str) -> None:
    for k, name in enumerate(names):
        write_clip(folder / name, still(20 + 10 * k))


def told(path: Path, **options: str) -> list[tuple[str, str, str | None, str | None]]:
    data = open_dataset(path, **options)  # type: ignore[arg-type]
    return [(s.id, data.labels.names[int(s.target)], s.split, s.group) for s in data.samples]


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    put(tmp_path, "walk/a.avi", "walk/b.avi", "sit/c.avi")
    data = open_dataset(tmp_path)
    assert (data.task, data.format, data.reads) == ("video", "clips", "clip")
    assert data.describe() == "clips: 3 clips, 2 classes, no split"
    assert told(tmp_path)[0] == ("sit/c.avi", "sit", None, None)


def test_splits_above_the_classes(tmp_path: Path) -> None:
    put(tmp_path, "train/walk/a.avi", "train/sit/b.avi", "test/walk/c.avi")
    assert {(i, split) for i, _, split, _ in told(tmp_path)} == {
        ("train/walk/a.avi", "train"),
        ("train/sit/b.avi", "train"),
        ("test/walk/c.avi", "test"),
    }


def test_a_table_with_recordings_and_parts_of_files(tmp_path: Path) -> None:
    put(tmp_path, "day1.avi", "day2.avi")
    (tmp_path / "labels.csv").write_text(
        "file,class,recording,start_s,end_s\nday1.avi,walk,d1,0,0.2\nday1.avi,sit,d1,0.2,0.4\nday2.avi,walk,d2,,\n"
    )
    expected = [
        ("day1.avi#t=0,0.2", "walk", None, "d1"),
        ("day1.avi#t=0.2,0.4", "sit", None, "d1"),
        ("day2.avi", "walk", None, "d2"),
    ]
    assert told(tmp_path) == expected
    assert told(tmp_path / "labels.csv") == expected
    digests = [r.digest for r in scan_dataset(open_dataset(tmp_path), quiet=True).records]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("missing.avi,walk,,", "'missing.avi' is missing"),
        ("a.avi,,,", "no class for 'a.avi'"),
        ("a.avi,walk,3,1", "expected start_s before end_s"),
        ("a.avi,walk,soon,1", "expected start_s as seconds from 0, found 'soon'"),
        ("a.avi,walk,1,nan", "expected end_s as seconds from 0, found 'nan'"),
        ("a.avi,walk,-1,1", "expected start_s as seconds from 0, found '-1'"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    put(tmp_path, "a.avi", "b.avi")
    (tmp_path / "labels.csv").write_text(f"file,class,start_s,end_s\nb.avi,sit,,\n{row}\n")
    data = open_dataset(tmp_path)
    assert [s.id for s in data.samples] == ["b.avi"]
    (problem,) = data.problems
    assert said in problem.message
    assert (problem.path, problem.line) == ("labels.csv", 3)
    assert [r.n for r in data.account.dropped] == [1]


def test_the_table_of_kinetics(tmp_path: Path) -> None:
    put(tmp_path, "train/abc_000010_000020.avi", "train/def_000000_000010.avi")
    (tmp_path / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nriding a bike,abc,10,20,train\nsinging,def,0,10,train\n"
    )
    assert [(i, label) for i, label, _, _ in told(tmp_path)] == [
        ("train/abc_000010_000020.avi", "riding a bike"),
        ("train/def_000000_000010.avi", "singing"),
    ]


def test_the_lists_of_ucf101(tmp_path: Path) -> None:
    put(tmp_path, "Archery/v_Archery_g01_c01.avi", "Archery/v_Archery_g02_c01.avi", "Diving/v_Diving_g01_c01.avi")
    (tmp_path / "classInd.txt").write_text("1 Archery\n2 Diving\n")
    (tmp_path / "trainlist01.txt").write_text("Archery/v_Archery_g01_c01.avi 1\nDiving/v_Diving_g01_c01.avi 2\n")
    (tmp_path / "testlist01.txt").write_text("Archery/v_Archery_g02_c01.avi\n")
    assert {(i.rpartition("/")[2], label, split) for i, label, split, _ in told(tmp_path)} == {
        ("v_Archery_g01_c01.avi", "Archery", "train"),
        ("v_Diving_g01_c01.avi", "Diving", "train"),
        ("v_Archery_g02_c01.avi", "Archery", "test"),
    }


def test_the_lists_of_mmaction(tmp_path: Path) -> None:
    put(tmp_path, "videos/a.avi", "videos/b.avi", "videos/c.avi")
    (tmp_path / "label_map.txt").write_text("walk\nsit\n")
    (tmp_path / "train_list.txt").write_text("a.avi 0\nb.avi 5 1\n")
    (tmp_path / "val_list.txt").write_text("c.avi 1\n")
    assert [(i, label, split) for i, label, split, _ in told(tmp_path)] == [
        ("videos/a.avi", "walk", "train"),
        ("videos/b.avi", "sit", "train"),
        ("videos/c.avi", "sit", "val"),
    ]


def test_a_flat_list_without_names_of_classes_has_numbers(tmp_path: Path) -> None:
    put(tmp_path, "videos_train/a b.avi", "videos_train/c.avi", "videos_val/d 1.avi")
    (tmp_path / "hmdb51_train_split_1_videos.txt").write_text("a b.avi 0\nc.avi 7\n")
    (tmp_path / "hmdb51_val_split_1_videos.txt").write_text("d 1.avi 7\n")
    assert [(i, label, split) for i, label, split, _ in told(tmp_path)] == [
        ("videos_train/a b.avi", "class 0", "train"),
        ("videos_train/c.avi", "class 7", "train"),
        ("videos_val/d 1.avi", "class 7", "val"),
    ]


def test_a_list_of_folders_of_frames(tmp_path: Path) -> None:
    for name in ("walk/one", "walk/two", "sit/three"):
        for k in range(5):
            place = tmp_path / "rawframes" / name / f"img_{k:05d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(encode_image(np.full((16, 16, 3), 8 * k, np.uint8)))
    (tmp_path / "train_list_rawframes.txt").write_text("walk/one 5 1\nsit/three 5 0\n")
    (tmp_path / "val_list_rawframes.txt").write_text("walk/two 5 1\n")
    data = open_dataset(tmp_path, task="video")
    assert data.format == "clips-list"
    assert {(i, label, split) for i, label, split, _ in told(tmp_path, task="video")} == {
        ("rawframes/walk/one", "walk", "train"),
        ("rawframes/sit/three", "sit", "train"),
        ("rawframes/walk/two", "walk", "val"),
    }
    assert data.tree.picture("rawframes/walk/one").height == 16 * 32


def test_doctor_names_clips_that_break_off_or_are_one_frame(tmp_path: Path) -> None:
    put(tmp_path, "walk/a.avi", "sit/b.avi")
    write_clip(tmp_path / "sit/c.avi", still()[:1])
    path = write_clip(tmp_path / "walk/d.avi", np.random.default_rng(0).integers(0, 255, (40, 48, 48, 3), np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "labels.csv").write_text("file,class\nwalk/a.avi,walk\nsit/c.avi,sit\nwalk/d.avi,walk\n")
    data = open_dataset(tmp_path)
    found = audit_dataset(data, scan_dataset(data, quiet=True))
    assert [f.path for f in found if f.code == "one_frame"] == ["sit/c.avi"]
    assert [f.path for f in found if f.code == "breaks_off"] == ["walk/d.avi"]
    # A video without a class is named once, and is no image by its name anyway.
    assert not [f for f in found if f.code == "skipped"]
    assert [f for f in found if "1 video has no class and is left out" in f.message]


def test_folders_of_numbered_frames(tmp_path: Path) -> None:
    for label in ("walk", "sit"):
        for k in (1, 2, 10, 9, 3):
            place = tmp_path / label / "clip1" / f"frame_{k}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(encode_image(np.full((16, 16, 3), 8 * k, np.uint8)))
    data = open_dataset(tmp_path, task="video")
    assert [s.id for s in data.samples] == ["sit/clip1", "walk/clip1"]
    tree = data.tree
    assert isinstance(tree, ClipTree)
    strip = np.asarray(tree.picture("walk/clip1"))
    levels = strip.reshape(tree.sampling.frames, -1).mean(1) / 8
    assert levels[0] == 1
    assert levels[-1] == 10
    assert (np.diff(levels) >= 0).all()


def test_names_that_differ_in_their_last_number_are_one_recording(tmp_path: Path) -> None:
    put(tmp_path, *(f"{c}/rec{r}_0{k}.avi" for c in ("sit", "walk") for r in "ABC" for k in range(2)))
    data = open_dataset(tmp_path)
    assert {s.group for s in data.samples} == {"recA", "recB", "recC"}
    assert any("count as one recording (3 recordings)" in n for n in data.notes)


def test_numbered_clips_of_no_recording_are_no_groups(tmp_path: Path) -> None:
    put(tmp_path, *(f"{c}/{k:03d}.avi" for c in ("sit", "walk") for k in range(4)))
    assert {s.group for s in open_dataset(tmp_path).samples} == {None}


def test_a_zip_is_read_in_place(tmp_path: Path) -> None:
    put(tmp_path / "data", "walk/a.avi", "sit/b.avi")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        for name in ("walk/a.avi", "sit/b.avi"):
            file.write(tmp_path / "data" / name, name)
    data = open_dataset(tmp_path / "data.zip")
    there = scan_dataset(data, quiet=True)
    here = scan_dataset(open_dataset(tmp_path / "data"), quiet=True)
    assert [r.digest for r in there.records] == [r.digest for r in here.records]
    assert there.readable.all()


def test_a_damaged_clip_is_a_record_with_an_error(tmp_path: Path) -> None:
    put(tmp_path, "walk/a.avi", "sit/b.avi")
    (tmp_path / "sit/c.avi").write_bytes(b"RIFF")
    scan = scan_dataset(open_dataset(tmp_path), quiet=True)
    assert [r.error is None for r in scan.records] == [True, False, True]


def test_images_beside_a_video_stay_images(tmp_path: Path) -> None:
    put(tmp_path, "cat/making-of.avi")
    for k in range(3):
        (tmp_path / f"cat/{k}.png").write_bytes(encode_image(np.zeros((8, 8, 3), np.uint8)))
    assert open_dataset(tmp_path, task="classify").reads == "image"


def test_clips_without_a_class_are_refused_in_one_line(tmp_path: Path) -> None:
    put(tmp_path, "a.avi")
    with pytest.raises(DatasetError, match="expected clips"):
        open_dataset(tmp_path)
