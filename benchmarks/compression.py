"""What `compress` makes of models: size, speed, loss with intervals, beside two runtimes' INT8 by their defaults.

    python benchmarks/compression.py RUN… [--peers PYTHON] [--out DIR] [--speedup 2] [--times-smaller 4]

Each RUN is a finished run folder, such as `eyewright run ../shared/data/sign_digits --model resnet` leaves. The search
runs with its default time. PYTHON is that of an environment with NNCF and OpenVINO, which makes OpenVINO's INT8 by
`nncf.quantize` as it comes; ONNX Runtime's is made by its own `static_quantize_runner` as it comes. Both are calibrated
on the same 256 training images. All models answer the same test images one at a time, in turns, with two threads.
Targets: 4 times smaller and 2 times as fast at one point lost, in 10 minutes; as fast as both at accuracy no lower.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import eyewright as ew
from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.session import open_session
from eyewright.compression.measuring import Judge, paired_speedup
from eyewright.compression.trials import calibration_pixels
from eyewright.core.task import task_of
from eyewright.delivery.openvino import openvino_session
from eyewright.lifecycle.datasets import data_of_run

NNCF = """
import sys, numpy as np, openvino as ov, nncf
model = ov.Core().read_model(sys.argv[1])
pixels = np.load(sys.argv[2])
data = nncf.Dataset([pixels[i : i + 1] for i in range(len(pixels))])
ov.save_model(nncf.quantize(model, data), sys.argv[3], compress_to_fp16=False)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--peers", help="the Python of an environment with nncf and openvino")
    parser.add_argument("--out", default="")
    parser.add_argument("--budget", help="time for a search (default: that of compress)")
    parser.add_argument("--speedup", type=float, default=2.0)
    parser.add_argument("--times-smaller", type=float, default=4.0)
    o = parser.parse_args()
    for folder in o.runs:
        run = ew.load_run(folder)
        place = Path(o.out or tempfile.mkdtemp()) / f"{run.about['dataset']['name']}-{run.recipe.model_name}"
        whole = load_bundle(run.folder / "bundle")
        size = (whole.folder / whole.manifest.model).stat().st_size
        main_metric = task_of(run.task_name).main_metric
        print(f"== {run.about['dataset']['name']}, {run.recipe.model_name}: {size:,} bytes")
        began = time.monotonic()
        found = ew.compress(
            run,
            out=place,
            max_drop=[f"{main_metric}=1%"],
            min_speedup=o.speedup,
            max_bytes=int(size / o.times_smaller),
            quiet=True,
            budget=o.budget,
            say=print,
        )
        spent = time.monotonic() - began
        about = found.bundle.manifest.compression
        speed, drop = about["speedup"], about["drops"][main_metric]
        print(
            f"compress: {size / about['bytes']:.1f} times smaller, {speed['value']:.2f} times as fast "
            f"[{speed['low']:.2f}, {speed['high']:.2f}], {main_metric} {-100 * drop['value'] + 0.0:+.2f} points "
            f"[{-100 * drop['high'] + 0.0:+.2f}, {-100 * drop['low'] + 0.0:+.2f}] on {about['measured_on']['images']} "
            f"test images, {about['changed_answers']} answers changed; {spent:.0f} s of search (target 600)"
        )
        beside_peers(run, whole, found.bundle, o.peers, main_metric)


def beside_peers(run: object, whole: Bundle, ours: Bundle, peers: str | None, main_metric: str) -> None:
    """Make INT8 models as others do by default; measure them and ours on the same test images."""
    dataset = data_of_run(run)  # type: ignore[arg-type]
    pixels = calibration_pixels(dataset.train, whole)
    judge = Judge(whole, dataset.test)
    others = {"ONNX Runtime INT8": runtime_int8(whole, pixels)}
    if peers:
        others["OpenVINO INT8"] = openvino_int8(whole, pixels, peers)
    one = pixels[:1]
    ours = Bundle(ours.folder, ours.manifest, open_session((ours.folder / ours.manifest.model).read_bytes(), threads=2))
    mine = judge.compare(ours).metrics[main_metric].value
    print(f"ours: {main_metric} {mine:.4f}")
    for name, other in others.items():
        if other is None:
            print(f"{name}: could not be made")
            continue
        value = judge.compare(other).metrics[main_metric].value
        ratio = paired_speedup(lambda other=other: other.raw(one), lambda: ours.raw(one), rounds=200)  # type: ignore[misc]
        print(
            f"{name}: {main_metric} {value:.4f}, {ratio.before_ms:.2f} ms; ours {ratio.after_ms:.2f} ms, "
            f"{ratio.value:.2f} times as fast [{ratio.low:.2f}, {ratio.high:.2f}]"
        )


def runtime_int8(whole: Bundle, pixels: np.ndarray) -> Bundle | None:
    """INT8 by ONNX Runtime's own command line, with nothing said."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        source, out = place / "model.onnx", place / "int8.onnx"
        source.write_bytes((whole.folder / whole.manifest.model).read_bytes())
        for i in range(len(pixels)):
            data = place / f"test_data_set_{i}"
            data.mkdir()
            tensor = numpy_helper.from_array(pixels[i : i + 1], "image")
            (data / "input_0.pb").write_bytes(tensor.SerializeToString())
        command = [sys.executable, "-m", "onnxruntime.quantization.static_quantize_runner", "-i", source, "-o", out]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        if done.returncode or not out.exists():
            print(done.stderr[-800:])
            return None
        onnx.checker.check_model(str(out))
        return Bundle(whole.folder, whole.manifest, open_session(out.read_bytes(), threads=2))


def openvino_int8(whole: Bundle, pixels: np.ndarray, python: str) -> Bundle | None:
    """INT8 by NNCF for OpenVINO, as it comes, run by OpenVINO here."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.save(place / "pixels.npy", pixels)
        source = whole.folder / whole.manifest.model
        command = [python, "-c", NNCF, source, place / "pixels.npy", place / "model.xml"]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        if done.returncode:
            print(done.stderr[-800:])
            return None
        data = {n: (place / n).read_bytes() for n in ("model.xml", "model.bin")}
        return Bundle(whole.folder, whole.manifest, openvino_session(data, threads=2))


if __name__ == "__main__":
    main()
