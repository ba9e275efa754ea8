"""A classifier of clips from a folder to a bundle, on clips of which only the order of frames tells the class."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.drawn_clips import draw_crossing, write_clip

import eyewright as ew
import eyewright.lifecycle as lifecycle
from eyewright.bundle.clips import predict_windows
from eyewright.bundle.streams import Carried
from eyewright.cli import main
from eyewright.core.errors import BundleError, UsageError
from eyewright.imaging.clips import read_clip
from eyewright.imaging.sampling import ClipSampling
from eyewright.imaging.sources.frames import Frame

CLASSES = ("leftwards", "rightwards")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for part, n in (("train", 24), ("val", 12), ("test", 8)):
        for label in CLASSES:
            for k in range(n):
                clip = draw_crossing(rng, rightwards=label == "rightwards")
                write_clip(folder / part / label / f"{part}-{chr(97 + k)}.avi", clip)
    return folder


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("runs") / "clips"
    # Squares that cross a ground are near copies of one another.
    ew.run(clips, out=out, epochs=10, imgsz=24, seed=1, leaks="allow", group_by="none")
    return out


@pytest.fixture(scope="module")
def report(run) -> dict:
    return json.loads((run / "report.json").read_text())


def test_a_net_that_sees_order_learns_what_only_order_tells(report: dict) -> None:
    assert report["task"] == "video"
    assert report["metrics"]["accuracy"]["value"] >= 0.9


def test_the_report_says_that_order_matters(run, report: dict) -> None:
    order = report["tables"]["order"]
    # Every clip backwards is one of the other class.
    assert order["reversed"]["accuracy"] <= 0.1
    assert "Order of frames" in (run / "report.html").read_text()


def test_an_order_blind_baseline_is_trained_and_compared(run, report: dict) -> None:
    compared = report["tables"]["baseline"]
    assert (compared["model"], compared["baseline"]) == ("gru_net", "mean_net")
    assert compared["epochs"] == {"model": 10, "baseline": 3}
    # Only the order tells the classes apart.
    assert compared["value"]["baseline"] <= 0.75
    assert compared["better"] == "b"
    assert compared["differences"]["accuracy"]["low"] > 0
    assert "Baseline that cannot see the order of frames" in (run / "report.html").read_text()
    other = lifecycle.load_run(run / "baseline")
    assert other.recipe.model == "mean_net"
    # What both share was copied before training: the features of frames, but not the planes of motion.
    assert other.net.body.encoder.body[0].weight.shape[1] == 2
    assert not (run / "baseline/baseline").exists()


def test_the_bundle_answers_from_files_frames_and_windows(run, clips: Path) -> None:
    bundle = ew.load_bundle(run / "bundle")
    path = clips / "test/rightwards/test-a.avi"
    one = bundle.predict(path)
    assert one.top1 == "rightwards"
    rng = np.random.default_rng(5)
    frames = draw_crossing(rng, rightwards=True)
    assert bundle.predict(frames).top1 == "rightwards"
    assert bundle.predict(np.ascontiguousarray(frames[::-1])).top1 == "leftwards"
    several = bundle.predict(clips / "test/leftwards")
    assert [Path(p.source).name for p in several] == sorted(f"test-{c}.avi" for c in "abcdefgh")


def test_a_long_video_becomes_segments(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(7)
    parts = [draw_crossing(rng, rightwards=r) for r in (True, True, False, False)]
    path = write_clip(tmp_path / "long.avi", np.concatenate(parts))
    argv = ["predict", str(run / "bundle"), "--source", str(path), "--window", "0.9", "--hop", "0.25"]
    assert main([*argv, "--out", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert all(p["end_s"] - p["start_s"] <= 0.91 for p in told["predictions"])
    with (tmp_path / "out/segments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["label"] for r in rows] == [s["label"] for s in told["segments"]]
    assert {s["label"] for s in told["segments"]} == set(CLASSES)
    assert told["segments"][0]["label"] == "rightwards"
    assert told["segments"][-1]["label"] == "leftwards"
    assert (tmp_path / "out/over-time.svg").read_text().count("<polygon") == len(CLASSES)


def test_uncertain_clips_are_written_for_review(
    run, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["predict", str(run / "bundle"), "--source", str(clips / "test/leftwards"), "--review", "1", "--json"]
    assert main([*argv, "--out", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    with (tmp_path / "out/review/review.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert told["review"] == {"below": 1.0, "n": 8, "nothing_found": 0}
    assert [float(r["confidence"]) for r in rows] == sorted(max(p["scores"]) for p in told["predictions"])
    sampling = ew.load_bundle(run / "bundle").preparation.clip
    assert sampling is not None
    _, about = read_clip(tmp_path / "out/review" / rows[0]["clip"], sampling)
    assert about.frames == sampling.frames
    # As long as the clip, or a second.
    assert about.seconds == pytest.approx(1.0, abs=0.01)
    # Not a second time into the same folder.
    assert main([*argv, "--out", str(tmp_path / "out")]) == 2


@pytest.mark.parametrize("streams", [False, True])
def test_uncertain_times_of_a_long_video_are_written_for_review(  # type: ignore[no-untyped-def]
    run, spanned, tmp_path: Path, capsys: pytest.CaptureFixture[str], streams: bool
) -> None:
    rng = np.random.default_rng(7)
    parts = [draw_crossing(rng, rightwards=r) for r in (True, True, False, False)]
    path = write_clip(tmp_path / "long.avi", np.concatenate(parts))
    bundle = spanned.paths["bundle"] if streams else run / "bundle"
    argv = ["predict", str(bundle), "--source", str(path), "--window", "0.9", "--hop", "0.25", "--json"]
    assert main([*argv, "--review", "1", "--out", str(tmp_path / "all")]) == 0
    told = json.loads(capsys.readouterr().out)
    confidences = [max(p["scores"]) for p in told["predictions"]]
    with (tmp_path / "all/review/review.csv").open() as file:
        rows = list(csv.DictReader(file))
    # All windows are below 1: times of up to two windows, one after the other, the least certain first in the table.
    in_time = sorted(rows, key=lambda r: float(r["start_s"]))
    assert told["review"]["n"] == len(rows) > 1
    assert float(in_time[0]["start_s"]) == pytest.approx(told["predictions"][0]["start_s"], abs=1e-3)
    assert all(float(r["end_s"]) - float(r["start_s"]) <= 1.8 + 1e-6 for r in rows)
    assert float(in_time[-1]["end_s"]) == pytest.approx(told["predictions"][-1]["end_s"], abs=1e-3)
    assert float(rows[0]["confidence"]) == pytest.approx(min(confidences), abs=1e-4)
    assert [float(r["confidence"]) for r in rows] == sorted(float(r["confidence"]) for r in rows)
    for row in rows:
        with ew.open_source(tmp_path / "all/review" / row["clip"]) as source:
            times = [f.time_s for f in source]
        length = float(row["end_s"]) - float(row["start_s"])
        assert times[-1] == pytest.approx(length, abs=0.15)
    # A limit between leaves the certain windows out.
    middle = sorted(confidences)[len(confidences) // 2]
    assert main([*argv, "--review", str(middle), "--out", str(tmp_path / "some")]) == 0
    some = json.loads(capsys.readouterr().out)["review"]["n"]
    assert 0 < some <= len(confidences) // 2


def test_a_window_longer_than_the_video_is_said(  # type: ignore[no-untyped-def]
    run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_clip(tmp_path / "short.avi", draw_crossing(np.random.default_rng(7), rightwards=True))
    argv = ["predict", str(run / "bundle"), "--source", str(path), "--window", "100", "--on", "1"]
    assert main([*argv, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert (found["code"], found["severity"]) == ("short_video", "note")
    assert "shorter than a window of 100 s" in found["message"]
    assert main(argv) == 0
    assert "no segment in 1 window: the highest confidence is" in capsys.readouterr().out


def test_windows_of_several_files_name_theirs(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(7)
    for name in ("a 1", "b"):
        write_clip(tmp_path / f"{name}.avi", np.concatenate([draw_crossing(rng, rightwards=True)] * 2))
    (tmp_path / "c.avi").write_bytes(b"")
    argv = ["predict", str(run / "bundle"), "--source", str(tmp_path), "--window", "0.9", "--json"]
    assert main([*argv, "--out", str(tmp_path / "out")]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [Path(s["source"]).name for s in told["segments"]] == ["a 1.avi", "b.avi"]
    assert "is empty" in told["findings"][0]["message"]
    with (tmp_path / "out/segments.csv").open() as file:
        assert [Path(r["source"]).name for r in csv.DictReader(file)] == ["a 1.avi", "b.avi"]
    drawn = sorted(p.name for p in (tmp_path / "out").glob("*over-time.svg"))
    assert drawn == ["00000-a_1-over-time.svg", "00001-b-over-time.svg"]


def test_a_killed_command_has_every_window_and_segment(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import eyewright.bundle.clips as windows

    rng = np.random.default_rng(7)
    parts = [draw_crossing(rng, rightwards=r) for r in (True, True, False, False, True)]
    path = write_clip(tmp_path / "long.avi", np.concatenate(parts))
    whole, seen = windows.predict_windows, []

    def watched(*given, **options):  # type: ignore[no-untyped-def]
        for k, found in enumerate(whole(*given, **options)):
            yield found
            # What a process that is killed here leaves.
            lines = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
            assert len(lines) == k + 1
            seen.append((tmp_path / "out/segments.csv").exists())

    monkeypatch.setattr(windows, "predict_windows", watched)
    monkeypatch.chdir(tmp_path)
    argv = ["predict", str(run / "bundle"), "--source", str(path), "--window", "0.9", "--hop", "0.25", "--quiet"]
    assert main([*argv, "--out", "out"]) == 0
    assert seen[-1]
    assert not seen[0]
    rows = json.loads((tmp_path / "out/predictions.json").read_text())
    assert len(rows) == len(seen)
    assert not (tmp_path / "out/predictions.jsonl").exists()


def test_a_clip_that_breaks_off_is_predicted_and_said(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_clip(
        tmp_path / "a.avi", np.concatenate([draw_crossing(np.random.default_rng(1), rightwards=True)] * 4)
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert main(["predict", str(run / "bundle"), "--source", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [f["code"] for f in told["findings"]] == ["video_breaks_off"]
    assert len(told["predictions"]) == 1


@pytest.fixture(scope="module")
def spanned(clips: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("runs") / "spanned"
    options = {"frames": 7, "span": 0.5, "imgsz": 24, "model": "lstm_stream_net"}
    return ew.run(clips, out=out, epochs=1, leaks="allow", group_by="none", baseline="none", **options)


def test_frames_and_span_hold_from_training_to_the_bundle(run, spanned, clips: Path) -> None:
    bundle = spanned.bundle
    assert bundle.preparation.clip == ClipSampling(7, 160, 0.5)
    assert bundle.preparation.size_hw[0] == 7 * 24
    assert not (spanned.run.folder / "baseline").exists()
    # The bundle reads a file as training did: as the run does from the data set.
    path = clips / "test/rightwards/test-a.avi"
    strip = np.asarray(read_clip(path, ClipSampling(7, 160, 0.5))[0])
    assert np.array_equal(bundle.predict(path).probabilities, bundle.predict(strip).probabilities)
    whole = np.asarray(read_clip(path, ClipSampling(7, 160))[0])
    assert not np.array_equal(strip, whole)
    data = ew.load_dataset(clips).test
    i = [s.id for s in data.samples].index("test/rightwards/test-a.avi")
    assert np.array_equal(data.seen_by(bundle.preparation).image(i), strip)
    # A reduced strip is one of as many frames: 7 of them do not divide 256 pixels.
    with np.load(bundle.folder / "golden.npz", allow_pickle=False) as pairs:
        assert pairs["image_0"].shape == (7 * 36, 48, 3)
    # Of each model its own frames are compared.
    found = ew.compare(run, spanned.run.folder, quiet=True)
    assert found.n == 16
    assert found.a["accuracy"].value == json.loads((run / "report.json").read_text())["metrics"]["accuracy"]["value"]
    again = ew.evaluate(bundle, clips, allow_leaks=True)
    assert again.metrics["accuracy"].value == spanned.report.metrics["accuracy"].value


def test_a_window_shorter_than_the_span_is_refused(spanned, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["predict", str(spanned.bundle.folder), "--source", str(clips / "test/rightwards/test-a.avi")]
    assert main([*argv, "--window", "0.3", "--hop", "0.1"]) == 2
    assert "at least the 0.5 s that the model sees" in capsys.readouterr().err
    assert main([*argv, "--window", "0.5", "--hop", "0.25"]) == 0


def test_a_stream_is_predicted_frame_by_frame_as_clips_are(spanned, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = spanned.bundle
    rng = np.random.default_rng(3)
    images = draw_crossing(rng, rightwards=True, frames=19)
    # A clip's 7 frames are 0.5 / 6 s apart.
    frames = [Frame(image, "cam", k, 5 + k * 0.5 / 6) for k, image in enumerate(images)]
    pushed: list[np.ndarray] = []
    push = Carried.push
    monkeypatch.setattr(Carried, "push", lambda self, frame: (pushed.append(frame), push(self, frame))[1])
    found = list(predict_windows(bundle, iter(frames), window_s=0.5, hop_s=0.25))
    assert len(pushed) == 19, "each frame once"
    assert [round(p.end_s, 2) for p in found] == [0.5, 0.75, 1.0, 1.25, 1.5]
    assert [round(p.end_s - p.start_s, 2) for p in found] == [0.5] * 5
    # The first window is a clip: what is known of the time before does not differ.
    assert found[0].probabilities == pytest.approx(bundle.predict(images[:7]).probabilities, abs=1e-5)
    assert found[0].source == "cam"
    # Without that model all frames of every window are computed.
    monkeypatch.setattr("eyewright.bundle.clips.open_stream", lambda bundle: None)
    whole = list(predict_windows(bundle, iter(frames), window_s=0.5, hop_s=0.25))
    assert [p.end_s for p in whole] == [p.end_s for p in found]
    assert found[0].probabilities == pytest.approx(whole[0].probabilities, abs=1e-5)
    (short,) = predict_windows(bundle, iter(frames[:3]), window_s=0.5, hop_s=0.25)
    assert short.end_s == pytest.approx(1 / 6)


def test_a_model_for_streams_that_was_changed_is_refused(spanned, run, tmp_path: Path) -> None:
    folder = shutil.copytree(spanned.bundle.folder, tmp_path / "bundle")
    bundle = ew.load_bundle(folder)
    assert "onnx/stream.onnx" in bundle.manifest.files
    assert "onnx/stream.onnx" not in ew.load_bundle(run / "bundle").manifest.files
    (folder / "onnx/stream.onnx").write_bytes((folder / "onnx/model.onnx").read_bytes())
    with pytest.raises(BundleError, match="has been changed"):
        list(predict_windows(bundle, iter(()), window_s=1.0, hop_s=0.5))


def test_frames_and_span_are_for_clips_only(shapes: Path, clips: Path) -> None:
    for option in ({"frames": 8}, {"span": 2.0}):
        with pytest.raises(UsageError, match="--frames or --span is not supported for classification"):
            ew.train(shapes, **option)
    with pytest.raises(UsageError, match="expected frames of 2 or more"):
        ew.train(clips, frames=1)
    with pytest.raises(UsageError, match="expected span of at most"):
        ew.train(clips, span=1e6)


def test_the_moments_that_count_are_explained(run, clips: Path, tmp_path: Path) -> None:
    (one,) = lifecycle.explain(run / "bundle", clips / "test/rightwards/test-a.avi", out=tmp_path)
    assert len(one.moments) == one.frames == 32
    assert one.method == "occlusion"
    assert max(one.moments) > 0
    assert list(tmp_path.glob("*.png"))


def test_drift_is_tested_on_clips(run, clips: Path) -> None:
    assert lifecycle.drift(run / "bundle", source=clips / "train").p <= 1


def test_what_is_not_for_clips_is_refused_by_name(
    run, clips: Path, finished, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="strip of 32 frames"):
        ew.load_bundle(run / "bundle").predict(np.zeros((50, 50, 3), np.uint8))
    assert main(["predict", str(finished.bundle.folder), "--source", str(clips), "--window", "1"]) == 2
    assert "--window is not supported for classification" in capsys.readouterr().err
    assert main(["predict", str(run / "bundle"), "--source", str(clips), "--tile", "64"]) == 2
    assert "not supported for video classification" in capsys.readouterr().err
