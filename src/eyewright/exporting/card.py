"""The model card: README.md of a bundle, with the front matter that the Hugging Face hub reads."""

__all__ = ["model_card"]

import json
from collections.abc import Mapping
from typing import Any

from eyewright.bundle.manifest import Manifest

_SHOWN = ("accuracy", "balanced_accuracy", "f1_macro", "auc", "kappa", "ece")


def model_card(manifest: Manifest) -> str:
    """Give the card as Markdown: what the model does, how good it is, how to use it, where it comes from."""
    about = manifest.provenance
    data = about.get("dataset") or {}
    rows = [(k, manifest.metrics[k]) for k in _SHOWN if k in manifest.metrics]
    results = [
        {"type": name, "name": name, "value": m["value"], "args": {"low": m["low"], "high": m["high"], "n": m["n"]}}
        for name, m in rows
        if m["value"] is not None
    ]
    index = {
        "name": manifest.name,
        "results": [
            {
                "task": {"type": "image-classification"},
                "dataset": {"name": data.get("name", "unknown"), "type": data.get("name", "unknown")},
                "metrics": results,
            }
        ],
    }
    front = {
        "library_name": "eyewright",
        "pipeline_tag": "image-classification",
        "tags": ["eyewright", "onnx"],
        "model-index": [index],
    }
    height, width = manifest.preparation.size_hw
    kind = "grey" if manifest.preparation.channels == 1 else "RGB"
    shown = ", ".join(manifest.labels.names[:20]) + (", …" if len(manifest.labels) > 20 else "")
    table = "".join(f"| {name} | {_number(m)} | {m['n']} |\n" for name, m in rows)
    measured = f"| metric | value [95 % interval] | n |\n|---|---|---|\n{table}" if rows else "Not measured.\n"
    images = data.get("images") or {}
    training = about.get("training") or {}
    # JSON is YAML; writing it this way cannot be led astray by what a class is called.
    yaml = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items())
    return f"""---
{yaml}
---

# {manifest.name}

Sorts an image into one of {len(manifest.labels)} classes: {shown}.

## How good it is

On {images.get("test", 0)} test images that training never saw:

{measured}
Confidence is calibrated by one temperature ({manifest.calibration.get("temperature", 1.0):.3f}), fitted on validation
images. For every class, `thresholds` in `bundle.json` names the score from which on F1 was largest there.

## Use

```python
import eyewright as ew
bundle = ew.load_bundle(".")
bundle.predict("image.jpg").top1
```

or `eyewright predict . --source image.jpg`. Without Eyewright: `onnx/model.onnx` takes uint8 (N, {height}, {width},
{manifest.preparation.channels}) {kind} pixels and gives probabilities in the order of `config.json`.

## Where it comes from

{about.get("model")} ({about.get("parameters") or 0:,} weights), trained on {images.get("train", 0)} images of
{data.get("name")} (fingerprint `{str(data.get("fingerprint"))[:16]}`), {training.get("epochs")} epochs,
seed {about.get("seed")}. `recipe.toml` repeats it, `bundle.json` holds the digests of all files.

## Limits

It knows these classes only and answers with one of them for every image, also for one that shows none of them. It was
measured on images like those it was trained on; on others expect less.
"""


def _number(metric: Mapping[str, Any]) -> str:
    if metric["value"] is None:
        return "not defined"
    interval = "" if metric["low"] is None else f" [{metric['low']:.3f}, {metric['high']:.3f}]"
    return f"{metric['value']:.3f}{interval}"
