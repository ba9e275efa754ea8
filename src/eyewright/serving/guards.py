"""Who may ask: the names the server is called by, the pages that may call it, the tokens."""

__all__ = ["Guard"]

import base64
import binascii
import hmac

from eyewright.serving.exchange import HttpError, Request
from eyewright.serving.settings import Settings, is_loopback

_NEEDED = {"www-authenticate": 'Bearer realm="eyewright", Basic realm="eyewright"'}


class Guard:
    """Checks that come before anything else, for every method.

    The Host must be one the server answers to: a page whose foreign name points at this machine is refused (DNS
    rebinding). An Origin must be the server's own or allowed: no other page can ask in a user's name.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._local = is_loopback(settings.host)
        names = {settings.host.strip("[]").lower(), *(h.lower() for h in settings.hosts)}
        self._names = names | ({"localhost", "127.0.0.1", "::1"} if self._local else set())
        # Bound to every address, it is called by whichever a client reached; the token is what protects it then.
        self._any = settings.host in ("0.0.0.0", "::") and not settings.hosts  # noqa: S104 - compared, not bound
        self._origins = {o.rstrip("/").lower() for o in settings.origins}

    def check(self, request: Request, *, open_to_all: bool = False, admin: bool = False) -> None:
        """Let a request pass.

        Raises:
            HttpError: a host, origin or token that is not allowed.
        """
        host = request.headers.get("host", "").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if not self._any and name.strip("[]") not in self._names:
            raise HttpError(
                403,
                "host_not_allowed",
                "this host name is not allowed",
                fix="start it with --allow-host NAME",
            )
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            allowed = origin.rstrip("/").lower() in self._origins
            if not allowed:
                raise HttpError(
                    403,
                    "origin_not_allowed",
                    "pages of this origin may not call the server",
                    fix="start it with --allow-origin ORIGIN",
                )
        if admin:
            if self.settings.admin_token is None:
                raise HttpError(
                    403, "admin_off", "changing models over HTTP is off", fix="start with --admin-token-file"
                )
            self._check_token(request, self.settings.admin_token)
        elif self.settings.token is not None and not open_to_all:
            self._check_token(request, self.settings.token)

    def allowed_origin(self, request: Request) -> str | None:
        """Return the origin of another page that may read the answer."""
        origin = request.headers.get("origin")
        return origin if origin is not None and origin.rstrip("/").lower() in self._origins else None

    def _check_token(self, request: Request, expected: str) -> None:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode("utf-8").partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                given = ""
        elif kind.lower() != "bearer":
            given = ""
        if not hmac.compare_digest(given.strip().encode("utf-8", "replace"), expected.encode()):
            raise HttpError(
                401, "token", "expected a token, found none or another", fix="send Authorization: Bearer TOKEN",
                headers=_NEEDED,
            )  # fmt: skip
