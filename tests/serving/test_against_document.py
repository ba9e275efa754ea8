"""Every operation of the OpenAPI document, asked with valid and invalid input, answers as the document says.

A small form of what `benchmarks/api.py` does with schemathesis: the statuses are declared, and bodies fit their schema.
"""

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from eyewright.imaging import read_image
from eyewright.monitoring.store import open_store

_ADMIN = {"authorization": "Bearer admin-secret"}
_LAST = ("/v1/reload", "/v2/repository/models/{name}/unload", "/v2/repository/models/{name}/load")
_NOTES = {"title", "description", "default", "format", "examples", "contentEncoding"}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "null": (type(None),),
    "array": (list,), "object": (dict,),
}  # fmt: skip
_WRONG: tuple[Any, ...] = ({"odd": []}, [[]], -1, "x", None)


def faults(value: Any, schema: Mapping[str, Any], document: Mapping[str, Any], place: str = "$") -> Iterator[str]:
    """Yield where a value does not fit a schema; a keyword that is not known here is an error, never passed."""
    for key, wanted in schema.items():
        if key == "$ref":
            yield from faults(value, document["components"]["schemas"][wanted.rpartition("/")[2]], document, place)
        elif key == "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            if not any(isinstance(value, _TYPES[k]) and (k == "boolean" or not isinstance(value, bool)) for k in kinds):
                yield f"{place}: expected {wanted}, found {value!r}"[:200]
        elif key in ("anyOf", "oneOf"):
            fits = [not list(faults(value, each, document, place)) for each in wanted]
            if not any(fits) or (key == "oneOf" and sum(fits) > 1):
                yield f"{place}: fits {sum(fits)} of {key}: {value!r}"[:200]
        elif key in ("enum", "const"):
            if value not in (wanted if key == "enum" else [wanted]):
                yield f"{place}: expected {wanted}, found {value!r}"
        elif key == "required":
            yield from (f"{place}: no {name!r}" for name in wanted if isinstance(value, dict) and name not in value)
        elif key == "properties":
            for name, inner in wanted.items():
                if isinstance(value, dict) and name in value:
                    yield from faults(value[name], inner, document, f"{place}.{name}")
        elif key == "additionalProperties":
            for name in set(value) - set(schema.get("properties", {})) if isinstance(value, dict) else ():
                if wanted is False:
                    yield f"{place}: {name!r} is not in the schema"
                elif isinstance(wanted, dict):
                    yield from faults(value[name], wanted, document, f"{place}.{name}")
        elif key in ("items", "prefixItems"):
            inner = value if isinstance(value, list) and wanted is not False else []
            schemas = wanted if key == "prefixItems" else [wanted] * len(inner)
            for k, (each, one) in enumerate(zip(inner, schemas, strict=False)):
                yield from faults(each, one, document, f"{place}[{k}]")
        elif key in ("minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "exclusiveMinimum"):
            size = value if key.endswith("imum") else len(value) if isinstance(value, str | list) else None
            if isinstance(size, int | float) and not {
                "min": size >= wanted, "max": size <= wanted, "exc": size > wanted
            }[key[:3]]:  # fmt: skip
                yield f"{place}: {key} {wanted}, found {value!r}"[:200]
        elif key != "pattern" and key not in _NOTES:
            raise AssertionError(f"{place}: the keyword {key!r} is not known to this test")


def test_the_checker_finds_what_does_not_fit() -> None:
    schema = {
        "type": "object",
        "required": ["a"],
        "additionalProperties": False,
        "properties": {
            "a": {"type": "array", "items": {"anyOf": [{"type": "integer", "minimum": 0}, {"enum": ["x"]}]}}
        },
    }
    assert not list(faults({"a": [1, "x"]}, schema, {}))
    for wrong in ({}, {"a": 1}, {"a": [-1]}, {"a": ["y"]}, {"a": [True]}, {"a": [], "b": 1}, []):
        assert list(faults(wrong, schema, {})), wrong


def _kept(served: Any, prediction_id: str) -> str:
    """Return the name of the image of a prediction, which is kept after the answer was sent."""
    for _ in range(100):
        store = open_store(served.cwd / "eyewright-monitor" / "monitor.db")
        rows = [r for r in store.recent(model="shapes", n=500) if r.id == prediction_id]
        store.close()
        if rows and rows[0].image:
            return str(rows[0].image)
        time.sleep(0.1)
    raise AssertionError("the prediction was not logged")


@pytest.fixture(scope="module")
def known(served, picture: bytes) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    """A prediction that was made, the names of things that exist, and a valid body for each kind of body."""
    made = served.post("/v1/models/shapes/predict", picture, content_type="image/png").json
    image = base64.b64encode(picture).decode()
    inputs = [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}]
    schema = '<View><Image name="i" value="$img"/><Choices name="c" toName="i"/></View>'
    return {
        "path": {"name": "shapes", "version": "1", "kind": "card", "id": "0"},
        "image": _kept(served, made["prediction_id"]),
        "query": {"prediction_id": made["prediction_id"]},
        "bodies": {
            "ImageBody": {"image": image},
            "FillBody": {"image": image, "parameters": {"box": "4,4,3,3", "method": "ns"}},
            "HubImageBody": {"inputs": image},
            "Feedback": {"prediction_id": made["prediction_id"], "label": made["labels"][0]},
            "InferCall": {"inputs": inputs},
            "SearchBody": {"words": "a disc"},
            "LabelStudioSetup": {"schema": schema},
            "LabelStudioTasks": {"tasks": [{"data": {"img": f"data:image/png;base64,{image}"}}]},
            "Event": {"action": "ANNOTATION_CREATED", "annotation": {"result": []}},
        },
    }


