"""What every page shows besides the numbers of its task: findings, folds, history, validation, points, provenance."""

import re
from dataclasses import replace
from typing import Any

import pytest
from tests.evaluation.answers import answers

from eyewright.core.report import Finding, Metric, Report
from eyewright.core.task import task_of
from eyewright.evaluation.novelty import say_novelty
from eyewright.evaluation.pages import (
    _accepting,
    _fold_rows,
    _history_charts,
    _interval_note,
    _point_rows,
    _provenance,
    _validation_rows,
    render_html,
    render_markdown,
    said_findings,
    shown_findings,
    summarise,
    unit_of,
)


def made(**given: Any) -> Report:
    return replace(answers("classify", 20).report(), **given)


NOVELTY = {
    "n": 20, "siblings": 20, "validation": 0, "thirds": [], "lower": False, "lower_without": False, "no_new": True,
    "without_sibling": None, "with_sibling": None, "curve": [], "note": "",
}  # fmt: skip


def test_a_finding_that_the_summary_says_is_not_said_again() -> None:
    report = made(tables={**made().tables, "novelty": NOVELTY})
    text = say_novelty(NOVELTY, "classify")
    assert text in summarise(report)
    own = Finding("x", "labels are mixed", "look")
    report = replace(report, sections={"findings": [Finding("nothing_new", text, "f"), own]})
    assert shown_findings(report) == [own]
    assert said_findings(report) == ["Labels are mixed."]
    assert shown_findings(made(sections={})) == shown_findings(made(sections={"findings": None})) == []


@pytest.mark.parametrize(
    ("methods", "groups", "note"),
    [
        (("bootstrap", "t over groups"), True, "Intervals are 95% t intervals over groups, by leaving out one group"),
        (("bootstrap",), True, "Intervals are 95% bootstrap intervals over groups (Wilson's where"),
        (("bootstrap",), False, "Intervals are 95% bootstrap intervals over images (Wilson's where"),
    ],
)
def test_the_note_on_intervals_says_how_they_were_found(methods: tuple[str, ...], groups: bool, note: str) -> None:
    metrics = {str(k): Metric(0.5, method=m) for k, m in enumerate(methods)}
    text = _interval_note(Report("classify", (), 3, metrics, tables={"together": {"n": 3}} if groups else {}))
    assert text.startswith(note)
    assert ("--group-by" in text) is (not groups)


def validated(**changed: Any) -> dict[str, Any]:
    return {
        "metric": "accuracy", "p_value": 0.0123, "differs": True, "causes": ["one"], "choice": None,
        "validation": {"value": 0.9, "n": 40, "groups": 4}, "test": {"value": 0.5, "n": 60, "groups": 6}, **changed,
    }  # fmt: skip


def test_validation_stands_next_to_test() -> None:
    def shown(**changed: Any) -> dict[str, Any]:
        found = _validation_rows(made(tables={"validation": validated(**changed)}))
        assert found is not None
        return found

    assert shown() == {
        "name": "accuracy",
        "rows": [("validation", "90.0%", 40, 4), ("test", "50.0%", 60, 6)],
        "note": "Validation and test differ significantly (p = 0.012, over groups).",
        "causes": ["one"],
    }
    assert shown(differs=False)["note"] == "Validation and test do not differ significantly (p = 0.012, over groups)."
    choice = {"metric": "accuracy", "epochs": 3, "optimism": 0.0123}
    assert shown(choice=choice)["note"].endswith(
        "over groups). The validation score is that of the best of 3 epochs, chosen on these images. Compared with the "
        "epochs around it, the choice alone makes it about 1.2 points too high."
    )
    assert shown(choice={**choice, "optimism": 0.0})["note"].endswith("chosen on these images.")
    assert _validation_rows(made(tables={})) is None


def test_points_are_shown_where_they_were_measured_by_f1() -> None:
    point = {"f1": 0.5, "threshold": 0.25, "n": 9, "images": 8, "groups": 3, "low": 0.1, "high": 0.5}
    known = {"classes": {"a|b": point, "c": {"f1": 1, "threshold": 0.75, "n": 2}}}
    assert _accepting(known) is known
    assert _accepting({"classes": {"a": {"threshold": 0.5, "n": 3}}}) == {}
    assert _point_rows(known)[1:] == [
        "| operating point | threshold [95 % interval] | n | images | groups |",
        "|---|---|---|---|---|",
        "| a\\|b | 0.250 [0.100, 0.500] | 9 | 8 | 3 |",
        "| c | 0.750 (interval not known) | 2 | – | – |",
    ]
    assert _point_rows({}) == _point_rows({"classes": {}}) == []


def rows(*given: tuple[str, str, str, str]) -> list[dict[str, str]]:
    names = ("epoch", "train_loss", "val_loss", "val_accuracy")
    return [{**dict(zip(names, row, strict=True)), "best": "1" if k == 1 else ""} for k, row in enumerate(given)]


def test_the_history_is_two_charts_and_says_which_epoch_was_chosen() -> None:
    main = task_of("classify").metrics[0]
    history = rows(("1", "2", "4", "0.5"), ("2", "1", "nan", "0.75"), ("3", "", "3", "0.7"))
    loss, score = _history_charts(history, main)
    assert (loss.title, score.title) == ("Loss", "Validation accuracy")
    assert [s.text for s in score.note] == [
        "best at epoch 2 (best of 3 epochs, so optimistic: the test score is what counts)"
    ]
    assert [len(p.split()) for p in re.findall(r'class="line s\d" points="([^"]*)"', loss.svg)] == [2, 2]
    assert [len(p.split()) for p in re.findall(r'class="line s\d" points="([^"]*)"', score.svg)] == [3]
    assert ">50%<" in score.svg
    assert "%" not in loss.svg
    (_, once) = _history_charts(rows(("1", "2", "4", "0.5")), main)
    assert [s.text for s in once.note] == [""]
    none = [{**r, "best": ""} for r in history]
    assert [s.text for s in _history_charts(none, main)[1].note] == [""]
    last = [{**r, "best": "1"} for r in history]
    assert _history_charts(last, main)[1].note[-1].text.startswith("best at epoch 3 ")
    assert _history_charts([], main) == []


