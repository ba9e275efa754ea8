"""Following through files and frames, measured and compared, from Python and from the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import eyewright as ew
from eyewright.cli import main
from eyewright.core.errors import BundleError, InputError, UsageError
from eyewright.data.tracks import read_tracks
from eyewright.imaging import encode_image
from eyewright.imaging.sources.frames import Frame
from eyewright.lifecycle.following import Follower, track, track_detections
from eyewright.lifecycle.track_scores import compare_tracks, evaluate_tracks
from eyewright.tracking import Line, Watch


def write_sequence(home: Path, *, seed: int = 0, n: int = 40, fps: float = 20, miss: float = 0.1) -> Path:
    """Write two objects that walk past each other: truth, and detections with jitter and misses."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for k in range(1, n + 1):
        for i, (x, y, speed) in enumerate(((20, 50, 5), (260, 90, -5)), 1):
            box = (x + speed * k, y, 30, 70)
            truth.append(f"{k},{i},{','.join(map(str, box))},1,-1,-1,-1")
            if rng.random() > miss:
                noisy = ",".join(f"{v:.2f}" for v in np.array(box) + rng.normal(0, 1, 4))
                found.append(f"{k},-1,{noisy},{rng.uniform(0.7, 1):.3f},-1,-1,-1")
    for folder, rows in (("gt", truth), ("det", found)):
        (home / folder).mkdir(parents=True, exist_ok=True)
        (home / folder / f"{folder}.txt").write_text("\n".join(rows) + "\n")
    (home / "seqinfo.ini").write_text(f"[Sequence]\nname={home.name}\nframeRate={fps}\nseqLength={n}\n")
    return home


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    for k in range(3):
        write_sequence(tmp_path / "set" / f"s{k}", seed=k)
    return tmp_path / "set"


def _json(capsys: pytest.CaptureFixture[str], args: list[str], code: int = 0) -> dict:
    assert main([*args, "--json"]) == code
    found: dict = json.loads(capsys.readouterr().out)
    return found


def test_each_sequence_of_a_folder_has_identities_of_its_own(sequences: Path) -> None:
    found = track_detections(sequences)
    assert [s.name for s in found] == ["s0", "s1", "s2"]
    for s in found:
        assert set(s.tracks.ids.tolist()) == {1, 2}
        assert (s.fps, s.n_frames) == (20, 40)


def test_offline_fills_gaps_and_scores_higher(sequences: Path) -> None:
    online, offline = track_detections(sequences), track_detections(sequences, offline=True)
    assert sum(len(s.tracks) for s in offline) > sum(len(s.tracks) for s in online)
    first = evaluate_tracks({s.name: s.tracks for s in online}, sequences)
    second = evaluate_tracks({s.name: s.tracks for s in offline}, sequences)
    assert second.metrics["mota"].value > first.metrics["mota"].value > 0.8  # type: ignore[operator]


