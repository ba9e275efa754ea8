"""transformers.js: a folder that its `pipeline("image-classification")` opens, in Node and in browsers."""

__all__ = ["pipeline_session", "write_pipeline"]

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.load import Bundle
from eyewright.bundle.session import open_session
from eyewright.core.errors import UsageError
from eyewright.core.files import write_bytes, write_json, write_text
from eyewright.core.task import task_of

_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4}
_DTYPES = {"onnx/model.onnx": "fp32", "onnx/model_quantized.onnx": "q8", "onnx/model_fp16.onnx": "fp16"}
_INSIDE, _INSIDE_FILTERS = ("stretch", "letterbox"), ("bilinear", "bicubic")
_AGAIN = "load the bundle by AutoModel and prepare the pixels yourself (docs/concepts/targets.md)"
_README = """---
library_name: transformers.js
pipeline_tag: image-classification
---
# {name}

```js
import {{ env, pipeline }} from "@huggingface/transformers";
Object.assign(env, {{ allowRemoteModels: false, localModelPath: "./" }});
const classify = await pipeline("image-classification", "FOLDER", {{ dtype: "{dtype}" }});
console.log(await classify("image.png"));
```

`FOLDER` is this folder's name below `localModelPath`. Made by `eyewright export --to transformers.js`.
"""


def write_pipeline(bundle: Bundle, model: bytes, out: Path, *, wrap: Callable[..., bytes]) -> None:
    """Write `config.json`, `preprocessor_config.json` and the model into the folder `out`.

    `wrap(model, channels=…, fitting=…)` gives the model float `pixel_values` and `logits` (`exporting.pixel_values`).

    Raises:
        UsageError: another task than classification, or a preparation that the client's image processor cannot do.
    """
    task = task_of(bundle.task_name)
    if "transformers.js" not in task.foreign:
        raise UsageError(
            f"the transformers.js target is not supported for {task.words.noun}",
            fix=_AGAIN,
            code="target_task",
        )
    processor = _processor(bundle)
    if "contract" in bundle.manifest.decoding:
        raise UsageError(
            "the transformers.js target does not support imported models", fix=_AGAIN, code="target_contract"
        )
    names = bundle.labels.names
    preparation = bundle.preparation
    fitting = None if processor["do_resize"] else (preparation.fit, preparation.filter, preparation.fill)
    (out / "onnx").mkdir()
    write_bytes(out / bundle.manifest.model, wrap(model, channels=bundle.preparation.channels, fitting=fitting))
    # A family of nets by name, of which the client only needs to know that it classifies images.
    config = {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "problem_type": "single_label_classification",
        "num_channels": 3,
        "num_labels": len(names),
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }
    write_json(out / "config.json", config)
    write_json(out / "preprocessor_config.json", processor)
    dtype = _DTYPES.get(bundle.manifest.model, "fp32")
    write_text(out / "README.md", _README.format(name=bundle.manifest.name, dtype=dtype))


def _processor(bundle: Bundle) -> dict[str, Any]:
    """Return what the client's image processor is told, or refuse what it cannot do."""
    preparation = bundle.preparation
    height, width = preparation.size_hw
    if preparation.steps:
        raise UsageError(
            f"the transformers.js target does not support the processing steps of this model ({preparation.steps!r})",
            fix=_AGAIN,
            code="target_operator",
        )
    unlike = preparation.fit == "crop" and height != width
    if unlike or (preparation.fit == "letterbox" and preparation.filter not in _INSIDE_FILTERS):
        raise UsageError(
            f"transformers.js has no resizing like fit {preparation.fit!r} to {height}x{width} with "
            f"{preparation.filter!r}",
            fix=_AGAIN,
            code="target_operator",
        )
    inside = preparation.fit in _INSIDE and preparation.filter in _INSIDE_FILTERS and preparation.inner is None
    cut = preparation.inner is not None or preparation.fit == "crop"
    inner = preparation.inner or height
    size = {"height": inner, "width": inner} if preparation.inner else {"height": height, "width": width}
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_convert_rgb": True,
        # The client resizes otherwise than Pillow, so that the model does it where it can.
        "do_resize": not inside,
        "size": {"shortest_edge": inner} if preparation.fit in ("shorter", "crop") else size,
        "resample": _RESAMPLE[preparation.filter],
        **({"do_center_crop": True, "crop_size": {"height": height, "width": width}} if cut else {}),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": False,
    }


def pipeline_session(data: Mapping[str, bytes]) -> "PipelineSession":
    """Open the model that the client runs, on ONNX Runtime here: the same file, without Node."""
    return PipelineSession(open_session(data[next(name for name in data if name.startswith("onnx/"))]))


class PipelineSession:
    """The model fed with `pixel_values` and its `logits` turned to probabilities, as the client does."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]], options: Any = None) -> list[NDArray[Any]]:
        """Return the probabilities of uint8 pixels (N, H, W, C)."""
        (pixels,) = feeds.values()
        rgb = np.repeat(pixels, 3, 3) if pixels.shape[3] == 1 else pixels
        values = np.ascontiguousarray(rgb.transpose(0, 3, 1, 2)).astype(np.float32) * np.float32(1 / 255)
        (logits,) = self._session.run(["logits"], {"pixel_values": values}, options)
        raised = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
        found = (raised / raised.sum(1, keepdims=True)).astype(np.float32)
        return [found for _ in names]
