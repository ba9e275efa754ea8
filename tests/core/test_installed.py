"""A small package, installed for these tests, adds a task, a net, a step, a reader and a target."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

import eyewright as ew
import eyewright.lifecycle as lifecycle
from eyewright.cli.program import main
from eyewright.core import installed as door
from eyewright.core import task as tasks
from eyewright.core.errors import CheckpointError, DatasetError, UsageError
from eyewright.core.task import task_names, task_of
from eyewright.lifecycle import tuning
from eyewright.testing import check_task
from eyewright.training.recipe import read_recipe

PACKAGE = '''
"""An add-on with one of each."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from eyewright.core.task import task_of
from eyewright.data.targets.objects import no_objects
from eyewright.data.readers import Found, Marked, Reader
from eyewright.data.targets.numbers import NUMBERS, Numbers, Quantity
from eyewright.delivery.target import Target
from eyewright.imaging.steps import Kind

CANARY = replace(task_of("classify"), name="canary")


def tiny_net(n_classes, *, channels, size_hw):
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, n_classes))


def broken_net(n_classes, *, channels, size_hw):
    raise RuntimeError("no such device")


def turn_over(image):
    return np.ascontiguousarray(image[::-1])


TURN_OVER = Kind(turn_over, "geometry", "upside down", "turn-over")


def _reads(tree, names):
    return "addon.txt" in names


def _read(tree, names, images):
    found = []
    for line in tree.content("addon.txt").decode().splitlines():
        name, x0, y0, x1, y1 = line.split()
        boxes = np.array([[float(v) for v in (x0, y0, x1, y1)]])
        found.append(Marked(name, None, replace(no_objects(), boxes_xyxy=boxes, label_ids=np.zeros(1, np.int64),
                                                crowd=np.zeros(1, bool))))
    return Found("addon", found, ("thing",), files={"addon.txt"})


READER = Reader("addon.txt: a name and a box a line", _reads, _read)


def _write(bundle, model: bytes, folder: Path):
    (folder / "net.bin").write_bytes(model[::-1])
    return {"files": ["net.bin"]}


def _session(files):
    import onnxruntime

    return onnxruntime.InferenceSession(bytes(files["net.bin"])[::-1], providers=["CPUExecutionProvider"])


def _reads_gauges(tree, names):
    return "gauges.txt" in names


def _read_gauges(tree, names, images):
    found = []
    for line in tree.content("gauges.txt").decode().splitlines():
        name, value = line.split()
        found.append(Marked(name, None, Numbers((float(value),), (Quantity("pressure", "bar"),))))
    return Found("gauges", found, ("pressure [bar]",), kind=NUMBERS, files={"gauges.txt"})


GAUGES = Reader("gauges.txt: a name and a number a line", _reads_gauges, _read_gauges)
BACKWARDS = Target(_write, _session)


def half_step(state, batch):
    """The usual update with half of the loss."""
    from eyewright.training.steps import own_loss, update

    return update(state, batch, lambda outputs: own_loss(state, batch, outputs) / 2)


def failing_step(state, batch):
    return state.optimizer


def silent_step(state, batch):
    half_step(state, batch)


