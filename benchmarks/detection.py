"""Train the default detector from scratch in a budget, measure it on the test part, and time the bundle.

    python benchmarks/detection.py [DATA] [--budget 19m] [--out DIR]

DATA is any detection dataset with its own test part, `../shared/data/bccd` by default. It prints the test part's AP50
and AP50:95 with their intervals by our metrics and by pycocotools, the parity gate's finding on every validation
image, and images a second of the bundle on two cores: prepared, run, decoded, suppressed.
"""

import argparse
import contextlib
import io
import os
import tempfile
import time
from pathlib import Path

import numpy as np

import eyewright as ew

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data")) / "bccd"


def coco_numbers(bundle: ew.Bundle, dataset: ew.Dataset) -> tuple[float, float]:
    """AP50:95 and AP50 by pycocotools, from the bundle's boxes in source pixels."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from eyewright.core.predictor import predict_everything
    from eyewright.tasks.box_results import true_objects

    truth, found = [], []
    dataset = dataset.relabelled(bundle.labels)
    for i in range(len(dataset)):
        image = dataset.image(i)
        real = true_objects(dataset, i, image.shape[:2], outlined=False)
        for box, label, crowd, area in zip(real.boxes, real.labels, real.crowd, real.area(), strict=True):
            row = {"image_id": i, "category_id": int(label), "bbox": [*box[:2], *(box[2:] - box[:2])]}
            truth.append({**row, "id": len(truth) + 1, "iscrowd": int(crowd), "area": float(area)})
        one = predict_everything(bundle, [image])[0]
        for box, label, score in zip(one.boxes_xyxy.astype(float), one.label_ids, one.scores, strict=True):
            row = {"image_id": i, "category_id": int(label), "bbox": [*box[:2], *(box[2:] - box[:2])]}
            found.append({**row, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(dataset))],
            "annotations": truth,
            "categories": [{"id": i} for i in range(len(bundle.labels))],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def images_a_second(bundle: ew.Bundle, images: list[np.ndarray], rounds: int = 5) -> list[float]:
    rates = []
    for _ in range(rounds):
        started = time.perf_counter()
        for image in images:
            bundle.predict_images([image])
        rates.append(len(images) / (time.perf_counter() - started))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--budget", default="19m")
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    out = Path(options.out or tempfile.mkdtemp()) / "run"
    started = time.monotonic()
    done = ew.run(options.data, task="detect", budget=options.budget, out=out, say=print)
    print(f"everything: {(time.monotonic() - started) / 60:.1f} minutes")
    for name in ("ap50", "ap", "ap75", "recall", "precision"):
        print(f"{name:10} {done.report.metrics[name]}")
    for row in done.report.per_class:
        print(f"  {row['label']:20} AP50 {row['ap50']['value']:.3f}  AP {row['ap']:.3f}  n {row['n']}")
    test = ew.load_dataset(options.data, task="detect").test
    ap, ap50 = coco_numbers(done.bundle, test)
    print(f"pycocotools on the bundle's boxes: AP50 {ap50:.4f}, AP50:95 {ap:.4f}")
    print(f"parity: {done.parity}")
    images = [test.image(i) for i in range(min(64, len(test)))]
    rates = images_a_second(done.bundle, images)
    height, width = done.bundle.preparation.size_hw
    print(f"bundle at {width}x{height}: {np.median(rates):.0f} images/s ({min(rates):.0f} to {max(rates):.0f})")


if __name__ == "__main__":
    main()
