"""The command line as other programs meet it: outputs, JSON, exit codes, one line for every mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_shapes

from eyewright.cli import main
from eyewright.imaging import encode_image

KEYS = {"verb", "ok", "seconds", "task", "out", "metrics", "findings", "predictions", "error"}
EXTRA = {
    "compare": {"comparison"},
    "models": {"models", "tasks", "training_steps"},
    "formats": {"formats"},
    "info": {"info"},
    "explain": {"explanations"},
    "export": {"parity"},
    "train": {"folds", "chosen", "trials", "account", "validation", "leaks"},
    "run": {"account", "validation", "leaks"},
    "quickstart": {"account", "validation", "leaks"},
    "doctor": {"account"},
    "evaluate": {"account"},
    "verify": {"signature"},
    "process": {"steps", "counts"},
    "segment": {"regions", "counts"},
    "encode": {"files", "counts", "bjontegaard_percent"},
    "steps": {"steps"},
}


def call(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "eyewright", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def as_json(capfd, *args: object) -> tuple[int, dict]:  # type: ignore[no-untyped-def, type-arg]
    code = main([*map(str, args), "--json"])
    out = capfd.readouterr().out
    assert out.count("\n") == 1, "one JSON object on stdout, nothing else"

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(out, parse_constant=refuse)
    assert set(found) <= KEYS | EXTRA.get(found["verb"], set())
    for path in found.get("out", {}).values():
        assert Path(path).is_absolute()
        assert Path(path).exists()
    return code, found


@pytest.fixture(scope="module")
def walked(shapes: Path, tmp_path_factory) -> dict[str, Path]:  # type: ignore[no-untyped-def]
    """A run made by the command line itself."""
    folder = tmp_path_factory.mktemp("walk")
    assert main(["train", str(shapes), "--epochs", "5", "--batch", "16", "--out", str(folder / "run"), "--quiet"]) == 0
    assert main(["export", str(folder / "run"), "--out", str(folder / "b.bundle"), "--quiet"]) == 0
    return {"run": folder / "run", "bundle": folder / "b.bundle", "image": shapes / "disc" / "000.png", "data": shapes}


def test_every_verb_answers_in_the_one_shape(walked, tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    bundle, run, image, data = (walked[k] for k in ("bundle", "run", "image", "data"))
    for args in (
        ("doctor", data),
        ("evaluate", run),
        ("evaluate", bundle, data, "--out", tmp_path / "report", "--allow-leaks"),
        ("compare", run, bundle),
        ("explain", run, image, "--out", tmp_path / "maps"),
        ("explain", bundle, image),
        ("export", run, "--out", tmp_path / "again.bundle"),
        ("verify", bundle),
        ("predict", bundle, "--source", image),
        ("predict", bundle, "--source", data, "--out", tmp_path / "predictions"),
        ("models",),
        ("formats",),
        ("info",),
    ):
        code, found = as_json(capfd, *args)
        assert code == 0, found
        assert found["ok"] is True
        assert found["verb"] == args[0]
        if args[0] == "evaluate":
            for name in ("accuracy", "balanced_accuracy", "f1_macro", "auc", "kappa", "ece"):
                assert set(found["metrics"][name]) >= {"value", "low", "high", "n"}


def test_run_walks_the_whole_life_cycle(shapes: Path, tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    code, found = as_json(capfd, "run", shapes, "--epochs", 3, "--batch", 16, "--out", tmp_path / "out")
    assert code == 0
    assert set(found["out"]) == {"run", "bundle", "report", "report_json", "report_md"}
    for name in ("recipe.toml", "log.jsonl", "metrics.csv", "report.html", "report.json", "split.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    for name in ("last", "best"):
        assert (tmp_path / "out" / "checkpoints" / name).is_dir()


def test_predictions_name_their_source(walked, capfd) -> None:  # type: ignore[no-untyped-def]
    _, found = as_json(capfd, "predict", walked["bundle"], "--source", walked["image"])
    (prediction,) = found["predictions"]
    assert prediction["source"] == str(walked["image"])
    assert prediction["index"] == 0
    assert prediction["labels"][0] == "disc"
    assert prediction["scores"] == sorted(prediction["scores"], reverse=True)


def test_an_image_on_standard_input(walked) -> None:  # type: ignore[no-untyped-def]
    command = [sys.executable, "-m", "eyewright", "predict", str(walked["bundle"]), "--source", "-", "--json"]
    done = subprocess.run(command, input=walked["image"].read_bytes(), capture_output=True, check=True)
    assert json.loads(done.stdout)["predictions"][0]["source"] == "-"


def test_names_with_spaces_quotes_emoji_newlines_and_no_utf8(walked, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    names = [b"sp ace.png", b"quo'te\".png", "🦉.png".encode(), b"new\nline.png", b"not-utf8-\xff.png", b"-dash.png"]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(walked["image"].read_bytes())
    done = call("predict", walked["bundle"], "--source", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["predictions"]) == len(names)
    plain = call("predict", walked["bundle"], "--source", tmp_path, "--out", tmp_path / "out")
    assert plain.returncode == 0, plain.stderr
    # One line for each image, then where they were written.
    assert len([line for line in plain.stdout.splitlines() if not line.startswith("wrote")]) == len(names)


def bad_inputs(tmp_path: Path) -> list[tuple[str, list[object], int, str]]:
    """Every row: what is wrong, the command, the exit code, a word of the line."""

    def folder(name: str, files: dict[str, bytes]) -> Path:
        for file, data in files.items():
            place = tmp_path / name / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        (tmp_path / name).mkdir(exist_ok=True)
        return tmp_path / name

    rng = np.random.default_rng(0)

    def image() -> bytes:
        return encode_image(rng.integers(0, 256, (24, 24, 3)).astype(np.uint8))

    good = {f"{c}/{i}.png": image() for c in "ab" for i in range(6)}
    leaking = {f"{s}/{c}/{i}.png": image() for s in ("train", "test") for c in "ab" for i in range(6)}
    leaking["test/a/leak.png"] = leaking["train/a/0.png"]
    fine = folder("fine", good)
    bmp = b"BM" + b"\0" * 12 + b"\x28\0\0\0" + b"\xa0\x86\x01\0" * 2 + b"\0" * 34
    return [
        ("no such dataset", ["run", tmp_path / "none"], 3, "found nothing"),
        ("empty folder", ["run", folder("empty", {})], 3, "an empty folder"),
        ("one class", ["train", folder("one", {f"a/{i}.png": image() for i in range(9)})], 3, "at least 2 classes"),
        (
            "one image a class",
            ["train", folder("single", {"a/1.png": image(), "b/1.png": image()})],
            3,
            "too few images",
        ),
        ("nothing readable", ["run", folder("dead", {"a/1.png": b"", "b/1.jpg": b"text"})], 3, "can be read"),
        ("a planted leak", ["train", folder("leak", leaking)], 3, "both sides of the split"),
        ("unknown option", ["train", fine, "--epoch-count", 3], 2, "unrecognized"),
        ("wrong option, and another is missing", ["predict", fine, "--Sorce", "x"], 2, "did you mean '--source'"),
        ("no verb", ["trian", fine], 2, "did you mean 'train'?"),
        ("wrong model", ["train", fine, "--model", "conv_nett"], 2, "did you mean 'conv_net'"),
        ("wrong optimiser", ["train", fine, "--optimizer", "adamm"], 2, "did you mean 'adam'"),
        ("wrong loss", ["train", fine, "--loss", "mean"], 2, "unknown loss"),
        ("wrong budget", ["train", fine, "--budget", "soon"], 2, "expected a duration"),
        ("wrong device", ["train", fine, "--device", "gpu"], 2, "unknown device"),
        ("a budget too short", ["run", fine, "--budget", "3s"], 5, "budget"),
        ("epochs and budget", ["train", fine, "--epochs", 2, "--budget", "10s"], 2, "found both"),
        ("recipe typo", ["train", fine, "--recipe", folder("r", {"r.toml": b"epohcs = 3"}) / "r.toml"], 2, "'epochs'"),
        ("no recipe", ["train", fine, "--recipe", tmp_path / "none.toml"], 2, "cannot read the recipe"),
        ("resume of nothing", ["train", fine, "--out", tmp_path / "new", "--resume"], 4, "found none"),
        ("resume of nowhere", ["train", fine, "--resume"], 2, "expected --out"),
        ("no bundle", ["predict", fine, "--source", fine / "a/0.png"], 4, "expected a bundle"),
        ("no run", ["export", fine, "--out", tmp_path / "x"], 4, "expected a finished run"),
        ("output in /proc", ["train", fine, "--out", "/proc/nowhere/run"], 2, "cannot write"),
        ("unknown step", ["process", fine, "--steps", "claeh", "--out", tmp_path / "p"], 2, "did you mean 'clahe'"),
        ("step out of range", ["process", fine, "--steps", "gamma:0", "--out", tmp_path / "p"], 2, "0.05 to 20"),
        (
            "output inside input",
            ["process", fine, "--steps", "invert", "--out", fine / "o"],
            2,
            "overlap: one is inside the other",
        ),
        (
            "an empty source",
            ["process", tmp_path / "empty", "--steps", "invert", "--out", tmp_path / "p"],
            3,
            "found none",
        ),
        ("no camera", ["process", "97", "--steps", "invert", "--out", tmp_path / "p"], 3, "expected camera 97"),
        (
            "no stream",
            ["process", "rtsp://127.0.0.1:9/x", "--steps", "invert", "--out", tmp_path / "p"],
            3,
            "cannot reach",
        ),
        ("unknown method", ["segment", fine / "a/0.png", "--method", "ostu"], 2, "did you mean 'otsu'"),
        ("a box outside", ["segment", fine / "a/0.png", "--method", "grabcut", "--box", "0 0 99 99"], 2, "not inside"),
        ("segment of nothing", ["segment", tmp_path / "none.png"], 3, "cannot read"),
        ("two targets", ["encode", fine / "a/0.png", "--target-ssim", 0.9, "--quality", 3], 2, "one target"),
        (
            "unknown codec",
            ["encode", fine / "a/0.png", "--to", "jpge", "--out", tmp_path / "e"],
            2,
            "did you mean 'jpeg'",
        ),
        (
            "bytes that are none",
            ["encode", fine / "a/0.png", "--target-bytes", "few", "--out", tmp_path / "e"],
            2,
            "50k",
        ),
        ("nothing to encode", ["encode"], 2, "expected images"),
        ("a header of 100,000 pixels", ["doctor", folder("huge", {"a/x.bmp": bmp, "b/1.png": image()})], 1, ""),
    ]


def test_every_mistake_ends_with_one_line_and_its_code(tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    for what, args, code, said in bad_inputs(tmp_path):
        found = main([str(a) for a in args])
        captured = capfd.readouterr()
        assert found == code, (what, found, captured.err)
        if code != 1:
            assert captured.err.count("\n") == 1, (what, captured.err)
        assert said in captured.err, (what, captured.err)
        assert "Traceback" not in captured.err + captured.out, what
        if code not in (1,):
            _, shaped = as_json(capfd, *args)
            assert shaped["ok"] is False
            assert shaped["error"]["message"]


def test_a_fault_of_ours_is_one_line_and_seventy(monkeypatch, capfd) -> None:  # type: ignore[no-untyped-def]
    from eyewright import lifecycle

    monkeypatch.setattr(lifecycle, "info", lambda: 1 / 0)
    assert main(["info"]) == 70
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "please report it" in err


def test_doctor_ends_with_one_when_there_are_findings(shapes: Path, tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    import shutil

    shutil.copytree(shapes, tmp_path / "data")
    code, found = as_json(capfd, "doctor", tmp_path / "data")
    assert (code, found.get("findings", [])) == (0, [])
    (tmp_path / "data" / "disc" / "bad.png").write_bytes(b"")
    (tmp_path / "data" / "readme.txt").touch()
    code, found = as_json(capfd, "doctor", tmp_path / "data")
    assert code == 1
    assert {f["code"] for f in found["findings"]} == {"unreadable", "skipped"}
    (tmp_path / "data" / "disc" / "bad.png").unlink()
    assert as_json(capfd, "doctor", tmp_path / "data")[0] == 0
    assert as_json(capfd, "doctor", tmp_path / "data", "--strict")[0] == 1


def test_a_bad_image_in_a_folder_is_left_out_and_said(walked, tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "good.png").write_bytes(walked["image"].read_bytes())
    code, found = as_json(capfd, "predict", walked["bundle"], "--source", tmp_path)
    assert code == 1
    assert len(found["predictions"]) == len(found["findings"]) == 1
    assert main(["predict", str(walked["bundle"]), "--source", str(tmp_path / "bad.png")]) == 3


def test_a_net_of_the_users_own_goes_the_whole_way(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "mynets.py").write_text(
        """
