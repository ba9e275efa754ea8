"""What a report of embeddings holds and shows, by hand on three images that lie on the axes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.core.report import Metric, Report
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.targets.captions import Captions
from eyewright.metrics.bootstrap import resample
from eyewright.tasks import embed_report
from eyewright.tasks.embed_report import REPORTING, take_pictures
from eyewright.tasks.embed_results import EmbedResults

TEXTS = (("a cat", "an animal"), ("a dog",), ())


def data(texts: Any = TEXTS) -> Dataset:
    samples = tuple(Sample(f"d/{i}.png", Captions(own)) for i, own in enumerate(texts))
    tree: Any = SimpleNamespace(root=None)
    return Dataset(tree, samples, LabelSpace(("typicality",)), "csv", "embed")


def results(queries: Any = None) -> EmbedResults:
    """The first caption finds its image, the second its image last, and that of the dog the second image second."""
    asked = [[1.0, 0, 0], [0.1, 0.2, 0.3], [0.9, 0.8, 0.1]] if queries is None else queries
    return EmbedResults(
        data(), np.eye(3, dtype=np.float32), np.array([[1.0], [0.5], [0.25]], np.float32), np.array(asked, np.float32),
        np.array([0, 0, 1]), ("a cat", "an animal", "a dog"), np.zeros(3, np.int64),
    )  # fmt: skip


def test_an_image_is_scored_by_the_mean_of_one_over_its_ranks() -> None:
    made = results()
    assert made.ranks[0].ranks.tolist() == [1, 3, 2]
    assert made.each.tolist() == pytest.approx([(1 + 1 / 3) / 2, 0.5, 0.0])
    # Backwards, image 0 scores its captions 1.0 and 0.1, the other 0.9; image 1 scores the dog 0.8 first.
    assert made.ranks[1].ranks.tolist() == [1, 1]
    assert made.answers().tolist() == [[1.0], [0.5], [0.25]]
    assert made.asked("recall_at_1").tolist() == [True] * 3
    assert list(made.rows()) == [
        ("id", "ranks", "rank back"), ("d/0.png", "1 3", "1"), ("d/1.png", "2", "1"), ("d/2.png", "", ""),
    ]  # fmt: skip


def test_numbers_under_weights_are_recalls_of_the_images_that_are_asked_for() -> None:
    weights = np.array([[1.0, 1, 1], [3, 1, 9]])
    found = results().numbers()(weights)
    assert found["recall_at_1"].tolist() == pytest.approx([0.25, 1.5 / 4])
    assert found["recall_at_5"].tolist() == [1, 1]
    followed = results().followed()
    assert followed.number(weights).tolist() == [1, 1]
    plan = resample(3, replicates=9, rng=np.random.default_rng(0), groups=np.array(["a", "b", "c"]))
    samples = np.linspace(0.2, 0.9, 9)
    assert followed.interval(plan, 0.5, samples) == plan.interval(0.5, samples, kind="share", bounds=(0.0, 1.0))


def test_items_begin_with_the_image_that_is_found_worst() -> None:
    rows = REPORTING.items(results())
    assert [(r["index"], r["predicted"], r["true"]) for r in rows] == [
        (2, "no caption", ""), (1, "rank 2", "a dog"), (0, "rank 1", "a cat; an animal"),
    ]  # fmt: skip
    assert (rows[1]["id"], rows[1]["name"], rows[1]["score"]) == ("d/1.png", "1.png", 0.5)
    long = REPORTING.items(EmbedResults(
        data((("x" * 100,),)), np.eye(1, 3, dtype=np.float32), np.ones((1, 1), np.float32),
        np.eye(1, 3, dtype=np.float32), np.array([0]), ("x" * 100,), np.zeros(1, np.int64),
    ))  # fmt: skip
    assert long[0]["true"] == "x" * 80
    turned = results([[0.0, 1, 0], [0.1, 0.2, 0.3], [0.0, 0.8, 0.1]])
    assert REPORTING.changed(results(), turned) == [
        {"id": "d/1.png", "before": "rank 2", "after": "rank 1", "true": "a dog"},
        {"id": "d/0.png", "before": "rank 1", "after": "rank 3", "true": "a cat; an animal"},
    ]


def test_a_report_holds_the_worst_queries_with_what_they_found() -> None:
    report = REPORTING.report(results())
    assert report.tables["queries"] == "caption"
    assert report.tables["definition"].startswith("Ranked among the 3 images and 3 different captions of this part.")
    assert report.tables["definition"].endswith("R@10 by chance: about 100.0%.")
    first, second = report.tables["worst"]
    assert {k: first[k] for k in ("text", "rank", "index", "id")} == {
        "text": "a dog", "rank": 2, "index": 1, "id": "d/1.png",
    }  # fmt: skip
    assert first["hits"] == [{"index": k, "id": f"d/{k}.png"} for k in range(3)]
    assert (second["text"], second["rank"]) == ("a cat", 1)
    assert [r["id"] for r in report.tables["examples"]] == ["d/1.png", "d/0.png"]
    with pytest.raises(DatasetError, match="expected images with captions to measure on, found none"):
        REPORTING.metrics(
            EmbedResults(data(((),)), np.eye(1, 3, dtype="f4"), np.ones((1, 1), "f4"), np.zeros((0, 3), "f4"),
                         np.zeros(0, np.int64), (), np.zeros(1, np.int64)), 0,
        )  # fmt: skip


def views(n: int = 40) -> EmbedResults:
    """Images without captions on the axes, of which every other finds itself and the rest find image 0 first."""
    queries = np.eye(n, dtype=np.float32)
    queries[1::2, 0] = 2
    return EmbedResults(
        data(((),) * n), np.eye(n, dtype=np.float32), np.ones((n, 1), np.float32), queries, np.arange(n), ("",) * n,
        np.zeros(n, np.int64),
    )  # fmt: skip


def test_of_many_images_the_worst_are_shown_and_examples_evenly() -> None:
    report = REPORTING.report(views())
    assert [r["index"] for r in report.tables["worst"]] == list(range(1, 25, 2))
    order = [*range(1, 40, 2), *range(0, 40, 2)]
    even = [order[k] for k in np.linspace(0, 39, 12).round().astype(int)]
    assert [r["index"] for r in report.tables["examples"]] == even
    assert [one["index"] for one in report.tables["worst"][0]["hits"]] == [0, 1, 2, 3]
    assert report.tables["queries"] == "view"
    assert "the 40 images and 40 different other views (mirrored, without the border)" in report.tables["definition"]
    assert report.tables["definition"].endswith("about 25.0%.")


def shown() -> Report:
    metrics = {
        f"{way}{name}": Metric(0.25, 0.125, 0.5) for way in ("", "back_")
        for name in ("recall_at_1", "recall_at_5", "recall_at_10")
    }  # fmt: skip
    metrics |= {"median_rank": Metric(4.0, 2.0, 8.0), "back_median_rank": Metric(None)}
    hits = [{"index": k, "id": f"d/{k}.png"} for k in range(5)]
    worst = [
        {"text": "x" * 100, "rank": 1234, "index": 9, "id": "d/9.png", "hits": hits},
        {"text": "", "rank": 10, "index": 8, "id": "d/8.png", "hits": hits[:1]},
        {"text": "c", "rank": 11, "index": 7, "id": "d/7.png", "hits": hits[:1]},
    ]
    examples = [{"text": "a", "rank": 1, "index": 6, "id": "d/6.png", "hits": hits[:2]}]
    tables = {"worst": worst, "examples": examples, "queries": "caption", "definition": "How."}
    return Report("embed", ("typicality",), 50, metrics, (), tables)


def test_the_summary_says_how_often_the_right_image_is_found() -> None:
    said = "25.0% (95% interval 12.5% to 50.0%)"
    assert REPORTING.summary(shown()) == (
        f"Of the captions {said} find their image first and {said} among the first ten; of the images {said} find a "
        "right caption among the first ten."
    )
    unknown = Report("embed", (), 1, {k: Metric(0.5) for k in ("recall_at_1", "recall_at_10", "back_recall_at_10")})
    assert REPORTING.summary(unknown).startswith("Of the captions not known find their image first and not known among")


def test_the_page_has_a_table_of_recall_and_the_queries() -> None:
    pictures = {f"d/{k}.png": {"image": f"data:{k}"} for k in (6, 7, 8, 9)}
    pictures |= {f"d/{k}.png\0found": {"image": f"data:found{k}"} for k in (6, 7, 8)}
    table, worst, examples = REPORTING.page(shown(), pictures).blocks
    assert [[(c.text, c.bounds) for c in row] for row in table.rows] == [
        [("caption → image", ""), *[("25.0%", "[12.5, 50.0]")] * 3, ("4", "[2.0, 8.0]")],
        [("image → caption", ""), *[("25.0%", "[12.5, 50.0]")] * 3, ("–", "")],
    ]
    assert table.note == "How."
    assert [c.text for c in table.header] == ["direction", "R@1", "R@5", "R@10", "median rank"]
    assert [[[s.text for s in line] for line in shot.lines] for shot in worst.shots] == [
        [["another view of the first image"], ["rank 10"]], [["c"], ["rank 11"]],
    ]  # fmt: skip
    assert [shot.lines[1][0].style for shot in (*worst.shots, *examples.shots)] == ["soft", "bad", "good"]
    assert list(examples.shots[0].images) == [("data:6", "6.png"), ("data:found6", "0.png, 1.png")]
    pictures["d/9.png\0found"] = {"image": "data:found9"}
    first = REPORTING.page(shown(), pictures).blocks[1].shots[0]
    assert [[s.text for s in line] for line in first.lines] == [["x" * 80], ["rank 1,234"]]
    assert REPORTING.page(shown(), {}).blocks[1].empty == "No pictures."


def test_what_a_query_found_is_one_picture_of_two_by_two(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, np.ndarray] = {}

    def keep(image: np.ndarray) -> str:
        seen[f"data:{len(seen)}"] = image
        return f"data:{len(seen) - 1}"

    monkeypatch.setattr(embed_report, "data_uri", keep)
    dataset: Any = SimpleNamespace(image=lambda index: np.full((112, 224, 3), 20 * index, np.uint8))
    found = take_pictures(shown(), dataset, lambda name: SimpleNamespace())  # type: ignore[arg-type, return-value]
    assert list(found)[:2] == ["d/9.png", "d/9.png\0found"]
    assert seen[found["d/9.png"]["image"]].shape == (112, 224, 3)
    sheet = seen[found["d/9.png\0found"]["image"]]
    assert sheet.shape == (320, 320, 3)
    # Images are 80 of 160 pixels high in their cell.
    for k, (top, left) in enumerate(((0, 0), (0, 160), (160, 0), (160, 160))):
        assert (sheet[top : top + 80, left : left + 160] == 20 * k).all()
        assert (sheet[top + 80 : top + 160, left : left + 160] == 255).all()
    assert REPORTING.explained(shown(), dataset, found, lambda *a: []) is found


def test_the_doctor_says_the_first_caption() -> None:
    audit, captioned = REPORTING.audit, data((("x" * 100, "second"), ()))
    assert (audit.caption(captioned, 0), audit.caption(captioned, 1)) == ("x" * 80, "no caption")
    small = np.zeros((2, 2, 3), np.uint8)
    assert audit.drawn(captioned, 0, (2, 2), small) is small
    assert audit.tiles(captioned) == audit.charts(captioned, None) == ()  # type: ignore[arg-type]
