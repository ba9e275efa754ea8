"""Read a COCO file of a million annotations, and measure 100,000 detections, compared with pycocotools in the same run.

    python benchmarks/coco.py [--annotations 1000000] [--detections 100000] [--faster PYTHON]

`--faster` names the interpreter of an environment with faster-coco-eval, which is then measured, too.

Both are made from a seed. Reading runs in fresh processes, so that memory is that of reading alone.
"""

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def write_file(folder: Path, n: int, rng: np.random.Generator) -> Path:
    """COCO JSON as `json.dump` writes it: 8 annotations an image, boxes and polygons of 12 points, 80 classes."""
    (folder / "images").mkdir()
    from PIL import Image

    n_images = n // 8
    Image.new("RGB", (64, 48)).save(folder / "images" / "000000.jpg")
    for i in range(1, n_images):
        (folder / "images" / f"{i:06d}.jpg").symlink_to("000000.jpg")
    boxes = np.round(rng.random((n, 4)) * [500, 400, 120, 90] + [0, 0, 2, 2], 2)
    with open(folder / "instances.json", "w") as file:
        images = [{"id": i + 1, "file_name": f"{i:06d}.jpg", "width": 640, "height": 480} for i in range(n_images)]
        file.write('{"images": ' + json.dumps(images) + ', "categories": ')
        file.write(json.dumps([{"id": 3 * k + 1, "name": f"class {k}"} for k in range(80)]) + ', "annotations": [')
        for i, (x, y, w, h) in enumerate(boxes.tolist()):
            polygon = [x, y, x + w, y, x + w, y + h, x + w / 2, y + h, x, y + h, x, y + h / 2]
            row = {
                "id": i + 1, "image_id": i // 8 + 1, "category_id": 3 * (i % 80) + 1, "iscrowd": 0,
                "bbox": [x, y, w, h], "area": round(w * h, 2), "segmentation": [[round(v, 2) for v in polygon]],
            }  # fmt: skip
            file.write((", " if i else "") + json.dumps(row))
        file.write("]}")
    return folder / "instances.json"


OURS = "import sys; from eyewright.data import open_dataset; print(open_dataset({path!r}).describe(), file=sys.stderr)"
THEIRS = "import sys; from pycocotools.coco import COCO; print(len(COCO({path!r}).anns), file=sys.stderr)"


def measured(code: str) -> tuple[float, float]:
    """Seconds and peak MB of a fresh process."""
    wrapped = (
        f"import time, resource; t = time.perf_counter(); {code}; "
        "print('RESULT', time.perf_counter() - t, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", wrapped], capture_output=True, text=True, check=True)
    print(done.stderr.strip().splitlines()[-1])
    _, seconds, memory = next(line for line in done.stdout.splitlines() if line.startswith("RESULT")).split()
    return float(seconds), float(memory)


