"""Fill a part of an image over HTTP: under a mask, or in a box."""

__all__ = ["fill"]

import re
from typing import Any

import msgspec

from eyewright.core.errors import UsageError
from eyewright.serving.base64text import decode_base64
from eyewright.serving.exchange import HttpError, Request, Response, parse_json
from eyewright.serving.fill_schemas import FillBody, FillOptions
from eyewright.serving.forms import read_form
from eyewright.serving.messages import Filling
from eyewright.serving.options import read_options
from eyewright.serving.parsing import parse_apart
from eyewright.serving.service import Service
from eyewright.serving.settings import Settings

_BOX = re.compile(r"(\d{1,6}),(\d{1,6}),(\d{1,6}),(\d{1,6})", re.ASCII)


async def fill(service: Service, request: Request, name: str) -> Response:
    """POST /v1/models/{name}/inpaint: the image as PNG, filled, with how and how much in two headers"""
    model = service.model(name)
    image, mask, options = await parse_apart(len(request.body), _asked, request, service.settings)
    box = None if options.box is None else _box(options.box)
    if (box is None) == (not mask):
        found = "both" if mask else "neither"
        raise HttpError(
            400,
            "where",
            f"expected a mask or a box, found {found}",
            fix="send the file mask, or box=left,top,width,height",
        )
    filling = Filling(len(mask), box, options.method or "auto", options.grow or 0, options.feather or 0)
    done = await service.fill(model, image, mask, filling)
    about: dict[str, Any] = msgspec.json.decode(done.prediction)
    headers = [
        (b"x-eyewright-method", about["method"].encode()),
        (b"x-eyewright-pixels", str(about["pixels"]).encode()),
        (b"cache-control", b"no-store"),
    ]
    return Response(done.picture, media_type="image/png", headers=headers)


def _asked(request: Request, settings: Settings) -> tuple[bytes, bytes, FillOptions]:
    """Return the image, the mask or nothing, and the options."""
    texts: dict[str, str] = {}
    given: dict[str, Any] = {}
    mask = b""
    if request.media_type == "multipart/form-data":
        texts, files = read_form(request, settings)
        named = dict(files)
        if len(named) < len(files) or not {"file"} <= set(named) <= {"file", "mask"}:
            found = ", ".join(repr(field[:40]) for field, _ in files) or "none"
            raise HttpError(
                400,
                "files",
                f"expected the files file and mask in the form, found {found}",
                fix="send them as -F file=@…",
            )
        image, mask = named["file"], named.get("mask", b"")
        if "mask" in named and not mask:
            raise HttpError(400, "empty", "expected a mask, found an empty file", fix="send an image file")
    elif request.media_type == "application/json" or (not request.media_type and request.body[:1] == b"{"):
        body = parse_json(request.body, settings, type=FillBody)
        image, given = decode_base64(body.image), body.parameters or {}
        if not isinstance(body.mask, msgspec.UnsetType):
            mask = decode_base64(body.mask)
            if not mask:
                raise HttpError(400, "empty", "expected a mask, found an empty text", fix="send an image in base64")
    else:
        image = request.body
    # It would be held twice while the request waits.
    request.body = b""
    return image, mask, read_options(FillOptions, request.query, given, texts)


def _box(text: str) -> tuple[int, int, int, int]:
    """Return left, top, width and height.

    Raises:
        UsageError: they are not four whole numbers, or nothing is inside.
    """
    found = _BOX.fullmatch(text)
    left, top, width, height = (0, 0, 0, 0) if found is None else (int(part) for part in found.groups())
    if not width or not height:
        raise UsageError(
            f"expected box as left,top,width,height in whole pixels, found {text[:40]!r}", fix="as in 10,20,64,48"
        )
    return left, top, width, height
