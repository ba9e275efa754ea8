"""The document says what the routes do: both come from one table, and every answer here is one that it declares."""

import asyncio
import json
import re
from typing import Any

import pytest

from eyewright.core.errors import EyewrightError
from eyewright.serving import app as app_module
from eyewright.serving.crew import Crew
from eyewright.serving.options import read_options
from eyewright.serving.routes import build_table
from eyewright.serving.schemas import HubOptions, Options
from eyewright.serving.service import Service
from eyewright.serving.settings import Settings


class _App:
    async def metrics(self, *_: Any) -> Any: ...
    async def document(self, *_: Any) -> Any: ...
    async def reloaded(self, *_: Any) -> Any: ...
    async def loaded(self, *_: Any, **__: Any) -> Any: ...
    async def unloaded(self, *_: Any, **__: Any) -> Any: ...


@pytest.fixture(scope="module")
def document(served) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    found: dict[str, Any] = served.get("/openapi.json").json
    return found


def test_every_route_is_in_the_document(document: dict[str, Any]) -> None:
    for route in build_table(_App()):
        operation = document["paths"][route.pattern][route.methods[0].lower()]
        named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"}
        assert named == set(route.known), route.pattern
        assert {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"} == set(route.named)
        assert set(map(str, route.answers)) <= set(operation["responses"])
        assert ("requestBody" in operation) == (route.body is not None)
    ids = [o["operationId"] for item in document["paths"].values() for o in item.values() if "operationId" in o]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert name in document["components"]["schemas"]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/v1/models/shapes/predict", None, {}, 405),
        ("PUT", "/v1/models/shapes/predict", None, {}, 405),
        ("POST", "/page/app.js", b"", {}, 405),
        ("TRACE", "/", None, {}, 405),
        ("POST", "/label-studio/nobody/webhook", b"{}", {}, 404),
        ("POST", "/v1/reload", b"", {}, 401),
        ("POST", "/v1/feedback", b'{"prediction_id": "x", "label": "a", "lable": "b"}', {}, 400),
        ("POST", "/v1/feedback", b'{"prediction_id": "x", "objects": [{}]}', {}, 400),
        ("POST", "/v1/feedback", b'{"prediction_id": "x", "comment": "only"}', {}, 400),
        ("POST", "/v2/models/shapes/infer", b"{}", {}, 400),
        ("POST", "/setup", b"[]", {}, 400),
        ("POST", "/predict", b'{"tasks": [3]}', {}, 400),
    ],
)
def test_what_is_refused_is_declared(served, document, method, path, body, headers, status) -> None:  # type: ignore[no-untyped-def]
    answer = served.ask(method, path, body, headers)
    assert answer.status == status
    pattern = path.replace("shapes", "{name}").replace("nobody", "{name}")
    operation = document["paths"].get(pattern, {}).get(method.lower())
    if operation is not None:
        assert str(status) in operation["responses"]


@pytest.mark.parametrize(
    ("query", "given", "form"),
    [
        ({"conf": "2"}, {}, {}),
        ({"conf": "0.5"}, {"conf": 2}, {}),
        ({"conf": "0.5"}, {}, {"conf": "2"}),
        ({"conf": "null"}, {}, {}),
        ({"conf": ""}, {}, {}),
        ({}, {"conf": "0.5"}, {}),
        ({}, {"top": 1.5}, {}),
        ({}, {"explain": 1}, {}),
        ({"top": "1" + "0" * 5000}, {}, {}),
        ({"threshold": "0.5"}, {}, {}),
    ],
)
def test_an_option_that_is_not_what_the_document_says_is_refused(
    query: dict[str, str], given: dict[str, Any], form: dict[str, str]
) -> None:
    with pytest.raises(EyewrightError, match=r"expected (conf|top|explain|options)"):
        read_options(Options, query, given, form)


def test_the_query_replaces_the_form_and_json() -> None:
    assert read_options(Options, {"top": "2"}, {"top": 3.0, "conf": None}, {"explain": "false"}) == Options(
        top=2, explain=False
    )
    assert read_options(HubOptions, {}, {"top_k": 3.0}) == HubOptions(top_k=3)


def test_the_document_is_made_once_for_each_table_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    true = app_module.openapi
    monkeypatch.setattr(app_module, "openapi", lambda *given: made.append(1) or true(*given))
    settings = Settings()
    service = Service({}, settings, Crew(settings))
    app = app_module.App(service, settings, reload=service.crew.close)

    async def ask() -> bytes:
        return bytes((await app.document(service, None)).body)  # type: ignore[arg-type]

    first = asyncio.run(ask())
    assert asyncio.run(ask()) == first
    assert len(made) == 1
    service.models = dict(service.models)
    assert asyncio.run(ask()) == first
    assert len(made) == 2
