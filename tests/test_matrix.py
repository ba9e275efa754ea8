"""Every verb does what it is for with a task that Eyewright has never heard of, or refuses it in the one declared way.

The canary is classification under another name, of a package that is installed for these tests. What the four tasks of
the house can do is walked by the tests of each room; here every option is either supported or refused by `require`.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.conftest import draw_shape
from tests.lifecycle.test_exchange import write_model

import eyewright as ew
import eyewright.lifecycle as lifecycle
from eyewright.core import installed as door
from eyewright.core import task as tasks
from eyewright.core.errors import UsageError
from eyewright.core.task import option_names, task_names, task_of
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


@pytest.fixture(scope="module")
def canary(site: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ew.run(shapes, task="canary", out=tmp_path_factory.mktemp("canary") / "run", epochs=8, batch=16)


VERBS: dict[str, Callable[[Any, Path, Path], object]] = {}


def verb(name: str) -> Callable[[Callable[[Any, Path, Path], object]], Callable[[Any, Path, Path], object]]:
    def put(walk: Callable[[Any, Path, Path], object]) -> Callable[[Any, Path, Path], object]:
        VERBS[name] = walk
        return walk

    return put


@verb("doctor")
def _doctor(canary: Any, shapes: Path, out: Path) -> object:
    assert not lifecycle.doctor(shapes, task="canary", out=out)
    return list(out.glob("*.html"))


@verb("convert")
def _convert(canary: Any, shapes: Path, out: Path) -> object:
    return ew.convert(shapes, to="imagefolder", task="canary", out=out).images == 72


@verb("folds")
def _folds(canary: Any, shapes: Path, out: Path) -> object:
    found = ew.cross_validate(shapes, folds=2, task="canary", epochs=1, ensemble=True, out=out)
    assert found.report.task == "canary"
    return found.ensemble


@verb("tune")
def _tune(canary: Any, shapes: Path, out: Path) -> object:
    return ew.tune(shapes, trials=1, task="canary", epochs=1, out=out).run.recipe.task == "canary"


@verb("evaluate")
def _evaluate(canary: Any, shapes: Path, out: Path) -> object:
    report = ew.evaluate(canary.run, out=out)
    assert report.metrics["accuracy"].value == canary.report.metrics["accuracy"].value
    return "canary" in (out / "report.json").read_text()


@verb("compare")
def _compare(canary: Any, shapes: Path, out: Path) -> object:
    return ew.compare(canary.run, canary.bundle).better == "neither"


@verb("explain")
def _explain(canary: Any, shapes: Path, out: Path) -> object:
    image = shapes / "disc/000.png"
    assert ew.explain(canary.run, image, method="gradcam")
    return ew.explain(canary.bundle, image, method="occlusion", out=out)


@verb("compress")
def _compress(canary: Any, shapes: Path, out: Path) -> object:
    return ew.compress(canary.run, out=out, max_drop=["accuracy=60%"], budget="4s").bundle.task_name == "canary"


@verb("export")
def _export(canary: Any, shapes: Path, out: Path) -> object:
    pytest.importorskip("openvino")
    for target in ("openvino", "transformers.js", "web"):
        assert ew.deliver(canary.bundle.folder, out / target, to=target)
    return True


@verb("bench and verify")
def _bench(canary: Any, shapes: Path, out: Path) -> object:
    assert ew.verify(canary.bundle.folder)
    return ew.bench(canary.bundle.folder, seconds=0.2)


@verb("predict")
def _predict(canary: Any, shapes: Path, out: Path) -> object:
    image = shapes / "disc/000.png"
    (found,) = canary.bundle.predict_images([np.asarray(ew.read_image(image))])
    again = subprocess.run(
        [sys.executable, "-m", "eyewright", "predict", canary.bundle.folder, "--source", image],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    return found.top1 in again.stdout


@verb("import")
def _import(canary: Any, shapes: Path, out: Path) -> object:
    labels = list(canary.bundle.labels.names)
    model = out.parent / "theirs.onnx"
    write_model(model, shape=(1, 3))
    made = ew.import_onnx(model, out=out, task="canary", labels=labels, activation="softmax")
    return made.task_name == "canary"


@verb("serve")
def _serve(canary: Any, shapes: Path, out: Path) -> object:
    from tests.serving.conftest import serving

    out.mkdir()
    image = (shapes / "disc/000.png").read_bytes()
    with serving(f"c={canary.bundle.folder}", cwd=out) as served:
        assert served.post("/v1/models/c/predict", image).json["labels"]
        assert served.post("/predict/c", image).json[0]["label"] in canary.bundle.labels.names
        assert served.get("/v2/models/c").json["outputs"]
        assert served.get("/").status == 200
        assert "canary" in served.get("/openapi.json").body.decode()
        return served.get("/v1/models/c").json["task"] == "canary"


@verb("monitor")
def _monitor(canary: Any, shapes: Path, out: Path) -> object:
    from eyewright.bundle import bundle_digest
    from eyewright.monitoring import Recorder, RecorderSettings

    digest = bundle_digest(canary.bundle.folder)
    known = {digest: ("canary", canary.bundle.labels.names)}
    recorder = Recorder(out / "home", settings=RecorderSettings(keep_images=1.0), classes=lambda: known)
    for k in range(2):
        image = draw_shape("disc", np.random.default_rng(100 + k))
        (answer,) = canary.bundle.predict_images([image])
        seen = SimpleNamespace(
            look=np.zeros(34, "f4").tobytes(), answer=answer.numbers().tobytes(), size_hw=image.shape[:2], label="disc",
            score=0.9, unfamiliar=None,
        )  # fmt: skip
        recorder.note(
            SimpleNamespace(
                id=f"p{k}", time=1e9 + k, model="c", digest=digest, seen=seen, total_ms=1.0,
                picture=encode_image(image), shadow_of="",
            )
        )  # fmt: skip
        assert recorder.feedback(f"p{k}", {"label": "disc"})
    with pytest.raises(UsageError, match="unknown label"):
        recorder.feedback("p0", {"label": "dsic"})
    recorder.close()
    made = lifecycle.retrain(shapes, out=out / "again", home=out / "home", bundle=canary.bundle.folder, epochs=1)
    return made.new_images == 2


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_serves_a_task_that_it_has_never_heard_of(name: str, canary, shapes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert VERBS[name](canary, shapes, tmp_path / "out")


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