def test_a_hardened_run_shows_its_score_under_attack_and_noise() -> None:
    main = task_of("classify").metrics[0]
    history = [{**r, "val_robust_accuracy": "0.25", "val_noisy_accuracy": "0.3"} for r in rows(("1", "2", "4", "0.5"))]
    _, score = _history_charts(history, main)
    assert [(s.text, s.style) for s in score.note] == [
        ("clean", "key s1"), (", ", ""), ("under attack", "key s2"), ("; ", ""),
        ("clean", "key s1"), (", ", ""), ("under noise", "key s2"), ("; ", ""), ("", ""),
    ]  # fmt: skip
    assert score.svg.count("<polyline") == 3


def test_folds_are_rows_with_their_spread() -> None:
    metric = Metric(0.6, 0.5, 0.7, n=40)
    folds = {
        "each": [{"accuracy": 0.5, "kappa": 0.1}, {"accuracy": 0.7, "kappa": 0.2}],
        "between": {"accuracy": metric, "kappa": Metric(None)}, "spread": {"accuracy": 0.1414, "kappa": None},
    }  # fmt: skip
    assert _fold_rows(made(sections={"folds": folds})) == [
        ("accuracy", ["50.0%", "70.0%"], "60.0% [50.0, 70.0]", "14.1 points")
    ]
    assert _fold_rows(made(sections={})) == []


def test_provenance_is_flat_and_leaves_out_what_is_said_in_words() -> None:
    provenance = {
        "grouping": {"groups": 3}, "seed": 0, "empty": [], "none": None, "flag": False, "zero": 0.5,
        "dataset": {"name": "d", "leaks": 3, "images": {"train": 9}, "names": ["ä"]},
    }  # fmt: skip
    assert _provenance(made(provenance=provenance)) == [
        ("seed", "0"), ("flag", "false"), ("zero", "0.5"), ("dataset · name", "d"), ("dataset · images · train", "9"),
        ("dataset · names", "ä"),
    ]  # fmt: skip
    assert _provenance(made(provenance={})) == []


def test_markdown_holds_every_section_and_escapes_its_marks() -> None:
    report = Report(
        "classify", ("a|b", "c<d"), 3, {"accuracy": Metric(0.5, 0.25, 0.75, n=1200, groups=7)},
        per_class=(
            {"label": "a|b\\", "n": 2, "precision": {"value": 0.5}, "recall": 0.25, "f1": None},
            {"label": "c<d", "n": 1, "precision": {"value": 1.0}, "recall": 1.0, "f1": 1.0},
        ),
        sections={
            "warnings": ["one\ntwo"], "audit": ["x|y"], "findings": [Finding("c", "m|", "f<")],
            "facts": {"what belongs together": "by day", "other": "x"},
        },
        provenance={"seed": 0}, tables={"confusion": [[1, 1], [0, 1]]},
    )  # fmt: skip
    lines = render_markdown(report, title="T").splitlines()
    assert lines[0] == "# T"
    assert "**m\\|** → f&lt;" in lines
    assert "| accuracy | 50.0% [25.0, 75.0] | 1,200 in 7 groups |" in lines
    assert task_of("classify").columns == ("precision", "recall", "f1")
    assert lines[lines.index("| class | n | precision | recall | f1 |") :][:4] == [
        "| class | n | precision | recall | f1 |", "|---|---|---|---|---|",
        "| a\\|b\\\\ | 2 | 50.0% | 25.0% | – |", "| c&lt;d | 1 | 100.0% | 100.0% | 100.0% |",
    ]  # fmt: skip
    assert "**one two**" in lines
    assert lines[lines.index("## Data") :][:3] == ["## Data", "", "- x\\|y"]
    assert lines[lines.index("## Provenance") :] == [
        "## Provenance",
        "",
        "- what belongs together: by day",
        "- seed: 0",
    ]
    bare = render_markdown(replace(report, sections={}), title="T")
    assert "## Data" not in bare
    assert bare.endswith("\n")
    assert not bare.endswith("\n\n")


def test_the_page_shows_its_sections() -> None:
    report = made(
        tables={**made().tables, "validation": validated(), "novelty": {"reason": "no features"}},
        sections={
            "warnings": ["a warning"], "findings": [Finding("c", "a finding", "its fix")], "facts": {"fact": "of it"},
            "audit": [Finding("blank", "an audit line", "f")], "recipe": {"epochs": 31},
            "history": rows(("1", "2", "4", "0.5")),
        },
        provenance={"seed": 1234567},
    )  # fmt: skip
    page = render_html(report, title="T&T")
    for part in (
        "<title>T&amp;T</title>", "a warning", "A finding", "its fix", "of it", "an audit line", "31", "1234567",
        "Training history", "Validation and test differ significantly", "Not measured: no features", "20 test images",
    ):  # fmt: skip
        assert part in page, part
    bare = render_html(made(), title="T")
    for part in ("Training history", "Validation and test", "Not measured"):
        assert part not in bare, part


def test_the_unit_of_a_metric_that_is_not_there_is_empty() -> None:
    report = Report("regress", ("w",), 3, {"mae": Metric(0.5, unit="g")})
    assert (unit_of(report, "mae"), unit_of(report, "rmse")) == ("g", "")
