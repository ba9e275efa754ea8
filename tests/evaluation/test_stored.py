"""Results of every task are stored and read back equal to the bit, as data that names no class."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.labels import LabelSpace
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.tree import FolderTree
from eyewright.evaluation.reporting import reporting_of
from eyewright.evaluation.stored import pack_results, unpack_results
from eyewright.metrics.matching import Detected
from eyewright.tasks import TASKS
from eyewright.tasks.box_results import BoxResults, Scene
from eyewright.tasks.class_results import ClassResults
from eyewright.tasks.embed_results import EmbedResults
from eyewright.tasks.mask_results import MaskResults
from eyewright.tasks.read_report import TextResults
from eyewright.tasks.regress_report import NumberResults
from eyewright.tasks.tag_report import TagResults

RNG = np.random.default_rng(0)
LOOKS = ((32.0, 101.25), (float("nan"), 1e-300))


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    samples = (Sample("a.png", 0), Sample("b.png", 1))
    return Dataset(FolderTree(tmp_path), samples, LabelSpace(("one", "two")), "imagefolder", "classify")


def scores(*shape: int) -> np.ndarray:
    return RNG.random(shape).astype(np.float32)


def scene() -> Scene:
    boxes, labels = RNG.random((3, 4)), np.array([0, 1, 1])
    found = Detected(boxes, labels, scores=RNG.random(3), areas=RNG.random(3))
    truth = Detected(boxes[:0], labels[:0], crowd=np.zeros(0, bool))
    return Scene(found, truth, np.zeros((3, 0)))


def made(data: Dataset) -> list[object]:
    return [
        ClassResults(data, scores(2, 2), LOOKS),
        BoxResults(data, (scene(), scene()), LOOKS, np.array([0.25, np.nan])),
        MaskResults(data, RNG.integers(0, 2**40, (2, 2, 2)), RNG.random((2, 2, 4)), LOOKS),
        TagResults(data, scores(2, 2), RNG.random(2), LOOKS),
        NumberResults(data, scores(2, 1), None, RNG.random(1)),
        TextResults(data, ("a\u0301\u2028\n", ""), RNG.random(2), scores(2, 3)),
        EmbedResults(
            data, scores(2, 5), scores(2), scores(3, 5), np.array([0, 0, 1]), ("x", "y", ""), np.zeros(2, int)
        ),
    ]


def same(a: object, b: object) -> bool:
    if dataclasses.is_dataclass(a):
        names = [f.name for f in dataclasses.fields(a)]
        return type(a) is type(b) and all(same(getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.tobytes() == b.tobytes() and a.shape == b.shape
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    return a is b or a == b or (a != a and b != b)


@pytest.mark.parametrize("k", range(7))
def test_results_come_back_equal(data: Dataset, k: int) -> None:
    results = made(data)[k]
    text = json.dumps(pack_results(results), allow_nan=False)
    back = unpack_results(type(results), json.loads(text), data)
    assert same(results, back)
    assert back.dataset is data
    assert type(results).__name__ not in text


def test_every_task_stores_what_it_gathers_or_says_that_it_does_not(data: Dataset) -> None:
    kinds = {name: reporting_of(name).stored for name in TASKS}
    assert {k for k, kind in kinds.items() if kind is None} == {"video", "generate", "restore"}
    assert {kind for kind in kinds.values() if kind} == {type(r) for r in made(data)}


def test_what_cannot_be_stored_is_refused() -> None:
    for bad in (np.array(["text"]), np.array([object()]), {1, 2}, object()):
        with pytest.raises(TypeError, match="cannot be stored"):
            pack_results(bad)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.__setitem__("scores", ["|O", [2, 2], found["scores"][2]]),
        lambda found: found["scores"].__setitem__(1, [2, 3]),
        lambda found: found["scores"].__setitem__(1, [2**40, 2]),
        lambda found: found["scores"].__setitem__(1, [-2, -2]),
        lambda found: found["scores"].__setitem__(2, "no base64!"),
        lambda found: found.pop("scores"),
        lambda found: found.__setitem__("looks", [[1.0]]),
    ],
)
def test_what_was_not_written_here_is_an_error(data: Dataset, change) -> None:  # type: ignore[no-untyped-def]
    found = pack_results(made(data)[0])
    change(found)
    with pytest.raises((ValueError, KeyError, TypeError)):
        unpack_results(ClassResults, found, data)
