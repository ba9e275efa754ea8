"""Resume: kill -9 a training at random instants, go on, and compare the final weights with an uninterrupted run's.

    python benchmarks/resume.py [--kills 200]

Runs are digits for a few epochs with augmentation, EMA and several decoding threads, saving after every step. Every
second kill comes at a random instant; the others wait for a save that is at work, seen by its temporary file, and come
within half a millisecond of it. Processes are forked from one that has torch imported, so that 200 kills take minutes.
Targets: the same SHA-256 every time, and at least 50 kills inside a save.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

os.environ["EYEWRIGHT_SAVE_EVERY_S"] = "0"

from eyewright.cli import main as eyewright_main
from eyewright.data import write_digits
from eyewright.training.checkpoints import read_tensors


def digest(run: Path) -> str:
    weights, _ = read_tensors(run / "checkpoints" / "best" / "model.safetensors")
    return hashlib.sha256(b"".join(weights[k].numpy().tobytes() for k in sorted(weights))).hexdigest()


def start(arguments: list[str]) -> int:
    """Run the command line in a forked process; give its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = eyewright_main(arguments)
    finally:
        os._exit(code)


def ended(pid: int) -> int | None:
    """Return the exit code of a process that has ended."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def wait_for_save(pid: int, folder: Path, *, after: int) -> int | None:
    """Come back while a save is at work, the first after `after` others; give the exit code if the process ended."""
    last = folder / "last" / "state.safetensors"
    seen, saves = 0, 0
    while (code := ended(pid)) is None:
        with contextlib.suppress(FileNotFoundError):
            if (now := last.stat().st_mtime_ns) != seen:
                seen, saves = now, saves + 1
            if saves >= after and any(n.endswith(".tmp") for n in os.listdir(folder / "last")):
                return None
    return code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    kills = parser.parse_args().kills
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        data = write_digits(Path(temporary) / "digits")
        command = ["train", str(data), "--epochs", "4", "--quiet", "--workers", "3", "--out"]
        whole, cut = Path(temporary) / "whole", Path(temporary) / "cut"
        assert os.waitpid(start([*command, str(whole)]), 0)[1] == 0
        expected = digest(whole)
        done, inside, runs, equal = 0, 0, 0, 0
        while done < kills:
            shutil.rmtree(cut, ignore_errors=True)
            code = None
            while code is None:
                resume = ["--resume"] if (cut / "checkpoints" / "last" / "state.safetensors").exists() else []
                if not resume:
                    shutil.rmtree(cut, ignore_errors=True)
                pid = start([*command, str(cut), *resume])
                if done >= kills:
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    break
                if done % 2:
                    code = wait_for_save(pid, cut / "checkpoints", after=rng.randrange(1, 12))
                    time.sleep(rng.uniform(0, 0.0005))
                else:
                    time.sleep(rng.uniform(0.2, 3.0))
                    code = ended(pid)
                if code is None:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    done += 1
                    # What an earlier kill left is cleared when the run folder is opened, so this one is of this kill.
                    inside += any((cut / "checkpoints").rglob(".*.tmp"))
            assert code == 0, code
            runs += 1
            equal += digest(cut) == expected
            print(f"{done} kills, {inside} of them inside a save, {equal} of {runs} runs end with the same SHA-256")


if __name__ == "__main__":
    main()
