"""The search: what is searched, that it goes on where it was, and who may write to its study."""

import json
import sqlite3
from pathlib import Path

import optuna
import pytest

import eyewright as ew
from eyewright.core.errors import BudgetError, UsageError
from eyewright.lifecycle import tuning
from eyewright.training import Recipe

FAST = {"epochs": 2, "batch": 16, "model": "mlp", "imgsz": 16}


@pytest.fixture(scope="module")
def tuned(shapes: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return ew.tune(shapes, trials=3, out=tmp_path_factory.mktemp("tune") / "study", **FAST)


def test_the_best_trial_is_a_run_and_every_trial_is_told(tuned) -> None:  # type: ignore[no-untyped-def]
    assert len(tuned.trials) == 3
    best = max(t["val_accuracy"] for t in tuned.trials if t["val_accuracy"] is not None)
    assert tuned.run.about["training"]["val_accuracy"] == best
    assert tuned.trials[0]["changed"] == {}
    assert {"lr", "optimizer", "weight_decay", "dropout"} <= set(tuned.trials[1]["changed"])
    assert json.loads((tuned.folder / "tune.json").read_text())["best"]["run"] == tuned.run.folder.name
    for key, value in tuned.chosen.items():
        assert getattr(tuned.run.recipe, key) == value
    # The study is Optuna's own: its other tools can read it.
    study = optuna.load_study(study_name="eyewright", storage=f"sqlite:///{tuned.folder / 'study.db'}")
    assert study.best_value == best


def test_a_search_goes_on_up_to_the_trials_asked_for(tuned, shapes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import shutil

    out = tmp_path / "study"
    shutil.copytree(tuned.folder, out)
    study = optuna.load_study(study_name="eyewright", storage=f"sqlite:///{out / 'study.db'}")
    # What a killed process leaves: a trial that runs for ever.
    study.enqueue_trial({"optimizer": "adamw", "lr_factor": 1.5})
    broken = study.ask()
    broken.suggest_categorical("optimizer", ["muon", "adamw", "momentum"])
    broken.suggest_float("lr_factor", 0.1, 4.0, log=True)
    with pytest.raises(UsageError, match="a study is already in"):
        ew.tune(shapes, trials=4, out=out, **FAST)
    again = ew.tune(shapes, trials=4, out=out, resume=True, **FAST)
    states = [t["state"] for t in again.trials]
    assert states.count("fail") == 1
    assert len(states) == 5
    assert again.measured == 4
    assert again.trials[-1]["changed"]["optimizer"] == "adamw"
    assert again.trials[-1]["changed"]["lr"] == pytest.approx(1.5 * 2e-3)
    same = ew.tune(shapes, trials=4, out=out, resume=True, **FAST)
    assert len(same.trials) == 5


def test_what_the_user_gave_is_not_searched() -> None:
    trial = optuna.create_study().ask()
    given = Recipe(optimizer="adam", lr=0.01, weight_decay=0.5, loss="mse", dropout=0.3, augment="none")
    assert tuning._suggest(trial, given, first=False) == given
    assert tuning._suggest(trial, Recipe(), first=True) == Recipe()
    drawn = tuning._suggest(optuna.create_study().ask(), Recipe(model="hf:x"), first=False)
    assert drawn.optimizer is None
    assert drawn.dropout == 0


def test_a_study_in_use_is_refused(shapes: Path, tmp_path: Path) -> None:
    with (
        tuning._open_study(tmp_path / "s", resume=False),
        pytest.raises(UsageError, match="another process is using the study"),
    ):
        ew.tune(shapes, trials=1, out=tmp_path / "s", resume=True, **FAST)
    # Another tool may hold the database itself.
    with tuning._open_study(tmp_path / "t", resume=False):
        pass
    holder = sqlite3.connect(tmp_path / "t/study.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with (
        pytest.raises(UsageError, match=r"cannot be opened: .*locked"),
        tuning._open_study(tmp_path / "t", resume=True, patience_s=0.1),
    ):
        pass
    holder.close()


def test_a_trial_whose_loss_runs_away_is_no_end_of_the_search(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="no trial was finished"):
        ew.tune(shapes, trials=1, out=tmp_path / "s", optimizer="sgd", lr=1e30, **FAST)


def test_a_trial_that_falls_behind_is_ended(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: self.number > 0)
    said: list[str] = []
    found = ew.tune(shapes, trials=2, out=tmp_path / "s", say=said.append, **FAST)
    assert [t["state"] for t in found.trials] == ["complete", "pruned"]
    assert any("is worse than the others" in line for line in said)
    assert found.trials[1]["epochs"] == 1
