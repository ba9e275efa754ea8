"""A file that crashes its decoder is named, and the files beside it are read."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import UnreadableImageError
from eyewright.data import open_dataset, scan_dataset
from eyewright.imaging import encode_image, isolation, read_image
from eyewright.imaging.decode import read_thumbnail
from eyewright.imaging.isolation import LookPool, decode_isolated
from eyewright.imaging.sources import read_named


@pytest.fixture(autouse=True)
def _jobs(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *(p for p in sys.path if p)]))


@pytest.fixture
def isolated():
    isolation.isolate_decoding()
    yield
    isolation._switch.clear()


def picture(seed: int) -> bytes:
    return encode_image(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), np.uint8), format="PNG")


def test_a_crash_costs_the_one_file_that_caused_it() -> None:
    files = [picture(0), b"\x89PNG\r\n\x1a\nCRASH", b"no image", picture(3)]
    pool = LookPool(1, 64, job="tests_jobs:reduce_or_crash")
    looks = pool.look(files)
    pool.close()
    assert [look.error and look.error.code for look in looks] == [None, "decoder_crashed", "not_an_image", None]
    for at in (0, 3):
        info, small = read_thumbnail(files[at], 64)
        assert looks[at].info == info
        np.testing.assert_array_equal(looks[at].picture, small)


def test_a_scan_in_workers_finds_what_a_scan_in_process_finds(tmp_path, isolated) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(20):
            (tmp_path / label / f"{i}.png").write_bytes(picture(i + 100 * (label == "b")))
    (tmp_path / "a" / "7.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    data = open_dataset(tmp_path)
    apart = scan_dataset(data, workers=2, quiet=True)
    isolation._switch.clear()
    within = scan_dataset(data, workers=2, quiet=True)
    np.testing.assert_array_equal(apart.thumbnails, within.thumbnails)
    np.testing.assert_array_equal(apart.colours, within.colours)
    assert [(r.digest, r.info, str(r.error)) for r in apart.records] == [
        (r.digest, r.info, str(r.error)) for r in within.records
    ]


def test_predicting_reads_files_in_a_worker(tmp_path, isolated, monkeypatch) -> None:
    (tmp_path / "good.png").write_bytes(picture(1))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nCRASH")
    monkeypatch.setattr(isolation, "_DECODE", "tests_jobs:decode_or_crash")
    monkeypatch.setattr(isolation, "_pools", {})
    np.testing.assert_array_equal(read_named(tmp_path / "good.png"), read_image(tmp_path / "good.png"))
    with pytest.raises(UnreadableImageError, match=r"bad.png.*crashed"):
        read_named(tmp_path / "bad.png")
    np.testing.assert_array_equal(decode_isolated(picture(2)), read_image(picture(2)))
    for pool in isolation._pools.values():
        pool.close()
