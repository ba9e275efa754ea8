"""Decode text files that other tools wrote: byte order marks, UTF-16, encodings that XML declares, NaN in JSON.

Every reader of annotations decodes through this module. What cannot be decoded for certain is refused by file and line.
"""

__all__ = [
    "PlainJson",
    "as_text",
    "decode_text",
    "decode_xml",
    "encoding_of",
    "is_text",
    "json_problem",
    "json_reason",
    "plain_json",
    "truth",
    "word",
]

import codecs
import math
import re
import unicodedata
from typing import NamedTuple

from eyewright.core.errors import DatasetError

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# A file that declares one of these holds characters of the larger set too: encoding.spec.whatwg.org, section 4.2.
_LARGER = {
    "gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "euc_cn": "gb18030", "cp936": "gb18030",
    "shift_jis": "cp932", "sjis": "cp932", "x_sjis": "cp932", "windows_31j": "cp932", "ms_kanji": "cp932",
    "ks_c_5601_1987": "cp949", "euc_kr": "cp949", "ksc5601": "cp949", "korean": "cp949",
    "big5": "cp950", "x_x_big5": "cp950",
    "iso_8859_1": "cp1252", "latin1": "cp1252", "latin_1": "cp1252", "us_ascii": "cp1252", "ascii": "cp1252",
    "ansi": "cp1252", "windows_1252": "cp1252", "cp1252": "cp1252",
}  # fmt: skip
_XML_HEAD = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._:\- ]{1,40})["']""")
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,400}\?>")
# A string is passed over whole, whether or not it is closed, so that no text makes this slower than its length.
_JSON_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[-+]?(?:NaN|Infinity)', re.DOTALL)
_BYTE_OF_ERROR = re.compile(r"\(byte (\d+)\)")
_OTHER_TYPE = re.compile(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `\$?\.?([^`]*)`)?")
_TYPES = {
    "array": "a list", "object": "an object", "str": "text", "int": "a whole number", "float": "a number",
    "bool": "true or false", "null": "nothing",
}  # fmt: skip


def decode_text(data: bytes, name: str | None = None, *, declared: str | None = None) -> str:
    """Return the text of a file, without its byte order mark.

    A byte order mark decides, then the encoding that the file declares, then UTF-16 and UTF-32 by their zero bytes,
    then UTF-8.

    Args:
        data: the file's bytes.
        name: what the file is called in an error; without it the error names the line alone.
        declared: the encoding that the file itself names, if it names one.

    Raises:
        DatasetError: the bytes are of another encoding, with the line of the first that is.

    >>> decode_text("\\ufeffcat".encode("utf-16"), "names.txt")
    'cat'
    """
    found = encoding_of(data)
    if found is not None:
        start, encoding = found
        return _decode(data[start:], encoding, name).lstrip("\ufeff")
    stated = None if declared is None else _known(declared)
    if stated is not None and not (stated == "cp1252" and _is_utf8(data)):
        try:
            if declared is not None and declared.strip().lower() == "ansi":
                _check_western(data, name)
            return data.decode(stated)
        except UnicodeError:
            # Editors save a file as UTF-8 and leave its declaration as it was.
            pass
    return _decode(data, "utf-8", name, declared)


def encoding_of(data: bytes) -> tuple[int, str] | None:
    """Return how many bytes of mark a text begins with, and the encoding that the mark or its zero bytes show.

    >>> encoding_of("a,b".encode("utf-16-le")), encoding_of(b"a,b")
    ((0, 'utf-16-le'), None)
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return len(mark), encoding
    wide = _wide(data)
    return None if wide is None else (0, wide)


def decode_xml(data: bytes, name: str) -> str:
    """Return the text of an XML file without its declaration, whose encoding no longer holds; lines stay as they are.

    Raises:
        DatasetError: the bytes are neither of the encoding that it declares nor UTF-8.
    """
    head = _XML_HEAD.match(data[:400])
    text = decode_text(data, name, declared=None if head is None else head[1].decode("ascii"))
    return _XML_DECLARATION.sub(lambda found: "\n" * found[0].count("\n"), text, count=1)


class PlainJson(NamedTuple):
    """JSON in UTF-8 without a byte order mark; `odd` has NaN and Infinity, which JSON lacks, each with its line.

    Each of them is `null` in `data`.
    """

    data: bytes
    odd: tuple[tuple[str, int], ...]


def plain_json(data: bytes) -> PlainJson:
    """Return JSON as a strict decoder reads it: UTF-8, no byte order mark, null for NaN and Infinity.

    Bytes that cannot be decoded are returned as they are, for the decoder to refuse.

    >>> plain_json(b'[1,\\n NaN, "NaN"]')
    PlainJson(data=b'[1,\\n null, "NaN"]', odd=(('NaN', 2),))
    """
    if data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
    elif data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or data[:4] == codecs.BOM_UTF32_BE or _wide(data):
        try:
            data = decode_text(data, "").encode("utf-8")
        except (DatasetError, UnicodeEncodeError):
            return PlainJson(data, ())
    if b"NaN" not in data and b"Infinity" not in data:
        return PlainJson(data, ())
    odd: list[tuple[str, int]] = []
    at, line = 0, 1

    def replaced(found: re.Match[bytes]) -> bytes:
        nonlocal at, line
        if found[0].startswith(b'"'):
            return found[0]
        line += data.count(b"\n", at, found.start())
        at = found.start()
        odd.append((found[0].decode("ascii"), line))
        return b"null"

    plain = _JSON_TOKEN.sub(replaced, data)
    return PlainJson(plain, tuple(odd))


def json_reason(error: Exception) -> str:
    """Return in plain words why a decoder of JSON refused a value.

    >>> json_reason(ValueError("Expected `array`, got `null` - at `$.images`"))
    'expected a list, found nothing, at images'
    """
    if isinstance(error, RecursionError):
        return "lists and objects are nested too deeply"
    text = str(error)
    found = _OTHER_TYPE.fullmatch(text)
    if found is not None:
        wanted = " or ".join(_TYPES.get(t.strip(), t.strip()) for t in found[1].split("|"))
        place = f", at {found[3]}" if found[3] else ""
        return f"expected {wanted}, found {_TYPES.get(found[2], found[2])}{place}"
    if text.startswith("Number out of range"):
        place = text.partition("`$")[2].strip("`.")
        return f"a number is too large, at {place}" if place else "a number is too large"
    return text.replace(" - at `$", " at `")


def json_problem(error: Exception, data: bytes) -> tuple[str, int | None]:
    """Return what is wrong with JSON that a decoder refused, and the line where it can be known."""
    if isinstance(error, RecursionError):
        return json_reason(error), None
    text = str(error)
    if "UTF-8" in text or isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8", _bad_line(data)
    if "truncated" in text:
        return "it is empty" if not data.strip() else "it ends too early", data.count(b"\n") + 1
    found = _BYTE_OF_ERROR.search(text)
    plain = text.replace("JSON is malformed: ", "").replace(" - at `$", " at `")
    if found is None:
        return plain, None
    at = int(found[1])
    plain = plain.replace(f" ({found[0][1:-1]})", "")
    shown = data[at : at + 1].decode("ascii", "replace")
    return f"{plain} {shown!r}" if shown.isprintable() and shown else plain, data.count(b"\n", 0, at) + 1


def word(value: object) -> str | None:
    """Return a label as text: text without the blanks round it, in Unicode's composed form (NFC); a number as it is
    written. None for anything else, and for nothing.

    >>> word(7), word(7.0), word(" cat "), word(True), word(None)
    ('7', '7', 'cat', 'true', None)
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value == int(value) else str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return unicodedata.normalize("NFC", " ".join(value.split("\n")).strip()) or None
    return None


def is_text(name: str) -> bool:
    """Return whether a file's name is Unicode, and not bytes of another encoding."""
    return not any("\udc80" <= c <= "\udcff" for c in name)


def as_text(name: str) -> str:
    """Return a file's name as Unicode: one that is not UTF-8 is read as Windows-1252, whose bytes are all something.

    >>> as_text("caf\\udce9"), as_text("café")
    ('café', 'café')
    """
    return name if is_text(name) else name.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def truth(value: object) -> bool | None:
    """Return what a flag says in any of the ways in which tools write it; None where it says neither.

    >>> truth("0"), truth("True"), truth(1.0), truth("maybe")
    (False, True, True, None)
    """
    if isinstance(value, str):
        plain = value.strip().lower()
        if plain in ("1", "true", "yes", "y", "t", "1.0", "on"):
            return True
        return False if plain in ("0", "false", "no", "n", "f", "0.0", "off", "", "none", "null") else None
    if value is None:
        return False
    return bool(value) if isinstance(value, bool | int | float) else None


def _known(declared: str) -> str | None:
    """Return Python's name for a declared encoding; None for one that it does not know, or that needs a mark."""
    plain = re.sub(r"[^a-z0-9]+", "_", declared.lower()).strip("_")
    if plain in _LARGER:
        return _LARGER[plain]
    if plain.startswith(("utf", "ucs", "iso_10646", "unicode")):
        # Without zero bytes it is not UTF-16 whatever it says: .NET declares utf-16 and saves UTF-8.
        return "utf-8"
    try:
        found = codecs.lookup(declared.strip())
    except (LookupError, ValueError):
        return None
    # Some of Python's codecs turn bytes into bytes.
    return found.name if getattr(found, "_is_text_encoding", True) else None


def _wide(data: bytes) -> str | None:
    """Return UTF-16 or UTF-32 where the zero bytes of the first characters, which are ASCII, say so."""
    head = data[:4]
    patterns = {
        (0, 0, 0, 1): "utf-32-be",
        (1, 0, 0, 0): "utf-32-le",
        (0, 1, 0, 1): "utf-16-be",
        (1, 0, 1, 0): "utf-16-le",
    }
    return patterns.get(tuple(int(b != 0) for b in head)) if len(head) == 4 else None  # type: ignore[arg-type]


# What spreadsheets write by default is a code page of the machine.
_EXCEL = " (in Excel: CSV UTF-8)"


def _decode(data: bytes, encoding: str, name: str | None, declared: str | None = None) -> str:
    if encoding == "utf-8" and (zero := data.find(b"\0")) >= 0:
        # Neither text nor UTF-16: a binary file under the name of a text.
        line = data.count(b"\n", 0, zero) + 1
        where = f"line {line}"
        shown = where if name is None else f"{name!r} {where}"
        raise DatasetError(f"expected text in {shown}, found a zero byte", fix="save it as UTF-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        if name is None:
            raise DatasetError(
                f"line {line} is not {encoding.upper()}", fix=f"save the file as UTF-8{_EXCEL}"
            ) from None
        named = f" or {declared}, which it declares" if declared and _known(declared) not in (None, "utf-8") else ""
        raise DatasetError(
            f"expected {encoding.upper()}{named} in {name!r}, found other bytes in line {line}",
            fix=f"save it as UTF-8{_EXCEL if name.lower().endswith(('.csv', '.tsv', '.txt')) else ''}",
        ) from None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _check_western(data: bytes, name: str | None) -> None:
    """Refuse "ANSI", the code page of whichever machine wrote it, where its bytes come in pairs as in Chinese."""
    runs = re.findall(rb"[\x80-\xff]+", data)
    if runs and all(len(run) % 2 == 0 for run in runs):
        line = data.count(b"\n", 0, data.index(runs[0])) + 1
        raise DatasetError(
            f"{name!r} declares ANSI, which does not say what the bytes in line {line} mean", fix="save it as UTF-8"
        )


def _bad_line(data: bytes) -> int | None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return data.count(b"\n", 0, error.start) + 1
    return None
