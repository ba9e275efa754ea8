import numpy as np
import pytest
import torch

from eyewright.training.augment import Augmentation, augment_batch, mix_batch, plan_augmentation
from eyewright.training.recipe import Recipe


def batch(n: int = 16, side: int = 20) -> torch.Tensor:
    values = np.random.default_rng(0).integers(0, 256, (n, side, side, 3)).astype(np.uint8)
    return torch.from_numpy(values)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


PLANS = [
    Augmentation(),
    Augmentation(shift=0.1),
    Augmentation(flip=True),
    Augmentation(shift=0.1, flip=True),
    Augmentation(shift=0.1, flip=True, rotate_deg=10, zoom=0.1, light=0.2),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: p.describe())
def test_augmentation_keeps_shape_and_type_and_depends_on_its_generator_only(plan: Augmentation) -> None:
    pixels = batch()
    before = pixels.clone()
    found = augment_batch(pixels, plan, rng=rng())
    assert found.shape == pixels.shape
    assert found.dtype == torch.uint8
    assert torch.equal(pixels, before)
    assert torch.equal(found, augment_batch(pixels, plan, rng=rng()))
    assert torch.equal(found, pixels) == (plan == Augmentation())


def test_a_shift_moves_whole_pixels() -> None:
    pixels = batch(side=20)
    found = augment_batch(pixels, Augmentation(shift=0.1), rng=rng())
    middle = found[:, 8:12, 8:12]
    for one, image in zip(middle, pixels, strict=True):
        windows = [image[8 + dy : 12 + dy, 8 + dx : 12 + dx] for dy in range(-2, 3) for dx in range(-2, 3)]
        assert any(torch.equal(one, w) for w in windows)


def test_about_half_are_mirrored() -> None:
    pixels = batch(400, 8)
    found = augment_batch(pixels, Augmentation(flip=True), rng=rng())
    mirrored = [torch.equal(a, b.flip(1)) for a, b in zip(found, pixels, strict=True)]
    assert 150 < sum(mirrored) < 250
    assert all(m or torch.equal(a, b) for m, a, b in zip(mirrored, found, pixels, strict=True))


def test_a_resampled_batch_without_any_turn_is_the_batch() -> None:
    pixels = batch()
    found = augment_batch(pixels, Augmentation(rotate_deg=1e-9), rng=rng())
    assert (found.int() - pixels.int()).abs().max() <= 1


def test_grey_images_are_not_mirrored_unless_asked() -> None:
    assert not plan_augmentation(Recipe(), grey=True, n_train=100).flip
    assert plan_augmentation(Recipe(), grey=False, n_train=100).flip
    assert plan_augmentation(Recipe(flip="horizontal"), grey=True, n_train=100).flip
    assert not plan_augmentation(Recipe(flip="none"), grey=False, n_train=100).flip
    assert plan_augmentation(Recipe(augment="none"), grey=False, n_train=100) == Augmentation()


def test_mixup_is_the_weighted_mean_of_two_images() -> None:
    batch = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3)).astype(np.uint8))
    mixed, partners, kept = mix_batch(batch, mixup=0.4, cutmix=0, rng=np.random.default_rng(1))
    assert partners is not None
    assert sorted(partners.tolist()) == list(range(6))
    expected = batch.double() * kept + batch[partners].double() * (1 - kept)
    assert (mixed.double() - expected).abs().max() <= 0.51


def test_cutmix_replaces_a_rectangle_and_counts_what_it_replaced() -> None:
    batch = torch.zeros(8, 20, 30, 1, dtype=torch.uint8) + torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1)
    shares = []
    for seed in range(40):
        mixed, partners, kept = mix_batch(batch, mixup=0, cutmix=1.0, rng=np.random.default_rng(seed))
        assert partners is not None
        foreign = mixed[..., 0] != batch[..., 0]
        for i in range(8):
            if partners[i] != i:
                assert foreign[i].float().mean() == pytest.approx(1 - kept)
                rows, columns = foreign[i].any(1).nonzero().ravel(), foreign[i].any(0).nonzero().ravel()
                assert foreign[i].sum() == len(rows) * len(columns), "a rectangle"
                assert (mixed[i][foreign[i]] == partners[i]).all()
        shares.append(kept)
    # alpha 1 draws the share evenly; the border only keeps more.
    assert 0.4 < np.mean(shares) < 0.8


def test_with_both_a_coin_decides() -> None:
    batch = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    kinds = set()
    for seed in range(20):
        mixed, partners, _ = mix_batch(batch, mixup=1.0, cutmix=1.0, rng=np.random.default_rng(seed))
        # Every pixel of a cut image is one of its two parents'.
        from_parents = (mixed == batch) | (mixed == batch[partners])
        kinds.add(bool(from_parents.all()))
    assert kinds == {True, False}