from torch import nn

def tiny(n_classes, *, channels, size_hw):
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, n_classes)
    )
"""
    )
    face = str(Path(sys.executable).with_name("eyewright"))
    command = [face, "run", str(shapes), "--model", "mynets:tiny", "--epochs", "2", "--out", "out", "--quiet"]
    subprocess.run(command, cwd=tmp_path, check=True)
    image = str(shapes / "disc/000.png")
    # The bundle needs no code of the user's; the run does.
    subprocess.run([face, "predict", str(tmp_path / "out/bundle"), "--source", image], cwd="/", check=True)
    subprocess.run([face, "explain", "out", image, "--method", "gradcam"], cwd=tmp_path, check=True)
    assert call("explain", tmp_path / "out", image).returncode == 2


def test_an_overridden_leak_is_written_down(tmp_path: Path, shapes: Path) -> None:
    import shutil

    for split in ("train", "test"):
        shutil.copytree(shapes, tmp_path / "data" / split)
    args = ["run", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--epochs", "2", "--quiet"]
    assert main(args) == 3
    assert main([*args, "--allow-leaks"]) == 0
    assert "both sides of the split (--leaks allow)" in (tmp_path / "out/report.html").read_text()
    assert "--leaks allow" in (tmp_path / "out/report.md").read_text()
    card = (tmp_path / "out/bundle/README.md").read_text()
    assert "(--leaks allow)" in card
    assert "not used in training" not in card


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders too")
def test_a_read_only_output_is_refused(shapes: Path, tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    tmp_path.chmod(0o500)
    assert main(["train", str(shapes), "--out", str(tmp_path / "run")]) == 2
    assert "permission denied" in capfd.readouterr().err


def test_a_full_disk_is_one_line(walked, tmp_path: Path, monkeypatch, capfd) -> None:  # type: ignore[no-untyped-def]
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["export", str(walked["run"]), "--out", str(tmp_path / "x.bundle")]) == 2
    assert "no space left on the disk" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_writes_a_checkpoint_and_ends_with_its_code(
    shapes: Path, tmp_path: Path, number: int, code: int
) -> None:
    command = [
        sys.executable,
        "-m",
        "eyewright",
        "train",
        str(shapes),
        "--epochs",
        "5000",
        "--out",
        str(tmp_path / "r"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "r/metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "a checkpoint was written" in out
    assert err.count("\n") == 1
    assert (tmp_path / "r/checkpoints/last/state.safetensors").exists()


def test_no_socket_is_opened_by_the_whole_life_cycle(shapes: Path, tmp_path: Path) -> None:
    code = """
