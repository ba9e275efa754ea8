"""Training in bfloat16 compared with float32 on this CPU: accuracy over seeds at equal epochs, and CPU-seconds.

    python benchmarks/precision.py DATA [--epochs 6 --seeds 3 --model auto]

Runs alternate. Where the processor has neither AVX512-BF16 nor AMX, both are float32, which is printed.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from eyewright.training.precision import cpu_has_bfloat16, cpu_speedup


def command(*words: object) -> tuple[dict, float]:
    """Run the command line; return its JSON and the CPU-seconds it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "eyewright", *map(str, words), "--json", "--quiet"], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{words[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(done.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="auto")
    args = parser.parse_args()
    print(f"bfloat16 in hardware: {cpu_has_bfloat16()}; a convolution's step is {cpu_speedup():.2f} times as fast")
    spent: dict[str, list[float]] = {"off": [], "auto": []}
    scores: dict[str, list[float]] = {"off": [], "auto": []}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(args.seeds):
            for amp in ("off", "auto"):
                run = Path(temporary) / f"{amp}{seed}"
                chosen = ("--epochs", args.epochs, "--seed", seed, "--model", args.model, "--amp", amp, "--out", run)
                _, seconds = command("train", args.data, *chosen)
                about = json.loads((run / "run.json").read_text())["training"]
                found, _ = command("evaluate", run, args.data, "--out", Path(temporary) / f"report-{amp}{seed}")
                metric = found["metrics"]["accuracy"]
                spent[amp].append(seconds)
                scores[amp].append(metric["value"])
                print(f"seed {seed}, --amp {amp}: {about['precision']}, accuracy {metric['value']:.3f} ", end="")
                print(f"[{metric['low']:.3f}, {metric['high']:.3f}] n={metric['n']}, {seconds:.0f} CPU-s", flush=True)
    ratio = np.array(spent["off"]) / np.array(spent["auto"])
    apart = np.array(scores["auto"]) - np.array(scores["off"])
    print(f"CPU-seconds float32 / bfloat16: {np.median(ratio):.2f} ({ratio.min():.2f}-{ratio.max():.2f})")
    print(f"accuracy bfloat16 - float32: mean {apart.mean():+.4f} ({apart.min():+.4f} to {apart.max():+.4f})")


if __name__ == "__main__":
    main()
