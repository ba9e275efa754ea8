"""Training against attacks in the one loop: more robust than plain training, validated under attack, resumable."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.robustness.conftest import Toy

import eyewright as ew
from eyewright.bundle.policy import check_policy
from eyewright.core.errors import PolicyError, RefusedError, UsageError
from eyewright.exporting.robust import Robust, robustness_of
from eyewright.robustness.hardening import AttackProbe
from eyewright.robustness.steps import Hardening, mixed_images, noisy, to_pixels, unit_images, worst_images
from eyewright.robustness.threat import Threat
from eyewright.training.recipe import Recipe

BASE: dict[str, Any] = {"epochs": 3, "batch": 16, "model": "conv_net", "imgsz": 20, "augment": "none"}


@pytest.mark.parametrize(
    ("step", "options", "prefix"),
    [
        ("adversarial", {"eps": 0.05, "attack_steps": 2}, "robust_"),
        ("trades", {"eps": 0.05, "attack_steps": 2, "beta": 3.0}, "robust_"),
        ("fast", {"eps": 0.05}, "robust_"),
        ("noise", {"sigma": 0.1}, "noisy_"),
        ("augmix", {}, ""),
    ],
)
def test_every_step_trains_in_the_one_loop(
    step: str, options: dict[str, Any], prefix: str, shapes: Path, tmp_path: Path
) -> None:
    run = ew.train(shapes, step=step, out=tmp_path / "run", **{**BASE, **options, "epochs": 1})
    with open(run.folder / "metrics.csv") as file:
        (*_, row) = csv.DictReader(file)
    assert f"val_{prefix}accuracy" in row
    assert run.about["training"]["metric"] == f"{prefix}accuracy"
    assert run.about["threat"]["step"] == step
    assert np.isfinite(float(row["train_loss"]))
    assert ("chosen_on" in run.about) == bool(prefix)


def test_hardening_makes_a_net_harder_to_fool(toy: Toy) -> None:
    """The same net from the same start, with the same number of updates: only the step differs."""
    from sklearn.datasets import load_digits
    from torch import nn

    from eyewright.nets.pixels import PixelNet
    from eyewright.robustness import attack_predictor
    from eyewright.robustness.steps import adversarial_step
    from eyewright.training.optimisers import build_optimiser
    from eyewright.training.predictor import TorchPredictor
    from eyewright.training.steps import Batch, TrainState, plain_step

    digits = load_digits()
    x = torch.from_numpy(np.rint(digits.images[:1200] / 16 * 255).astype(np.uint8)[..., None])
    y = torch.from_numpy(digits.target[:1200].astype(np.int64))
    recipe = Recipe(task="classify", optimizer="adamw", lr=4e-3)
    found = {}
    for name, step in (("plain", plain_step), ("hard", adversarial_step(Hardening("linf", 0.2, steps=4)))):
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)
        )
        net = PixelNet(body, mean=(0.3,), std=(0.4,))
        state = TrainState(net, build_optimiser(net, recipe), nn.CrossEntropyLoss(), recipe, progress=1.0)
        for _ in range(8):
            for rows in torch.randperm(1200).split(64):
                step(state, Batch(x[rows], y[rows]))
        given = toy.predictor()
        predictor = TorchPredictor(net.eval(), labels=given.labels, preparation=given.preparation)
        report = attack_predictor(predictor, toy.dataset, attacks=("apgd",), eps=(0.2,), steps=15, queries=50)
        found[name] = (report.clean.value or 0, report.headline.robust.value or 0)
    assert found["hard"][1] > found["plain"][1] + 0.15, found
    assert found["hard"][0] > 0.75


def test_a_hardened_run_is_attacked_exported_and_kept_to_its_policy(shapes: Path, tmp_path: Path) -> None:
    given = {**BASE, "eps": 0.03, "attack_steps": 2}
    run = ew.harden(shapes, out=tmp_path / "run", **given)
    report = ew.attack(run.folder, suite="quick", n=12, steps=4, queries=20)
    assert report.headline.eps == 0.03
    saved = json.loads((run.folder / "robustness" / "robustness.json").read_text())
    bundle = ew.export(run.folder, tmp_path / "a.bundle")
    assert bundle.manifest.provenance["threat"]["eps"] == 0.03
    assert {"robustness.json", "robustness.html"} <= set(bundle.manifest.files)
    card = (bundle.folder / "README.md").read_text()
    assert "Trained with step adversarial (norm linf, eps 0.03" in card
    assert saved["sentence"][:40] in card
    rule = {"min_robust_accuracy": 1.01}
    said = "found" if report.is_evidence else "no evidence"
    with pytest.raises(PolicyError, match=rf"min_robust_accuracy = 1\.01.*{said}"):
        check_policy(bundle.folder, bundle.manifest, rule)
    evidence = {**saved, "verdict": "evidence"}
    for change, kept in (({}, True), ({"verdict": "not evidence"}, False), ({"verdict": "upper bound"}, False)):
        (run.folder / "robustness" / "robustness.json").write_text(json.dumps({**evidence, **change}))
        assert ("robust_accuracy" in robustness_of(run.folder).metrics) == kept
    # What was measured on other weights says nothing of these.
    (run.folder / "robustness" / "robustness.json").write_text(json.dumps({**evidence, "model": {"digest": "0"}}))
    assert robustness_of(run.folder) == Robust()
    (run.folder / "robustness" / "robustness.json").write_text("{")
    with pytest.raises(RefusedError, match="damaged"):
        robustness_of(run.folder)


def test_resumed_training_ends_with_the_same_weights(shapes: Path, tmp_path: Path) -> None:
    given = {**BASE, "step": "fast", "eps": 0.05, "epochs": 2}

    class EndedError(Exception):
        pass

    def stop(row: Any) -> None:
        if row["epoch"] == "1":
            raise EndedError

    whole = ew.train(shapes, out=tmp_path / "whole", **given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eyewright.training.loop._SAVE_EVERY_S", 0.0)
        with pytest.raises(EndedError):
            ew.train(shapes, out=tmp_path / "cut", observe=stop, **given)
    again = ew.train(shapes, out=tmp_path / "cut", resume=True, **given)
    ours, theirs = (r.net.state_dict() for r in (whole, again))
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_collapse_of_one_step_training_is_seen_and_halves_the_step() -> None:
    said: list[str] = []
    hardening = Hardening("linf", 0.3)
    probe = AttackProbe(hardening, said.append, collapses=True)
    scores = [0.5, 0.6, 0.1, 0.3, 0.02]
    assert [probe._note(s) for s in scores] == [False, False, True, False, True]
    assert hardening.reduced == 0.25
    again = AttackProbe(Hardening("linf", 0.3), said.append, collapses=True)
    again.begin([{"val_robust_accuracy": str(s)} for s in scores], "robust_accuracy")
    assert again.hardening.reduced == 0.25
    steady = AttackProbe(Hardening("linf", 0.3), said.append)
    assert not any(steady._note(s) for s in scores)


def test_training_attacks_in_evaluation_mode_and_leaves_the_net_as_it_was(toy: Toy) -> None:
    from torch import nn

    from eyewright.nets.pixels import PixelNet

    body = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 10))
    net = PixelNet(body, mean=(0.0,), std=(1.0,)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    clean, labels = unit_images(torch.from_numpy(toy.pixels)), torch.from_numpy(toy.labels)
    threat = Threat("linf", 0.1)
    modes = []
    changed = worst_images(
        net, clean, lambda out: modes.append(net.training) or nn.functional.cross_entropy(out, labels), threat, 3
    )
    assert modes == [False] * 3
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert threat.kept_by(changed.numpy(), clean.numpy()).all()
    assert float((changed - clean).abs().max()) > 0.09


def test_what_is_learnt_from_stays_an_image(toy: Toy) -> None:
    pixels = torch.from_numpy(toy.pixels)
    assert torch.equal(to_pixels(unit_images(pixels)).round().to(torch.uint8), pixels)
    assert noisy(pixels, 0.5).dtype == torch.uint8
    assert float((noisy(pixels, 0.1).float() - pixels.float())[(pixels > 60) & (pixels < 190)].std()) == pytest.approx(
        25.5, rel=0.1
    )
    mixed = mixed_images(unit_images(pixels))
    assert float(mixed.min()) >= 0
    assert float(mixed.max()) <= 1
    assert not torch.equal(mixed, unit_images(pixels))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"eps": 0.1}, "step adversarial, trades or fast with eps"),
        ({"step": "adversarial", "eps": 8.0}, "did you mean 8/255"),
        ({"step": "noise", "attack_steps": 3}, "with attack_steps"),
        ({"step": "fast", "beta": 3.0}, "step trades with beta"),
        ({"step": "trades", "sigma": 0.3}, "step noise with sigma"),
        ({"step": "adversarail"}, "did you mean 'adversarial'"),
        ({"step": "trades", "eps": -0.1}, "eps of 0 or more"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Recipe(**options)


def test_tuning_chooses_by_the_score_under_attack(shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    found = ew.tune(shapes, trials=1, out=tmp_path / "tune", step="fast", **{**BASE, "epochs": 1})
    assert "val_robust_accuracy" in found.trials[0]
    assert found.run.about["training"]["metric"] == "robust_accuracy"
