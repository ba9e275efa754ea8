"""Anonymous images: how many heads and lines of text are hidden, and how many pixels that costs.

    python benchmarks/anonymous.py --data FOLDER

FOLDER is the shared data: `weights/fastestdet_coco_352.onnx` is wrapped as a bundle and searches `coco_cc` and
`mot17_frames`; OpenCV's people detector, the peer, searches the same images. A head is the upper 30 % of the box of a
person in the labels; it counts as hidden when 90 % of it is. Of `sroie_receipts` the lines of text count.

Faces (by `weights/ultraface_rfb_320.onnx`), and heads in a video of people seen from behind, were labelled by hand for
this benchmark: anonymous_labels.csv, from crown to chin, faces without hair. Faces are in photographs of `coco_cc` and
in one frame of each of 20 clips of sign language. The options were chosen on one half: every second image by name; the
first 700 frames. Figures of the other half are those to report. The video is read at every fifth frame, two a second.

Targets: at least 95 % of faces, and of heads in video, of 20 pixels or more; at most 15 % of the pixels hidden.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np

from eyewright.data.formats import open_dataset
from eyewright.imaging import read_image
from eyewright.imaging.sources import open_source
from eyewright.lifecycle import import_onnx, open_any
from eyewright.metrics.binomial import clopper_pearson
from eyewright.processing.anonymous import MARGINS
from eyewright.processing.box_lists import read_box_list
from eyewright.processing.finders import Finder, built_in_finders, heads_of, predictor_finder
from eyewright.processing.hiding import grown_boxes, hidden_mask
from eyewright.processing.remembering import Memory, remembered

# The classes of COCO, of which the first alone counts here.
_OTHERS = tuple(f"class {i}" for i in range(2, 81))
Sample = tuple[np.ndarray, np.ndarray]
_CLIP, _STRIDE, _CHOSEN_ON = "one-by-one-person-detection", 5, 700


def photographs(data: Path) -> list[Sample]:
    """Return photographs with the heads of their persons."""
    dataset = open_dataset(data / "coco_cc", task="detect")
    person, found = dataset.labels.names.index("person"), []
    for i in range(len(dataset)):
        image = dataset.image(i)
        objects = dataset.objects(i, image.shape[:2])
        found.append((image, heads_of(objects.boxes_xyxy[(objects.label_ids == person) & ~objects.crowd])))
    return found


def sequences(data: Path) -> dict[str, list[Sample]]:
    """Return the frames of each sequence with the heads of its pedestrians."""
    found = {}
    for folder in sorted((data / "mot17_frames").glob("MOT17-*")):
        truth = read_box_list(folder / "gt" / "gt.txt", video=True)
        paths = sorted((folder / "img1").glob("*.jpg"))
        found[folder.name] = [(read_image(p), heads_of(truth.at(int(p.stem) - 1).boxes)) for p in paths]
    return found


def labels_by_hand(what: str) -> dict[str, np.ndarray]:
    """Return the boxes of a set of anonymous_labels.csv by image."""
    found: dict[str, list[list[float]]] = {}
    with open(Path(__file__).with_name("anonymous_labels.csv"), newline="") as file:
        for row in csv.DictReader(file):
            if row["set"] == what:
                found.setdefault(row["image"], []).append([float(row[k]) for k in ("x0", "y0", "x1", "y1")])
    return {k: np.array(v) for k, v in found.items()}


def faces(data: Path) -> list[Sample]:
    """Return photographs with persons, and a frame of each clip, with their faces, in the order of their names."""
    found: dict[str, Sample] = {}
    dataset, wanted = open_dataset(data / "coco_cc", task="detect"), labels_by_hand("coco_cc")
    person = dataset.labels.names.index("person")
    for i, sample in enumerate(dataset.samples):
        image, name = dataset.image(i), Path(sample.id).name
        if person in dataset.objects(i, image.shape[:2]).label_ids:
            found[name] = image, wanted.pop(name, np.zeros((0, 4)))
    assert not wanted, f"labels of images that are not there: {sorted(wanted)}"
    for name, boxes in labels_by_hand("asl_gestures").items():
        file, _, number = name.partition("#")
        frames = enumerate(open_source(data / "sample_videos" / "asl_gestures" / file))
        found[name] = next(np.asarray(f.image) for i, f in frames if i == int(number)), boxes
    return [found[k] for k in sorted(found)]


def clip(data: Path) -> list[Sample]:
    """Return every fifth frame of the video with the heads of those that are labelled."""
    wanted = labels_by_hand(_CLIP)
    none = np.zeros((0, 4))
    frames = enumerate(open_source(data / "sample_videos" / f"{_CLIP}.mp4"))
    return [(np.asarray(f.image), wanted.get(str(i), none)) for i, f in frames if i % _STRIDE == 0]


def receipts(data: Path) -> list[Sample]:
    """Return receipts with the boxes of their lines."""
    found = []
    for path in sorted((data / "sroie_receipts" / "img").iterdir()):
        text = (data / "sroie_receipts" / "box" / f"{path.stem}.csv").read_text("utf-8", errors="replace")
        rows = np.array([line.split(",")[:8] for line in text.splitlines() if line.strip()], float)
        xs, ys = rows[:, ::2], rows[:, 1::2]
        found.append((read_image(path), np.stack([xs.min(1), ys.min(1), xs.max(1), ys.max(1)], 1)))
    return found


def show(name: str, samples: list[Sample], boxes: list[np.ndarray], *, least: int = 20, margin: float = 0.1) -> None:
    """Print how many of the wanted boxes are hidden, and the fraction of the pixels."""
    hidden = n = 0
    share = 0.0
    for (image, wanted), own in zip(samples, boxes, strict=True):
        size = image.shape[:2]
        mask = hidden_mask(grown_boxes(own[:, :4], size, margin=margin), size)
        share += float(mask.mean())
        for x0, y0, x1, y1 in grown_boxes(wanted, size, margin=0.0).tolist():
            if min(x1 - x0, y1 - y0) >= least:
                n += 1
                hidden += bool(mask[y0:y1, x0:x1].mean() >= 0.9)
    low, high = clopper_pearson(hidden, n, 0.95)
    print(
        f"{name:52} {hidden:4} of {n:4} hidden, {hidden / n:.1%} [{low:.1%}, {high:.1%}], "
        f"{share / len(samples):.1%} of the pixels",
        flush=True,
    )


def main(data: Path) -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "people.bundle")
        import_onnx(
            data / "weights" / "fastestdet_coco_352.onnx", out=bundle, task="detect", labels=("person", *_OTHERS),
            contract="fastestdet",
        )  # fmt: skip
        ours = predictor_finder(open_any(bundle), "heads", name="FastestDet", least=0.3)
        small = Path(folder, "faces.bundle")
        import_onnx(
            data / "weights" / "ultraface_rfb_320.onnx", out=small, task="detect", labels="face", contract="ultraface"
        )
        face = predictor_finder(open_any(small), "faces", name="UltraFace", least=0.3)
    assert ours is not None
    assert face is not None
    (peer,) = built_in_finders(["heads"])
    (lines,) = built_in_finders(["text"])
    photos = photographs(data)
    for finder in (ours, peer):
        show(f"photographs, heads by {finder.name}", photos, _found(finder, photos))
    show(f"photographs, text by {lines.name}: pixels lost", photos, _found(lines, photos))
    for name, samples in sequences(data).items():
        found = _found(ours, samples)
        show(f"{name}, heads in single frames by {ours.name}", samples, found)
        times = [i / 30 for i in range(len(samples))]
        show(f"{name}, heads with memory", samples, remembered(found, times, Memory()))
        show(f"{name}, heads by {peer.name}", samples, _found(peer, samples))
    pictures = faces(data)
    (cascades,) = built_in_finders(["faces"])
    for k, half in enumerate(("chosen on", "reported")):
        part = pictures[k::2]
        for finder in (face, cascades):
            show(f"faces by {finder.name}, {half}", part, _found(finder, part), margin=MARGINS["faces"])
    frames = clip(data)
    alone = _found(ours, frames)
    held = remembered(alone, [i * _STRIDE / 10 for i in range(len(frames))], Memory(hold=1))
    chosen = _CHOSEN_ON // _STRIDE
    for name, part in (("chosen on", slice(chosen)), ("reported", slice(chosen, None))):
        show(f"video of people from behind, single frames, {name}", frames[part], alone[part])
        show(f"video of people from behind, with memory, {name}", frames[part], held[part])
    pages = receipts(data)
    show(f"receipts, text by {lines.name}", pages, _found(lines, pages), least=1)


def _found(finder: Finder, samples: list[Sample]) -> list[np.ndarray]:
    return [finder.find(image) for image, _ in samples]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    main(parser.parse_args().data)
