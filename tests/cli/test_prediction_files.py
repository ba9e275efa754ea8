"""`predict --save coco,yolo,crops` and `predict --review`: what was found, as other tools read it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.test_predicting import write_video

from eyewright.cli import main
from eyewright.core.errors import UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.task import task_names, task_of
from eyewright.imaging import encode_image, read_image
from eyewright.imaging.rasters import decode_counts, parse_counts
from eyewright.tasks.annotated import coco_image, coco_parts, coco_results, crops, yolo_lines
from eyewright.tasks.detect import BoxPrediction
from eyewright.tasks.segment import MaskPrediction
from eyewright.tasks.tag import TagPrediction

LABELS = LabelSpace(("cat", "dog"))
BOXES = BoxPrediction(
    np.array([[2, 1, 6, 4], [0, 0, 3, 3]], np.float32),
    np.array([0.9, 0.4], np.float32),
    np.array([1, 0]),
    LABELS,
    (8, 10),
)
EMPTY = BoxPrediction(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), LABELS, (8, 10))


def _coco(images: list[dict[str, object]]) -> tuple[dict[str, object], list[dict[str, object]]]:
    return json.loads("".join(coco_parts(lambda: images, LABELS.names))), json.loads(
        "".join(coco_results(lambda: images))
    )


def test_boxes_are_x_y_width_height_with_categories_from_1() -> None:
    whole, results = _coco([coco_image(EMPTY, "a.png"), coco_image(BOXES, "sub/b.png")])
    assert whole["images"] == [
        {"id": 1, "file_name": "a.png", "width": 10, "height": 8},
        {"id": 2, "file_name": "sub/b.png", "width": 10, "height": 8},
    ]
    assert whole["categories"] == [{"id": k, "name": n, "supercategory": ""} for k, n in ((1, "cat"), (2, "dog"))]
    assert results == [
        {"image_id": 2, "category_id": 2, "bbox": [2, 1, 4, 3], "score": 0.9},
        {"image_id": 2, "category_id": 1, "bbox": [0, 0, 3, 3], "score": 0.4},
    ]
    assert _coco([]) == ({**whole, "images": [], "annotations": []}, [])


def test_images_keep_the_numbers_that_coco_names_them_with() -> None:
    _, results = _coco([coco_image(BOXES, "000000000139.jpg"), coco_image(BOXES, "000000000285.jpg")])
    assert [r["image_id"] for r in results] == [139, 139, 285, 285]


def test_classes_of_pixels_are_run_lengths_without_the_background() -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 2:5] = 1
    space = LabelSpace(("background", "cat"))
    found = MaskPrediction(mask, np.array([0.9, 0.7], np.float32), space)
    _, results = _coco([coco_image(found, "a.png")])
    (one,) = results
    assert (one["category_id"], one["score"], "bbox" in one) == (2, 0.7, False)
    given = one["segmentation"]
    assert (decode_counts(parse_counts(given["counts"]), tuple(given["size"])) == (mask == 1)).all()


def test_yolo_has_shares_of_the_sides_and_an_empty_file_where_nothing_is() -> None:
    lost: list[str] = []
    assert yolo_lines(BOXES, lost=lost.append) == "1 0.4 0.3125 0.4 0.375\n0 0.15 0.1875 0.3 0.375\n"
    assert yolo_lines(EMPTY, lost=lost.append) == ""
    assert lost == []


def test_a_crop_is_what_the_box_covers_and_never_empty() -> None:
    image = np.arange(8 * 10 * 3, dtype=np.uint8).reshape(8, 10, 3)
    (one, first), (other, _) = crops(BOXES, image)
    assert (one, other) == (1, 0)
    assert (first == image[1:4, 2:6]).all()
    thin = BoxPrediction(
        np.array([[9.9, 7.9, 10, 8]], np.float32), np.ones(1, np.float32), np.array([0]), LABELS, (8, 10)
    )
    assert [c.shape for _, c in crops(thin, image)] == [(1, 1, 3)]


def test_confidence_is_the_lowest_score_that_is_shown() -> None:
    assert BOXES.confidence == pytest.approx(0.4)
    assert EMPTY.confidence is None
    tags = TagPrediction(np.array([0.2, 0.9, 0.45], np.float32), LabelSpace(("a", "b", "c")))
    assert tags.confidence == pytest.approx(0.55)


@pytest.mark.parametrize("option", ["coco", "yolo", "crops", "review"])
def test_what_a_task_does_not_write_is_refused_by_its_declaration(option: str) -> None:
    supported = {name for name in task_names() if option in task_of(name).options}
    assert {"detect", "instance"} <= supported
    for name in set(task_names()) - supported:
        with pytest.raises(UsageError, match="not supported for"):
            task_of(name).require(option)


@pytest.mark.parametrize("name", ["found", "outlined", "painted"])
def test_a_folder_is_written_for_other_tools(
    name: str,
    request: pytest.FixtureRequest,
    scenes_images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys,
) -> None:  # type: ignore[no-untyped-def]
    bundle = str(request.getfixturevalue(name).paths["bundle"])
    save = "coco" if name == "painted" else "coco,yolo,crops"
    monkeypatch.chdir(scenes_images.parent)
    # A relative source and a relative place.
    wanted = ["predict", bundle, "--source", scenes_images.name, "--out", str(tmp_path / "o"), "--save", save]
    assert main([*wanted, "--conf", "0.05", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    whole = json.loads((tmp_path / "o" / "coco" / "annotations.json").read_text())
    results = json.loads((tmp_path / "o" / "coco" / "results.json").read_text())
    assert sorted(p.name for p in (tmp_path / "o" / "coco").iterdir()) == ["annotations.json", "results.json"]
    assert {i["file_name"] for i in whole["images"]} == {"a.png", "sub/b.png"}
    assert (
        len(results)
        == len(whole["annotations"])
        == sum(label != "background" for p in said["predictions"] for label in p["labels"])
    )
    if name == "painted":
        return
    assert (tmp_path / "o" / "labels" / "sub" / "b.txt").is_file()
    assert "names:" in (tmp_path / "o" / "labels" / "data.yaml").read_text()
    lines = sum(len(p.read_text().splitlines()) for p in (tmp_path / "o" / "labels").rglob("*.txt"))
    cuts = list((tmp_path / "o" / "crops").rglob("*.png"))
    assert len(cuts) == lines == len(results)
    assert all(read_image(c).size for c in cuts)
    # Two runs never mix in one folder.
    assert main([*wanted, "--quiet"]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.fixture
def scenes_images(tmp_path: Path) -> Path:
    from tests.conftest import draw_scene

    from eyewright.imaging import write_image

    rng = np.random.default_rng(3)
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for place in ("a.png", "sub/b.png"):
        write_image(folder / place, draw_scene(rng)[0])
    return folder


def test_frames_of_a_video_are_images_of_their_own(found, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    video = write_video(tmp_path / "in.webm", times=(0.0, 0.1))
    out = tmp_path / "o"
    wanted = ["predict", str(found.paths["bundle"]), "--source", str(video), "--out", str(out), "--save", "coco,yolo"]
    assert main([*wanted, "--quiet"]) == 0
    whole = json.loads((out / "coco" / "annotations.json").read_text())
    assert [i["file_name"] for i in whole["images"]] == ["in/frame-0", "in/frame-1"]
    assert sorted(p.name for p in (out / "labels" / "in").iterdir()) == ["frame-0.txt", "frame-1.txt"]


def test_what_is_uncertain_is_sorted_by_confidence(finished, shapes: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "o"
    wanted = ["predict", str(finished.paths["bundle"]), "--source", str(shapes / "disc"), "--out", str(out)]
    assert main([*wanted, "--review", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader((out / "review" / "review.csv").read_text().splitlines()))
    shown = sorted(p["scores"][0] for p in said["predictions"] if p["scores"][0] < 1)
    assert [float(r["confidence"]) for r in rows] == pytest.approx(shown, abs=1e-5)
    assert said["review"] == {"below": 1.0, "n": len(rows), "nothing_found": 0}
    assert sorted(p.name for p in (out / "review").glob("*.png")) == sorted(r["image"] for r in rows)
    assert [r["rank"] for r in rows] == [str(k) for k in range(1, len(rows) + 1)]
    assert (out / "predictions.json").is_file()


def test_photographs_are_annotated_as_jpeg_and_lossless_files_as_png(finished, shapes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    images = tmp_path / "in"
    images.mkdir()
    shape = read_image(shapes / "disc" / "003.png")
    # The content counts, not the name.
    (images / "a.png").write_bytes(encode_image(shape, format="JPEG"))
    (images / "b.png").write_bytes(encode_image(shape))
    out = tmp_path / "o"
    wanted = ["predict", str(finished.paths["bundle"]), "--source", str(images), "--out", str(out), "--quiet"]
    assert main([*wanted, "--save", "images", "--review", "1"]) == 0
    drawn = {p.name: p.read_bytes()[:3] for p in out.iterdir() if p.is_file()}
    assert drawn == {"00000-a.jpg": b"\xff\xd8\xff", "00001-b.png": b"\x89PN"}
    assert {p.suffix for p in (out / "review").glob("0.*")} <= {".jpg", ".png"}


def test_review_without_a_place_and_of_numbers_is_one_line(finished, shapes: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["predict", str(finished.paths["bundle"]), "--source", str(shapes), "--review", "0.6"]) == 2
    assert "--review needs a folder" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--review is not supported for regression"):
        task_of("regress").require("review")


def test_pycocotools_scores_our_results_against_our_annotations_as_perfect(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    scoring = pytest.importorskip("pycocotools.cocoeval")
    mask = np.zeros((8, 10), np.uint8)
    mask[1:3, 2:5] = mask[6, 6] = 1
    pixels = MaskPrediction(mask, np.array([0.9, 0.7], np.float32), LabelSpace(("background", "cat")))
    for found, kind in ((BOXES, "bbox"), (pixels, "segm")):
        rows = [coco_image(found, "a.png"), coco_image(found, "b.png")]
        (tmp_path / "whole.json").write_text("".join(coco_parts(lambda rows=rows: rows, found.label_space.names)))
        (tmp_path / "results.json").write_text("".join(coco_results(lambda rows=rows: rows)))
        truth = coco.COCO(str(tmp_path / "whole.json"))
        scored = scoring.COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), kind)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
        assert scored.stats[0] == pytest.approx(1)
