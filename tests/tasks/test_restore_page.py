"""What the page of a restorer says and shows, on a report made by hand."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core.report import Metric, Report
from eyewright.imaging.degrade import SELF
from eyewright.tasks import restore_page
from eyewright.tasks.restore_page import _centre, explain_errors, find_faults, lay_out, summarise, take_pictures
from eyewright.tasks.restore_trials import Tried


def item(k: int, gain: float) -> dict[str, Any]:
    return {
        "id": f"d/{k}.png",
        "name": f"{k}.png",
        "index": k,
        "gain": gain,
        "psnr": 30.126,
        "sigma": 12.345 * (k != 1),
    }


def report(
    gain: Metric | None = None, *items: dict[str, Any], psnr_gain: Metric | None = None, **tables: Any
) -> Report:
    metrics = {"psnr": Metric(31.0), "psnr_baseline": Metric(28.0)}
    metrics |= {} if psnr_gain is None else {"psnr_gain": psnr_gain}
    metrics |= {} if gain is None else {"baseline_gain": gain}
    kept = {"degrade": "noise:5-50", "baseline": "tv", "levels": [],
            "each": {"psnr_input": [20.0, 22.0], "psnr": [30.0, 31.0]}, **tables}  # fmt: skip
    return Report("restore", ("picture",), 1000, metrics, (), kept, items)


@pytest.mark.parametrize(
    ("value", "low", "found"),
    [(1.0, 0.5, None), (1.0, None, None), (1.0, 0.0, "warning"), (1.0, -0.5, "warning"), (0.0, -1.0, "error"),
     (-1.0, -2.0, "error"), (None, None, None), (0.25, 0.125, None)],
)  # fmt: skip
def test_a_gain_that_is_not_above_0_is_a_finding(value: float | None, low: float | None, found: str | None) -> None:
    for made in (report(Metric(value, low, 3.0)), report(None, psnr_gain=Metric(value, low, 3.0))):
        assert [(f.code, f.severity) for f in find_faults(made)] == [("loses_to_baseline", found)] * bool(found)


def test_a_finding_names_what_is_better_and_there_is_one() -> None:
    bad = Metric(-1.0, -2.0, -0.5)
    (fault,) = find_faults(report(bad, psnr_gain=bad))
    assert fault.message == (
        "the net loses to total variation (process --steps denoise:tv): -1.00 dB (95% interval -2.00 to -0.50)"
    )
    assert fault.fix == "train longer or on more images; use total variation (process --steps denoise:tv)"
    short = {"said": "the budget was enough for 1 epoch", "fix": "give --budget 20m or more"}
    (fault,) = find_faults(report(bad, undertrained=short))
    assert fault.message.endswith("(95% interval -2.00 to -0.50); the budget was enough for 1 epoch")
    assert fault.fix.startswith("give --budget 20m or more, or use total variation")
    (fault,) = find_faults(report(Metric(1.0, 0.5, 2.0), psnr_gain=Metric(0.5, -0.5, 1.0)))
    assert fault.message.startswith(
        "the net is not significantly better than the degraded image: 0.50 dB (95% interval -0.50 to 1.00)"
    )
    assert fault.fix == "measure it on more images"


def test_the_summary_says_the_gain_and_which_images_gain_nothing() -> None:
    gain = Metric(3.0, 2.0, 4.0)
    assert summarise(report(gain, item(0, 0.1))) == (
        "noise:5-50: 31 dB where total variation has 28 dB: a "
        "gain of 3.0 dB (95% interval 2.0 to 4.0). Details that are not "
        "in the input are guesses."
    )
    said = summarise(report(gain, item(4, 0.0), item(5, -1.0), item(6, 1.0), degrade=SELF, baseline="bicubic"))
    assert said.startswith(
        "self: 31 dB where bicubic enlarging has 28 dB, estimated from pixels that the net did not see:"
    )
    assert " 2 of 1000 images are no better than with bicubic enlarging, such as 4.png." in said


def test_the_page_shows_pictures_levels_and_what_gained_least() -> None:
    own = {k: {"value": v} for k, v in (("psnr_input", 20.126), ("psnr_baseline", 25.0), ("psnr", 27.5))}
    level = {"from": 5.0, "to": 20.25, "n": 12, **own, "baseline_gain": Metric(2.5)}
    made = report(None, *(item(k, k - 0.5) for k in range(30)), levels=[level])
    one = {"name": "a.png", "said": "30 dB", "given": "data:g", "found": "data:f", "clean": "data:c", "apart": "data:a"}
    page = lay_out(made, {"a": one, "b": {**one, "name": "b.png", "clean": "", "apart": ""}})
    gallery, levels, least = page.blocks
    first, second = gallery.shots
    ends = [("data:c", "original"), ("data:a", "8 times the error")]
    assert list(first.images) == [("data:g", "input"), ("data:f", "restored"), *ends]
    assert [[(s.text, s.style) for s in line] for line in first.lines] == [[("a.png", "")], [("30 dB", "soft")]]
    assert second.lines[0][0].text == "b.png"
    assert list(second.images) == [("data:g", "input"), ("data:f", "restored")]
    assert [[c.text for c in one] for one in levels.rows] == [
        ["5 to 20.2", "12", "20.13 dB", "25.00 dB", "27.50 dB", "2.50 dB"]
    ]
    assert [c.text for c in levels.header] == ["noise, levels of 0-255", "images", "input", "baseline", "net", "gain"]
    assert len(least.rows) == 24
    assert [c.text for c in least.rows[0]] == ["0.png", "30.13 dB", "-0.50 dB"]
    assert [c.text for c in least.rows[1]] == ["1.png", "30.13 dB", "+0.50 dB"]
    (chart,) = page.charts
    assert chart.svg.count("<circle") == 2
    assert "input [dB]" in chart.svg
    assert len(lay_out(replace(made, tables={**made.tables, "levels": []}), {}).blocks) == 2


def test_pictures_are_of_the_worst_the_median_and_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = np.full((300, 40, 3), 100, np.uint8)
    uris: list[np.ndarray] = []

    def tried(predictor: Any, dataset: Any, index: int, image: Any) -> Tried:
        hidden = np.zeros((300, 40), bool) if index == 2 else None
        return Tried(clean + np.uint8(3), clean + np.uint8(20), clean, clean, hidden, 0.0, 0.0)

    monkeypatch.setattr(restore_page, "try_image", tried)
    monkeypatch.setattr(restore_page, "data_uri", lambda image: uris.append(image) or f"data:{len(uris)}")  # type: ignore[func-returns-value]
    dataset: Any = SimpleNamespace(image=lambda index: clean)
    asked: list[str] = []
    made = report(None, *(item(k, k - 0.5) for k in range(5)))
    found = take_pictures(made, dataset, lambda name: asked.append(name))  # type: ignore[arg-type, func-returns-value]
    assert asked == list(found) == ["d/0.png", "d/2.png", "d/4.png"]
    assert found["d/0.png"]["said"] == "30.13 dB, gain -0.50 dB, noise 12.3"
    assert (
        [bool(p["clean"]) for p in found.values()] == [bool(p["apart"]) for p in found.values()] == [True, False, True]
    )
    # Given, found, clean, and eight times the difference on grey: 128 + 160 is cut at 255.
    assert [int(v[0, 0, 0]) for v in uris[:4]] == [103, 120, 100, 255]
    assert uris[0].shape == (256, 40, 3)
    quiet = report(None, item(1, 0.5))
    assert take_pictures(quiet, dataset, lambda name: None)["d/1.png"]["said"] == "30.13 dB, gain +0.50 dB"  # type: ignore[arg-type, return-value]
    assert explain_errors(made, dataset, found, lambda *a: []) is found


def test_only_the_centre_of_a_large_image_is_shown() -> None:
    image = np.arange(301 * 260, dtype=np.uint32).reshape(301, 260, 1)
    assert np.array_equal(_centre(image), image[22:278, 2:258])  # type: ignore[arg-type]
    small = np.zeros((5, 6, 3), np.uint8)
    assert _centre(small).shape == (5, 6, 3)
