"""Objects are read where they lie: in memory here, and in S3 (moto) where its packages are installed."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from eyewright.cli import main
from eyewright.core.errors import InputError, MissingExtraError, UsageError
from eyewright.data.archives import write_webdataset
from eyewright.imaging.headers import Limits
from eyewright.scaling import fetching, open_plan, plan_predict, plan_process, run_job, stores, verify_folder
from eyewright.scaling.fetching import fetched_rows, list_references
from eyewright.scaling.stores import open_store
from eyewright.scaling.work import open_work

ENDINGS = (".png",)


@pytest.fixture
def memory(images: Path) -> Iterator[Any]:
    """The 40 images below memory://bucket/photos, with files next to them that are no images."""
    fsspec = pytest.importorskip("fsspec", reason="needs the extra stores")
    files = fsspec.filesystem("memory")
    files.store.clear()
    for path in images.rglob("*.png"):
        files.pipe_file(f"/bucket/photos/{path.relative_to(images)}", path.read_bytes())
    files.pipe_file("/bucket/photos/notes.txt", b"no image")
    files.pipe_file("/bucket/photos/.hidden/x.png", b"hidden")
    files.pipe_file("/bucket/photos2/x.png", b"another prefix")
    yield files
    files.store.clear()


def test_a_prefix_is_listed(memory: Any) -> None:
    found = list(open_store("memory://bucket").entries("memory://bucket/photos/", ENDINGS))
    assert len(found) == 40
    assert {one.address.rpartition("/")[0] for one in found} == {"memory://bucket/photos/a", "memory://bucket/photos/b"}
    assert all(one.size == len(memory.cat_file(one.address)) and one.mtime_ns > 0 for one in found)
    # Also without the slash, where it is the name of nothing else.
    assert len(list(open_store("memory://b").entries("memory://bucket/photos", ENDINGS))) == 40


def test_an_object_and_a_pattern_are_listed(memory: Any) -> None:
    store = open_store("memory://bucket")
    (one,) = store.entries("memory://bucket/photos/a/00.png", ENDINGS)
    assert one.address == "memory://bucket/photos/a/00.png"
    assert len(list(store.entries("memory://bucket/photos/a/0*.png", ENDINGS))) == 5
    with pytest.raises(UsageError, match="a pattern in the last part"):
        list(store.entries("memory://bucket/*/a/0.png", ENDINGS))
    with pytest.raises(InputError, match="nothing is at"):
        list(store.entries("memory://bucket/none/x.png", ENDINGS))


def test_predictions_of_objects_are_those_of_files(bundle: Path, images: Path, memory: Any, tmp_path: Path) -> None:
    plan = plan_predict(bundle, "memory://bucket/photos/", tmp_path / "job", shard_size=100)
    (shard,) = plan.shards()
    items = plan.items(shard)
    # One that changed, and one that is gone.
    memory.pipe_file("/bucket/photos/a/02.png", b"other")
    memory.rm_file("/bucket/photos/a/04.png")
    work = open_work(plan, 1)
    rows = list(fetched_rows(work, items, 0, 0))
    assert [row["id"] for row in rows] == list(range(40))
    assert [row["source"] for row in rows] == [item.path for item in items]
    failed = {row["source"].rpartition("/")[2]: row["error"] for row in rows if not row["ok"]}
    assert failed == {"02.png": "changed", "04.png": "not_found", "07.png": "unreadable_image"}
    run_job(plan_predict(bundle, str(images), tmp_path / "one"), workers=1)
    lines = (tmp_path / "one" / "results" / "part-00000000.jsonl").read_text().splitlines()
    expected = {Path(r["source"]).name: r for r in map(json.loads, lines)}
    for row in (r for r in rows if r["ok"]):
        one = expected[row["source"].rpartition("/")[2]]
        assert row["result"]["scores"] == pytest.approx(one["result"]["scores"], abs=2e-6)
    assert not list(Path(fetching.tempfile.gettempdir()).glob(f"eyewright-fetch-{os.getpid()}-*"))


