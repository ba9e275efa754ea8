"""What a generator's arrays mean, how its images are measured, and which faults are found."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eyewright.core.drawing import ClassInput, NoiseInput, noise_of
from eyewright.core.errors import BundleError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.task import task_of
from eyewright.data import open_dataset
from eyewright.imaging import write_image
from eyewright.imaging.marking import is_marked, marked_png
from eyewright.tasks.generate import GeneratedImage
from eyewright.tasks.generate_page import find_faults, grid_of
from eyewright.tasks.generate_report import REPORTING, GenerateResults
from eyewright.testing import check_reporting, check_task

TASK = task_of("generate")
N = 200


@dataclass(frozen=True, eq=False)
class Known:
    """A judge whose features are given."""

    train: NDArray[np.float32]
    held_out: NDArray[np.float32]
    digest: str = "0" * 64

    @property
    def labels(self) -> LabelSpace:
        return LabelSpace(("cat", "dog"))

    @property
    def accuracy(self) -> dict[str, float]:
        return {"value": 0.98, "low": 0.97, "high": 0.99, "n": 1000.0}

    @property
    def axes(self) -> NDArray[np.float64]:
        return np.eye(self.train.shape[1])

    def prepared(self, images: Any) -> NDArray[np.uint8]:
        return np.stack(images)

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return pixels.reshape(len(pixels), -1).astype(np.float32), np.zeros(len(pixels), np.int64)


def drawn(seed: int, n: int = N, classes: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    shift = np.zeros(n) if classes is None else classes * 6
    return (rng.normal(size=(n, 8)) + shift[:, None]).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("generated")
    for k in range(N):
        name = place / ("cat", "dog")[k % 2] / f"{k:03d}.png"
        name.parent.mkdir(exist_ok=True)
        write_image(name, np.random.default_rng(k).integers(0, 256, (8, 8, 3)).astype(np.uint8))
    return place


def results(folder: Path, generated: Any = None, *, digest: str = "0" * 64) -> GenerateResults:
    dataset = open_dataset(folder, task="generate")
    classes = dataset.targets
    known = Known(drawn(1, 2 * N, np.arange(2 * N) % 2), drawn(2, N, np.arange(N) % 2), digest)
    own = drawn(4, N, classes) if generated is None else generated(known, classes)
    return GenerateResults(dataset, drawn(3, N, classes), own, classes.copy(), known)


def test_the_task_is_complete() -> None:
    check_task(TASK)


def test_the_reporting_is_complete(folder: Path) -> None:
    check_reporting(results(folder))


def test_good_images_have_no_error_and_numbers_beside_what_real_images_reach(folder: Path) -> None:
    report = REPORTING.report(results(folder))
    assert [f.code for f in find_faults(report)] == ["few_images"]
    assert (report.metrics["coverage"].value or 0) > 0.9
    assert (report.metrics["coverage_floor"].value or 0) > 0.9
    assert (report.metrics["fid"].value or 9) < 3 * (report.metrics["fid_floor"].value or 0)
    assert report.metrics["label_agreement"].value == 1
    text = REPORTING.summary(report)
    assert "accuracy 98.0%" in text
    assert "no part in training" in text


def test_planted_copies_are_an_error(folder: Path) -> None:
    def copied(known: Known, classes: NDArray[np.int64]) -> NDArray[np.float32]:
        own = drawn(4, N, classes)
        own[:20] = known.train[:20] + 0.01
        return own

    faults = find_faults(REPORTING.report(results(folder, copied)))
    (one,) = [f for f in faults if f.code == "copies"]
    assert one.severity == "error"
    assert "nearer to a training image than 99%" in one.message


def test_a_planted_collapse_is_an_error_and_so_is_that_of_one_class(folder: Path) -> None:
    def one_mode(known: Known, classes: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(drawn(5, 1)[0] + drawn(6, N) * 0.1, np.float32)

    def one_class(known: Known, classes: NDArray[np.int64]) -> NDArray[np.float32]:
        own = drawn(4, N, classes)
        own[classes == 1] = own[classes == 1][0] + drawn(6, int((classes == 1).sum())) * 0.05
        return own

    (whole,) = [f for f in find_faults(REPORTING.report(results(folder, one_mode))) if f.code == "collapse"]
    assert whole.severity == "error"
    (part,) = [f for f in find_faults(REPORTING.report(results(folder, one_class))) if f.code == "collapse"]
    assert "coverage of dog" in part.message


def test_a_weak_judge_is_said(folder: Path) -> None:
    report = REPORTING.report(results(folder))
    judge = {**report.tables["judge"], "accuracy": {"value": 0.1, "low": 0.09, "high": 0.11, "n": 100.0}}
    weak = replace(report, tables={**report.tables, "judge": judge})
    assert "weak_judge" in [f.code for f in find_faults(weak)]


def test_generators_with_other_judges_are_not_compared(folder: Path) -> None:
    with pytest.raises(UsageError, match="other judges"):
        REPORTING.compare(results(folder), results(folder, digest="1" * 64), 0)
    collapsed = results(folder, lambda known, classes: drawn(5, 1)[0] + drawn(6, N) * 0.1)
    assert REPORTING.compare(collapsed, results(folder), 0).better == "b"


def test_grey_images_stay_grey_until_they_are_shown() -> None:
    labels = LabelSpace(("cat", "dog"))
    raw = {"image": np.full((2, 4, 4, 1), 300, np.float32)}
    one, two = TASK.decode(raw, [{"class": 1, "noise": None}, {"class": 0, "noise": None}], labels)
    assert isinstance(one, GeneratedImage)
    assert isinstance(two, GeneratedImage)
    assert (one.label, two.label) == ("dog", "cat")
    assert one.pixels.shape == (4, 4, 1)
    assert one.pixels.max() == 255
    assert one.plot().shape == (4, 4, 3)
    with pytest.raises(BundleError, match="1 or 3 channels"):
        TASK.decode({"image": np.zeros((1, 4, 4, 2), np.float32)}, [{"class": 0}], labels)
    assert grid_of(np.zeros((5, 4, 4, 1), np.uint8), 3).shape == (11, 16, 3)


def test_noise_of_a_seed_is_the_same_everywhere() -> None:
    # By hand: PCG64 of the stream "noise"; a change would change every image that a seed stands for.
    assert noise_of(7, (4,)).round(4).tolist() == pytest.approx(NOISE_OF_7, abs=1e-4)
    noise, ids = NoiseInput((4,)), ClassInput(3)
    for one in (noise, ids):
        assert type(one).from_json(one.to_json()) == one
    assert np.array_equal(noise.batch([7])[0], noise.batch([noise.pack(7)])[0])
    with pytest.raises(UsageError, match="class ids from 0 to 2"):
        ids.batch([3])
    for wrong in ({"shape": [0]}, {"shape": "4"}, {}, {"shape": [4], "x": 1}, {"shape": [1 << 30]}):
        with pytest.raises(BundleError):
            NoiseInput.from_json(wrong)
    with pytest.raises(BundleError):
        ClassInput.from_json({"classes": 0})


NOISE_OF_7 = [-0.4157, 1.4263, 0.373, 0.1918]


def test_a_marked_file_says_so_and_others_do_not() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    data = marked_png(image, {"model": "abc", "seed": "7"})
    assert is_marked(data)
    assert b"trainedAlgorithmicMedia" in data
    import io

    from PIL import Image

    with Image.open(io.BytesIO(data)) as found:
        assert found.text["eyewright:seed"] == "7"  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(found), image)
    with Image.open(io.BytesIO(marked_png(image[..., :1], {}))) as grey:
        assert grey.mode == "L"
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    assert not is_marked(buffer.getvalue())
    with pytest.raises(UsageError):
        marked_png(image.astype(np.float32), {})  # type: ignore[arg-type]
