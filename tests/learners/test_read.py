"""What is learnt from lines: targets, batches of about one length, augmentation that keeps where a line ends."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eyewright.core.errors import DatasetError, UsageError
from eyewright.data import open_dataset
from eyewright.imaging.preparation import Preparation
from eyewright.learners.read import ReadLearning, resolve, targets
from eyewright.training.lines import TextTargets, by_length, plan_lines
from eyewright.training.recipe import Recipe

PREPARE = Preparation((32, 256), fit="line", channels=1)


def _data(folder: Path, rows: str):  # type: ignore[no-untyped-def]
    from eyewright.imaging import encode_image

    for name in ("a", "b"):
        (folder / f"{name}.png").write_bytes(encode_image(np.full((32, 20, 3), 200, np.uint8)))
    (folder / "lines.csv").write_text(f"path,text\n{rows}")
    return open_dataset(folder, task="read")


def test_a_text_that_needs_more_steps_than_its_line_has_is_refused_by_name(tmp_path: Path) -> None:
    # 20 pixels are 5 steps: "ABABA" fits, "AAA" needs a blank between each two, "AAAA" seven steps.
    data = _data(tmp_path, "a.png,ABABA\nb.png,AAA\n")
    sizes = [(32, 20), (32, 20)]
    assert targets(data, sizes, PREPARE, "").lengths.tolist() == [5, 5]
    data = _data(tmp_path, "a.png,AB\nb.png,AAAA\n")
    with pytest.raises(DatasetError, match=r"'b.png' has 5 steps for 7: 'AAAA'"):
        targets(data, sizes, PREPARE, "")


def test_the_loss_is_that_of_all_alignments() -> None:
    from eyewright.tasks.ctc import text_probability

    learning = ReadLearning(Recipe(task="read", augment="none"), ("a", "b"))
    logits = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1))
    wanted = torch.tensor([[1, 1], [2, -1]])
    p = logits.softmax(2).double().numpy()
    by_hand = -(np.log(text_probability(p[0], [0, 0])) / 2 + np.log(text_probability(p[1], [1]))) / 2
    assert float(learning.objective(logits, wanted)) == pytest.approx(by_hand, rel=1e-4)


def test_certain_blanks_at_the_end_do_not_change_the_loss() -> None:
    learning = ReadLearning(Recipe(task="read", augment="none"), ("a", "b"))
    logits = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(2))
    blanks = torch.full((1, 9, 3), -1e4)
    blanks[..., 0] = 0
    wanted = torch.tensor([[1, 2, 1]])
    both = [float(learning.objective(x, wanted)) for x in (logits, torch.cat([logits, blanks], 1))]
    assert both[0] == pytest.approx(both[1], rel=1e-5)


def test_validation_keeps_the_greedy_text() -> None:
    learning = ReadLearning(Recipe(task="read", augment="none"), ("a", "b"))
    ids = torch.tensor([[0, 1, 1, 0, 1, 2], [0, 0, 0, 0, 0, 0]])
    outputs = torch.nn.functional.one_hot(ids, 3).float()
    kept = learning.condense(outputs, None)
    assert kept.tolist() == [[1, 1, 2, 0, 0, 0], [0] * 6]
    numbers = learning.measure(kept, TextTargets([[1, 1, 2], [2]], np.array([6, 6])))
    assert numbers["cer"] == pytest.approx(1 / 4)
    assert numbers["empty"] == 0.5, "all-blank outputs are shown"


def test_a_reader_that_has_learnt_nothing_says_so() -> None:
    groups, rng = np.zeros(2, np.int64), np.random.default_rng(0)
    wanted = TextTargets([[1, 1, 2, 1, 2], [2, 1, 1, 2, 1]], np.array([9, 9]))
    # By hand: "a" for each text leaves 4 of 5 characters out, the first four of each 1, and nothing 5; "aaaaa" for both
    # has 2 of 5 wrong.
    for kept, said in (
        ([[1, 0, 0], [1, 0, 0]], "80% on 2"),
        ([[1, 1, 2, 1], [2, 1, 1, 2]], ""),
        ([[0, 0, 0]] * 2, "100% on"),
    ):
        learning = ReadLearning(Recipe(task="read", augment="none"), ("a", "b"))
        learning.conclude(np.array(kept, np.int32), wanted, groups=groups, rng=rng)
        assert said in learning.unlearnt
        assert bool(said) == bool(learning.unlearnt)


def test_batches_hold_lines_of_about_one_length_and_all_of_them() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 200, 500)
    order = by_length(rng.permutation(500), lengths, 16, np.random.default_rng(1))
    assert sorted(order.tolist()) == list(range(500))
    spread = np.mean([np.ptp(lengths[order[i : i + 16]]) for i in range(0, 480, 16)])
    assert spread < 25, "at random it is about 170"
    again = by_length(rng.permutation(500), lengths, 16, np.random.default_rng(1))
    assert order.tolist() != again.tolist()


@pytest.mark.parametrize("level", ["light", "strong"])
def test_augmentation_keeps_where_a_line_ends(level: str) -> None:
    pixels = torch.randint(1, 256, (6, 32, 80, 1), dtype=torch.uint8)
    for i, width in enumerate((8, 80, 40, 4, 72, 12)):
        pixels[i, :, width:] = 0
    out, texts = plan_lines(level).apply(pixels, "texts", rng=torch.Generator().manual_seed(3))
    assert texts == "texts"
    assert torch.equal(out > 0, pixels > 0)
    assert not torch.equal(out, pixels)
    again, _ = plan_lines(level).apply(pixels, "texts", rng=torch.Generator().manual_seed(3))
    assert torch.equal(out, again)


def test_a_mirror_of_a_line_is_refused() -> None:
    with pytest.raises(UsageError, match="flip"):
        resolve(Recipe(task="read", flip="horizontal"), 100, PREPARE)
