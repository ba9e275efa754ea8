"""Fixtures: small real-looking data drawn here, and one trained run with its bundle for a whole session."""

import compileall
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import eyewright
from eyewright.imaging import encode_image

SHARED = Path(os.environ.get("EYEWRIGHT_DATA", Path(__file__).parents[2] / "shared" / "data"))

# Busy machines are slow, and a test must say the same on every one.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once: where Python may not write bytecode (PYTHONDONTWRITEBYTECODE), each program that a test
    starts would compile it again, which takes as long as what it does."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(eyewright.__file__).parent, quiet=2)


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """Return what a whole `run` made, given the folder to write to. Of the processes of pytest-xdist the first makes
    it, and the others get a copy of the folder, so that none writes where another reads."""
    place = factory.mktemp("runs") / name
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make(place)
    from filelock import FileLock

    from eyewright.lifecycle.whole import RunResult

    shared = factory.getbasetemp().parent / f"made-{name}"
    with FileLock(f"{shared}.lock"):
        if not (shared / "rest").is_file():
            made = make(place)
            shutil.rmtree(shared, ignore_errors=True)
            shutil.copytree(place, shared / "run")
            inside = {name: path.relative_to(place.resolve()) for name, path in made.paths.items()}
            (shared / "rest").write_bytes(pickle.dumps((made.report, made.parity, made.findings, inside)))
            return made
    shutil.copytree(shared / "run", place)
    report, parity, findings, inside = pickle.loads((shared / "rest").read_bytes())
    paths = {name: place.resolve() / path for name, path in inside.items()}
    bundle = eyewright.load_bundle(paths["bundle"]) if "bundle" in paths else None
    return RunResult(eyewright.load_run(place), bundle, report, parity, findings, paths)


