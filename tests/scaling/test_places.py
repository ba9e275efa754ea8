"""A job in a store has the results of a job in a folder, whoever is killed, and whoever else works on it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eyewright.cli import main
from eyewright.core.errors import OutputError, UsageError
from eyewright.scaling import leases as leases_module
from eyewright.scaling import open_job, plan_predict, plan_process, read_fleet, run_job, stores, verify_folder
from eyewright.scaling import places as module
from eyewright.scaling.leases import Leases
from eyewright.scaling.places import StorePlace, new_work
from eyewright.scaling.rows import error_row, write_rows
from eyewright.scaling.stores import open_store

JOB = "memory://bucket/job"


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty store in memory, which only this process sees: workers write their rows to files."""
    fsspec = pytest.importorskip("fsspec", reason="needs the extra stores")
    files = fsspec.filesystem("memory")
    files.store.clear()
    module._store_of.cache_clear()
    yield files
    files.store.clear()
    module._store_of.cache_clear()


def names(memory: Any) -> list[str]:
    return sorted(name.removeprefix("/bucket/job/") for name in memory.store)


@pytest.fixture
def done(bundle: Path, images: Path, memory: Any) -> Any:
    """A job of 40 images in 5 shards that is done."""
    return run_job(plan_predict(bundle, str(images), JOB, shard_size=8), workers=1)


