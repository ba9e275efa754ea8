"""Live sources over HTTP: which there are, what was counted, and the newest frames as motion JPEG."""

__all__ = ["list_sources", "show_source", "watch_source"]

from eyewright.serving.exchange import Request, Response, json_response
from eyewright.serving.motion import LiveStream
from eyewright.serving.service import Service


async def list_sources(service: Service, request: Request) -> Response:
    """GET /v1/sources"""
    return json_response({"sources": service.live.shown()})


async def show_source(service: Service, request: Request, name: str) -> Response:
    """GET /v1/sources/{name}"""
    return json_response(service.live.get(name).shown())


async def watch_source(service: Service, request: Request, name: str) -> Response:
    """GET /v1/sources/{name}/live"""
    return LiveStream(service.live.get(name))
