"""A client's way to the coordinator of a federation: HTTP requests with deadlines and bounds. No torch."""

__all__ = ["Coordinator"]

import http.client
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from eyewright.core.errors import EyewrightError, RefusedError, UsageError, plain_reason
from eyewright.core.quoting import quoted
from eyewright.privacy.federated_messages import Description, Join, Joined, Keys, Revealed, Sealed, Taken, Task, Update
from eyewright.privacy.rounds import ConflictError, ForeignError
from eyewright.privacy.updates import digest_of

_Message = TypeVar("_Message")

_CONNECT_S = 20.0
_ANSWER_S = 60.0
_LARGEST_ANSWER = 2**22
_PIECE = 2**18
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL.
_OF_THE_CLOCK = (9, 10)


class Coordinator:
    """The coordinator at an address such as "http://127.0.0.1:8470".

    Args:
        token: sent with every request.
        ca: file of PEM with the certificates that are trusted, for https; None for those of the system.
        patience_s: how long it may be unreachable before a request fails.
        transfer_s: how long a request with weights may take.
        say: called with a line where it is unreachable, and where it is back.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        ca: Path | None = None,
        patience_s: float = 600.0,
        transfer_s: float = 600.0,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        try:
            port = parts.port
        except ValueError:
            port = -1
        plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username or parts.password)
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or not plain:
            raise UsageError(
                f"expected an address such as http://127.0.0.1:8470, found {quoted(address)}",
                fix="pass the one that eyewright federate serve printed",
            )
        if ca is not None and parts.scheme != "https":
            raise UsageError("expected an address that begins with https with --ca", fix="change it, or leave --ca out")
        self.scheme, self.host = parts.scheme, parts.hostname
        self.port = port or (443 if parts.scheme == "https" else 80)
        self.name, self.key = "", ""
        self._token, self._patience_s, self._transfer_s, self._say = token, patience_s, transfer_s, say
        self._tls = _trust(ca) if parts.scheme == "https" else None

    @property
    def address(self) -> str:
        """Where it is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def description(self) -> Description:
        """Return what is learnt."""
        return self._message(Description, "GET", "/v1/federation")

    def join(self, asked: Join) -> Joined:
        """Take part; further requests carry the name and the key.

        Raises:
            ConflictError, ForeignError: the coordinator does not take this client.
        """
        joined = self._message(Joined, "POST", "/v1/join", msgspec.json.encode(asked))
        self.name, self.key = asked.name, joined.key
        return joined

    def task(self) -> Task:
        """Return what there is to do; this takes a while where there is nothing."""
        return self._message(Task, "GET", "/v1/task")

    def weights(self, digest: str, *, numbers: int) -> bytes:
        """Return the weights of this digest.

        Raises:
            ConflictError: they are no longer there.
            RefusedError: the bytes are others.
        """
        raw = self._ask("GET", f"/v1/weights/{digest}", most=4 * numbers, within_s=self._transfer_s)
        if len(raw) != 4 * numbers or digest_of(raw) != digest:
            raise RefusedError(
                f"expected weights of SHA-256 {digest[:12]}…, found others",
                fix="check the network between the machines",
            )
        return raw

    def send(self, update: Update) -> Taken:
        """Send an update; once is enough, and twice does no harm.

        Raises:
            ConflictError: the round is over.
        """
        raw = msgspec.msgpack.encode(update)
        return self._message(Taken, "POST", "/v1/update", raw, within_s=self._transfer_s)

    def step(self, sent: Keys | Sealed | Revealed) -> Taken:
        """Send what a step of secure aggregation asks for.

        Raises:
            ConflictError: the step is over.
        """
        names: dict[type, str] = {Keys: "keys", Sealed: "shares", Revealed: "reveal"}
        return self._message(Taken, "POST", f"/v1/{names[type(sent)]}", msgspec.msgpack.encode(sent))

    def leave(self) -> None:
        """Say that nobody needs to wait for this client; where that does not arrive, a deadline passes instead."""
        if self.key:
            try:
                self._once("POST", "/v1/leave", b"{}", most=_LARGEST_ANSWER, within_s=_FIRST_PAUSE_S * 20)
            except (OSError, http.client.HTTPException, EyewrightError):
                return

    def _message(
        self, kind: type[_Message], method: str, path: str, body: bytes | None = None, *, within_s: float = _ANSWER_S
    ) -> _Message:
        raw = self._ask(method, path, body, most=_LARGEST_ANSWER, within_s=within_s)
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._stranger(plain_reason(error)) from None

    def _stranger(self, why: str) -> RefusedError:
        return RefusedError(
            f"expected the coordinator of a federation at {self.address}, found something else: {why}",
            fix="check the address, and use the same version of Eyewright on both sides",
        )

    def _ask(self, method: str, path: str, body: bytes | None = None, *, most: int, within_s: float) -> bytes:
        """Ask until there is an answer, or the coordinator could not be reached for too long."""
        until = time.monotonic() + self._patience_s
        pause, said = _FIRST_PAUSE_S, False
        while True:
            try:
                status, raw = self._once(method, path, body, most=most, within_s=within_s)
                if status < 500:
                    if said:
                        self._say("the coordinator answers")
                    return raw if status == 200 else self._refused(status, raw)
                reason = "it is not ready yet" if status == 503 else f"status {status}"
            except ssl.SSLCertVerificationError as error:
                raise RefusedError(
                    f"the certificate of {self.address} is not trusted: {error.verify_message}",
                    fix="check the clocks of both machines, and renew the certificate"
                    if error.verify_code in _OF_THE_CLOCK
                    else "pass its certificate with --ca",
                ) from None
            except (OSError, http.client.HTTPException) as error:
                reason = plain_reason(error) or type(error).__name__
            if time.monotonic() > until:
                raise RefusedError(
                    f"the coordinator at {self.address} could not be reached for {self._patience_s:g} s: {reason}",
                    fix="check that it runs and join again; --patience waits longer",
                    code="coordinator_lost",
                )
            if not said and pause >= 1:
                self._say(f"waiting for {self.address}: {reason}; trying for {self._patience_s:g} s")
                said = True
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _refused(self, status: int, raw: bytes) -> bytes:
        """Raise what a refusal means."""
        try:
            told: Mapping[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            told = {}
        words, fix, code = (str(told.get(k, ""))[:400] for k in ("error", "fix", "code"))
        if not words:
            raise self._stranger(f"status {status}")
        if status == 401:
            raise UsageError(
                f"the coordinator at {self.address} expects a token, found none or another",
                fix="set --token-file or EYEWRIGHT_TOKEN", code="token",
            )  # fmt: skip
        if status == 403 and code == ForeignError.code:
            raise ForeignError(words, fix=fix)
        if status == 409:
            raise ConflictError(words, fix=fix, code=code)
        raise RefusedError(f"the coordinator refused: {words}", fix=fix)

    def _once(self, method: str, path: str, body: bytes | None, *, most: int, within_s: float) -> tuple[int, bytes]:
        """Ask once; return status and body."""
        until = time.monotonic() + within_s
        # Not one connection for all: what is between the machines may forget one that has been quiet for a round.
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=_CONNECT_S)
        else:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=_CONNECT_S, context=self._tls)
        headers = {"accept": "application/json", "connection": "close"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        if self.key:
            headers |= {"x-eyewright-client": self.name, "x-eyewright-key": self.key}
        try:
            connection.connect()
            connection.request(method, path, body=None if body is None else _pieces(body, until), headers=headers
                               | ({} if body is None else {"content-length": str(len(body))}))  # fmt: skip
            self._wait_at_most(connection, min(_ANSWER_S, until - time.monotonic()))
            response = connection.getresponse()
            parts, size = [], 0
            # A refusal is longer than the weights of a small net.
            most = most if response.status == 200 else _LARGEST_ANSWER
            # One byte more than may come tells whether there is more.
            while part := response.read1(min(_PIECE, most + 1 - size)):
                size += len(part)
                if size > most:
                    raise self._stranger(f"an answer of more than {most:,} bytes")
                if time.monotonic() > until:
                    raise TimeoutError(f"the answer took longer than {within_s:g} s")
                parts.append(part)
            if response.length not in (None, 0):
                raise http.client.IncompleteRead(b"".join(parts), response.length)
            return response.status, b"".join(parts)
        finally:
            connection.close()

    def _wait_at_most(self, connection: http.client.HTTPConnection, seconds: float) -> None:
        if connection.sock is not None:
            connection.sock.settimeout(max(0.001, seconds))


def _pieces(body: bytes, until: float) -> Any:
    """Yield a body in pieces, within a deadline."""
    for start in range(0, len(body), _PIECE):
        if time.monotonic() > until:
            raise TimeoutError("sending took too long")
        yield body[start : start + _PIECE]


def _trust(ca: Path | None) -> ssl.SSLContext:
    """Return a context for TLS that checks the coordinator's certificate and name."""
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"cannot read certificates in {quoted(ca or '')}: {plain_reason(error)}", fix="pass a PEM file"
        ) from None
    return context
