"""The whole life cycle on boxes, masks and instances: the same verbs as for classes."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.drawn_attacks import check_falls

import eyewright as ew
from eyewright.core.errors import UsageError
from eyewright.metrics.matching import box_overlaps
from eyewright.testing import check_predictor


@pytest.fixture(params=["found", "outlined", "painted"])
def done(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    return request.getfixturevalue(request.param)


def test_a_run_learns_what_is_there(found, outlined, painted) -> None:  # type: ignore[no-untyped-def]
    assert found.report.metrics["ap50"].value > 0.6
    assert outlined.report.metrics["ap50"].value > 0.5
    # Few epochs end elsewhere on another processor: 0.37 to 0.5 were seen.
    assert outlined.report.metrics["pq"].value > 0.25
    assert painted.report.metrics["miou"].value > 0.4
    for one in (found, outlined, painted):
        for metric in one.report.metrics.values():
            assert metric.value is None or metric.low is None or metric.low <= metric.value <= metric.high


def test_a_run_leaves_what_every_run_leaves(done) -> None:  # type: ignore[no-untyped-def]
    for name in ("recipe.toml", "metrics.csv", "log.jsonl", "split.csv", "run.json", "report.html", "report.json"):
        assert (done.paths["run"] / name).stat().st_size > 0
    page = (done.paths["run"] / "report.html").read_text()
    assert "NaN" not in (done.paths["run"] / "report.json").read_text()
    assert page.count("<h2") >= 6
    assert "data:image/" in page
    assert done.bundle.manifest.parity["decisions_changed"] == 0


def test_the_bundle_is_a_predictor_and_answers_as_the_run_does(done, scenes: Path) -> None:  # type: ignore[no-untyped-def]
    check_predictor(done.bundle)
    images = sorted((scenes / "test").glob("*.png"))
    ours, theirs = (
        done.bundle.predict(images[:4]),
        done.run.predictor.predict_images([ew.read_image(i) for i in images[:4]]),
    )
    for a, b in zip(ours, theirs, strict=True):
        assert a.labels == b.labels
        assert a.source.endswith(".png")
        if a.masks is not None:
            assert (np.asarray(a.masks) != np.asarray(b.masks)).sum() <= 1e-3 * np.asarray(a.masks).size


def test_evaluate_of_the_bundle_gives_the_runs_numbers(done, scenes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    report = ew.evaluate(done.bundle, scenes, split="test", out=tmp_path / "report")
    main = {"segment": "miou"}.get(report.task, "ap")
    assert report.metrics[main].value == pytest.approx(done.report.metrics[main].value, abs=1e-3)
    assert json.loads((tmp_path / "report/report.json").read_text())["task"] == done.report.task


def test_a_prediction_is_one_object_in_source_pixels(found, scenes: Path) -> None:  # type: ignore[no-untyped-def]
    image = ew.read_image(next((scenes / "test").glob("*.png")))
    large = np.repeat(np.repeat(image, 3, 0), 2, 1)
    p = found.bundle.predict(large)
    assert p.boxes_xyxy.shape == (len(p), 4)
    assert p.boxes_xyxy[:, 2].max(initial=0) <= 192
    assert list(p.scores) == sorted(p.scores, reverse=True)
    assert set(p.labels) <= {"cross", "disc", "square"}
    row = p.to_json()
    assert (row["width"], row["height"]) == (192, 288)
    assert len(row["boxes_xyxy"]) == len(row["labels"]) == len(row["scores"])
    everything = found.bundle.predict(large, conf=0.02)
    assert len(everything) > len(p)


def test_masks_lie_in_their_boxes_and_travel_as_run_lengths(outlined, painted, scenes: Path) -> None:  # type: ignore[no-untyped-def]
    from eyewright.imaging.rasters import decode_counts, parse_counts

    path = sorted((scenes / "test").glob("*.png"))[1]
    p = outlined.bundle.predict(path, conf=0.2)
    assert p.masks.shape == (len(p), 96, 96)
    for mask, box, row in zip(p.masks, p.boxes_xyxy, p.to_json()["segmentations"], strict=True):
        ys, xs = np.nonzero(mask)
        if len(ys):
            assert xs.min() >= np.floor(box[0])
            assert xs.max() < np.ceil(box[2])
        assert np.array_equal(decode_counts(parse_counts(row["counts"]), (96, 96)), mask)
    q = painted.bundle.predict(path)
    assert q.mask.shape == (96, 96)
    assert q.labels[0] == "background"
    assert sum(q.areas) == pytest.approx(1.0)


def test_tiles_and_mirrors_find_what_the_whole_does(found, painted, scenes: Path) -> None:  # type: ignore[no-untyped-def]
    images = [ew.read_image(p) for p in sorted((scenes / "test").glob("*.png"))[:4]]
    sheet = np.concatenate([np.concatenate(images[:2], 1), np.concatenate(images[2:], 1)])
    tiled = found.bundle.predict(sheet, tile=96, overlap=0.25, conf=0.1)
    alone, again = 0, 0
    for k, image in enumerate(images):
        p = found.bundle.predict(image, conf=0.2)
        # The most confident: how many others there are depends on the processor on which the net was trained.
        confident = p.boxes_xyxy[:3] + np.array([k % 2, k // 2] * 2) * 96
        for box, label in zip(confident, p.label_ids[:3], strict=True):
            overlaps = box_overlaps(box[None], tiled.boxes_xyxy[tiled.label_ids == label])
            alone, again = alone + 1, again + int(overlaps.max(initial=0.0) >= 0.5)
    # What one image shows is seen in its tile; where a tile next to it sees more of it, that answer takes its place.
    assert alone >= 3
    assert again >= 0.7 * alone
    assert tiled.boxes_xyxy.max() > 100
    mirrored = found.bundle.predict(images[0], flip=True)
    assert abs(len(mirrored) - len(found.bundle.predict(images[0]))) <= 2
    mask = painted.bundle.predict(sheet, tile=96).mask
    parts = np.concatenate(
        [np.concatenate([painted.bundle.predict(i).mask for i in images[k : k + 2]], 1) for k in (0, 2)]
    )
    assert (mask == parts).mean() > 0.9
    with pytest.raises(UsageError, match="a tile of 32"):
        found.bundle.predict(sheet, tile=8)


def test_objects_are_explained_with_a_verdict(found, painted, scenes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = sorted((scenes / "test").glob("*.png"))[0]
    several = ew.explain(found.bundle, path, method="occlusion", out=tmp_path)
    assert 1 <= len(several) <= 3
    for one in several:
        assert one.box is not None
        assert one.heat.shape == found.bundle.preparation.size_hw
        y, x = np.unravel_index(int(one.heat.argmax()), one.heat.shape)
        x0, y0, x1, y1 = one.box
        # Where the image speaks for an object is at the object, a window's width about it.
        assert x0 - 24 <= x <= x1 + 24
        assert y0 - 24 <= y <= y1 + 24
    assert len(list(tmp_path.glob("*.png"))) == len(several)
    assert ew.explain(painted.bundle, path, method="occlusion")
    with pytest.raises(UsageError, match="not supported for detection"):
        ew.explain(found.run, path, method="gradcam")


def test_compare_tells_which_detector_is_better(found, painted, scenes: Path) -> None:  # type: ignore[no-untyped-def]
    same = ew.compare(found.run, found.bundle)
    assert same.better == "neither"
    assert same.differences["ap"].value == pytest.approx(0, abs=1e-3)

    class Blind:
        """The bundle, seeing noise."""

        def __init__(self, bundle: ew.Bundle) -> None:
            self.bundle, self.task_name, self.labels = bundle, bundle.task_name, bundle.labels
            self.preparation, self.thresholds, self.decoding = bundle.preparation, bundle.thresholds, bundle.decoding

        def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
            return self.bundle.raw(np.zeros_like(pixels))

        def predict_images(self, images: list[np.ndarray]) -> list:
            return self.bundle.predict_images([np.zeros_like(i) for i in images])

    test = ew.load_dataset(scenes, task="detect").test
    worse = ew.compare(found.bundle, Blind(found.bundle), test, allow_leaks=True)
    assert worse.better == "a"
    assert worse.p_value < 0.05
    masks = ew.load_dataset(scenes, task="segment").test
    assert ew.compare(painted.bundle, Blind(painted.bundle), masks, allow_leaks=True).better == "a"


def test_a_resumed_detector_ends_with_the_same_weights(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyewright.training import loop
    from eyewright.training.checkpoints import read_tensors

    options = {"task": "detect", "epochs": 2, "batch": 8}
    whole = ew.train(scenes, out=tmp_path / "whole", **options)
    # A checkpoint before every step, so that the cut run goes on in the middle.
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)

    def after_first(row: dict) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ew.train(scenes, out=tmp_path / "cut", observe=after_first, **options)
    said: list[str] = []
    again = ew.train(scenes, out=tmp_path / "cut", resume=True, say=said.append, **options)
    assert any(line.startswith("resumed at step") for line in said)
    a, b = (read_tensors(r.folder / "checkpoints/best/model.safetensors")[0] for r in (whole, again))
    assert all(np.array_equal(a[k].numpy(), b[k].numpy()) for k in a)


def test_the_main_metric_falls_under_attack(done, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    check_falls(done.run, tmp_path)


def test_an_attack_on_scenes_needs_the_run_and_is_one(painted, scenes: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="expected a run, whose loss"):
        ew.attack(painted.paths["bundle"], scenes, allow_leaks=True)
    with pytest.raises(UsageError, match="expected --attacks pgd"):
        ew.attack(painted.run.folder, attacks=["square"])
    with pytest.raises(UsageError, match="certify is not supported for"):
        ew.certify(painted.run.folder)
