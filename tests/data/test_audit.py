import io
import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from eyewright.core.report import Finding
from eyewright.data import FINDING_CODES, audit_dataset, open_dataset, scan_dataset
from eyewright.data.audit import _one_slip, _similar_names
from eyewright.imaging import encode_image


def audit(folder: Path) -> tuple[Finding, ...]:
    data = open_dataset(folder)
    return audit_dataset(data, scan_dataset(data))


def codes(folder: Path) -> Counter[str]:
    return Counter(f.code for f in audit(folder))


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Two classes of 12 different images each: nothing to find."""
    rng = np.random.default_rng(0)
    for kind in ("bolt", "nut"):
        for i in range(12):
            put(tmp_path / kind / f"{i}.png", encode_image(noise(rng)))
    return tmp_path


def noise(rng: np.random.Generator) -> np.ndarray:
    blocks = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_a_clean_set_has_no_findings(clean: Path) -> None:
    assert audit(clean) == ()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("zero.png", b"", "empty file"),
        ("text.jpg", b"not an image", "found text"),
        ("cut.png", None, "cut off"),
        ("huge.bmp", b"BM" + b"\0" * 12 + b"\x28\0\0\0" + b"\xa0\x86\x01\0" * 2 + b"\0" * 40, "over the limit"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_reason(clean: Path, name: str, data: bytes | None, said: str) -> None:
    put(clean / "nut" / name, data if data is not None else (clean / "nut" / "0.png").read_bytes()[:-60])
    (found,) = audit(clean)
    assert (found.code, found.path, found.severity) == ("unreadable", f"nut/{name}", "error")
    assert said in found.message
    assert found.fix


def test_exact_duplicates_and_conflicting_labels(clean: Path) -> None:
    put(clean / "nut" / "copy.png", (clean / "nut" / "0.png").read_bytes())
    put(clean / "bolt" / "wrong.png", (clean / "nut" / "1.png").read_bytes())
    assert codes(clean) == {"duplicate": 1, "conflicting_labels": 1}


@pytest.mark.parametrize("change", ["re-saved", "smaller"])
def test_a_leak_is_found_though_the_file_is_another(tmp_path: Path, change: str) -> None:
    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    for split, n in (("train", 12), ("test", 10)):
        for kind in ("a", "b"):
            for i in range(n):
                put(tmp_path / split / kind / f"{i}.png", encode_image(noise(rng)))
    put(tmp_path / "train/a/photo.png", encode_image(photos[0]))
    copy = Image.fromarray(photos[0])
    if change == "smaller":
        copy = copy.resize((320, 213))
    buffer = io.BytesIO()
    copy.save(buffer, "JPEG", quality=60)
    put(tmp_path / "test/a/other name.jpg", buffer.getvalue())
    leaks = [f for f in audit(tmp_path) if f.code == "leak"]
    assert len(leaks) == 1
    assert leaks[0].severity == "error"
    assert "train/a/photo.png" in leaks[0].path + leaks[0].message
    assert "other name.jpg" in leaks[0].path + leaks[0].message


def test_classes_that_are_empty_tiny_unbalanced_or_misspelt(clean: Path) -> None:
    (clean / "washer").mkdir()
    rng = np.random.default_rng(1)
    for i in range(130):
        put(clean / "scratch" / f"{i}.png", encode_image(noise(rng)))
    put(clean / "scrach" / "1.png", encode_image(noise(rng)))
    put(clean / "Nut " / "1.png", encode_image(noise(rng)))
    found = codes(clean)
    assert found["empty_class"] == 1
    assert found["tiny_class"] == 2
    assert found["imbalance"] == 1
    assert found["label_typo"] == 2


def test_a_short_plural_is_a_typo_and_two_letters_are_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, n in (("nut", 60), ("Nuts", 4), ("ox", 60), ("oxs", 4), ("pin", 60), ("pint", 4)):
        for i in range(n):
            put(tmp_path / name / f"{i}.png", encode_image(noise(rng)))
    (found,) = [f for f in audit(tmp_path) if f.code == "label_typo"]
    assert found.message == "class 'Nuts' (4 images) looks like 'nut' (60) misspelt"


def test_numbered_classes_are_no_typos(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, n in (("character01", 60), ("character02", 10), ("part 7a", 10), ("part 8a", 60)):
        for i in range(n):
            put(tmp_path / name / f"{i}.png", encode_image(noise(rng)))
    assert "label_typo" not in codes(tmp_path)


def test_a_class_that_a_split_lacks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for place in ("train/a", "train/b", "test/a", "test/c"):
        for i in range(11):
            put(tmp_path / place / f"{i}.png", encode_image(noise(rng)))
    missing = [f for f in audit(tmp_path) if f.code == "class_missing_in_split"]
    assert Counter(f.severity for f in missing) == {"error": 1, "warning": 1}


def test_wrong_extensions_odd_sizes_modes_turned_and_animated_files(clean: Path) -> None:
    rng = np.random.default_rng(2)
    put(clean / "nut" / "a.jpg", encode_image(noise(rng)))
    put(clean / "nut" / "big.png", encode_image(np.kron(noise(rng), np.ones((6, 6, 1), np.uint8))))
    put(clean / "nut" / "grey.png", encode_image(noise(rng)[..., 0]))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(rng)).save(clean / "nut" / "turned.png", exif=exif)
    frames = [Image.fromarray(noise(rng)) for _ in range(3)]
    frames[0].save(clean / "nut" / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    expected = {"wrong_extension": 1, "unusual_size": 1, "unusual_mode": 1, "exif_rotated": 1, "animated": 1}
    assert codes(clean) == expected


def test_a_flood_of_findings_is_bounded_and_counted(clean: Path) -> None:
    for i in range(250):
        put(clean / "nut" / f"bad{i}.png", b"")
    found = [f for f in audit(clean) if f.code == "unreadable"]
    assert len(found) == 200
    assert "51 more" in found[-1].message


def test_every_code_is_documented(clean: Path) -> None:
    source = (Path(__file__).parents[2] / "src/eyewright/data/audit.py").read_text()
    import re

    assert set(re.findall(r'Finding\(\s*"(\w+)"', source)) <= set(FINDING_CODES)


def test_the_thumbnails_of_a_large_set_are_not_held_in_memory(monkeypatch, clean: Path) -> None:
    from eyewright.data import scan

    monkeypatch.setattr(scan, "_IN_MEMORY", 10)
    found = scan_dataset(open_dataset(clean))
    assert isinstance(found.thumbnails, np.memmap)
    assert found.thumbnails.any()


@settings(max_examples=60, deadline=None)
@given(st.sets(st.text("abAB1_", min_size=1, max_size=6), min_size=2, max_size=25))
def test_every_pair_of_names_one_slip_apart_is_found(names: set[str]) -> None:
    plain = {n: re.sub(r"[\W_]+", "", n).casefold() for n in names}
    pairs = itertools.combinations(sorted(names), 2)
    slips = {(a, b) for a, b in pairs if plain[a] and (plain[a] == plain[b] or _one_slip(plain[a], plain[b]))}
    assert slips <= _similar_names(plain)
