"""Grouped image sets whose grouping the tool is not told: real ones, and planted ones made of real images.

Every maker writes two datasets as a user would have them, `seen` and `new`, without a group in common, and returns the
true group of every image of `seen` by its path. `benchmarks/coverage.py` uses them.
"""

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

Truth = dict[str, str]


@dataclass(frozen=True)
class GroupedSet:
    """How a set is made, `make(data, folder, rng)`, and what `run` is told of it."""

    about: str
    make: Callable[[Path, Path, np.random.Generator], Truth]
    task: str = "classify"
    metric: str = "accuracy"
    options: Mapping[str, object] = field(default_factory=lambda: {"epochs": 20, "imgsz": 64})


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=92)


def _lit(image: Image.Image, rng: np.random.Generator, by: float) -> Image.Image:
    """Return the image in another light: gain, gamma and white balance, then noise of the sensor."""
    pixels = np.asarray(image.convert("RGB"), np.float32) / 255
    gain = np.exp(rng.normal(0, by, 3) * 0.3 + rng.normal(0, by))
    pixels = np.clip(pixels * gain, 0, 1) ** np.exp(rng.normal(0, by))
    pixels = pixels + rng.normal(0, 0.01, pixels.shape)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))


def _moved(image: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    """Return a window of the image that leaves out up to `share` of each side, at the same size."""
    w, h = image.size
    x, y = rng.uniform(0, share, 2)
    window = (round(x * w), round(y * h), round(w * (1 - share + x)), round(h * (1 - share + y)))
    return image.crop(window).resize((w, h), Image.Resampling.BILINEAR)


def _sides(names: Sequence[str], new: float, rng: np.random.Generator) -> dict[str, str]:
    """Put a share of groups on the side that the tool never sees."""
    order = [names[i] for i in rng.permutation(len(names))]
    count = round(new * len(order))
    return {name: "new" if k < count else "seen" for k, name in enumerate(order)}


def magnetic_tile(data: Path, folder: Path, rng: np.random.Generator) -> Truth:
    rows = list(csv.DictReader((data / "magnetic_tile" / "labels.csv").read_text().splitlines()))
    side: dict[str, str] = {}
    for label in sorted({r["class"] for r in rows}):
        side |= _sides(sorted({r["tile_group"] for r in rows if r["class"] == label}), 0.35, rng)
    truth = {}
    for r in rows:
        image = Image.open(data / "magnetic_tile" / r["split"] / "images" / f"{r['stem']}.jpg")
        name = f"{r['class']}/{r['stem']}.jpg"
        _save(image, folder / side[r["tile_group"]] / name)
        if side[r["tile_group"]] == "seen":
            truth[name] = r["tile_group"]
    return truth


def overhead_actions(data: Path, folder: Path, rng: np.random.Generator) -> Truth:
    import cv2

    rows = list(csv.DictReader((data / "overhead_actions" / "labels.csv").read_text().splitlines()))
    side = _sides(sorted({r["recording"] for r in rows}), 0.35, rng)
    truth = {}
    for number, row in zip(rng.permutation(len(rows)).tolist(), rows, strict=True):
        clip = cv2.VideoCapture(str(data / "overhead_actions" / row["file"]))
        length = int(clip.get(cv2.CAP_PROP_FRAME_COUNT))
        for k in (length // 4, length // 2, 3 * length // 4):
            clip.set(cv2.CAP_PROP_POS_FRAMES, k)
            good, frame = clip.read()
            if not good:
                continue
            name = f"{row['class']}/clip_{number:04d}_f{k:03d}.jpg"
            _save(Image.fromarray(frame[..., ::-1]), folder / side[row["recording"]] / name)
            if side[row["recording"]] == "seen":
                truth[name] = row["recording"]
        clip.release()
    return truth


def _write_coco(
    folder: Path, images: Mapping[str, Image.Image], boxes: Mapping[str, Sequence[tuple[int, Sequence[float]]]],
    names: Sequence[str],
) -> None:  # fmt: skip
    """Write pictures and `boxes`, a class and x, y, width, height each, as COCO."""
    rows, marks = [], []
    for i, (name, image) in enumerate(images.items()):
        _save(image, folder / "images" / name)
        rows.append({"id": i, "file_name": name, "width": image.width, "height": image.height})
        marks += [
            {"image_id": i, "category_id": k + 1, "bbox": list(map(float, b)), "area": float(b[2] * b[3]), "iscrowd": 0}
            for k, b in boxes[name]
        ]
    text = {
        "images": rows,
        "annotations": [{"id": i, **m} for i, m in enumerate(marks)],
        "categories": [{"id": k + 1, "name": n} for k, n in enumerate(names)],
    }
    (folder / "instances.json").write_text(json.dumps(text))


def mot_frames(data: Path, folder: Path, rng: np.random.Generator) -> Truth:
    """A fixed camera sees a ninth of a street scene; the frames of all cameras are numbered as one.

    Of the sequences only the two of MOT17 come with both pixels and boxes: 12 frames, in 18 places.
    """
    places = [(s, y, x) for s in ("MOT17-04-FRCNN", "MOT17-02-FRCNN") for y in range(3) for x in range(3)]
    side = _sides([f"{s} {y}{x}" for s, y, x in places], 0.35, rng)
    truth: Truth = {}
    images: dict[str, dict[str, Image.Image]] = {"seen": {}, "new": {}}
    boxes: dict[str, dict[str, list[tuple[int, list[float]]]]] = {"seen": {}, "new": {}}
    for number in rng.permutation(len(places)).tolist():
        sequence, y, x = places[number]
        folder_of = data / "mot17_frames" / sequence
        marks = np.loadtxt(folder_of / "gt" / "gt.txt", delimiter=",")
        own = side[f"{sequence} {y}{x}"]
        for path in sorted((folder_of / "img1").glob("*.jpg")):
            name = f"frame_{len(images[own]):06d}.jpg"
            images[own][name] = Image.open(path).convert("RGB").crop((640 * x, 360 * y, 640 * x + 640, 360 * y + 360))
            here = marks[(marks[:, 0] == int(path.stem)) & (marks[:, 6] == 1)][:, 2:6]
            boxes[own][name] = []
            for bx, by, bw, bh in here.tolist():
                low = np.maximum([bx - 640 * x, by - 360 * y], 0)
                high = np.minimum([bx + bw - 640 * x, by + bh - 360 * y], [640, 360])
                if (high - low > 8).all() and (high - low).prod() > 0.4 * bw * bh:
                    boxes[own][name].append((0, [*low.tolist(), *(high - low).tolist()]))
            if own == "seen":
                truth[f"images/{name}"] = f"{sequence} {y}{x}"
    for own in ("seen", "new"):
        _write_coco(folder / own, images[own], boxes[own], ["person"])
    return truth


def _sign_digits(data: Path, classes: int, each: int, rng: np.random.Generator) -> list[tuple[str, Path]]:
    found = []
    for k in range(classes):
        paths = sorted((data / "sign_digits").glob(f"*/{k}/*"))
        found += [(str(k), paths[i]) for i in rng.permutation(len(paths))[:each]]
    return found


def bursts(data: Path, folder: Path, rng: np.random.Generator) -> Truth:
    """A scene is one photograph of a hand, shot six times in changing light; the counter runs over all scenes."""
    scenes = _sign_digits(data, 6, 40, rng)
    truth, counter = {}, 1000
    for i in rng.permutation(len(scenes)).tolist():
        label, path = scenes[i]
        side, shots = ("seen", 6) if i % 40 < 9 else ("new", 2)
        image = Image.open(path).convert("RGB")
        for _ in range(shots):
            name = f"{label}/IMG_{counter}.jpg"
            counter += 1
            _save(_lit(_moved(image, rng, 0.04), rng, 0.3), folder / side / name)
            if side == "seen":
                truth[name] = path.stem
    return truth


def _smears(data: Path) -> list[tuple[Path, list[tuple[str, tuple[float, float, float, float]]]]]:
    """Return the pictures of bccd with their boxes: class, x, y, width, height."""
    found = []
    for part in ("train", "val", "test"):
        table = json.loads((data / "bccd" / f"instances_{part}.json").read_text())
        names = {c["id"]: c["name"] for c in table["categories"]}
        boxes = defaultdict(list)
        for mark in table["annotations"]:
            boxes[mark["image_id"]].append((names[mark["category_id"]], tuple(mark["bbox"])))
        for row in table["images"]:
            found.append((data / "bccd" / "images" / row["file_name"], boxes[row["id"]]))
    return found


def patients(data: Path, folder: Path, rng: np.random.Generator) -> Truth:
    """A patient is one blood smear in its own stain; its six slices have the patient's label, names are neutral."""
    smears = _smears(data)
    counts = [sum(k == "RBC" for k, _ in marks) for _, marks in smears]
    middle = float(np.median(counts))
    truth = {}
    chosen = rng.permutation(len(smears))[:160].tolist()
    numbers = iter(rng.permutation(40 * 6 + 120 * 2).tolist())
    for rank, i in enumerate(chosen):
        side, slices = ("seen", 6) if rank < 40 else ("new", 2)
        state = int(rng.integers(1 << 31))
        image = Image.open(smears[i][0]).convert("RGB")
        label = "many" if counts[i] > middle else "few"
        for cell in rng.permutation(12)[:slices].tolist():
            x, y = 160 * (cell % 4), 160 * (cell // 4)
            # The stain is the patient's, so it is drawn from the same state for each of the slices.
            piece = _lit(image.crop((x, y, x + 160, y + 160)), np.random.default_rng(state), 0.12)
            name = f"{label}/slice_{next(numbers):04d}.png"
            _save(piece.resize((80, 80), Image.Resampling.BOX), folder / side / name)
            if side == "seen":
                truth[name] = f"patient {i}"
    return truth


def devices(data: Path, folder: Path, rng: np.random.Generator) -> Truth:
    """A device has its own tint, noise and blur and took photographs of three of six classes; names begin with it."""
    photographs = defaultdict(list)
    for label, path in _sign_digits(data, 6, 150, rng):
        photographs[label].append(path)
    truth = {}
    for device in range(28):
        side, each = ("seen", 8) if device < 14 else ("new", 5)
        tint, noise = np.exp(rng.normal(0, 0.3, 3)), rng.uniform(0, 0.12)
        scale = int(rng.integers(24, 100))
        for label in map(str, rng.permutation(6)[:3].tolist()):
            for k in range(each):
                image = Image.open(photographs[label].pop()).convert("RGB").resize((scale, scale)).resize((100, 100))
                pixels = np.asarray(image, np.float32) / 255 * tint + rng.normal(0, noise, (100, 100, 3))
                name = f"{label}/cam{device:02d}_{rng.integers(90000) + 10000}{k}.jpg"
                _save(Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8)), folder / side / name)
                if side == "seen":
                    truth[name] = f"device {device}"
    return truth


def objects(data: Path, folder: Path, rng: np.random.Generator) -> Truth:
    """An object is seen from six sides, always before its own background; names are neutral."""
    rows = [json.loads(line) for line in (data / "twemoji_text" / "captions.jsonl").read_text().splitlines()]
    scenery = [Image.open(p).convert("RGB") for p in sorted((data / "cid22").rglob("*.png"))]
    truth = {}
    for label in ("animals-nature", "food-drink", "people-body", "travel-places"):
        own = [r for r in rows if r["group"] == label]
        for rank, i in enumerate(rng.permutation(len(own))[:55].tolist()):
            side, views = ("seen", 6) if rank < 15 else ("new", 2)
            icon = Image.open(data / "twemoji_text" / "images" / own[i]["file_name"]).convert("RGBA")
            x, y = rng.integers(0, 512 - 112, 2).tolist()
            background = scenery[rng.integers(len(scenery))].crop((x, y, x + 112, y + 112))
            for _ in range(views):
                left, top = rng.integers(0, 16, 2).tolist()
                view = background.crop((left, top, left + 96, top + 96))
                narrow = round(64 * rng.uniform(0.6, 1))
                turned = icon.resize((narrow, 64)).rotate(rng.uniform(-20, 20), expand=True)
                view.paste(turned, ((96 - turned.width) // 2, (96 - turned.height) // 2), turned)
                name = f"{label}/{rng.integers(1 << 40):010x}.jpg"
                _save(_lit(view, rng, 0.08), folder / side / name)
                if side == "seen":
                    truth[name] = own[i]["file_name"]
    return truth


def clips(data: Path, folder: Path, rng: np.random.Generator) -> Truth:
    """A clip is a slow pan over one blood smear; the frames of all clips are numbered as one."""
    smears, truth = _smears(data), {}
    kinds = ["WBC", "RBC", "Platelets"]
    chosen = rng.permutation(len(smears))[:84].tolist()
    for side, own, frames, speed in (("seen", chosen[:24], 8, 5), ("new", chosen[24:], 2, 5)):
        images: dict[str, Image.Image] = {}
        boxes: dict[str, list[tuple[int, Sequence[float]]]] = {}
        for i in own:
            image = Image.open(smears[i][0]).convert("RGB")
            x, y = int(rng.integers(0, 640 - 320 - 40)), int(rng.integers(0, 480 - 240))
            for k in range(frames):
                at = x + k * speed
                name = f"frame_{len(images):06d}.jpg"
                images[name] = image.crop((at, y, at + 320, y + 240))
                boxes[name] = []
                for kind, (bx, by, bw, bh) in smears[i][1]:
                    low = np.maximum([bx - at, by - y], 0)
                    high = np.minimum([bx + bw - at, by + bh - y], [320, 240])
                    if (high - low > 4).all() and (high - low).prod() > 0.4 * bw * bh:
                        boxes[name].append((kinds.index(kind), [*low.tolist(), *(high - low).tolist()]))
                if side == "seen":
                    truth[f"images/{name}"] = f"clip {i}"
        _write_coco(folder / side, images, boxes, kinds)
    return truth


def tiles(data: Path, folder: Path, rng: np.random.Generator) -> Truth:
    """Overlapping tiles of large pictures, their offsets in the names; the masks are the ellipses in the boxes."""
    smears, truth = _smears(data), {}
    colours = {"RBC": 1, "WBC": 2}
    for rank, i in enumerate(rng.permutation(len(smears))[:80].tolist()):
        side = "seen" if rank < 20 else "new"
        image = Image.open(smears[i][0]).convert("RGB")
        mask = Image.new("L", image.size, 0)
        for kind, (x, y, w, h) in sorted(smears[i][1]):
            if kind in colours:
                ImageDraw.Draw(mask).ellipse((x, y, x + w, y + h), fill=colours[kind])
        places = [(x, y) for x in range(0, 481, 120) for y in range(0, 321, 120)]
        for x, y in places if side == "seen" else [places[k] for k in rng.permutation(len(places))[:3]]:
            stem = f"smear{rank:02d}_x{x:04d}_y{y:04d}"
            for kind, picture in (("images", image), ("masks", mask)):
                _save(picture.crop((x, y, x + 160, y + 160)), folder / side / kind / f"{stem}.png")
            if side == "seen":
                truth[f"images/{stem}.png"] = f"smear {i}"
        (folder / side / "classes.txt").write_text("background\nRBC\nWBC\n")
    return truth


def plates(data: Path, folder: Path, rng: np.random.Generator) -> Truth:
    """A plate has one ink, paper and slant, and twelve wells of two digits; plate and well are in the name."""
    with gzip.open(data / "mnist" / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(data / "mnist" / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    of_label = {k: np.flatnonzero(labels == k) for k in range(10)}
    truth = {}
    for plate in range(90):
        side, wells = ("seen", 12) if plate < 30 else ("new", 6)
        paper, ink = rng.uniform(90, 255, 3), rng.uniform(0, 160, 3)
        slant, turn, blur = rng.uniform(-0.5, 0.5), rng.uniform(-25, 25), rng.integers(14, 29)
        pair = rng.permutation(10)[:2]
        for well in range(wells):
            label = int(pair[well % 2])
            drawn = Image.fromarray(pixels[rng.choice(of_label[label])]).resize((int(blur),) * 2).resize((48, 48))
            drawn = drawn.transform((48, 48), Image.Transform.AFFINE, (1, slant, -24 * slant, 0, 1, 0)).rotate(turn)
            share = np.asarray(drawn, np.float32)[..., None] / 255
            picture = paper * (1 - share) + ink * share + rng.normal(0, 4, (48, 48, 3))
            name = f"{label}/PLT{plate:04d}_W{well:02d}.png"
            _save(Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)), folder / side / name)
            if side == "seen":
                truth[name] = f"plate {plate}"
    return truth


def lone_clips(data: Path, folder: Path, rng: np.random.Generator) -> Truth:
    """One clip a class is all there is: no part of it is new, and no honest interval exists."""
    import cv2

    truth = {}
    for word in ("again", "bird", "book", "brother", "eat", "help"):
        clip = cv2.VideoCapture(str(data / "sample_videos" / "asl_gestures" / f"{word}.mkv"))
        frames = []
        while len(frames) < 60 and (read := clip.read())[0]:
            frames.append(Image.fromarray(read[1][..., ::-1]).resize((128, 96)))
        clip.release()
        for k, frame in enumerate(frames):
            name = f"{word}/{word}_{k:04d}.jpg"
            # There is no second clip: the new thing is the same sign mirrored, in another light.
            _save(frame, folder / "seen" / name)
            truth[name] = word
            if k % 6 == 0:
                other = ImageEnhance.Brightness(frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).enhance(0.6)
                _save(_lit(other, rng, 0.2), folder / "new" / name)
    return truth


_DETECT = {"task": "detect", "metric": "ap50"}
SETS: dict[str, GroupedSet] = {
    "magnetic_tile": GroupedSet("photographs of tiles, by tile", magnetic_tile),
    "overhead_actions": GroupedSet("frames of clips, by recording", overhead_actions),
    "mot_frames": GroupedSet("fixed cameras over streets", mot_frames, **_DETECT, options={"epochs": 20, "imgsz": 256}),
    "bursts": GroupedSet("scenes in bursts of changing light", bursts),
    "patients": GroupedSet("slices of patients, labelled by patient", patients),
    "devices": GroupedSet("cameras with tint and noise of their own", devices),
    "objects": GroupedSet("objects from six sides", objects),
    "clips": GroupedSet("frames of slow pans", clips, **_DETECT, options={"epochs": 12, "imgsz": 192}),
    "tiles": GroupedSet(
        "overlapping tiles of large pictures", tiles, task="segment", metric="miou", options={"epochs": 8, "imgsz": 160}
    ),
    "plates": GroupedSet("series with a counter in the name", plates),
}
"""The ten sets, by name."""

LONE = GroupedSet("one clip a class", lone_clips)
"""A set on which no interval can be honest; it is run apart from the ten."""
