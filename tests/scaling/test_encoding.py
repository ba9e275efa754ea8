"""A job of encode writes the bytes that one process writes, whoever is killed meanwhile."""

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
from eyewright.core.errors import MissingExtraError, RefusedError, UsageError
from eyewright.processing import Target
from eyewright.processing.compression import encode_files
from eyewright.scaling import Settings, plan_encode, run_job, sum_encoded, verify_folder
from eyewright.scaling import encoding as encoding_module

TARGET = Target("quality", 60)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def expected_of(images: Path, out: Path, to: str = "jpeg", target: Target = TARGET) -> dict[str, bytes]:
    """Return the files of one process, by the names that a job gives them."""
    found: dict[str, bytes] = {}
    for folder in sorted(p for p in images.iterdir() if p.is_dir()):
        encode_files(folder, out / folder.name, to=to, target=target, workers=1)
        found |= {f"{folder.name}/{name}": data for name, data in files_of(out / folder.name).items()}
    return found


def rows_of(job: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for part in sorted((job / "results").iterdir()) for line in part.read_text().splitlines()]


@pytest.mark.parametrize(("to", "target"), [("jpeg", TARGET), ("jpeg,webp", Target("ssim", 0.9))])
def test_files_are_those_of_one_process(images: Path, tmp_path: Path, to: str, target: Target) -> None:
    for path in sorted(images.rglob("*.png"))[4:]:
        if path.name != "07.png":
            path.unlink()
    plan = plan_encode(str(images), tmp_path / "job", to=to, target=target, shard_size=2)
    job = run_job(plan, workers=2)
    assert files_of(tmp_path / "job" / "images") == expected_of(images, tmp_path / "one", to, target)
    assert (job.counts["images"], job.counts["failed"]) == (5, 1)
    assert verify_folder(tmp_path / "job")[1] == []
    sums = sum_encoded(tmp_path / "job")
    good = [row["result"] for row in rows_of(tmp_path / "job") if row["ok"]]
    assert len(good) == 4
    assert sums.bytes_out == sum(len(data) for data in files_of(tmp_path / "job" / "images").values())
    assert sums.bytes_in == sum(p.stat().st_size for p in images.rglob("*.png") if p.name != "07.png")
    assert sums.missed == sum(bool(r["missed"]) for r in good)


@pytest.mark.usefixtures("poison")
def test_the_image_that_kills_its_worker_is_a_row_and_the_others_are_written(images: Path, tmp_path: Path) -> None:
    expected = expected_of(images, tmp_path / "one")
    shutil.copy(images / "a" / "00.png", images / "b" / "kill.png")
    plan = plan_encode(str(images), tmp_path / "job", to="jpeg", target=TARGET, shard_size=50)
    job = run_job(plan, workers=1, settings=Settings(tries=1))
    assert job.counts["crashed"] == 1
    assert [r["error"] for r in rows_of(tmp_path / "job") if r["source"].endswith("kill.png")] == ["crashed"]
    assert files_of(tmp_path / "job" / "images") == expected
    assert not os.listdir(tmp_path / "job" / "tmp")
    assert verify_folder(tmp_path / "job")[1] == []


def test_a_driver_that_was_killed_is_resumed(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = expected_of(images, tmp_path / "one")
    monkeypatch.chdir(tmp_path)
    words = ["encode", "images", "--to", "jpeg", "--quality", "60", "--out", "job", "--quiet"]
    driver = subprocess.Popen([sys.executable, "-m", "eyewright", *words, "--on", "local", "--shard-size", "2"])
    until = time.monotonic() + 60
    while driver.poll() is None and not list(Path("job").glob("commits/*.json")) and time.monotonic() < until:
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    # One image is damaged.
    assert main([*words, "--resume"]) == 1
    assert files_of(Path("job") / "images") == expected
    assert main([*words, "--verify"]) == 0
    assert not os.listdir("job/tmp")


def test_images_that_miss_the_target_are_counted(images: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    words = ["encode", str(images / "a"), "--to", "jpeg", "--target-bytes", "64", "--out", str(tmp_path / "job")]
    assert main([*words, "--plan"]) == 0
    shown = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("run "))
    assert main([*shlex.split(shown)[2:], "--json", "--workers", "1"]) == 5
    told = json.loads(capsys.readouterr().out)
    assert told["counts"]["missed"] == told["counts"]["images"] == 20
    assert told["out"]["images"] == str(tmp_path / "job" / "images")


def test_images_that_differ_in_their_extension_only_are_refused(images: Path, tmp_path: Path) -> None:
    shutil.copy(images / "a" / "00.png", images / "a" / "00.bmp")
    with pytest.raises(UsageError, match=r"00\.bmp' and .*00\.png' would both become 'a/00'"):
        plan_encode(str(images), tmp_path / "job")
    assert not (tmp_path / "job" / "plan").exists()


def test_another_target_is_refused_on_resume(images: Path, tmp_path: Path) -> None:
    run_job(plan_encode(str(images / "a"), tmp_path / "job", to="jpeg", target=TARGET), workers=1)
    with pytest.raises(RefusedError, match="planned with --target quality, found --target score"):
        plan_encode(str(images / "a"), tmp_path / "job", to="jpeg", resume=True)
    with pytest.raises(RefusedError, match="planned with --to jpeg, found --to webp"):
        plan_encode(str(images / "a"), tmp_path / "job", to="webp", target=TARGET, resume=True)


def test_a_machine_without_a_planned_codec_refuses(images: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    plan = plan_encode(str(images / "a"), tmp_path / "job", to="webp", target=TARGET)
    monkeypatch.setattr(encoding_module, "available_codecs", lambda: ("jpeg",))
    with pytest.raises(MissingExtraError, match="planned with webp"):
        encoding_module.open_encode(plan, 1)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--shard-size", "3"], "--shard-size needs a job"),
        (["--on", "local", "--overwrite"], "--overwrite is not supported with --on"),
        (["--on", "local", "--study", "x"], "--study is not supported with --on"),
        (["--on", "local", "--to", "nonsense"], "there is no codec"),
        (["--on", "local", "--out", "images/job"], "one is inside the other"),
        (["--resume"], "there is no job"),
    ],
)
def test_wrong_combinations_are_one_line(images, tmp_path, monkeypatch, capsys, more, said) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert main(["encode", "images", "--quality", "60", "--out", "job", *more]) == 2
    assert said in capsys.readouterr().err
    assert not Path("job", "plan").exists()


def test_a_job_has_one_source(images: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    words = ["encode", str(images / "a"), str(images / "b"), "--out", str(tmp_path / "job"), "--on", "local"]
    assert main(words) == 2
    assert "expected one source" in capsys.readouterr().err