def test_files_that_a_list_names_next_to_objects_are_checked_too(
    bundle: Path, images: Path, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [images / "a" / f"{k:02d}.png" for k in (0, 2, 4)]
    addresses = [*map(str, own), "memory://bucket/photos/a/06.png"]
    (tmp_path / "list.txt").write_text("\n".join(addresses))
    plan = plan_predict(bundle, f"@{tmp_path / 'list.txt'}", tmp_path / "job", shard_size=100)
    (shard,) = plan.shards()
    items = plan.items(shard)
    own[1].write_bytes(own[1].read_bytes() + b"more")
    own[2].unlink()
    monkeypatch.setattr(fetching, "Limits", lambda: Limits(bytes=own[0].stat().st_size - 1))
    rows = list(fetched_rows(open_work(plan, 1), items, 0, 0))
    assert [row["source"] for row in rows] == [item.path for item in items]
    assert [row["error"] for row in rows[1:3]] == ["changed", "not_found"]
    assert "bytes" in rows[0]["message"]


class Failing:
    """A filesystem of which every second call fails for a moment."""

    def __init__(self, files: Any, error: Exception) -> None:
        self.files, self.error, self.calls = files, error, 0

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls % 2:
                raise self.error
            return getattr(self.files, name)(*args, **options)

        return call


def test_calls_that_fail_for_a_moment_are_repeated(memory: Any) -> None:
    failing = Failing(memory, OSError("503 Slow Down; Authorization: secret"))
    store = stores.Store("memory", failing, 0.0)
    assert len(list(store.entries("memory://bucket/photos/", ENDINGS))) == 40
    assert store.read("memory://bucket/photos/notes.txt", 3, 5) == b"im"
    assert failing.calls > 6


def test_a_store_that_always_fails_is_one_line_without_secrets(memory: Any) -> None:
    class Down:
        def info(self, *args: Any, **options: Any) -> None:
            raise OSError("Authorization: secret")

    with pytest.raises(InputError, match="cannot be read: OSError after 6 tries") as caught:
        stores.Store("memory", Down(), 0.0).entry("memory://bucket/x.png")
    assert "secret" not in str(caught.value)


def test_a_range_that_is_cut_off_is_an_error(memory: Any) -> None:
    with pytest.raises(InputError, match="ends before byte"):
        open_store("memory://bucket").read("memory://bucket/photos/notes.txt", 0, 1000)


@pytest.mark.parametrize(
    ("address", "said"),
    [("s3://key:secret@bucket/x/", "an address with credentials"), ("s3:///x", "add the bucket"), ("s4://b", "s3")],
)
def test_an_address_that_cannot_be_used_is_one_line(address: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(address)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    pytest.importorskip("fsspec", reason="needs the extra stores")
    with pytest.raises(MissingExtraError, match=r"s3:// needs s3fs.*eyewright\[s3\]"):
        open_store("s3://bucket/x/")


# A local S3 that fails one call in ten.


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class _Proxy(BaseHTTPRequestHandler):
    """Passes each request to the server behind it, but answers every tenth with 503."""

    # Clients ask whether they may send a body (100 Continue), which HTTP/1.0 does not answer.
    protocol_version = "HTTP/1.1"
    behind = ""
    calls = 0
    failed = 0
    lock = threading.Lock()

    def _pass(self) -> None:
        with _Proxy.lock:
            _Proxy.calls += 1
            fails = _Proxy.calls % 10 == 0
            _Proxy.failed += fails
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fails:
            self._send(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        asked = urllib.request.Request(self.behind + self.path, body or None, dict(self.headers), method=self.command)
        try:
            with urllib.request.urlopen(asked) as found:
                self._send(found.status, found.headers, found.read())
        except urllib.error.HTTPError as error:
            self._send(error.code, error.headers, error.read())

    def _send(self, code: int, headers: Any, body: bytes) -> None:
        self.send_response(code)
        length = None
        for name, value in headers.items():
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass

    def log_message(self, *args: Any) -> None:
        pass


def direct() -> Any:
    """Return the store without the proxy: what is written is not the subject here."""
    import s3fs

    return s3fs.S3FileSystem(skip_instance_cache=True, client_kwargs={"endpoint_url": _Proxy.behind})


@pytest.fixture
def s3(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The 40 images in a bucket of a local S3 (moto) behind a proxy that fails one call in ten."""
    pytest.importorskip("s3fs", reason="needs the extra s3")
    pytest.importorskip("moto.server", reason="needs moto's server, of the extra dev")
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    _Proxy.behind = f"http://127.0.0.1:{port}"
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "s3cret-of-the-test"),
        ("AWS_DEFAULT_REGION", "us-east-1"), ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        files = direct()
        files.mkdir("bucket")
        for path in images.rglob("*.png"):
            files.pipe_file(f"bucket/photos/{path.relative_to(images)}", path.read_bytes())
        yield "s3://bucket/photos/"
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.kill()
        server.wait()


def test_a_job_over_s3_that_fails_one_call_in_ten_has_every_row(s3: str, bundle: Path, images: Path, tmp_path) -> None:  # type: ignore[no-untyped-def]
    run_job(plan_predict(bundle, str(images), tmp_path / "one"), workers=1)
    job = run_job(plan_predict(bundle, s3, tmp_path / "job", shard_size=9), workers=2)
    assert _Proxy.failed >= 3
    assert (job.counts["images"], job.counts["failed"]) == (40, 1)
    assert verify_folder(tmp_path / "job")[1] == []

    def labels(job: Path) -> list[tuple[str, object]]:
        parts = sorted((job / "results").iterdir())
        rows = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
        return [("/".join(r["source"].split("/")[-2:]), r["label"]) for r in rows]

    assert labels(tmp_path / "job") == labels(tmp_path / "one")
    everything = b"".join(p.read_bytes() for p in (tmp_path / "job").rglob("*") if p.is_file())
    assert b"s3cret" not in everything
    assert open_plan(tmp_path / "job").source == s3


def test_a_tar_file_in_s3_is_read_by_ranges(s3: str, bundle: Path, images: Path, tmp_path: Path) -> None:
    samples = [(f"x/{p.stem}", {"png": p.read_bytes()}) for p in sorted((images / "a").iterdir())]
    write_webdataset(tmp_path / "a.tar", samples)
    direct().pipe_file("bucket/tars/a.tar", (tmp_path / "a.tar").read_bytes())
    found = list(list_references("s3://bucket/tars/*.tar"))
    assert [item.path.rpartition(":")[2] for item in found] == [f"x/{key.partition('/')[2]}.png" for key, _ in samples]
    job = run_job(plan_predict(bundle, "s3://bucket/tars/*.tar", tmp_path / "job"), workers=1)
    assert (job.counts["images"], job.counts["failed"]) == (20, 0)


def test_a_prefix_of_archives_says_which_pattern_to_pass(s3: str, tmp_path: Path) -> None:
    direct().pipe_file("bucket/wds/a.tar", b"x")
    with pytest.raises(InputError, match="found 1 tar file") as caught:
        plan_process("s3://bucket/wds/", "resize:8", tmp_path / "job")
    assert "'s3://bucket/wds/*.tar'" in (caught.value.fix or "")
    direct().pipe_file("bucket/wds/b.tar.gz", b"x")
    with pytest.raises(InputError, match="not compressed"):
        plan_process("s3://bucket/wds/*.gz", "resize:8", tmp_path / "other")


def test_a_bucket_that_is_not_there_is_one_line(s3: str, bundle: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    words = [
        "predict",
        str(bundle),
        "--source",
        "s3://no-such-bucket/x/",
        "--out",
        str(tmp_path / "job"),
        "--on",
        "local",
    ]
    assert main(words) == 3
    said = capsys.readouterr().err
    assert "nothing is at 's3://no-such-bucket/x/'" in said
    assert said.count("\n") == 1
