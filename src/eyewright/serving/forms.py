"""Forms with files in them, read within bounds."""

__all__ = ["read_form"]

from email.message import Message as Headers

from eyewright.serving.exchange import HttpError, Request
from eyewright.serving.settings import Settings

_MOST_HEADER = 4096


def read_form(request: Request, settings: Settings) -> tuple[dict[str, str], list[bytes]]:
    """Give the fields and the files, in their order, of a multipart body (RFC 7578); file names are not looked at.

    Raises:
        HttpError: malformed, or with more parts than allowed.
    """
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser

    about = Headers()
    about["content-type"] = request.headers.get("content-type", "")
    boundary = about.get_param("boundary")
    if not isinstance(boundary, str) or not boundary or len(boundary) > 200:
        raise HttpError(400, "multipart", "the form names no boundary", fix="let the client write the header")
    parts: list[tuple[dict[str, str], bytearray]] = []
    name, value = bytearray(), bytearray()
    total = 0

    def begin() -> None:
        if len(parts) >= settings.parts:
            raise HttpError(400, "too_many_parts", f"expected at most {settings.parts} parts", fix="send fewer")
        parts.append(({}, bytearray()))

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
            "on_part_data": lambda d, a, b: parts[-1][1].extend(d[a:b]),
        },
        max_size=settings.body_bytes + 1,
    )
    try:
        parser.write(request.body)
        parser.finalize()
    except MultipartParseError:
        raise HttpError(400, "multipart", "the form is malformed", fix="let the client build it") from None
    fields: dict[str, str] = {}
    files: list[bytes] = []
    for headers, content in parts:
        about = Headers()
        about["content-disposition"] = headers.get("content-disposition", "")
        field = about.get_param("name", header="content-disposition")
        if about.get_param("filename", header="content-disposition") is not None:
            files.append(bytes(content))
        elif isinstance(field, str) and len(content) <= _MOST_HEADER:
            fields[field] = content.decode("utf-8", "replace")
    return fields, files
