"""Clips in other formats: the same clips, classes and parts are read back, and what is lost is said."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.drawn_clips import draw_crossing, write_clip

from eyewright.cli import main
from eyewright.core.errors import UsageError
from eyewright.data import open_dataset
from eyewright.data.dataset import Dataset
from eyewright.lifecycle import convert

FORMATS = ("clips", "clips-csv", "kinetics", "ucf101", "mmaction")


def draw(path: Path, seed: int, frames: int = 12) -> Path:
    return write_clip(path, draw_crossing(np.random.default_rng(seed), rightwards=bool(seed % 2), frames=frames))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for k, part in enumerate(("train", "train", "val", "test")):
        for i, label in enumerate(("turn left", "walk")):
            # Of one name in every part.
            draw(folder / part / label / f"a {k % 2}.avi", 10 * k + i)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts of two long files."""
    folder = tmp_path_factory.mktemp("table")
    for k in range(2):
        draw(folder / f"long{k}.avi", k, frames=36)
    parts = (("sit", 0, 1), ("walk", 1.5, 2.5))
    rows = [f"long{k}.avi,{label},{start},{end},day {k}" for k in (0, 1) for label, start, end in parts]
    (folder / "labels.csv").write_text("\n".join(["file,class,start_s,end_s,recording", *rows]))
    return folder


def read_back(path: Path) -> Dataset:
    dataset = open_dataset(path, task="video")
    assert not dataset.problems
    return dataset


def facts(dataset: Dataset, names: tuple[str, ...]) -> list[tuple[str, str | None, bytes]]:
    """Return the class, the part and the pixels of every clip, in an order of their own."""
    targets = dataset.targets.tolist()
    rows = [(names[targets[i]], s.split, dataset.image(i).tobytes()) for i, s in enumerate(dataset.samples)]
    return sorted(rows, key=str)


@pytest.mark.parametrize("to", FORMATS)
def test_clips_are_read_back_as_they_were(clips: Path, tmp_path: Path, to: str) -> None:
    before = open_dataset(clips)
    written = convert(clips, to=to, out=tmp_path / "out")
    assert written.images == 8
    after = read_back(tmp_path / "out")
    assert after.labels.names == ("turn left", "walk")
    assert facts(after, after.labels.names) == facts(before, before.labels.names)


@pytest.mark.parametrize("to", ["ucf101", "mmaction"])
def test_lists_hold_no_spaces_in_paths(clips: Path, tmp_path: Path, to: str) -> None:
    convert(clips, to=to, out=tmp_path / "out")
    lists = [p for p in (tmp_path / "out").glob("*.txt") if p.stem not in ("classInd", "label_map")]
    lines = [line for path in lists for line in path.read_text().splitlines()]
    assert len(lines) == 8
    assert all(len(line.split()) == 2 and (tmp_path / "out" / line.split()[0]).is_file() for line in lines)


def test_a_table_keeps_parts_of_files_and_recordings(table: Path, tmp_path: Path) -> None:
    written = convert(table, to="clips-csv", out=tmp_path / "out")
    assert written.lost == ()
    assert len(list((tmp_path / "out/clips").iterdir())) == 2, "each file once"
    before, after = open_dataset(table, task="video"), read_back(tmp_path / "out")
    assert facts(after, after.labels.names) == facts(before, before.labels.names)
    assert sorted(s.group or "" for s in after.samples) == ["day 0", "day 0", "day 1", "day 1"]


def test_kinetics_keeps_parts_of_files_and_says_that_recordings_are_lost(table: Path, tmp_path: Path) -> None:
    written = convert(table, to="kinetics", out=tmp_path / "out")
    assert written.lost == ("the recording of each clip (clips-csv keeps it) (4)",)
    before, after = open_dataset(table, task="video"), read_back(tmp_path / "out")
    assert facts(after, after.labels.names) == facts(before, before.labels.names)


@pytest.mark.parametrize("to", ["clips", "ucf101", "mmaction"])
def test_parts_of_files_are_cut_out_where_a_format_has_files_only(table: Path, tmp_path: Path, to: str) -> None:
    written = convert(table, to=to, out=tmp_path / "out")
    assert any("encoded again as WebM (4)" in lost for lost in written.lost)
    before, after = open_dataset(table, task="video"), read_back(tmp_path / "out")
    assert [p.suffix for p in sorted((tmp_path / "out").rglob("*.webm"))] == [".webm"] * 4
    for label in ("sit", "walk"):
        theirs, own = (
            [d.image(i) for i, t in enumerate(d.targets.tolist()) if t == d.labels.names.index(label)]
            for d in (before, after)
        )
        for a in own:
            near = min(float(np.abs(a.astype(int) - b).mean()) for b in theirs)
            assert near < 8, "the same frames, but for the codec"


def test_numbered_frames_become_videos(tmp_path: Path) -> None:
    for label in ("sit", "walk"):
        for k, frame in enumerate(draw_crossing(np.random.default_rng(0), rightwards=label == "walk", frames=6)):
            path = tmp_path / "data" / label / "clip1" / f"{k:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), frame)
    written = convert(tmp_path / "data", to="clips", task="video", out=tmp_path / "out")
    assert any("encoded again" in lost for lost in written.lost)
    after = read_back(tmp_path / "out")
    assert [s.id for s in after.samples] == ["sit/clip1.webm", "walk/clip1.webm"]


def test_a_clip_that_cannot_be_read_is_left_out_and_said(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("sit", "walk"):
        for k in range(2):
            draw(tmp_path / "data" / label / f"{k}.avi", k)
    (tmp_path / "data/walk/1.avi").write_bytes(b"RIFF\x00\x00\x00\x00AVI LIST")
    assert main(["convert", str(tmp_path / "data"), "--to", "clips", "--out", str(tmp_path / "out"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 3
    assert told["account"]["left_out"][0]["reason"] == "cannot be read"
    assert told["account"]["counted"] == "clip"
    assert not (tmp_path / "out/walk/1.avi").exists()


def test_images_are_no_clips_and_clips_no_images(clips: Path, shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a dataset of images to write 'imagefolder', found one of clips"):
        convert(clips, to="imagefolder", out=tmp_path / "out")
    with pytest.raises(UsageError, match="expected a dataset of clips to write 'clips', found one of images"):
        convert(shapes, to="clips", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
