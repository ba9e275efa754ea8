"""Make this Python behave as on Windows, as far as Linux can: what Windows lacks is gone, what it refuses is refused.

Only for the tests of `tests/platforms`, which put this folder on PYTHONPATH. The standard library is imported first:
it chose its own ways when it was loaded, as it does on each system. What is simulated:

- no `fcntl`, `resource`, `termios`, `pwd`, `grp`; `msvcrt` has byte locks as Windows has them
- no `os.fork`, `sched_getaffinity`, `pread`, `memfd_create`, `O_NOFOLLOW`, `dir_fd` … ; `os.O_BINARY`, which Eyewright
  must pass wherever it opens a regular file
- folders cannot be opened; a descriptor that cannot be written cannot be synced; a file that is open or mapped
  cannot be removed, renamed or replaced; `os.rename` replaces nothing
- `select` and `selectors` take sockets only, event loops have no signal handlers and no pipes, no Unix sockets
- `pass_fds` is refused; a process that is killed ends with 1; few signals
- no `/proc`, `/sys`, `/dev/video0`; `ctypes.CDLL(None)` is refused
- text is cp1252 and lines end with CRLF in files that are opened without `newline`
"""

import asyncio
import builtins
import contextlib
import ctypes
import errno
import fcntl
import io
import os
import select
import selectors
import shutil
import signal
import socket
import stat
import subprocess
import sys
import types

_BINARY = 1 << 29
_OWN = "eyewright"
# What the simulation itself needs.
_real_open, _real_os_open, _real_fsync, _flock, _fcntl = builtins.open, os.open, os.fsync, fcntl.flock, fcntl.fcntl
_real_select, _real_readlink, _real_kill = select.select, os.readlink, os.kill


