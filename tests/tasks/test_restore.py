"""What a restorer's arrays mean, and how it is measured."""

import base64
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Answers
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data import open_dataset
from eyewright.imaging import Placement, write_image
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.tiles import TileCut
from eyewright.metrics.restoration import blind_psnr, capped_psnr, mean_metrics
from eyewright.tasks.corrections import NotUsableError
from eyewright.tasks.restore import RestoredImage
from eyewright.tasks.restore_page import find_faults
from eyewright.tasks.restore_report import REPORTING, RestoreResults
from eyewright.tasks.restore_trials import COLUMNS
from eyewright.testing import check_reporting, check_task

TASK = task_of("restore")
LABELS = LabelSpace(("picture",))


def test_the_task_is_complete() -> None:
    check_task(TASK)


def results(tmp_path: Path, gain: float, *, n: int = 12, degrade: str = "noise:5-50") -> RestoreResults:
    for k in range(n):
        write_image(tmp_path / f"{k:02d}.png", np.random.default_rng(k).integers(0, 256, (8, 8, 3)).astype(np.uint8))
    dataset = open_dataset(tmp_path, task="restore")
    rng = np.random.default_rng(0)
    before = rng.uniform(15, 30, n)
    plain = before + 6
    spread = rng.normal(0, 0.2, n)
    found = plain + gain + spread - spread.mean()
    values = np.stack([found - plain, found, np.full(n, 0.8), found - before, before, plain, np.full(n, 0.5)], 1)
    return RestoreResults(dataset, values, rng.uniform(5, 50, n), np.full(n, 0.02), degrade)


def test_the_reporting_is_complete(tmp_path: Path) -> None:
    check_reporting(results(tmp_path, 1.0))


def test_a_net_that_loses_to_its_baseline_is_an_error_and_one_that_wins_is_none(tmp_path: Path) -> None:
    (fault,) = find_faults(REPORTING.report(results(tmp_path, -0.5)))
    assert (fault.code, fault.severity) == ("loses_to_baseline", "error")
    assert "loses to total variation" in fault.message
    assert not find_faults(REPORTING.report(results(tmp_path, 0.5)))
    (unsure,) = find_faults(REPORTING.report(results(tmp_path, 0.02)))
    assert unsure.severity == "warning"


def test_two_models_that_undo_different_things_are_not_compared(tmp_path: Path) -> None:
    a, b = results(tmp_path, 1.0), results(tmp_path, 1.0, degrade="jpeg:20-60")
    with pytest.raises(UsageError, match="expected two models that undo the same"):
        REPORTING.compare(a, b, 0)
    better = REPORTING.compare(a, results(tmp_path, 1.5), 0)
    assert better.better == "b"
    assert better.differences["psnr"].value == pytest.approx(0.5, abs=1e-6)
    assert better.lead == pytest.approx(0.5, abs=1e-6)


def test_a_tile_larger_than_the_image_is_cut_to_it_and_one_of_twice_the_size_too() -> None:
    residual = np.arange(8 * 8, dtype=np.float32).reshape(1, 8, 8, 1)
    (small,) = TASK.decode({"residual": residual}, [Placement((4, 6), (1, 1), (2.0, 1.0))], LABELS)
    assert np.array_equal(small.residual, residual[0, 2:6, 1:7])  # type: ignore[attr-defined]
    (large,) = TASK.decode({"residual": residual}, [Placement((20, 30), (1, 1), (-6.0, -11.0))], LABELS)
    assert large.residual.shape == (8, 8, 1)  # type: ignore[attr-defined]
    (twice,) = TASK.decode({"residual": residual}, [Placement((2, 3), (1, 1), (1.0, 0.0))], LABELS)
    assert np.array_equal(twice.residual, residual[0, 2:6, 0:6])  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match="residual of a tile"):
        TASK.decode({"residual": residual}, [Placement((20, 30), (1, 1), (0.0, 0.0))], LABELS)


def test_metrics_are_means_with_intervals_and_leave_out_what_is_not_known_for_all() -> None:
    psnr = np.array([20.0, 22.0, 30.0])
    found = mean_metrics({"psnr": psnr, "ssim": np.array([0.5, np.nan, 0.5])}, rng=generator(0, "t"))
    assert list(found) == ["psnr"]
    assert found["psnr"].value == pytest.approx(24.0)
    assert 20 <= (found["psnr"].low or 0) <= 24 <= (found["psnr"].high or 0) <= 30


