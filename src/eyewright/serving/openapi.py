"""The OpenAPI 3.1 document of the server, made from what it serves."""

__all__ = ["openapi"]

from importlib.metadata import version as version_of
from typing import Any

from eyewright.serving.service import Service
from eyewright.tasks.feedback import VERDICTS

_ERRORS = {
    "400": "The request is not one that is understood",
    "401": "A token is needed",
    "403": "This host, origin or route is not allowed",
    "404": "There is no such model, page or prediction",
    "408": "The request took too long to arrive",
    "413": "The body or the image is over a limit",
    "415": "A form or encoding that is not read",
    "422": "The image cannot be read",
    "503": "Busy or not ready; try again after Retry-After seconds",
    "504": "No answer before the deadline",
}

_PREDICTION: dict[str, Any] = {
    "type": "object",
    "description": "The answer in the command line's form for its task, and what else was asked for",
    "properties": {
        "unfamiliar": {
            "description": "Whether the image looks unlike those that the model knows; null where that is not known",
            "oneOf": [
                {"type": "null"},
                {
                    "type": "object",
                    "required": ["p", "flagged"],
                    "properties": {
                        "p": {
                            "type": "number",
                            "minimum": 0,
                            "maximum": 1,
                            "description": "Conformal p-value: of images like the reference, at most a fraction p "
                            "have this value or less",
                        },
                        "flagged": {"type": "boolean", "description": "p is 0.01 or less"},
                    },
                },
            ],
        },
        "unfamiliar_reason": {
            "type": "string",
            "description": "Why `unfamiliar` is null, in words; absent where it is not",
        },
    },
}


