"""Does the reported interval contain the score on truly new groups, when the tool is not told the groups?

    python benchmarks/coverage.py [--data DIR] [--only SET,SET] [--seed 0] [--keep DIR] [--rules auto,none]

Ten grouped sets (`grouped_sets.py`), each of which holds back groups that `run` never sees. A set has two rows: the
grouping found by default, and `--group-by none`. "judged by" names the interval that counts: the headline; where the
report says that the score is lower on what is new, the interval of that figure; "disclaimed" where the report says that
its number does not tell how new things, or new sessions of look-alikes, will fare. Beside them stand the interval's
width, and precision and recall of the pairs of images that are kept together.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from grouped_sets import LONE, SETS, GroupedSet

import eyewright
from eyewright.core.errors import EyewrightError
from eyewright.evaluation import said_findings, summarise

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))


def pairs(groups: Mapping[str, str], truth: Mapping[str, str]) -> tuple[float, float]:
    """Return precision and recall of the pairs of images that are in one group; `groups` may leave images out."""

    def count(keys: Counter[Any]) -> int:
        return sum(n * (n - 1) // 2 for n in keys.values())

    both = count(Counter((g, truth[i]) for i, g in groups.items()))
    found, true = count(Counter(groups.values())), count(Counter(truth.values()))
    return (both / found if found else float("nan")), both / true


def report_says_part(table: Mapping[str, Any]) -> bool:
    """Tell whether the report's sentence gives the score of the images without a sibling in training."""
    return bool(table.get("without_sibling")) and table["siblings"] >= 0.1 * table["n"]


def judged(report: eyewright.Report, metric: str) -> tuple[str, float, float]:
    """Return which interval the report stands by for new things, and its ends."""
    table = report.tables.get("novelty") or {}
    if table.get("lower_without") or (not table.get("no_new") and report_says_part(table)):
        part = table["without_sibling"]
        return "unlike any in training", part["low"], part["high"]
    if table.get("no_new"):
        return "disclaimed", 0.0, 1.0
    if table.get("lower"):
        part = table["thirds"][-1]
        return "newest third", part["low"], part["high"]
    if report.tables.get("look_alikes"):
        return "disclaimed", 0.0, 1.0
    headline = report.metrics[metric]
    if headline.low is None or headline.high is None:
        return "disclaimed", 0.0, 1.0
    return "headline", headline.low, headline.high


def once(chosen: GroupedSet, folder: Path, truth: Mapping[str, str], group_by: str | None) -> dict[str, Any]:
    """Run the tool on what it may see and measure its bundle on the new groups."""
    started = time.monotonic()
    out = folder / ("auto" if group_by is None else group_by)
    shutil.rmtree(out, ignore_errors=True)
    row: dict[str, Any] = {"pairs": (float("nan"), 0.0), "proposed": [], "groups": 0}
    try:
        seen = eyewright.load_dataset(folder / "seen", task=chosen.task, group_by=group_by)
        own = {s.id: s.group for s in seen.samples if s.group}
        row |= {"groups": len(set(own.values())), "pairs": pairs(own, truth)}
        grouping = seen.grouping
        row["proposed"] = [] if grouping is None else [f"{p.option} ({p.groups} groups)" for p in grouping.proposals]
        row["parts"] = Counter(s.split for s in seen.samples)
        options: dict[str, Any] = dict(chosen.options)
        result = eyewright.run(folder / "seen", task=chosen.task, group_by=group_by, out=out, **options)
    except EyewrightError as error:
        return row | {"refused": str(error), "outcome": "refused", "seconds": time.monotonic() - started}
    new = eyewright.evaluate(result.bundle, folder / "new")
    by, low, high = judged(result.report, chosen.metric)
    headline, true = result.report.metrics[chosen.metric], new.metrics[chosen.metric]
    row |= {"headline": headline, "true": true, "by": by, "low": low, "high": high}
    inside = true.value is not None and low <= true.value <= high
    row["outcome"] = "disclaimed" if by == "disclaimed" else "contained" if inside else "MISSED"
    said = [summarise(result.report), *said_findings(result.report)]
    return row | {"said": said, "seconds": time.monotonic() - started}


def show(name: str, rule: str, row: Mapping[str, Any]) -> None:
    precision, recall = row["pairs"]
    found = f"{row['groups']:3d} groups, pairs P {precision:.2f} R {recall:.2f}"
    if "refused" in row:
        print(f"{name:16} {rule:5} {found}  refused: {row['refused']}  ({row['seconds']:.0f} s)")
        return
    head, true = row["headline"], row["true"]
    ends = "none" if head.low is None else f"[{100 * head.low:.1f}, {100 * head.high:.1f}]"
    width = f"{100 * (row['high'] - row['low']):.0f} wide" if row["by"] != "disclaimed" else "no interval"
    print(
        f"{name:16} {rule:5} {found}  reported {100 * head.value:.1f} {ends} n={head.n}/{head.groups or head.n}"
        f"  judged by {row['by']} ({width})"
        f"  new groups {100 * true.value:.1f} (n={true.n})  {row['outcome']}"
        f"  ({row['seconds']:.0f} s)"
    )
    for text in (*row["proposed"], *row["said"]):
        print(f"{'':22} {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--only", help=f"of {', '.join(SETS)}, lone_clips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="keep the sets and runs here")
    parser.add_argument("--rules", default="auto,none", help="what is run: auto, none, or both")
    o = parser.parse_args()
    every = {**SETS, "lone_clips": LONE}
    counts: Counter[str] = Counter()
    for name in o.only.split(",") if o.only else SETS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name if o.keep is None else o.keep / name
            shutil.rmtree(folder, ignore_errors=True)
            truth = every[name].make(o.data, folder, np.random.default_rng(o.seed))
            sizes = f"{len(truth)} images in {len(set(truth.values()))} groups"
            print(f"{name}: {every[name].about}; {sizes}", flush=True)
            for rule in o.rules.split(","):
                row = once(every[name], folder, truth, None if rule == "auto" else rule)
                show(name, rule, row)
                counts[f"{rule}: {row['outcome']}"] += 1
    for outcome, n in counts.items():
        print(f"{outcome} {n}")


if __name__ == "__main__":
    main()