def _bodies(operation: Mapping[str, Any], document: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the valid JSON body of an operation, None where it has none, and then invalid ones."""
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        yield None
        return
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    good = known["bodies"][name]
    yield json.dumps(good)
    yield from ("", "[]", "null", "{", '"x"', json.dumps({**good, "no_such_key": 1}))
    for key in document["components"]["schemas"][name].get("properties", {}):
        yield from (json.dumps({**good, key: wrong}) for wrong in _WRONG)
        yield json.dumps({k: v for k, v in good.items() if k != key})


def _queries(operation: Mapping[str, Any]) -> Iterator[str]:
    yield "?no_such_key=1"
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            yield from (f"?{parameter['name']}={quote(v)}" for v in ("", "-1", "é", "null", "9" * 400))


def _fits(answer: Any, operation: Mapping[str, Any], document: Mapping[str, Any], asked: str) -> None:
    assert answer.status < 500, (asked, answer.status, answer.body[:300])
    declared = operation["responses"].get(str(answer.status))
    assert declared is not None, (asked, answer.status, answer.body[:300])
    media = answer.headers.get("content-type", "").partition(";")[0]
    if answer.status == 304:
        return
    assert media in declared["content"], (asked, answer.status, media)
    if media == "application/json":
        found = list(faults(answer.json, declared["content"][media]["schema"], document))
        assert not found, (asked, answer.status, found[:3])


def _asked(served: Any, pattern: str, method: str, operation: Mapping[str, Any], document: Any, known: Any) -> int:
    """Ask one operation in every way; return the status of the valid request."""
    names = {"number": "0", **known["path"], **({"name": known["image"]} if pattern.startswith("/v1/images") else {})}
    path = pattern.format(**names)
    statuses = []
    for body in _bodies(operation, document, known):
        headers = {**_ADMIN, **({"content-type": "application/json"} if body is not None else {})}
        data = None if body is None else body.encode()
        answer = served.ask(method, path, data, headers)
        statuses.append(answer.status)
        _fits(answer, operation, document, f"{method} {path} {body!r:.200}")
    good = next(_bodies(operation, document, known))
    elsewhere = [
        pattern.format(**{**names, k: wrong}) for k in names if f"{{{k}}}" in pattern for wrong in ("no", "%FF")
    ]
    for place in (*(path + q for q in _queries(operation)), *elsewhere):
        answer = served.ask(
            method, place, None if good is None else good.encode(), {**_ADMIN, "content-type": "application/json"}
        )
        _fits(answer, operation, document, f"{method} {place:.200}")
    return statuses[0]


def test_every_operation_answers_as_the_document_says(served, known: dict[str, Any]) -> None:  # type: ignore[no-untyped-def]
    document = served.get("/openapi.json").json
    operations = [(p, m, o) for p, item in document["paths"].items() for m, o in item.items()]
    operations.sort(key=lambda each: _LAST.index(each[0]) if each[0] in _LAST else -1)
    done = {f"{m.upper()} {p}": _asked(served, p, m.upper(), o, document, known) for p, m, o in operations}
    assert len(done) >= 35
    # The last model stays.
    assert done.pop("POST /v2/repository/models/{name}/unload") == 409
    # This server has no live source: test_live.py asks one that has.
    assert {done.pop(f"GET /v1/sources/{{name}}{end}") for end in ("", "/live")} == {404}
    # Nor has it an index: test_search.py asks one that has.
    sought = [f"GET /v1/index/{{name}}{end}" for end in ("", "/images/{id}")]
    assert {done.pop(one) for one in (*sought, "POST /v1/search")} == {404}
    assert {k: v for k, v in done.items() if not 200 <= v < 300} == {}


def test_an_image_that_was_kept_is_the_one_that_was_sent(served, known: dict[str, Any], picture: bytes) -> None:  # type: ignore[no-untyped-def]
    answer = served.get(f"/v1/images/{known['image']}", **_ADMIN)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert hashlib.sha256(answer.body).hexdigest() == known["image"]
    assert (read_image(answer.body) == read_image(picture)).all()
