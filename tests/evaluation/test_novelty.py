"""What a report says of new things, of groups, and of validation beside test."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_shapes
from tests.evaluation.answers import Answers, answers

import eyewright as ew
from eyewright.evaluation import render_html, render_markdown, summarise
from eyewright.evaluation.novelty import Novelty
from eyewright.evaluation.validation import choice_optimism
from eyewright.lifecycle.datasets import data_of_run
from eyewright.lifecycle.opening import load_run
from eyewright.metrics.novelty import Nearness
from eyewright.tasks.class_results import compare_scores

TASKS = ("classify", "detect", "instance", "segment")
N = 90


def near(ratio: float = 0.9) -> Novelty:
    return Novelty(Nearness(np.linspace(0.1, 1, N), np.full(N, ratio)))


@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_is_weak_on_new_things_says_so_in_the_headline(task: str) -> None:
    skill = np.where(np.arange(N) >= 60, 0.25, 0.97)
    report = answers(task, N, skill=skill).report(novelty=near())
    table = report.tables["novelty"]
    assert table["lower"]
    assert [t["n"] for t in table["thirds"]] == [30, 30, 30]
    assert table["curve"][0]["value"] > table["curve"][-1]["value"]
    text = summarise(report)
    assert "least like any training image" in text
    assert f"{table['thirds'][-1]['value']:.1%}" in text
    page, lines = render_html(report, title="t"), render_markdown(report, title="t")
    assert 'class="band s0"' in page
    shown = lines.split("## How new")[1]
    assert "least like any training image" in shown
    assert shown.count("\n| 0.") >= len(table["curve"]) // 2 > 3, "the curve is a table too"


@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_is_as_good_everywhere_is_not_accused(task: str) -> None:
    report = answers(task, N, skill=np.full(N, 0.8), seed=4).report(novelty=near())
    assert not report.tables["novelty"]["lower"]
    assert "least like" not in summarise(report)


def test_where_nothing_is_new_the_headline_says_what_the_number_does_not() -> None:
    report = answers("classify", N).report(novelty=near(0.1))
    assert "does not tell how the model performs on new things" in summarise(report)


def test_images_without_a_sibling_are_told_apart() -> None:
    skill = np.where(np.arange(N) % 3 == 0, 0.3, 0.98)
    ratio = np.where(np.arange(N) % 3 == 0, 0.9, 0.1)
    report = answers("classify", N, skill=skill).report(novelty=Novelty(Nearness(np.linspace(0.1, 1, N), ratio)))
    assert report.tables["novelty"]["lower_without"]
    assert "On the 30 of 90 test images without a near copy or sibling" in summarise(report)


@pytest.mark.parametrize(
    ("alone", "siblings", "measured"), [(8, 82, "both"), (7, 83, ""), (82, 8, "both"), (83, 7, "alone")]
)
def test_a_part_is_measured_from_eight_images_on(alone: int, siblings: int, measured: str) -> None:
    ratio = np.r_[np.full(alone, 0.9), np.full(siblings, 0.1)]
    report = answers("classify", N).report(novelty=Novelty(Nearness(np.linspace(0.1, 1, N), ratio)))
    table = report.tables["novelty"]
    assert (table["without_sibling"] is None) == (measured == "")
    assert (table["sibling_difference"] is None) == (measured != "both")


@pytest.mark.parametrize("task", TASKS)
def test_where_most_images_have_a_sibling_the_number_does_not_tell_of_new_things(task: str) -> None:
    # Siblings that no search found cannot be told from new things: the others do not stand for these.
    ratio = np.where(np.arange(N) % 8 == 0, 0.9, 0.2)
    report = answers(task, N, skill=np.ones(N)).report(novelty=Novelty(Nearness(np.linspace(0.1, 1, N), ratio)))
    assert report.tables["novelty"]["no_new"]
    assert "78 of the 90 test images have a near copy" in summarise(report)
    assert "does not tell how the model performs on new things" in summarise(report)


@pytest.mark.parametrize("task", TASKS)
def test_where_some_images_have_a_sibling_the_score_of_the_others_is_said_with_its_interval(task: str) -> None:
    ratio = np.where(np.arange(N) % 4 == 0, 0.2, 0.9)
    report = answers(task, N, seed=1).report(novelty=Novelty(Nearness(np.linspace(0.1, 1, N), ratio)))
    table = report.tables["novelty"]
    assert not table["no_new"]
    alone = table["without_sibling"]
    said = f"{alone['value']:.1%} (95% interval {alone['low']:.1%} to {alone['high']:.1%})"
    assert "23 of the 90 test images have a near copy" in summarise(report)
    assert said in summarise(report)


def test_few_siblings_among_few_images_leave_a_score_of_the_others() -> None:
    ratio = np.where(np.arange(20) < 4, 0.2, 0.9)
    report = answers("classify", 20).report(novelty=Novelty(Nearness(np.linspace(0.1, 1, 20), ratio)))
    table = report.tables["novelty"]
    assert table["with_sibling"] is None
    assert table["without_sibling"]["n"] == 16
    assert "4 of the 20 test images have a near copy or sibling in the training data; on the other 16 " in summarise(
        report
    )


def test_a_class_tested_on_one_group_or_not_at_all_is_named() -> None:
    made = answers("classify", N, groups=[f"{i // 6}" for i in range(N)])
    samples = [
        replace(s, target=0 if s.target == 2 else s.target, group="lone" if s.target == 1 else s.group)
        for s in made.dataset.samples
    ]
    dataset = replace(made.dataset, samples=tuple(samples))
    text = summarise(Answers(dataset, replace(made.results, dataset=dataset)).report())
    assert "Class “nut” is tested on one group." in text
    assert "No test image shows class “washer”: these numbers say nothing about it." in text


def test_a_report_that_cannot_measure_it_says_why() -> None:
    report = answers("detect", N).report(novelty=Novelty(reason="no features"))
    assert "Not measured: no features." in render_html(report, title="t")


@pytest.mark.parametrize("task", TASKS)
def test_groups_widen_intervals_and_stand_beside_n(task: str) -> None:
    groups = [f"{i // 10}" for i in range(N)]
    skill = np.repeat(np.random.default_rng(0).random(9), 10)
    alone, together = answers(task, N, skill=skill).report(), answers(task, N, skill=skill, groups=groups).report()
    name = {"classify": "accuracy", "segment": "miou"}.get(task, "ap50")
    a, b = alone.metrics[name], together.metrics[name]
    assert a.value == b.value
    assert b.groups == 9
    assert b.high - b.low > a.high - a.low  # type: ignore[operator]
    assert "only 9 groups" in summarise(together)
    assert "--folds groups" in summarise(together)
    assert together.tables["together"]["effective_n"] < N
    assert f"{b.n} in 9 groups" in render_markdown(together, title="t")
    taken = "They assume independent images: if some share a person, device or place, say so with --group-by."
    assert taken in render_html(alone, title="t")
    assert taken not in render_html(together, title="t")


@pytest.mark.parametrize(("task", "name"), [("detect", "ap50"), ("instance", "ap50"), ("segment", "miou")])
@pytest.mark.parametrize("skill", [0.0, 1.0])
def test_two_images_alike_do_not_make_a_number_certain(task: str, name: str, skill: float) -> None:
    report = answers(task, 2, skill=np.full(2, skill)).report()
    metric = report.metrics[name]
    assert metric.high - metric.low > 0.3  # type: ignore[operator]


def test_a_comparison_does_not_take_images_of_one_group_for_independent() -> None:
    targets = np.zeros(100, int)
    groups = np.repeat(np.array(["a", "b", "c", "d"]), 25)
    one, other = (np.where(r[:, None], [0.9, 0.1], [0.1, 0.9]) for r in (groups != "a", np.ones(100, bool)))
    assert compare_scores(targets, one, other).better == "b"
    found = compare_scores(targets, one, other, groups=groups)
    assert found.better == "neither"
    assert found.p_value == 1.0
    assert found.to_json()["groups"] == 4


def test_rates_are_in_one_unit_on_the_page() -> None:
    page = render_html(answers("classify", N).report(), title="t")
    tiles = page.split('<section class="tiles">')[1].split("</section>")[0]
    shown = re.findall(r"<b>([^<]+)</b>", tiles)
    assert sum(s.endswith("%") for s in shown) == len(shown) - 1  # Cohen's kappa is no rate.


def test_the_optimism_of_the_best_epoch_is_seen_in_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        # 100 epochs of one skill, 0.6, seen through 60 images with noise of its own every epoch.
        scores = 0.6 + rng.normal(0, 0.03, 100)
        found.append((choice_optimism(scores), scores.max() - 0.6))
    estimated, true = np.array(found).mean(0)
    assert estimated == pytest.approx(true, rel=0.15)
    assert choice_optimism([0.5, 0.6]) is None


def test_a_run_says_how_new_its_images_are_and_what_belongs_together(finished) -> None:  # type: ignore[no-untyped-def]
    rows = finished.run.split_rows()
    for row in rows:
        assert (row["novelty"] == "") == (row["split"] == "train")
        assert row["group"] == ""
    assert finished.report.tables["novelty"]["n"] == sum(r["split"] != "train" for r in rows)
    assert finished.report.tables["novelty"]["validation"] == sum(r["split"] == "val" for r in rows)
    assert "a bundle does not hold" in ew.evaluate(finished.bundle, other_data(finished)).tables["novelty"]["reason"]


def other_data(finished) -> ew.Dataset:  # type: ignore[no-untyped-def]
    return ew.load_dataset(finished.run.about["data_path"]).test


def test_a_run_of_before_still_loads_and_says_why_it_cannot_say(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import shutil

    old = tmp_path / "old"
    shutil.copytree(finished.paths["run"], old)
    (old / "features.npz").unlink()
    kept = [[r[k] for k in ("id", "split", "label", "sha256")] for r in finished.run.split_rows()]
    with open(old / "split.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "split", "label", "sha256"], *kept])
    report = ew.evaluate(old)
    assert "features.npz" in report.tables["novelty"]["reason"]
    assert report.metrics["accuracy"].value == finished.report.metrics["accuracy"].value


def test_groups_of_a_run_come_back_with_its_data(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import shutil

    copy = tmp_path / "grouped"
    shutil.copytree(finished.paths["run"], copy)
    text = (copy / "split.csv").read_text().splitlines()
    (copy / "split.csv").write_text("\n".join([text[0], *(_grouped(line) for line in text[1:])]) + "\n")
    samples = data_of_run(load_run(copy), ("test",)).samples
    assert {s.group for s in samples} == {"odd", "even"}
    assert ew.evaluate(copy).metrics["accuracy"].groups == 2


def _grouped(line: str) -> str:
    cells = line.split(",")
    cells[4] = "odd" if int(Path(cells[0]).stem) % 2 else "even"
    return ",".join(cells)


def test_other_images_are_compared_with_the_runs_own_training_images(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import shutil

    other = write_shapes(tmp_path / "other", a_class=8, seed=5)
    table = ew.evaluate(finished.run, other).tables["novelty"]
    assert (table["n"], table["validation"]) == (24, 0)
    assert len(table["thirds"]) == 3
    copy = tmp_path / "copy"
    shutil.copytree(finished.paths["run"], copy)
    with np.load(copy / "features.npz") as file:
        kept = dict(file)
    np.savez(copy / "features.npz", **{**kept, "space": np.array("another-3")})
    assert "described by another version" in ew.evaluate(copy, other).tables["novelty"]["reason"]


def test_a_validation_part_that_goes_otherwise_is_a_finding_with_its_cause() -> None:
    from eyewright.evaluation.validation import Validation, compare_validation, validation_finding

    test = answers("classify", N, skill=np.full(N, 0.95))
    distances = Nearness(np.linspace(0.1, 0.2, N), np.full(N, 0.1))
    report = test.report(novelty=Novelty(distances))
    right = np.arange(40) % 2 == 0
    dataset = replace(test.dataset, samples=test.dataset.samples[:40])
    far = Nearness(np.linspace(0.6, 0.9, 40), np.full(40, 0.9))
    validation = Validation(dataset, test.results, right.astype(float), float(right.mean()), far)
    training = {"metric": "accuracy", "epochs": 30}
    table = compare_validation(validation, test.dataset, report, training=training, near=distances)
    finding = validation_finding(table, "classify")
    assert finding is not None
    assert "validation images are less like the training images" in finding.message
    same = np.arange(40) % 20 != 0
    alike = replace(validation, scores=same.astype(float), value=0.95)
    table = compare_validation(alike, test.dataset, report, training=training, near=distances)
    assert validation_finding(table, "classify") is None
