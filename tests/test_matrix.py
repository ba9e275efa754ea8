"""Every verb works with every task of one answer per image, known or not, or refuses it in the one declared way.

The canary is classification under another name, of a package that is installed for these tests; tagging and regression
are walked beside it. Detection and segmentation are walked by the tests of each room; here every option of every task
is either supported or refused by `require`.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.conftest import draw_coloured, draw_gauge, draw_shape, draw_tags, draw_text
from tests.lifecycle.test_exchange import write_model

import eyewright as ew
import eyewright.lifecycle as lifecycle
from eyewright.core import installed as door
from eyewright.core import task as tasks
from eyewright.core.errors import EyewrightError, UsageError
from eyewright.core.task import option_names, task_names, task_of
from eyewright.data import open_dataset
from eyewright.imaging import encode_image

PACKAGE = """
from dataclasses import replace
from eyewright.core.task import task_of

CANARY = replace(task_of("classify"), name="canary")
"""


def _forget() -> None:
    for cached in (door.installed, door.open_installed, tasks._table, tasks.task_of):
        cached.cache_clear()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site")
    about = folder / "eyewright_canary-1.0.dist-info"
    about.mkdir()
    (folder / "eyewright_canary.py").write_text(PACKAGE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: eyewright-canary\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[eyewright.tasks]\ncanary = eyewright_canary:CANARY\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        # Workers and servers are processes of their own.
        patch.setenv("PYTHONPATH", ":".join([str(folder), *filter(None, sys.path)]))
        _forget()
        yield folder
    sys.modules.pop("eyewright_canary", None)
    _forget()


@dataclass(frozen=True)
class Subject:
    """A task with its trained run, and what the walk of a verb must know of it.

    `says` is true feedback and `unknown` feedback of a label that is none; `feeds` are lines of the table that feedback
    becomes, `refused` says how `unknown` is refused where it is no label, and `near` is how far the numbers of a
    compressed model may move. `configs` are configurations of Label Studio with the status that the server answers.
    """

    made: Any
    data: Path
    image: Path
    layout: str
    compress: Mapping[str, Any]
    near: float
    shown: Callable[[Any], str]
    draw: Callable[[int], np.ndarray]
    says: Sequence[Mapping[str, Any]]
    unknown: Mapping[str, Any]
    answers: str
    label: str | None = None
    hub: str = "label"
    table: str = "labels.csv"
    feeds: tuple[str, ...] = ()
    configs: tuple[tuple[str, int], ...] = ()
    refused: str = ""

    @property
    def task(self) -> Any:
        return task_of(self.made.bundle.task_name)

    @property
    def main(self) -> str:
        """The main metric."""
        return str(self.task.metrics[0].name)

    def refuses(self) -> Any:
        """What a declared refusal looks like."""
        return pytest.raises(EyewrightError, match=f"not supported for {self.task.words.noun}")


@pytest.fixture(scope="module")
def canary(site: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    made = ew.run(shapes, task="canary", out=tmp_path_factory.mktemp("canary") / "run", epochs=8, batch=16)
    return Subject(
        made, shapes, shapes / "disc/000.png", "imagefolder", {"max_drop": ["accuracy=60%"], "budget": "4s"}, 1.0,
        lambda found: found.top1, lambda k: draw_shape("disc", np.random.default_rng(100 + k)),
        [{"label": "disc"}, {"label": "disc"}], {"label": "dsic"}, "labels",
    )  # fmt: skip


_CHOICES = '<View><Image name="i" value="$image"/><Choices name="c" toName="i"{}/></View>'


@pytest.fixture(scope="module")
def tag(tagged: Any, tags: Path) -> Subject:
    return Subject(
        tagged, tags, tags / "000.png", "csv", {"max_drop": ["map=60%"], "budget": "2s"}, 1.0,
        lambda found: '"present"', lambda k: draw_tags(("disc",), np.random.default_rng(100 + k)),
        [{"tags": {"disc": True, "cross": False}}, {"correct": True}], {"tags": {"dsic": True}}, "labels", label="disc",
        configs=((_CHOICES.format(' choice="multiple"'), 200), (_CHOICES.format(""), 400)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def regress(read: Any, gauges: Path) -> Subject:
    budget = {"data": gauges, "max_drop": ["mae=0.5"], "methods": ["int8"], "budget": "6s"}
    return Subject(
        read, gauges, gauges / "0.png", "csv", budget, 100.0, lambda found: '"values"',
        lambda k: draw_gauge(5 + k, 100, np.random.default_rng(100 + k)),
        [{"values": {"level [mm]": 1500, "tint [%]": 25}}, {"correct": True}], {"values": {"levl [mm]": 1}}, "values",
        feeds=("path,level [mm],tint [%],split", "images/feedback-p0.png,1500.0,25.0,train"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def lines(lined: Any, texts: Path) -> Subject:
    budget = {"max_drop": ["cer=60%"], "methods": ["int8"], "budget": "6s"}
    return Subject(
        lined, texts, texts / "000.png", "csv", budget, 2.0, lambda found: f'"text": "{found.text}"',
        lambda k: draw_text("IL-", np.random.default_rng(100 + k)),
        [{"text": "IL-"}, {"correct": True}], {"text": "IQ"}, "text", hub="generated_text",
        feeds=("path,text,split", "images/train/feedback-p0.png,IL-,train", "images/train/feedback-p1.png,IL-,train"),
        table="lines.csv",
    )  # fmt: skip


@pytest.fixture(scope="module")
def words(paired: Any, pairs: Path) -> Subject:
    budget = {"max_drop": ["recall_at_10=60%"], "methods": ["int8"], "budget": "6s"}
    return Subject(
        paired, pairs, pairs / "000.png", "csv", budget, 0.3, lambda found: '"embedding": ',
        lambda k: draw_coloured(1000 + k),
        [{"text": "a red disc"}, {"text": "disc, green"}], {"text": "two\nlines"}, "embedding", table="captions.csv",
        refused="expected one line of text",
        feeds=("path,captions,split", 'images/train/feedback-p0.png,"[""a red disc""]",train'),
    )  # fmt: skip


VERBS: dict[str, Callable[[Subject, Path], object]] = {}


def verb(name: str) -> Callable[[Callable[[Subject, Path], object]], Callable[[Subject, Path], object]]:
    def put(walk: Callable[[Subject, Path], object]) -> Callable[[Subject, Path], object]:
        VERBS[name] = walk
        return walk

    return put


@verb("doctor")
def _doctor(of: Subject, out: Path) -> object:
    assert not [f for f in lifecycle.doctor(of.data, task=of.task.name, out=out) if f.severity == "error"]
    return list(out.glob("*.html"))


@verb("convert")
def _convert(of: Subject, out: Path) -> object:
    first = open_dataset(of.data, task=of.task.name)
    assert ew.convert(of.data, to=of.layout, task=of.task.name, out=out).images == len(first)
    again = open_dataset(out, task=of.task.name)
    said = [sorted(s.target.text(d.labels.names) for s in d.samples) for d in (first, again)]
    return said[0] == said[1]


@verb("folds")
def _folds(of: Subject, out: Path) -> object:
    given: dict[str, Any] = {"folds": 2, "task": of.task.name, "epochs": 1, "out": out}
    if "ensemble" not in of.task.options:
        with of.refuses():
            ew.cross_validate(of.data, ensemble=True, **given)
        return ew.cross_validate(of.data, **given).report.task == of.task.name
    found = ew.cross_validate(of.data, ensemble=True, **given)
    assert found.report.task == of.task.name
    image = np.asarray(ew.read_image(of.image))
    (joined,) = found.ensemble.predictor.predict_images([image])
    each = [r.predictor.predict_images([image])[0].numbers() for r in found.runs]
    return joined.numbers() == pytest.approx(np.mean(each, 0), abs=1e-4)


@verb("tune")
def _tune(of: Subject, out: Path) -> object:
    found = ew.tune(of.data, trials=1, task=of.task.name, epochs=1, out=out)
    assert f"val_{of.task.chosen or of.main}" in found.trials[0]
    return found.run.recipe.task == of.task.name


@verb("evaluate")
def _evaluate(of: Subject, out: Path) -> object:
    report = ew.evaluate(of.made.run, out=out)
    assert report.metrics[of.main].value == of.made.report.metrics[of.main].value
    return of.task.name in (out / "report.json").read_text()


@verb("compare")
def _compare(of: Subject, out: Path) -> object:
    found = ew.compare(of.made.run, of.made.bundle)
    assert abs(found.differences[of.main].value or 0) < 1e-3
    return found.better == "neither"


@verb("explain")
def _explain(of: Subject, out: Path) -> object:
    if "gradients" in of.task.options:
        (first, *_) = ew.explain(of.made.run, of.image, method="gradcam", label=of.label)
        assert of.label in (None, first.label)
    else:
        with of.refuses():
            ew.explain(of.made.run, of.image, method="gradcam")
    return ew.explain(of.made.bundle, of.image, method="occlusion", out=out)


@verb("attack")
def _attack(of: Subject, out: Path) -> object:
    given: dict[str, Any] = {"eps": "8/255", "steps": 2, "queries": 10, "n": 6}
    if "attack" not in of.task.options:
        with of.refuses():
            ew.attack(of.made.run, out=out, **given)
        return not out.exists()
    report = ew.attack(of.made.run, out=out, **given)
    assert report.metric == ("accuracy" if "certify" in of.task.options else of.main)
    assert report.verdict in ("evidence", "upper bound", "not evidence")
    if "certify" in of.task.options:
        assert ew.attack(of.made.bundle, of.data, allow_leaks=True, **given).access == "scores"
        return ew.certify(of.made.run, samples=20, n0=5, n=4, out=out).smoothed
    with pytest.raises(UsageError, match="expected a run, whose loss"):
        ew.attack(of.made.bundle, of.data, allow_leaks=True, **given)
    with of.refuses():
        ew.certify(of.made.run)
    return (out / "robustness.json").is_file()


@verb("harden")
def _harden(of: Subject, out: Path) -> object:
    given: dict[str, Any] = {"task": of.task.name, "epochs": 1, "batch": 16, "attack_steps": 1, "out": out}
    if "harden" not in of.task.options:
        with of.refuses():
            ew.harden(of.data, **given)
        return not (out / "run.json").exists()
    return f"val_robust_{of.task.chosen_by}" in ew.harden(of.data, **given).history()[-1]


@verb("compress")
def _compress(of: Subject, out: Path) -> object:
    small = ew.compress(of.made.bundle.folder if "data" in of.compress else of.made.run, out=out, **of.compress).bundle
    image = np.asarray(ew.read_image(of.image))
    before, after = (b.predict_images([image])[0].numbers() for b in (of.made.bundle, small))
    assert after == pytest.approx(before, abs=of.near)
    assert of.main in (out / "report.html").read_text()
    return small.task_name == of.task.name


@verb("export")
def _export(of: Subject, out: Path) -> object:
    pytest.importorskip("openvino")
    folder = of.made.bundle.folder
    assert ew.deliver(folder, out / "openvino", to="openvino")
    for target, borne in (
        ("transformers.js", "transformers.js" in of.task.foreign),
        ("web", "web" in of.task.options),
    ):
        if borne:
            assert ew.deliver(folder, out / target, to=target)
        else:
            with of.refuses():
                ew.deliver(folder, out / target, to=target)
    return True


@verb("bench and verify")
def _bench(of: Subject, out: Path) -> object:
    assert ew.verify(of.made.bundle.folder)
    return ew.bench(of.made.bundle.folder, seconds=0.2)


@verb("predict")
def _predict(of: Subject, out: Path) -> object:
    (found,) = of.made.bundle.predict_images([np.asarray(ew.read_image(of.image))])
    again = subprocess.run(
        [sys.executable, "-m", "eyewright", "predict", of.made.bundle.folder, "--source", of.image, "--json"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    return of.shown(found) in again.stdout


@verb("import")
def _import(of: Subject, out: Path) -> object:
    labels = list(of.made.bundle.labels.names)
    model = out.parent / "theirs.onnx"
    write_model(model, shape=(1, len(labels)))
    given: dict[str, Any] = {"out": out, "task": of.task.name, "labels": labels}
    if "import" not in of.task.options:
        with of.refuses():
            ew.import_onnx(model, **given)
        return not out.exists()
    activation = "softmax" if of.task.outputs[0].sums else "sigmoid"
    return ew.import_onnx(model, activation=activation, **given).task_name == of.task.name


@verb("serve")
def _serve(of: Subject, out: Path) -> object:
    from tests.serving.conftest import serving

    out.mkdir()
    image, names = of.image.read_bytes(), of.made.bundle.labels.names
    with serving(f"c={of.made.bundle.folder}", cwd=out) as served:
        found = served.post("/v1/models/c/predict", image).json[of.answers]
        assert found
        foreign = served.post("/predict/c", image)
        if "hub" in of.task.foreign:
            found = found if isinstance(found, str) else ""
            assert {row[of.hub] for row in foreign.json} <= {*names, found}
        else:
            assert "is not supported for" in foreign.json["error"]
        assert served.get("/v2/models/c").json["outputs"]
        assert served.get("/").status == 200
        assert of.task.name in served.get("/openapi.json").body.decode()
        for config, status in of.configs:
            setup = json.dumps({"project": "1", "schema": config}).encode()
            assert served.post("/setup", setup, type="application/json").status == status
        return served.get("/v1/models/c").json["task"] == of.task.name


@verb("monitor")
def _monitor(of: Subject, out: Path) -> object:
    from eyewright.bundle import bundle_digest
    from eyewright.monitoring import Recorder, RecorderSettings

    bundle = of.made.bundle
    digest = bundle_digest(bundle.folder)
    known = {digest: (of.task.name, bundle.labels.names)}
    recorder = Recorder(out / "home", settings=RecorderSettings(keep_images=1.0), classes=lambda: known)
    for k, said in enumerate(of.says):
        image = of.draw(k)
        (answer,) = bundle.predict_images([image])
        label, score = answer.headline()
        seen = SimpleNamespace(
            look=np.zeros(34, "f4").tobytes(), answer=answer.numbers().tobytes(), size_hw=image.shape[:2], label=label,
            score=score, unfamiliar=None,
        )  # fmt: skip
        recorder.note(
            SimpleNamespace(
                id=f"p{k}", time=1e9 + k, model="c", digest=digest, seen=seen, total_ms=1.0,
                picture=encode_image(image), shadow_of="",
            )
        )  # fmt: skip
        assert recorder.feedback(f"p{k}", dict(said))
    with pytest.raises(UsageError, match=of.refused or f"unknown (label|{of.task.words.label[0]})"):
        recorder.feedback("p0", dict(of.unknown))
    recorder.close()
    made = lifecycle.retrain(of.data, out=out / "again", home=out / "home", bundle=bundle.folder, epochs=1)
    if of.feeds:
        table = (out / "again" / "feedback" / of.table).read_text().splitlines()
        assert (table[0], set(table[1:]) >= set(of.feeds[1:])) == (of.feeds[0], True)
    return made.new_images == 2


# Tasks in the outer loop: the run of each is trained once.
@pytest.mark.parametrize(
    ("task", "name"), [(t, v) for t in ("canary", "tag", "regress", "lines", "words") for v in sorted(VERBS)]
)
def test_every_verb_serves_a_task_or_refuses_it(
    task: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    assert VERBS[name](request.getfixturevalue(task), tmp_path / "out")


def test_every_option_is_supported_or_refused_in_one_way(site: Path) -> None:
    assert "canary" in task_names()
    for name in task_names():
        task = task_of(name)
        assert task.options <= set(option_names())
        for option, asked in option_names().items():
            if option in task.options:
                task.require(option)
            else:
                with pytest.raises(UsageError, match=f"{asked} is not supported for {task.words.noun}"):
                    task.require(option)


def test_the_table_names_the_canary_beside_its_equal(site: Path) -> None:
    known = ew.tasks()
    assert known["canary"] == known["classify"]
