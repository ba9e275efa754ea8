"""Predict a folder of JPEG files, compared with a pool of threads that decodes with Pillow and runs ONNX Runtime.

    python benchmarks/predict_folder.py [--images 2000] [--side 224] [--rounds 5] [--bundle BUNDLE] [--openvino]
    python benchmarks/predict_folder.py --images 48 --different 8 --side 4000x3000
    python benchmarks/predict_folder.py --out [--images 200] [--side 640x480]

The peer is what people write themselves: every thread decodes, resizes as the bundle's Preparation does and runs the
model with one thread; as many threads as there are cores, which was its best setting among 1, 2 and 4 (`--threads`). It
decodes in its own process; `draft` is the same with libjpeg's reduced scales, down to no fewer pixels than the model
takes, where ours leaves twice as many. `program` decodes in one that can be killed, as the command line does, and
`library` as `bundle.predict(..., stream=True)` does. `openvino` decodes as the
peer and infers in OpenVINO's asynchronous queue. With `--out` each file also gives an annotated image: by `predict
--out` of the command line, with predictions.json, and by the pool, which writes the image with its label as JPEG of
quality 90. Wall seconds and CPU, alternating; peak memory is that of a process of its own. On a busy machine only the
CPU decides: who has more threads gets more of it.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

# CPU-seconds of this process and those below it: other work on the machine changes them less than the wall time.
SPENT = """
import psutil
def spent():
    me = psutil.Process()
    times = [p.cpu_times() for p in (me, *me.children(recursive=True))]
    return sum(t.user + t.system for t in times)
"""

PEER = """
import sys, time, resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, onnxruntime
from PIL import Image
folder, model, height, width, channels, threads, draft = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:8])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options)
def one(path):
    with Image.open(path) as image:
        if draft:
            image.draft(None, (width, height))
        small = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    return session.run(None, {"image": np.asarray(small, np.uint8).reshape(1, height, width, channels)})[0].argmax()
begin, cpu = time.perf_counter(), spent()
with ThreadPoolExecutor(threads) as pool:
    found = list(pool.map(one, sorted(Path(folder).iterdir())))
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, spent() - cpu)
"""

# The pool, and an annotated image of each file, as `predict --out` writes for a classifier.
DRAWN = """
import sys, time, resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, onnxruntime
from PIL import Image, ImageDraw, ImageFont
folder, model, height, width, channels, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:7])
out = Path(sys.argv[7])
out.mkdir()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options)
font = ImageFont.load_default(40)
def one(path):
    with Image.open(path) as image:
        small = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
        row = session.run(None, {"image": np.asarray(small, np.uint8).reshape(1, height, width, channels)})[0][0]
        shown = Image.new("RGB", (image.width, image.height + 50), "white")
        shown.paste(image, (0, 0))
    label = int(row.argmax())
    ImageDraw.Draw(shown).text((8, image.height), f"{label}  {row[label]:.1%}", "black", font)
    shown.save(out / f"{path.stem}.jpg", quality=90)
    return label
begin, cpu = time.perf_counter(), spent()
with ThreadPoolExecutor(threads) as pool:
    found = list(pool.map(one, sorted(Path(folder).iterdir())))
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, spent() - cpu)
"""

OURS_DRAWN = """
import sys, time, resource
from eyewright.cli import main
from eyewright.imaging.isolation import isolate_decoding
isolate_decoding(at_once=True)
begin, cpu = time.perf_counter(), spent()
assert main(["predict", sys.argv[2], "--source", sys.argv[1], "--out", sys.argv[3], "--quiet"]) == 0
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, spent() - cpu)
"""

# The same pool decodes; OpenVINO's own queue infers in its threads, with its hint for throughput.
OPENVINO = """
import sys, time, resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, openvino
from PIL import Image
folder, model, height, width, channels, threads, draft = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:8])
core = openvino.Core()
read = core.read_model(model)
read.reshape([1, height, width, channels])
queue = openvino.AsyncInferQueue(core.compile_model(read, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"}))
files = sorted(Path(folder).iterdir())
found = [None] * len(files)
queue.set_callback(lambda request, i: found.__setitem__(i, request.get_output_tensor(0).data[0].argmax()))
def one(path):
    with Image.open(path) as image:
        if draft:
            image.draft(None, (width, height))
        small = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small, np.uint8).reshape(1, height, width, channels)
begin, cpu = time.perf_counter(), spent()
with ThreadPoolExecutor(threads) as pool:
    for i, pixels in enumerate(pool.map(one, files)):
        queue.start_async({0: pixels}, i)
queue.wait_all()
assert None not in found
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, spent() - cpu)
"""

OURS = """
import sys, time, resource
import eyewright
from eyewright.imaging.isolation import isolate_decoding
if sys.argv[3] == "program":
    isolate_decoding(at_once=True)
