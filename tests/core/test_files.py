import errno
import os
from pathlib import Path

import pytest

from eyewright.core import staged_folder, write_bytes
from eyewright.core.errors import OutputError


def test_a_file_is_written_temp_fsync_rename_fsync_of_the_folder(tmp_path: Path, monkeypatch) -> None:
    calls: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "replace", "open")}

    def fsync(descriptor: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"
        calls.append(f"fsync {kind}")
        real["fsync"](descriptor)

    def replace(a: str, b: str) -> None:
        calls.append("rename")
        real["replace"](a, b)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_bytes(tmp_path / "a", b"new")
    assert calls == ["fsync file", "rename", "fsync folder"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "no space left"), (errno.EIO, "Input/output")])
def test_a_failing_disk_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch, failing: str, number: int, said: str
) -> None:
    write_bytes(tmp_path / "a", b"old")

    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OutputError, match=said):
        write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_an_error_while_a_folder_is_built_leaves_the_old_one(tmp_path: Path) -> None:
    final = tmp_path / "out"
    final.mkdir()
    (final / "kept").write_text("old")

    def build() -> None:
        with staged_folder(final) as stage:
            (stage / "new").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        build()
    assert os.listdir(tmp_path) == ["out"]
    assert (final / "kept").read_text() == "old"


def test_a_finished_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    final = tmp_path / "out"
    final.mkdir()
    (final / "old").touch()
    with staged_folder(final) as stage:
        (stage / "new").touch()
    assert os.listdir(final) == ["new"]
    assert os.listdir(tmp_path) == ["out"]