def draw_shape(kind: str, rng: np.random.Generator, *, side: int = 32) -> np.ndarray:
    """Draw a disc, a square or a cross of random place, size and colour on a noisy ground, uint8 (side, side, 3)."""
    image = rng.integers(0, 70, (side, side, 3)).astype(np.uint8)
    radius = rng.integers(side // 5, side // 3)
    y, x = rng.integers(radius + 1, side - radius - 1, 2)
    rows, columns = np.mgrid[0:side, 0:side]
    dy, dx = np.abs(rows - y), np.abs(columns - x)
    mask = {
        "disc": dy**2 + dx**2 <= radius**2,
        "square": np.maximum(dy, dx) <= radius * 0.8,
        "cross": (np.minimum(dy, dx) <= max(1, radius // 4)) & (np.maximum(dy, dx) <= radius),
    }[kind]
    image[mask] = rng.integers(150, 256, 3)
    return image


def write_shapes(folder: Path, *, a_class: int = 24, seed: int = 0, side: int = 32) -> Path:
    """Write an ImageFolder of shapes."""
    rng = np.random.default_rng(seed)
    for kind in ("cross", "disc", "square"):
        for i in range(a_class):
            place = folder / kind / f"{i:03d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(encode_image(draw_shape(kind, rng, side=side)))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright; one for each file of tests, since asyncio may run in others."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Debian's chromium is not installed")
    play = pytest.importorskip("playwright.sync_api").sync_playwright
    with play() as playing:
        opened = playing.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder of 3 classes, 24 images each, 32x32."""
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="session")
def finished(shapes: Path, tmp_path_factory: pytest.TempPathFactory):
    """A whole `run` on the shapes, once a session. Do not write into it; `bundle_copy` is for that."""
    return _made_once(tmp_path_factory, "shapes", lambda out: eyewright.run(shapes, out=out, epochs=6, batch=16))


@pytest.fixture(scope="session")
def wide(finished, tmp_path_factory: pytest.TempPathFactory):
    """The finished run exported with 252 validation images: enough for every test of trust. Do not write into it."""
    import eyewright as ew

    place = tmp_path_factory.mktemp("wide")
    data = ew.load_dataset(write_shapes(place / "more", a_class=84, seed=3))
    whole = replace(data, samples=tuple(replace(s, split="val") for s in data.samples))
    return ew.export(finished.run, place / "wide", validation=whole)


@pytest.fixture
def bundle_copy(finished, tmp_path: Path) -> Path:
    """A copy of the finished bundle that a test may damage."""
    target = tmp_path / "copy.bundle"
    shutil.copytree(finished.paths["bundle"], target)
    return target


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared real data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED}; set EYEWRIGHT_DATA")
    return SHARED


def draw_scene(rng: np.random.Generator, *, side: int = 96) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """Draw one to four shapes on a noisy ground; give the image, uint8 (side, side, 3), and each shape's kind and
    visible pixels, bool (side, side)."""
    image = rng.integers(0, 70, (side, side, 3)).astype(np.uint8)
    owner = np.zeros((side, side), int)
    kinds = []
    for k in range(1, int(rng.integers(1, 5)) + 1):
        kind = ("cross", "disc", "square")[int(rng.integers(3))]
        radius = int(rng.integers(8, 18))
        y, x = rng.integers(radius + 1, side - radius - 1, 2)
        rows, columns = np.mgrid[0:side, 0:side]
        dy, dx = np.abs(rows - y), np.abs(columns - x)
        mask = {
            "disc": dy**2 + dx**2 <= radius**2,
            "square": np.maximum(dy, dx) <= radius * 0.8,
            "cross": (np.minimum(dy, dx) <= max(1, radius // 4)) & (np.maximum(dy, dx) <= radius),
        }[kind]
        if (mask & (owner > 0)).sum() > 0.2 * mask.sum():
            continue
        image[mask] = rng.integers(150, 256, 3)
        owner[mask] = k
        kinds.append((k, kind))
    return image, [(kind, owner == k) for k, kind in kinds]


def write_scenes(folder: Path, *, parts: dict[str, int], seed: int = 0) -> Path:
    """Write a COCO dataset of shapes, a JSON a part, with run lengths; category ids have gaps and are shuffled."""
    import json

    from eyewright.imaging.rasters import encode_counts

    rng = np.random.default_rng(seed)
    ids = {"square": 3, "cross": 90, "disc": 7}
    for part, n in parts.items():
        images, annotations = [], []
        for i in range(n):
            image, shapes = draw_scene(rng)
            name = f"{part}_{i:03d}.png"
            place = folder / part / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(encode_image(image))
            images.append({"id": 10 * i + 5, "file_name": name, "width": 96, "height": 96})
            for kind, mask in shapes:
                ys, xs = np.nonzero(mask)
                x0, y0, x1, y1 = int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
                annotations.append(
                    {
                        "id": len(annotations) + 1, "image_id": 10 * i + 5, "category_id": ids[kind], "iscrowd": 0,
                        "bbox": [x0, y0, x1 - x0, y1 - y0], "area": int(mask.sum()),
                        "segmentation": {"size": [96, 96], "counts": encode_counts(mask)},
                    }
                )  # fmt: skip
        categories = [{"id": v, "name": k} for k, v in ids.items()]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"instances_{part}.json").write_text(json.dumps(content, indent=1))
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO dataset of shapes with outlines: 48 images to train on, 10 to validate, 14 to test, 96x96."""
    parts = {"train": 48, "val": 10, "test": 14}
    return write_scenes(tmp_path_factory.mktemp("data") / "scenes", parts=parts)


def _scene_run(scenes: Path, tmp_path_factory: pytest.TempPathFactory, task: str, **options):  # type: ignore[no-untyped-def]
    return _made_once(tmp_path_factory, task, lambda out: eyewright.run(scenes, task=task, out=out, **options))


@pytest.fixture(scope="session")
def found(scenes: Path, tmp_path_factory: pytest.TempPathFactory):
    """A whole `run` of detection on the scenes, once a session. Do not write into it."""
    return _scene_run(scenes, tmp_path_factory, "detect", epochs=16, batch=8)


@pytest.fixture(scope="session")
def outlined(scenes: Path, tmp_path_factory: pytest.TempPathFactory):
    """A whole `run` of instance segmentation on the scenes, once a session. Do not write into it."""
    return _scene_run(scenes, tmp_path_factory, "instance", epochs=18, batch=8)


@pytest.fixture(scope="session")
def painted(scenes: Path, tmp_path_factory: pytest.TempPathFactory):
    """A whole `run` of semantic segmentation on the scenes, once a session. Do not write into it."""
    return _scene_run(scenes, tmp_path_factory, "segment", epochs=10, batch=8)


TAGS = ("cross", "disc", "square")


def draw_tags(kinds: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw each shape in a quarter of its own, uint8 (48, 48, 3)."""
    image = rng.integers(0, 70, (48, 48, 3)).astype(np.uint8)
    for kind, quarter in zip(kinds, rng.permutation(4), strict=False):
        row, column = divmod(int(quarter), 2)
        image[24 * row : 24 * row + 24, 24 * column : 24 * column + 24] = draw_shape(kind, rng, side=24)
    return image


@pytest.fixture(scope="session")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 120 images of any number of shapes, 48x48."""
    folder, rng = tmp_path_factory.mktemp("tags") / "data", np.random.default_rng(0)
    folder.mkdir()
    lines = ["path,tags"]
    for i in range(120):
        kinds = tuple(k for k in TAGS if rng.random() < 0.45)
        (folder / f"{i:03d}.png").write_bytes(encode_image(draw_tags(kinds, rng)))
        lines.append(f"{i:03d}.png,{'|'.join(kinds)}")
    (folder / "tags.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def tagged(tags: Path, tmp_path_factory: pytest.TempPathFactory):
    """A whole `run` of tagging, once a session. Do not write into it."""
    return _made_once(
        tmp_path_factory, "tagged", lambda out: eyewright.run(tags, task="tag", out=out, epochs=10, batch=16)
    )


def draw_gauge(level: int, tint: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a dark part of the height `level`, as blue as `tint`, uint8 (24, 24, 3)."""
    image = rng.integers(200, 230, (24, 24, 3)).astype(np.uint8)
    image[24 - level :] = (20, 20, tint)
    return image


@pytest.fixture(scope="session")
def gauges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two quantities of different size: the level of a dark part, and how blue it is."""
    folder, rng = tmp_path_factory.mktemp("gauges"), np.random.default_rng(1)
    rows = ["path,level [mm],tint [%]"]
    for i in range(150):
        level, tint = int(rng.integers(2, 23)), int(rng.integers(0, 200))
        (folder / f"{i}.png").write_bytes(encode_image(draw_gauge(level, tint, rng)))
        rows.append(f"{i}.png,{1000 + 100 * level},{tint / 2}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="session")
def read(gauges: Path, tmp_path_factory: pytest.TempPathFactory):
    """A whole `run` of regression on the gauges, once a session. Do not write into it."""
    asked: dict[str, Any] = {"task": "regress", "epochs": 8, "loss": "huber", "huber_delta": 0.5}
    return _made_once(tmp_path_factory, "gauges", lambda out: eyewright.run(gauges, out=out, **asked))


_GLYPHS = {
    "I": (slice(3, 21), slice(4, 7)),
    "-": (slice(11, 14), slice(2, 10)),
    "L": ((slice(3, 21), slice(2, 5)), (slice(18, 21), slice(2, 10))),
}


def draw_text(text: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a line of I, L and - in cells of 12 pixels, 24 high; a space is an empty cell, uint8 (24, W, 3)."""
    image = rng.integers(205, 235, (24, 12 * len(text), 3)).astype(np.uint8)
    for k, c in enumerate(text):
        parts = _GLYPHS.get(c, ())
        for rows, columns in parts if parts and isinstance(parts[0], tuple) else [parts] * bool(parts):
            image[:, 12 * k : 12 * k + 12][rows, columns] = rng.integers(20, 50)
    return image


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of lines of 1 to 6 characters, "I", "L", "-" and spaces; ten lines are a page."""
    folder, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(4)
    rows = ["path,text,group"]
    for i in range(240):
        text = "".join(rng.choice(list("IL-"), int(rng.integers(1, 6))))
        if i % 5 == 0 and len(text) > 2:
            text = f"{text[:1]} {text[2:]}"
        (folder / f"{i:03d}.png").write_bytes(encode_image(draw_text(text, rng)))
        rows.append(f"{i:03d}.png,{text},page{i // 10}")
    (folder / "lines.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="session")
def lined(texts: Path, tmp_path_factory: pytest.TempPathFactory):
    """A whole `run` of reading on the lines, once a session. Do not write into it."""
    asked: dict[str, Any] = {"task": "read", "epochs": 6, "batch": 8, "lr": 0.004, "augment": "none"}
    return _made_once(tmp_path_factory, "lined", lambda out: eyewright.run(texts, out=out, **asked))


COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "yellow": (230, 220, 50)}


def draw_coloured(k: int) -> np.ndarray:
    """Draw a shape of the k-th colour and kind in turn, uint8 (32, 32, 3)."""
    image = draw_shape(("disc", "square", "cross")[k // 4 % 3], np.random.default_rng(100 + k))
    image[image.max(-1) >= 150] = list(COLOURS.values())[k % 4]
    return image


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 images of coloured shapes with one or two captions each."""
    import json

    folder = tmp_path_factory.mktemp("pairs") / "data"
    folder.mkdir()
    rows = []
    for k in range(96):
        colour, kind = list(COLOURS)[k % 4], ("disc", "square", "cross")[k // 4 % 3]
        (folder / f"{k:03d}.png").write_bytes(encode_image(draw_coloured(k)))
        rows.append({"file_name": f"{k:03d}.png", "text": [f"a {colour} {kind}", f"{kind}, {colour}"][: 1 + k % 2]})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="session")
def paired(pairs: Path, tmp_path_factory: pytest.TempPathFactory):
    """A whole `run` of embedding on the pairs, once a session. Do not write into it."""
    asked: dict[str, Any] = {"task": "embed", "model": "pair_ridge", "quiet": True}
    return _made_once(tmp_path_factory, "paired", lambda out: eyewright.run(pairs, out=out, **asked))


KILLED = b"a decoder ends here by "
_KILLER = """
import os, signal, sys
from PIL import Image

opened = Image.open
spared = {"read_thumbnail", "probe_image"}

def names(frame):
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back

def open_or_die(source, *args, **kwargs):
    content = source.getvalue() if hasattr(source, "getvalue") else b""
    at = content.rfind(KILLED)
    if at >= 0:
        words = content[at + len(KILLED):].decode().split()
        if "later" not in words or not spared & set(names(sys._getframe())):
            os.kill(os.getpid(), getattr(signal, words[0]))
    return opened(source, *args, **kwargs)

Image.open = open_or_die
"""


@pytest.fixture
def killing(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """A function that marks an encoded image: the decoder of a child process that opens it is ended by a signal.

    With `later` it is not ended while the file is looked over, only when its pixels are needed. In this process the
    image is a sound one, so that a read that takes place here is noticed.
    """
    folder = tmp_path_factory.mktemp("killer")
    (folder / "sitecustomize.py").write_text(f"KILLED = {KILLED!r}\n{_KILLER}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    return lambda data, signal="SIGSEGV", later=False: data + KILLED + signal.encode() + b" later" * later


@pytest.fixture
def isolated():
    """Decode in worker processes, as the command line does."""
    from eyewright.imaging import isolation

    isolation.isolate_decoding()
    yield
    isolation.decode_here()
