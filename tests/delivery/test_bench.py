"""What bench says of a machine, by a clock of ours; and the advice that a bundle keeps."""

import json
import os
import shutil
from pathlib import Path

import pytest

import eyewright as ew
from eyewright.bundle.manifest import read_manifest, write_manifest
from eyewright.cli import main
from eyewright.core.errors import BundleError, UsageError
from eyewright.delivery.benchmark import bench_bundle


def test_the_numbers_are_those_of_the_clock(finished, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from eyewright.delivery import benchmark

    monkeypatch.setattr(benchmark, "whole_process", lambda folder: (0.5, 100))
    clock = [0.0]

    class Slow:
        """A model that takes 2 ms, and a millisecond more for every image; with two threads a quarter less."""

        def __init__(self, folder, manifest, session) -> None:  # type: ignore[no-untyped-def]
            self.threads = session

        def raw(self, given):  # type: ignore[no-untyped-def]
            clock[0] += (0.002 + 0.001 * len(given["image"])) * (0.75 if self.threads == 2 else 1)

    monkeypatch.setattr(benchmark, "Bundle", Slow)
    monkeypatch.setattr(benchmark, "open_session", lambda model, threads=None, provider="": threads)
    found = bench_bundle(finished.paths["bundle"], batches=(1, 4), threads=(1, 2), seconds=1.0, now=lambda: clock[0])
    rows = {(r.threads, r.batch): r for r in found.rows if r.provider == "cpu"}
    assert rows[1, 1].p50_ms == pytest.approx(3.0)
    assert rows[2, 4].p50_ms == pytest.approx(4.5)
    assert rows[2, 4].p99_ms == pytest.approx(4.5)
    assert rows[2, 4].images_per_s == pytest.approx(4 / 0.0045)
    assert rows[1, 1].runs >= 330
    assert (found.quickest.threads, found.quickest.batch) == (2, 1)
    assert (found.densest.threads, found.densest.batch) == (2, 4)
    with pytest.raises(UsageError, match="1 or more"):
        bench_bundle(finished.paths["bundle"], batches=(0,))


def test_a_slow_model_is_timed_for_ten_times_as_long_as_was_asked_at_most(
    finished,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from eyewright.delivery import benchmark

    monkeypatch.setattr(benchmark, "whole_process", lambda folder: (0.5, 100))
    clock = [0.0]

    class Slow:
        """A model that takes 2 s for an image."""

        def __init__(self, folder, manifest, session) -> None:  # type: ignore[no-untyped-def]
            pass

        def raw(self, given):  # type: ignore[no-untyped-def]
            clock[0] += 2.0 * len(given["image"])

    monkeypatch.setattr(benchmark, "Bundle", Slow)
    monkeypatch.setattr(benchmark, "open_session", lambda model, threads=None, provider="": None)
    folder = finished.paths["bundle"]
    found = bench_bundle(folder, batches=(1, 8), threads=(1,), against=folder, seconds=1.0, now=lambda: clock[0])
    assert [(r.batch, r.runs, r.p50_ms) for r in found.rows] == [(1, 10, 2_000.0), (8, 10, 16_000.0)]
    assert found.speedup is not None
    assert found.speedup["value"] == 1.0
    assert clock[0] < 240


def test_bench_writes_a_page_and_stores_its_advice(bundle_copy: Path, tmp_path: Path, capsys, finished) -> None:  # type: ignore[no-untyped-def]
    options = ["--batch", "1,2", "--threads", "1", "--seconds", "0.05", "--json"]
    before = finished.paths["bundle"]
    out = ["--out", str(tmp_path / "bench"), "--against", str(before), "--store"]
    assert main(["bench", str(bundle_copy), *options, *out]) == 0
    said = json.loads(capsys.readouterr().out)["bench"]
    assert {(r["threads"], r["batch"]) for r in said["rows"]} == {(1, 1), (1, 2)}
    assert said["memory_bytes"] > 20e6
    assert 0.02 < said["start_s"] < 60
    # The same model beside itself.
    assert said["speedup"]["low"] < 2
    page = (tmp_path / "bench" / "bench.html").read_text()
    assert "<svg" in page
    assert json.loads((tmp_path / "bench" / "bench.json").read_text())["model_bytes"] == said["model_bytes"]
    advice = read_manifest(bundle_copy).advice
    assert advice["threads"] == 1
    opened = ew.verify(bundle_copy)
    assert opened._session.get_session_options().intra_op_num_threads == 1
    assert main(["bench", str(bundle_copy), "--batch", "x"]) == 2


def test_advice_is_for_machines_like_the_one_that_gave_it(bundle_copy: Path) -> None:
    from dataclasses import replace

    from eyewright.core.provenance import describe_hardware

    manifest = read_manifest(bundle_copy)
    own = {"hardware": describe_hardware(), "provider": "cpu", "threads": 1, "batch": 8}
    other = {**own, "hardware": {**own["hardware"], "cores": (os.cpu_count() or 1) + 1}}
    write_manifest(bundle_copy, replace(manifest, advice=other))
    assert ew.verify(bundle_copy)._session.get_session_options().intra_op_num_threads == 0
    write_manifest(bundle_copy, replace(manifest, advice={**own, "threads": "many"}))
    with pytest.raises(BundleError, match="advice"):
        ew.verify(bundle_copy)
    shutil.rmtree(bundle_copy)


def test_memory_is_that_of_the_process_and_not_of_who_started_it(finished) -> None:  # type: ignore[no-untyped-def]
    from eyewright.delivery.benchmark import whole_process

    before = whole_process(finished.paths["bundle"])[1]
    held = bytearray(600_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert whole_process(finished.paths["bundle"])[1] < before + 50e6
    # Torch, which is in this process, is not in that one.
    assert before < 250e6
    del held
