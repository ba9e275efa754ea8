"""Hugging Face's task JSON: POST /predict/{model}, as `huggingface_hub.InferenceClient` sends and reads it."""

__all__ = ["predict"]

from eyewright.core.task import task_of
from eyewright.serving.exchange import Request, Response
from eyewright.serving.protocols.own import image_of
from eyewright.serving.schemas import HubImageBody, HubOptions, Options
from eyewright.serving.service import Service


async def predict(service: Service, request: Request, name: str) -> Response:
    """Answer an image as the task of the model does: labels, boxes or masks, each with its score.

    Bytes, a form or JSON {"inputs": base64, "parameters": {"top_k", "threshold"}}.

    Raises:
        UsageError: Hugging Face has no form for answers of the model's task.
    """
    model = service.model(name)
    task_of(model.task).require_foreign("hub")
    data, chosen = await image_of(request, service.settings, HubImageBody, HubOptions)
    conf = chosen.conf if chosen.threshold is None else chosen.threshold
    top = chosen.top if chosen.top_k is None else chosen.top_k
    told = await service.predict(model, data, Options(conf=conf, top=top), wants=("hub",))
    return Response(told.answer.prediction, headers=told.headers)