def detections(n: int, rng: np.random.Generator) -> tuple[list, list, int]:
    from eyewright.metrics.matching import Detected

    found, truth, n_classes = [], [], 80
    for _ in range(n // 20):
        sides = np.exp(rng.uniform(np.log(8), np.log(200), (10, 2)))
        corner = rng.random((10, 2)) * 400
        boxes = np.concatenate([corner, corner + sides], 1)
        labels = rng.integers(0, n_classes, 10)
        truth.append(Detected(boxes, labels, crowd=np.zeros(10, bool)))
        moved = boxes + rng.normal(0, 0.08, (10, 4)) * np.tile(sides, 2)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        stray = rng.random((10, 2)) * 400
        every = np.concatenate([moved, np.concatenate([stray, stray + 40], 1)])
        answers = np.concatenate([labels, rng.integers(0, n_classes, 10)])
        found.append(Detected(every, answers, rng.random(20).round(4)))
    return found, truth, n_classes


def as_coco(found: list, truth: list, n_classes: int) -> tuple[dict, list[dict]]:
    """Return the true objects as a COCO dataset, and what was found as COCO results."""

    def rows(objects: list) -> list[dict]:
        return [
            {
                "id": 0, "image_id": i, "category_id": int(label), "iscrowd": 0, "score": float(score),
                "bbox": [*box[:2], *(box[2:] - box[:2])], "area": float((box[2:] - box[:2]).prod()),
            }
            for i, o in enumerate(objects)
            for box, label, score in zip(o.boxes, o.labels, o.scores if o.scores is not None else o.labels, strict=True)
        ]  # fmt: skip

    annotations = [{**row, "id": k + 1} for k, row in enumerate(rows(truth))]
    images = [{"id": i} for i in range(len(truth))]
    categories = [{"id": c, "name": f"class {c}"} for c in range(n_classes)]
    return {"images": images, "annotations": annotations, "categories": categories}, rows(found)


def theirs(found: list, truth: list, n_classes: int) -> tuple[float, list[float]]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset, results = as_coco(found, truth, n_classes)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        started = time.perf_counter()
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return time.perf_counter() - started, evaluation.stats.tolist()


FASTER = """
import contextlib, io, json, sys, time
from faster_coco_eval import COCO, COCOeval_faster
with open(sys.argv[1]) as file:
    dataset, results = json.load(file)
with contextlib.redirect_stdout(io.StringIO()):
    coco = COCO(dataset)
    evaluation = COCOeval_faster(coco, coco.loadRes(results), "bbox", print_function=lambda *_: None)
    started = time.process_time()
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    spent = time.process_time() - started
print(json.dumps([spent, [float(v) for v in evaluation.stats[:12]]]))
"""


def compare_faster(python: str, found: list, truth: list, n_classes: int, *, rounds: int = 5) -> None:
    """Print the CPU-seconds of the twelve numbers without intervals, ours and faster-coco-eval's, alternating."""
    from eyewright.metrics.detection import COCO_METRICS, _numbers
    from eyewright.metrics.matching import match_detections

    own, other = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detections.json"
        path.write_text(json.dumps(as_coco(found, truth, n_classes)))
        for _ in range(rounds):
            started = time.process_time()
            numbers = _numbers(match_detections(found, truth, n_classes), np.ones((1, len(truth))), full=True)
            own.append(time.process_time() - started)
            done = subprocess.run([python, "-c", FASTER, str(path)], capture_output=True, text=True, check=True)
            spent, theirs = json.loads(done.stdout.splitlines()[-1])
            other.append(spent)
    apart = max(abs(float(numbers[k][0]) - v) for k, v in zip(COCO_METRICS, theirs, strict=True))
    ratios = np.array(other) / np.array(own)
    print(
        f"without intervals, CPU-seconds (n={rounds}): ours {np.median(own):.2f}, "
        f"faster-coco-eval {np.median(other):.2f}"
    )
    print(f"ours is {np.median(ratios):.2f} times as fast ({ratios.min():.2f}-{ratios.max():.2f}); apart {apart:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--annotations", type=int, default=1_000_000)
    parser.add_argument("--detections", type=int, default=100_000)
    parser.add_argument("--faster", metavar="PYTHON", help="interpreter of an environment with faster-coco-eval")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = write_file(Path(folder), options.annotations, rng)
        print(f"{options.annotations} annotations, {path.stat().st_size / 1e6:.0f} MB")
        for name, code in (("ours", OURS), ("pycocotools", THEIRS)):
            seconds, memory = measured(code.format(path=str(path)))
            print(f"reading, {name}: {seconds:.1f} s, {memory:.0f} MB at most")
    from eyewright.metrics.detection import COCO_METRICS, detection_metrics

    found, truth, n_classes = detections(options.detections, rng)
    started = time.perf_counter()
    ours = detection_metrics(found, truth, n_classes, rng=np.random.default_rng(0))
    own = time.perf_counter() - started
    other, numbers = theirs(found, truth, n_classes)
    own_numbers = [ours[k].value if ours[k].value is not None else -1.0 for k in COCO_METRICS]
    apart = float(np.abs(np.array(own_numbers) - numbers).max())
    print(f"metrics on {options.detections} detections: ours with intervals {own:.1f} s, pycocotools {other:.1f} s")
    print(f"largest difference of the twelve numbers: {apart:.1e}; AP {ours['ap']}, AP50 {ours['ap50']}")
    if options.faster:
        compare_faster(options.faster, found, truth, n_classes)
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


if __name__ == "__main__":
    main()
