"""Text to image retrieval on twemoji_text, split by base code point: recall of a model over seeds.

    python benchmarks/embedding.py ../shared/data/twemoji_text --model pair_ridge --seeds 3

The split of a seed holds 15 % of the base code points for the test and 10 % for validation. Images whose file is in
the test or validation part too are left out. Epoch, penalty and weights
are chosen on validation; the test part is scored once.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

import eyewright as ew

_SHOWN = ("recall_at_1", "recall_at_5", "recall_at_10", "back_recall_at_1", "back_recall_at_5", "back_recall_at_10")


def write_split(source: Path, folder: Path, seed: int) -> Path:
    """Write the data with a split by base code point."""
    rows = [json.loads(line) for line in (source / "captions.jsonl").read_text("utf-8").splitlines()]
    base = [Path(r["file_name"]).stem.split("-")[0] for r in rows]
    names = np.unique(base)
    order = np.random.default_rng(seed).permutation(len(names))
    tested, validated = int(0.15 * len(names)), int(0.25 * len(names))
    part = dict.fromkeys(names[order[:tested]], "test") | dict.fromkeys(names[order[tested:validated]], "val")
    content = [(source / "images" / r["file_name"]).read_bytes() for r in rows]
    held = {name: {c for c, g in zip(content, base, strict=True) if part.get(g) == name} for name in ("test", "val")}
    lines = []
    for row, group, image in zip(rows, base, content, strict=True):
        own = part.get(group)
        if own != "test" and (image in held["test"] or (own is None and image in held["val"])):
            # Some territories have the flag of another: the same file.
            continue
        shutil.copy(source / "images" / row["file_name"], folder)
        kept = {
            "file_name": row["file_name"],
            "text": row["caption"],
            "split": part.get(group, "train"),
            "group": group,
        }
        lines.append(json.dumps(kept))
    (folder / "metadata.jsonl").write_text("\n".join(lines), "utf-8")
    return folder


def main() -> None:
    """Print recall of every seed, and the mean."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path)
    options.add_argument("--model", default="pair_ridge")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    asked = options.parse_args()
    rows = []
    for seed in range(asked.first, asked.first + asked.seeds):
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "data").mkdir()
            data = write_split(asked.data, Path(place) / "data", seed)
            began = time.monotonic()
            run = ew.train(data, task="embed", model=asked.model, seed=seed, out=Path(place) / "run", quiet=True)
            seconds = time.monotonic() - began
            metrics = ew.evaluate(run).metrics
            rows.append([metrics[name].value for name in _SHOWN])
            shown = "  ".join(f"{100 * v:.1f}" for v in rows[-1])
            weight = run.about["calibration"]["learnt_weight"]
            n = metrics["recall_at_10"].n
            print(f"{asked.model} seed {seed}  n={n}  {seconds:.0f} s  learnt weight {weight:.2f}  {shown}", flush=True)
    mean, spread = np.mean(rows, 0), np.std(rows, 0, ddof=1) if len(rows) > 1 else np.zeros(len(_SHOWN))
    print("mean  " + "  ".join(f"{100 * m:.1f} ± {100 * s:.1f}" for m, s in zip(mean, spread, strict=True)))


if __name__ == "__main__":
    main()
