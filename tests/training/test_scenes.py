"""Augmentation moves what is marked as it moves the pixels; the detector's loss matches points to objects."""

import numpy as np
import pytest
import torch

from eyewright.imaging import Preparation
from eyewright.imaging.preparation import Placement
from eyewright.learners.detect import STRONG
from eyewright.nets.detectors import Detections, grid_points
from eyewright.training.objectives.detect import CROWD, PADDING, DetectionObjective, box_iou, match_points
from eyewright.training.objectives.segment import class_balance, segmentation_objective
from eyewright.training.recipe import Recipe
from eyewright.training.scenes import SceneAugmentation, augment_boxes, augment_masks, augment_objects, plan_scenes
from eyewright.training.targets import BoxTargets, box_rows

PLANS = {
    "flip": SceneAugmentation(flip=True, upside_down=True),
    "zoom and shift": SceneAugmentation(zoom=0.4, shift=0.2),
    "mosaic": SceneAugmentation(mosaic=1.0, zoom=0.3, flip=True),
    "everything": SceneAugmentation(flip=True, zoom=0.4, shift=0.1, mosaic=0.5, light=0.2, colour=0.2, shade=0.2),
}


def scenes(n: int = 6, side: int = 96) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images of two bright blocks on black: pixels, objects, whose each pixel is."""
    rng = np.random.default_rng(0)
    pixels, owners = np.zeros((n, side, side, 3), np.uint8), np.zeros((n, side, side), np.int64)
    rows = np.full((n, 3, 5), PADDING, np.float32)
    for i in range(n):
        for k in range(2):
            w, h = rng.integers(14, 24, 2)
            x, y = int(rng.integers(2, 44)) + 44 * k - 22 * k, int(rng.integers(2, 70))
            x, y = min(x, side - int(w)), min(y, side - int(h))
            if k and (owners[i, y : y + h, x : x + w] > 0).any():
                continue
            pixels[i, y : y + h, x : x + w] = 250
            owners[i, y : y + h, x : x + w] = k + 1
            rows[i, k] = (x, y, x + w, y + h, k)
    return torch.from_numpy(pixels), torch.from_numpy(rows), torch.from_numpy(owners)


def lit(image: np.ndarray, box: np.ndarray) -> float:
    """The share of a box's inner pixels that are bright."""
    x0, y0, x1, y1 = np.rint(box).astype(int)
    inner = image[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2]
    return float((inner > 130).mean()) if inner.size else 1.0


@pytest.mark.parametrize("name", PLANS)
def test_boxes_stay_on_what_they_mark(name: str) -> None:
    pixels, rows, _ = scenes()
    plan = PLANS[name]
    moved, found = augment_boxes(pixels, rows, plan, rng=torch.Generator().manual_seed(1))
    again = augment_boxes(pixels, rows, plan, rng=torch.Generator().manual_seed(1))
    assert torch.equal(moved, again[0])
    assert torch.equal(found, again[1])
    assert moved.shape == pixels.shape
    assert moved.dtype == torch.uint8
    real = found[..., 4] >= 0
    assert real.sum() >= 4
    for image, own in zip(moved.numpy().mean(-1), found.numpy(), strict=True):
        for row in own[own[:, 4] >= 0]:
            assert lit(image, row[:4]) > 0.9
            assert row[:4].min() >= 0
            assert row[:4].max() <= 96


def test_what_is_cut_off_by_most_is_neither_object_nor_background() -> None:
    pixels = torch.zeros(1, 96, 96, 3, dtype=torch.uint8)
    rows = torch.tensor([[[0.0, 0.0, 12.0, 12.0, 0.0]]])
    kinds = set()
    for seed in range(60):
        plan = SceneAugmentation(shift=0.2)
        _, found = augment_boxes(pixels, rows, plan, rng=torch.Generator().manual_seed(seed))
        kinds |= set(found[..., 4].flatten().tolist())
    assert kinds == {0.0, float(CROWD), float(PADDING)}


