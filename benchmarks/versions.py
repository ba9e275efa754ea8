"""Two versions of Eyewright beside each other: how fast they start, predict, train and evaluate.

    python benchmarks/versions.py OLD NEW [--rounds 9] [--long-rounds 3]

OLD and NEW are checkouts (`git worktree add --detach FOLDER COMMIT`). Each is run by this Python from its own `src`, in
processes of its own, in turn, so that what disturbs one disturbs both. The images are scikit-learn's digits; the bundle
that both predict and evaluate with is made by OLD.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_EPOCHS = 2


def run(version: Path, *arguments: str) -> float:
    """Run the command line of a checkout; return the seconds that its process took."""
    began = time.perf_counter()
    found = subprocess.run(
        [sys.executable, "-m", "eyewright", *arguments],
        env=environment(version),
        capture_output=True,
        text=True,
        check=False,
    )
    spent = time.perf_counter() - began
    if found.returncode:
        raise SystemExit(f"{version}: eyewright {' '.join(arguments)}\n{found.stderr or found.stdout}")
    return spent


def environment(version: Path) -> dict[str, str]:
    # As installed: compiled once, in the round that does not count.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(version / "src"), "EYEWRIGHT_FIRST_RUN_S": "60"}


def images_a_second(out: Path) -> float:
    """Return the images that a training saw in a second of the time that it noted itself."""
    about = json.loads((out / "run.json").read_text())
    seen = about["dataset"]["images"]["train"] * about["training"]["epochs"]
    return float(seen / about["training"]["seconds"])


def measure(versions: Mapping[str, Path], rounds: int, one: Callable[[Path, int], float]) -> dict[str, list[float]]:
    """Measure every version in turn, after a round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in versions}
    for k in range(rounds + 1):
        for name, version in versions.items():
            value = one(version, k)
            if k:
                found[name].append(value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, nargs="?")
    parser.add_argument("new", type=Path, nargs="?", default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--rounds", type=int, default=9, help="of commands that take a second; 0 leaves them out")
    parser.add_argument("--long-rounds", type=int, default=3, help="of training and evaluation; 0 leaves them out")
    options = parser.parse_args()
    if options.old is None:
        print("skipped: pass the checkout of another version: git worktree add --detach FOLDER COMMIT")
        return
    versions = {"old": options.old.resolve(), "new": options.new.resolve()}
    for name, version in versions.items():
        place = subprocess.run(
            [sys.executable, "-c", "import eyewright; print(eyewright.__file__)"],
            env=environment(version), capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        if not Path(place).is_relative_to(version):
            raise SystemExit(f"expected {name} to run from {version}, found {place}")
        commit = subprocess.run(
            ["git", "-C", version, "log", "-1", "--format=%h %s"], capture_output=True, text=True, check=True
        ).stdout.strip()
        print(f"{name}: {commit}")
    with tempfile.TemporaryDirectory(prefix="versions-") as folder:
        place = Path(folder)
        from eyewright.data.embedded import write_digits

        data, bundle = write_digits(place / "digits"), place / "bundle"
        image = str(next((data / "3-three").iterdir()))
        run(versions["old"], "train", str(data), "--out", str(place / "first"), "--epochs", str(_EPOCHS))
        run(versions["old"], "export", str(place / "first"), "--out", str(bundle))

        def trained(version: Path, k: int) -> float:
            out = place / f"{version.name}-{k}"
            run(version, "train", str(data), "--out", str(out), "--epochs", str(_EPOCHS))
            return images_a_second(out)

        def predicted(version: Path, k: int) -> float:
            return run(version, "predict", str(bundle), "--source", image)

        def evaluated(version: Path, k: int) -> float:
            return run(version, "evaluate", str(bundle), str(data), "--allow-leaks")

        rows: tuple[tuple[str, int, Callable[[Path, int], float]], ...] = (
            ("--help, s", options.rounds, lambda version, k: run(version, "--help")),
            ("predict one image, s", options.rounds, predicted),
            ("train, images/s", options.long_rounds, trained),
            ("evaluate, s", options.long_rounds, evaluated),
        )
        print(f"{'':22} {'old':>9} {'new':>9} {'new/old':>8}   (medians; ratio of each round: least to most)")
        for title, rounds, one in rows:
            if not rounds:
                continue
            found = measure(versions, rounds, one)
            old, new = (statistics.median(found[name]) for name in versions)
            ratios = sorted(b / a for a, b in zip(found["old"], found["new"], strict=True))
            spread = f"({ratios[0]:.2f} to {ratios[-1]:.2f}, n={rounds})"
            print(f"{title:22} {old:9.3f} {new:9.3f} {new / old:8.3f}   {spread}", flush=True)


if __name__ == "__main__":
    main()
