"""Encode the images of a shard to a target of quality or size, below `images/` of the job."""

__all__ = ["open_encode", "planned_stem"]

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from eyewright.core.errors import EyewrightError, MissingExtraError
from eyewright.processing.compression import Encoded, Target, available_codecs, encode_picture, encoded_name
from eyewright.scaling.fetching import named_path
from eyewright.scaling.listing import Item, has_changed
from eyewright.scaling.outputs import write_output
from eyewright.scaling.plan import OUTPUTS, Plan
from eyewright.scaling.rows import Row, changed_row, error_row


def open_encode(plan: Plan, threads: int) -> "_Encode":
    """Prepare the target of a plan; each worker encodes one image at a time, whatever `threads` is.

    Raises:
        MissingExtraError: a planned codec cannot be written on this machine.
    """
    missing = sorted(set(str(plan.options["to"]).split(",")) - set(available_codecs()))
    if missing:
        raise MissingExtraError(
            f"the job was planned with {', '.join(missing)}, which this machine cannot write",
            fix="install eyewright[formats] here",
        )
    return _Encode(plan)


def planned_stem(plan: Plan, item: Item) -> Path:
    """Return the name that an item's result has below `images/` of the job, without its extension, which the smallest
    codec decides."""
    name = named_path(item, plan.root)
    return name.with_name(name.stem)


class _Encode:
    def __init__(self, plan: Plan) -> None:
        options = plan.options
        self._plan = plan
        self._codecs = str(options["to"]).split(",")
        self._target = Target(cast("Any", options["target"]), float(cast("float", options["value"])))
        self._keep_icc = bool(options["keep_icc"])

    def rows(self, items: Sequence[Item], first: int, shard: int) -> Iterator[Row]:
        for number, item in enumerate(items, first):
            if has_changed(item):
                yield changed_row(number, item.path)
                continue
            path = Path(item.path)
            try:
                found, data, notes = encode_picture(path, self._codecs, self._target, keep_icc=self._keep_icc)
            except EyewrightError as error:
                yield error_row(number, item.path, error.code, error.message)
                continue
            output = Path(OUTPUTS) / _named(planned_stem(self._plan, item), found.codec)
            digest = write_output(self._plan, shard, output, data)
            about = {"ok": True, "error": None, "message": None, "label": None, "score": None}
            result = {"output": str(output), **_told(found), "notes": [n.message for n in notes], "sha256": digest}
            yield {"id": number, "source": item.path, **about, "result": result}


def _named(stem: Path, codec: str) -> Path:
    # Not with_suffix: a stem may hold dots.
    return stem.with_name(encoded_name(stem.with_name(f"{stem.name}.x"), codec))


def _told(found: Encoded) -> dict[str, Any]:
    names = ("codec", "quality", "chroma", "bytes_in", "bytes_out", "psnr", "ssim", "ms_ssim", "score", "missed")
    values = {name: getattr(found, name) for name in names}
    sound = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    return {**sound, "height": found.size_hw[0], "width": found.size_hw[1]}