def test_owners_move_with_their_pixels_and_pasted_objects_arrive() -> None:
    pixels, rows, owners = scenes()
    plan = SceneAugmentation(flip=True, zoom=0.2, mosaic=0.5, paste=1.0)
    moved, (found, whose) = augment_objects(pixels, (rows, owners), plan, rng=torch.Generator().manual_seed(2))
    assert found.shape[1] == 2 * 4 * rows.shape[1]
    bright = moved.float().mean(-1) > 130
    # An edge may be off by a pixel, since pixels are mixed there and numbers are not.
    assert ((whose > 0) == bright).float().mean() > 0.97
    pasted = found[:, found.shape[1] // 2 :, 4]
    assert (pasted >= 0).any()
    for i in range(len(found)):
        for k in torch.nonzero(found[i, :, 4] >= 0)[:, 0].tolist():
            ys, xs = torch.nonzero(whose[i] == k + 1, as_tuple=True)
            x0, y0, x1, y1 = found[i, k, :4].tolist()
            if len(xs):
                assert xs.min() >= x0 - 1.5
                assert xs.max() <= x1 + 1.5
                assert ys.min() >= y0 - 1.5
                assert ys.max() <= y1 + 1.5


def test_masks_turn_with_their_images() -> None:
    pixels, _, owners = scenes()
    masks = (owners > 0).to(torch.uint8)
    plan = SceneAugmentation(flip=True, zoom=0.3, shift=0.1, rotate_deg=15, paste=0.5, fill=0)
    moved, turned = augment_masks(pixels, masks, plan, rng=torch.Generator().manual_seed(3))
    assert ((turned == 1) == (moved.float().mean(-1) > 125)).float().mean() > 0.97


def test_the_end_of_training_is_calmer_and_none_is_none() -> None:
    plan = plan_scenes(Recipe(task="detect"), STRONG, grey=False, fill=114)
    assert plan.calmed().mosaic == 0
    assert plan.calmed().zoom == plan.zoom / 2
    assert plan_scenes(Recipe(task="detect", augment="none", flip="none"), STRONG, grey=False, fill=0).is_none()
    pixels, rows, _ = scenes()
    assert augment_boxes(pixels, rows, SceneAugmentation(), rng=torch.Generator())[0] is pixels
    assert "colour" not in plan_scenes(Recipe(task="segment"), STRONG, grey=True, fill=0).describe()


def test_every_object_gets_a_point_however_small() -> None:
    points, strides = grid_points((64, 64))
    truth = torch.tensor([[10.0, 10.0, 50.0, 50.0], [1.0, 1.0, 2.0, 2.0], [60.0, 2.0, 63.5, 3.0]])
    boxes = torch.cat([points - 8, points + 8], 1)
    found = match_points(torch.full((len(points), 2), 0.1), boxes, truth, torch.tensor([0, 1, 1]), points, strides)
    assert set(found.objects.tolist()) == {-1, 0, 1, 2}
    inside = found.objects == 0
    assert ((points[inside] > 10) & (points[inside] < 50)).all()
    assert found.quality[~inside & (found.objects < 0)].max() == 0
    assert (found.quality[found.objects >= 0] > 0).all()


def test_box_iou_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 2, 1], [1, 1, 3, 3], [5, 5, 6, 6]])
    assert box_iou(a, b).tolist()[0] == pytest.approx([0.5, 1 / 7, 0.0])


def answers(logits: torch.Tensor, reach: torch.Tensor, strides: torch.Tensor) -> Detections:
    """A detector's outputs that place boxes `reach` pixels (N, A, 4) about the points."""
    bins = torch.arange(16.0)
    sides = -20 * (reach[..., None] / strides[:, None, None] - bins).abs()
    none = logits.new_zeros(len(logits), 0, 0)
    return Detections(logits, sides, none, none)


def test_the_loss_is_small_for_right_answers_and_crowds_cost_nothing() -> None:
    points, strides = grid_points((64, 64))
    objective = DetectionObjective(points, strides)
    target = torch.tensor([[[8.0, 8.0, 40.0, 40.0, 1.0]]])
    reach = torch.cat([points - target[0, :, :2], target[0, :, 2:4] - points], 1)[None].clamp(0)
    on = ((points > 8) & (points < 40)).all(1)
    right = torch.full((1, len(points), 2), -9.0)
    right[0, on, 1] = 5.0
    wrong = torch.full((1, len(points), 2), -9.0)
    wrong[0, on, 0] = 5.0
    good, bad = (float(objective(answers(x, reach, strides), target)) for x in (right, wrong))
    assert good < 0.3 * bad
    noisy = torch.full((1, len(points), 2), -9.0)
    noisy[0, on, 0] = 5.0
    nothing = torch.tensor([[[8.0, 8.0, 40.0, 40.0, float(PADDING)]]])
    crowd = torch.tensor([[[8.0, 8.0, 40.0, 40.0, float(CROWD)]]])
    alarm, excused = (float(objective(answers(noisy, reach, strides), t)) for t in (nothing, crowd))
    assert excused < 0.05 * alarm


def test_segmentation_losses_by_hand() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8)
    masks = torch.randint(0, 3, (2, 8, 8), dtype=torch.uint8)
    masks[0, 0] = 255
    known = masks != 255
    plain = segmentation_objective(Recipe(task="segment", loss="cross_entropy"))
    reference = torch.nn.functional.cross_entropy(logits, masks.long(), ignore_index=255)
    assert float(plain(logits, masks)) == pytest.approx(float(reference), abs=1e-6)
    dice = segmentation_objective(Recipe(task="segment", loss="dice"))
    p = logits.softmax(1) * known[:, None]
    parts = []
    for c in (1, 2):
        hot = (masks == c).float()
        parts.append(1 - (2 * (p[:, c] * hot).sum() + 1) / (p[:, c].sum() + hot.sum() + 1))
    assert float(dice(logits, masks)) == pytest.approx(float(torch.stack(parts).mean()), abs=1e-6)
    both = segmentation_objective(Recipe(task="segment"))
    assert float(both(logits, masks)) == pytest.approx(float(plain(logits, masks) + dice(logits, masks)), abs=1e-6)
    assert float(segmentation_objective(Recipe(task="segment", loss="boundary"))(logits, masks)) > float(
        both(logits, masks)
    )


