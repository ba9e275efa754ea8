import json
import re
import shutil
import subprocess
from contextlib import nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as oracle
from tests.evaluation.scripts import scripts_are_named

import eyewright as ew
from eyewright.core import LabelSpace, Report
from eyewright.core.errors import DatasetError, LeakError
from eyewright.data import open_dataset
from eyewright.evaluation import evaluate_predictor, render_html, render_markdown, summarise
from eyewright.imaging import encode_image


def test_a_run_and_its_bundle_are_measured_alike(finished) -> None:  # type: ignore[no-untyped-def]
    test = ew.load_dataset(finished.run.about["data_path"]).test
    ours, theirs = ew.evaluate(finished.run, test), ew.evaluate(finished.bundle, test)
    for name, metric in ours.metrics.items():
        assert theirs.metrics[name].value == pytest.approx(metric.value, abs=1e-5), name


def test_progress_is_shown_unless_it_is_not_wanted(finished, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from eyewright.evaluation import results
    from eyewright.evaluation.evaluator import evaluate_predictor

    told = []

    def track(title: str, total: int, *, quiet: bool):  # type: ignore[no-untyped-def]
        told.append((title, total, quiet))
        return nullcontext(lambda n, shown: None)

    monkeypatch.setattr(results, "track_progress", track)
    test = ew.load_dataset(finished.run.about["data_path"]).test
    evaluate_predictor(finished.bundle, test)
    evaluate_predictor(finished.bundle, test, quiet=True)
    assert [quiet for _, _, quiet in told] == [False, True]
    assert {total for _, total, _ in told} == {len(test)}


def test_the_numbers_are_scikit_learns(finished, shapes: Path) -> None:  # type: ignore[no-untyped-def]
    data = open_dataset(shapes)
    report = ew.evaluate(finished.bundle, data, allow_leaks=True)
    p = np.stack([finished.bundle.predict(data.image(i)).probabilities for i in range(len(data))]).astype(np.float64)
    predicted = p.argmax(1)
    expected = {
        "accuracy": oracle.accuracy_score(data.targets, predicted),
        "balanced_accuracy": oracle.balanced_accuracy_score(data.targets, predicted),
        "f1_macro": oracle.f1_score(data.targets, predicted, average="macro"),
        "kappa": oracle.cohen_kappa_score(data.targets, predicted),
        "auc": oracle.roc_auc_score(data.targets, p / p.sum(1, keepdims=True), multi_class="ovr"),
    }
    for name, value in expected.items():
        assert report.metrics[name].value == pytest.approx(value, abs=1e-9)


def test_classes_meet_by_name_though_their_ids_differ(finished, shapes: Path) -> None:  # type: ignore[no-untyped-def]
    data = open_dataset(shapes)
    order = (2, 0, 1)
    turned = replace(
        data,
        labels=LabelSpace(tuple(data.labels.names[i] for i in order)),
        samples=tuple(replace(s, target=order.index(s.target)) for s in data.samples),
    )
    a, b = (ew.evaluate(finished.bundle, d, allow_leaks=True) for d in (data, turned))
    assert a.metrics["accuracy"] == b.metrics["accuracy"]


def test_a_class_that_the_model_does_not_know_is_refused(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("disc", "owl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(encode_image(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(DatasetError, match="found also 'owl'"):
        ew.evaluate(finished.bundle, tmp_path)


def test_images_that_were_trained_on_are_refused_though_they_were_renamed(  # type: ignore[no-untyped-def]
    finished, shapes: Path, tmp_path: Path
) -> None:
    for kind in ("cross", "disc", "square"):
        for i, path in enumerate(sorted((shapes / kind).iterdir())):
            target = tmp_path / kind / f"renamed {i}.png"
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
    with pytest.raises(LeakError, match="were trained on"):
        ew.evaluate(finished.run, tmp_path)
    report = ew.evaluate(finished.run, tmp_path, allow_leaks=True)
    assert "were trained on" in report.sections["warnings"][0]


def test_a_bundle_is_not_measured_on_the_data_it_was_made_from(finished, shapes: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LeakError, match="the data that the bundle was trained on"):
        ew.evaluate(finished.bundle, shapes)
    assert ew.evaluate(finished.bundle, ew.load_dataset(shapes).test).n == finished.report.n


def made(confusion: list[list[int]], names: tuple[str, ...]) -> Report:
    from eyewright.imaging import Preparation
    from eyewright.tasks.classify import decode

    rows = [(t, a) for t, row in enumerate(confusion) for a, n in enumerate(row) for _ in range(n)]

    class Told:
        task_name, labels, preparation = "classify", LabelSpace(names), Preparation((4, 4))
        at = 0

        def raw(self, pixels):  # type: ignore[no-untyped-def]
            answers = [a for _, a in rows[self.at : self.at + len(pixels)]]
            self.at += len(pixels)
            return {"probabilities": (0.7 * np.eye(len(names))[answers] + 0.3 / len(names)).astype(np.float32)}

        def predict_images(self, images):  # type: ignore[no-untyped-def]
            pixels, placements = self.preparation.batch(images)
            return list(decode(self.raw(pixels), placements, self.labels))

    from eyewright.data import Dataset, Sample
    from eyewright.data.tree import ArrayTree

    tree = ArrayTree(Path("."), {"x": np.zeros((len(rows), 4, 4), np.uint8)})
    samples = tuple(Sample(f"x/{i:06d}", t) for i, (t, _) in enumerate(rows))
    return evaluate_predictor(Told(), Dataset(tree, samples, LabelSpace(names), "made", "classify"))


@pytest.mark.parametrize(
    ("confusion", "said"),
    [
        (
            [[5, 0], [0, 5]],
            "10 of 10 images are classified correctly: 100.0% (95% interval 72.2% to 100.0%). There is no mistake",
        ),
        ([[5, 1], [0, 5]], "The only mistake: “a” classified as “b”."),
        ([[5, 3], [1, 5]], "most frequent mistake is “a” classified as “b” (3 of 4 mistakes)"),
    ],
)
def test_the_summary_says_it_in_a_sentence(confusion: list[list[int]], said: str) -> None:
    assert said in summarise(made(confusion, ("a", "b")))


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.found += [v or "" for k, v in attrs if k in ("src", "href", "action", "xlink:href")]


def test_the_page_asks_no_other_machine_and_no_second_file(finished) -> None:  # type: ignore[no-untyped-def]
    page = Path(finished.paths["report"]).read_text()
    links = Links()
    links.feed(page)
    assert all(link.startswith(("data:image/", "#")) for link in links.found)
    assert not re.search(r"(?<!www\.w3\.org/)(https?:)?//[a-z]", re.sub(r"data:image/[^\"]*", "", page))
    assert "default-src 'none'" in page


def test_names_of_classes_cannot_break_the_page() -> None:
    names = ("</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>')
    report = made([[3, 1], [1, 3]], names)
    links = Links()
    page = render_html(report, title=names[0])
    links.feed(page)
    assert links.scripts == 3
    assert scripts_are_named(page) == 2
    assert not any(link == "x" for link in links.found)
    assert (
        "|"
        not in render_markdown(made([[3, 1], [1, 3]], ("a|b", "c")), title="t").split("a\\|b")[0].split("\n")[-1][2:]
    )


def test_report_json_is_valid_and_holds_every_metric_with_interval_and_n(finished) -> None:  # type: ignore[no-untyped-def]
    def refuse(name: str) -> None:
        raise AssertionError(name)

    content = json.loads(Path(finished.paths["report_json"]).read_text(), parse_constant=refuse)
    wanted = {"accuracy", "balanced_accuracy", "f1_macro", "f1_micro", "f1_weighted", "precision_macro", "recall_macro"}
    wanted |= {"auc", "average_precision", "kappa", "log_loss", "ece"}
    assert wanted <= set(content["metrics"])
    for metric in content["metrics"].values():
        assert {"value", "low", "high", "n"} <= set(metric)
        assert metric["n"] == finished.report.n


@pytest.mark.parametrize("n_classes", [2, 30, 150])
def test_a_page_is_made_for_few_and_for_many_classes(n_classes: int) -> None:
    confusion = (np.eye(n_classes, dtype=int) * 2 + np.roll(np.eye(n_classes, dtype=int), 1, 1)).tolist()
    page = render_html(made(confusion, tuple(f"class number {i}" for i in range(n_classes))), title="many")
    assert page.count('class="cell wrong"') == n_classes
    assert len(page) < 1_500_000


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_in_a_real_browser_a_cell_opens_its_images_without_an_error(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path}", "--dump-dom", "--enable-logging=stderr"]
    done = subprocess.run(
        [*command, f"file://{finished.paths['report']}"], capture_output=True, text=True, timeout=120, check=True
    )
    assert 'class="cell wrong on"' in done.stdout or 'class="cell right on"' in done.stdout
    shots = done.stdout.split('id="cell-shots"')[1].split("</div></div>")[0]
    assert "data:image/webp" in shots
    assert "CONSOLE" not in done.stderr, done.stderr
