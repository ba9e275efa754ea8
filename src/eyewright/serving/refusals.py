"""Why a request is not answered, and the HTTP status that says so."""

__all__ = ["HttpError", "status_of", "whole_number"]

from collections.abc import Mapping

from eyewright.core.errors import (
    BusyError,
    EyewrightError,
    InputError,
    LateError,
    LimitError,
    LostError,
    MissingExtraError,
    RefusedError,
    UnreadableImageError,
    UsageError,
)

_MOST_DIGITS = 18


class HttpError(EyewrightError):
    """A request that is refused with an HTTP status."""

    def __init__(
        self, status: int, code: str, message: str, *, fix: str = "", headers: Mapping[str, str] | None = None
    ):
        super().__init__(message, fix=fix, code=code)
        self.status = status
        self.headers = dict(headers or {})


def status_of(error: EyewrightError) -> int:
    """Return the HTTP status for an error.

    >>> status_of(UnreadableImageError("cut off")), status_of(BusyError("full"))
    (422, 503)
    """
    if isinstance(error, HttpError):
        return error.status
    kinds: tuple[tuple[type[EyewrightError] | tuple[type[EyewrightError], ...], int], ...] = (
        (LimitError, 413),
        ((UnreadableImageError, InputError), 422),
        ((BusyError, LostError), 503),
        (LateError, 504),
        (MissingExtraError, 415),
        (UsageError, 400),
        (RefusedError, 500),
    )
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)


def whole_number(text: str) -> int | None:
    """Return a header's value as a whole number, None where it is not one of ASCII digits, at most 18.

    >>> whole_number("12"), whole_number("²"), whole_number("-1"), whole_number("9" * 5000)
    (12, None, None, None)
    """
    text = text.lstrip("0") or text[:1]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
