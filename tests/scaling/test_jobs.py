"""A job gives every planned image exactly one row, whoever is killed meanwhile, and equal to one process's."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from eyewright.bundle import load_bundle
from eyewright.bundle.manifest import read_sealed_manifest, write_manifest
from eyewright.cli import main
from eyewright.core.errors import LostError, RefusedError, UnreadableImageError, UsageError
from eyewright.imaging.sources import list_sources
from eyewright.scaling import Settings, open_job, plan_predict, plan_process, run_job, verify_folder


def rows_of(job: Path) -> list[dict]:
    return [json.loads(line) for part in sorted((job / "results").iterdir()) for line in part.read_text().splitlines()]


def checked(job: Path, n: int) -> list[dict]:
    """Return the rows of a finished job that has one for each of n images and nothing left over."""
    _, findings = verify_folder(job)
    assert findings == []
    rows = rows_of(job)
    assert [r["id"] for r in rows] == list(range(n))
    assert not os.listdir(job / "tmp")
    assert not os.listdir(job / "leases")
    return rows


def test_rows_are_the_predictions_of_one_process(bundle: Path, images: Path, tmp_path: Path) -> None:
    job = run_job(plan_predict(bundle, str(images), tmp_path / "job", shard_size=7), workers=2)
    rows = checked(tmp_path / "job", 40)
    assert (job.counts["images"], job.counts["failed"], job.totals.shards) == (40, 1, 6)
    loaded = load_bundle(bundle)
    for row, (item, expected) in zip(rows, loaded.predict_files(list_sources(images)), strict=True):
        assert row["source"] == str(item)
        if isinstance(expected, UnreadableImageError):
            assert (row["ok"], row["error"], row["message"]) == (False, expected.code, expected.message)
            continue
        told = expected.to_json()
        assert row["result"]["labels"] == told["labels"]
        assert row["result"]["scores"] == pytest.approx(told["scores"], abs=2e-6)
        assert (row["ok"], row["label"]) == (True, told["labels"][0])
    manifest = json.loads((tmp_path / "job" / "manifest.json").read_text())
    assert manifest["rows"] == 40
    assert [p["rows"] for p in manifest["parts"]] == [7, 7, 7, 7, 7, 5]


def test_a_job_in_the_working_folder_is_done_and_verified(
    bundle: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = run_job(plan_predict(bundle, str(images), Path("job")), workers=1)
    assert job.counts["images"] == len(checked(Path("job"), 40))


@pytest.mark.usefixtures("poison")
def test_images_that_kill_their_worker_are_found_and_the_others_have_results(bundle, images, tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name in ("kill-1", "segv-2"):
        shutil.copy(images / "a" / "00.png", images / "b" / f"{name}.png")
    plan = plan_predict(bundle, str(images / "b" / "[0ks]*.png"), tmp_path / "job", shard_size=3)
    job = run_job(plan, workers=1, settings=Settings(tries=1))
    rows = checked(tmp_path / "job", 7)
    bad = {Path(r["source"]).name: (r["error"], r["message"]) for r in rows if not r["ok"]}
    assert set(bad) == {"07.png", "kill-1.png", "segv-2.png"}
    assert bad["kill-1.png"] == ("crashed", "the image ended its worker process: SIGKILL")
    assert bad["segv-2.png"] == ("crashed", "the image ended its worker process: SIGSEGV")
    assert job.counts["crashed"] == 2


@pytest.mark.usefixtures("poison")
def test_an_image_that_never_ends_is_found(bundle: Path, images: Path, tmp_path: Path) -> None:
    shutil.copy(images / "a" / "00.png", images / "a" / "hang.png")
    plan = plan_predict(bundle, str(images / "a" / "[h]*.png"), tmp_path / "job")
    run_job(plan, workers=1, timeout_s=1.5, settings=Settings(tries=1))
    bad = [(r["error"], r["message"]) for r in checked(tmp_path / "job", 1)]
    assert bad == [("crashed", "the image ended its worker process: no progress in 1.5 s")]


@pytest.mark.usefixtures("poison")
def test_a_job_in_which_every_image_crashes_ends(bundle: Path, images: Path, tmp_path: Path) -> None:
    for k in range(2):
        shutil.copy(images / "a" / "00.png", images / f"kill{k}.png")
    plan = plan_predict(bundle, str(images / "kill*.png"), tmp_path / "job")
    with pytest.raises(LostError, match="images failed in their worker"):
        run_job(plan, workers=1, settings=Settings(tries=1, most_crashed=0))
    assert not os.listdir(tmp_path / "job" / "tmp")


def test_a_decoder_that_crashes_is_one_row(bundle: Path, images: Path, tmp_path: Path, killing) -> None:  # type: ignore[no-untyped-def]
    bad = images / "a" / "02.png"
    bad.write_bytes(killing(bad.read_bytes()))
    job = run_job(plan_predict(bundle, str(images), tmp_path / "job"), workers=1)
    rows = checked(tmp_path / "job", 40)
    assert [r["error"] for r in rows if Path(r["source"]) == bad] == ["decoder_crashed"]
    # Done again with each image decoded apart, and not in halves.
    assert job.totals.attempts_failed == 1


def test_a_file_that_changed_or_went_since_it_was_planned_is_a_row(bundle, images, tmp_path) -> None:  # type: ignore[no-untyped-def]
    plan = plan_predict(bundle, str(images), tmp_path / "job")
    shutil.copy(images / "a" / "00.png", images / "a" / "04.png")
    (images / "a" / "06.png").unlink()
    run_job(plan, workers=1)
    found = {Path(r["source"]).name: r["error"] for r in checked(tmp_path / "job", 40) if not r["ok"]}
    assert set(found) == {"04.png", "06.png", "07.png"}
    assert found["04.png"] == "changed"


_PAUSE = """
import os, signal, sys
at, count = int(os.environ["KILL_AT"]), 0
if "eyewright.scaling.worker" not in sys.orig_argv and "eyewright" in sys.orig_argv:
    def dying(real):
        def call(*args, **kwargs):
            global count
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        return call
    for name in ("link", "unlink", "rename", "replace", "fsync"):
        setattr(os, name, dying(getattr(os, name)))
