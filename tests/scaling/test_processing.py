"""A job of process writes the bytes that one process writes, whoever is killed meanwhile."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eyewright.cli import main
from eyewright.core.errors import RefusedError, UsageError
from eyewright.processing import process_source
from eyewright.scaling import Settings, open_job, plan_process, run_job, verify_folder

STEPS = "denoise | resize:16"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def expected_of(images: Path, out: Path, **options: object) -> dict[str, bytes]:
    process_source(images, STEPS, out, workers=1, **options)  # type: ignore[arg-type]
    (out / "process.json").unlink()
    return files_of(out)


def rows_of(job: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for part in sorted((job / "results").iterdir()) for line in part.read_text().splitlines()]


@pytest.mark.parametrize("options", [{}, {"to": "webp", "quality": 60}])
def test_files_are_those_of_one_process(images: Path, tmp_path: Path, options: dict[str, object]) -> None:
    job = run_job(plan_process(str(images), STEPS, tmp_path / "job", shard_size=7, **options), workers=2)  # type: ignore[arg-type]
    assert files_of(tmp_path / "job" / "images") == expected_of(images, tmp_path / "one", **options)
    assert (job.counts["images"], job.counts["failed"], job.totals.shards) == (40, 1, 6)
    assert verify_folder(tmp_path / "job")[1] == []
    rows = rows_of(tmp_path / "job")
    assert [r["id"] for r in rows] == list(range(40))
    for row in (r for r in rows if r["ok"]):
        assert row["result"]["bytes_out"] == (tmp_path / "job" / row["result"]["output"]).stat().st_size


@pytest.mark.usefixtures("poison")
def test_the_image_that_kills_its_worker_is_a_row_and_the_others_are_written(images: Path, tmp_path: Path) -> None:
    expected = expected_of(images, tmp_path / "one")
    shutil.copy(images / "a" / "00.png", images / "b" / "kill.png")
    plan = plan_process(str(images), STEPS, tmp_path / "job", shard_size=50)
    job = run_job(plan, workers=1, settings=Settings(tries=1))
    assert job.counts["crashed"] == 1
    assert not os.listdir(tmp_path / "job" / "tmp")
    assert [r["error"] for r in rows_of(tmp_path / "job") if r["source"].endswith("kill.png")] == ["crashed"]
    assert files_of(tmp_path / "job" / "images") == expected
    assert verify_folder(tmp_path / "job")[1] == []


def test_a_driver_that_was_killed_is_resumed(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = expected_of(images, tmp_path / "one")
    monkeypatch.chdir(tmp_path)
    words = ["process", "images", "--steps", STEPS, "--out", "job", "--on", "local", "--shard-size", "2", "--quiet"]
    driver = subprocess.Popen([sys.executable, "-m", "eyewright", *words])
    until = time.monotonic() + 60
    while driver.poll() is None and not list(Path("job").glob("commits/*.json")) and time.monotonic() < until:
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    resumed = ["process", "images", "--steps", STEPS, "--out", "job", "--resume", "--quiet"]
    # One image is damaged.
    assert main(resumed) == 1
    assert files_of(Path("job") / "images") == expected
    assert verify_folder("job")[1] == []
    assert not os.listdir("job/tmp")


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_verify_finds_files_that_are_gone_or_changed(images: Path, tmp_path: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    run_job(plan_process(str(images), STEPS, tmp_path / "job", format=format), workers=1)
    (tmp_path / "job" / "images" / "a" / "00.png").unlink()
    (tmp_path / "job" / "images" / "a" / "02.png").write_bytes(b"other")
    _, found = verify_folder(tmp_path / "job")
    assert [(f.code, Path(str(f.path)).name) for f in found] == [
        ("output_missing", "00.png"),
        ("output_changed", "02.png"),
    ]


def test_other_steps_are_refused_on_resume(images: Path, tmp_path: Path) -> None:
    run_job(plan_process(str(images), STEPS, tmp_path / "job"), workers=1)
    with pytest.raises(RefusedError, match="planned with --steps"):
        plan_process(str(images), "resize:8", tmp_path / "job", resume=True)


def test_images_that_would_become_one_file_are_refused_and_nothing_is_left(images: Path, tmp_path: Path) -> None:
    shutil.copy(images / "a" / "00.png", images / "a" / "00.bmp")
    with pytest.raises(UsageError, match=r"00\.bmp' and .*00\.png' would both become 'a/00\.webp'"):
        plan_process(str(images), STEPS, tmp_path / "job", to="webp")
    assert not (tmp_path / "job" / "plan").exists()
    assert plan_process(str(images), STEPS, tmp_path / "job").n_images == 41


def test_of_a_list_the_absolute_paths_are_kept(images: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text(f"{images / 'a' / '00.png'}\n{images / 'b' / 'none.png'}\n")
    run_job(plan_process(f"@{names}", STEPS, tmp_path / "job"), workers=1)
    assert [(r["ok"], r["error"]) for r in rows_of(tmp_path / "job")] == [(True, None), (False, "unreadable_image")]
    assert list(files_of(tmp_path / "job" / "images")) == [str(images / "a" / "00.png").lstrip("/")]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--shard-size", "3"], "--shard-size needs a job"),
        (["--on", "local", "--preview"], "--preview is not supported with --on"),
        (["--on", "local", "--steps", "nonsense"], "nonsense"),
        (["--on", "local", "--out", "images/job"], "one is inside the other"),
        (["--on", "local", "--resume"], "there is no job"),
    ],
)
def test_wrong_combinations_are_one_line(images, tmp_path, monkeypatch, capsys, more, said) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert main(["process", "images", "--steps", STEPS, "--out", "job", *more]) == 2
    assert said in capsys.readouterr().err
    assert not Path("job", "plan").exists()


def test_the_plan_is_shown_with_the_command_that_runs_it(images, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    words = [
        "process",
        str(images),
        "--steps",
        STEPS,
        "--out",
        str(tmp_path / "job"),
        "--to",
        "webp",
        "--quality",
        "70",
    ]
    assert main([*words, "--plan"]) == 0
    shown = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("run "))
    again = shlex.split(shown)[2:]
    assert main([*again, "--json", "--workers", "1"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["out"]["images"] == str(tmp_path / "job" / "images")
    assert told["counts"]["images"] == 40


def test_images_that_a_living_process_has_staged_are_kept(images: Path, tmp_path: Path) -> None:
    plan_process(str(images), STEPS, tmp_path / "job")
    ledger = open_job(tmp_path / "job")
    ledger.prepare()
    staged = ledger.staging / "00000000-0123456789abcdef.image"
    staged.write_bytes(b"half")
    ledger.recover(lambda shard: True)
    assert staged.exists()
    ledger.recover(lambda shard: False)
    assert not staged.exists()