def test_the_command_writes_measures_and_counts(
    sequences: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    found = _json(
        capsys,
        ["track", "--detections", str(sequences), "--offline", "--truth", str(sequences), "--out", str(out),
         "--save", "mot,csv,json", "--line", "gate=160,0,160,300", "--zone", "all=0,0", "400,0", "400,300", "0,300"],
    )  # fmt: skip
    assert found["metrics"]["idf1"]["value"] > 0.95
    assert found["metrics"]["hota"]["groups"] == 3
    assert found["protocol"] == "mot15"
    for s in found["sequences"]:
        assert s["counts"]["gate"] == {"in": 1, "out": 1, "classes": {"object": {"in": 1, "out": 1}}}
        assert sorted(e["direction"] for e in s["events"]) == ["in", "out"]
        assert s["zones"]["all"]["entered"] == 2
        assert len(s["tracks"]) == 2
    assert found["frames"] == 120
    assert found["frames_per_s"] > 0
    assert sorted(p.name for p in out.iterdir()) == sorted(
        f"s{k}.{e}" for k in range(3) for e in ("csv", "json", "txt")
    )
    assert len(read_tracks(out / "s0.txt", "tracks").tracks) == len(read_tracks(out / "s0.json", "tracks").tracks)


def test_tracks_are_evaluated_and_compared_from_the_command_line(
    sequences: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert (
        main(["track", "--detections", str(sequences), "--method", "sort", "--confirm", "0.5", "--out", a, "--quiet"])
        == 0
    )
    assert main(["track", "--detections", str(sequences), "--offline", "--out", b, "--quiet"]) == 0
    capsys.readouterr()
    one = _json(capsys, ["evaluate", "--task", "track", b, str(sequences)])
    assert one["metrics"]["hota"]["value"] > 0.7
    assert set(one["sequences"]) == {"s0", "s1", "s2"}
    found = _json(capsys, ["compare", "--task", "track", a, b, str(sequences)])["comparison"]
    assert found["better"] == "b"
    assert found["differences"]["hota"]["low"] > 0
    assert _json(capsys, ["compare", "--task", "track", b, a, str(sequences)], 1)["comparison"]["better"] == "a"
    assert compare_tracks(a, a, sequences).better is None


def test_tracks_are_converted_with_their_identities(
    sequences: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["convert", str(sequences), "--task", "track", "--to", "csv", "--out", str(tmp_path / "csv"), "--quiet"])
        == 0
    )
    back = ["convert", str(tmp_path / "csv"), "--task", "track", "--to", "mot", "--out", str(tmp_path / "mot")]
    assert _json(capsys, back)["objects"] == 240
    assert evaluate_tracks(tmp_path / "mot", sequences).metrics["hota"].value == pytest.approx(1.0)
    assert main([*back, "--quiet"]) == 2


def test_bad_rows_are_findings_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = write_sequence(tmp_path / "s")
    with open(home / "det/det.txt", "a") as file:
        file.write("5,-1,nan,1,1,1,1\nhello\n6,-1,5,5,-3,9,1\n")
    n = len((home / "det/det.txt").read_text().splitlines())
    found = _json(capsys, ["track", "--detections", str(home)], 1)
    assert [f["line"] for f in found["findings"]] == [n - 2, n - 1, n] or sorted(
        f["line"] for f in found["findings"]
    ) == [n - 2, n - 1, n]
    assert found["rows"] == {"read": n, "left_out": 3}


def test_an_unknown_rate_is_assumed_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "det.txt"
    path.write_text("1,-1,1,1,20,20,1\n2,-1,1,1,20,20,1\n")
    found = _json(capsys, ["track", "--detections", str(path)])
    assert found["findings"][0]["code"] == "fps"
    assert _json(capsys, ["track", "--detections", str(path), "--fps", "12.5"])["sequences"][0]["fps"] == 12.5


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["track"], 2),
        (["track", "--detections", "DET", "--source", "x.mp4"], 2),
        (["track", "--source", "x.mp4"], 2),
        (["track", "--detections", "none.txt"], 3),
        (["track", "--detections", "DET", "--save", "mot"], 2),
        (["track", "--detections", "DET", "--out", "o", "--save", "mp4"], 2),
        (["track", "--detections", "DET", "--out", "o", "--save", "video"], 2),
        (["track", "--detections", "DET", "--method", "bytee"], 2),
        (["track", "--detections", "DET", "--method", "nowhere.at:all"], 2),
        (["track", "--detections", "DET", "--line", "a=1,2,3"], 2),
        (["track", "--detections", "DET", "--line", "a=1,2,1,2"], 2),
        (["track", "--detections", "DET", "--zone", "a=1,2", "3,4"], 2),
        (["track", "--detections", "DET", "--line", "a=0,0,9,9", "--zone", "a=0,0", "9,0", "9,9"], 2),
        (["track", "--detections", "DET", "--fps", "0"], 2),
        (["track", "--detections", "DET", "--lost", "-1"], 2),
        (["track", "--detections", "DET", "--classes", "cat"], 2),
        (["track", "--detections", "DET", "--truth", "none"], 3),
        (["evaluate", "--task", "track", "DET"], 2),
        (["evaluate", "--task", "track", "none", "DET"], 3),
        (["compare", "--task", "track", "DET", "DET"], 2),
        (["track", "--one", "1,2,3", "--source", "x.mp4"], 2),
        (["track", "--one", "1,2,30,30", "--source", "nowhere.mp4"], 3),
        (["track", "--one", "1,2,30,30", "--source", "x.mp4", "--offline"], 2),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_code(
    args: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sequence(tmp_path / "s", n=4)
    assert main([a.replace("DET", "s/det/det.txt") for a in args]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("eyewright: ")
    assert "Traceback" not in "".join(lines)


def test_a_sequence_without_tracks_is_named(sequences: Path, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/s0.txt").write_text("1,1,1,1,5,5,1\n")
    (tmp_path / "t/extra.txt").write_text("1,1,1,1,5,5,1\n")
    with pytest.raises(InputError, match="'s1'"):
        evaluate_tracks(tmp_path / "t", sequences)


def test_a_method_of_the_users_own_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_trackers.py").write_text(
        "from eyewright.tracking import Tracker, TrackerSettings\n"
        "def mine():\n    return Tracker(TrackerSettings(confirm_s=1.5, confirm_first=False))\n"
        "def wrong():\n    return object()\n"
    )
    write_sequence(tmp_path / "s")
    monkeypatch.chdir(tmp_path)
    found = _json(capsys, ["track", "--detections", "s", "--method", "my_trackers:mine"])
    assert min(t["first_s"] for t in found["tracks"]) >= 1.5
    assert main(["track", "--detections", "s", "--method", "my_trackers:wrong"]) == 2
    assert "update and reset" in capsys.readouterr().err


# ------------------------------------------------------------------ pixels


class Finder:
    """A detector of bright boxes for the tests: a model's face without a net."""

    task_name = "detect"
    thresholds = None

    def __init__(self) -> None:
        from eyewright.core.labels import LabelSpace

        self.labels = LabelSpace(("thing", "other"))

    def predict_images(self, images: list[np.ndarray], *, conf: float, iou: float | None) -> list:
        from eyewright.tasks.detect import BoxPrediction

        found = []
        for image in images:
            columns = np.flatnonzero((image[:, :, 0] > 150).any(0))
            cuts = np.flatnonzero(np.diff(columns) > 1)
            starts, ends = np.r_[columns[:1], columns[cuts + 1]], np.r_[columns[cuts], columns[-1:]]
            boxes = []
            for x0, x1 in zip(starts, ends, strict=True):
                rows = np.flatnonzero((image[:, x0 : x1 + 1, 0] > 150).any(1))
                boxes.append([x0, rows[0], x1 + 1, rows[-1] + 1])
            n = len(boxes)
            found.append(
                BoxPrediction(
                    np.array(boxes, np.float32).reshape(n, 4), np.full(n, 0.9, np.float32), np.zeros(n, np.int64),
                    self.labels, image.shape[:2],
                )
            )  # fmt: skip
        return found


def draw(k: int, *, wide: int = 160) -> np.ndarray:
    image = np.full((96, wide, 3), 30, np.uint8)
    image[10 + 2 * k : 30 + 2 * k, 20:44] = [230, 40, 60]
    image[70 - 2 * k : 90 - 2 * k, 90:120] = [220, 200, 60]
    return image


@pytest.fixture
def video(tmp_path: Path) -> Path:
    pytest.importorskip("cv2")
    from eyewright.imaging.webm import WebmWriter

    path = tmp_path / "street.webm"
    with WebmWriter(path, quality=90) as writer:
        for k in range(30):
            writer.add(draw(k), k / 10)
    return path


def test_frames_of_a_video_are_followed_one_by_one(video: Path) -> None:
    frames = list(ew.track(video, Finder()))
    assert len(frames) == 30
    assert frames[-1].track_ids.tolist() == [1, 2]
    assert frames[-1].states == ("tracked", "tracked")
    assert frames[0].states == ("new", "new")
    assert frames[-1].labels == ("thing", "thing")
    assert frames[-1].prediction.track_ids.tolist() == [1, 2]
    assert frames[-1].prediction.plot().shape == (96, 160, 3)
    assert frames[10].time_s == pytest.approx(1.0, abs=0.01)


def test_two_sources_at_once_never_share_identities(video: Path) -> None:
    model, watch = Finder(), Watch(lines=(Line("middle", (0, 60), (160, 60)),))
    one, other = (Follower(model, watch=watch) for _ in range(2))
    alone = list(track(video, Finder()))
    # The second source comes 18 frames later, and the server's model answers both in turn.
    for k in range(30):
        first = one.step(Frame(draw(k), "a", k, k / 10))
        assert first.track_ids.tolist() == alone[k].track_ids.tolist()
        if k >= 18:
            second = other.step(Frame(draw(k - 18), "b", k - 18, k / 10))
            assert second.track_ids.tolist() == alone[k - 18].track_ids.tolist()
    assert first.recorder.n_tracks == second.recorder.n_tracks == 2
    assert first.recorder.to_json()["counts"]["middle"]["in"] == 1
    assert second.recorder.to_json()["counts"]["middle"]["in"] == 0


def test_frames_are_sampled_by_time_and_rates_replaced(video: Path) -> None:
    sampled = list(track(video, Finder(), rate=5))
    assert [f.index for f in sampled] == list(range(0, 30, 2))
    assert list(track(video, Finder(), rate=5, max_frames=4))[-1].index == 6
    assert list(track(video, Finder(), fps=30))[-1].time_s == pytest.approx(29 / 30)


def test_crossings_of_a_video_are_counted(video: Path) -> None:
    watch = Watch(lines=(Line("middle", (0, 60), (160, 60)),))
    frames = list(track(video, Finder(), watch=watch, camera_motion=True))
    assert sorted(c.direction for f in frames for c in f.crossings) == ["in", "out"]


def test_a_bundle_without_boxes_is_refused(video: Path) -> None:
    model = Finder()
    model.task_name = "classify"
    with pytest.raises(BundleError, match="predicts boxes"):
        next(track(video, model))
    with pytest.raises(UsageError, match="unknown method"):
        next(track(video, Finder(), method="bytes"))


@pytest.mark.parametrize("extra", [[], ["--offline"]])
def test_the_command_follows_a_video_and_writes_all_forms(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, extra: list[str]
) -> None:
    from eyewright.lifecycle import following

    monkeypatch.setattr(following, "open_any", lambda path, **_: Finder())
    out = tmp_path / "out"
    found = _json(
        capsys,
        ["track", "any", "--source", str(video), "--out", str(out), "--save", "mot,csv,json,video",
         "--line", "middle=0,60,160,60", *extra],
    )  # fmt: skip
    assert found["counts"]["middle"]["in"] == found["counts"]["middle"]["out"] == 1
    assert [t["frames"] for t in found["tracks"]] == [30, 30]
    assert sorted(p.name for p in out.iterdir()) == ["street.csv", "street.json", "street.txt", "street.webm"]
    for ending in ("csv", "json", "txt"):
        assert len(read_tracks(out / f"street.{ending}", "tracks").tracks) == 60
    with ew.open_source(out / "street.webm") as source:
        assert sum(1 for _ in source) == 30


def _truth_of_video(path: Path) -> Path:
    """Write the true boxes of `draw`, MOT text counts from 1."""
    rows = [
        f"{k + 1},1,21,{11 + 2 * k},24,20,1,-1,-1,-1\n{k + 1},2,91,{71 - 2 * k},30,20,1,-1,-1,-1" for k in range(30)
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("extra", [[], ["--offline"], ["--stride", "2"], ["--rate", "5"]])
def test_tracks_of_a_video_are_measured_on_the_frames_that_were_tracked(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, extra: list[str]
) -> None:
    from eyewright.lifecycle import following

    monkeypatch.setattr(following, "open_any", lambda path, **_: Finder())
    truth = _truth_of_video(tmp_path / "gt.txt")
    args = ["track", "any", str(video), "--truth", str(truth), "--out", str(tmp_path / "out"), *extra]
    found = _json(capsys, args)
    assert found["metrics"]["mota"]["value"] == pytest.approx(1.0)
    assert found["metrics"]["hota"]["value"] > 0.85
    assert found["metrics"]["hota"]["n"] == (60 if extra in ([], ["--offline"]) else 30)
    said = [f["message"] for f in found["findings"]]
    assert said == (
        [] if len(extra) < 2 else ["30 ground-truth boxes are in frames that were not tracked; they are not measured"]
    )
    assert main([*args, "--quiet"]) == 0


def test_the_truth_of_a_video_is_looked_for_before_it_is_tracked(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyewright.lifecycle import following

    monkeypatch.setattr(following, "open_any", lambda path, **_: Finder())
    for name in ("other", "third"):
        write_sequence(tmp_path / "set" / name, n=4)
    words = ["track", "any", str(video), "--out", str(tmp_path / "out"), "--truth"]
    assert main([*words, str(tmp_path / "none.txt")]) == 3
    assert main([*words, str(tmp_path / "set")]) == 3
    assert "tracks of 'street'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["track", "any", "rtsp://127.0.0.1:9/a", "--truth", str(tmp_path / "set")]) == 2
    assert main(["track", "any", str(video), "--source", str(video)]) == 2


def test_tracks_are_not_measured_against_nothing(
    sequences: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").write_text("")
    assert main(["evaluate", "--task", "track", str(sequences / "s0/gt/gt.txt"), str(tmp_path / "empty.txt")]) == 3
    assert "found no box that is measured" in capsys.readouterr().err


def test_one_object_is_followed_from_the_command_line(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["track", "--one", "15,5,34,30", str(video), "--method", "kcf", "--out", str(tmp_path / "one")]
    found = _json(capsys, [*args, "--save", "csv,video"])
    assert found["states"][0] == {"time_s": 0.0, "state": "tracked"}
    assert found["frames"] == 30
    assert len(read_tracks(tmp_path / "one/street.csv", "tracks").tracks) == found["tracks"][0]["frames"]
    assert main(["track", "--one", "500,5,34,30", "--source", str(video), "--out", str(tmp_path / "two")]) == 2
    assert not (tmp_path / "two").exists() or not any((tmp_path / "two").iterdir())


def test_what_is_read_is_not_written_over(
    video: Path, sequences: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyewright.lifecycle import following

    monkeypatch.setattr(following, "open_any", lambda path, **_: Finder())
    truth = _truth_of_video(tmp_path / "street.txt")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "street.webm").symlink_to(video)
    (tmp_path / "many").mkdir()
    for k in (1, 2):
        (tmp_path / "many" / f"s{k}.txt").write_bytes((sequences / f"s{k}/det/det.txt").read_bytes())
    here = str(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.is_file()}
    for words in (
        ["track", "any", str(video), "--out", here, "--save", "video"],
        ["track", "any", str(video), "--out", str(tmp_path / "link"), "--save", "video", "--offline"],
        ["track", "any", str(video), "--out", here, "--save", "mot", "--truth", str(truth)],
        ["track", "--one", "15,5,34,30", str(video), "--out", here, "--save", "video"],
        ["track", "--detections", str(tmp_path / "many"), "--out", str(tmp_path / "many")],
        ["track", "--detections", str(truth), "--out", here, "--save", "mot"],
    ):
        assert main(words) == 2
        assert "would be overwritten" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.is_file()} == before


def test_a_source_that_cannot_be_read_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyewright.lifecycle import following

    monkeypatch.setattr(following, "open_any", lambda path, **_: Finder())
    out = tmp_path / "out"
    out.mkdir()
    for ending in ("txt", "csv", "webm"):
        (out / f"street.{ending}").write_text("of an earlier run")
    (tmp_path / "street.mp4").write_bytes(b"")
    words = ["track", "any", str(tmp_path / "street.mp4"), "--save", "mot,csv,video"]
    assert main([*words, "--out", str(out)]) == 3
    assert {p.read_text() for p in out.iterdir()} == {"of an earlier run"}
    assert main([*words, "--out", str(tmp_path / "new")]) == 3
    assert not (tmp_path / "new").exists()


def test_a_killed_command_has_every_finished_frame(video: Path, tmp_path: Path) -> None:
    from eyewright.imaging.webm import WebmWriter

    long = tmp_path / "long.webm"
    with WebmWriter(long) as writer:
        for k in range(900):
            writer.add(draw(k % 20), k / 25)
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-m", "eyewright", "track", "--one", "15,5,34,30", "--source", str(long), "--method", "kcf",
         "--out", str(out), "--save", "mot,csv,video", "--quiet"],
    )  # fmt: skip
    rows = out / "long.txt"
    for _ in range(600):
        if rows.is_file() and len(rows.read_text().splitlines()) >= 15:
            break
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    n = len(read_tracks(rows, "tracks").tracks)
    assert n >= 15
    assert len(read_tracks(out / "long.csv", "tracks").tracks) in (n - 1, n)
    with ew.open_source(out / "long.webm") as source:
        assert sum(1 for _ in source) >= n - 1


def test_a_frame_far_away_costs_no_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "far.txt"
    path.write_text("".join(f"{k},-1,1,1,20,20,1\n" for k in (1, 2, 3, 4, 5, 6, 99_999_999)))
    started = time.process_time()
    zone = ["--zone", "z=0,0", "50,0", "50,50", "0,50"]
    for extra in ([], ["--offline"]):
        found = _json(capsys, ["track", "--detections", str(path), "--fps", "10", *zone, *extra])
        assert found["zones"]["z"] == {
            "now": 0, "entered": 1, "left": 1, "classes_now": {}, "dwell": {"n": 1, "median": 0.5, "p95": 0.5},
        }  # fmt: skip
    assert time.process_time() - started < 5


@pytest.mark.parametrize("content", ["", "\n \n", "frame,id,x0,y0,x1,y1\n", '{"frames": []}'])
def test_a_sequence_without_detections_has_no_tracks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "det.txt").write_text(content)
    for more in ([], ["--offline"], ["--line", "a=0,0,9,9", "--zone", "z=0,0", "9,0", "9,9"]):
        words = ["track", "--detections", str(tmp_path / "det.txt"), "--out", str(tmp_path / "out"), *more]
        found = _json(capsys, words)
        assert found["tracks"] == []
        assert "no_boxes" in [f["code"] for f in found["findings"]]
        assert "<html" in (tmp_path / "out" / "det.html").read_text()


@pytest.mark.parametrize(("extra", "tracks"), [([], 1), (["--conf", "0.65"], 0), (["--conf", "0.4"], 1)])
def test_scores_that_begin_no_track_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], tracks: int
) -> None:
    path = tmp_path / "det.txt"
    path.write_text("".join(f"{k},-1,{k},1,20,20,0.5\n" for k in range(1, 9)))
    found = _json(capsys, ["track", "--detections", str(path), "--fps", "10", *extra])
    said = [f["message"] for f in found["findings"]]
    assert len(found["tracks"]) == tracks
    assert said == ([] if tracks else ["no box starts a track: the highest score is 0.50, and 0.65 is needed"])


