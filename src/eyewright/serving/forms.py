"""Forms with files in them, read within bounds."""

__all__ = ["read_form", "read_parameters"]

import re

from eyewright.serving.exchange import Request
from eyewright.serving.refusals import HttpError
from eyewright.serving.settings import Settings

_MOST_HEADER = 4096
_MOST_BOUNDARY = 200
# A parameter of RFC 9110, section 5.6.6; possessive, so that each character is looked at once.
_PARAMETER = re.compile(
    r"""[ \t]*+;[ \t]*+(?:([!#$%&'*+.^_`|~0-9A-Za-z-]++)=(?:"((?:[^"\\]|\\.)*+)"|([^\s";]*+)))?+[ \t]*+"""
)
_ESCAPED = re.compile(r"\\(.)")


def read_parameters(header: str) -> dict[str, str]:
    """Return the parameters of a header such as Content-Type by their names in lower case.

    >>> read_parameters('form-data; name="a;\\\\"b"; filename=x.png')
    {'name': 'a;"b', 'filename': 'x.png'}

    Raises:
        HttpError: malformed, too long, or one is given twice.
    """
    found: dict[str, str] = {}
    at = header.find(";") if len(header) <= _MOST_HEADER else -1
    while 0 <= at < len(header):
        one = _PARAMETER.match(header, at)
        name = one[1].lower() if one is not None and one[1] is not None else ""
        if one is None or name in found:
            raise HttpError(400, "header", "a header's parameters are malformed", fix="let the HTTP library write it")
        if name:
            found[name] = _ESCAPED.sub(r"\1", one[2]) if one[2] is not None else one[3]
        at = one.end()
    return found


def read_form(request: Request, settings: Settings) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    """Return the fields of a multipart body (RFC 7578), and its files in their order, each with the name of its field;
    file names are not looked at.

    Raises:
        HttpError: malformed, with more parts than allowed, or with a field twice.
    """
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser

    boundary = read_parameters(request.headers.get("content-type", "")).get("boundary", "")
    if not boundary or len(boundary) > _MOST_BOUNDARY or not boundary.isascii():
        raise HttpError(400, "multipart", "the form names no boundary", fix="let the client write the header")
    parts: list[tuple[dict[str, str], list[memoryview]]] = []
    name, value = bytearray(), bytearray()
    total = 0

    def begin() -> None:
        if len(parts) >= settings.parts:
            raise HttpError(400, "too_many_parts", f"expected at most {settings.parts} parts", fix="send fewer")
        parts.append(({}, []))

    def header_end() -> None:
        parts[-1][0][name.decode("latin-1").lower()] = value.decode("latin-1")
        name.clear()
        value.clear()

    def header_part(into: bytearray, data: bytes, start: int, end: int) -> None:
        nonlocal total
        total += end - start
        if total > _MOST_HEADER * max(1, len(parts)):
            raise HttpError(400, "multipart", "a part's header is too long", fix="shorten it")
        into += data[start:end]

    parser = MultipartParser(
        boundary.encode("latin-1", "replace"),
        {
            "on_part_begin": begin,
            "on_header_field": lambda d, a, b: header_part(name, d, a, b),
            "on_header_value": lambda d, a, b: header_part(value, d, a, b),
            "on_header_end": header_end,
            "on_part_data": lambda d, a, b: parts[-1][1].append(memoryview(d)[a:b]),
        },
        max_size=settings.body_bytes + 1,
    )
    try:
        parser.write(request.body)
        parser.finalize()
    except MultipartParseError:
        raise HttpError(400, "multipart", "the form is malformed", fix="let the client build it") from None
    fields: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []
    for headers, pieces in parts:
        about = read_parameters(headers.get("content-disposition", ""))
        field = about.get("name", "")
        if "filename" in about or "filename*" in about:
            files.append((field, b"".join(pieces)))
            continue
        if field in fields or sum(map(len, pieces)) > _MOST_HEADER:
            wrong = "is given twice" if field in fields else f"is longer than {_MOST_HEADER} bytes and names no file"
            raise HttpError(400, "multipart", f"the form's field {field[:60]!r} {wrong}", fix="send it once, as a file")
        fields[field] = b"".join(pieces).decode("utf-8", "replace")
    return fields, files