def test_psnr_and_ssim_are_those_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (40, 50)).astype(np.uint8)
    b = np.clip(a + rng.normal(0, 12, a.shape), 0, 255).astype(np.uint8)
    assert capped_psnr(a, b) == pytest.approx(metrics.peak_signal_noise_ratio(a, b, data_range=255), abs=1e-4)
    assert capped_psnr(a, a) == 100


def test_the_error_at_hidden_pixels_tells_the_psnr_without_a_clean_image() -> None:
    rng = np.random.default_rng(0)
    clean = np.full((200, 200, 1), 120, np.uint8)
    noisy = np.clip(np.rint(clean + rng.normal(0, 20, clean.shape)), 0, 255).astype(np.uint8)
    found = np.clip(np.rint(clean + rng.normal(0, 8, clean.shape)), 0, 255).astype(np.uint8)
    hidden = rng.random((200, 200)) < 0.25
    assert blind_psnr(found, noisy, hidden, 20.0) == pytest.approx(capped_psnr(found, clean), abs=1.0)


def test_columns_are_in_the_order_of_the_metrics_that_are_compared() -> None:
    assert COLUMNS[0] == TASK.main_metric
    assert set(COLUMNS) == {m.name for m in TASK.metrics}


def test_a_restored_image_is_drawn_whole_or_with_what_is_added_to_its_corner() -> None:
    image = np.full((4, 5, 3), 100, np.uint8)
    whole = RestoredImage(0.5, LABELS, restored=image + np.uint8(7))
    assert whole.drawn_on(image) is whole.restored
    assert np.array_equal(RestoredImage(0.5, LABELS).drawn_on(image), image)
    residual = np.full((2, 9, 3), 10.4 / 255, np.float32)
    drawn = RestoredImage(0.5, LABELS, residual=residual).drawn_on(image)
    assert (drawn[:2] == 110).all()
    assert (drawn[2:] == 100).all()
    assert (image == 100).all()
    bright, dark = (RestoredImage(0.5, LABELS, residual=residual * k).drawn_on(image) for k in (100, -100))
    assert (bright.max(), dark.min()) == (255, 0)


def test_a_restored_image_says_its_change_size_and_noise() -> None:
    found = RestoredImage(0.01234567, LABELS, source="a.png", index=3, sigma=12.34567)
    assert found.to_json() == {"source": "a.png", "index": 3, "changed": 0.012346, "sigma": 12.346}
    assert found.line() == "changed by 1.23% of the range; noise 12.3"
    assert RestoredImage(0.5, LABELS).line() == "changed by 50.00% of the range"
    assert found.headline() == ("restored", 0.01234567)
    assert found.to_hub() == [{"changed": 0.01234567}]
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    whole = RestoredImage(0.5, LABELS, restored=image, time_s=0.25)
    assert whole.to_json() == {
        "source": "", "index": 0, "changed": 0.5, "sigma": 0.0, "width": 5, "height": 4, "time_s": 0.25,
    }  # fmt: skip
    (told,) = whole.to_hub()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(told["image"])))), image)


def test_runtimes_agree_by_what_they_add_to_pixels() -> None:
    def answered(values: np.ndarray) -> Answers:
        return Answers(SimpleNamespace(labels=LABELS), {"residual": values}, [None] * 3)  # type: ignore[arg-type, list-item]

    ours = np.zeros((3, 2, 2, 1), np.float32)
    theirs = ours.copy()
    # A level of 0-255 is a change, less is none.
    theirs[0, 0, 0, 0], theirs[1, 1, 1, 0] = 1.2 / 255, -0.9 / 255
    found = TASK.agree(answered(ours), answered(theirs), TASK.limits["float32"])
    assert found.worst == pytest.approx(1.2 / 255)
    assert dict(found.amounts) == {"what is added to pixels": pytest.approx(1.2 / 255)}
    assert {p: (v.tolerance, v.same_iou) for p, v in TASK.limits.items()} == {
        "float32": (1e-3, 0.99), "float16": (0.01, 0.95), "int8": (0.1, 0.9),
    }  # fmt: skip