def test_rare_classes_weigh_more_and_the_mean_pixel_one() -> None:
    pixels = torch.tensor([9900, 90, 10, 0])
    weights = class_balance(pixels)
    assert weights[0] < weights[1] <= weights[2]
    assert float((weights * pixels / pixels.sum()).sum()) == pytest.approx(1, abs=1e-6)
    assert weights[2] / weights[0] <= 8.001


def test_targets_are_put_where_the_preparation_puts_the_image() -> None:
    from eyewright.data.targets.objects import Objects

    preparation = Preparation((64, 96), fit="letterbox")
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:60, 30:80] = 255
    pixels, placement = preparation(image)
    assert preparation.place((100, 100)) == placement
    objects = Objects(np.array([[30.0, 20, 80, 60]]), np.array([2]), np.array([False]))
    (row,) = box_rows(objects, placement)
    ys, xs = np.nonzero(pixels[..., 0] > 128)
    assert row[:4] == pytest.approx([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], abs=1.0)
    labels = preparation.apply_labels((image[..., 0] > 0).astype(np.uint8), outside=255)
    assert ((labels == 1) == (pixels[..., 0] > 128)).mean() > 0.99
    assert (labels[:, :10] == 255).all()
    targets = BoxTargets([box_rows(objects, placement), np.zeros((0, 5), np.float32)])
    assert targets[np.array([1, 0])].shape == (2, 1, 5)


def test_of_thousands_of_objects_a_thousand_are_learnt_and_the_rest_excused() -> None:
    from eyewright.data.targets.objects import Objects

    n = 3000
    corner = np.random.default_rng(0).random((n, 2)) * 90
    objects = Objects(np.concatenate([corner, corner + 5], 1), np.zeros(n, np.int64), np.zeros(n, bool))
    rows = box_rows(objects, Placement((100, 100), (1.0, 1.0), (0.0, 0.0)), seed="a")
    assert (rows[:, 4] >= 0).sum() == 1000
    assert (rows[:, 4] == CROWD).sum() == 2000


def test_parts_lie_around_what_is_rare() -> None:
    rng = np.random.default_rng(3)
    masks = np.zeros((64, 128, 96), np.uint8)
    masks[:, :, 80:] = 255
    pixels = np.zeros((64, 128, 96, 1), np.uint8)
    for i in range(64):
        y, x = rng.integers(0, 122), rng.integers(0, 74)
        masks[i, y : y + 4, x : x + 4] = 1
        masks[i, y, x] = 2
    pixels[..., 0] = np.where(masks == 1, 200, np.where(masks == 2, 100, 0))
    plan = SceneAugmentation(kind="masks", crop_hw=(32, 32), foreground=(1, 2), fill=0)
    seed = torch.Generator().manual_seed(0)
    moved, marked = augment_masks(torch.from_numpy(pixels), torch.from_numpy(masks), plan, rng=seed)
    assert moved.shape == (64, 32, 32, 1)
    assert marked.shape == (64, 32, 32)
    # Two of three parts lie around something that covers 0.1 % of the image; by chance it would be one in ten.
    assert 32 <= int(((marked == 1) | (marked == 2)).flatten(1).any(1).sum()) <= 60
    assert int((marked == 2).flatten(1).any(1).sum()) >= 20
    bright = moved[..., 0] > 180
    assert bool((marked[bright] == 1).all())
    again = augment_masks(torch.from_numpy(pixels), torch.from_numpy(masks), plan, rng=torch.Generator().manual_seed(0))
    assert torch.equal(again[0], moved)
    assert torch.equal(again[1], marked)


def test_large_masks_are_learnt_from_parts_and_small_ones_whole(painted, tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert "parts of" not in painted.run.about["augmentation"]
    plan = SceneAugmentation(kind="masks", crop_hw=(192, 160), grain=8.0)
    assert "parts of 160x192" in plan.describe()
    noisy, _ = augment_masks(
        torch.full((8, 64, 64, 1), 128, dtype=torch.uint8),
        torch.zeros((8, 64, 64), dtype=torch.uint8),
        SceneAugmentation(kind="masks", grain=8.0, fill=0),
        rng=torch.Generator().manual_seed(1),
    )
    spread = noisy.float().flatten(1).std(1)
    assert float(spread.min()) < 0.5 < float(spread.max()) < 12
