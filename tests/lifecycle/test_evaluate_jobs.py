"""A job of evaluate gives the report of one process, whoever is killed meanwhile."""

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
from eyewright.core.errors import RefusedError, UsageError
from eyewright.imaging import encode_image
from eyewright.lifecycle.evaluate_jobs import evaluate_as_job
from eyewright.scaling import verify_folder

BUNDLE = Path(__file__).parents[1] / "bundle" / "format1"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    for kind in ("cross", "disc", "square"):
        for i in range(12):
            place = tmp_path / "data" / kind / f"{i:03d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(encode_image(rng.integers(0, 255, (20 + i, 24, 3)).astype(np.uint8)))
    return tmp_path / "data"


def told(report: object) -> dict:  # type: ignore[type-arg]
    """Return a report as JSON without what differs between two runs of one command."""
    found = json.loads(json.dumps(report.to_json()))  # type: ignore[attr-defined]
    found.pop("provenance")
    return found


def test_the_report_is_that_of_one_process(data: Path, tmp_path: Path) -> None:
    expected = told(ew.evaluate(BUNDLE, data))
    report, job = evaluate_as_job(BUNDLE, data, out=tmp_path / "out", workers=2, shard_size=5)
    assert (job.counts["images"], job.counts["failed"], job.totals.shards) == (36, 0, 8)
    found = told(report)
    assert set(found) == set(expected)
    # Batches of 5 and of 36 images may differ in the last digits of float32.
    assert_close(found, expected)
    assert (tmp_path / "out" / "report.html").is_file()
    assert verify_folder(tmp_path / "out" / "job")[1] == []


def assert_close(found: object, expected: object) -> None:
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys()
        for key in expected:
            assert_close(found[key], expected[key])
    elif isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5, nan_ok=True)
    else:
        assert found == expected


def test_a_driver_that_was_killed_is_resumed(data: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    words = ["evaluate", str(BUNDLE), str(data), "--out", str(out)]
    job = ["--on", "local", "--workers", "1", "--shard-size", "2"]
    driver = subprocess.Popen([sys.executable, "-m", "eyewright", *words, *job, "--quiet"])
    until = time.monotonic() + 60
    while driver.poll() is None and not list(out.glob("job/commits/*.json")) and time.monotonic() < until:
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in (out / "job" / "results").iterdir()}
    assert main([*words, *job, "--quiet"]) == 2
    capsys.readouterr()
    # The command without --on gives the same exit code and metrics.
    alone = main(["evaluate", str(BUNDLE), str(data), "--json"])
    expected = json.loads(capsys.readouterr().out)
    assert main([*words, "--resume", "--json"]) == alone
    found = json.loads(capsys.readouterr().out)
    assert_close(found["metrics"], expected["metrics"])
    assert found["plan"]["shards"] == 18
    assert found["counts"]["images"] == 36
    assert kept.items() <= {p.name: p.stat().st_mtime_ns for p in (out / "job" / "results").iterdir()}.items()
    assert not os.listdir(out / "job" / "tmp")
    assert main([*words, "--verify", "--quiet"]) == 0


def test_an_image_that_changed_is_left_out_and_said(data: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from eyewright.scaling import jobs

    run = jobs.run_job

    def later(plan, **options):  # type: ignore[no-untyped-def]
        (data / "disc" / "003.png").write_bytes((data / "disc" / "004.png").read_bytes())
        return run(plan, **options)

    monkeypatch.setattr(jobs, "run_job", later)
    report, job = evaluate_as_job(BUNDLE, data, out=tmp_path / "out", workers=1)
    assert job.counts["failed"] == 1
    assert [f.code for f in job.findings] == ["changed"]
    assert report.metrics["accuracy"].n == 35
    assert any("1 of the 36 images were left out" in w for w in report.sections["warnings"])


def test_other_labels_are_refused(data: Path, tmp_path: Path) -> None:
    evaluate_as_job(BUNDLE, data, out=tmp_path / "out", workers=1)
    (data / "disc" / "003.png").rename(data / "cross" / "903.png")
    with pytest.raises(RefusedError, match="planned with --samples"):
        evaluate_as_job(BUNDLE, data, out=tmp_path / "out", workers=1, resume=True)


def test_data_in_an_archive_and_runs_are_refused(data: Path, tmp_path: Path) -> None:
    import shutil

    archive = shutil.make_archive(str(tmp_path / "data"), "zip", data)
    with pytest.raises(UsageError, match="expected images in a folder to evaluate with --on"):
        evaluate_as_job(BUNDLE, archive, out=tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "job" / "plan").exists()
    with pytest.raises(UsageError, match="expected a bundle to evaluate with --on"):
        evaluate_as_job(data, data, out=tmp_path / "out", workers=1)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--workers", "3"], "--workers needs a job"),
        (["--on", "local"], "pass DATA and --out DIR"),
        (["--resume", "--out", "out"], "there is no job"),
    ],
)
def test_wrong_combinations_are_one_line(data, tmp_path, monkeypatch, capsys, more, said) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(BUNDLE), str(data), *more]) == 2
    assert said in capsys.readouterr().err


def test_a_plan_is_shown_with_the_command_that_does_it(data: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    words = ["evaluate", str(BUNDLE), str(data), "--out", str(out), "--shard-size", "9"]
    assert main([*words, "--plan", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert (plan["images"], plan["shards"]) == (36, 4)
    assert not (out / "report.html").exists()
    assert not (out / "job" / "commits").exists()
    assert main([*words, "--plan", "--on", "10.0.0.1:6379"]) == 0
    said = capsys.readouterr().out
    assert "planned  36 images" in said
    assert f"evaluate {BUNDLE} {data} --shard-size 9 --out {out} --on 10.0.0.1:6379" in " ".join(said.split())
    assert main([*words, "--on", "local", "--workers", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["digest"] == plan["digest"]
    assert (out / "report.html").is_file()