def test_with_a_flip_the_mean_with_the_mirror_is_made() -> None:
    class Ramp:
        """Adds 0, 1 or 2 levels to a pixel by how bright it is, and 1 more to those on the left of a tile."""

        labels = LABELS
        preparation = Preparation((32, 32), fit="crop", tile=TileCut(2, "jpeg:50"))

        def raw(self, tiles: np.ndarray) -> dict[str, np.ndarray]:
            found = np.zeros((*tiles.shape[:3], tiles.shape[3] - 1), np.float32)
            found[:, :, : 2 + 3] = 4 / 255
            return {"residual": found}

    image = np.full((6, 8, 3), 100, np.uint8)
    (plain,) = TASK.whole(Ramp(), [image])  # type: ignore[misc, arg-type]
    other = plain.restored[:, ::-1]
    both = TASK.views(Ramp(), image, flip=True, tile=None, overlap=0, iou=None)  # type: ignore[arg-type]
    assert not np.array_equal(plain.restored, other)
    assert np.array_equal(both.restored, (plain.restored.astype(int) + other + 1) // 2)
    assert both.changed == pytest.approx(plain.changed)
    alone = TASK.views(Ramp(), image, flip=False, tile=None, overlap=0, iou=None)  # type: ignore[arg-type]
    assert np.array_equal(alone.restored, plain.restored)


def test_what_restoring_cannot_do_is_refused() -> None:
    with pytest.raises(UsageError, match="an explanation is not supported for restoration"):
        TASK.explained({}, None, None, None)
    with pytest.raises(NotUsableError, match="holds no image to learn from"):
        TASK.feedback.corrected(SimpleNamespace())
    with pytest.raises(NotUsableError, match="not ground truth to learn from"):
        TASK.feedback.taught(None, np.arange(1), lambda: None)
    assert TASK.labelled(np.array([[0.25], [0.5]])).tolist() == [[1], [1]]
    assert TASK.summary(np.array([[0.25], [0.5]]))[1].tolist() == [0.25, 0.5]
    assert list(TASK.counted([3, 3])) == [3, 3]


def test_nets_of_a_cross_validation_are_averaged_and_parts_joined(tmp_path: Path) -> None:
    whole = results(tmp_path, 1.0, n=4)

    def part(rows: list[int], moved: float) -> RestoreResults:
        return RestoreResults(
            whole.dataset.with_samples(whole.dataset.samples[i] for i in rows), whole.values[rows] + moved,
            whole.sigma[rows] + moved, whole.changed[rows] + moved, whole.degrade,
        )  # fmt: skip

    joined = REPORTING.together([part([3, 0], 1), part([1, 2], 1), part([0, 1], 3), part([2, 3], 3)], 2, whole.dataset)
    np.testing.assert_allclose(joined.values, whole.values + 2)
    np.testing.assert_allclose(joined.sigma, whole.sigma + 2)
    np.testing.assert_allclose(joined.changed, whole.changed + 2)
    again = part([2], 0).joined(part([0, 1], 0))
    np.testing.assert_allclose(again.values, whole.values[[2, 0, 1]])
    np.testing.assert_allclose(again.changed, whole.changed[[2, 0, 1]])
    assert whole.answers().tolist() == [[v] for v in whole.changed.tolist()]
    assert [r["id"] for r in REPORTING.changed(whole, part([0, 1, 2, 3], 0.11))] == [
        s.id for s in whole.dataset.samples
    ]
    assert REPORTING.changed(whole, part([0, 1, 2, 3], 0.09)) == []
    assert REPORTING.compare(whole, part([0, 1, 2, 3], 0.009), 0).differences["psnr"].value == 0
    assert REPORTING.compare(whole, part([0, 1, 2, 3], 0.02), 0).differences["psnr"].value == pytest.approx(0.02)


def test_levels_of_noise_are_thirds_of_the_images(tmp_path: Path) -> None:
    made = results(tmp_path, 1.0, n=9)
    sigma = np.array([9.0, 5, 1, 8, 2, 6, 3, 7, 4])
    levels = REPORTING.report(replace(made, sigma=sigma)).tables["levels"]
    assert [(row["from"], row["to"], row["n"]) for row in levels] == [
        (1.0, pytest.approx(11 / 3), 3), (pytest.approx(11 / 3), pytest.approx(19 / 3), 3),
        (pytest.approx(19 / 3), 9.0, 3),
    ]  # fmt: skip
    first = made.values[np.isin(sigma, [1, 2, 3])]
    assert levels[0]["psnr"].value == pytest.approx(first[:, COLUMNS.index("psnr")].mean())
    assert REPORTING.report(replace(made, sigma=sigma / 9)).tables["levels"] == []
    few = results(tmp_path / "few", 1.0, n=8)
    assert REPORTING.report(replace(few, sigma=sigma[:8])).tables["levels"] == []