def _parameter(name: str, place: str, schema: dict[str, Any], about: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": about}


def openapi(service: Service) -> dict[str, Any]:
    """Give the document for the models that are served now."""
    names = [n for n in service.models if n not in service.challengers.values()]
    model = _parameter("name", "path", {"type": "string", "enum": names}, "The model")
    version = _parameter("version", "path", {"type": "string", "enum": ["1"]}, "Always 1")
    options = [
        _parameter("conf", "query", {"type": "number", "minimum": 0, "maximum": 1}, "Least score that is shown"),
        _parameter("iou", "query", {"type": "number", "minimum": 0.01, "maximum": 1}, "Overlap that makes boxes one"),
        _parameter("top", "query", {"type": "integer", "minimum": 1, "maximum": 1000}, "Most labels or objects"),
        _parameter("coverage", "query", {"type": "number", "minimum": 0.01, "maximum": 0.999}, "Conformal sets"),
        _parameter("label", "query", {"type": "string", "maxLength": 200}, "The label to explain"),
        _parameter("explain", "query", {"type": "boolean"}, "Whether to add a heatmap"),
    ]
    image = {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "inputs": {"type": "string", "contentEncoding": "base64"},
                        "parameters": {"type": "object"},
                    },
                }
            },
        },
    }
    tensor = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": {
                    "type": "object",
                    "required": ["name", "shape", "datatype"],
                    "properties": {
                        "name": {"const": "image"},
                        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                        "datatype": {"enum": ["UINT8", "BYTES"]},
                        "data": {"type": "array"},
                        "parameters": {"type": "object"},
                    },
                },
            },
            "outputs": {"type": "array", "items": {"type": "object"}},
            "parameters": {"type": "object"},
        },
    }
    says = {
        "type": "object",
        "required": ["prediction_id"],
        "anyOf": [{"required": ["label"]}, {"required": ["correct"]}, {"required": ["objects"]}],
        "additionalProperties": False,
        "properties": {
            "prediction_id": {"type": "string", "maxLength": 80},
            "label": {"type": "string"},
            "correct": {"type": "boolean"},
            "comment": {"type": "string"},
            "objects": {
                "type": "array",
                "maxItems": 2000,
                "items": {
                    "type": "object",
                    "required": ["label"],
                    "properties": {
                        "label": {"type": "string"},
                        "box_xyxy": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
                        "segmentation": {"type": "object"},
                        "verdict": {"enum": list(VERDICTS)},
                        "predicted": {"type": "string"},
                    },
                },
            },
            "classes": {"type": "object", "additionalProperties": {"type": "boolean"}},
            "new_classes": {"type": "array", "items": {"type": "string"}},
        },
    }
    said = _json(says)
    said["content"]["image/png"] = {"schema": {"type": "string", "format": "binary"}}
    of_mask = _parameter("prediction_id", "query", {"type": "string"}, "With a mask as the body: whose it is")
    tasks = {
        "type": "object",
        "required": ["tasks"],
        "properties": {"tasks": {"type": "array", "maxItems": 64, "items": {"type": "object"}}},
    }
    anything = {"type": "object"}
    paths: dict[str, Any] = {
        "/healthz": {"get": _operation("Whether the process lives")},
        "/readyz": {"get": _operation("Whether it can answer", "503")},
        "/metrics": {"get": _operation("Prometheus metrics", media="text/plain")},
        "/v1/models": {"get": _operation("The models that are served")},
        "/v1/models/{name}": {"get": _operation("One model", "404", parameters=[model])},
        "/v1/models/{name}/{kind}": {
            "get": _operation(
                "The model's report or card",
                "404",
                parameters=[model, _parameter("kind", "path", {"enum": ["report", "card"]}, "Which")],
                media="text/html",
            )
        },
        "/v1/models/{name}/predict": {
            "post": _operation(
                "Answer an image",
                *_ERRORS,
                parameters=[model, *options],
                body=image,
                answer={"$ref": "#/components/schemas/Prediction"},
            )
        },
        "/v1/feedback": {
            "post": _operation("Say what is right", *_ERRORS, parameters=[of_mask], body=said, status="201")
        },
        "/v1/watch": {"get": _operation("What the monitor sees", "404")},
        "/v1/images/{name}": {
            "get": _operation(
                "An image that was kept",
                "404",
                parameters=[_parameter("name", "path", {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "Its SHA-256")],
                media="image/jpeg",
            )
        },
        "/predict/{name}": {
            "post": _operation("Hugging Face's task JSON", *_ERRORS, parameters=[model], body=image, listed=True)
        },
        "/v2": {"get": _operation("Open Inference V2: the server")},
        "/v2/health/live": {"get": _operation("V2: live")},
        "/v2/health/ready": {"get": _operation("V2: ready", "503")},
        "/v2/repository/index": {"post": _operation("V2: the models", listed=True)},
        "/setup": {"post": _operation("Label Studio: set up", *_ERRORS, body=_json(anything))},
        "/predict": {"post": _operation("Label Studio: predict tasks", *_ERRORS, body=_json(tasks))},
        "/webhook": {
            "post": _operation(
                "Label Studio: an event",
                *_ERRORS,
                parameters=[_parameter("new_classes", "query", {"type": "string"}, "Classes it may add, by commas")],
                body=_json(anything),
                status="201",
            )
        },
        "/health": {"get": _operation("Label Studio: health")},
    }
    for head, more in (("/v2/models/{name}", []), ("/v2/models/{name}/versions/{version}", [version])):
        named = [model, *more]
        paths[head] = {"get": _operation("V2: metadata", "404", parameters=named)}
        paths[f"{head}/ready"] = {"get": _operation("V2: ready", "404", "503", parameters=named)}
        paths[f"{head}/config"] = {"get": _operation("V2: configuration", "404", parameters=named)}
        paths[f"{head}/stats"] = {"get": _operation("V2: statistics", "404", parameters=named)}
        paths[f"{head}/infer"] = {"post": _operation("V2: infer", *_ERRORS, parameters=named, body=_json(tensor))}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Eyewright", "version": version_of("eyewright"), "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error", "code"],
                    "properties": {k: {"type": "string"} for k in ("error", "code", "fix")},
                },
                "Prediction": _PREDICTION,
            }
        },
    }
    if service.settings.token is not None:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _operation(
    about: str,
    *errors: str,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    status: str = "200",
    media: str = "application/json",
    listed: bool = False,
    answer: dict[str, Any] | None = None,
) -> dict[str, Any]:
    kind = {"type": "string"} if media != "application/json" else {"type": "array" if listed else "object"}
    content: dict[str, Any] = {media: {"schema": answer or kind}}
    if media == "text/html":
        content["text/markdown"] = {"schema": kind}
    if body is not None and not listed:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    failed = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    # Whatever the route, a token, a host or an origin may be wrong, and the query too long.
    refused = dict.fromkeys((*errors, "400", "401", "403"))
    found: dict[str, Any] = {"summary": about, "responses": {status: {"description": about, "content": content}}}
    for code in refused:
        answer = {"application/json": {"schema": {"type": "object"}}} if code == "503" else failed
        found["responses"][code] = {"description": _ERRORS[code], "content": answer}
    if parameters:
        found["parameters"] = parameters
    if body is not None:
        found["requestBody"] = body
    return found