def test_a_job_in_a_store_is_that_of_a_folder(done: Any, bundle: Path, images: Path, memory: Any, tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert (done.counts["images"], done.counts["failed"]) == (40, 1)
    own = run_job(plan_predict(bundle, str(images), tmp_path / "job", shard_size=8), workers=1)
    parts = [f"results/part-{k:08d}.jsonl" for k in range(5)]
    assert [n for n in names(memory) if n.startswith("results/")] == parts
    for part in parts:
        assert memory.cat_file(f"/bucket/job/{part}") == (tmp_path / "job" / part).read_bytes()
    # No lease and no probe is left.
    assert {n.partition("/")[0] for n in names(memory)} == {"plan", "commits", "results", "manifest.json", "fleet.html"}
    assert memory.cat_file("/bucket/job/manifest.json") == (tmp_path / "job" / "manifest.json").read_bytes()
    assert done.plan.digest == own.plan.digest
    assert verify_folder(JOB)[1] == []
    assert read_fleet(JOB).is_done
    assert [f.code for f in done.findings] == ["unreadable_image"]


def test_a_part_without_a_record_is_kept_and_not_done_again(done: Any, bundle: Path, images: Path, memory: Any) -> None:
    part = memory.cat_file("/bucket/job/results/part-00000002.jsonl")
    before = json.loads(memory.cat_file("/bucket/job/commits/00000002.json"))
    memory.rm_file("/bucket/job/commits/00000002.json")
    assert [f.code for f in verify_folder(JOB)[1]] == ["not_done", "unknown_part"]
    job = run_job(plan_predict(bundle, str(images), JOB, shard_size=8, resume=True), workers=1)
    assert (job.totals.images, job.counts["images"], job.counts["failed"]) == (0, 40, 1)
    assert memory.cat_file("/bucket/job/results/part-00000002.jsonl") == part
    after = json.loads(memory.cat_file("/bucket/job/commits/00000002.json"))
    assert {**before, "staged": "", "seconds": 0} == {**after, "seconds": 0}
    assert verify_folder(JOB)[1] == []


def test_a_part_that_is_gone_is_done_again_and_one_that_changed_is_found(
    done: Any, bundle: Path, images: Path, memory: Any
) -> None:
    memory.rm_file("/bucket/job/results/part-00000001.jsonl")
    memory.pipe_file("/bucket/job/results/part-00000003.jsonl", b"{}\n")
    memory.pipe_file("/bucket/job/results/notes.jsonl", b"{}\n")
    found = {(f.code, f.path.removeprefix(f"{JOB}/results/")) for f in verify_folder(JOB)[1]}
    assert found == {
        ("part_missing", "part-00000001.jsonl"), ("part_changed", "part-00000003.jsonl"),
        ("unknown_part", "notes.jsonl"),
    }  # fmt: skip
    memory.rm_file("/bucket/job/commits/00000003.json")
    memory.rm_file("/bucket/job/results/notes.jsonl")
    # What is no part of the plan is not made one.
    job = run_job(plan_predict(bundle, str(images), JOB, shard_size=8, resume=True), workers=1)
    assert (job.redone, job.totals.images) == (1, 16)
    assert verify_folder(JOB)[1] == []


def test_of_two_processes_that_did_a_shard_the_first_counts(done: Any, memory: Any) -> None:
    ledger = open_job(JOB)
    ledger.prepare()
    (shard, *_) = ledger.plan.shards()
    rows = memory.cat_file("/bucket/job/results/part-00000000.jsonl")
    for record_there in (True, False):
        if not record_there:
            memory.rm_file("/bucket/job/commits/00000000.json")
        staged = ledger.stage(shard)
        part = write_rows(staged, [error_row(k, f"x{k}", "other", "") for k in range(shard.images)])
        assert not ledger.commit(shard, staged, part, crashed=0, seconds=1.0)
        assert not staged.exists()
        assert memory.cat_file("/bucket/job/results/part-00000000.jsonl") == rows
        record = ledger.read(0)
        assert record is not None
        assert (record.failed, record.sha256 != part.sha256) == (0, True)
    assert verify_folder(JOB)[1] == []


def test_a_job_is_planned_once(bundle: Path, images: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan_predict(bundle, str(images), JOB, shard_size=8)
    # Not started: the same command may be given again.
    plan_predict(bundle, str(images), JOB, shard_size=8)
    first = memory.cat_file("/bucket/job/plan/plan.json")
    memory.rm_file("/bucket/job/plan/plan.json")
    write = StorePlace.write_new

    def second(self: StorePlace, name: str, data: bytes, *, sync: bool = True) -> bool:
        # Another process was quicker.
        if name == "plan/plan.json":
            memory.pipe_file("/bucket/job/plan/plan.json", first)
        return write(self, name, data, sync=sync)

    monkeypatch.setattr(StorePlace, "write_new", second)
    with pytest.raises(UsageError, match="got a job meanwhile"):
        plan_predict(bundle, str(images), JOB, shard_size=9)
    assert open_job(JOB).plan.shard_images == 8


def test_a_store_that_replaces_what_it_should_keep_is_refused(
    bundle: Path, images: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = memory.pipe_file
    monkeypatch.setattr(type(memory), "pipe_file", lambda self, path, value, mode="": pipe(path, value))
    with pytest.raises(OutputError, match="replaces objects that it is asked to keep") as caught:
        plan_predict(bundle, str(images), JOB)
    assert "If-None-Match" in caught.value.fix
    assert names(memory) == []


def test_a_lease_in_a_store_has_one_holder(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(leases_module.time, "monotonic", lambda: now[0])
    place = StorePlace(f"{JOB}/leases", open_store(JOB), Path("/nowhere"))
    one, other = Leases(place), Leases(place)
    assert one.take(3)
    assert not other.take(3)
    assert list(other.holders()) == [3]
    one.release(3)
    assert other.take(3)
    # One of another machine that is no longer renewed.
    held = json.loads(memory.cat_file("/bucket/job/leases/00000003.json"))
    memory.pipe_file("/bucket/job/leases/00000003.json", json.dumps({**held, "boot": "x", "token": "x"}).encode())
    assert not one.take(3)
    now[0] += 59
    assert not one.take(3)
    now[0] += 2
    assert one.take(3)
    # The first holder notices, and does not renew what is no longer its own.
    other.renew()
    one.release_all()
    assert names(memory) == []


@pytest.mark.parametrize("address", ["memory://bucket", "memory://bucket/", "memory://bucket/a/../b", "memory://b//a"])
def test_an_address_without_a_prefix_is_refused(address: str, memory: Any) -> None:
    with pytest.raises(UsageError, match="BUCKET/PREFIX"):
        new_work(address)


def test_results_do_not_go_where_the_images_are(memory: Any) -> None:
    memory.pipe_file("/bucket/photos/1.png", b"")
    with pytest.raises(UsageError, match="overlap"):
        plan_process("memory://bucket/photos/", "denoise", "memory://bucket/photos/small")


def test_folders_of_processes_that_were_killed_are_removed(memory: Any, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    gone = tmp_path / "eyewright-job-4000000-12-abc"
    gone.mkdir()
    own = new_work(JOB)
    assert own.name.startswith(f"eyewright-job-{os.getpid()}-")
    assert sorted(tmp_path.iterdir()) == [own]


def test_calls_are_repeated_when_results_are_written(memory: Any) -> None:
    class Failing:
        calls = 0

        def pipe_file(self, *args: Any, **options: Any) -> None:
            Failing.calls += 1
            if Failing.calls % 2:
                raise OSError("503 Slow Down")
            # The answer of a call that took effect is lost.
            memory.pipe_file(*args, **options)
            if Failing.calls == 2:
                raise TimeoutError("secret")

        def cat_file(self, *args: Any, **options: Any) -> bytes:
            return bytes(memory.cat_file(*args, **options))

    store = stores.Store("memory", Failing(), 0.0)
    assert store.put_new("memory://bucket/job/x", b"mine")
    assert memory.cat_file("/bucket/job/x") == b"mine"
    assert not store.put_new("memory://bucket/job/x", b"other")
    assert memory.cat_file("/bucket/job/x") == b"mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "BUNDLE", "--source", "IMAGES", "--out", "s3://b/x"], "pass --on local"),
        (["doctor", "IMAGES", "--out", "s3://b/x"], "write to a folder"),
        (["browse", "s3://b/data"], "copy it to a folder first"),
        (["predict", "BUNDLE", "--source", "IMAGES", "--out", "s3://k:secret@b/x", "--on", "local"], "credentials"),
        (["predict", "BUNDLE", "--source", "IMAGES", "--out", "hf://b/x", "--on", "local"], "not written to hf://"),
        (["predict", "BUNDLE", "--source", "IMAGES", "--out", "s3://b/x", "--on", "ray"], "eyewright work ADDRESS"),
    ],
)
def test_what_no_store_can_do_is_one_line(
    words: list[str], said: str, bundle: Path, images: Path, tmp_path: Path, capsys, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    given = {"BUNDLE": str(bundle), "IMAGES": str(images)}
    assert main([given.get(word, word) for word in words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert "secret" not in told
    assert list(tmp_path.iterdir()) == [images]


def test_a_part_of_other_rows_is_replaced_by_the_planned_ones(done: Any, memory: Any) -> None:
    ledger = open_job(JOB)
    ledger.prepare()
    (shard, *_) = ledger.plan.shards()
    memory.rm_file("/bucket/job/commits/00000000.json")
    memory.pipe_file("/bucket/job/results/part-00000000.jsonl", b'{"id": 99, "source": "x", "ok": true}\n')
    ledger._done[0] = 0
    staged = ledger.stage(shard)
    part = write_rows(
        staged, [error_row(shard.first + k, i.path, "other", "") for k, i in enumerate(ledger.plan.items(shard))]
    )
    assert ledger.commit(shard, staged, part, crashed=0, seconds=1.0)
    assert verify_folder(JOB)[1] == []


def test_a_folder_that_somebody_else_made_is_no_job_in_a_store(tmp_path: Path) -> None:
    (tmp_path / "address.txt").write_text("s3://elsewhere/x")
    assert module.place_of(tmp_path).is_local
    assert module.shown_place(tmp_path) == str(tmp_path)


def test_a_bucket_that_is_not_there_is_named_and_no_probe() -> None:
    class NoBucket:
        def call_s3(self, *args: object, **kwargs: object) -> None:
            raise FileNotFoundError("The specified bucket does not exist")

    with pytest.raises(OutputError, match="there is no bucket 's3://nobucket'") as caught:
        stores.Store("s3", NoBucket(), 0.0).check_written("s3://nobucket/res")
    assert ".eyewright" not in str(caught.value)
