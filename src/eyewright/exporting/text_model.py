"""The text side of a bundle: the second graph, checked against the trained net on every caption of validation."""

__all__ = ["export_texts"]

from pathlib import Path

import numpy as np
import torch

from eyewright.bundle.session import open_session
from eyewright.bundle.texts import MODEL, TextTower, write_texts
from eyewright.core.errors import ParityError
from eyewright.core.files import write_bytes
from eyewright.core.predictor import Predictor, texts_of
from eyewright.data.dataset import Dataset
from eyewright.exporting.onnx_model import export_module
from eyewright.nets.pixels import PixelNet
from eyewright.training.learner import learner_of

_GOLDEN, _MOST = 10, 2000
_TOLERANCE = 1e-4
_FALLBACK = ("a", "one two three", "ein roter Wagen", "🙂", "سيارة حمراء", "many words " * 200)


def export_texts(net: PixelNet, stage: Path, task: str, predictor: Predictor, validation: Dataset) -> None:
    """Write how a net embeds texts into the folder of a bundle; nothing for a net that reads images only.

    Raises:
        ParityError: the exported model embeds a text otherwise than the net.
    """
    make = learner_of(task).text
    if make is None:
        return
    side = make(net)
    path = stage / MODEL
    blank = torch.zeros(2, side.preparation.length, dtype=torch.int32)
    # Texts of a model that reads to their end mark are as long as the longest of a batch.
    free = [(1,)] if getattr(side.preparation, "brief", False) else [()]
    export_module(side.module, path, {"text": blank}, metadata={"task": task}, traced=True, free=free)
    told = [text for s in validation.samples for text in getattr(s.target, "texts", ())][:_MOST]
    texts = [*dict.fromkeys([*told, *_FALLBACK])]
    ours = texts_of(predictor, texts)
    tower = TextTower(side.preparation, side.scale, side.bias, open_session(path.read_bytes()))
    # Alone too: a text by itself may be shorter than with others.
    alone = [tower([text])[0] for text in texts[-_GOLDEN:]]
    worst = float(max(np.abs(ours - tower(texts)).max(), np.abs(ours[-_GOLDEN:] - alone).max()))
    if not worst <= _TOLERANCE:
        raise ParityError(
            f"the exported text model differs from the trained one by up to {worst:.3g} (allowed {_TOLERANCE:g})",
            fix="nothing was exported; check the net's operations",
        )
    few = [*texts[: _GOLDEN - len(_FALLBACK)], *_FALLBACK]
    write_texts(
        stage,
        write_bytes,
        preparation=side.preparation,
        scale=side.scale,
        bias=side.bias,
        texts=few,
        vectors=texts_of(predictor, few),
    )
