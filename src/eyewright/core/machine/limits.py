"""What the machine has, and what a process may use of it.

Linux and macOS have limits in the kernel (`resource`), Linux tells of a process in `/proc`. Elsewhere a thread of the
process looks at its use twenty times a second: at processor time always, at memory where psutil is installed.
"""

__all__ = [
    "allow_seconds",
    "boot_name",
    "camera_file",
    "crowding",
    "end_first",
    "energy_counters",
    "held_bytes",
    "kernel_devices",
    "limit_memory",
    "move_memory_limit",
    "limit_seconds",
    "memory_bytes",
    "no_core_dump",
    "open_files",
    "peak_bytes",
    "processor_name",
    "reason_of",
    "started",
    "unread",
    "usable_cores",
]

import contextlib
import os
import secrets
import signal
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any, Literal

from eyewright.core.machine import find_module

fcntl, resource, termios = find_module("fcntl"), find_module("resource"), find_module("termios")

_LOOK_S = 0.05
# What a process that looks at itself ends with; a kernel ends it with these signals.
_MEMORY_CODE, _TIME_CODE = 137, 152
_KERNEL = sys.platform == "linux" and resource is not None


def usable_cores() -> int:
    """Return how many cores this process may use.

    >>> usable_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def crowding() -> float:
    """Return how many programs share a core now, at least 1; 1 where nothing tells.

    >>> crowding() >= 1
    True
    """
    with contextlib.suppress(AttributeError, OSError):
        return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    return 1.0


def memory_bytes() -> int | None:
    """Return the memory of this machine, None where nothing tells."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    psutil = _psutil()
    return None if psutil is None else int(psutil.virtual_memory().total)


def processor_name() -> str:
    """Return the name of the processor, as far as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    import platform

    return platform.processor() or "unknown"


def kernel_devices() -> frozenset[int]:
    """Return the devices of `/proc` and `/sys`, whose folders have no end and are no images."""
    found = set()
    for folder in ("/proc", "/sys"):
        with contextlib.suppress(OSError):
            found.add(os.stat(folder).st_dev)
    return frozenset(found - {os.stat("/").st_dev})


def camera_file(number: int) -> Path | None:
    """Return the file that a camera has on Linux, None on systems that have no such files."""
    return Path(f"/dev/video{number}") if sys.platform == "linux" else None


def energy_counters() -> list[Path]:
    """Return the files in which the processor counts its microjoules; none but on Linux."""
    return sorted(Path("/sys/class/powercap").glob("intel-rapl:[0-9]/energy_uj"))


def no_core_dump() -> None:
    """Have no memory of this process written to disk when it crashes."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_first(score: int) -> None:
    """Where memory runs out, have Linux end this process before others: 1000 is the first of all."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(score))


def held_bytes() -> int:
    """Return what this process holds of what `limit_memory` counts."""
    found = _status("VmData")
    if found:
        return found
    psutil = _psutil()
    return 0 if psutil is None else int(psutil.Process().memory_info().rss)


def peak_bytes() -> int | None:
    """Return the most memory that this process held so far, None where nothing tells."""
    # Not ru_maxrss where it can be helped: on Linux that begins with what the process that started this one held.
    found = _status("VmHWM")
    if found:
        return found
    if resource is not None:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(most if sys.platform == "darwin" else most * 1024)
    psutil = _psutil()
    if psutil is None:
        return None
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


def limit_memory(more: int, *, reserved: int = 0) -> int:
    """From now on, let this process take `more` bytes beyond what it holds; return the most it may ever have, in bytes.

    `reserved` bytes more may be allowed later with `move_memory_limit`.
    On Linux an allocation beyond fails, which Python says with MemoryError. Elsewhere a process that holds more is
    ended within a twentieth of a second where psutil is installed; without it memory has no limit there.
    """
    limit = held_bytes() + more
    move_memory_limit(limit, limit + reserved)
    return limit + reserved


def move_memory_limit(limit: int, most: int) -> None:
    """Let this process hold `limit` bytes, and `most` bytes at any later time."""
    limit = min(limit, most)
    if _KERNEL:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    elif _psutil() is not None:
        _looked_at.memory = limit
        _looked_at.start()


def limit_seconds(seconds: int) -> None:
    """Let this process use so many seconds of processor time in all, and end it then."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    else:
        _looked_at.seconds = seconds
        _looked_at.start()


def allow_seconds(seconds: int) -> None:
    """Let this process use so many more seconds of processor time, whatever it used so far."""
    if resource is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))
    else:
        _looked_at.seconds = time.process_time() + seconds
        _looked_at.start()


def open_files(needed: int) -> int | None:
    """Return how many files and sockets may be open, after asking for as many as are needed; None without limit."""
    if resource is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return None if soft == resource.RLIM_INFINITY else soft


def unread(descriptor: int) -> bool:
    """Return whether bytes wait in a socket."""
    if fcntl is None or termios is None:
        return _polled(descriptor)
    import array

    size = array.array("i", [0])
    try:
        fcntl.ioctl(descriptor, termios.FIONREAD, size)
    except (OSError, ValueError):
        return False
    return size[0] > 0


def _polled(descriptor: int) -> bool:
    import select

    try:
        # A client that has gone is readable, too: there is something to be read, its end.
        return bool(select.select([descriptor], [], [], 0)[0])
    except (OSError, ValueError):
        return False


def reason_of(code: int | None) -> tuple[Literal["memory", "time", "crash"], str]:
    """Return why a child process has ended from its exit code, and the same in words.

    >>> reason_of(-11), reason_of(3)
    (('crash', 'SIGSEGV'), ('crash', 'exit 3'))
    >>> reason_of(137)[0], reason_of(-9)[0]
    ('memory', 'memory')
    """
    if code is None:
        return "crash", "it does not end"
    name = f"exit {code}"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
    if name == "SIGKILL" or code == _MEMORY_CODE:
        # The kernel's reason, unless somebody else has killed it.
        return "memory", name
    if name == "SIGXCPU" or code == _TIME_CODE:
        return "time", name
    return "crash", name


@cache
def boot_name() -> str:
    """Name this start of this machine: process ids mean something only there. A container has its own ids."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return secrets.token_hex(8)


def started(pid: int) -> str:
    """Return when a process was started, as text to compare; "" where it is gone, a zombie, or nothing tells."""
    with contextlib.suppress(OSError, IndexError):
        # In clock ticks since the machine was started.
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""


class _LookedAt:
    """The limits that this process keeps by itself, and the thread that does it."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.memory: int | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="eyewright-limits", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            if self.seconds is not None and time.process_time() > self.seconds:
                os._exit(_TIME_CODE)
            if self.memory is not None and held_bytes() > self.memory:
                os._exit(_MEMORY_CODE)


_looked_at = _LookedAt()


def _status(name: str) -> int:
    """Return an entry of `/proc/self/status` in bytes, 0 where there is none."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return 0


@cache
def _psutil() -> Any:
    """Return psutil, which is optional, or None."""
    return find_module("psutil")
