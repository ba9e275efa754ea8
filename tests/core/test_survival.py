"""What a full disk, a kill at any step and two commands at once leave behind."""

import contextlib
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from eyewright.core.errors import OutputError, UsageError
from eyewright.core.files import append_line, claimed_output, recover_folder, staged_folder, write_text
from eyewright.core.machine import disk


@contextlib.contextmanager
def failing(monkeypatch, at: int, *, kill: bool = False, torn: bool = False):
    """Let the `at`-th system call that writes fail with ENOSPC, or end the process; yield the calls that were made."""
    made: list[str] = []
    with monkeypatch.context() as patched:
        for name in ("open", "write", "fsync", "ftruncate", "mkdir", "rename", "replace", "unlink", "rmdir"):
            real = getattr(os, name)

            def call(*args, _real=real, _name=name, **options):
                made.append(_name)
                if len(made) == at + 1:
                    if _name == "write" and torn:
                        _real(args[0], bytes(args[1])[: len(args[1]) // 2])
                    if kill:
                        os._exit(9)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return _real(*args, **options)

            patched.setattr(os, name, call)
        yield made


def steps_of(monkeypatch, do) -> int:
    with failing(monkeypatch, -1) as made:
        do()
    return len(made)


@pytest.mark.parametrize("torn", [False, True])
def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch, torn):
    place = tmp_path / "history.jsonl"
    append_line(place, b"first")
    for at in range(steps_of(monkeypatch, lambda: append_line(tmp_path / "other", b"x"))):
        with failing(monkeypatch, at, torn=torn) as made, contextlib.suppress(OutputError):
            append_line(place, b"second " * 50)
        assert made
        lines = place.read_bytes().split(b"\n")
        assert lines[0] == b"first"
        assert lines[-1] == b"", "a line is torn"
        assert set(lines[1:-1]) <= {b"second " * 50}


def test_a_file_that_may_not_grow_leaves_no_half_line(tmp_path):
    place = tmp_path / "history.jsonl"
    code = (
        "import resource, sys; from pathlib import Path; from eyewright.core.files import append_line\n"
        "place = Path(sys.argv[1]); append_line(place, b'a' * 600)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "try: append_line(place, b'b' * 600)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    found = subprocess.run((sys.executable, "-c", code, str(place)), capture_output=True, text=True, check=True)
    assert found.stdout.startswith("OutputError cannot write"), found.stderr
    assert place.read_bytes() == b"a" * 600 + b"\n"


def test_a_torn_last_line_is_removed_by_the_next_append(tmp_path):
    place = tmp_path / "lines"
    place.write_bytes(b"one\n" + b"t" * 200_000)
    append_line(place, b"two")
    assert place.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("kill", [False, True])
def test_a_folder_is_whole_whatever_happens_while_it_is_replaced(tmp_path, monkeypatch, exchange, kill):
    if not exchange:
        monkeypatch.setattr(disk, "exchange", lambda one, other: False)

    def build(final: Path) -> None:
        with staged_folder(final) as stage:
            write_text(stage / "a", "new")
            write_text(stage / "b", "new")

    rehearsal = tmp_path / "rehearsal"
    build(rehearsal)
    n = steps_of(monkeypatch, lambda: build(rehearsal))
    assert n > 8
    for at in range(n):
        home = tmp_path / f"{at}"
        final = home / "out"
        final.mkdir(parents=True)
        for name in ("a", "b"):
            (final / name).write_text("old")
        if kill:
            child = os.fork()
            if child == 0:
                with failing(monkeypatch, at, kill=True), contextlib.suppress(BaseException):
                    build(final)
                os._exit(0)
            os.waitpid(child, 0)
        else:
            with failing(monkeypatch, at), contextlib.suppress(OutputError):
                build(final)
        recover_folder(final)
        assert final.is_dir(), f"nothing is at its path after step {at}"
        assert {(final / name).read_text() for name in ("a", "b")} in ({"old"}, {"new"})
        build(final)
        assert {(final / name).read_text() for name in ("a", "b")} == {"new"}
        assert os.listdir(home) == ["out"], "leftovers are not cleaned up"


def test_an_existing_folder_is_exchanged_in_one_step(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "1").touch()
    if not disk.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange")
    assert os.listdir(tmp_path / "b") == ["1"]
    assert os.listdir(tmp_path / "a") == []


def test_names_of_255_bytes_can_be_written(tmp_path):
    name = "ü" * 127
    write_text(tmp_path / name, "x")
    with staged_folder(tmp_path / ("日" * 85)) as stage:
        write_text(stage / "a", "x")
    assert sorted(os.listdir(tmp_path)) == sorted([name, "日" * 85])


HOLD = (
    "import sys; from pathlib import Path; from eyewright.core.files import claimed_output\n"
    "with claimed_output(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


@pytest.mark.parametrize("there", [False, True])
def test_a_second_command_is_refused_until_the_first_ends_however_it_ends(tmp_path, there):
    out = tmp_path / "parent" / "out"
    if there:
        out.mkdir(parents=True)
    with subprocess.Popen(
        (sys.executable, "-c", HOLD, str(out)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another command is writing to") as refused, claimed_output(out):
            pass
        assert refused.value.code == "out_in_use"
        first.kill()
    with claimed_output(out), claimed_output(tmp_path / "parent" / "." / "out"):
        pass
    assert os.listdir(tmp_path / "parent") == (["out"] if there else [])


def test_two_threads_do_not_share_a_place(tmp_path):
    said: list[str] = []

    def second() -> None:
        try:
            with claimed_output(tmp_path / "out"):
                said.append("held")
        except UsageError as error:
            said.append(error.code)

    with claimed_output(tmp_path / "out"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert said == ["out_in_use"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_in_one_that_may_not_be_written_is_held_all_the_same(tmp_path):
    out = tmp_path / "parent" / "out"
    out.mkdir(parents=True)
    (tmp_path / "parent").chmod(0o555)
    with claimed_output(out) as held:
        assert held


def test_what_was_made_for_the_lock_goes_with_it(tmp_path):
    with claimed_output(tmp_path / "a" / "b" / "out"):
        assert (tmp_path / "a" / "b").is_dir()
    assert os.listdir(tmp_path) == []
