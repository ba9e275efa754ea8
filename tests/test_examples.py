"""The examples run, in their small form; the page that lists them lists all."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples"
SCRIPTS = sorted(p for p in FOLDER.glob("*.py") if p.name != "drawing.py")

# What each prints at the end, which it can only once everything before has worked.
LAST = {
    "classify": r"predicted \d-\w+\nreport +.*report\.html$",
    "compress": r"chosen +\S+.*accuracy +[01]\.\d{3} .*bundle +\S+$",
    "detect": r"average precision at IoU 0\.5 .*drawn +.*found\.png$",
    "explain": r"(gradcam +(cross|disc|square) .*){3}(occlusion +.*){3}overlays +\S+gradcam$",
    "process": r"noise [\d.]+ before, [\d.]+ after\n(\d) shapes were drawn, \1 regions found\n.*scene",
    "regress": r"mean absolute error .*level -?\d+ mm, interval",
    "segment": r"mean IoU .*% of the image$",
    "serve_and_monitor": r"page +http://127\.0\.0\.1:\d+.*shapes \{.*as before .*inverted +",
}


@pytest.mark.examples
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_an_example_runs(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXAMPLES_SMALL", "1")
    monkeypatch.setenv("EXAMPLES_OUT", str(tmp_path))
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "drawing", raising=False)
    runpy.run_path(str(script), run_name="__main__")
    monkeypatch.delitem(sys.modules, "drawing", raising=False)
    said = capsys.readouterr().out.strip()
    assert re.search(LAST[script.stem], said, re.DOTALL), said


def test_every_example_is_listed_tested_and_a_notebook() -> None:
    page = (FOLDER / "README.md").read_text()
    assert len(SCRIPTS) == 8
    assert {p.stem for p in SCRIPTS} == set(LAST)
    for script in SCRIPTS:
        assert f"[{script.name}]({script.name})" in page
        text = script.read_text()
        assert text.startswith("# %% [markdown]\n# # "), script
        assert text.count("# %%\n") >= 2, script
        assert not re.search(r"[\"'](/home|/work|/tmp|https?://)", text), script
