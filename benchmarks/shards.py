"""Tar files and Parquet tables read and decoded, compared with webdataset and Hugging Face's datasets, each in a
process of its own, alternating.

    python benchmarks/shards.py DATA --peer PYTHON [--rounds 5]

PYTHON is the interpreter of an environment with `webdataset`, `datasets` and Pillow. DATA is a folder of images of any
layout that `convert` reads. Every process opens the set, decodes all images to RGB arrays once and prints its CPU-s
without imports. `datasets` is measured with and without its conversion to Arrow, which it keeps for the next time.
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
import sys, time
from eyewright.data import open_dataset
import eyewright.imaging
began = time.process_time()
data = open_dataset(sys.argv[1])
n = sum(image.shape[2] == 3 for image in data.images())
print(time.process_time() - began, n)
"""
WEBDATASET = """
import glob, sys, time
import numpy, webdataset
from PIL import Image
began = time.process_time()
shards = sorted(glob.glob(sys.argv[1] + "/*.tar"))
n = sum(s["jpg"].shape[2] == 3 for s in webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
print(time.process_time() - began, n)
"""
DATASETS = """
import glob, sys, time
import numpy, datasets
from PIL import Image
files = sorted(glob.glob(sys.argv[1] + "/data/*.parquet"))
began = time.process_time()
found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=sys.argv[2])
loaded = time.process_time() if sys.argv[3] == "again" else began
n = sum(numpy.asarray(row["image"].convert("RGB")).shape[2] == 3 for row in found)
print(time.process_time() - loaded, n)
"""


def _cpu_s(python: str, code: str, *arguments: str) -> tuple[float, int]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    done = subprocess.run((python, "-c", code, *arguments), env=environment, capture_output=True, text=True, check=True)
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
