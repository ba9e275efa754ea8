"""Read XML as a stream of elements with their attributes and lines; nothing outside the file is looked at."""

__all__ = ["read_elements"]

import re
from collections.abc import Callable, Mapping
from typing import Any
from xml.parsers import expat

from eyewright.core.errors import DatasetError

_MOST_BYTES = 512 * 2**20
_DEEPEST = 64
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
# What expat decodes itself.
_KNOWN = frozenset({"utf-8", "utf-16", "iso-8859-1", "us-ascii"})

Start = Callable[[str, Mapping[str, str], int], None]
End = Callable[[str, str], None]


def read_elements(data: bytes, start: Start, end: End) -> None:
    """Call `start(name, attributes, line)` and `end(name, text)` for each element, in the order of the file.

    Entities are refused, since they can be made to expand without end. Encodings that expat does not know are decoded
    by the name that the file declares.

    Raises:
        DatasetError: not XML (with the line), too large, too deep, entities, or an unknown encoding.
    """
    if len(data) > _MOST_BYTES:
        raise DatasetError(f"it is larger than {_MOST_BYTES} bytes", fix="split it")
    declared = _DECLARED.match(data[:300])
    encoding = declared[1].decode() if declared else "utf-8"
    override = None
    if encoding.lower() not in _KNOWN:
        try:
            data, override = data.decode(encoding).encode(), "utf-8"
        except (LookupError, UnicodeDecodeError, ValueError):
            raise DatasetError(
                f"it is not in the encoding {encoding!r} that it declares", fix="save it as UTF-8"
            ) from None
    parser: Any = expat.ParserCreate(override)
    parser.buffer_text = True
    texts: list[list[str]] = []

    def begin(name: str, attributes: Mapping[str, str]) -> None:
        if len(texts) >= _DEEPEST:
            raise DatasetError(f"elements are nested deeper than {_DEEPEST}", fix="export it again")
        texts.append([])
        start(name, attributes, parser.CurrentLineNumber)

    def finish(name: str) -> None:
        end(name, "".join(texts.pop()).strip())

    def collect(text: str) -> None:
        if texts:
            texts[-1].append(text)

    def refuse(*_: Any) -> None:
        raise DatasetError("it declares entities", fix="remove the DOCTYPE")

    parser.StartElementHandler = begin
    parser.EndElementHandler = finish
    parser.CharacterDataHandler = collect
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise DatasetError(
            f"line {error.lineno} is not XML: {expat.ErrorString(error.code)}", fix="export it again"
        ) from None
