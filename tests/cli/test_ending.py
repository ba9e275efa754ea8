"""What a signal leaves of a command on a video: every finished frame, one line, the documented code."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.lifecycle.test_following import Finder, draw

import eyewright as ew
from eyewright.cli import main
from eyewright.data.tracks import read_tracks
from eyewright.imaging.webm import WebmWriter

pytest.importorskip("cv2")

STOPPED_AT = 12


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "street.webm"
    with WebmWriter(path, quality=90) as writer:
        for k in range(30):
            writer.add(draw(k), k / 10)
    return path


def _stopped(raised: Callable[[], BaseException]) -> type[Finder]:
    class Stopped(Finder):
        """A detector during whose thirteenth frame somebody presses Ctrl-C."""

        seen = 0

        def predict_images(self, images: list[np.ndarray], **options: Any) -> list:
            self.seen += 1
            if self.seen > STOPPED_AT:
                raise raised()
            return super().predict_images(images, **options)

    return Stopped


def _n_frames(path: Path) -> int:
    with ew.open_source(path) as source:
        return sum(1 for _ in source)


@pytest.mark.parametrize(
    ("raised", "code", "word"), [(KeyboardInterrupt, 130, "interrupted"), (lambda: SystemExit(143), 143, "terminated")]
)
def test_tracking_that_is_stopped_has_what_was_tracked_in_every_form_and_says_so(
    raised: Callable[[], BaseException], code: int, word: str, video: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from eyewright.lifecycle import following

    monkeypatch.setattr(following, "open_any", lambda path, **_: _stopped(raised)())
    out = tmp_path / "out"
    words = ["track", "any", str(video), "--out", str(out), "--save", "json,video,report"]
    assert main(words) == code
    said = capsys.readouterr()
    assert said.err.startswith(f"eyewright: {word} after {STOPPED_AT} frames, written to ")
    assert said.err.count("\n") == 1
    assert "street.json, street.webm, street.html; run it again" in said.err
    assert said.out.startswith(f"2 tracks in {STOPPED_AT} frames")
    assert sorted(p.name for p in out.iterdir()) == ["street.html", "street.json", "street.webm"]
    assert read_tracks(out / "street.json", "tracks").tracks.n_frames == STOPPED_AT
    assert _n_frames(out / "street.webm") == STOPPED_AT


def test_the_json_of_a_stopped_command_has_what_was_found(
    video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyewright.lifecycle import following

    monkeypatch.setattr(following, "open_any", lambda path, **_: _stopped(KeyboardInterrupt)())
    assert main(["track", "any", str(video), "--json"]) == 130
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["error"]["code"], found["frames"]) == (False, "interrupted", STOPPED_AT)
    assert [t["frames"] for t in found["tracks"]] == [STOPPED_AT] * 2
    assert "--out" in found["error"]["fix"]


def test_offline_tracks_so_far_are_filled_when_it_is_stopped(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyewright.lifecycle import following

    monkeypatch.setattr(following, "open_any", lambda path, **_: _stopped(KeyboardInterrupt)())
    words = ["track", "any", str(video), "--offline", "--out", str(tmp_path / "out"), "--save", "mot,json"]
    assert main(words) == 130
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["street.json", "street.txt"]
    assert len(read_tracks(tmp_path / "out" / "street.txt", "tracks").tracks) == 2 * STOPPED_AT


def test_a_stream_that_breaks_leaves_what_was_tracked_and_ends_with_its_own_error(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyewright.core.errors import InputError
    from eyewright.lifecycle import following

    broken = _stopped(lambda: InputError("the stream does not answer", fix="check it"))
    monkeypatch.setattr(following, "open_any", lambda path, **_: broken())
    out = tmp_path / "out"
    assert main(["track", "any", str(video), "--out", str(out), "--save", "json"]) == 3
    assert "does not answer" in capsys.readouterr().err
    assert read_tracks(out / "street.json", "tracks").tracks.n_frames == STOPPED_AT


def test_a_camera_has_its_json_at_the_end(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyewright.lifecycle import following

    real = following.open_source
    monkeypatch.setattr(following, "open_any", lambda path, **_: _stopped(KeyboardInterrupt)())
    monkeypatch.setattr(following, "open_source", lambda source, **options: real(video, **options))
    out = tmp_path / "out"
    assert main(["track", "any", "rtsp://me:secret@camera/door", "--out", str(out), "--save", "json"]) == 130
    said = capsys.readouterr().err
    assert "run it again with another --out to continue" in said
    assert "secret" not in said
    assert [p.name for p in out.iterdir()] == ["door.json"]
    assert len(read_tracks(out / "door.json", "tracks").tracks) == 2 * STOPPED_AT


@pytest.mark.parametrize("moving", [True, False])
def test_predictions_that_are_stopped_are_written_and_said(
    moving: bool, finished, shapes: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    from eyewright.cli import predicting

    name = "_frames" if moving else "_predicted_files"
    real = getattr(predicting, name)

    def stopped(*args: Any) -> Iterator[Any]:
        for k, item in enumerate(real(*args)):
            if k == 3:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(predicting, name, stopped)
    source = tmp_path / "in.webm"
    with WebmWriter(source) as video:
        for k in range(6):
            video.add(draw(k), k / 10)
    given, out = str(source if moving else shapes / "disc"), tmp_path / "out"
    words = ["predict", str(finished.paths["bundle"]), given, "--out", str(out), "--quiet", "--save"]
    assert main([*words, "json,csv,video" if moving else "json,csv,images"]) == 130
    said = capsys.readouterr().err
    assert said.startswith(f"eyewright: interrupted after 3 {'frames' if moving else 'images'}, written to ")
    assert len(json.loads((out / "predictions.json").read_text())) == 3
    assert len((out / "predictions.csv").read_text().splitlines()) == 4
    assert len(list(out.glob("*.png"))) == (0 if moving else 3)
    if moving:
        assert _n_frames(out / "in.webm") == 3


def test_a_killed_command_that_writes_json_alone_leaves_its_rows(tmp_path: Path) -> None:
    long = tmp_path / "long.webm"
    with WebmWriter(long) as writer:
        for k in range(900):
            writer.add(draw(k % 20), k / 25)
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-m", "eyewright", "track", "--one", "15,5,34,30", "--source", str(long), "--method", "kcf",
         "--out", str(out), "--save", "json", "--quiet"],
    )  # fmt: skip
    rows = out / "long.unfinished.csv"
    for _ in range(1200):
        if rows.is_file() and len(rows.read_text().splitlines()) >= 15:
            break
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert [p.name for p in out.iterdir()] == ["long.unfinished.csv"]
    assert len(read_tracks(rows, "tracks").tracks) >= 14