import socket, sys
def refuse(*a, **k): raise AssertionError("a socket was opened")
socket.socket.connect = socket.create_connection = refuse
from eyewright.cli import main
sys.exit(main(sys.argv[1:]))
"""
    args = ["run", str(shapes), "--epochs", "2", "--out", str(tmp_path / "out"), "--quiet"]
    subprocess.run([sys.executable, "-c", code, *args], check=True)


def test_help_has_an_example_for_every_verb(capsys) -> None:  # type: ignore[no-untyped-def]
    for verb in (
        "quickstart",
        "run",
        "doctor",
        "train",
        "evaluate",
        "compare",
        "explain",
        "export",
        "verify",
        "predict",
        "models",
    ):
        assert main([verb, "--help"]) == 0
        assert f"example: eyewright {verb}" in capsys.readouterr().out


def test_a_closed_pipe_is_no_error(walked) -> None:  # type: ignore[no-untyped-def]
    command = f"{sys.executable} -m eyewright predict {walked['bundle']} --source {walked['data']} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("stage", "function"),
    [
        ("eyewright.data.scan", "scan_dataset"),
        ("eyewright.data.audit", "audit_dataset"),
        ("eyewright.training.session", "build_cache"),
        ("eyewright.training.session", "fit_temperature"),
        ("eyewright.evaluation.evaluator", "gather_results"),
        ("eyewright.explanation.methods", "explain_images"),
        ("eyewright.exporting.bundle_writer", "export_onnx"),
        ("eyewright.exporting.bundle_writer", "check_parity"),
    ],
)
def test_ctrl_c_at_any_stage_ends_with_130_and_one_line_and_leaves_no_half_bundle(
    tmp_path: Path,
    capsys,  # type: ignore[no-untyped-def]
    monkeypatch,
    stage: str,
    function: str,
) -> None:
    import importlib
    import sys

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    importlib.import_module(stage)
    # Wherever the function is known by name, also where it was imported to.
    for name, module in list(sys.modules.items()):
        if name.startswith("eyewright") and function in vars(module):
            monkeypatch.setattr(module, function, interrupted)
    # A temperature needs more validation images.
    data = write_shapes(tmp_path / "shapes", a_class=80 if function == "fit_temperature" else 8)
    out = tmp_path / "run"
    code = main(["run", str(data), "--out", str(out), "--epochs", "1", "--model", "mlp", "--imgsz", "16", "--quiet"])
    said = capsys.readouterr().err
    assert code == 130
    assert said.count("\n") == 1
    assert "interrupted" in said
    assert not (out / "bundle").exists()
    assert not list(tmp_path.rglob("*.tmp"))


def test_folds_and_tune_from_the_command_line(tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    data = write_shapes(tmp_path / "shapes", a_class=8)
    fast = ["--epochs", "1", "--model", "mlp", "--imgsz", "16", "--batch", "8"]
    code, found = as_json(capfd, "train", data, "--folds", "2", "--ensemble", "--out", tmp_path / "folds", *fast)
    assert code == 0
    assert set(found["out"]) == {"run", "report", "ensemble"}
    assert found["metrics"]["accuracy"]["n"] == 24
    assert found["folds"]["between"]["accuracy"]["n"] == 2
    code, found = as_json(capfd, "train", data, "--tune", "2", "--out", tmp_path / "tune", *fast)
    assert code == 0
    assert len(found["trials"]) == 2
    assert Path(found["out"]["run"], "run.json").exists()
    code, found = as_json(capfd, "train", data, "--ensemble", *fast)
    assert (code, found["error"]["message"]) == (2, "expected --folds with --repeats and --ensemble, found none")
    code, found = as_json(capfd, "train", data, "--folds", "2", "--tune", "3", *fast)
    assert code == 2
    code, found = as_json(capfd, "train", data, "--folds", "9", "--out", tmp_path / "nine", *fast)
    assert code == 3
    assert "use --folds 8" in found["error"]["fix"]


def test_the_verbs_for_pictures_answer_in_the_one_shape(walked, tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("skimage")
    data = walked["data"] / "disc"
    code, found = as_json(
        capfd, "process", data, "--steps", "gamma:2 | resize:20", "--out", tmp_path / "p", "--preview"
    )
    assert code == 0
    assert found["counts"]["written"] == len(list(data.glob("*.png")))
    assert set(found["out"]) == {"images", "preview"}
    code, found = as_json(capfd, "process", data, "--steps", "gamma:2 | resize:20", "--out", tmp_path / "p", "--resume")
    assert (code, found["counts"]["written"]) == (0, 0)
    code, found = as_json(
        capfd, "segment", walked["image"], "--method", "k-means", "--set", "clusters=3", "--out", tmp_path / "s"
    )
    assert (code, found["counts"]["regions"]) == (0, 3)
    assert {"labels", "overlay", "table", "regions", "coco"} == set(found["out"])
    code, found = as_json(
        capfd, "encode", walked["image"], "--to", "jpeg,png", "--target-ssim", 0.9, "--out", tmp_path / "e"
    )
    assert code == 0
    assert found["files"][0]["ssim"] >= 0.9
    code, found = as_json(
        capfd, "encode", walked["image"], "--to", "jpeg", "--target-bytes", 70, "--out", tmp_path / "f"
    )
    assert code == 5
    code, found = as_json(capfd, "steps", "--out", tmp_path / "g")
    assert found["steps"]["clahe"]["parameters"][0]["name"] == "clip"
    page = (tmp_path / "g/steps.html").read_text("utf-8")
    assert page.count("<img") > 40
    assert "http" not in page.replace("http-equiv", "")


def test_a_video_is_predicted_with_times(walked, tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 32))
    for _ in range(6):
        writer.write(np.zeros((32, 32, 3), np.uint8))
    writer.release()
    code, found = as_json(capfd, "predict", walked["bundle"], "--source", tmp_path / "clip.avi", "--stride", 2)
    assert code == 0
    assert [round(p["time_s"], 1) for p in found["predictions"]] == [0.0, 0.2, 0.4]


def test_what_a_library_says_of_a_damaged_file_is_not_shown(tmp_path: Path) -> None:
    from eyewright.testing.hostile import odd_files

    pytest.importorskip("skimage")
    tiff = next(f for f in odd_files() if f.name == "tiff-lzw").data
    said = 0
    for k, at in enumerate((9, 60, 120)):
        damaged = bytearray(tiff)
        damaged[at] ^= 0x55
        (tmp_path / f"{k}.tif").write_bytes(damaged)
        found = call("segment", tmp_path / f"{k}.tif")
        lines = found.stderr.splitlines()
        said += len(lines)
        assert all(line.startswith("eyewright: ") for line in lines), lines
        assert found.returncode in (0, 3)
    assert said, "none of the damaged files was refused"


def test_without_the_extra_for_pictures_one_line_says_what_to_install(walked, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in ("cv2", "skimage", "scipy"):
        (blocked / f"{name}.py").write_text("raise ImportError(__name__)")
    environment = {**os.environ, "PYTHONPATH": str(blocked)}
    data = walked["data"] / "disc"
    for verb in (
        ["process", data, "--steps", "clahe", "--out", tmp_path / "p"],
        ["segment", walked["image"]],
        ["encode", walked["image"], "--out", tmp_path / "e"],
    ):
        command = [sys.executable, "-m", "eyewright", *map(str, verb)]
        found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert found.returncode == 2, (verb, found.stderr)
        assert found.stderr.count("\n") == 1, found.stderr
        assert "pip install 'eyewright[pixels]'" in found.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "eyewright", "steps"], capture_output=True, text=True, check=False, env=environment
    )
    assert listed.returncode == 0
    assert "clahe" in listed.stdout
