"""Where an alarm goes: the log, a webhook, an email. Addresses are the operator's, never a client's."""

__all__ = ["Alerts"]

import http.client
import json
import logging
import smtplib
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

from eyewright.core.errors import UsageError, plain_reason
from eyewright.core.jsonable import dumps_json

_log = logging.getLogger("eyewright.monitoring")
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Alerts:
    """`webhook` is an http(s) address that gets JSON by POST, `email` who gets a message by `smtp`, HOST or HOST:PORT.

    >>> Alerts().send("drift", "nothing is configured but the log", {}, wait=True)
    []
    """

    webhook: str | None = None
    email: str | None = None
    smtp: str = "localhost:25"

    def __post_init__(self) -> None:
        if self.webhook is not None and urlsplit(self.webhook).scheme not in ("http", "https"):
            raise UsageError(f"expected an http(s) address, found {self.webhook!r}", fix="change --alert-webhook")
        if self.email is not None and ("@" not in self.email or any(c in self.email for c in "\r\n")):
            raise UsageError(f"expected an email address, found {self.email!r}", fix="change --alert-email")

    def send(self, kind: str, text: str, content: Mapping[str, Any], *, wait: bool = False) -> list[str]:
        """Send it to every channel, in a thread unless `wait`; return what went wrong, which is logged too."""
        _log.warning("alert: %s", text)
        if not wait:
            threading.Thread(target=self._send, args=(kind, text, content), daemon=True).start()
            return []
        return self._send(kind, text, content)

    def _send(self, kind: str, text: str, content: Mapping[str, Any]) -> list[str]:
        failed = []
        for name, call in (("webhook", self._post), ("email", self._mail)):
            if getattr(self, name) is None:
                continue
            try:
                call(kind, text, content)
            except (OSError, http.client.HTTPException, smtplib.SMTPException) as error:
                failed.append(f"the {name} did not take the alert: {plain_reason(error)}")
                _log.warning("%s", failed[-1])
        return failed

    def _post(self, kind: str, text: str, content: Mapping[str, Any]) -> None:
        parts = urlsplit(self.webhook or "")
        body = dumps_json({"kind": kind, "text": text, "time": time.time(), "details": content}).encode()
        host, port = parts.hostname or "localhost", parts.port
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
            if status >= 300:
                raise http.client.HTTPException(f"it answered {status}")
        finally:
            connection.close()

    def _mail(self, kind: str, text: str, content: Mapping[str, Any]) -> None:
        message = EmailMessage()
        message["From"] = message["To"] = self.email
        message["Subject"] = f"[eyewright] {kind}: {text}"[:200].replace("\n", " ")
        message.set_content(text + "\n\n" + json.dumps(json.loads(dumps_json(content)), indent=1))
        host, _, port = self.smtp.partition(":")
        with smtplib.SMTP(host, int(port or 25), timeout=_TIMEOUT_S) as server:
            server.send_message(message)
