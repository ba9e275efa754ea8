"""Tar files and Parquet tables read and decoded, compared with webdataset and Hugging Face's datasets, each in a
process of its own, alternating.

    python benchmarks/shards.py DATA --peer PYTHON [--rounds 5]

PYTHON is the interpreter of an environment with `webdataset`, `datasets` and Pillow. DATA is a folder of images of any
layout that `convert` reads. Every process opens the set, decodes all images to RGB arrays once and prints its CPU-s;
it does so twice, and the second time counts. `datasets` is measured with and without its conversion to
Arrow, which it keeps for the next time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import eyewright as ew

OURS = """
import sys
from eyewright.data import open_dataset
def work(k):
    began = time.process_time()
    data = open_dataset(sys.argv[1])
    return sum(image.shape[2] == 3 for image in data.images()), began
"""
WEBDATASET = """
import glob, sys
import webdataset
def work(k):
    began = time.process_time()
    shards = sorted(glob.glob(sys.argv[1] + "/*.tar"))
    found = webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8")
    return sum(sample["jpg"].shape[2] == 3 for sample in found), began
"""
DATASETS = """
import glob, sys
import numpy, datasets
datasets.disable_progress_bars()
def work(k):
    files = sorted(glob.glob(sys.argv[1] + "/data/*.parquet"))
    began = time.process_time()
    found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=f"{sys.argv[2]}-{k}")
    began = time.process_time() if sys.argv[3] == "again" else began
    return sum(numpy.asarray(row["image"].convert("RGB")).shape[2] == 3 for row in found), began
"""
# The first time also imports what is needed, which is not what is compared.
TWICE = """
import time
for k in range(2):
    n, began = work(k)
print(time.process_time() - began, n)
"""


def _cpu_s(python: str, code: str, *arguments: str) -> tuple[float, int]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        (python, "-c", f"import time\n{code}\n{TWICE}", *arguments),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, n = done.stdout.split()[-2:]
    return float(seconds), int(n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", required=True, metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for to, name, peer in (
            ("webdataset", "webdataset", WEBDATASET),
            ("parquet", "first", DATASETS),
            ("parquet", "again", DATASETS),
        ):
            out = str(Path(temporary) / to)
            if not Path(out).exists():
                ew.convert(o.data, to=to, out=out)
            ratios, ours, theirs = [], [], []
            for k in range(o.rounds):
                cache = str(Path(temporary) / f"cache-{k}-{name}")
                own, n = _cpu_s(sys.executable, OURS, out)
                other, m = _cpu_s(o.peer, peer, out, cache, name)
                assert n == m, (n, m)
                ours, theirs, ratios = [*ours, own], [*theirs, other], [*ratios, other / own]
            shown = f"datasets, {name} time" if peer is DATASETS else name
            print(
                f"{to}: {n} images, ours {statistics.median(ours):.2f}, {shown} {statistics.median(theirs):.2f} CPU-s, "
                f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
