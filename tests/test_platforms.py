"""What only some systems have is named in `core/machine/` alone; the rest of the source runs on each of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import eyewright as ew

SOURCE = Path(ew.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

_MODULES = "fcntl grp msvcrt posix pty pwd resource syslog termios tty winreg _winapi _posixsubprocess"
MODULES_OF_ONE_SYSTEM = frozenset(_MODULES.split())
# `os` of Windows has none of them; macOS lacks sched_*, memfd_create, posix_fallocate, O_TMPFILE.
_NAMES = """
os.O_BINARY os.O_CLOEXEC os.O_DIRECTORY os.O_NOCTTY os.O_NOFOLLOW os.O_NONBLOCK os.O_SYNC os.O_TMPFILE os.chown
os.copy_file_range os.fchmod os.fchown os.fdatasync os.fork os.forkpty os.getegid os.geteuid os.getgid os.getloadavg
os.getpgid os.getpgrp os.getuid os.killpg os.lchown os.memfd_create os.mkfifo os.mknod os.nice os.pidfd_open
os.posix_fadvise os.posix_fallocate os.posix_spawn os.pread os.preadv os.pwrite os.pwritev os.register_at_fork
os.sched_getaffinity os.sched_setaffinity os.sendfile os.set_blocking os.setpgid os.setsid os.statvfs os.sync
os.sysconf os.uname os.wait os.waitpid os.kill
select.epoll select.poll select.POLLIN select.POLLHUP signal.SIGALRM signal.SIGBUS signal.SIGCHLD signal.SIGHUP
signal.SIGKILL signal.SIGPIPE signal.SIGQUIT signal.SIGUSR1 signal.SIGUSR2 signal.SIGXCPU signal.alarm
signal.pthread_kill signal.pthread_sigmask signal.setitimer socket.AF_UNIX socket.SOCK_SEQPACKET socket.recv_fds
socket.send_fds subprocess.CREATE_NEW_PROCESS_GROUP
"""
OF_POSIX = frozenset(_NAMES.split())
_OPTIONS = "pass_fds preexec_fn start_new_session dir_fd src_dir_fd dst_dir_fd process_group"
OPTIONS_OF_POSIX = frozenset(_OPTIONS.split())
PLACES_OF_LINUX = ("/proc/", "/sys/", "/dev/shm", "/dev/video")
METHODS_OF_POSIX = frozenset({"add_signal_handler", "connect_read_pipe", "connect_write_pipe"})


def _of_one_system(path: Path) -> Iterator[str]:
    """Yield what a file names that some system lacks."""
    tree = ast.parse(path.read_text("utf-8"))
    words = {
        id(n.body[0].value)
        for n in ast.walk(tree)
        if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and n.body
        and isinstance(n.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        found: list[str] = []
        match node:
            case ast.Import():
                found = [a.name for a in node.names if a.name.partition(".")[0] in MODULES_OF_ONE_SYSTEM]
            case ast.ImportFrom():
                module = (node.module or "").partition(".")[0]
                found = [module] if module in MODULES_OF_ONE_SYSTEM else []
                found += [n for a in node.names if (n := f"{module}.{a.name}") in OF_POSIX]
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if f"{owner}.{name}" in OF_POSIX:
                found = [f"{owner}.{name}"]
            case ast.Attribute(attr=name) if name in METHODS_OF_POSIX:
                found = [name]
            case ast.keyword(arg=str(name)) if name in OPTIONS_OF_POSIX:
                found = [name]
            case ast.Constant(value=str(text)) if id(node) not in words and text.startswith(PLACES_OF_LINUX):
                found = [text]
            case _:
                pass
        for one in found:
            yield f"{path.name}:{getattr(node, 'lineno', 0)}: {one}"


def test_what_some_system_lacks_is_named_in_one_place() -> None:
    found = [o for p in MODULES if p.parent != SOURCE / "core" / "machine" for o in _of_one_system(p)]
    assert not found, "these belong in core/machine/"


def test_the_search_sees_what_it_is_for(tmp_path: Path) -> None:
    trial = tmp_path / "trial.py"
    trial.write_text(
        '"""About /proc/self."""\nimport fcntl\nfrom resource import getrusage\nfrom os import fork\nimport os\n'
        "os.sched_getaffinity(0)\npass_through(pass_fds=())\nopen('/proc/self/status')\nloop.add_signal_handler(1, f)\n"
        "os.getpid()\n"
    )
    assert [int(o.split(":")[1]) for o in sorted(_of_one_system(trial))] == [2, 3, 4, 6, 7, 8, 9]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_text_is_opened_with_an_encoding(path: Path) -> None:
    # Windows reads and writes text in the code page of its region otherwise.
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        named = {k.arg for k in node.keywords}
        match node.func:
            case ast.Name(id="open"):
                given = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
                mode = given[0] if given else ast.Constant("r")
                binary = not isinstance(mode, ast.Constant) or "b" in str(mode.value)
                assert binary or "encoding" in named or len(node.args) > 3, f"line {node.lineno}"
            case ast.Attribute(attr="read_text" | "write_text" as name):
                place = 0 if name == "read_text" else 1
                assert "encoding" in named or len(node.args) > place or _ours(node.func), f"line {node.lineno}"


def _ours(function: ast.Attribute) -> bool:
    """Return whether a method is of one of our modules, not of a path."""
    return isinstance(function.value, ast.Name) and function.value.id in ("files", "disk")
