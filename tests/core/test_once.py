"""A file is written once: of several writers one succeeds, and nothing is left of the others."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eyewright.core.errors import OutputError
from eyewright.core.once import move_new, write_new


@pytest.fixture(params=["unnamed", "named"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With files that have no name, and as on file systems that know none (NFS)."""
    if request.param == "named":
        opened = os.open

        def refuse(path, flags, *args, **kwargs):  # type: ignore[no-untyped-def]
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "not supported")
            return opened(path, flags, *args, **kwargs)

        monkeypatch.setattr(os, "open", refuse)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("sync", [True, False])
def test_the_first_writer_succeeds_and_nothing_else_is_left(tmp_path: Path, sync: bool) -> None:
    place = tmp_path / "a"
    assert write_new(place, b"one" * 100_000, sync=sync)
    assert not write_new(place, b"two", sync=sync)
    assert place.read_bytes() == b"one" * 100_000
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.usefixtures("way")
def test_paths_below_the_working_folder_are_written_and_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job/tmp").mkdir(parents=True)
    Path("job/done").mkdir()
    assert write_new(Path("job/tmp/a"), b"one")
    assert move_new(Path("job/tmp/a"), Path("job/done/a"))
    assert (os.listdir("job/tmp"), Path("job/done/a").read_bytes()) == ([], b"one")


def test_a_file_is_moved_only_to_a_free_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    assert not move_new(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "b"
    assert move_new(tmp_path / "a", tmp_path / "c")
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]
    with pytest.raises(FileNotFoundError):
        move_new(tmp_path / "a", tmp_path / "d")


@pytest.mark.usefixtures("way")
def test_a_folder_that_is_missing_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_new(tmp_path / "none" / "a", b"")


def test_of_many_processes_one_writes(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from eyewright.core.once import write_new; "
        f"print(sum(write_new(Path({str(tmp_path)!r}, str(k)), sys.argv[1].encode()) for k in range(200)))"
    )
    racing = [
        subprocess.Popen([sys.executable, "-c", code, str(n)], stdout=subprocess.PIPE, text=True) for n in range(3)
    ]
    assert sum(int(p.communicate()[0]) for p in racing) == 200
