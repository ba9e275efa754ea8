"""The OpenAPI 3.1 document of the server, made from its table of routes and the structs that they name."""

__all__ = ["openapi"]

from collections.abc import Mapping, Sequence
from importlib.metadata import version as version_of
from typing import Any

import msgspec

from eyewright.serving import schemas as s
from eyewright.serving.page import Asset
from eyewright.serving.routes import BINARY, FORM, TEXT, Route
from eyewright.serving.service import Service

_REFERENCE = "#/components/schemas/{name}"
_BYTES = {"type": "string", "format": "binary", "minLength": 1}
_REFUSALS = {
    400: "The request is not valid",
    401: "A token is needed",
    403: "This host, origin or route is not allowed",
    404: "There is no such model, page or prediction",
    408: "The request took too long to arrive",
    409: "A bundle is refused, or the request conflicts with the state of the server",
    413: "The body or the image is over a limit",
    415: "An unsupported media type or encoding",
    422: "The image cannot be read",
    431: "The headers are too large",
    503: "Busy or not ready; try again after Retry-After seconds",
    504: "No response before the deadline",
}
# Whatever the route: the wire, the guards and the deadline answer before it does.
_ALWAYS = (400, 403, 408, 431, 503, 504)
_OF_BODIES = (413, 415)


def openapi(routes: Sequence[Route], pages: Mapping[tuple[str, ...], Asset], service: Service) -> dict[str, Any]:
    """Return the document for these routes and the models that are served now."""
    schemas = _Schemas(routes)
    names = [n for n in service.models if n not in service.challengers.values()]
    paths: dict[str, Any] = {}
    for route in routes:
        method = route.methods[0].lower()
        paths.setdefault(route.pattern, {})[method] = _operation(route, names, schemas, service)
    for path, asset in pages.items():
        content = {asset.media_type.partition(";")[0]: {"schema": {"type": "string"}}}
        answers = {"200": {"description": "The file", "content": content}, "304": {"description": "Not modified"}}
        refused = _refusals((), schemas)
        about = {"summary": "The web page", "security": [], "responses": {**answers, **refused}}
        paths["/" + "/".join(path)] = {"get": about}
    schemes = {}
    if service.settings.token is not None:
        schemes["token"] = {"type": "http", "scheme": "bearer"}
    if service.settings.admin_token is not None:
        schemes["admin"] = {"type": "http", "scheme": "bearer"}
    components: dict[str, Any] = {"schemas": schemas.components}
    if schemes:
        components["securitySchemes"] = schemes
    info = {"title": "Eyewright", "version": version_of("eyewright"), "license": {"name": "Apache-2.0"}}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}


