"""Attend: what each head of each layer of a transformer attends to, for a text or an image."""

__all__ = ["attend"]

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import CheckpointError, InputError, UsageError
from eyewright.core.task import task_of
from eyewright.imaging import FORMATS
from eyewright.imaging.sources.files import iter_images
from eyewright.lifecycle.loading import bundle_folder, need_torch
from eyewright.lifecycle.opening import load_model, run_in

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.explanation.attention_maps import Attention
    from eyewright.nets.texts import Published, Weighed
    from eyewright.training.run import Run

PathLike = str | Path
Source = str | Path | NDArray[np.uint8]

_WEIGHTS = "onnx/attention.onnx"
_UNTESTED = "Its faithfulness was not tested: that needs a model with an output to explain, such as a trained run."


@overload
def attend(model: "Run | Bundle | PathLike", source: Source, *, pair: str | None = None) -> "Attention": ...
@overload
def attend(
    model: "Run | Bundle | PathLike", source: list[Source] | tuple[Source, ...], *, pair: str | None = None
) -> "list[Attention]": ...
def attend(
    model: "Run | Bundle | PathLike", source: Source | list[Source] | tuple[Source, ...], *, pair: str | None = None
) -> "Attention | list[Attention]":
    """Return the attention weights of a transformer for a text or an image; for a list of sources a list.

    `model` is `hf:FOLDER` or `hf:OWNER/MODEL` (safetensors; no code of the checkpoint is run), a run with `vit` or a
    Hugging Face vision transformer, or a bundle of such a run; exported with `attention=True` it needs no torch.
    `source` is a text, or the path or array, uint8 (H, W, 3), of an image, as the model takes it. `pair` is the second
    text of an encoder such as BERT, the target text of an encoder-decoder such as T5, or the text for an image of
    CLIP and SigLIP.

    Raises:
        UsageError: a text for a model of images, or the reverse.
        InputError: a text that is empty or too long, an image that cannot be read.
        CheckpointError, BundleError: the model cannot be used or returns no attention weights.
    """
    several = isinstance(source, list | tuple)
    sources: list[Source] = list(source) if isinstance(source, list | tuple) else [source]
    if isinstance(model, str) and model.startswith("hf:"):
        need_torch()
        from eyewright.nets.texts import open_published

        found = _published(open_published(model), sources, pair)
    else:
        found = _own(model, sources, pair)
    for one in (part for whole in found for part in whole.walk()):
        if not np.isfinite(one.weights).all():
            raise CheckpointError(
                f"{one.model!r} gives attention weights that are not finite",
                fix="its weights are damaged: get it again",
            )
    return found if several else found[0]


def _published(net: "Published", sources: list[Source], pair: str | None) -> "list[Attention]":
    from eyewright.explanation.attention_maps import Attention
    from eyewright.imaging.patches import patch_boxes, whole_boxes

    def made(weighed: "Sequence[Weighed]", source: str, **more: Any) -> Attention:
        first, *rest = (
            Attention(
                w.weights, w.tokens, w.keys, w.words, w.special, w.name, net.name, source, w.hidden_shape, w.grid_hw,
                verdict=_UNTESTED, **more,
            )
            for w in weighed
        )  # fmt: skip
        return _with(first, rest)

    result: list[Attention] = []
    texts = [s for s in sources if not _is_image(s, net)]
    if texts:
        both = None if pair is None else [pair] * len(texts)
        if net.kind == "pair" and pair is not None:
            raise UsageError("expected an image next to --pair for this model, found a text", fix="pass an image")
        read = iter(net.text_attention([str(t) for t in texts], both))
    for source in sources:
        if not _is_image(source, net):
            result.append(made(next(read), str(source)))
            continue
        image, name = _image(source)
        (weighed,) = net.image_attention([image])
        prepared = net.prepared(image)
        if prepared is None:
            shown, boxes = net.picture(image), None
        else:
            shown, boxes = image, patch_boxes(weighed.grid_hw, prepared[0].size_hw, prepared[1])
        one = made(
            [weighed],
            name,
            image=shown,
            boxes_xyxy=whole_boxes(weighed.grid_hw, shown.shape[:2]) if boxes is None else boxes,
        )
        if pair is not None:
            if net.kind != "pair":
                raise UsageError(f"expected no --pair, since {net.name!r} reads images only", fix="leave it out")
            (other,) = net.text_attention([pair])
            one = _with(one, [made(other, pair)])
        result.append(one)
    return result


def _with(one: "Attention", others: "Sequence[Attention]") -> "Attention":
    from dataclasses import replace

    return replace(one, others=tuple(others)) if others else one


def _is_image(source: Source, net: "Published") -> bool:
    """Return whether a source is an image for this model.

    Raises:
        UsageError: it is one, and the model reads texts.
        InputError: the model reads images, and there is no such file.
    """
    file = not isinstance(source, np.ndarray) and _exists(source)
    named = file and Path(source).suffix.lower() in {e for several in FORMATS.values() for e in several}  # type: ignore[arg-type]
    if isinstance(source, np.ndarray | Path) or named:
        if not net.takes_images:
            raise UsageError(
                f"{net.name!r} reads texts, found the image {_called(source)!r}",
                fix="pass a text, or a model of images",
            )
        return True
    if not net.takes_text:
        if not file:
            raise InputError(
                f"{net.name!r} reads images, and there is no file {_called(source)!r}",
                fix="pass the path of an image, or a model of texts",
            )
        return True
    return False


