from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eyewright.core.errors import UsageError
from eyewright.core.task import _table, task_of
from eyewright.training import OPTIMIZERS, Recipe, loss_names, read_recipe, write_recipe


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "adamm"}, "did you mean 'adam'"),
        ({"loss": "cross_entrpy"}, "did you mean 'cross_entropy'"),
        ({"loss": "dice_cross", "task": "segment"}, "did you mean 'dice_cross_entropy'"),
        ({"loss": "zzz", "task": "tag"}, "choose one of: binary_cross_entropy, focal"),
        ({"loss": "mse", "task": "segment"}, r"a loss of .*segmentation \(dice_cross_entropy, .*\), found 'mse'"),
        ({"loss": 3}, "expected loss as str"),
        ({"learning_rate": 0.1}, "unknown recipe option 'learning_rate'"),
        ({"epochs": 0}, "epochs of 1 or more"),
        ({"epochs": 2.5}, "expected epochs as int"),
        ({"epochs": True}, "expected epochs as int"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\)"),
        ({"lr": float("nan")}, "lr of 0 or more"),
        ({"lr": -1.0}, "lr of 0 or more"),
        ({"epochs": 3, "budget_s": 10.0}, "found both"),
        ({"loss": "mse", "label_smoothing": 0.1}, "loss cross_entropy or binary_cross_entropy with label_smoothing"),
        ({"seed": "0"}, "expected seed as int"),
    ],
)
def test_an_option_that_is_wrong_is_refused_by_name(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Recipe.from_mapping(options)


def test_a_recipe_is_written_and_read_back_unchanged(tmp_path: Path) -> None:
    recipe = Recipe(model='a "quoted" näme', lr=1e-3, epochs=7, class_weights=True)
    write_recipe(tmp_path / "recipe.toml", recipe)
    assert read_recipe(tmp_path / "recipe.toml") == recipe


@pytest.mark.parametrize("text", ["epochs = ", "\x00", "epochs = 3\nepochs = 4"])
def test_a_recipe_that_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UsageError, match="is not TOML"):
        read_recipe(tmp_path / "r.toml")


def test_the_vocabulary_is_there() -> None:
    of_classes = {"cross_entropy", "binary_cross_entropy", "mse", "huber", "focal"}
    of_others = {"dice_cross_entropy", "dice", "boundary", "varifocal", "mae", "ctc", "infonce", "sigmoid"}
    of_others |= {"softplus", "relativistic", "fill"}
    assert of_classes | of_others == set(loss_names())
    assert set(task_of("classify").losses) == of_classes
    assert {"muon", "adamw", "adam", "sgd", "momentum", "rmsprop", "gd"} == set(OPTIMIZERS)


def test_the_delta_of_the_huber_loss_is_for_that_loss() -> None:
    assert Recipe(task="classify", loss="huber", huber_delta=0.5).huber_delta == 0.5
    for wrong in ({"loss": "mse", "huber_delta": 0.5}, {"task": "classify", "huber_delta": 0.5}, {"huber_delta": 0.0}):
        with pytest.raises(UsageError, match="huber_delta"):
            Recipe(**wrong)


@pytest.fixture
def grading(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A task of another package, which brings a loss of its own."""
    grade = replace(task_of("classify"), name="grade", losses=("ordinal", "cross_entropy"))
    places = {**_table(), "grade": f"{__name__}:GRADE"}
    monkeypatch.setitem(globals(), "GRADE", grade)
    monkeypatch.setattr("eyewright.core.task._table", lambda: places)
    task_of.cache_clear()
    yield
    task_of.cache_clear()


def test_a_task_of_another_package_decides_which_losses_it_has(grading: None) -> None:
    assert Recipe(task="grade", loss="ordinal").loss == "ordinal"
    assert Recipe(loss="ordinal").loss == "ordinal", "before the data tell the task"
    for wrong, said in (
        ({"task": "grade", "loss": "focal"}, "ordinal, cross_entropy"),
        ({"loss": "ordnal"}, "ordinal"),
    ):
        with pytest.raises(UsageError, match=said):
            Recipe(**wrong)
    with pytest.raises(UsageError, match="found 'ordinal'"):
        Recipe(task="classify", loss="ordinal")


def test_a_loss_that_a_learner_does_not_compute_is_not_another_in_silence(grading: None) -> None:
    import torch

    from eyewright.training.objectives import classification_objective

    loss = classification_objective(Recipe(task="grade", loss="ordinal"))
    with pytest.raises(UsageError, match="unknown loss 'ordinal'"):
        loss(torch.zeros(1, 2), torch.tensor([0]))
