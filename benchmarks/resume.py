"""Resume: kill -9 a training at random instants, go on, and compare the final weights with an uninterrupted run's.

    python benchmarks/resume.py [--kills 200]

Runs are digits for a few epochs with augmentation and EMA, saving after every step so that many kills fall into a save
(a temporary file is then left beside the checkpoint). Target: the same SHA-256 every time.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from eyewright.data import write_digits
from eyewright.training.checkpoints import read_tensors


def digest(run: Path) -> str:
    weights, _ = read_tensors(run / "checkpoints" / "best" / "model.safetensors")
    return hashlib.sha256(b"".join(weights[k].numpy().tobytes() for k in sorted(weights))).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    kills = parser.parse_args().kills
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        data = write_digits(Path(temporary) / "digits")
        command = [sys.executable, "-m", "eyewright", "train", str(data), "--epochs", "4", "--quiet", "--out"]
        whole, cut = Path(temporary) / "whole", Path(temporary) / "cut"
        subprocess.run([*command, str(whole)], check=True)
        expected = digest(whole)
        done, inside, runs, equal = 0, 0, 0, 0
        while done < kills:
            shutil.rmtree(cut, ignore_errors=True)
            while True:
                marker = cut / "checkpoints" / "last" / "state.safetensors"
                resume = ["--resume"] if marker.exists() else []
                if not resume:
                    shutil.rmtree(cut, ignore_errors=True)
                environment = {**os.environ, "EYEWRIGHT_SAVE_EVERY_S": "0"}
                process = subprocess.Popen([*command, str(cut), *resume], env=environment)
                before = marker.stat().st_mtime_ns if resume else 0
                while process.poll() is None and (not marker.exists() or marker.stat().st_mtime_ns == before):
                    time.sleep(0.002)
                time.sleep(rng.uniform(0, 0.6))
                if process.poll() is not None:
                    assert process.returncode == 0, process.returncode
                    break
                process.kill()
                process.wait()
                done += 1
                # What an earlier kill left is cleared when the run folder is opened, so this one is of this kill.
                inside += any((cut / "checkpoints").rglob(".*.tmp"))
                if done >= kills:
                    subprocess.run([*command, str(cut), "--resume"], check=True)
                    break
            runs += 1
            equal += digest(cut) == expected
            print(f"{done} kills, {inside} of them inside a save, {equal} of {runs} runs end with the same SHA-256")


if __name__ == "__main__":
    main()
