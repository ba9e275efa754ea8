"""The page of a job says what its folder says: shards, rates, what is left, and images without a result."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from array import array
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eyewright.cli import main
from eyewright.core.errors import OutputError
from eyewright.scaling import Ledger, Settings, plan_predict, read_fleet, run_job
from eyewright.scaling.fleet import (
    DONE,
    RUNNING,
    WAITING,
    WITH_CRASHES,
    WITH_ERRORS,
    Fleet,
    FleetReader,
)
from eyewright.scaling.fleet_page import FleetPage, render_fleet
from eyewright.scaling.leases import Leases
from eyewright.scaling.plan import Plan
from eyewright.scaling.rows import error_row, write_rows

CELLS = re.compile(r'<i class="(\w+)" title="([^"]*)">')


def cells_of(page: str) -> list[str]:
    return [css for css, _ in CELLS.findall(page)]


@pytest.fixture
def plan(bundle: Path, images: Path, tmp_path: Path) -> Plan:
    """8 shards of 5 images."""
    return plan_predict(bundle, str(images), tmp_path / "job", shard_size=5)


def commit(plan: Plan, number: int, *, seconds: float, errors: tuple[str, ...] = ()) -> None:
    """Commit a shard whose first images have these errors."""
    ledger = Ledger(plan, "jsonl")
    ledger.prepare()
    shard = list(plan.shards())[number]
    rows = [error_row(shard.first + k, f"image {k}", code, f"it is {code}") for k, code in enumerate(errors)]
    good = [
        {**error_row(k, "x", "", ""), "ok": True, "error": None, "message": None}
        for k in range(shard.images - len(rows))
    ]
    staged = ledger.stage(shard)
    part = write_rows(staged, [*rows, *good])
    assert ledger.commit(shard, staged, part, crashed=errors.count("crashed"), seconds=seconds)


def test_a_job_that_was_planned_only_waits_and_nothing_is_written(plan: Plan) -> None:
    before = sorted(plan.folder.rglob("*"))
    fleet = read_fleet(plan.folder)
    assert fleet.shards == {"total": 8, "done": 0, "running": 0, "waiting": 8, "with_errors": 0, "with_crashes": 0}
    assert (fleet.rate, fleet.left_s, fleet.worker_s_left, fleet.is_done) == (None, None, None, False)
    assert sorted(plan.folder.rglob("*")) == before
    page = render_fleet(fleet)
    assert cells_of(page) == ["waiting"] * 8
    assert "No process works on the job" in page


def test_rates_and_what_is_left_are_computed_by_hand(plan: Plan) -> None:
    commit(plan, 0, seconds=1.0)
    commit(plan, 1, seconds=3.0, errors=("unreadable_image",))
    leases = Leases(plan.folder / "leases")
    assert leases.take(4)
    assert leases.take(5)
    fleet = FleetReader(Ledger(plan, "jsonl"), leases).read()
    assert bytes(fleet.states) == bytes([DONE, WITH_ERRORS, WAITING, WAITING, RUNNING, RUNNING, WAITING, WAITING])
    # 10 images in 4 s of a worker; 4 whole shards and 2 halves are left, for 2 workers of 2.5 images/s each.
    assert fleet.worker_rate == pytest.approx(2.5)
    assert fleet.rate == pytest.approx(5.0)
    assert fleet.worker_s_left == pytest.approx(25 / 2.5)
    assert fleet.left_s == pytest.approx(5.0)
    assert (fleet.workers, fleet.processes, fleet.machines) == (2, 1, 1)
    assert [(s.shard, s.first, s.images, s.seconds) for s in fleet.slowest] == [(1, 5, 5, 3.0), (0, 0, 5, 1.0)]
    assert [(f.code, f.path) for f in fleet.failed] == [("unreadable_image", "image 0")]


def test_a_reader_follows_a_job_also_where_a_shard_is_done_again(plan: Plan) -> None:
    reader = FleetReader(Ledger(plan, "jsonl"), None)
    commit(plan, 2, seconds=1.0, errors=("crashed", "unreadable_image"))
    fleet = reader.read()
    assert fleet.states[2] == WITH_CRASHES
    assert (fleet.failed_images, fleet.crashed_images) == (2, 1)
    assert [f.code for f in fleet.crashed] == ["crashed"]
    (plan.folder / "commits" / "00000002.json").unlink()
    fleet = reader.read()
    assert (fleet.states[2], fleet.failed_images, fleet.crashed) == (WAITING, 0, ())


def test_a_lease_of_a_dead_process_is_no_worker(plan: Plan) -> None:
    code = (
        "import sys; from pathlib import Path; from eyewright.scaling import Leases; Leases(Path(sys.argv[1])).take(3)"
    )
    subprocess.run([sys.executable, "-c", code, str(plan.folder / "leases")], check=True)
    assert (plan.folder / "leases" / "00000003.json").is_file()
    assert read_fleet(plan.folder).workers == 0


def test_processes_and_machines_are_counted(plan: Plan) -> None:
    folder = plan.folder / "leases"
    folder.mkdir()
    for number, (boot, pid) in enumerate([("a", 1), ("a", 1), ("a", 2), ("b", 1)]):
        (folder / f"{number:08d}.json").write_text(
            json.dumps({"token": "t", "boot": boot, "pid": pid, "started": "", "beats": 0})
        )
    (folder / "00000007.json").write_text("half a lea")
    fleet = read_fleet(plan.folder)
    assert (fleet.workers, fleet.processes, fleet.machines) == (4, 3, 2)


def test_the_page_of_a_finished_job_counts_its_rows_and_no_longer_refreshes(plan: Plan) -> None:
    job = run_job(plan, workers=1)
    page = (plan.folder / "fleet.html").read_text()
    assert cells_of(page).count("errors") == 1
    assert cells_of(page).count("done") == 7
    assert "All 40 images in 8 shards are done. 1 image without a result." in page
    assert 'http-equiv="refresh"' not in page
    assert "07.png" in page
    assert job.counts["failed"] == 1
    # One image of 40, not its shard of 5; and no tile of a job that still runs.
    assert '<i class="errors" style="width:2.50%"></i>' in page
    assert '<i class="done" style="width:97.50%"></i>' in page
    assert "time left" not in page
    assert "0 processes" not in page


@pytest.mark.usefixtures("poison")
def test_quarantined_images_are_named(bundle: Path, images: Path, tmp_path: Path) -> None:
    shutil.copy(images / "a" / "00.png", images / "b" / "kill-1.png")
    plan = plan_predict(bundle, str(images / "b" / "[0k]*.png"), tmp_path / "job", shard_size=3)
    run_job(plan, workers=1, settings=Settings(tries=1))
    fleet = read_fleet(plan.folder)
    assert [Path(f.path).name for f in fleet.crashed] == ["kill-1.png"]
    page = (plan.folder / "fleet.html").read_text()
    assert "crashes" in cells_of(page)
    assert "SIGKILL" in page


def test_a_process_that_stops_says_why_on_the_page(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("no space <left>", fix="free some")

    monkeypatch.setattr("eyewright.scaling.jobs.run_shards", full)
    with pytest.raises(OutputError):
        run_job(plan, workers=1)
    page = (plan.folder / "fleet.html").read_text()
    assert "no space &lt;left&gt;" in page
    assert 'http-equiv="refresh"' not in page


def test_while_it_runs_the_page_is_read_again(plan: Plan) -> None:
    fleet = replace(read_fleet(plan.folder), workers=1, processes=1, machines=1)
    assert '<meta http-equiv="refresh" content="5">' in render_fleet(fleet, every_s=1.0)
    assert '<meta http-equiv="refresh" content="60">' in render_fleet(fleet, every_s=60.0)
    assert 'http-equiv="refresh"' not in render_fleet(fleet)


def test_of_several_processes_one_writes_the_page(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    leases = Leases(plan.folder / "leases")
    one, two = (FleetPage(FleetReader(Ledger(plan, "jsonl"), leases)) for _ in range(2))
    place = plan.folder / "fleet.html"
    one.refresh()
    assert not place.exists(), "a short job ends before its first page"
    clock[0] = 3.0
    one.refresh()
    written = place.stat().st_mtime_ns
    two.refresh()
    assert place.stat().st_mtime_ns == written, "another process has just written it"
    os.utime(place, ns=(written, written + 1))
    clock[0] = 12.0
    one.refresh()
    assert place.stat().st_mtime_ns == written + 1, "another process has written it meanwhile"
    clock[0] = 24.0
    one.refresh()
    assert place.stat().st_mtime_ns != written + 1, "the other process is gone"


def test_names_of_files_and_folders_cannot_write_the_page(plan: Plan) -> None:
    commit(plan, 0, seconds=1.0)
    fleet = read_fleet(plan.folder)
    from eyewright.core.report import Finding

    bad = Finding("unreadable_image", "<script>1</script>", "", "<img src=x>\n\x1b[31m", severity="error")
    page = render_fleet(replace(fleet, failed=(bad,), failed_images=1, plan=replace(fleet.plan, source="</style><b>")))
    assert "<script" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert page.count("</style>") == 1
    assert "default-src 'none'" in page


@pytest.mark.parametrize("n", [1, 600, 601, 50_000])
def test_a_million_images_fit_one_page(plan: Plan, n: int) -> None:
    states = bytearray([DONE] * n)
    states[n // 2] = WITH_CRASHES
    states[-1] = WITH_ERRORS if n > 1 else WITH_CRASHES
    fleet = replace(
        read_fleet(plan.folder), states=bytes(states), images=array("q", [20] * n), seconds=array("f", [1.0] * n)
    )
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    page = render_fleet(fleet, now=now)
    cells = cells_of(page)
    assert len(cells) == -(-n // -(-n // 600)) <= 600
    assert "crashes" in cells
    assert len(page) < 120_000
    assert "2026-01-02 03:04:05 UTC" in page
    assert page == render_fleet(fleet, now=now)


def test_a_cell_of_several_shards_shows_the_one_that_is_not_done(plan: Plan) -> None:
    def kinds(first: int) -> list[str]:
        n = 1200
        fleet: Fleet = replace(
            read_fleet(plan.folder),
            states=bytes([first, *[DONE] * (n - 1)]),
            images=array("q", [1] * n),
            seconds=array("f", [1.0] * n),
        )
        return cells_of(render_fleet(fleet))[:1]

    assert kinds(DONE) == ["done"]
    assert kinds(WAITING) == ["waiting"]
    assert kinds(RUNNING) == ["running"]
    assert kinds(WITH_ERRORS) == ["errors"]


def test_status_on_the_command_line(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    commit(plan, 0, seconds=1.0, errors=("crashed",))
    assert main(["work", str(plan.folder), "--status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shards"]["done"] == 1
    assert found["counts"] == {"images": 5, "failed": 1, "crashed": 1}
    assert found["rate"]["left_s"] is None
    assert found["rate"]["worker_s_left"] == pytest.approx(7.0)
    assert found["slowest"] == [{"shard": 0, "first": 0, "images": 5, "seconds": 1.0}]
    assert Path(found["out"]["fleet"]).is_file()
    assert main(["work", str(plan.folder), "--status"]) == 0
    assert "7 waiting" in capsys.readouterr().out
    assert Leases(plan.folder / "leases").take(1)
    assert main(["work", str(plan.folder), "--status"]) == 0
    assert "with 1 worker on 1 machine\n" in capsys.readouterr().out
    assert main(["work", str(plan.folder / "commits"), "--status"]) == 3


def test_status_names_the_path_of_an_image_once(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    run_job(plan, workers=1)
    assert main(["work", str(plan.folder), "--status"]) == 0
    (said,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("no result"))
    assert said.count("07.png") == 1


def test_status_is_shown_where_the_page_cannot_be_written(
    plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OutputError(f"cannot write {str(path)!r}: no space left on the disk", fix="free some")

    monkeypatch.setattr("eyewright.scaling.fleet_page.write_page", full)
    assert main(["work", str(plan.folder), "--status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shards"]["waiting"] == 8
    assert set(found["out"]) == {"job"}
    assert [(f["code"], f["severity"]) for f in found["findings"]] == [("page", "warning")]
