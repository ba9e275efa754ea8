"""Cold start: whole processes, medians of interleaved runs, against the bare import of what they cannot do without.

    python benchmarks/cold_start.py [--runs 15]

Targets: predict <= 2x the bare import of numpy, onnxruntime and Pillow, <= 150 MB; import eyewright <= 60 ms;
eyewright --help <= 0.3 s.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(command: list[str]) -> tuple[float, float]:
    """Return wall seconds and peak resident MB of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: a child's peak counts the pages of the parent that it was forked from.
        face = str(Path(sys.executable).with_name("eyewright"))
        made = Path(folder) / "q"
        subprocess.run([face, "quickstart", "--out", str(made), "--epochs", "3", "--quiet"], check=True)
        bundle = str(made / "run" / "bundle")
        image = str(next((made / "digits").rglob("*.png")))
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "bare import": [sys.executable, "-c", "import numpy, onnxruntime, PIL.Image"],
            "eyewright predict": [face, "predict", bundle, "--source", image],
            "import eyewright": [sys.executable, "-c", "import eyewright"],
            "eyewright --help": [face, "--help"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        memory = dict.fromkeys(commands, 0.0)
        for _ in range(runs):
            for name, command in commands.items():
                seconds, megabytes = measure(command)
                times[name].append(seconds)
                memory[name] = max(memory[name], megabytes)
    print(f"{'whole process':20} {'median s':>9} {'min':>7} {'max':>7} {'peak MB':>8}   n={runs}")
    for name, values in times.items():
        row = f"{statistics.median(values):9.3f} {min(values):7.3f} {max(values):7.3f} {memory[name]:8.0f}"
        print(f"{name:20} {row}")
    ratios = [a / b for a, b in zip(times["eyewright predict"], times["bare import"], strict=True)]
    print(f"predict / bare import: median of paired ratios {statistics.median(ratios):.2f} (target <= 2)")
    own = statistics.median(times["import eyewright"]) - statistics.median(times["python -c pass"])
    print(f"import eyewright, python's own start taken off: {own * 1000:.0f} ms (target <= 60)")


if __name__ == "__main__":
    main()
