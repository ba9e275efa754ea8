import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.core.report import Finding
from eyewright.data import Group, Grouping, Proposal, audit_dataset, find_leaks, open_dataset, scan_dataset
from eyewright.data.agreement import best_turn
from eyewright.data.grouped import find_groups
from eyewright.imaging import encode_image


def blocks(rng: np.random.Generator, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    few = rng.integers(40, 216, (size[0] // 8, size[1] // 8, 3)).astype(np.uint8)
    return np.kron(few, np.ones((8, 8, 1), np.uint8))


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(pixels))


def of(folder: Path, *codes: str, grouping: Grouping | None = None) -> list[Finding]:
    data = open_dataset(folder)
    found = audit_dataset(data, scan_dataset(data, quiet=True), grouping)
    return [f for f in found if f.code in codes]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, n in (("train", 12), ("test", 10)):
        for name in ("bolt", "nut"):
            for i in range(n):
                put(tmp_path / part / name / f"{i:02d}.png", blocks(rng))
    return tmp_path


def test_a_group_is_one_finding_and_not_one_a_pair(photos: Path) -> None:
    for k in range(4):
        put(photos / "train/nut" / f"copy{k}.png", np.asarray(Image.open(photos / "train/nut/00.png")))
    (found,) = of(photos, "duplicate", "near_duplicate")
    assert len(found.paths) == 5
    assert "keep one and remove the other 4" in found.fix


def test_a_leak_names_what_to_remove_from_train_and_leaves_test(photos: Path) -> None:
    for k in range(2):
        put(photos / "train/nut" / f"copy{k}.png", np.asarray(Image.open(photos / "test/nut/00.png")))
    (found,) = of(photos, "leak")
    assert found.severity == "error"
    assert set(found.paths) == {"train/nut/copy0.png", "train/nut/copy1.png", "test/nut/00.png"}
    assert "from train" in found.fix
    assert "test/nut" not in found.fix


def test_the_heaviest_groups_come_first_when_the_list_is_cut(photos: Path) -> None:
    rng = np.random.default_rng(7)
    for k, n in enumerate((2, 5, 3)):
        image = blocks(rng)
        for i in range(n):
            put(photos / "train/bolt" / f"g{k}_{i}.png", image)
    data = open_dataset(photos)
    scan = scan_dataset(data, quiet=True)
    assert [len(f.paths) for f in audit_dataset(data, scan) if f.code == "duplicate"] == [5, 3, 2]
    cut = [f for f in audit_dataset(data, scan, most=2) if f.code == "duplicate"]
    assert [len(f.paths) for f in cut] == [5, 0]
    assert "2 more" in cut[1].message


def test_a_copy_across_classes_is_a_question_of_labels(photos: Path) -> None:
    put(photos / "train/bolt/other.png", np.asarray(Image.open(photos / "train/nut/00.png")))
    found = of(photos, "conflicting_labels", "duplicate", "near_duplicate")
    assert [f.code for f in found] == ["conflicting_labels"]
    assert "which class is right" in found[0].fix


def test_mirrored_copies_under_two_classes_may_be_meant(photos: Path) -> None:
    put(photos / "train/bolt/mirror.png", np.asarray(Image.open(photos / "train/nut/00.png"))[:, ::-1])
    data = open_dataset(photos)
    ids = [s.id for s in data.samples]
    pair = tuple(sorted((ids.index("train/bolt/mirror.png"), ids.index("train/nut/00.png"))))
    grouping = Grouping(groups=(Group("copy", pair, "mirrored"),))
    (found,) = of(photos, "conflicting_labels", grouping=grouping)
    assert found.severity == "note"
    assert "direction" in found.fix


def test_a_series_is_a_note_with_nothing_to_do(photos: Path) -> None:
    grouping = Grouping(groups=(Group("series", (0, 1, 2), "frames 0 to 2"),))
    (found,) = of(photos, "series", "near_duplicate", grouping=grouping)
    assert (found.code, found.severity) == ("series", "note")
    assert "frames 0 to 2" in found.message
    assert found.fix.startswith("nothing")


def test_a_series_over_a_given_split_is_a_warning_because_its_frames_are_no_copies(photos: Path) -> None:
    data = open_dataset(photos)
    last = len(data) - 1
    assert {data.samples[0].split, data.samples[last].split} == {"train", "test"}
    grouping = Grouping(groups=(Group("series", (0, last), "frames"),))
    found = audit_dataset(data, scan_dataset(data, quiet=True), grouping)
    assert [f.severity for f in found if f.code == "leak"] == ["warning"]
    assert not find_leaks(found)


def test_a_copy_within_a_series_over_a_given_split_is_still_an_error(photos: Path) -> None:
    few = Image.fromarray(np.random.default_rng(5).integers(40, 216, (8, 12, 3)).astype(np.uint8))
    pixels = np.asarray(few.resize((96, 64), Image.Resampling.BICUBIC))
    put(photos / "train/nut/00.png", pixels)
    put(photos / "test/nut/copy.png", (pixels * 0.8 + 5).astype(np.uint8))
    data = open_dataset(photos)
    grouping = Grouping(groups=(Group("series", tuple(range(len(data))), "frames"),))
    (found,) = find_leaks(audit_dataset(data, scan_dataset(data, quiet=True), grouping))
    assert set(found.paths) == {"train/nut/00.png", "test/nut/copy.png"}


def test_identical_images_within_a_stated_group_are_still_found(photos: Path) -> None:
    put(photos / "train/nut/again.png", np.asarray(Image.open(photos / "train/nut/00.png")))
    data = open_dataset(photos)
    members = tuple(i for i, s in enumerate(data.samples) if s.split == "train")
    found = of(photos, "duplicate", grouping=Grouping(groups=(Group("given", members, "stated"),)))
    assert [len(f.paths) for f in found] == [2]


def test_a_proposal_gives_its_evidence_and_the_option(photos: Path) -> None:
    proposal = Proposal("--group-by '^(\\d+)'", "images of one number are more alike", 4, 12, 0.001, ((0, 1),))
    (found,) = of(photos, "proposal", grouping=Grouping(proposals=(proposal,)))
    assert "images of one number are more alike" in found.message
    assert "--group-by '^(\\d+)'" in found.fix
    assert len(found.paths) == 2


def test_blank_images_are_no_copies_of_each_other(photos: Path) -> None:
    for k, value in enumerate((0, 0, 255, 90)):
        put(photos / "train/nut" / f"blank{k}.png", np.full((64, 96, 3), value, np.uint8))
    assert Counter(f.code for f in of(photos, "blank", "duplicate", "near_duplicate")) == {"blank": 4}
    said = {f.message for f in of(photos, "blank")}
    assert said == {"every pixel is black", "every pixel is white", "every pixel is one grey (90)"}


def test_a_small_thing_on_a_plain_ground_is_not_blank(photos: Path) -> None:
    image = np.full((512, 512, 3), 255, np.uint8)
    image[250:270, 250:270] = 0
    put(photos / "train/nut/dot.png", image)
    assert of(photos, "blank") == []


def test_an_image_whose_end_was_lost_is_named_but_a_grey_ground_is_not(photos: Path) -> None:
    rng = np.random.default_rng(3)
    cut, grey = blocks(rng), np.full((64, 96, 3), 128, np.uint8)
    cut[40:] = 128
    grey[20:40, 30:60] = 20
    put(photos / "train/nut/cut.png", cut)
    put(photos / "train/nut/grey.png", grey)
    assert [f.path for f in of(photos, "truncated")] == ["train/nut/cut.png"]


def test_the_way_a_copy_is_laid_is_found() -> None:
    a = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    for k in range(4):
        for laid in (np.rot90(a, k), np.rot90(a, k)[:, ::-1]):
            turn, score = best_turn(a, laid)
            assert score > 0.999
            assert (turn.apply(laid) == a).all()


def street(folder: Path, masks: list[np.ndarray], images: list[np.ndarray]) -> Path:
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        put(folder / "images" / f"{i}.png", image)
        put(folder / "masks" / f"{i}.png", mask)
    (folder / "classes.txt").write_text("road\nsky\ncar\n")
    return folder


def test_a_car_that_has_come_is_no_conflict_but_one_that_is_not_marked_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    scene = blocks(rng, (128, 192))
    empty = np.zeros((128, 192), np.uint8)
    empty[:50] = 1
    car = empty.copy()
    car[80:104, 40:80] = 2
    with_car = scene.copy()
    with_car[80:104, 40:80] = 255 - with_car[80:104, 40:80]
    pair = Grouping(groups=(Group("copy", (0, 1), "nearly the same pixels"),))
    came = street(tmp_path / "came", [empty, car], [scene, with_car])
    assert of(came, "conflicting_labels", grouping=pair) == []
    slightly = np.clip(scene.astype(int) + 3, 0, 255).astype(np.uint8)
    missed = street(tmp_path / "missed", [empty, car], [scene, slightly])
    (found,) = of(missed, "conflicting_labels", grouping=pair)
    assert "'car' overlaps by 0%" in found.message


def detection(folder: Path, second: list[list[float]], category: int = 1) -> list[Finding]:
    rng = np.random.default_rng(5)
    scene = blocks(rng, (128, 192))
    put(folder / "images/a.png", scene)
    put(folder / "images/b.png", np.clip(scene.astype(int) + 2, 0, 255).astype(np.uint8))
    first = {"id": 0, "image_id": 0, "category_id": 1, "bbox": [40, 40, 40, 30]}
    rest = [{"id": k + 1, "image_id": 1, "category_id": category, "bbox": b} for k, b in enumerate(second)]
    content = {
        "images": [{"id": 0, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}],
        "annotations": [first, *rest],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "truck"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    grouping = Grouping(groups=(Group("copy", (0, 1), "nearly the same pixels"),))
    return of(folder, "conflicting_labels", grouping=grouping)


def test_boxes_of_copies_are_compared_by_overlap(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    assert detection(tmp_path / "a", [[42, 41, 39, 30]]) == []
    assert "is not marked" in detection(tmp_path / "b", [])[0].message
    assert "'car' in one and 'truck'" in detection(tmp_path / "c", [[40, 40, 40, 30]], category=2)[0].message


def test_a_rule_hides_no_copy_in_two_parts_and_no_conflict_of_classes(photos: Path) -> None:
    image = np.asarray(Image.open(photos / "test/nut/00.png"))
    other = np.asarray(Image.open(photos / "train/nut/01.png"))
    put(photos / "train/nut/darker.png", image // 4 * 4 + 2)
    put(photos / "train/bolt/copy.png", other // 4 * 4 + 2)
    data = open_dataset(photos)
    scan = scan_dataset(data, quiet=True)
    everything = Grouping("x", (Group("rule", tuple(range(len(data))), "one key of --group-by"),))
    found = audit_dataset(data, scan, everything)
    (leak,) = find_leaks(found)
    assert set(leak.paths) == {"train/nut/darker.png", "test/nut/00.png"}
    (conflict,) = (f for f in found if f.code == "conflicting_labels")
    assert set(conflict.paths) == {"train/bolt/copy.png", "train/nut/01.png"}
    assert not [f for f in found if f.code == "near_duplicate"]


def test_copies_within_a_group_that_the_user_named_are_found(photos: Path) -> None:
    pixels = Image.open(photos / "train/nut/00.png")
    pixels.resize((120, 80)).save(photos / "train/nut/00-small.png")
    data = open_dataset(photos)
    scan = scan_dataset(data, quiet=True)
    grouping = find_groups(data, scan, group_by=r"/(\d\d)[^/]*$")
    (found,) = (f for f in audit_dataset(data, scan, grouping) if f.code == "near_duplicate")
    assert set(found.paths) == {"train/nut/00.png", "train/nut/00-small.png"}


def test_every_warning_about_groups_names_an_option(photos: Path) -> None:
    for rule in ("none", r"^train/(nut)|/(0)"):
        data = open_dataset(photos)
        scan = scan_dataset(data, quiet=True)
        found = audit_dataset(data, scan, find_groups(data, scan, group_by=rule))
        fixes = [f.fix for f in found if f.code == "grouping"]
        assert fixes
        assert all("--group-by" in fix and "see --group-by" not in fix for fix in fixes)


def test_many_drawings_are_said_to_hide_their_groups(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(60):
        picture = np.full((64, 64, 3), 255, np.uint8)
        y, x = rng.integers(4, 30, 2)
        picture[y : y + 24, x : x + 24] = rng.integers(0, 200, 3)
        put(tmp_path / "ab"[i % 2] / f"{rng.bytes(4).hex()}.png", picture)
    notes = [f for f in of(tmp_path, "grouping") if f.severity == "note"]
    assert len(notes) == 1
    assert "--group-by folder" in notes[0].fix
