"""Jobs whose images and results are in S3: a small one of our own, which fails, lies, cuts answers off and is slow."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.scaling.small_s3 import SmallS3

from eyewright.cli import main
from eyewright.core.errors import InputError, OutputError
from eyewright.scaling import fetching, open_job, places, plan_predict, run_job, stores, verify_folder
from eyewright.scaling.fetching import fetched_rows, list_references
from eyewright.scaling.stores import open_store
from eyewright.scaling.work import open_work

SECRET = "s3cret-of-the-test"
JOB = "s3://bucket/job"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallS3]:
    """An empty bucket, where calls of this process and of its workers go."""
    pytest.importorskip("s3fs", reason="needs the extra s3")
    server = SmallS3()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_DEFAULT_REGION", "us-east-1"), ("AWS_ENDPOINT_URL", server.url),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "_FIRST_WAIT_S", 0.01)
    for cached in (places._store_of, fetching._store_of):
        cached.cache_clear()
    yield server
    for cached in (places._store_of, fetching._store_of):
        cached.cache_clear()
    server.close()


@pytest.fixture
def photos(s3: SmallS3, images: Path) -> str:
    """The 40 images below a prefix."""
    for path in images.rglob("*.png"):
        s3.put(f"photos/{path.relative_to(images)}", path.read_bytes())
    return "s3://bucket/photos/"


def words_of(bundle: Path, source: str | Path, *more: str) -> list[str]:
    return ["predict", str(bundle), "--source", str(source), "--out", JOB, "--on", "local", "--workers", "1", *more]


def checked(s3: SmallS3, n: int) -> None:
    """Check that every image has one row, and that nothing is left that is not part of the job."""
    assert verify_folder(JOB)[1] == []
    rows = [json.loads(x) for k in s3.keys("job/results/") for x in s3.objects[k].data.splitlines()]
    assert [row["id"] for row in rows] == list(range(n))
    assert s3.keys("job/leases/") == []
    assert not s3.uploads


def test_images_and_results_in_a_store_that_fails_one_call_in_ten(
    s3: SmallS3, photos: str, bundle: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The odd ones fail before they take effect, the others after.
    def tenth(method: str, key: str) -> int | str | None:
        n = len(s3.calls)
        return None if n % 10 else 503 if n % 20 else "lost" if method in ("PUT", "DELETE") else "cut"

    s3.fault = tenth
    assert main(words_of(bundle, photos, "--shard-size", "9", "--json")) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["counts"]["images"] == 40
    assert json.loads(said.out)["out"]["results"] == f"{JOB}/results"
    assert main(["work", JOB, "--verify"]) == 0
    assert main(["work", JOB, "--status"]) == 0
    s3.fault = lambda method, key: None
    checked(s3, 40)
    job = run_job(plan_predict(bundle, str(images), tmp_path / "job", shard_size=9), workers=1)
    own = b"".join(p.read_bytes() for p in sorted((tmp_path / "job" / "results").iterdir()))
    there = b"".join(s3.objects[k].data for k in s3.keys("job/results/"))
    assert there.replace(b"s3://bucket/photos", os.fsencode(images)) == own
    assert job.counts["failed"] == 1
    everything = b"".join(one.data for key, one in s3.objects.items() if key.startswith("job/"))
    assert SECRET.encode() not in everything + said.out.encode() + said.err.encode()


_LATER = [pytest.param(n, marks=pytest.mark.slow) for n in range(1, 17) if n not in (8, 11)]


@pytest.mark.parametrize("at", [8, 11, *_LATER])
def test_a_driver_killed_at_a_write_loses_and_doubles_nothing(
    s3: SmallS3, bundle: Path, images: Path, at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    writes = 0
    process: list[subprocess.Popen[bytes]] = []

    def kill(method: str, key: str) -> str | int | None:
        nonlocal writes
        writes += method in ("PUT", "DELETE")
        if writes != at or method not in ("PUT", "DELETE"):
            return None
        process[0].send_signal(signal.SIGKILL)
        # Half of them take effect.
        return "lost" if at % 2 else 503

    s3.fault = kill
    words = words_of(bundle, images, "--quiet")
    process.append(subprocess.Popen([sys.executable, "-m", "eyewright", *words, "--shard-size", "20"]))
    assert process[0].wait(120) == -signal.SIGKILL
    s3.fault = lambda method, key: None
    started = bool(s3.keys("job/commits/"))
    before = {key: s3.objects[key].data for key in s3.keys("job/results/")}
    more = ["--resume"] if started else ["--shard-size", "20"]
    assert main([*words, *more]) == 1
    capsys.readouterr()
    checked(s3, 40)
    # What was there is kept, not made again.
    assert all(s3.objects[key].data == data for key, data in before.items())


def test_a_large_file_is_sent_in_parts_that_are_completed_or_removed(
    s3: SmallS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_PART", 1000)
    store, file = open_store(JOB, wait_s=0.0), tmp_path / "x"
    file.write_bytes(os.urandom(3500))
    # The answer that says that all is there is lost once.
    s3.fault = lambda method, key: (
        "lost" if method == "POST" and sum(c[0] == "POST" for c in s3.calls) == 2 else None
    )  # fmt: skip
    assert store.put_file_new(f"{JOB}/x", file)
    assert s3.objects["job/x"].data == file.read_bytes()
    assert b"".join(store.pieces(f"{JOB}/x")) == file.read_bytes()
    assert not s3.uploads
    # Another one is not replaced.
    other = tmp_path / "y"
    other.write_bytes(bytes(3500))
    assert not store.put_file_new(f"{JOB}/x", other)
    assert s3.objects["job/x"].data == file.read_bytes()
    assert not s3.uploads
    # The third part never arrives.
    s3.fault = lambda method, key: 503 if method == "PUT" and len(next(iter(s3.uploads.values())).parts) == 2 else None
    with pytest.raises(OutputError, match="cannot be written: SlowDown after 6 tries"):
        store.put_file_new(f"{JOB}/z", file)
    assert (s3.keys("job/z"), s3.uploads) == ([], {})


def test_an_upload_that_a_killed_process_has_left_is_removed(s3: SmallS3, bundle: Path, images: Path) -> None:
    run_job(plan_predict(bundle, str(images), JOB, shard_size=40), workers=1)
    store = open_store(JOB)
    store._files.call_s3("create_multipart_upload", Bucket="bucket", Key="job/results/part-00000000.jsonl")
    store._files.call_s3("create_multipart_upload", Bucket="bucket", Key="other/x")
    ledger = open_job(JOB)
    ledger.prepare()
    assert ledger.recover(lambda number: number == 0) == 0
    assert len(s3.uploads) == 2
    assert ledger.recover(lambda number: False) == 0
    assert [u.key for u in s3.uploads.values()] == ["other/x"]


def test_a_store_that_ignores_conditions_is_refused(s3: SmallS3, bundle: Path, images: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    s3.conditional = False
    assert main(words_of(bundle, images)) == 2
    said = capsys.readouterr().err
    assert "replaces objects that it is asked to keep" in said
    assert said.count("\n") == 1
    assert s3.keys() == []


@pytest.mark.parametrize(("method", "code"), [("PUT", 2), ("GET", 3)])
def test_a_store_that_forbids_is_one_line(s3: SmallS3, bundle: Path, images: Path, method, code, capsys) -> None:  # type: ignore[no-untyped-def]
    s3.fault = lambda asked, key: 403 if asked == method else None
    assert main(words_of(bundle, images)) == code
    said = capsys.readouterr().err
    assert "check the credentials in the environment" in said
    assert "s3cret" not in said
    assert said.count("\n") == 1


def test_an_answer_that_does_not_come_is_asked_for_again(s3: SmallS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_ANSWER_S", 1.0)
    s3.put("x", b"content")
    held, store = threading.Event(), open_store("s3://bucket", wait_s=0.0)

    def slow(method: str, key: str) -> str | None:
        if len(s3.calls) == 1:
            s3.lock.release()
            held.wait(20)
            s3.lock.acquire()
            return "lost"
        return None

    s3.fault = slow
    assert store.get("s3://bucket/x", 100)[1] == b"content"
    held.set()
    assert len(s3.calls) == 2


def test_an_answer_that_is_cut_off_is_asked_for_again(s3: SmallS3) -> None:
    s3.put("x", bytes(range(256)) * 1000)
    store = open_store("s3://bucket", wait_s=0.0)
    s3.fault = lambda method, key: "cut" if len(s3.calls) in (1, 3) else None
    assert store.read("s3://bucket/x") == bytes(range(256)) * 1000
    assert store.read("s3://bucket/x", 10, 90_000) == (bytes(range(256)) * 1000)[10:90_000]
    s3.fault = lambda method, key: "cut"
    with pytest.raises(InputError, match="after 6 tries"):
        store.read("s3://bucket/x")


def test_keys_of_every_kind_are_read_as_they_are(s3: SmallS3, images: Path, bundle: Path, tmp_path: Path) -> None:
    data = (images / "a" / "00.png").read_bytes()
    names = [
        "a/../b.png", "../../c.png", "a%2Fb.png", "a b.png", "a+b.png", "ü/é.png", "e\u0301.png", "line\nfeed.png",
        "quote'\".png", "#1.png", "a?x=1&y.png", "<&>.png", "a//b.png", "星.PNG",
    ]  # fmt: skip
    for name in names:
        s3.put(f"odd/{name}", data)
    s3.put("odd/empty.png", b"")
    s3.put("odd/folder.png/", b"")
    s3.put("odd/.hidden.png", data)
    s3.page = 3
    wanted = {f"s3://bucket/odd/{n}" for n in names}
    found = list(list_references("s3://bucket/odd/"))
    assert {item.path for item in found} == wanted | {"s3://bucket/odd/empty.png"}
    plan = plan_predict(bundle, "s3://bucket/odd/", tmp_path / "job")
    (shard,) = plan.shards()
    rows = list(fetched_rows(open_work(plan, 1), plan.items(shard), 0, 0))
    assert {row["source"] for row in rows if row["ok"]} == wanted
    assert [row["error"] for row in rows if not row["ok"]] == ["empty"]


def test_objects_that_changed_after_the_plan_are_named(s3: SmallS3, photos: str, bundle: Path, tmp_path: Path) -> None:
    plan = plan_predict(bundle, photos, tmp_path / "job", shard_size=100)
    (shard,) = plan.shards()
    one = s3.objects["photos/a/02.png"]
    # Of the same size, in the same second: its ETag tells.
    one.data = one.data[:-1] + b"x"
    del s3.objects["photos/a/04.png"]
    s3.put("photos/a/99.png", one.data)
    rows = list(fetched_rows(open_work(plan, 1), plan.items(shard), 0, 0))
    assert len(rows) == 40
    errors = {row["source"].removeprefix(photos): row["error"] for row in rows if not row["ok"]}
    assert errors == {"a/02.png": "changed", "a/04.png": "not_found", "b/07.png": "unreadable_image"}


def test_processed_images_are_written_to_the_store(s3: SmallS3, photos: str, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    s3.fault = lambda method, key: 503 if len(s3.calls) % 10 == 0 else None
    words = ["process", photos, "--steps", "resize:8", "--out", JOB, "--on", "local", "--workers", "1"]
    assert main([*words, "--shard-size", "20"]) == 1
    s3.fault = lambda method, key: None
    assert len(s3.keys("job/images/bucket/photos/")) == 39
    assert verify_folder(JOB)[1] == []
    key = s3.keys("job/images/")[0]
    s3.put(key, b"other")
    del s3.objects[s3.keys("job/images/")[1]]
    assert [f.code for f in verify_folder(JOB)[1]] == ["output_changed", "output_missing"]
    capsys.readouterr()
