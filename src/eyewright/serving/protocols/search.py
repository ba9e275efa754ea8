"""Search over HTTP: words, an image, or both, in an index that the operator named; thumbnails of what was found."""

__all__ = ["list_indexes", "search", "show_index", "thumbnail"]

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from eyewright.core.errors import BusyError, InputError, LateError
from eyewright.serving.base64text import decode_base64
from eyewright.serving.exchange import HttpError, Request, Response, json_response, parse_json
from eyewright.serving.forms import read_form
from eyewright.serving.messages import Doubted
from eyewright.serving.models import Model
from eyewright.serving.options import read_options
from eyewright.serving.parsing import parse_apart
from eyewright.serving.refusals import whole_number
from eyewright.serving.search_schemas import (
    MOST_REFINED,
    IndexList,
    IndexShown,
    SearchBody,
    Searched,
    SearchHit,
    SearchOptions,
    ThumbnailQuery,
)
from eyewright.serving.searching import Searcher, Sought, Vector
from eyewright.serving.service import Service
from eyewright.serving.settings import Settings

_USUAL, _USUAL_SIDE = 20, 256

T = TypeVar("T")


async def list_indexes(service: Service, request: Request) -> Response:
    """GET /v1/index"""
    names = () if service.searcher is None else service.searcher.names
    found = []
    for name in names:
        # One that was removed, or is another model's by now, does not hide the others; asked for by name it says why.
        with contextlib.suppress(HttpError, InputError):
            found.append(await _shown(service, name))
    return json_response(IndexList(found))


async def show_index(service: Service, request: Request, name: str) -> Response:
    """GET /v1/index/{name}"""
    _searcher(service, name)
    return json_response(await _shown(service, name))


async def search(service: Service, request: Request) -> Response:
    """POST /v1/search: words, an image, indexed images or several of them, in one index"""
    started = time.monotonic()
    image, asked = await parse_apart(len(request.body), _asked, request, service.settings)
    name = asked.index if asked.index is not None else _only(service)
    searcher = _searcher(service, name)
    if not (asked.words or image or asked.like):
        raise HttpError(400, "nothing_sought", "expected words, an image or like, found none", fix="send one of them")
    model = await _model(service, searcher, name)
    doubts: list[Doubted] = []

    async def embedded(words: str | None) -> list[Vector]:
        if not words:
            return []
        vector, doubt = await service.embed_words(model, words)
        doubts.append(doubt)
        return [vector]

    vectors = await embedded(asked.words)
    if image:
        vector, doubt = await service.embed_image(model, image)
        vectors.append(vector)
        doubts.append(doubt)
    away = await embedded(asked.unlike_words)
    sought = Sought(
        vectors, away, asked.like or (), asked.unlike or (), asked.n or _USUAL, asked.folder or None, asked.max_p,
        model.digest,
    )  # fmt: skip
    left = started + service.settings.deadline_s - time.monotonic()
    found = await _apart(service, left, lambda: searcher.find(name, sought))
    hits = [SearchHit(**hit, image=f"/v1/index/{name}/images/{hit['id']}") for hit in found["hits"]]
    total = round((time.monotonic() - started) * 1000, 2)
    notes = list(dict.fromkeys([*(note for doubt in doubts for note in doubt.notes), *found.get("notes", ())]))
    familiar = all(doubt.familiar for doubt in doubts)
    fits = None if found["fits"] and not familiar else found["fits"]
    return json_response(Searched(name, model.name, found["searched"], fits, familiar, hits, notes, total))


async def thumbnail(service: Service, request: Request, name: str, id: str) -> Response:
    """GET /v1/index/{name}/images/{id}: an indexed image, reduced, as JPEG"""
    searcher = _searcher(service, name)
    number = whole_number(id)
    if number is None:
        raise HttpError(404, "image", "the index has no such image", fix="take the address of a hit")
    side = read_options(ThumbnailQuery, request.query).side or _USUAL_SIDE
    model = await _model(service, searcher, name)
    data = await _apart(service, service.settings.deadline_s, lambda: searcher.file(name, number))
    return Response(await service.reduce_image(model, data, side), media_type="image/jpeg")


def _asked(request: Request, settings: Settings) -> tuple[bytes, SearchBody]:
    """Return the image, if there is one, and what else is sought."""
    # No image begins so, and curl calls whatever it sends a form.
    written = request.body[:1] == b"{" and not request.media_type.startswith(("image/", "multipart/"))
    if request.media_type == "application/json" or written:
        if request.query:
            raise HttpError(
                400, "query", "expected the search in the JSON body, found a query string", fix="move it there"
            )
        body = parse_json(request.body, settings, type=SearchBody)
        image = b"" if isinstance(body.image, msgspec.UnsetType) else decode_base64(body.image)
        request.body = b""
        return image, body
    texts: dict[str, str] = {}
    image = request.body
    if request.media_type == "multipart/form-data":
        texts, files = read_form(request, settings)
        if len(files) > 1:
            raise HttpError(400, "too_many_files", f"expected one file, found {len(files)}", fix="send one")
        image = files[0][1] if files else b""
    request.body = b""
    given = read_options(SearchOptions, request.query, {}, texts)
    values = msgspec.structs.asdict(given) | {"like": _ids(given.like), "unlike": _ids(given.unlike)}
    return image, SearchBody(**values)


def _ids(text: str | None) -> list[int] | None:
    if not text:
        return None
    found = [whole_number(part.strip()) for part in text.split(",")]
    whole = [number for number in found if number is not None]
    if len(whole) < len(found) or len(found) > MOST_REFINED:
        raise HttpError(
            400,
            "ids",
            f"expected at most {MOST_REFINED} ids, separated by commas, found {text[:60]!r}",
            fix="change it",
        )
    return whole


def _only(service: Service) -> str:
    names = () if service.searcher is None else service.searcher.names
    if len(names) > 1:
        raise HttpError(400, "index", f"expected one of the indexes {', '.join(names)}", fix="name it in index")
    return names[0] if names else ""


def _searcher(service: Service, name: str) -> Searcher:
    if service.searcher is None:
        raise HttpError(404, "no_index", "the server has no index", fix="start it with --index DIR")
    if name not in service.searcher.names:
        raise HttpError(404, "index", f"there is no index {name[:60]!r}", fix="see /v1/index")
    return service.searcher


async def _model(service: Service, searcher: Searcher, name: str) -> Model:
    # The index is looked at as it is now, and opened again if it was changed.
    digest = await asyncio.to_thread(searcher.digest, name)
    for model in service.models.values():
        if model.digest == digest:
            return model
    raise HttpError(
        409, "index_model", f"the index {name!r} was made with a model that is no longer served", fix="index again"
    )


async def _shown(service: Service, name: str) -> IndexShown:
    searcher = _searcher(service, name)
    facts = await _apart(service, service.settings.deadline_s, lambda: searcher.shown(name))
    return IndexShown(name=name, model=(await _model(service, searcher, name)).name, **facts)


async def _apart(service: Service, left_s: float, call: Callable[[], T]) -> T:
    """Return what `call` returns in a thread; calls wait for each other, since each takes a core."""
    if service.searching >= service.settings.queue:
        raise BusyError("the server's queue of searches is full", fix="try again in a second")
    service.searching += 1
    try:
        async with asyncio.timeout(max(0.0, left_s)), service.search_turn:
            return await asyncio.to_thread(call)
    except TimeoutError:
        raise LateError("there was no response before the deadline", fix="try again later, or ask for less") from None
    finally:
        service.searching -= 1
