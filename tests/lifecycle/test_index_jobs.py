"""A job of index gives the index of one process, whoever is killed meanwhile."""

import os
import shutil
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
from eyewright.lifecycle import index_jobs
from eyewright.lifecycle.index_jobs import index_as_job
from eyewright.retrieval import open_index

BUNDLE = Path(__file__).parents[1] / "bundle" / "format1"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    for i in range(24):
        place = tmp_path / "photos" / "ab"[i % 2] / f"{i:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode_image(rng.integers(0, 255, (20 + i, 24, 3)).astype(np.uint8)))
    (tmp_path / "photos" / "a" / "bad.png").write_bytes(b"no image")
    return tmp_path / "photos"


def content(place: Path) -> tuple[list[object], np.ndarray]:
    index = open_index(place)
    index.verify()
    return list(index.rows()), index.live()[1].astype(np.float32)


def assert_same(place: Path, expected: Path) -> None:
    """Batches of other sizes may differ in the last digits."""
    rows, vectors = content(place)
    wanted, close = content(expected)
    assert rows == wanted
    np.testing.assert_allclose(vectors, close, atol=1e-3)


def test_the_index_is_that_of_one_process(photos: Path, tmp_path: Path) -> None:
    one = ew.index_folder(photos, model=str(BUNDLE), out=tmp_path / "one")
    done = index_as_job(photos, model=str(BUNDLE), out=tmp_path / "job", workers=1, shard_size=10)
    assert (done.n, done.added, done.unchanged) == (one.n, one.added, 0) == (24, 24, 0)
    assert [(f.path, f.code, f.message) for f in done.findings] == [(f.path, f.code, f.message) for f in one.findings]
    assert_same(tmp_path / "job", tmp_path / "one")
    assert not (tmp_path / "job" / ".job").exists()
    # It is an index as any other.
    (photos / "a" / "000.png").unlink()
    again = ew.index_folder(photos, model=str(BUNDLE), out=tmp_path / "job", update=True)
    assert (again.removed, again.unchanged) == (1, 23)


def test_a_driver_that_was_killed_is_resumed(photos: Path, tmp_path: Path) -> None:
    ew.index_folder(photos, model=str(BUNDLE), out=tmp_path / "one")
    out = tmp_path / "job"
    words = ["index", str(photos), "--model", str(BUNDLE), "--out", str(out), "--quiet"]
    job = ["--on", "local", "--workers", "1", "--shard-size", "5"]
    driver = subprocess.Popen([sys.executable, "-m", "eyewright", *words, *job])
    until = time.monotonic() + 100
    while driver.poll() is None and not list(out.glob(".job/commits/*.json")) and time.monotonic() < until:
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert main([*words, *job]) == 2
    assert main([*words, "--update"]) == 2
    # One image is damaged.
    assert main([*words, "--resume"]) == 1
    assert_same(out, tmp_path / "one")
    assert sorted(os.listdir(out)) == sorted(os.listdir(tmp_path / "one"))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_driver_killed_while_it_adds_vectors_loses_and_doubles_none(photos, tmp_path, monkeypatch, at) -> None:  # type: ignore[no-untyped-def]
    """The folding is interrupted before the first commit, between two of them, and before the job is removed."""
    from eyewright.retrieval.index import Index

    monkeypatch.setattr(index_jobs, "_ADDED", 10)
    out, add, calls = tmp_path / "job", Index.add, []

    def dying(self, *args, **options):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return add(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Index, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            index_as_job(photos, model=str(BUNDLE), out=out, workers=1, shard_size=10)
    done = index_as_job(photos, model=str(BUNDLE), out=out, workers=1, shard_size=10, resume=True)
    assert done.n == 24
    rows = [row.path for _, row in open_index(out).rows()]
    assert len(rows) == len(set(rows)) == 24
    assert not (out / ".job").exists()


def test_another_model_folder_or_index_is_refused(photos: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "job"
    with monkeypatch.context() as patch:
        patch.setattr("eyewright.scaling.jobs.run_job", lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index_as_job(photos, model=str(BUNDLE), out=out)
    with pytest.raises(UsageError, match=r"the job in .* is not finished"):
        ew.index_folder(photos, model=str(BUNDLE), out=out)
    with pytest.raises(RefusedError, match="planned with --source"):
        index_as_job(photos / "a", model=str(BUNDLE), out=out, resume=True)
    other = tmp_path / "other"
    shutil.copytree(BUNDLE, other)
    monkeypatch.setattr(index_jobs, "open_embedder", lambda model: type("E", (), {"name": model, "digest": "0" * 64})())
    with pytest.raises(RefusedError, match="planned with the bundle"):
        index_as_job(photos, model=str(other), out=out, resume=True)


def test_an_index_that_is_there_is_not_indexed_again(photos: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    ew.index_folder(photos, model=str(BUNDLE), out=tmp_path / "one")
    words = ["index", str(photos), "--model", str(BUNDLE), "--out", str(tmp_path / "one"), "--on", "local"]
    assert main(words) == 2
    assert "there is an index at" in capsys.readouterr().err
    assert main([*words, "--update"]) == 2
    assert "--update is not supported with --on" in capsys.readouterr().err


def test_a_plan_is_shown_with_the_command_that_does_it(photos: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    words = ["index", str(photos), "--model", str(BUNDLE), "--out", str(tmp_path / "index"), "--shard-size", "10"]
    assert main([*words, "--plan"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "planned 25 images" in said
    assert f"index {photos} --model {BUNDLE} --shard-size 10 --out {tmp_path / 'index'} --on local" in said
    assert not (tmp_path / "index" / ".job" / "commits").exists()
    assert main([*words, "--on", "local", "--workers", "1", "--quiet"]) == 1
    assert len(open_index(tmp_path / "index")) == 24
    assert main([*words, "--plan"]) == 2
    assert "there is an index" in capsys.readouterr().err