def _caller() -> str:
    """Return the module that called into the standard library."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") in (
        "pathlib",
        "os",
        "shutil",
        "tempfile",
        "glob",
        __name__,
    ):
        frame = frame.f_back
    return "" if frame is None else str(frame.f_globals.get("__name__", ""))


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in (_OWN, "__main__")


# It is an option on Windows, and what is built for Linux needs a module that is gone in a moment.
if not os.environ.get("EYEWRIGHT_SIMULATED_BARE"):
    with contextlib.suppress(ImportError):
        import psutil  # noqa: F401
else:
    sys.modules["psutil"] = None  # type: ignore[assignment]
# Modules and names.
for _name in ("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "syslog", "uvloop"):
    sys.modules[_name] = None  # type: ignore[assignment]
_GONE = {
    os: """fork forkpty sched_getaffinity sched_setaffinity pread preadv pwrite pwritev memfd_create posix_fallocate
        posix_fadvise geteuid getuid getegid getgid getpgrp getpgid setpgid killpg setsid statvfs sysconf uname mkfifo
        mknod nice sync fdatasync fchmod fchown chown sendfile copy_file_range register_at_fork set_blocking wait
        O_NONBLOCK O_CLOEXEC O_NOCTTY O_NOFOLLOW O_DIRECTORY O_TMPFILE O_SYNC O_DSYNC O_PATH getloadavg""",
    signal: """SIGKILL SIGHUP SIGCHLD SIGUSR1 SIGUSR2 SIGALRM SIGBUS SIGXCPU SIGPIPE SIGQUIT SIGSTOP SIGCONT alarm
        pthread_kill pthread_sigmask setitimer""",
    select: "poll epoll POLLIN POLLHUP POLLERR",
    socket: "AF_UNIX SOCK_SEQPACKET send_fds recv_fds",
}
_hides = {owner.__name__: frozenset(names.split()) for owner, names in _GONE.items()}


class _Hiding(types.ModuleType):
    """A module of which Eyewright does not see all; packages that are built for Linux, such as numpy, do."""

    def __getattribute__(self, name: str):
        if name in _hides[object.__getattribute__(self, "__name__")] and _is_ours(
            str(sys._getframe(1).f_globals.get("__name__", ""))
        ):
            raise AttributeError(f"module has no attribute {name!r}")
        return super().__getattribute__(name)


for _owner in _GONE:
    _owner.__class__ = _Hiding
os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks = set(), set(), set()
shutil._use_fd_functions = False  # type: ignore[attr-defined]
os.O_BINARY = _BINARY  # type: ignore[attr-defined]
signal.SIGBREAK = signal.SIGURG  # type: ignore[attr-defined]

# Locks of bytes.
_msvcrt = types.ModuleType("msvcrt")
_msvcrt.LK_NBLCK, _msvcrt.LK_LOCK, _msvcrt.LK_UNLCK = 2, 1, 0  # type: ignore[attr-defined]


def _locking(descriptor: int, mode: int, n: int) -> None:
    try:
        _flock(descriptor, {2: 2 | 4, 1: 2, 0: 8}[mode])
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "Permission denied") from None


_msvcrt.locking = _locking  # type: ignore[attr-defined]
sys.modules["msvcrt"] = _msvcrt


# Files.
def _open(path, flags, mode=0o777, *, dir_fd=None):
    if dir_fd is not None:
        raise NotImplementedError("dir_fd unavailable on this platform")
    if isinstance(path, (str, bytes, os.PathLike)):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        regular = not os.path.exists(path) or os.path.isfile(path)
        if regular and not flags & _BINARY and _is_ours(_caller()) and not str(path).endswith(".lock"):
            raise AssertionError(f"{path!r} is opened without O_BINARY: Windows changes its line ends")
    # As on Windows nothing is inherited that is not passed on.
    return _real_os_open(path, flags & ~_BINARY | 0o2000000, mode)


def _fsync(descriptor) -> None:
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    if _fcntl(number, 3) & 3 == 0:
        raise OSError(errno.EBADF, "Bad file descriptor")
    _real_fsync(number)


def _in_use(path) -> bool:
    """Return whether this process has a file open or mapped, or one below a folder."""
    real = os.path.realpath(os.fsdecode(path)) if not os.path.islink(path) else os.path.abspath(os.fsdecode(path))
    held = []
    for name in os.listdir("/proc/self/fd"):
        try:
            held.append(_real_readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    with _real_open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        held += [line.split(None, 5)[5].rstrip("\n") for line in maps if line.count("/")]
    return any(h == real or h.startswith(real + "/") for h in held)


def _guarded(name: str, guarded: int, *, new: bool):
    real = getattr(os, name)

    def call(*args, **options):
        for path in args[:guarded]:
            if os.path.lexists(path) and _in_use(path):
                raise PermissionError(errno.EACCES, "it is in use by this process (WinError 32)", str(path))
        if new and os.path.lexists(args[1]):
            raise FileExistsError(errno.EEXIST, "File exists", str(args[1]))
        if name == "replace" and os.path.isdir(args[1]):
            raise PermissionError(errno.EACCES, "Permission denied", str(args[1]))
        return real(*args, **options)

    return call


os.open, os.fsync = _open, _fsync
os.unlink = os.remove = _guarded("unlink", 1, new=False)
os.replace = _guarded("replace", 2, new=False)
os.rename = _guarded("rename", 1, new=True)
_real_link = os.link


def _link(source, path, *, follow_symlinks=True):
    _real_link(source, path)


os.link = _link

_HIDDEN = ("/proc/", "/sys/", "/dev/video")


def _hidden(path) -> bool:
    return isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(_HIDDEN) and _is_ours(_caller())


def _open_file(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
    if _hidden(file):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(file))
    if isinstance(file, (str, bytes, os.PathLike)) and os.path.isdir(file):
        raise PermissionError(errno.EACCES, "Permission denied", str(file))
    if "b" not in mode and _is_ours(_caller()):
        encoding = encoding or "cp1252"
        if newline is None and mode[0] in "wax":
            newline = "\r\n"
    return _real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)


builtins.open = io.open = _open_file
_real_stat = os.stat


def _stat(path, **options):
    if _hidden(path) or (path in ("/proc", "/sys") and _is_ours(_caller())):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
    return _real_stat(path, **options)


os.stat = _stat
_real_cdll = ctypes.CDLL


class _Cdll(_real_cdll):
    def __init__(self, name=None, *args, **options) -> None:
        if name is None and _is_ours(_caller()):
            raise TypeError("bad argument type for built-in operation")
        super().__init__(name, *args, **options)


ctypes.CDLL = _Cdll


# Sockets, pipes, loops.
def _is_socket(one) -> bool:
    return stat.S_ISSOCK(os.fstat(one if isinstance(one, int) else one.fileno()).st_mode)


def _select(readers, writers, others, timeout=None):
    if not all(_is_socket(one) for one in (*readers, *writers, *others)):
        raise OSError(10038, "An operation was attempted on something that is not a socket")
    return _real_select(readers, writers, others, timeout)


def _pair(family=socket.AF_INET, type=socket.SOCK_STREAM, proto=0):
    if family != socket.AF_INET:
        raise ValueError("Only AF_INET and AF_INET6 socket address families are supported")
    with socket.socket(family, type, proto) as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        one = socket.create_connection(door.getsockname())
        other, _ = door.accept()
    return other, one


select.select = _select
selectors.DefaultSelector = selectors.SelectSelector
selectors.SelectSelector._select = staticmethod(_select)  # type: ignore[attr-defined]
socket.socketpair = _pair


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, selector=None) -> None:
        super().__init__(selector or selectors.SelectSelector())

    def add_signal_handler(self, *args):
        raise NotImplementedError

    async def connect_read_pipe(self, *args):
        raise NotImplementedError

    async def connect_write_pipe(self, *args):
        raise NotImplementedError

    async def create_unix_connection(self, *args, **options):
        raise NotImplementedError


class _Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = _Loop


asyncio.set_event_loop_policy(_Policy())
asyncio.SelectorEventLoop = _Loop
_real_wakeup = signal.set_wakeup_fd


def _wakeup(descriptor, **options):
    if descriptor >= 0 and not _is_socket(descriptor):
        raise ValueError("only sockets are taken")
    return _real_wakeup(descriptor, **options)


signal.set_wakeup_fd = _wakeup


# Processes.
class _Popen(subprocess.Popen):
    def __init__(self, *args, **options) -> None:
        if options.get("pass_fds") or options.get("preexec_fn"):
            raise ValueError("pass_fds not supported on Windows.")
        if options.pop("start_new_session", False):
            raise AssertionError("start_new_session has no effect on Windows")
        if options.pop("creationflags", 0):
            options["start_new_session"] = True
        super().__init__(*args, **options)

    def _handle_exitstatus(self, sts, *args):
        super()._handle_exitstatus(sts, *args)
        # TerminateProcess gives an exit code of its own.
        if self.returncode is not None and self.returncode < 0:
            self.returncode = 1


subprocess.Popen = _Popen
subprocess.CREATE_NEW_PROCESS_GROUP = 0x200  # type: ignore[attr-defined]
_ran = os.environ.get("EYEWRIGHT_SIMULATED")
if _ran:
    # The tests see from it that every process was simulated.
    with _real_open(_ran, "a", encoding="utf-8") as _log:
        _log.write(f"{os.getpid()} {' '.join(sys.orig_argv[1:4])!r}\n")
