"""Hugging Face's task JSON: POST /predict/{model}, as `huggingface_hub.InferenceClient` sends and reads it."""

__all__ = ["OPTIONS", "predict"]

import msgspec

from eyewright.serving.exchange import Request, Response
from eyewright.serving.protocols.own import image_of
from eyewright.serving.service import Options, Service, check_names, read_options

OPTIONS = ("threshold", "conf", "top_k", "top")


async def predict(service: Service, request: Request, name: str) -> Response:
    """Answer an image as the task of the model does: labels, boxes or masks, each with its score.

    Bytes, a form or JSON {"inputs": base64, "parameters": {"top_k", "threshold"}}.
    """
    model = service.model(name)
    data, more = await image_of(request, service.settings)
    values = {**more, **request.query}
    check_names(values, OPTIONS)
    chosen = read_options(
        {"conf": values.get("threshold", values.get("conf")), "top": values.get("top_k", values.get("top"))}
    )
    told = await service.predict(model, data, Options(conf=chosen.conf, top=chosen.top), wants=("hub",))
    rows = msgspec.json.decode(told.answer.prediction)["hub"]
    return Response(msgspec.json.encode(rows), headers=told.headers)