NONSENSE = "no target"
'''
ENTRIES = """
[eyewright.tasks]
canary = eyewright_addon:CANARY
[eyewright.nets]
tiny_addon = eyewright_addon:tiny_net
gone_addon = eyewright_addon:nothing
broken_addon = eyewright_addon:broken_net
[eyewright.steps]
turn-over = eyewright_addon:TURN_OVER
odd-step = eyewright_addon:NONSENSE
[eyewright.training_steps]
half = eyewright_addon:half_step
failing = eyewright_addon:failing_step
silent = eyewright_addon:silent_step
gone = eyewright_addon:no_step
nonsense = eyewright_addon:NONSENSE
[eyewright.readers]
addon = eyewright_addon:READER
gauges = eyewright_addon:GAUGES
[eyewright.targets]
backwards = eyewright_addon:BACKWARDS
"""


def _forget() -> None:
    for cached in (door.installed, door.open_installed, tasks._table, tasks.task_of):
        cached.cache_clear()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def addon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    site = tmp_path / "site"
    about = site / "eyewright_addon-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "eyewright_addon.py").write_text(PACKAGE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: eyewright-addon\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(site))
    _forget()
    yield
    sys.modules.pop("eyewright_addon", None)
    _forget()


def test_a_task_of_a_package_conforms_and_stands_last() -> None:
    assert task_names()[-1] == "canary"
    check_task(task_of("canary"))
    with pytest.raises(UsageError, match="did you mean 'canary'"):
        task_of("canry")


def test_a_net_of_a_package_is_listed_and_trained(shapes: Path, tmp_path: Path) -> None:
    assert lifecycle.models()["tiny_addon"] == "of the package eyewright-addon"
    run = ew.train(shapes, model="tiny_addon", epochs=1, out=tmp_path / "run")
    assert run.recipe.model == "tiny_addon"
    with pytest.raises(UsageError, match="is for the task 'classify'"):
        ew.train(shapes, model="tiny_addon", task="detect", epochs=1, out=tmp_path / "other")
    with pytest.raises(UsageError, match="of eyewright-addon cannot be imported"):
        ew.train(shapes, model="gone_addon", epochs=1, out=tmp_path / "other")


def test_a_net_of_a_package_that_cannot_be_built_is_named(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'broken_addon' cannot be built: RuntimeError: no such device"):
        ew.train(shapes, model="broken_addon", epochs=1, out=tmp_path / "run")


def test_a_search_leaves_out_dropout_of_a_net_that_has_none() -> None:
    trial = optuna.create_study().ask()
    drawn = tuning._suggest(trial, ew.Recipe(model="tiny_addon"), first=False)
    assert drawn.dropout == 0
    assert drawn.lr is not None


def test_a_step_of_a_package_is_done() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(4, 3)
    assert np.array_equal(ew.process(image, "turn-over | invert"), 255 - image[::-1])
    with pytest.raises(UsageError, match="expected the installed step 'odd-step' as a Kind"):
        ew.process(image, "odd-step")


def test_a_training_step_of_a_package_is_listed_and_learns(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(shapes), "--epochs", "1", "--batch", "16", "--imgsz", "24", "--model", "quick_net", "--quiet"]
    assert main(["train", *given, "--step", "half", "--out", str(tmp_path / "half")]) == 0
    assert main(["train", *given, "--out", str(tmp_path / "plain")]) == 0
    half, plain = ((tmp_path / n / "metrics.csv").read_text().splitlines()[1] for n in ("half", "plain"))
    assert half != plain
    recipe = (tmp_path / "half/recipe.toml").read_text()
    assert 'step = "half"' in recipe
    assert 'packages = "eyewright-addon 1.0"' in recipe
    assert "packages" not in (tmp_path / "plain/recipe.toml").read_text()
    assert json.loads((tmp_path / "half/run.json").read_text())["versions"]["eyewright-addon"] == "1.0"
    capsys.readouterr()
    main(["models"])
    assert "half        of the package eyewright-addon 1.0" in capsys.readouterr().out
    main(["train", "--help"])
    assert "a step of an installed package: half, failing" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("hafl", "unknown step 'hafl'; did you mean 'half'?"),
        ("gone", "'gone' of eyewright-addon cannot be imported"),
        ("nonsense", "expected the training step 'nonsense' of eyewright-addon 1.0 as a function of (state, batch), "),
        ("failing", "the training step 'failing' of eyewright-addon 1.0 failed: 'TrainState' object has no attribute"),
        ("silent", "expected the loss as a tensor of one number, found NoneType"),
        ("eyewright_addon:failing_step", "the training step 'eyewright_addon:failing_step' failed: 'TrainState'"),
        ("eyewright_addon:no_step", "cannot import the training step 'eyewright_addon:no_step'"),
    ],
)
def test_a_training_step_that_cannot_be_used_ends_with_one_line(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], step: str, said: str
) -> None:
    given = [str(shapes), "--epochs", "1", "--batch", "16", "--step", step, "--out", str(tmp_path / "run"), "--quiet"]
    assert main(["train", *given]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1


def test_a_run_with_a_step_of_a_package_is_continued_with_the_same_version_only(
    addon: None, shapes: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"step": "half", "batch": 16, "out": tmp_path / "run", "epochs": 2}

    def stop(row: object) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        ew.train(shapes, observe=stop, **given)
    meta = tmp_path / "site/eyewright_addon-1.0.dist-info/METADATA"
    meta.write_text(meta.read_text().replace("Version: 1.0", "Version: 2.0"))
    _forget()
    with pytest.raises(CheckpointError, match=r"packages eyewright-addon 1\.0, now eyewright-addon 2\.0"):
        ew.train(shapes, resume=True, **given)
    meta.write_text(meta.read_text().replace("Version: 2.0", "Version: 1.0"))
    _forget()
    assert len(ew.train(shapes, resume=True, **given).history()) == 2


def test_a_recipe_with_a_step_that_is_not_installed_names_its_package(shapes: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('step = "third"\npackages = "eyewright-thirds 3.1"\nepochs = 1\n')
    with pytest.raises(UsageError, match=r"unknown step 'third'; the recipe was written with eyewright-thirds 3\.1"):
        ew.train(shapes, recipe=read_recipe(recipe), out=tmp_path / "run")


def test_a_name_in_two_packages_is_refused(addon: None, shapes: Path, tmp_path: Path) -> None:
    other = tmp_path / "site/eyewright_other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: eyewright-other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[eyewright.training_steps]\nhalf = eyewright_addon:half_step\n")
    _forget()
    with pytest.raises(UsageError, match="is in eyewright-addon and in eyewright-other; remove one"):
        ew.train(shapes, step="half", epochs=1, out=tmp_path / "run")


def test_a_reader_of_a_package_reads_its_own_format(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for i in range(12):
        ew.write_image(data / f"{i}.png", np.random.default_rng(i).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    (data / "addon.txt").write_text("".join(f"{i}.png 1 2 9 {8 + i / 4}\n" for i in range(12)))
    found = ew.load_dataset(data)
    assert (found.format, found.task, len(found)) == ("addon", "detect", 12)
    assert found.objects(0, (20, 30)).boxes_xyxy[0, :3].tolist() == [1.0, 2.0, 9.0]
    assert "addon" in lifecycle.formats()["datasets"]


def _gauges(folder: Path, text: str) -> Path:
    folder.mkdir()
    for i in range(20):
        image = np.random.default_rng(i).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        ew.write_image(folder / f"{i}.png", image)
    (folder / "gauges.txt").write_text(text)
    return folder


@pytest.mark.parametrize("task", [None, "regress"])
def test_a_reader_of_a_package_is_asked_before_all_formats_whatever_the_task(tmp_path: Path, task: str | None) -> None:
    data = _gauges(tmp_path / "data", "".join(f"{i}.png {i / 2}\n" for i in range(20)))
    # A table that a built-in format would read.
    (data / "labels.csv").write_text("path,label\n" + "".join(f"{i}.png,a\n" for i in range(20)))
    found = ew.load_dataset(data, task=task)
    assert (found.format, found.task, found.labels.names) == ("gauges", "regress", ("pressure [bar]",))
    with pytest.raises(DatasetError, match=r"expected objects for 'detect', found numbers \(gauges\)"):
        ew.load_dataset(data, task="detect")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.png much\n", "the installed reader 'gauges' failed: ValueError: could not convert string to float: 'much'"),
        ("0.png 1\n0.png 2\n", "the installed reader 'gauges' returned the image '0.png' twice"),
    ],
)
def test_what_a_reader_of_a_package_does_wrong_is_said_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(said)):
        ew.load_dataset(_gauges(tmp_path / "data", text), task="regress")


def test_class_ids_of_a_reader_must_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    ew.write_image(data / "0.png", np.zeros((20, 30, 3), np.uint8))
    (data / "addon.txt").write_text("0.png 1 2 9 8\n")
    reader = door.open_installed("eyewright.readers", "addon")
    nameless = replace(reader, read=lambda *given: replace(reader.read(*given), names=()))
    monkeypatch.setattr("eyewright.data.readers.annotated.installed_readers", lambda: {"addon": nameless})
    with pytest.raises(DatasetError, match=r"returned the class id 0 for '0\.png', and 0 class names"):
        ew.load_dataset(data)


def test_a_target_of_a_package_passes_the_parity_gate(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from eyewright.delivery.target import open_target

    made = lifecycle.deliver(finished.paths["bundle"], tmp_path / "out", to="backwards")
    assert made.parity is not None
    assert made.parity.decisions_changed == 0
    assert (tmp_path / "out" / "net.bin").exists()
    with pytest.raises(UsageError, match="did you mean 'backwards'"):
        lifecycle.deliver(finished.paths["bundle"], tmp_path / "b", to="backward")
    assert open_target(tmp_path / "out").task_name == "classify"
