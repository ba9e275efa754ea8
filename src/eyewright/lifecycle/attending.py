"""Attend: what each head of each layer of a transformer attends to, for a text or an image."""

__all__ = ["attend"]

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError, UsageError
from eyewright.lifecycle.opening import bundle_folder, load_model, need_torch, run_in

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.explanation.attention_maps import Attention
    from eyewright.imaging.preparation import Placement
    from eyewright.nets.texts import Published, Weighed
    from eyewright.training.run import Run

PathLike = str | Path
Source = str | Path | NDArray[np.uint8]

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
    Hugging Face vision transformer, or a bundle of such a run. `source` is a text, or the path or array, uint8
    (H, W, 3), of an image, as the model takes it. `pair` is the second text of an encoder such as BERT, the target
    text of an encoder-decoder such as T5, or the text beside an image for CLIP and SigLIP. Needs torch.

    Raises:
        UsageError: a text for a model of images, or the reverse.
        InputError: a text that is empty or too long, an image that cannot be read.
        CheckpointError, BundleError: the model cannot be used or returns no attention weights.
    """
    several = isinstance(source, list | tuple)
    sources: list[Source] = list(source) if isinstance(source, list | tuple) else [source]
    need_torch()
    if isinstance(model, str) and model.startswith("hf:"):
        from eyewright.nets.texts import open_published

        found = _published(open_published(model), sources, pair)
    else:
        found = _own(model, sources, pair)
    return found if several else found[0]


def _published(net: "Published", sources: list[Source], pair: str | None) -> "list[Attention]":
    from eyewright.explanation.attention_maps import Attention

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
            raise UsageError("expected an image beside --pair for this model, found a text", fix="pass an image")
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
            shown, boxes = image, _boxes(weighed.grid_hw, prepared[0].size_hw, prepared[1])
        one = made([weighed], name, image=shown, boxes_xyxy=_whole(shown, weighed.grid_hw) if boxes is None else boxes)
        if pair is not None:
            if net.kind != "pair":
                raise UsageError(f"expected no --pair, since {net.name!r} reads images only", fix="leave it out")
            (beside,) = net.text_attention([pair])
            one = _with(one, [made(beside, pair)])
        result.append(one)
    return result


def _with(one: "Attention", others: "Sequence[Attention]") -> "Attention":
    from dataclasses import replace

    return replace(one, others=tuple(others)) if others else one


def _is_image(source: Source, net: "Published") -> bool:
    """Tell whether a source is an image for this model.

    Raises:
        UsageError: it is one, and the model reads texts.
        InputError: the model reads images, and there is no such file.
    """
    from eyewright.imaging import FORMATS

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
    from eyewright.imaging.sources.files import iter_images

    if not isinstance(source, np.ndarray) and not _exists(source):
        raise InputError(
            f"expected an image, found no file {_called(source)!r}", fix="check the path", code="not_found"
        )
    frame = next(iter(iter_images(source)))
    return frame.image, frame.origin


def _own(model: Any, sources: list[Source], pair: str | None) -> "list[Attention]":
    from eyewright.core.errors import CheckpointError

    if pair is not None:
        raise UsageError("expected no --pair, since a run or bundle reads images only", fix="leave it out")
    name = str(model if isinstance(model, str | Path) else getattr(model, "folder", "model"))
    if isinstance(model, str | Path) and not (Path(model) / "run.json").exists():
        model = bundle_folder(Path(model))
    predictor, owner = load_model(model)
    if owner is None:
        owner = run_in(predictor)
    if owner is None:
        raise CheckpointError(
            f"{name!r} has no weights that torch can read, so its attention is out of reach",
            fix="pass the run that it was exported from",
        )
    body: Any = owner.net.body
    if not hasattr(body, "attentions") or getattr(body, "grid_hw", (0, 0)) == (0, 0):
        raise CheckpointError(
            f"{name!r} is a {owner.recipe.model}, which has no attention over the whole image",
            fix="train with --model vit, or with a vision transformer of Hugging Face",
        )
    return [_own_image(owner, name, source) for source in sources]


def _own_image(owner: "Run", name: str, source: Source) -> "Attention":
    import torch

    from eyewright.explanation import explain_images
    from eyewright.explanation.attention_maps import Attention
    from eyewright.nets.texts import image_tokens

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
    verdict = ""
    for found in explain_images(owner.predictor, [image], method="rollout", net=owner.net, most=1):
        verdict = f"For this image the rollout is {found.verdict} as a map of why it is called {found.label!r}."
    width = int(body.head.in_features) if hasattr(body, "head") else int(body.model.config.hidden_size)
    return Attention(
        weights, names, names, names, special, "image", name, origin, (len(names), width), grid,
        image=image, boxes_xyxy=_boxes(grid, pixels.shape[:2], placement), verdict=verdict,
    )  # fmt: skip


def _boxes(grid: tuple[int, int], size_hw: tuple[int, ...], placement: "Placement") -> NDArray[np.float64]:
    """Return where each patch lies in the source image, (patches, 4) x0, y0, x1, y1, inside it."""
    corners = _whole(np.empty((*size_hw[:2], 0), np.uint8), grid).reshape(-1, 2)
    height, width = placement.source_hw
    return np.clip(placement.to_source(corners).reshape(-1, 4), 0, [width, height, width, height])


def _whole(image: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.float64]:
    """Return the boxes of a grid that fills an image."""
    height, width = image.shape[0] / grid[0], image.shape[1] / grid[1]
    y, x = (a.ravel() for a in np.mgrid[: grid[0], : grid[1]])
    return np.stack([x * width, y * height, (x + 1) * width, (y + 1) * height], 1).astype(np.float64)
