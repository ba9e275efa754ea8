"""Embedding as a task: vectors of length 1, which query is right for which image, and how that is reported."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core.errors import BundleError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Answers
from eyewright.core.task import Limits, task_of
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.targets.captions import Captions
from eyewright.tasks import embed
from eyewright.tasks.corrections import NotUsableError
from eyewright.tasks.embed_ranks import both_ways
from eyewright.tasks.embed_report import REPORTING
from eyewright.tasks.embed_results import EmbedResults
from eyewright.testing import check_reporting, check_task

TASK = task_of("embed")
NAMES = LabelSpace(("typicality",))
PLACES: Any = [None, None]
RAW = {"embedding": np.array([[0.6, 0.8], [1, 0]], np.float32), "typicality": np.array([[1], [0.5]], np.float32)}


def results(seed: int = 0, n: int = 16) -> EmbedResults:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # Half of the queries lie where their image does.
    queries = np.where(np.arange(n)[:, None] % 2, rng.normal(size=(n, 8)), vectors)
    samples = tuple(Sample(f"{i}.png", Captions((f"image {i}",)), group=f"g{i // 2}") for i in range(n))
    tree: Any = SimpleNamespace(root=None)
    return EmbedResults(
        Dataset(tree, samples, NAMES, "csv", "embed"), vectors.astype("f4"), np.ones((n, 1), "f4"),
        queries.astype("f4"), np.arange(n), tuple(f"image {i}" for i in range(n)), np.zeros(n, np.int64),
    )  # fmt: skip


def test_the_task_is_complete() -> None:
    check_task(TASK)


def test_the_reporting_is_complete() -> None:
    check_reporting(results())


def test_the_vector_travels_as_base64_of_float32() -> None:
    import base64

    first = TASK.decode(RAW, PLACES, NAMES)[0]
    told = first.to_json()
    assert np.frombuffer(base64.b64decode(told["embedding"]), "<f4").tolist() == pytest.approx([0.6, 0.8])
    assert (told["dimensions"], told["typicality"]) == (2, 1.0)


def test_vectors_of_another_length_are_refused() -> None:
    for wrong in ({**RAW, "embedding": RAW["embedding"] * 2}, {"embedding": RAW["embedding"]}):
        with pytest.raises(BundleError, match="expected"):
            TASK.decode(wrong, PLACES, NAMES)


def test_runtimes_agree_by_their_cosine() -> None:
    def answers(vectors: np.ndarray[Any, Any]) -> Answers:
        near = RAW["typicality"]
        return Answers(SimpleNamespace(labels=NAMES), {"embedding": vectors, "typicality": near}, PLACES)  # type: ignore[arg-type]

    other = np.array([[0.6, 0.8], [0.8, 0.6]], np.float32)
    found = TASK.agree(answers(RAW["embedding"]), answers(other), TASK.limits["float32"])
    assert (found.worst, found.changed) == (pytest.approx(0.2, abs=1e-6), 1)


def test_images_of_one_caption_are_all_right_for_it() -> None:
    images = np.eye(3)
    queries = np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    there, back = both_ways(images, queries, np.array([0, 1, 2]), ["cat", "cat", "dog"])
    assert there.ranks.tolist() == [1, 1, 1], "the image of the other cat answers the question"
    assert back.ranks.tolist() == [2, 1, 1], "of two queries both score 0 for the first image"


def test_nets_of_a_cross_validation_are_compared_each_by_itself() -> None:
    whole = results()
    even, odd = (np.arange(16) % 2 == k for k in (0, 1))

    def part(rows: np.ndarray[Any, Any], turned: int) -> EmbedResults:
        return EmbedResults(
            whole.dataset.with_samples(s for s, r in zip(whole.dataset.samples, rows, strict=True) if r),
            np.roll(whole.vectors[rows], turned, 1), whole.typicality[rows], np.roll(whole.queries[rows], turned, 1),
            np.arange(8), tuple(np.array(whole.texts)[rows]), np.zeros(8, np.int64),
        )  # fmt: skip

    joined = REPORTING.together([part(even, 0), part(odd, 3)], 2, whole.dataset)
    for rows, k in ((even, 0), (odd, 3)):
        alone = part(rows, k).ranks[0]
        inside = np.isin(joined.ranks[0].items, np.flatnonzero(rows))
        assert sorted(joined.ranks[0].ranks[inside]) == sorted(alone.ranks)


def test_feedback_on_a_vector_is_a_caption() -> None:
    assert TASK.feedback.corrected(SimpleNamespace(content={"text": "a red car"})) == Captions(("a red car",))
    with pytest.raises(NotUsableError, match="neither right nor wrong"):
        TASK.feedback.corrected(SimpleNamespace(content={"correct": True}))


def test_with_a_flip_the_vector_is_the_mean_at_length_1(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = TASK.decode(RAW, PLACES, NAMES)
    seen: list[Any] = []

    def predict(predictor: Any, images: Any) -> list[Any]:
        seen.append(images)
        return [first, second][: len(images)]

    monkeypatch.setattr(embed, "predict_everything", predict)
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    both = TASK.views(None, image, flip=True, tile=None, overlap=0.0, iou=None)  # type: ignore[arg-type]
    assert np.array_equal(seen[0][1], image[:, ::-1])
    mean = np.array([0.8, 0.4])
    assert both.embedding.tolist() == pytest.approx((mean / np.linalg.norm(mean)).tolist())  # type: ignore[attr-defined]
    assert both.typicality.tolist() == [0.75]  # type: ignore[attr-defined]
    alone = TASK.views(None, image, flip=False, tile=None, overlap=0.0, iou=None)  # type: ignore[arg-type]
    assert alone.embedding.tolist() == pytest.approx([0.6, 0.8])  # type: ignore[attr-defined]
    assert len(seen[1]) == 1


def test_an_explanation_is_the_cosine_with_what_the_vector_was() -> None:
    (target,) = TASK.explained(RAW, None, None, None)
    assert (target.label, target.shown, target.box, target.cells) == (0, "similarity to itself", None, 8)
    turned = {"embedding": np.array([[0.6, 0.8], [1, 0], [-1, 0]], np.float32)}
    assert target(turned).tolist() == pytest.approx([1, 0.6, 0])
    assert TASK.summary(np.array([[0.5, 0.1], [0.25, 0.2]]))[1].tolist() == [0.5, 0.25]
    assert TASK.labelled(np.array([[0.5], [0.25]])).tolist() == [[1], [1]]
    assert list(TASK.counted([1, 1])) == [1, 1]


def test_a_typicality_that_moved_is_another_answer_as_a_vector_that_turned_is() -> None:
    def changed(vector: list[float], near: list[float], tolerance: float) -> tuple[float, int]:
        """Compare two images; only the second one's vector and typicalities are others."""
        first = {"embedding": np.array([[1.0, 0], [1, 0]]), "typicality": np.array([[0.5, 0.25], [0.5, 0.25]])}
        second = {"embedding": np.array([[1.0, 0], vector]), "typicality": np.array([[0.5, 0.25], near])}
        found = TASK.agree(
            Answers(None, first, PLACES), Answers(None, second, PLACES), Limits(tolerance, 0.99)  # type: ignore[arg-type]
        )  # fmt: skip
        return found.worst, found.changed

    assert changed([1, 0], [0.5, 0.25], 1e-4) == (0.0, 0)
    # The last of two typicalities is an eighth off; a vector at a cosine of 0.6 is 0.4 off, whatever its length.
    assert changed([1, 0], [0.5, 0.375], 0.125) == (0.125, 0)
    assert changed([1, 0], [0.5, 0.375], 0.12) == (0.125, 1)
    worst, number = changed([3, 4], [0.5, 0.25], 0.1)
    assert (worst, number) == (pytest.approx(0.4), 1)


