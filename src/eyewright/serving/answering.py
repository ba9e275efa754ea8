"""One request of a small application, from its scope to what is sent: the data browser and the coordinator of a
federation."""

__all__ = ["answer_request"]

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from eyewright.core.errors import EyewrightError
from eyewright.serving.exchange import (
    Receive,
    Request,
    Response,
    Send,
    error_response,
    json_response,
    parse_request,
)

_log = logging.getLogger("eyewright.serving")


def _itself(error: EyewrightError) -> EyewrightError:
    return error


async def answer_request(
    scope: Mapping[str, Any],
    receive: Receive,
    send: Send,
    answer: Callable[[Request, Receive], Awaitable[Response]],
    *,
    refused: Callable[[EyewrightError], EyewrightError] = _itself,
) -> None:
    """Send what `answer` returns for a request; of an error, `refused` says what the client is told. A bug in Eyewright
    is logged, and the client sees no traceback."""
    request: Request | None = None
    try:
        request = parse_request(scope)
        response = await answer(request, receive)
    except EyewrightError as error:
        response = error_response(refused(error))
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except Exception:  # noqa: BLE001 - a client sees no traceback, whatever it is
        _log.exception("a bug in Eyewright")
        response = json_response({"error": "a bug in Eyewright", "code": "fault", "fix": "please report it"}, 500)
    if request is None or not request.whole:
        # What is left of the body would be read as the next request.
        response.headers.append((b"connection", b"close"))
    await response.send(send, method=scope["method"])