class _Schemas:
    """The schema of every type that a route names, and the components that they refer to."""

    def __init__(self, routes: Sequence[Route]) -> None:
        kinds: list[Any] = [s.Error, s.Options, s.HubOptions, s.InferInput]
        for route in routes:
            kinds += [] if route.query is None else [route.query]
            kinds += [] if route.body is None else [*route.body.content.values(), route.body.form]
            kinds += [k for a in route.answers.values() for k in a.content.values()]
        self._known = [k for k in kinds if k is not None and not isinstance(k, str)]
        found, self.components = msgspec.json.schema_components(self._known, ref_template=_REFERENCE)
        self._of = list(zip(self._known, found, strict=True))
        for kind in self._known:
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                self._finish(self.components[kind.__name__])
        self._one_of_all(routes)

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a type, or of one of the words for what no schema describes."""
        if kind == BINARY:
            return dict(_BYTES)
        if kind == TEXT:
            return {"type": "string"}
        return next(schema for known, schema in self._of if known == kind)

    def fields(self, kind: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
        """Return the schema of each field, without null: a query and a form have none."""
        return {name: _without_null(schema) for name, schema in self.components[kind.__name__]["properties"].items()}

    @staticmethod
    def _finish(schema: dict[str, Any]) -> None:
        if not schema.get("required", [0]):
            del schema["required"]
        for field in schema.get("properties", {}).values():
            if field.get("default", 0) is None:
                del field["default"]

    def _one_of_all(self, routes: Sequence[Route]) -> None:
        """Say which of several fields there must be one of."""
        for route in routes:
            body = route.body
            kind = None if body is None else body.content.get("application/json")
            if body is None or kind is None or not body.required_one_of:
                continue
            schema = self.components[kind.__name__]
            if body.exclusive:
                schema["oneOf"] = [{"required": [n]} for n in body.required_one_of]
                continue
            fields = {n: _without_null(schema["properties"][n]) for n in body.required_one_of}
            schema["anyOf"] = [{"required": [n], "properties": {n: f}} for n, f in fields.items()]


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    left = {k: v for k, v in schema.items() if k not in ("anyOf", "default")}
    others = [a for a in schema.get("anyOf", []) if a != {"type": "null"}]
    if len(others) == 1:
        return {**left, **others[0]}
    return {**left, "anyOf": others} if others else left


def _refusals(statuses: Sequence[int], schemas: _Schemas) -> dict[str, Any]:
    content = {"application/json": {"schema": schemas.of(s.Error)}}
    return {str(k): {"description": _REFUSALS[k], "content": content} for k in sorted({*_ALWAYS, *statuses})}


def _operation(route: Route, names: Sequence[str], schemas: _Schemas, service: Service) -> dict[str, Any]:
    refused = list(route.refusals)
    if route.named:
        refused.append(404)
    if route.methods == ("POST",):
        refused += _OF_BODIES
    if route.access == "admin" or (route.access == "token" and service.settings.token is not None):
        refused.append(401)
    responses = _refusals(refused, schemas)
    for status, answer in route.answers.items():
        content = {media: {"schema": schemas.of(kind)} for media, kind in answer.content.items()}
        own: dict[str, Any] = {"description": answer.about, "content": content}
        before = responses.get(str(status))
        if before is not None:
            media = before["content"]["application/json"]["schema"]
            own["content"]["application/json"] = {
                "schema": {"anyOf": [content["application/json"]["schema"], media]},
            }
        responses[str(status)] = own
    operation: dict[str, Any] = {"summary": route.about, "operationId": _id_of(route), "responses": responses}
    parameters = [_of_path(name, route, names) for name in route.named]
    if route.query is not None:
        for name, schema in schemas.fields(route.query).items():
            about = schema.pop("description", "")
            parameters.append({"name": name, "in": "query", "required": False, "schema": schema, "description": about})
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        content = {media: {"schema": _of_body(kind, route, schemas)} for media, kind in route.body.content.items()}
        operation["requestBody"] = {"required": route.body.required, "content": content}
    needed = _security(route, service)
    if needed is not None:
        operation["security"] = needed
    return operation


def _security(route: Route, service: Service) -> list[dict[str, list[str]]] | None:
    if route.access == "admin":
        return [{"admin": []}] if service.settings.admin_token is not None else None
    if service.settings.token is None:
        return None
    return [] if route.access == "all" else [{"token": []}]


def _of_path(name: str, route: Route, names: Sequence[str]) -> dict[str, Any]:
    schema = dict(route.paths.get(name) or {"type": "string", "enum": list(names), "description": "The model"})
    about = schema.pop("description")
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": about}


def _of_body(kind: Any, route: Route, schemas: _Schemas) -> dict[str, Any]:
    if kind != FORM:
        return schemas.of(kind)
    assert route.body is not None
    assert route.body.form is not None
    properties = {
        "file": {"type": "string", "format": "binary", "description": "The image"},
        **{n: {"type": "string", "format": "binary", "description": w} for n, w in route.body.files.items()},
        **schemas.fields(route.body.form),
    }
    return {"type": "object", "required": ["file"], "additionalProperties": False, "properties": properties}


def _id_of(route: Route) -> str:
    words = [p.strip("{}") for p in route.parts if p]
    return "_".join([route.methods[0].lower(), *words]).replace(".", "_")
