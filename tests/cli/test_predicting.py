"""`eyewright predict` of a video: a drawn video and predictions of every frame that was done."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import draw_scene, draw_shape

from eyewright.cli import main
from eyewright.imaging.sources import open_source
from eyewright.imaging.webm import WebmWriter

pytest.importorskip("cv2")

TIMES = (0.0, 0.1, 0.2, 0.7, 0.8, 2.0)


def write_video(path: Path, times: tuple[float, ...] = TIMES) -> Path:
    """Write a video whose frames are not evenly spaced; the middle ones show nothing."""
    rng = np.random.default_rng(0)
    with WebmWriter(path, quality=95) as video:
        for k, t in enumerate(times):
            empty = np.zeros((96, 96, 3), np.uint8)
            video.add(empty if k % 3 == 1 else draw_scene(rng)[0], t)
    return path


@pytest.mark.parametrize("name", ["finished", "found", "outlined", "painted", "tagged", "read"])
def test_a_video_of_any_task_is_drawn_frame_by_frame_at_its_times(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, source = request.getfixturevalue(name), write_video(tmp_path / "in.webm")
    out = tmp_path / "out"
    assert main(["predict", str(run.paths["bundle"]), "--source", str(source), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert sorted(p.name for p in out.iterdir()) == ["in.webm", "predictions.json"]
    assert said["out"] == {"video": str(out / "in.webm"), "predictions": str(out / "predictions.json")}
    assert json.loads((out / "predictions.json").read_text()) == said["predictions"]
    with open_source(out / "in.webm") as opened:
        frames = list(opened)
    assert [f.time_s for f in frames] == pytest.approx(TIMES, abs=0.002)
    assert [p["time_s"] for p in said["predictions"]] == pytest.approx(TIMES, abs=0.002)
    # Captions and legends, whose height differs from frame to frame, neither move nor squeeze the picture.
    with open_source(source) as opened:
        for shown, given in zip(frames, opened, strict=True):
            height, width = given.image.shape[:2]
            left = (shown.image.shape[1] - width) // 2
            part = shown.image[:height, left : left + width].astype(int)
            assert np.median(np.abs(part - given.image)) < 12


def test_images_of_a_video_are_written_where_that_is_asked(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = write_video(tmp_path / "in.webm", times=(0.0, 0.1))
    out = tmp_path / "out"
    wanted = ["predict", str(finished.paths["bundle"]), "--source", str(source), "--out", str(out), "--quiet"]
    assert main([*wanted, "--save", "images"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["00000-frame-0.png", "00001-frame-1.png"]


def test_what_cannot_be_saved_is_one_line(finished, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.png").write_bytes(b"")
    source, video = tmp_path / "a.png", write_video(tmp_path / "in.webm")
    for args, words in (
        (["--source", str(source), "--out", str(tmp_path / "o"), "--save", "video"], "needs a video, camera or stream"),
        (["--source", str(video), "--save", "video"], "pass --out DIR"),
        (["--source", str(video), "--out", str(tmp_path / "o"), "--save", "vidoe"], "did you mean 'video'"),
        (["--source", str(video), "--out", str(tmp_path / "o"), "--save", ","], "found nothing"),
    ):
        assert main(["predict", str(finished.paths["bundle"]), *args]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_process_that_is_killed_leaves_every_frame_that_it_reported(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    with WebmWriter(tmp_path / "long.webm") as video:
        for k in range(2000):
            video.add(draw_shape("disc", rng), k / 25)
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-m", "eyewright", "predict", str(finished.paths["bundle"]), "--source",
         str(tmp_path / "long.webm"), "--out", str(out)], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    for n, _ in enumerate(child.stdout, 1):
        if n == 60:
            break
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    with open_source(out / "long.webm") as source:
        frames = list(source)
    assert len(rows) >= 60
    assert len(frames) >= 60
    assert frames[59].time_s == pytest.approx(59 / 25, abs=0.002) == pytest.approx(rows[59]["time_s"], abs=0.01)


def test_the_line_of_an_image_has_the_labels_that_were_asked_for_and_the_set(
    finished, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    image, bundle = str(shapes / "disc" / "003.png"), str(finished.paths["bundle"])

    def said(*options: str) -> str:
        assert main(["predict", bundle, "--source", image, *options]) == 0
        return capsys.readouterr().out

    assert main(["predict", bundle, "--source", image, "--json", "--coverage", "0.6"]) == 0
    row = json.loads(capsys.readouterr().out)["predictions"][0]
    first = f"{row['labels'][0]} {row['scores'][0]:.1%}"
    assert said("--top", "1").strip() == f"{image}: {first}"
    assert said("--coverage", "0.6").strip().endswith(f"  [60.0% set: {', '.join(row['set']['labels']) or 'no label'}]")
