"""A program that is done ends at once, after its threads, its exit handlers and its output."""

import os
import subprocess
import sys
import time


def ended(body: str, **options) -> tuple[subprocess.CompletedProcess[str], float]:
    code = f"from eyewright.core.stopping import end_process\n{body}"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **options)
    return done, time.monotonic() - started


def test_exit_handlers_threads_and_output_come_first() -> None:
    done, _ = ended(
        "import atexit, threading, time\n"
        "atexit.register(print, 'handled')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('joined'))).start()\n"
        "print('said', end=' ')\n"
        "end_process(7)"
    )
    assert (done.returncode, done.stdout) == (7, "said joined\nhandled\n")


def test_objects_that_take_long_to_be_removed_are_not_waited_for() -> None:
    slow = "import time\nclass Slow:\n    def __del__(self, sleep=time.sleep): sleep(20)\nslow = Slow()\n"
    done, seconds = ended(slow + "end_process(3)")
    assert done.returncode == 3
    assert seconds < 15


def test_the_command_line_ends_so() -> None:
    slow = "import time\nclass Slow:\n    def __del__(self, sleep=time.sleep): sleep(20)\nslow = Slow()\n"
    body = (
        "import sys\nfrom eyewright.cli import main\nsys.argv = ['eyewright', 'doctor', '/nothing']\nsys.exit(main())"
    )
    done, seconds = ended(slow + body)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert seconds < 15


def test_an_output_that_is_full_does_not_hold_it_up() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "print('x')\nfrom eyewright.core.stopping import end_process\nend_process(5)"],
            stdout=full, stderr=subprocess.PIPE, timeout=60,
            env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (5, b"")


def test_a_pool_that_nobody_closed_does_not_hold_it_up() -> None:
    # Its threads are no daemons and wait for work; OpenVINO's telemetry leaves such a pool behind.
    done, seconds = ended(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "import time\n"
        "pool = ThreadPoolExecutor(2)\n"
        "pool.submit(lambda: (time.sleep(0.2), print('worked')))\n"
        "end_process(6)"
    )
    assert (done.returncode, done.stdout) == (6, "worked\n")
    assert seconds < 15