def test_scores_of_zero_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "det.txt"
    path.write_text("".join(f"{k},-1,{k},1,20,20,0\n" for k in range(1, 9)))
    found = _json(capsys, ["track", "--detections", str(path), "--fps", "10"])
    assert [(f["message"], f["fix"]) for f in found["findings"]] == [
        ("no box starts a track: the highest score is 0", "pass --conf 0")
    ]
    assert len(_json(capsys, ["track", "--detections", str(path), "--fps", "10", "--conf", "0"])["tracks"]) == 1


@pytest.mark.parametrize(("extra", "tracks"), [([], 2), (["--conf", "-1.5"], 1), (["--conf", "7"], 0)])
def test_scores_that_are_logits_are_used_with_a_threshold_of_their_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], tracks: int
) -> None:
    path = tmp_path / "det.txt"
    path.write_text("".join(f"{k},-1,{k},1,20,20,4.5\n{k},-1,{200 - k},1,20,20,-2\n" for k in range(1, 9)))
    found = _json(capsys, ["track", "--detections", str(path), "--fps", "10", *extra])
    assert len(found["tracks"]) == tracks


def test_every_verb_of_tracks_says_which_rows_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.txt").write_text("".join(f"{k},1,1,1,20,20,1\n" for k in range(1, 9)))
    (tmp_path / "bad.txt").write_text((tmp_path / "good.txt").read_text() + "3,1,5,5,20,20,1\n4,x\n5,2,1,1,-5,5,1\n")
    good, bad = str(tmp_path / "good.txt"), str(tmp_path / "bad.txt")
    out = iter(str(tmp_path / f"out{k}") for k in range(9))
    for words in (
        ["track", "--detections", bad],
        ["evaluate", "--task", "track", bad, good],
        ["evaluate", "--task", "track", good, bad],
        ["convert", bad, "--task", "track", "--to", "csv", "--out", next(out)],
        ["convert", bad, "--task", "track", "--to", "csv", "--quiet", "--out", next(out)],
        ["compare", "--task", "track", good, bad, good],
    ):
        code = main(words)
        assert code == (0 if words[0] == "compare" else 1), words
        assert f"{bad}:" in capsys.readouterr().err, words


