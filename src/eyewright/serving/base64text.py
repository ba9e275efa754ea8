"""Base64 from a client, as the standard alphabet or URLs', with or without line breaks and padding."""

__all__ = ["decode_base64"]

import binascii
import io

import msgspec

from eyewright.serving.refusals import HttpError

_PIECE = 2**15
_ADDRESSES = (b"http://", b"https://", b"ftp://", b"file:")
# What JSON may write instead of the characters of base64: "/" as PHP does, "+" and "=" as .NET does.
_ESCAPES = ((b"\\/", b"/"), (b"\\n", b""), (b"\\r", b""), (b"\\t", b""), (b"\\u002B", b"+"), (b"\\u002b", b"+"),
            (b"\\u002F", b"/"), (b"\\u002f", b"/"), (b"\\u003D", b"="), (b"\\u003d", b"="))  # fmt: skip
_STANDARD = bytes.maketrans(b"-_", b"+/")


def decode_base64(given: str | bytes | memoryview | msgspec.Raw) -> bytes:
    """Decode base64, with or without the head of a data address, in pieces and in linear time.

    A `msgspec.Raw` is the JSON text that holds it, with its quotes. Clean base64 is not copied before it is decoded.

    >>> decode_base64("data:text/plain;base64,aGk"), decode_base64(msgspec.Raw(b'"aGk\\\\u003d"'))
    (b'hi', b'hi')

    Raises:
        HttpError: it is not base64; an address is never fetched.
    """
    if isinstance(given, str):
        given = given.encode("utf-8", "replace")
    text = memoryview(given)
    if isinstance(given, msgspec.Raw):
        if len(text) < 2 or text[0] != 34:
            raise HttpError(
                400, "inputs", "expected an image as base64 text, found another value", fix="see /openapi.json"
            )
        text = text[1:-1]
    head = bytes(text[:256]).replace(b"\\/", b"/")
    if head.startswith(_ADDRESSES):
        raise HttpError(
            400, "address_given", "expected an image, found an address; addresses are not fetched", fix="send the bytes"
        )
    if head.startswith(b"data:"):
        text = text[bytes(text[:256]).find(b",") + 1 :] if b"," in head else text
    try:
        return _decoded(text)
    except (binascii.Error, ValueError):
        pass
    try:
        return _decoded(memoryview(_plain(bytes(text))))
    except (binascii.Error, ValueError):
        raise HttpError(400, "base64", "the image is not base64", fix="encode the file's bytes") from None


def _decoded(text: memoryview) -> bytes:
    # Unlike joined pieces, what a BytesIO holds is given without a copy.
    whole = io.BytesIO()
    for at in range(0, len(text), _PIECE):
        piece = binascii.a2b_base64(text[at : at + _PIECE], strict_mode=True)
        if at + _PIECE < len(text) and len(piece) != _PIECE // 4 * 3:
            raise ValueError("padding before the end")
        whole.write(piece)
    return whole.getvalue()


def _plain(text: bytes) -> bytes:
    """Return the text in the standard alphabet, padded, without escapes and white space."""
    if b"\\" in text:
        for written, meant in _ESCAPES:
            if written in text:
                text = text.replace(written, meant)
    text = text.translate(_STANDARD, b" \t\r\n\f")
    padding = len(text) - len(text.rstrip(b"=")) if text.endswith(b"=") else 0
    if padding > 2:
        raise ValueError("too much padding")
    return text if len(text) % 4 == 0 else text[: len(text) - padding] + b"=" * (-(len(text) - padding) % 4)