def test_a_prediction_says_its_typicality_and_size() -> None:
    first = replace(TASK.decode(RAW, PLACES, NAMES)[1], source="a.png", index=2, time_s=0.5)
    assert first.line() == "vector of 2 numbers, typicality 0.500"
    assert first.headline() == ("typicality", 0.5)
    assert first.to_hub() == [{"label": "typicality", "score": 0.5}]
    told = first.to_json()
    assert (told["source"], told["index"], told["time_s"], told["typicality"]) == ("a.png", 2, 0.5, 0.5)
    assert first.numbers().tolist() == [0.5]


def test_the_example_has_vectors_of_length_1_and_two_captions_near_each() -> None:
    raw, true = TASK.example(np.random.default_rng(0))
    assert np.linalg.norm(raw["embedding"], axis=1).tolist() == pytest.approx([1.0] * 12)
    assert (raw["embedding"].shape, raw["typicality"].shape) == ((12, 8), (12, 3))
    assert 0.5 <= raw["typicality"].min() <= raw["typicality"].max() <= 1
    assert [t.shape for t in true] == [(2, 8)] * 12
    apart = np.stack(true) - raw["embedding"][:, None]
    assert 0.15 < apart.std() < 0.25
    metrics = TASK.score(TASK.decode(raw, [None] * 12, LabelSpace(("a", "b", "c"))), true, rng=np.random.default_rng(0))  # type: ignore[list-item]
    assert metrics["recall_at_10"].n == 12