def _exists(source: str | Path) -> bool:
    try:
        return Path(source).is_file()
    except (OSError, ValueError):
        # A text, longer than a path may be.
        return False


def _called(source: Source) -> str:
    if isinstance(source, np.ndarray):
        return "array"
    text = str(source)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _image(source: Source) -> tuple[NDArray[np.uint8], str]:
    if not isinstance(source, np.ndarray) and not _exists(source):
        raise InputError(
            f"expected an image, found no file {_called(source)!r}", fix="check the path", code="not_found"
        )
    frame = next(iter(iter_images(source)))
    return frame.image, frame.origin


def _own(model: Any, sources: list[Source], pair: str | None) -> "list[Attention]":
    if pair is not None:
        raise UsageError("expected no --pair, since a run or bundle reads images only", fix="leave it out")
    name = str(model if isinstance(model, str | Path) else getattr(model, "folder", "model"))
    if isinstance(model, str | Path) and not (Path(model) / "run.json").exists():
        model = bundle_folder(Path(model))
    predictor, owner = load_model(model)
    if owner is None and _WEIGHTS in predictor.manifest.files:
        return _of_bundle(predictor, name, sources)
    need_torch()
    if owner is None:
        owner = run_in(predictor)
    if owner is None:
        raise CheckpointError(
            f"{name!r} has no weights that torch can read, so its attention cannot be read",
            fix="pass the run that it was exported from, or export it --with-attention",
        )
    body: Any = owner.net.body
    if not hasattr(body, "attentions") or getattr(body, "grid_hw", (0, 0)) == (0, 0):
        raise CheckpointError(
            f"{name!r} is a {owner.recipe.model}, which has no attention over the whole image",
            fix="train with --model vit, or with a vision transformer of Hugging Face",
        )
    return [_own_image(owner, name, source) for source in sources]


def _of_bundle(bundle: "Bundle", name: str, sources: list[Source]) -> "list[Attention]":
    """Return the attention of images by the model that `export --with-attention` has put into a bundle; no torch."""
    from PIL import Image

    from eyewright.bundle.session import open_session
    from eyewright.explanation.attention_maps import Attention, rolled
    from eyewright.explanation.outside import explain_prepared
    from eyewright.imaging.patches import image_tokens, patch_boxes

    session = open_session((bundle.folder / _WEIGHTS).read_bytes())
    about = session.get_modelmeta().custom_metadata_map
    rows, columns = map(int, about["grid_hw"].split(","))
    result = []
    for source in sources:
        image, origin = _image(source)
        pixels, placement = bundle.preparation(image)
        (found,) = session.run(["attention"], {"image": np.ascontiguousarray(pixels[None])})
        weights = found[0]
        names, special = image_tokens(weights.shape[-1], (rows, columns), about["model_type"])
        through = rolled(weights)
        row = through[0] if special[0] else through.mean(0)
        small = Image.fromarray(row[-rows * columns :].reshape(rows, columns).astype(np.float32))
        heat = np.asarray(small.resize(pixels.shape[1::-1], Image.Resampling.BILINEAR))
        heat = (heat - heat.min()) / max(float(np.ptp(heat)), 1e-12)
        verdict = ""
        heats = partial(_repeated, heat.astype(np.float32))
        for one in explain_prepared(bundle, pixels, placement, method="rollout", heats=heats, most=1):
            what = f"why it is called {one.label!r}" if _predicts(bundle.task_name) else "what its embedding depends on"
            verdict = f"For this image the rollout is {one.verdict} as a map of {what}."
        result.append(
            Attention(
                weights, names, names, names, special, "image", name, origin, (len(names), int(about["width"])),
                (rows, columns), image=image, verdict=verdict,
                boxes_xyxy=patch_boxes((rows, columns), bundle.preparation.size_hw, placement),
            )
        )  # fmt: skip
    return result


def _repeated(
    heat: NDArray[np.float32], pixels: NDArray[np.uint8], targets: Sequence[Any]
) -> list[NDArray[np.float32]]:
    """Return the same map for each target: rollout does not depend on the class."""
    return [heat] * len(targets)


def _predicts(task: str) -> bool:
    """Return whether a model of this task predicts classes, so that a map can be asked why it predicted one."""
    return "gradients" in task_of(task).options


def _own_image(owner: "Run", name: str, source: Source) -> "Attention":
    import torch

    from eyewright.explanation import explain_images
    from eyewright.explanation.attention_maps import Attention
    from eyewright.imaging.patches import image_tokens, patch_boxes
    from eyewright.nets.attention import hidden_width

    image, origin = _image(source)
    pixels, placement = owner.preparation(image)
    body: Any = owner.net.body
    with torch.inference_mode():
        layers = body.attentions(owner.net.scale(torch.from_numpy(np.array(pixels[None]))))
    weights = np.stack([a[0].float().numpy() for a in layers])
    grid: tuple[int, int] = body.grid_hw
    names, special = image_tokens(
        weights.shape[-1], grid, body.model.config.model_type if hasattr(body, "model") else ""
    )
    explains = _predicts(owner.task_name)
    verdict = "" if explains else _UNTESTED
    for found in explain_images(owner.predictor, [image], method="rollout", net=owner.net, most=1) if explains else ():
        verdict = f"For this image the rollout is {found.verdict} as a map of why it is called {found.label!r}."
    width = hidden_width(body)
    return Attention(
        weights, names, names, names, special, "image", name, origin, (len(names), width), grid,
        image=image, boxes_xyxy=patch_boxes(grid, owner.preparation.size_hw, placement), verdict=verdict,
    )  # fmt: skip
