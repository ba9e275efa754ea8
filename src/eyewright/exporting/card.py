"""The model card: README.md of a bundle, with the front matter that the Hugging Face hub reads."""

__all__ = ["model_card", "points_table"]

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from eyewright.bundle.manifest import Manifest
from eyewright.core.inputs import Inputs
from eyewright.core.task import metric_named, task_of
from eyewright.evaluation.added import say_added
from eyewright.evaluation.changes import change_unit, say_change
from eyewright.evaluation.units import show_interval, show_number
from eyewright.evaluation.validation import say_validated
from eyewright.exporting.private import say_private
from eyewright.exporting.robust import say_robust

_MOST_POINTS = 20
_NAMES = {"ap50": "AP50", "miou": "mean IoU"}


_LIMITS = "It was evaluated on images like those it was trained on; expect lower scores on others."


def model_card(manifest: Manifest, per_label: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the card as Markdown: what the model does, how good it is, how to use it, where it comes from.

    `per_label` are the rows of `Report.per_class`; they are shown where labels have units of their own.
    """
    about = manifest.provenance
    data = about.get("dataset") or {}
    task = task_of(manifest.task)
    words, pipeline, problem = task.words, task.foreign.get("hub"), task.foreign.get("problem_type", "")
    # What every model of the pipeline does needs no saying.
    problem = "" if problem.startswith("single_label") else problem
    rows = [(k, manifest.metrics[k]) for k in (m.name for m in task.metrics) if k in manifest.metrics]
    results = [
        {"type": name, "name": name, "value": m["value"], "args": {"low": m["low"], "high": m["high"], "n": m["n"]}}
        for name, m in rows
        if m["value"] is not None
    ]
    index = {
        "name": manifest.name,
        "results": [
            {
                "task": {"type": pipeline or words.noun},
                "dataset": {"name": data.get("name", "unknown"), "type": data.get("name", "unknown")},
                "metrics": results,
            }
        ],
    }
    front = {
        "library_name": "eyewright",
        **({"pipeline_tag": pipeline} if pipeline else {}),
        "tags": ["eyewright", "onnx", *([problem.replace("_", "-")] if problem else [])],
        "model-index": [index],
    }
    shown = ", ".join(manifest.labels.names[:20]) + (", …" if len(manifest.labels) > 20 else "")
    shown = f" {words.count(len(manifest.labels))}: {shown}" if words.names_labels else ""
    unit = partial(task.unit, manifest.labels.names)
    table = "".join(f"| {name} | {_number(name, m, unit(name))} | {m['n']} |\n" for name, m in rows)
    measured = f"| metric | value [95 % interval] | n |\n|---|---|---|\n{table}" if rows else "Not measured.\n"
    each = _each(per_label, task.columns)
    images = data.get("images") or {}
    # JSON is YAML; writing it this way cannot be led astray by what a class is called.
    yaml = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items())
    return f"""---
{yaml}
---

# {manifest.name}

{words.does}{shown}.{_problem(pipeline, problem, words.noun)}

## Evaluation

{_unlearnt(about)}On {images.get("test", 0)} test images{"" if _seen(about) else " that were not used in training"}:

{measured}
{each}{_cautions(manifest)}{_compressed(manifest)}{_calibrated(manifest)}{points_table(manifest.thresholds)}{_evidence(manifest)}
## Use

```python
import eyewright as ew
bundle = ew.load_bundle(".")
bundle.predict("image.jpg").{words.usage}
```

or `eyewright predict . --source image.jpg`. Without Eyewright: `{manifest.model}` takes
{_takes(manifest.inputs)}
and returns {words.gives}.

## Training data and provenance

{_origin(about)}
{_left_out(data)}{_generated(about)}
## Limits

{words.limits} {_LIMITS}
"""


def _seen(about: Mapping[str, Any]) -> bool:
    """Return whether a warning is about test images that training saw, or some that are related."""
    said = (about.get("training") or {}).get("unlearnt") or ""
    return any(str(w).rstrip(".").lower() != said.lower() for w in about.get("warnings") or ())


def _unlearnt(about: Mapping[str, Any]) -> str:
    """Say that training has not worked, where its validation images show it."""
    said = (about.get("training") or {}).get("unlearnt")
    return f"**Warning: {said}. Do not use it.**\n\n" if said else ""


def _origin(about: Mapping[str, Any]) -> str:
    """Say what the model was trained on, or that it is exported as it was published."""
    data, training, published = about.get("dataset") or {}, about.get("training") or {}, about.get("published")
    weights = f"{about.get('model')} ({about.get('parameters') or 0:,} weights)"
    if published:
        return (
            f"{weights}, as it was published: nothing was trained here. Its files have the digest "
            f"`{str(published.get('digest'))[:16]}`; `bundle.json`\nholds the digests of all files."
        )
    return (
        f"{weights}, trained on {(data.get('images') or {}).get('train', 0)} images of\n"
        f"{data.get('name')} (fingerprint `{str(data.get('fingerprint'))[:16]}`), {training.get('epochs')} epochs,\n"
        f"seed {about.get('seed')}. `recipe.toml` repeats it, `bundle.json` holds the digests of all files."
    )


def _problem(pipeline: str | None, problem: str, noun: str) -> str:
    """Say how Hugging Face calls what the model does, where its tag of a pipeline does not say it."""
    if not problem:
        return ""
    named = (
        f"Hugging Face lists such models as `{pipeline}`" if pipeline else f"Hugging Face has no pipeline for {noun}"
    )
    return f" {named}; `problem_type` in `config.json` is `{problem}`."


def _each(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return the metrics of each label in its own unit; nothing where labels have none."""
    named = [(str(r["label"]), str(r["unit"]), [(c, r[c]) for c in columns if c in r]) for r in rows if "unit" in r]
    if not named:
        return ""
    shown = [
        f"| {_cell(label)} | " + " | ".join(_cell(_number(c, m, unit)) for c, m in metrics) + " |\n"
        for label, unit, metrics in named
    ]
    titles = [metric_named(c).title for c, _ in named[0][2]]
    head = f"| label | {' | '.join(titles)} |\n|{'---|' * (len(titles) + 1)}\n"
    return f"Each by itself, errors in its own unit:\n\n{head}{''.join(shown)}\n"


def _takes(inputs: Inputs) -> str:
    """Return what the ONNX file takes, by name, type and shape."""
    rows = [(name, one.dtype, ", ".join(map(str, one.shape)), one.words) for name, one in inputs.items()]
    return " and ".join(f"`{name}`: {dtype} (N, {shape}) {words}" for name, dtype, shape, words in rows) or "nothing"


def _cautions(manifest: Manifest) -> str:
    """Return what the numbers must not be read without: groups, new things, how it was split and validated."""
    about = manifest.provenance
    measured = about.get("measured") or {}
    newest = measured.get("newest_third")
    lines = [*measured.get("said", ())]
    if newest and newest["value"] is not None:
        of = measured["newest_of"]
        shown = _number(of, newest, task_of(manifest.task).unit(manifest.labels.names, of))
        lines.append(f"On the third of the images least like training: {_NAMES.get(of, of)} {shown}.")
    grouping = about.get("grouping") or {}
    if "words" in grouping:
        lines.append(f"Before the split: {grouping['words']} (rule: {grouping['rule']}).")
    warned = [*(about.get("warnings") or ()), *(grouping.get("warnings") or ())]
    lines += [f"**Warning: {w.rstrip('.')}.**" for w in warned]
    said = say_validated({"task": manifest.task, "labels": manifest.labels.names, **about})
    if said:
        lines.append(f"In training: {said}.")
    lines += say_robust(about)
    lines += say_private(about)
    return "".join(f"- {_cell(line)}\n" for line in lines) + ("\n" if lines else "")


def _left_out(data: Mapping[str, Any]) -> str:
    """Return what was left out of training because it is a copy of a held-out image."""
    said = (data.get("leaks") or {}).get("said")
    return f"\n{_cell(said)}.\n" if said else ""


def _generated(about: Mapping[str, Any]) -> str:
    """Return which images of training a model has drawn, and whether they helped."""
    said = say_added(about.get("generated") or {})
    return f"\n{_cell(said)}.\n" if said else ""


def _compressed(manifest: Manifest) -> str:
    about = manifest.compression
    if not about:
        return ""
    speed = about["speedup"]
    lost = ", ".join(f"{name} {_change(name, about['drops'][name])}" for name in about["budget"]["max_drop"])
    return (
        f"It was made from the bundle `{manifest.parent[:16]}` by: {about['how']} ({manifest.precision}).\n"
        f"{about['parent_bytes']:,} became {about['bytes']:,} bytes, {speed['value']:.2f} times as fast "
        f"[{speed['low']:.2f}, {speed['high']:.2f}] where it was made;\n"
        f"against that bundle on {_held_out(about['measured_on'])}: {lost}; "
        f"{about['changed_answers']} predictions changed.\n\n"
    )


def _change(name: str, drop: Mapping[str, Any]) -> str:
    return say_change(name, drop["value"], unit=change_unit(name, drop.get("unit", "")), digits=2)


def _held_out(measured_on: Mapping[str, Any]) -> str:
    text = f"{measured_on['images']} held-out images"
    return f"{text} in {measured_on['groups']} groups" if "groups" in measured_on else text


def _calibrated(manifest: Manifest) -> str:
    temperature = manifest.calibration.get("temperature")
    if temperature is None:
        reason = manifest.calibration.get("reason") if "ece_before" in manifest.calibration else None
        return "" if reason is None else f"Confidence is not calibrated: {reason}.\n"
    return f"Confidence is calibrated by one temperature ({temperature:.3f}), fitted on validation\nimages. "


def points_table(thresholds: Mapping[str, Any]) -> str:
    """Return the operating points with their intervals, at most 20 of them."""
    classes = {n: p for n, p in (thresholds.get("classes") or {}).items() if "f1" in p}
    if not classes:
        return ""
    if any("groups" not in p for p in classes.values()):
        return "For every class, `thresholds` in `bundle.json` holds the score above which it is accepted.\n"
    rows = []
    for name, p in list(classes.items())[:_MOST_POINTS]:
        interval = "not known" if p["low"] is None else f"{p['low']:.3f} to {p['high']:.3f}"
        rows.append(f"| {_cell(name)} | {p['threshold']:.3f} | {interval} | {p['n']} | {p['images']} | {p['groups']} |")
    more = len(classes) - len(rows)
    return (
        "A class is accepted from its operating point on (`thresholds` in `bundle.json`). Where few groups of images\n"
        "hold a class its point is lowered, and its interval is wide.\n\n"
        "| class | operating point | 95 % interval | n | images | groups |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + (f"\n\n{more} more classes are in `bundle.json`." if more else "")
        + "\n"
    )


def _evidence(manifest: Manifest) -> str:
    """Return how many images and groups each number rests on, and whether unfamiliar images are recognised."""
    rows = "".join(
        f"| {name} | {e['images']} | {'not known' if e['groups'] is None else e['groups']} |\n"
        for name, e in manifest.evidence.items()
    )
    table = (
        "\nImages of one group (a tile, a recording, a patient) are not independent; what the numbers rest on:\n\n"
        f"| what | images | groups |\n|---|---|---|\n{rows}"
        if rows
        else ""
    )
    about = manifest.familiarity
    if not about:
        return table
    if about.get("method") == "none":
        return f"{table}\nUnfamiliar images are not recognised: {about['reason']}.\n"
    compared = "their appearance and the net's features" if about.get("features") else "their appearance"
    flagged = f"Images unlike the reference are flagged as unfamiliar, by {compared}"
    return f"{table}\n{flagged}: of those like it, 1 in 100 is.\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _number(name: str, metric: Mapping[str, Any], unit: str = "") -> str:
    """Return a metric as other tools write it, a fraction of 1, or in its unit."""
    if metric["value"] is None:
        return "not defined"
    if math.isinf(metric_named(name).bounds[1]):
        interval = show_interval(name, metric["low"], metric["high"])
        return f"{show_number(name, metric['value'], unit)} {interval}".rstrip()
    interval = "" if metric["low"] is None else f" [{metric['low']:.3f}, {metric['high']:.3f}]"
    return f"{metric['value']:.3f}{interval}"
