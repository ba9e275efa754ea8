"""Federated runs end to end: deterministic, robust against clients that do wrong, and runs as every other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import eyewright as ew
from eyewright.cli import main
from eyewright.core.errors import DatasetError, RefusedError, UsageError
from eyewright.imaging import write_image
from eyewright.lifecycle.federating import Federated, allowed_faulty, federate
from eyewright.nets.pixels import PixelNet
from eyewright.privacy.local_training import load_vector, vector_of
from eyewright.training.federated_options import FederatedOptions, parse_federated

FAST = {"model": "private_net", "rounds": 2, "clients": 4, "alpha": 5.0, "batch": 8, "workers": 1, "augment": "none"}


def write_sides(folder: Path, *, a_class: int = 60, seed: int = 0) -> Path:
    """Write an ImageFolder of noise that is brighter on one of three sides: easy to learn from few images."""
    rng = np.random.default_rng(seed)
    for kind, where in (("left", np.s_[:, :6]), ("right", np.s_[:, 10:]), ("top", np.s_[:6])):
        for i in range(a_class):
            image = rng.integers(0, 90, (16, 16, 3))
            image[where] += 140
            (folder / kind).mkdir(parents=True, exist_ok=True)
            write_image(folder / kind / f"{i}.png", image.astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sides(tmp_path_factory.mktemp("federated") / "sides")


def weights(done: Federated) -> np.ndarray:
    return vector_of(done.run.net)


def test_a_federation_is_a_run_that_can_be_measured_and_exported(
    sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = federate(sides, **{**FAST, "rounds": 6}, lr=0.1, out="run")
    assert len(done.run.history()) == 6
    assert ew.evaluate("run").metrics["accuracy"].value > 0.5
    bundle = ew.export("run", out="sides.bundle")
    assert bundle.predict(str(next(sides.rglob("*.png")))).top1 in ("left", "right", "top")
    told = json.loads(Path("run/run.json").read_text())["federated"]
    train = sum(r["split"] == "train" for r in done.run.split_rows())
    assert sum(c["images"] for c in told["clients"]) == train
    # Six rounds of float32.
    assert all(c["bytes"] == 6 * 4 * told["parameters"] for c in told["clients"])
    assert done.report.read_text().count("client 4")
    with pytest.raises(UsageError, match="federate"):
        ew.train(sides, recipe=done.run.recipe, out="again")


def test_a_simulation_repeats_exactly_and_other_seeds_differ(sides: Path, tmp_path: Path) -> None:
    first, second = (weights(federate(sides, **FAST, out=tmp_path / name)) for name in "ab")
    assert np.array_equal(first, second)
    assert not np.array_equal(first, weights(federate(sides, **FAST, seed=1, out=tmp_path / "c")))


def test_secure_aggregation_gives_what_plain_averaging_gives(sides: Path, tmp_path: Path) -> None:
    plain = weights(federate(sides, **FAST, out=tmp_path / "plain"))
    done = federate(sides, **FAST, secure=True, out=tmp_path / "secure")
    assert np.abs(weights(done) - plain).max() < 1e-5
    assert all(c["bytes"] == 2 * 8 * done.about["parameters"] for c in done.about["clients"])
    with pytest.raises(RefusedError, match=r"client 1, round 1: .*public range"):
        federate(sides, **FAST, secure=True, secure_range=1e-4, out=tmp_path / "cut")
    with pytest.raises(UsageError, match="sees none"):
        federate(sides, **FAST, secure=True, strategy="krum", out=tmp_path / "krum")


def test_clients_that_do_wrong_are_refused_and_named(sides: Path, tmp_path: Path) -> None:
    done = federate(
        sides,
        **{**FAST, "clients": 6, "rounds": 4},
        faults="nan:1,shape:1,replay:1,die:1",
        least=0.3,
        out=tmp_path / "run",
    )
    by_fault = {c["fault"]: c for c in done.about["clients"] if c["fault"]}
    assert {k: [r["round"] for r in c["refused"]] for k, c in by_fault.items()} == {
        "nan": [1, 2, 3, 4], "shape": [1, 2, 3, 4], "replay": [2, 3, 4], "die": [3, 4],
    }  # fmt: skip
    assert "not finite" in by_fault["nan"]["refused"][0]["why"]
    assert "sent before" in by_fault["replay"]["refused"][0]["why"]
    assert by_fault["die"]["bytes"] == 2 * 4 * done.about["parameters"]
    assert np.isfinite(weights(done)).all()
    assert len(done.findings) == 4


def test_a_round_with_too_few_updates_changes_nothing(sides: Path, tmp_path: Path) -> None:
    done = federate(sides, **FAST, faults="nan:3", out=tmp_path / "run")
    assert done.about["aborted"] == [1, 2]
    assert [f.code for f in done.findings if f.severity == "error"] == ["rounds_aborted"]
    losses = [row["val_loss"] for row in done.run.history()]
    assert losses[0] == losses[1]


def test_liars_spoil_a_mean_and_not_a_median(sides: Path, tmp_path: Path) -> None:
    given = {**FAST, "clients": 6, "rounds": 6, "lr": 0.1, "faults": "lie:2"}
    mean = federate(sides, **given, out=tmp_path / "mean")
    median = federate(sides, **given, strategy="median", out=tmp_path / "median")
    last = [float(d.run.history()[-1]["val_loss"]) for d in (mean, median)]
    assert last[1] < 1.0 < last[0]


def test_each_client_pays_epsilon_by_its_own_number_of_images(tmp_path: Path) -> None:
    from eyewright.privacy import Steps, epsilon_of

    data = write_sides(tmp_path / "data", a_class=160)
    private = "epsilon=4 clip=0.5 noise-from=seed"
    done = federate(data, **{**FAST, "clients": 2, "batch": 512}, private=private, out=tmp_path / "run")
    for c in done.about["clients"]:
        # A batch of 512 is all of its images: two rounds of one update each.
        expected = epsilon_of([Steps(c["noise"], 1.0, 2)], c["delta"])
        assert c["epsilon"] == pytest.approx(expected)
        assert 3.9 < c["epsilon"] <= 4
        assert c["delta"] < 1 / c["images"]
    with pytest.raises(UsageError, match="100 images or more for each client"):
        federate(data, **{**FAST, "clients": 6}, private=private, out=tmp_path / "few")
    with pytest.raises(UsageError, match="average"):
        federate(data, **FAST, private=private, norm="average", out=tmp_path / "norm")


def test_epsilon_of_a_client_is_for_its_groups(tmp_path: Path) -> None:
    from eyewright.privacy import Steps, epsilon_of

    data = write_sides(tmp_path / "data", a_class=240)
    rows = sorted(p.relative_to(data).as_posix() for p in data.rglob("*.png"))
    # Two images of a class are of one person.
    groups = {r: f"{r.split('/')[0]}-{int(Path(r).stem) // 2}" for r in rows}
    (tmp_path / "groups.csv").write_text("path,group\n" + "".join(f"{r},{g}\n" for r, g in groups.items()))
    given = {**FAST, "clients": 2, "batch": 50, "group_by": str(tmp_path / "groups.csv")}
    done = federate(data, **given, private="epsilon=8 noise-from=seed unit=group", out=tmp_path / "run")
    assert done.about["unit"] == "group"
    for c in done.about["clients"]:
        assert c["images"] == 2 * c["groups"]
        # By hand: 50 groups are expected in each of round(groups / 50) updates of the two rounds.
        steps = Steps(c["noise"], 50 / c["groups"], 2 * round(c["groups"] / 50))
        assert c["epsilon"] == pytest.approx(epsilon_of([steps], c["delta"]))
        assert 7.8 < c["epsilon"] <= 8
    train = {r["id"] for r in done.run.split_rows() if r["split"] == "train"}
    assert sum(c["groups"] for c in done.about["clients"]) == len({groups[i] for i in train})
    with pytest.raises(UsageError, match="groups that the data or --group-by states"):
        federate(data, **{**FAST, "clients": 2}, private="epsilon=8 unit=group", out=tmp_path / "none")


def test_folders_and_groups_are_clients(sides: Path, tmp_path: Path) -> None:
    for k, name in enumerate(("north", "south", "west")):
        write_sides(tmp_path / name, a_class=16 + 4 * k, seed=k + 1)
    given = {k: v for k, v in FAST.items() if k not in ("clients", "alpha")}
    done = federate([tmp_path / n for n in ("north", "south", "west")], **given, out=tmp_path / "run")
    assert [c["name"] for c in done.about["clients"]] == ["north", "south", "west"]
    assert done.about["clients"][2]["images"] > done.about["clients"][0]["images"]
    with pytest.raises(DatasetError, match="group"):
        federate(sides, **given, clients="groups", group_by="none", out=tmp_path / "groups")


@pytest.mark.parametrize(
    ("names", "given", "said"),
    [
        ("north south", {"clients": 5}, "no --clients with several folders, found 5"),
        ("north south", {"alpha": 0.5}, "no --alpha with several folders"),
        ("north north", {}, "which are the same"),
        ("north south/../north", {}, "which are the same"),
        ("north", {"clients": "groups", "alpha": 1.0}, "no --alpha with --clients groups"),
    ],
)
def test_how_to_divide_folders_that_are_clients_is_refused(
    names: str, given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    for name in ("north", "south"):
        (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match=said):
        federate([tmp_path / n for n in names.split()], **given, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("given", "found", "fix"),
    [
        (
            {"strategy": "median", "clients": 3, "asked": None, "wrong": 2},
            "found 2 by --faults",
            "lower --faults, or use more",
        ),
        ({"strategy": "median", "clients": 3, "asked": 2}, "found 2 by --faulty", "lower --faulty, or use more"),
        (
            {"strategy": "krum", "clients": 5, "asked": 2},
            "found 2 by --faulty",
            "lower --faulty, or use --strategy median",
        ),
    ],
)
def test_too_many_faulty_clients_are_named_by_what_asked_for_them(given: dict[str, Any], found: str, fix: str) -> None:
    with pytest.raises(UsageError, match=found) as met:
        allowed_faulty(**given)
    assert met.value.fix is not None
    assert met.value.fix.startswith(fix)


@pytest.mark.parametrize(
    "options", ["--mu 0.1", "--server-lr 0.1", "--faulty 1", "--secure-range 2", "--strategy median --mu 0.1"]
)
def test_an_option_without_effect_is_refused(
    options: str, sides: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["federate", str(sides), *options.split(), "--out", str(tmp_path / "run")]) == 2
    assert "add --s" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_statistics_of_batch_normalisation_are_sent_or_gone() -> None:
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    net = PixelNet(body, mean=[0.5], std=[0.25])
    learnt = sum(p.numel() for p in net.parameters())
    assert len(vector_of(net)) == learnt + 8
    vector = vector_of(net)
    vector[-4:] = 7.0
    load_vector(net, vector)
    assert torch.equal(body[1].running_var, torch.full((4,), 7.0))
    assert np.array_equal(vector_of(net), vector)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0},
        {"strategy": "fedsgd"},
        {"norm": "batch"},
        {"clients": 1},
        {"least": 0},
        {"faults": {"lie": 10}},
        {"epsilon": -1.0},
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict) -> None:
    with pytest.raises(UsageError):
        FederatedOptions(**options)


def test_options_are_read_as_they_are_written() -> None:
    given = FederatedOptions(clients=7, strategy="krum", faulty=2, faults={"lie": 2}, epsilon=3.0, norm="group")
    assert parse_federated(str(given)) == given
    secure = FederatedOptions(secure=True, secure_range=2.5)
    assert parse_federated(str(secure)) == secure


def test_nets_that_look_at_all_images_beforehand_are_refused(sides: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stem"):
        federate(sides, **{**FAST, "model": "quick_net"}, out=tmp_path / "run")
