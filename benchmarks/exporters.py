"""Writing every net of the catalogue as ONNX: the quick way, where it applies, compared with torch's newer exporter.

    python benchmarks/exporters.py [NET …]

For each net: which way `export_onnx` takes, CPU-seconds of either, the largest difference of their answers for batches
of 1, 2 and 7, and the time of ONNX Runtime with one thread on a batch of 4, quick over newer, alternating. In one
process, after an export by the newer way that is not counted: its imports alone take seconds of the first.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from eyewright.catalog import MODELS, build_of, tasks_of_net
from eyewright.core.inputs import blank_inputs
from eyewright.core.task import task_of
from eyewright.exporting import onnx_model
from eyewright.imaging import Preparation
from eyewright.imaging.tiles import TileCut
from eyewright.nets.pixels import PixelNet
from eyewright.training.learner import learner_of


def made(name: str) -> tuple[Any, Preparation]:
    """Return an untrained net in evaluation mode, and how its images are prepared."""
    torch.manual_seed(1)
    task = tasks_of_net(name)[0]
    answers = MODELS[name][0]
    size = (96, 96) if task_of(task).reads == "image" else (64 * 16, 64)
    preparation = Preparation(size)
    if answers == "image":
        preparation = Preparation((64, 64), fit="crop", tile=TileCut(4, "noise:5-50"))
    body = build_of(name, task)(4, channels=3, size_hw=preparation.size_hw)
    planes = preparation.shape[2]
    return PixelNet(body, mean=[0.4] * planes, std=[0.2] * planes).eval(), preparation


def exported(model: Any, path: Path, preparation: Preparation, export: Any) -> float:
    """Write a model by one of the ways; return the CPU-seconds."""
    own, onnx_model._quickest = onnx_model._quickest, export
    examples = {n: torch.from_numpy(a) for n, a in blank_inputs({"image": preparation}, 2).items()}
    began = time.process_time()
    try:
        onnx_model.export_module(model, path, examples, metadata={}, traced=False)
    finally:
        onnx_model._quickest = own
    return time.process_time() - began


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*")
    torch.set_num_threads(1)
    newer, quickest = onnx_model._by_dynamo, onnx_model._quickest
    fell_back: list[bool] = []

    def watched(*given: Any) -> Any:
        fell_back.append(True)
        return newer(*given)

    onnx_model._by_dynamo = watched
    drawn = [n for n, (answers, *_) in MODELS.items() if answers == "drawn image"]
    with tempfile.TemporaryDirectory() as place:
        a, b = Path(place, "quick.onnx"), Path(place, "newer.onnx")
        net, preparation = made("mlp")
        exported(learner_of("classify").answers(net, temperature=1.0).eval(), b, preparation, newer)
        for name in parser.parse_args().nets or [n for n in MODELS if n not in drawn]:
            net, preparation = made(name)
            if getattr(net.body, "takes_targets", False) or getattr(net.body, "is_traced", False):
                print(f"{name:16} always traced")
                continue
            model = learner_of(tasks_of_net(name)[0]).answers(net, temperature=0.7).eval()
            fell_back.clear()
            quick_s = exported(model, a, preparation, quickest)
            if fell_back:
                print(f"{name:16} newer exporter, {quick_s:.2f} CPU-s", flush=True)
                continue
            newer_s = exported(model, b, preparation, newer)
            one, other = session(a), session(b)
            rng = np.random.default_rng(0)
            apart = 0.0
            for n in (1, 2, 7):
                pixels = {"image": rng.integers(0, 256, (n, *preparation.shape)).astype(np.uint8)}
                for x, y in zip(one.run(None, pixels), other.run(None, pixels), strict=True):
                    apart = max(apart, float(np.abs(x - y).max() / max(1.0, np.abs(y).max())))
            pixels = {"image": rng.integers(0, 256, (4, *preparation.shape)).astype(np.uint8)}
            ratios = []
            for _ in range(7):
                spent = []
                for s in (one, other):
                    s.run(None, pixels)
                    began = time.process_time()
                    for _ in range(3):
                        s.run(None, pixels)
                    spent.append(time.process_time() - began)
                ratios.append(spent[0] / spent[1])
            print(f"{name:16} traced, {quick_s:.2f} CPU-s, newer {newer_s:.2f}; answers within {apart:.1e}; ", end="")
            print(f"run time {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})", flush=True)


if __name__ == "__main__":
    main()
