"""What a clip is, through the commands: files by their content, folders of frames, animations, tables and lists."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.drawn_clips import draw_crossing, write_animation, write_clip

import eyewright as ew
from eyewright.cli import main
from eyewright.data.formats import open_dataset
from eyewright.imaging.encode import write_image

CLASSES = ("leftwards", "rightwards")


def crossing(seed: int, *, times: int = 1) -> np.ndarray:
    return np.concatenate([draw_crossing(np.random.default_rng(seed), rightwards=True)] * times)


def write_frames(folder: Path, clip: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for k, frame in enumerate(clip):
        write_image(folder / f"frame_{k}.png", frame)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for part, n in (("train", 6), ("val", 3), ("test", 3)):
        for label in CLASSES:
            for k in range(n):
                clip = draw_crossing(rng, rightwards=label == "rightwards")
                write_clip(folder / part / label / f"{part}-{chr(97 + k)}.avi", clip)
    options: dict[str, Any] = {"epochs": 1, "imgsz": 24, "frames": 8, "baseline": "none"}
    run = ew.train(folder, out=folder.parent / "run", leaks="allow", group_by="none", **options)
    return str(ew.export(run, folder.parent / "bundle").folder)


def told(capsys: pytest.CaptureFixture[str], *argv: str | Path, code: int = 0) -> dict[str, Any]:
    assert main([*map(str, argv), "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *argv: str | Path, code: int) -> str:
    assert main(list(map(str, argv))) == code
    return capsys.readouterr().err


def test_several_clips_are_predicted_in_one_command(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write_clip(tmp_path / f"{k}.avi", crossing(k)) for k in (2, 1)]
    frames = write_frames(tmp_path / "frames", crossing(1))
    moving = write_animation(tmp_path / "moving.gif", crossing(1), step_ms=80)
    found = told(capsys, "predict", bundle, *files, frames, moving)["predictions"]
    assert [Path(p["source"]).name for p in found] == ["2.avi", "1.avi", "frames", "moving.gif"]
    assert [p["index"] for p in found] == [0, 1, 2, 3]
    # Frames of PNG and of a film of JPEG pictures are nearly the same.
    for other in found[2:]:
        assert dict(zip(other["labels"], other["scores"], strict=True)) == pytest.approx(
            dict(zip(found[1]["labels"], found[1]["scores"], strict=True)), abs=0.05
        )
    windows = told(capsys, "predict", bundle, *files, "--window", "0.5", "--on", "0", "--off", "0")
    assert {Path(s["source"]).name for s in windows["segments"]} == {"1.avi", "2.avi"}
    said = refused(capsys, "predict", bundle, files[0], "rtsp://127.0.0.1:9/none", code=2)
    assert "expected one source for a camera or stream, found 2" in said


def test_a_clip_is_known_by_its_content_wherever_it_is_named(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = write_clip(tmp_path / "a" / "film.avi", crossing(1))
    for name in ("no-ending", "named.png", "named.jpg"):
        shutil.copy(film, tmp_path / "a" / name)
    write_image(tmp_path / "a" / "cover.jpg", crossing(1)[0])
    (tmp_path / "a" / "words.mp4").write_text("no video")
    found = told(capsys, "predict", bundle, tmp_path / "a", code=1)
    assert [Path(p["source"]).name for p in found["predictions"]] == ["film.avi", "named.jpg", "named.png", "no-ending"]
    assert len({tuple(p["scores"]) for p in found["predictions"]}) == 1
    assert [f["code"] for f in found["findings"]] == ["no_clip", "not_a_video"]
    assert "'cover.jpg'" in found["findings"][0]["message"]
    assert "found text" in found["findings"][1]["message"]
    only = refused(capsys, "predict", bundle, tmp_path / "a" / "cover.jpg", code=3)
    assert "expected a video" in only
    assert "found a JPEG image" in only


@pytest.mark.parametrize("option", ["--hop", "--on", "--off", "--stride", "--max-frames", "--latest"])
def test_an_option_of_windows_is_refused_without_them(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    film = write_clip(tmp_path / "film.avi", crossing(1))
    value = [] if option == "--latest" else ["3" if option in ("--stride", "--max-frames") else "0.5"]
    said = refused(capsys, "predict", bundle, film, option, *value, code=2)
    assert f"expected --window with {option}, found {option} alone" in said


def test_the_last_window_ends_with_the_video(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 43 frames at 12 a second: the last is at 3.5 s, and windows of 1 s end at 1, 1.6, 2.2, 2.8 and 3.4 s.
    film = write_clip(tmp_path / "film.avi", crossing(1, times=4)[:43])
    found = told(capsys, "predict", bundle, film, "--window", "1", "--hop", "0.6", "--on", "0", "--off", "0")
    ends = [p["end_s"] for p in found["predictions"]]
    assert ends == pytest.approx([1, 1.667, 2.25, 2.833, 3.417, 3.5], abs=0.01)
    assert all(p["end_s"] - p["start_s"] <= 1.01 for p in found["predictions"])
    assert found["segments"][-1]["end_s"] == pytest.approx(3.5, abs=0.01)
    frames = write_frames(tmp_path / "frames", crossing(1))
    assert "have no times" in refused(capsys, "predict", bundle, frames, "--window", "1", code=3)


@pytest.mark.parametrize("ending", [".gif", ".png", ".webp"])
def test_every_picture_of_an_animation_is_tracked_at_its_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    path = write_animation(tmp_path / f"a{ending}", crossing(1), step_ms=80)
    found = told(capsys, "track", "--one", "0,0,16,16", "--source", path, "--method", "mosse")
    assert found["frames"] == 12


@pytest.mark.parametrize("name", ["film", "film.png", "film.txt"])
def test_a_video_is_tracked_whatever_it_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = write_clip(tmp_path / "a.avi", crossing(1)).rename(tmp_path / name)
    found = told(capsys, "track", "--one", "0,0,16,16", "--source", path, "--method", "mosse")
    assert found["frames"] == 12


def test_a_dataset_of_clips_has_all_that_are_clips_by_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, seed in (("walk", 1), ("sit", 2)):
        film = write_clip(tmp_path / "in" / label / "film.avi", crossing(seed))
        shutil.copy(write_clip(tmp_path / "other.avi", crossing(seed + 10)), film.with_name("no-ending"))
        write_animation(film.with_name("moving.gif"), crossing(seed + 20), step_ms=80)
        write_image(film.with_name("cover.jpg"), crossing(seed)[0])
    dataset = open_dataset(tmp_path / "in")
    assert [s.id for s in dataset.samples if s.id.startswith("walk")] == [
        "walk/film.avi", "walk/moving.gif", "walk/no-ending"
    ]  # fmt: skip
    assert any("2 images are no clips and are left out, such as 'sit/cover.jpg'" in note for note in dataset.notes)
    assert main(["convert", str(tmp_path / "in"), "--to", "clips", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "wrote    6 clips" in said
    assert "clips left out: a still image (2; sit/cover.jpg)" in said
    # Other programs tell a video by its name.
    names = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*"))
    assert [n for n in names if n.startswith("walk")] == ["walk/film.avi", "walk/moving.gif", "walk/no-ending.avi"]


def test_a_table_and_a_list_of_clips_are_read_by_their_path(tmp_path: Path) -> None:
    for k in range(3):
        write_clip(tmp_path / f"video{k}.avi", crossing(k))
    kinetics = tmp_path / "train.csv"
    kinetics.write_text("label,youtube_id,time_start,time_end\nwalk,video0,0,9\nsit,video1,0,9\n")
    lines = tmp_path / "train_list.txt"
    lines.write_text("video0.avi 0\nvideo2.avi 1\nvideo1.avi x\n")
    for path, ids in ((kinetics, ["video0.avi#t=0,9", "video1.avi#t=0,9"]), (lines, ["video0.avi", "video2.avi"])):
        for task in (None, "video"):
            assert [s.id for s in open_dataset(path, task=task).samples] == ids
    (problem,) = open_dataset(lines).problems
    assert problem.message == "expected the number of a class after 'video1.avi', found 'x'"
    assert (problem.path, problem.line) == ("train_list.txt", 3)
    # UCF101 has its lists in a folder of their own.
    folder = tmp_path / "lists"
    folder.mkdir()
    (tmp_path / "walk").mkdir()
    write_clip(tmp_path / "walk" / "v_a_g01_c01.avi", crossing(7))
    (folder / "trainlist01.txt").write_text("walk/v_a_g01_c01.avi 1\n")
    (folder / "classInd.txt").write_text("1 walk\n")
    assert [s.id for s in open_dataset(folder / "trainlist01.txt").samples] == ["walk/v_a_g01_c01.avi"]


def test_clips_are_grouped_by_the_names_of_files_and_the_words_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, base in (("walk", 0), ("sit", 20)):
        for k in range(6):
            write_clip(tmp_path / label / f"{label}{'abc'[k // 2]}_{k}.avi", crossing(base + k))
    assert main(["doctor", str(tmp_path)]) in (0, 1)
    said = " ".join(capsys.readouterr().out.split())
    assert "12 clips in 6 groups are kept together: 6 of one group (recordings by the names of files)" in said


def test_a_folder_of_animations_alone_is_one_of_clips(tmp_path: Path) -> None:
    for label, seed in (("walk", 1), ("sit", 2)):
        for k in range(3):
            write_animation(tmp_path / label / f"{k}.gif", crossing(seed + k), step_ms=80)
    assert open_dataset(tmp_path).task == "video"
    assert open_dataset(tmp_path, task="classify").task == "classify"
    for path in tmp_path.rglob("*.gif"):
        Image.fromarray(crossing(1)[0]).save(path)
    assert open_dataset(tmp_path).task == "classify"
