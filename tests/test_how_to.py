"""The how-to page adds a task: its blocks are written out as the package they are, installed, and used."""

import dataclasses
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.conftest import serving

import eyewright as ew
from eyewright.core import installed as door
from eyewright.core import task as tasks
from eyewright.core.errors import UsageError
from eyewright.core.prediction import Prediction
from eyewright.core.task import Task, option_names, task_of
from eyewright.evaluation.reporting import Reporting, Results
from eyewright.evaluation.results import gather_results
from eyewright.imaging import encode_image
from eyewright.testing import check_predictor, check_task
from eyewright.testing.reports import check_reporting
from eyewright.training.learner import Learner, Learning

PAGE = Path(__file__).parents[1] / "docs/how-to/add-a-task.md"
FILES = dict(re.findall(r"`([\w./]+)`:\n\n```(?:python|toml)\n(.*?)```", PAGE.read_text(), re.DOTALL))


def section(title: str) -> str:
    """Return the part of the page below a heading of the reference."""
    return re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)[1:][SECTIONS.index(title)]


SECTIONS = re.findall(r"^### (.*)$", PAGE.read_text(), re.MULTILINE)


def members_of(protocol: type) -> set[str]:
    named = {*vars(protocol), *getattr(protocol, "__annotations__", {})}
    return {name for name in named if not name.startswith("_")}


def fields_of(value: Any) -> set[str]:
    return {f.name for f in dataclasses.fields(value)}


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("Task", fields_of(Task) | set(option_names())),
        ("Prediction", members_of(Prediction)),
        ("Reporting", fields_of(Reporting) | members_of(Results)),
        ("Learner", fields_of(Learner) | members_of(Learning)),
    ],
)
def test_the_reference_describes_every_field_that_there_is(title: str, names: set[str]) -> None:
    described = {name for row in re.findall(r"`([^`]+)`", section(title)) for name in re.findall(r"^\w+", row)}
    assert not names - described


@pytest.mark.parametrize(("title", "value"), [("Task", Task), ("Reporting", Reporting), ("Learner", Learner)])
def test_the_reference_describes_no_field_that_there_is_not(title: str, value: Any) -> None:
    first = re.search(r"\| field \|.*\n\|[-|]+\n((?:\|.*\n)+)", section(title))
    assert first
    assert set(re.findall(r"^\| `(\w+)` \|", first.group(1), re.MULTILINE)) == fields_of(value)


def _forget() -> None:
    for cached in (door.installed, door.open_installed, tasks._table, tasks.task_of):
        cached.cache_clear()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    about = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = folder / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    lines = [f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in e.items()) for g, e in about["entry-points"].items()]
    (info / "entry_points.txt").write_text("".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", ":".join([str(folder), *filter(None, sys.path)]))
        _forget()
        yield folder
    for name in [m for m in sys.modules if m.partition(".")[0] == "grades"]:
        del sys.modules[name]
    _forget()


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs of four sizes, which overlap."""
    folder, rng = tmp_path_factory.mktemp("data") / "discs", np.random.default_rng(0)
    rows, columns = np.mgrid[0:24, 0:24]
    for grade in range(4):
        for i in range(24):
            image = rng.integers(0, 70, (24, 24, 3)).astype(np.uint8)
            y, x = rng.integers(10, 14, 2)
            image[(rows - y) ** 2 + (columns - x) ** 2 <= (2.5 + 1.8 * grade + rng.normal(0, 0.6)) ** 2] = 200
            place = folder / f"{grade}-size" / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(encode_image(image))
    return folder


@pytest.fixture(scope="module")
def graded(package: Path, discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ew.run(discs, task="grade", out=tmp_path_factory.mktemp("graded") / "run", epochs=10, batch=16)


def test_the_page_adds_a_task_in_about_a_hundred_lines(package: Path) -> None:
    code = [line for text in FILES.values() for line in text.splitlines() if line.strip()]
    assert len(FILES) == 4
    assert len(code) <= 130
    check_task(task_of("grade"))
    assert "grade" in ew.tasks()
    with pytest.raises(UsageError, match="not supported for grading"):
        task_of("grade").require("mixing")


def test_its_kappa_is_that_of_scikit_learn(package: Path) -> None:
    from grades.task import numbers_of  # type: ignore[import-not-found]
    from sklearn.metrics import cohen_kappa_score, mean_absolute_error

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 200)
    given = np.clip(truth + rng.integers(-1, 3, 200), 0, 4)
    weights = rng.integers(0, 3, (1, 200)).astype(float)
    found = numbers_of(truth, given)(weights)
    expected = cohen_kappa_score(truth, given, weights="quadratic", sample_weight=weights[0])
    assert found["kappa_quadratic"][0] == pytest.approx(expected)
    assert found["grades_off"][0] == pytest.approx(mean_absolute_error(truth, given, sample_weight=weights[0]))


def test_it_learns_and_every_distribution_has_one_peak(graded: Any, discs: Path) -> None:
    assert graded.report.metrics["kappa_quadratic"].value > 0.6
    check_predictor(graded.bundle)
    for prediction in graded.bundle.predict(discs):
        rises = np.sign(np.diff(prediction.probabilities))
        assert (np.diff(rises[rises != 0]) <= 0).all(), prediction.probabilities
    page = graded.paths["report"].read_text()
    assert "quadratic kappa" in page


def test_it_is_reported_and_compared_as_the_protocol_asks(graded: Any, discs: Path) -> None:
    (results,) = gather_results([graded.bundle], ew.load_dataset(discs, task="grade"))
    check_reporting(results)
    assert ew.compare(graded.run, graded.bundle).better == "neither"


def test_it_is_served(graded: Any, discs: Path, tmp_path: Path) -> None:
    picture = next((discs / "3-size").iterdir())
    expected = graded.bundle.predict(picture)
    with serving(f"discs={graded.bundle.folder}", "--workers", "1", cwd=tmp_path) as server:
        found = server.post("/v1/models/discs/predict", picture.read_bytes()).json
    assert found["task"] == "grade"
    assert found["labels"][0] == expected.top1
    assert found["scores"] == pytest.approx(expected.scores[:4].tolist(), abs=1e-5)
