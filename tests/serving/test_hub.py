"""Hugging Face's form is written once: by the worker; the server hands on its bytes."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from eyewright.bundle.verify import bundle_digest
from eyewright.imaging import encode_image
from eyewright.serving.exchange import Request
from eyewright.serving.messages import Job, ModelPlace
from eyewright.serving.protocols import hub
from eyewright.serving.settings import Settings
from eyewright.serving.worker import Orders, _Served, _Watch

BUNDLE = Path(__file__).parents[1] / "bundle" / "format1"


def test_the_hub_route_encodes_json_once_and_decodes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = _Served(ModelPlace("model", str(BUNDLE), bundle_digest(BUNDLE)), Orders([], 1, 2**30, True, {}))
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    counts = {"encode": 0, "decode": 0}

    def count(name: str) -> None:
        real = getattr(msgspec.json, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(msgspec.json, name, counting)

    async def predict(model: Any, data: bytes, options: Any, *, wants: tuple[str, ...]) -> Any:
        job = Job(1, data, time.monotonic() + 600, wants, None, options.conf, options.iou, options.top)
        (answer,) = worker.answer([job], _Watch(), lambda: None)
        return SimpleNamespace(answer=answer, headers=[(b"x-eyewright-prediction", b"1")])

    service: Any = SimpleNamespace(
        settings=Settings(), model=lambda name: SimpleNamespace(name=name, task="classify"), predict=predict
    )
    request = Request("POST", ("predict", "model"), {"top_k": "2"}, {"content-type": "image/png"}, encode_image(image))
    count("encode")
    count("decode")
    found = asyncio.run(hub.predict(service, request, "model"))
    assert counts == {"encode": 1, "decode": 0}
    (expected,) = worker.bundle.predict_images([image])
    assert msgspec.json.decode(found.body) == expected.to_hub(top=2)
    assert (b"x-eyewright-prediction", b"1") in found.headers
