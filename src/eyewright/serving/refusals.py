"""Why a request is not answered, and the HTTP status that says so."""

__all__ = ["HttpError", "refused_reload", "status_of", "whole_number", "without_paths"]

import re
from collections.abc import Mapping

from eyewright.core.errors import (
    BusyError,
    EyewrightError,
    InputError,
    LateError,
    LimitError,
    LostError,
    MissingExtraError,
    OutputError,
    PolicyError,
    RefusedError,
    UnreadableImageError,
    UsageError,
)

_MOST_DIGITS = 18
_QUOTED_PATH = re.compile(r"""'[^']*/[^']*'|"[^"]*/[^"]*\"""")
_BARE_PATH = re.compile(r"(?<![\w:./])/(?:[^\s/'\"]+/)+[^\s/'\"]*")
_OWN_PATHS = ("/v1/", "/v2/")


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

    A bundle that is refused, or whose model does not run, is no fault of the server's: 409 and 422.

    >>> status_of(UnreadableImageError("cut off")), status_of(BusyError("full")), status_of(PolicyError("recall 0.4"))
    (422, 503, 409)
    """
    if isinstance(error, HttpError):
        return error.status
    if error.code in ("database", "model_failed"):
        return 503 if error.code == "database" else 422
    kinds: tuple[tuple[type[EyewrightError] | tuple[type[EyewrightError], ...], int], ...] = (
        (LimitError, 413),
        ((UnreadableImageError, InputError), 422),
        ((BusyError, LostError, OutputError), 503),
        (LateError, 504),
        (MissingExtraError, 415),
        (UsageError, 400),
        (RefusedError, 409),
    )
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)


def refused_reload(error: EyewrightError | OSError) -> HttpError:
    """Return what a client is told where the models could not be read again: the kind of the reason, and no path.

    >>> refused_reload(PolicyError("recall is 0.4 in '/srv/a.bundle'")).message
    "a bundle's evidence is below its policy, so the models before it stay in use"
    """
    code = error.code if isinstance(error, EyewrightError) else "bundle"
    if code == "signature":
        reason = "a bundle's signature is missing or not valid"
    elif isinstance(error, PolicyError):
        reason = "a bundle's evidence is below its policy"
    elif isinstance(error, MissingExtraError):
        reason = "a bundle needs a package that the server lacks"
    elif isinstance(error, UsageError):
        reason = "the table of models is not valid"
    else:
        reason = "a bundle is missing, damaged, changed, or does not run"
    fix = "see the server's messages, restore the bundle, and reload again"
    return HttpError(409, code, f"{reason}, so the models before it stay in use", fix=fix)


def without_paths(text: str) -> str:
    """Return a message in which paths of the server's files are replaced by an ellipsis.

    >>> without_paths("cannot write '/srv/a b/log': disk full"), without_paths("see /openapi.json or /v1/models")
    ('cannot write …: disk full', 'see /openapi.json or /v1/models')
    """
    text = _QUOTED_PATH.sub("…", text)
    return _BARE_PATH.sub(lambda m: m[0] if m[0].startswith(_OWN_PATHS) else "…", text)


def whole_number(text: str) -> int | None:
    """Return a header's value as a whole number, None where it is not one of ASCII digits, at most 18.

    >>> whole_number("12"), whole_number("²"), whole_number("-1"), whole_number("9" * 5000)
    (12, None, None, None)
    """
    text = text.lstrip("0") or text[:1]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
