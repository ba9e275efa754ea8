from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import UnreadableImageError
from eyewright.data import open_dataset, scan_dataset
from eyewright.imaging import Preparation
from eyewright.training import cache


@pytest.fixture
def small_limit(monkeypatch, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(cache, "_MAPPED_FROM", 0)
    monkeypatch.setenv("EYEWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def build(folder: Path, preparation: Preparation) -> np.ndarray:
    data = open_dataset(folder)
    digests = tuple(r.digest for r in scan_dataset(data).records)
    return cache.build_cache(data, preparation, digests=digests)


def test_the_cache_holds_what_the_preparation_gives(shapes: Path) -> None:
    data = open_dataset(shapes)
    preparation = Preparation((20, 24), channels=1)
    pixels = cache.build_cache(data, preparation)
    for i in (0, 30, 71):
        assert np.array_equal(pixels[i], preparation(data.image(i))[0])


def test_a_large_cache_is_mapped_found_again_and_keyed_by_content_and_preparation(
    shapes: Path, small_limit: Path, tmp_path: Path
) -> None:
    import shutil

    first = build(shapes, Preparation((16, 16)))
    assert isinstance(first, np.memmap)
    assert len(list(small_limit.iterdir())) == 1
    assert np.array_equal(build(shapes, Preparation((16, 16))), first)
    assert len(list(small_limit.iterdir())) == 1
    build(shapes, Preparation((16, 16), filter="bicubic"))
    assert len(list(small_limit.iterdir())) == 2
    changed = tmp_path / "changed"
    shutil.copytree(shapes, changed)
    (changed / "disc/000.png").write_bytes((changed / "cross/000.png").read_bytes())
    assert not np.array_equal(build(changed, Preparation((16, 16))), first)


def test_old_caches_make_room(shapes: Path, small_limit: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(cache, "_MOST_ON_DISK", 150_000)
    for side in (16, 17, 18, 19):
        build(shapes, Preparation((side, side)))
    assert sum(p.stat().st_size for p in small_limit.iterdir()) <= 150_000


def test_a_file_that_broke_since_the_audit_is_named_and_leaves_no_half_cache(
    shapes: Path, small_limit: Path, tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "broken"
    shutil.copytree(shapes, folder)
    data = open_dataset(folder)
    digests = tuple(r.digest for r in scan_dataset(data).records)
    (folder / "disc/003.png").write_bytes(b"gone")
    with pytest.raises(UnreadableImageError, match=r"disc/003\.png"):
        cache.build_cache(data, Preparation((16, 16)), digests=digests)
    assert list(small_limit.iterdir()) == []


def test_a_full_disk_is_an_error_before_it_is_a_crash(shapes: Path, small_limit: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    import errno
    import os

    from eyewright.core.errors import OutputError

    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="no space left"):
        build(shapes, Preparation((16, 16)))
    assert list(small_limit.iterdir()) == []