bundle = eyewright.load_bundle(sys.argv[2])
begin, cpu = time.perf_counter(), spent()
n = sum(1 for _ in bundle.predict(sys.argv[1], stream=True))
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, spent() - cpu)
"""


def write_images(folder: Path, n: int, size_hw: tuple[int, int], profile: bytes | None) -> None:
    """Write crops of scikit-learn's two photographs, enlarged where they are smaller, as JPEG of quality 88."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(p) for p in load_sample_images().images]
    height, width = size_hw
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(n):
        whole = photographs[i % 2]
        scale = max(1.0, height / whole.height, width / whole.width)
        large = whole.resize((round(whole.width * scale), round(whole.height * scale))) if scale > 1 else whole
        x, y = (int(rng.integers(0, max(1, a - b))) for a, b in ((large.width, width), (large.height, height)))
        large.crop((x, y, x + width, y + height)).save(folder / f"{i:05d}.jpg", quality=88, icc_profile=profile)


def quick_bundle(work: Path) -> Path:
    """Train the bundle of the quick start for an epoch."""
    quick = (sys.executable, "-m", "eyewright", "quickstart", "--out", str(work / "q"), "--epochs", "1", "--quiet")
    subprocess.run(quick, check=True, stdout=subprocess.DEVNULL)
    return work / "q" / "run" / "bundle"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--different", type=int, help="how many of the files differ; the others are links to them")
    parser.add_argument("--side", default="224", help="width x height, or both")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bundle", type=Path, help="a bundle, in place of one that is trained first")
    parser.add_argument("--profile", type=Path, help="an ICC profile that the images are saved with")
    parser.add_argument(
        "--openvino", action="store_true", help="also OpenVINO's asynchronous queue, if it is installed"
    )
    parser.add_argument("--out", action="store_true", help="also write an annotated image of each file")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of the peer")
    args = parser.parse_args()
    width, _, height = args.side.partition("x")
    size_hw = (int(height or width), int(width))
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        profile = None if args.profile is None else args.profile.read_bytes()
        different = min(args.images, args.different or args.images)
        write_images(work / "images", different, size_hw, profile)
        for i in range(different, args.images):
            os.link(work / "images" / f"{i % different:05d}.jpg", work / "images" / f"{i:05d}.jpg")
        folder = args.bundle or quick_bundle(work)
        import eyewright

        shape = eyewright.load_bundle(folder).preparation.shape
        model = str(next(folder.rglob("*.onnx")))
        images = str(work / "images")
        commands = {
            "peer": (PEER, images, model, *map(str, shape), str(args.threads), "0"),
            "draft": (PEER, images, model, *map(str, shape), str(args.threads), "1"),
            **(
                {"openvino": (OPENVINO, images, model, *map(str, shape), str(args.threads), "0")}
                if args.openvino
                else {}
            ),
            "program": (OURS, images, str(folder), "program"),
            "library": (OURS, images, str(folder), "library"),
        }
        if args.out:
            drawn = (DRAWN, images, model, *map(str, shape), str(args.threads))
            commands = {"peer": drawn, "program": (OURS_DRAWN, images, str(folder))}
        times: dict[str, list[float]] = {name: [] for name in commands}
        cpu: dict[str, list[float]] = {name: [] for name in commands}
        memory = dict.fromkeys(commands, 0.0)
        for _ in range(args.rounds):
            for name, (code, *given) in commands.items():
                written = str(work / "out")
                command = (sys.executable, "-c", SPENT + code, *given, *([written] if args.out else []))
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                shutil.rmtree(written, ignore_errors=True)
                seconds, megabytes, own = map(float, done.stdout.split())
                times[name].append(seconds)
                cpu[name].append(own)
                memory[name] = max(memory[name], megabytes)
    print(f"{args.images} JPEG files of {args.side}, median of {args.rounds}; model {shape}")
    for name, values in times.items():
        each = statistics.median(cpu[name]) / args.images * 1e3
        print(
            f"{name:<8} {statistics.median(values):7.2f} s, {each:.2f} CPU-ms an image, {memory[name]:.0f} MB", end=""
        )
        for peer in [name for name in times if name not in ("program", "library")]:
            ratios = np.array(times[peer]) / np.array(values)
            less = np.median(np.array(cpu[peer]) / np.array(cpu[name]))
            print(f", {np.median(ratios):.2f} times as fast as {peer} ({ratios.min():.2f}-{ratios.max():.2f})", end="")
            print(f", its CPU {less:.2f} times ours", end="")
        print()


if __name__ == "__main__":
    main()
