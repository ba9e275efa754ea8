"""Workers that are started before the plan was read are used once, and ended when nobody takes them."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from eyewright.cli import main
from eyewright.core.errors import RefusedError
from eyewright.scaling import open_job, plan_predict, run_job, starting, verify_folder
from eyewright.scaling.starting import start_ahead


@pytest.fixture
def job(bundle: Path, images: Path, tmp_path: Path) -> Path:
    return plan_predict(bundle, str(images), tmp_path / "job", shard_size=10).folder


def is_gone(pid: int) -> bool:
    until = time.monotonic() + 30
    while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < until:
        time.sleep(0.01)
    return not Path(f"/proc/{pid}/exe").exists()


def test_a_crew_takes_the_workers_that_were_started(job: Path) -> None:
    with start_ahead(job, workers=1) as ahead:
        assert ahead is not None
        (process,) = ahead._processes
        done = run_job(open_job(job).plan, workers=1, ahead=ahead)
        assert ahead._processes == []
    assert done.totals.images == 40
    assert process.returncode is not None
    assert verify_folder(job)[1] == []


def test_workers_that_nobody_takes_are_ended(job: Path) -> None:
    pids: list[int] = []

    def refused() -> None:
        with start_ahead(job, workers=2) as ahead:
            assert ahead is not None
            pids.extend(p.pid for p in ahead._processes)
            raise RefusedError("another plan", fix="")

    with pytest.raises(RefusedError):
        refused()
    assert len(pids) == min(2, len(os.sched_getaffinity(0)))
    assert all(map(is_gone, pids))


def test_nothing_is_started_where_there_is_no_job(tmp_path: Path) -> None:
    with start_ahead(tmp_path) as ahead:
        assert ahead is None


def test_a_resumed_command_starts_each_worker_once(bundle, images, job, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    from eyewright.scaling import local

    started: list[int] = []
    start = starting.start_worker

    def noted(folder, model, threads):  # type: ignore[no-untyped-def]
        process = start(folder, model, threads)
        started.append(process.pid)
        return process

    monkeypatch.setattr(starting, "start_worker", noted)
    monkeypatch.setattr(local, "start_worker", noted)
    words = ["predict", str(bundle), "--source", str(images), "--out", str(job), "--workers", "1", "--resume"]
    assert main([*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["counts"]["images"] == 40
    assert len(started) == 1
    # One that is refused leaves no process, and nothing of the job is changed.
    before = sorted(os.listdir(job / "commits"))
    assert main([*words, "--top", "2"]) == 4
    assert len(started) == 2
    assert is_gone(started[1])
    assert sorted(os.listdir(job / "commits")) == before


@pytest.mark.parametrize("words", [["process", "--steps", "resize:16"], ["encode", "--to", "jpeg"]], ids=lambda w: w[0])
def test_process_and_encode_continue_with_workers_that_were_started(words, images, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from eyewright.scaling import local

    out = tmp_path / "out"
    command = [words[0], str(images), *words[1:], "--out", str(out), "--shard-size", "10", "--workers", "1", "--quiet"]
    assert main([*command, "--on", "local"]) == 1
    (out / "commits" / "00000003.json").unlink()
    (out / "results" / "part-00000003.jsonl").unlink()
    ahead: list[int] = []
    late: list[int] = []
    start = starting.start_worker

    def noted(into: list[int]):  # type: ignore[no-untyped-def]
        def started(folder, model, threads):  # type: ignore[no-untyped-def]
            into.append(1)
            return start(folder, model, threads)

        return started

    monkeypatch.setattr(starting, "start_worker", noted(ahead))
    monkeypatch.setattr(local, "start_worker", noted(late))
    assert main([*command, "--resume"]) == 1
    assert (len(ahead), len(late)) == (1, 0)
    assert verify_folder(out)[1] == []


def test_a_part_that_is_about_to_be_moved_is_not_lost(job: Path, tmp_path: Path) -> None:
    """A process is stopped between its commit and the move of its part while another one starts."""
    run_job(open_job(job).plan, workers=1)
    ledger = open_job(job)
    record = ledger.read(2)
    assert record is not None
    part, staged = job / "results" / record.part, ledger.staging / record.staged
    # The record was written after the staged files were listed: as if they had not been there.
    shutil.move(part, staged)
    scanned, empty = os.scandir, tmp_path / "empty"
    empty.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: scanned(empty if Path(path) == ledger.staging else path))
        assert ledger.recover(lambda number: False) == 0
    assert ledger.is_done(2)
    # A shard whose lease is held is left alone.
    staged.unlink()
    assert ledger.recover(lambda number: True) == 0
    assert ledger.recover(lambda number: False) == 1
