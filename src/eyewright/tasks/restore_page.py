"""The part of a report on restored images that people see: its page, its findings, its summary."""

__all__ = ["explain_errors", "find_faults", "lay_out", "summarise", "take_pictures"]

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor
from eyewright.core.report import Finding, Report
from eyewright.data.dataset import Dataset
from eyewright.evaluation.blocks import Block, Cell, Chart, Gallery, Page, Shot, Span, Table
from eyewright.evaluation.charts import Mark, scatter_chart
from eyewright.evaluation.reporting import Explain, Pictures
from eyewright.evaluation.units import say_metric
from eyewright.imaging.degrade import SELF
from eyewright.imaging.encode import data_uri
from eyewright.tasks.restore_trials import try_image

_SHOWN = 24
_TRIPLES = 3
_SIDE = 256


def find_faults(report: Report) -> list[Finding]:
    """Return an error where the net is no better than its baseline, or than doing nothing."""
    found = []
    for name, what in (("baseline_gain", _BASELINES[report.tables["baseline"]]), ("psnr_gain", _BASELINES["input"])):
        metric = report.metrics.get(name)
        if metric is None or metric.value is None or (metric.value > 0 and (metric.low is None or metric.low > 0)):
            continue
        loses = metric.value <= 0
        verb = "loses to" if loses else "is not significantly better than"
        text = f"the net {verb} {what}: {say_metric(name, metric.value, metric.low, metric.high, 'dB')}"
        fix = "train longer or on more images; use " + what if loses else "measure it on more images"
        if loses and (short := report.tables.get("undertrained")):
            text, fix = f"{text}; {short['said']}", f"{short['fix']}, or use {what}"
        found.append(Finding("loses_to_baseline", text, fix, severity="error" if loses else "warning"))
        break
    return found


_BASELINES: Mapping[str, str] = {
    "tv": "total variation (process --steps denoise:tv)",
    "bicubic": "bicubic enlarging",
    "ns": "Navier-Stokes (inpaint --method ns)",
    "input": "the degraded image",
}


def summarise(report: Report) -> str:
    """Say how much is gained, over what."""
    gain, psnr = report.metrics["baseline_gain"], report.metrics["psnr"]
    over = _BASELINES[report.tables["baseline"]].partition(" (")[0]
    estimated = ", estimated from pixels that the net did not see" if report.tables["degrade"] == SELF else ""
    before = say_metric("psnr", report.metrics["psnr_baseline"].value, unit="dB")
    after = say_metric("psnr", psnr.value, unit="dB")
    gained = say_metric("baseline_gain", gain.value, gain.low, gain.high, "dB")
    parts = [f"{report.tables['degrade']}: {after} where {over} has {before}{estimated}: a gain of {gained}."]
    worst = [i for i in report.items if i["gain"] <= 0]
    if worst:
        parts.append(f"{len(worst)} of {report.n} images are no better than with {over}, such as {worst[0]['name']}.")
    parts.append("Details that are not in the input are guesses.")
    return " ".join(parts)


def lay_out(report: Report, pictures: Pictures) -> Page:
    """Return the blocks of the page: worst, median and best image, the gain by level and by image."""
    shots = [
        Shot(
            [(p["given"], "input"), (p["found"], "restored")]
            + [(p["clean"], "original"), (p["apart"], "8 times the error")] * bool(p["clean"]),
            [[Span(p["name"])], [Span(p["said"], "soft")]],
        )
        for p in pictures.values()
    ]
    blocks: list[Block] = [
        Gallery(
            "Worst, median and best",
            "The centre of each image: input, result, and where it is known the original and the error that is left.",
            shots,
            "wide",
            "No pictures.",
        )
    ]
    if report.tables["levels"]:
        titles = ("images", "input", "baseline", "net", "gain")
        header = [Cell("noise, levels of 0-255"), *(Cell(t, "n") for t in titles)]
        names = ("psnr_input", "psnr_baseline", "psnr", "baseline_gain")
        rows = [
            [Cell(f"{r['from']:.3g} to {r['to']:.3g}"), Cell(f"{r['n']}", "n")]
            + [Cell(f"{_value(r[k]):.2f} dB", "n") for k in names]
            for r in report.tables["levels"]
        ]
        blocks.append(Table("Gain by noise level", header, rows))
    rows = [
        [Cell(i["name"], "wide"), Cell(f"{i['psnr']:.2f} dB", "n"), Cell(f"{i['gain']:+.2f} dB", "n")]
        for i in report.items[:_SHOWN]
    ]
    blocks.append(Table("Images that gained least", [Cell("image"), Cell("PSNR", "n"), Cell("gain", "n")], rows))
    each = report.tables["each"]
    pairs = np.stack([np.asarray(each[k], float) for k in ("psnr_input", "psnr")], 1)
    chart = scatter_chart(
        [Mark(x, y, "") for x, y in pairs.tolist()], title="PSNR before and after", x_label="input [dB]",
        y_label="restored [dB]", identity=True,
    )  # fmt: skip
    return Page(
        blocks, [Chart("PSNR before and after", [Span("Above the diagonal the net has helped.")], chart)], "PSNR"
    )


def _value(metric: Any) -> float:
    return float(metric["value"] if isinstance(metric, Mapping) else metric.value)


def take_pictures(
    report: Report, dataset: Dataset, predictor_of: Callable[[str], Predictor]
) -> dict[str, dict[str, Any]]:
    """Return the centres of the worst, median and best image, before and after, by sample id."""
    n = len(report.items)
    chosen = sorted({0, n // 2, n - 1})[:_TRIPLES]
    found = {}
    for at in chosen:
        item = report.items[at]
        tried = try_image(predictor_of(item["id"]), dataset, item["index"], dataset.image(item["index"]))
        truth = tried.clean if tried.hidden is None else None
        apart = None
        if truth is not None:
            apart = np.clip(128 + 8 * (tried.found.astype(np.int16) - truth), 0, 255).astype(np.uint8)
        found[item["id"]] = {
            "name": item["name"],
            "said": f"{item['psnr']:.2f} dB, gain {item['gain']:+.2f} dB"
            + f", noise {item['sigma']:.3g}" * (item["sigma"] > 0),
            "given": data_uri(_centre(tried.given)),
            "found": data_uri(_centre(tried.found)),
            "clean": "" if truth is None else data_uri(_centre(truth)),
            "apart": "" if apart is None else data_uri(_centre(apart)),
        }
    return found


def _centre(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = (max(0, (side - _SIDE) // 2) for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + _SIDE, left : left + _SIDE])


def explain_errors(report: Report, dataset: Dataset, pictures: Pictures, explain: Explain) -> Pictures:
    """Return the pictures as they are: what was changed is seen in them."""
    return pictures