def test_a_damaged_seqinfo_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = write_sequence(tmp_path / "s")
    for content in ("[Sequence]\nframeRate=fast\n", "no section", "[Sequence]\nseqLength=" + "9" * 5000):
        (home / "seqinfo.ini").write_text(content)
        found = _json(capsys, ["track", "--detections", str(home)])
        assert [f["code"] for f in found["findings"]] == ["seqinfo", "fps"]


@pytest.mark.parametrize("method", ["os:system", "os:path", "math:pi", "theirs:build", "leaves:build", "theirs:other"])
def test_whatever_a_method_of_the_users_own_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.py").write_text("def build():\n    raise KeyError('a\\nb')\n")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "det.txt").write_text("1,-1,1,1,20,20,1\n")
    assert main(["track", "--detections", "det.txt", "--method", method]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_frames_that_cannot_be_read_are_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for k in range(6):
        image = np.full((60, 80, 3), 40, np.uint8)
        image[20:40, 10 + 4 * k : 30 + 4 * k] = np.arange(20, dtype=np.uint8)[:, None, None] * 10
        (frames / f"{k}.png").write_bytes(encode_image(image) if k != 3 else b"no image")
    found = _json(capsys, ["track", "--one", "10,20,20,20", "--source", str(frames)], 1)
    assert found["frames"] == 5
    assert [Path(f["path"]).name for f in found["findings"]] == ["3.png"]


def test_a_video_that_breaks_off_is_read_so_far_and_said(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = video.read_bytes()
    (tmp_path / "half.webm").write_bytes(data[: len(data) // 2])
    found = _json(capsys, ["track", "--one", "5,5,40,40", "--source", str(tmp_path / "half.webm")], 1)
    assert [f["code"] for f in found["findings"]] == ["video_breaks_off"]
    whole = _json(capsys, ["track", "--one", "5,5,40,40", "--source", str(video)])
    assert whole["findings"] == []


def test_a_fifo_named_as_a_video_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    assert main(["track", "--one", "5,5,40,40", "--source", str(tmp_path / "a.mp4")]) == 3
    assert "FIFO" in capsys.readouterr().err


def test_a_full_disk_at_the_first_line_is_one_line(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    for ending in ("csv", "txt"):
        (tmp_path / "out" / f"street.{ending}").symlink_to("/dev/full")
    for words in (["--one", "5,5,40,40"], ["--one", "5,5,40,40", "--max-frames", "1"]):
        command = ["track", *words, "--source", str(video), "--out", str(tmp_path / "out"), "--save", "csv,mot"]
        assert main(command) == 2
        assert capsys.readouterr().err.startswith("eyewright: cannot write ")


def test_what_numbers_follow_from_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "truth.txt").write_text("".join(f"{k},1,10,10,20,20,1,-1,-1,-1\n" for k in range(1, 4)))
    rows = "".join(f"{k},1,{'cat' if k < 5 else 'dog'},9,9,29,29\n" for k in range(1, 10))
    (tmp_path / "own.csv").write_text("frame,id,label,x0,y0,x1,y1\n" + rows)
    found = _json(capsys, ["evaluate", "--task", "track", str(tmp_path / "own.csv"), str(tmp_path / "truth.txt")])
    notes = {f["code"]: f["message"] for f in found["findings"] if f["severity"] == "note"}
    assert "tracks of 2 classes" in notes["classes"]
    assert "has boxes in 3 frames, and 6 of 9 frames with tracks are others" in notes["frames"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected a bundle and a video, or --detections FILE"),
        (["film.mp4"], "found 'film.mp4' and no bundle"),
        (["some.bundle"], "found 'some.bundle' and no video"),
        (
            ["--zone", "room=0,0", "9,0", "9,9", "some.bundle", "film.mp4"],
            "'some.bundle' was read as a corner of --zone",
        ),
    ],
)
def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["track", *words]) == 2
    assert said in capsys.readouterr().err
