"""What `convert` writes, opened by other people's tools in their own environments: images, boxes and class names.

    python benchmarks/layouts.py --datumaro PYTHON --supervision PYTHON --fiftyone PYTHON

PYTHON is the interpreter of an environment with datumaro, with supervision and pycocotools, or with fiftyone and
pycocotools. Each tool opens the folders unchanged, by its own importer. FiftyOne's importers are iterated without its
database, which needs a MongoDB server. Outlines in YOLO's layout are opened by supervision and FiftyOne; Datumaro's
importer accepts lines of five numbers only (1.13, `plugins/data_formats/yolo/importer.py`). The script ends with 1 if
one of them finds another number of images or objects, or other classes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from eyewright import lifecycle

PARTS, IMAGES = ("train", "val"), 4
EXPECTED = {"images": IMAGES * 2, "objects": IMAGES * 4, "classes": ["big bolt", "nut"]}

DATUMARO = """
import json, logging, sys
logging.disable(logging.CRITICAL)
import datumaro
for folder, name in (("coco", "coco"), ("voc", "voc"), ("yolo", "yolo")):
    data = datumaro.Dataset.import_from(f"{sys.argv[1]}/{folder}", name)
    labels = [c.name for c in data.categories()[datumaro.AnnotationType.label]]
    items = list(data)
    assert all(i.media.data.shape[:2] == (48, 64) for i in items)
    boxes = sum(a.type == datumaro.AnnotationType.bbox for i in items for a in i.annotations)
    classes = [n for n in labels if n != "background"]
    print(json.dumps([folder, {"images": len(items), "objects": boxes, "classes": classes}]))
"""

SUPERVISION = """
import json, sys
from supervision import DetectionDataset as D
from pycocotools.coco import COCO
root, found = sys.argv[1], {}
def put(name, data):
    one = found.setdefault(name, {"images": 0, "objects": 0, "classes": data.classes})
    for _, image, marks in data:
        assert image.shape[:2] == (48, 64)
        one["images"] += 1
        one["objects"] += len(marks)
for part in ("train", "val"):
    file = f"{root}/coco/annotations/instances_{part}.json"
    put("coco", D.from_coco(f"{root}/coco/images/{part}", file, force_masks=True))
    for name, masks in (("yolo", False), ("yolo-outlines", True)):
        folders = f"{root}/{name}/images/{part}", f"{root}/{name}/labels/{part}", f"{root}/{name}/data.yaml"
        put(name, D.from_yolo(*folders, force_masks=masks))
    sys.stdout = sys.stderr
    coco = COCO(file)
    assert all(coco.annToMask(a).any() for a in coco.loadAnns(coco.getAnnIds()))
    sys.stdout = sys.__stdout__
put("voc", D.from_pascal_voc(f"{root}/voc/JPEGImages", f"{root}/voc/Annotations"))
for row in found.items():
    print(json.dumps(row))
"""


FIFTYONE = """
import json, os, sys
os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
from fiftyone.utils.coco import COCODetectionDatasetImporter as Coco
from fiftyone.utils.voc import VOCDetectionDatasetImporter as Voc
from fiftyone.utils.yolo import YOLOv5DatasetImporter as Yolo
root, found = sys.argv[1], {}
def put(name, importer, key="detections", shape=None):
    one = found.setdefault(name, {"images": 0, "objects": 0, "classes": set()})
    with importer:
        for path, _, labels in importer:
            assert os.path.isfile(path)
            marks = labels[key] if isinstance(labels, dict) else getattr(labels, key)
            assert shape is None or all(getattr(m, shape) is not None and len(getattr(m, shape)) for m in marks)
            one["images"] += 1
            one["objects"] += len(marks)
            one["classes"] |= {m.label for m in marks}
for part in ("train", "val"):
    file = f"{root}/coco/annotations/instances_{part}.json"
    coco = Coco(data_path=f"{root}/coco/images/{part}", labels_path=file, label_types=["segmentations"])
    put("coco", coco, shape="mask")
    put("yolo", Yolo(dataset_dir=f"{root}/yolo", yaml_path="data.yaml", split=part))
    outlines = Yolo(dataset_dir=f"{root}/yolo-outlines", yaml_path="data.yaml", split=part, label_type="polylines")
    put("yolo-outlines", outlines, key="polylines", shape="points")
put("voc", Voc(dataset_dir=f"{root}/voc", data_path="JPEGImages", labels_path="Annotations"))
for name, one in found.items():
    print(json.dumps([name, {**one, "classes": sorted(one["classes"])}]))
"""


def make(root: Path) -> Path:
    """Write a COCO dataset of two parts with a rectangle and a triangle in every image."""
    rng = np.random.default_rng(0)
    square, triangle = [10, 10, 30, 10, 30, 25, 10, 25], [40, 20, 50, 20, 50, 30]
    for part in PARTS:
        (root / part).mkdir(parents=True)
        images, marks = [], []
        for i in range(IMAGES):
            Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(root / part / f"{i}.jpg")
            images.append({"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48})
            for k, (box, points) in enumerate((([10, 10, 20, 15], square), ([40, 20, 10, 10], triangle))):
                row = {"id": 2 * i + k, "image_id": i, "category_id": k, "bbox": box, "segmentation": [points]}
                marks.append({**row, "area": 100, "iscrowd": 0})
        classes = [{"id": k, "name": n} for k, n in enumerate(("big bolt", "nut"))]
        content = {"images": images, "annotations": marks, "categories": classes}
        (root / f"instances_{part}.json").write_text(json.dumps(content))
    return root


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datumaro", metavar="PYTHON")
    parser.add_argument("--supervision", metavar="PYTHON")
    parser.add_argument("--fiftyone", metavar="PYTHON")
    given = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        source = make(Path(folder, "source"))
        for name, task in (("coco", "instance"), ("voc", "detect"), ("yolo", "detect"), ("yolo-outlines", "instance")):
            lifecycle.convert(source, to=name.partition("-")[0], out=Path(folder, name), task=task)
        for tool, python, script, expected in (
            ("datumaro", given.datumaro, DATUMARO, 3),
            ("supervision", given.supervision, SUPERVISION, 4),
            ("fiftyone", given.fiftyone, FIFTYONE, 4),
        ):
            if python is None:
                continue
            done = subprocess.run([python, "-c", script, folder], capture_output=True, text=True, check=False)
            rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
            for name, found in rows:
                wrong += found != EXPECTED
                print(f"{tool:12} {name:13} {'same' if found == EXPECTED else found}")
            if done.returncode or len(rows) != expected:
                wrong += 1
                print(f"{tool:12} failed: {done.stderr.strip().splitlines()[-1:]}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