"""


_SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in (*range(1, 14), *range(15, 21)) if n not in (2, 3, 5, 6)]


@pytest.mark.parametrize("at", [14, *_SLOW])
def test_a_driver_killed_before_any_step_on_the_disk_loses_and_doubles_nothing(bundle, images, tmp_path, at) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_PAUSE)
    job = tmp_path / "job"
    words = ["predict", str(bundle), "--source", str(images), "--out", str(job), "--on", "local", "--workers", "1"]
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "KILL_AT": str(at), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-m", "eyewright", *words, "--shard-size", "20", "--quiet"], env=environment, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    resumed = (job / "commits").exists()
    assert main([*words, *(["--resume"] if resumed else ["--shard-size", "20"]), "--quiet"]) == 1
    checked(job, 40)


def test_a_driver_killed_at_any_time_ends_its_workers_and_can_be_resumed(bundle, images, tmp_path) -> None:  # type: ignore[no-untyped-def]
    job = tmp_path / "job"
    words = ["predict", str(bundle), "--source", str(images), "--out", str(job), "--on", "local", "--workers", "1"]
    command = [sys.executable, "-m", "eyewright", *words, "--shard-size", "4", "--quiet"]
    driver = subprocess.Popen(command)
    wait_for(lambda: len(list((job / "results").glob("*"))) >= 2)
    (worker,) = children(driver.pid)
    driver.kill()
    driver.wait()
    wait_for(lambda: not Path(f"/proc/{worker}/exe").exists())
    kept = {p.name: p.stat().st_mtime_ns for p in (job / "results").iterdir()}
    assert 2 <= len(kept) < 10
    assert main([*words, "--quiet"]) == 2
    assert main([*words, "--resume", "--quiet"]) == 1
    checked(job, 40)
    assert kept.items() <= {p.name: p.stat().st_mtime_ns for p in (job / "results").iterdir()}.items()


@pytest.mark.slow
def test_workers_that_somebody_kills_cost_time_and_no_rows(bundle: Path, images: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    words = ["predict", str(bundle), "--source", str(images), "--out", str(job), "--on", "local", "--workers", "2"]
    driver = subprocess.Popen([sys.executable, "-m", "eyewright", *words, "--shard-size", "5", "--quiet"])
    for n in (0, 3):
        wait_for(lambda n=n: len(list((job / "results").glob("*"))) >= n and children(driver.pid))
        for pid in children(driver.pid)[:1]:
            os.kill(pid, signal.SIGKILL)
    assert driver.wait(60) == 1
    assert [Path(r["source"]).name for r in checked(job, 40) if not r["ok"]] == ["07.png"]


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(text) for text in task.read_text().split()]
    return [c for c in found if b"scaling.worker" in Path(f"/proc/{c}/cmdline").read_bytes()]


def wait_for(condition) -> None:  # type: ignore[no-untyped-def]
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.005)
    raise AssertionError("it did not happen")


def test_another_bundle_source_or_option_is_refused_on_resume(bundle: Path, images: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    run_job(plan_predict(bundle, str(images), job, shard_size=10), workers=1)
    with pytest.raises(UsageError, match="has a job already"):
        plan_predict(bundle, str(images), job)
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    manifest, _ = read_sealed_manifest(other)
    write_manifest(other, replace(manifest, name="another"))
    digest = open_job(job).plan.model_digest[:16]
    with pytest.raises(RefusedError, match=f"planned with the bundle {digest}, this one is "):
        plan_predict(other, str(images), job, resume=True)
    for change in ({"top": 2}, {"shard_size": 3}):
        with pytest.raises(RefusedError, match=r"was planned with(out)? --"):
            plan_predict(bundle, str(images), job, resume=True, **change)
    with pytest.raises(RefusedError, match="was planned with --source"):
        plan_predict(bundle, str(images / "a"), job, resume=True)
    # A copy of the bundle is the same model, and a job that is done has nothing left.
    moved = tmp_path / "moved"
    shutil.copytree(bundle, moved)
    assert run_job(plan_predict(moved, str(images), job, resume=True)).totals.images == 0


def test_parts_that_were_removed_are_done_again_and_damage_is_found(bundle, images, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    job = tmp_path / "job"
    words = ["predict", str(bundle), "--source", str(images), "--out", str(job)]
    run_job(plan_predict(bundle, str(images), job, shard_size=10), workers=1)
    part = job / "results" / "part-00000001.jsonl"
    whole = part.read_text()
    for text, code in (
        (whole.replace('"ok"', '"no"'), "part_changed"),
        (None, "part_missing"),
    ):
        part.unlink() if text is None else part.write_text(text)
        capsys.readouterr()
        assert main([*words, "--verify", "--json"]) == 1
        assert [f["code"] for f in json.loads(capsys.readouterr().out)["findings"]] == [code]
    (job / "results" / "part-00000009.jsonl").write_text(whole)
    assert [f.code for f in verify_folder(job)[1]] == ["part_missing", "unknown_part"]
    (job / "results" / "part-00000009.jsonl").unlink()
    assert main([*words, "--resume", "--quiet"]) == 1
    assert part.read_text() == whole
    assert main([*words, "--verify"]) == 0


def test_verify_counts_rows_and_not_only_digests(bundle: Path, images: Path, tmp_path: Path) -> None:
    import hashlib

    job = tmp_path / "job"
    run_job(plan_predict(bundle, str(images), job, shard_size=20), workers=1)
    part, record = job / "results" / "part-00000000.jsonl", job / "commits" / "00000000.json"
    lines = part.read_text().splitlines(keepends=True)
    part.write_text("".join([*lines[:-1], lines[0]]))
    about = json.loads(record.read_text())
    record.write_text(json.dumps({**about, "sha256": hashlib.sha256(part.read_bytes()).hexdigest()}))
    (found,) = verify_folder(job)[1]
    assert found.code == "rows"
    assert "1 planned images without a row, 1 double rows" in found.message


def test_the_plan_is_shown_and_then_run_unchanged(bundle: Path, images: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    job = tmp_path / "job"
    words = ["predict", str(bundle), "--source", str(images), "--out", str(job)]
    assert main([*words, "--plan", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["plan"]
    assert (planned["images"], planned["shards"]) == (40, 1)
    assert sorted(os.listdir(job)) == ["plan"]
    (images / "new.png").write_bytes((images / "a" / "00.png").read_bytes())
    assert main([*words, "--on", "local", "--workers", "1", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["plan"] == planned
    assert said["counts"] | {"bytes": 0} == {"images": 40, "failed": 1, "crashed": 0, "bytes": 0}
    assert [f["code"] for f in said["findings"]] == ["unreadable_image"]


def test_the_command_that_a_plan_shows_runs_it(bundle: Path, images: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    words = ["predict", str(bundle), "--source", str(images), "--out", str(tmp_path / "a job"), "--top", "2"]
    assert main([*words, "--plan"]) == 0
    shown = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("run "))
    again = shlex.split(shown)[2:]
    assert main([*again, "--json", "--workers", "1"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["counts"]["images"] == 40


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--on", "local"], "a job needs a folder"),
        (["--workers", "2"], "--workers needs a job"),
        (["--on", "local", "--out", "j", "--save", "csv"], "--save is not supported with --on"),
        (["--on", "local", "--out", "j", "--resume"], "there is no job"),
        (["--verify", "--out", "nowhere"], "expected the plan of a job"),
    ],
)
def test_wrong_combinations_are_one_line(bundle, images, tmp_path, monkeypatch, capsys, more, said) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(bundle), "--source", str(images), *more]) in (2, 3)
    assert said in capsys.readouterr().err


def test_an_option_that_was_not_given_is_named_as_not_given(bundle: Path, images: Path, tmp_path: Path) -> None:
    plan_predict(bundle, str(images), tmp_path / "job")
    with pytest.raises(RefusedError, match="was planned without --top, found --top 2"):
        plan_predict(bundle, str(images), tmp_path / "job", top=2, resume=True)
    plan_predict(bundle, str(images), tmp_path / "other", top=2)
    with pytest.raises(RefusedError, match="was planned with --top 2, found none"):
        plan_predict(bundle, str(images), tmp_path / "other")


def test_the_command_that_a_plan_shows_continues_a_job_that_has_results(bundle, images, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    words = ["predict", str(bundle), "--source", str(images), "--out", str(tmp_path / "job")]
    assert main([*words, "--plan"]) == 0
    assert "--resume" not in capsys.readouterr().out
    assert main([*words, "--on", "local", "--workers", "1", "--quiet"]) == 1
    capsys.readouterr()
    assert main([*words, "--plan", "--resume"]) == 0
    (shown,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("run "))
    assert main(["predict", *shlex.split(shown.partition(" predict ")[2])]) == 1


@pytest.mark.parametrize("text", ["5", "", "-"])
def test_a_name_that_is_no_engine_names_the_engines(text: str, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["predict", "b", "--source", str(tmp_path), "--out", "x", f"--on={text}"]) == 2
    assert "local, ray, ray://HOST:PORT or HOST:PORT" in capsys.readouterr().err


def test_only_options_that_were_given_are_to_be_left_out(capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["evaluate", "b", "data", "--out", "s3://bucket/x", "--on", "local"]) == 2
    said = capsys.readouterr().err
    assert "or leave --on out" in said
    assert "--update" not in said


def test_images_of_one_output_are_told_what_to_do(images: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{images}/a/00.png\n" * 2)
    with pytest.raises(UsageError, match="would both become") as caught:
        plan_process(f"@{listed}", "resize:8", tmp_path / "one")
    assert caught.value.fix == "list each image once"
    listed.write_text(f"{images}/a/00.png\n{images}/a/00.jpg\n")
    with pytest.raises(UsageError, match="would both become") as caught:
        plan_process(f"@{listed}", "resize:8", tmp_path / "two", to="webp")
    assert caught.value.fix == "rename one, or leave --to out"
