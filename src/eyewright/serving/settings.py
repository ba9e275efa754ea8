"""How a server is asked to behave: one frozen value, every bound in it."""

__all__ = ["Reason", "Settings", "is_loopback"]

import ipaddress
from dataclasses import dataclass, field
from typing import Literal, get_args

from eyewright.core.errors import UsageError
from eyewright.core.machine.limits import usable_cores
from eyewright.imaging.headers import Limits

Reason = Literal["unfamiliar", "ambiguous"]
"""Why a server refuses a prediction."""


@dataclass(frozen=True)
class Settings:
    """Where a server listens, what it may cost, and whom it answers.

    `host` and `port` (0 takes a free one) are bound; anything but a loopback address needs a `token`, which every
    request then carries as `Authorization: Bearer …` (or as the password of Basic). Requests that load, unload or
    reload models need `admin_token` and are refused without one. `hosts` are names a client may call the server by
    in addition to its own address, `origins` web pages of other origins that may call it.

    `workers` processes (0: one per core, at most 8) run models with `threads` threads each. A worker takes up to
    `max_batch` requests at once, and waits up to `max_wait_ms` for more if fewer are there. `queue` requests may wait
    in all, with `pending_bytes` of body; a request ends after `deadline_s`, its header must arrive in `header_s` and
    its body in `body_s`. `scaled_decode` decodes a large JPEG at 1/2, 1/4 or 1/8 as long as no fewer pixels are left
    than the model takes: faster, and not the same bits as decoding it whole. `busy_bytes_per_s` is the rate of all
    bodies above 256 KB together while smaller ones are answered.

    Predictions are refused for the reasons in `refuse`: an image unlike those that the model knows, or a conformal set
    of `coverage` that holds more than one label.

    There are at most `connections` in all and `client_connections` of one address; a connection that sends nothing
    for `idle_s` is closed, and so is one that takes less than 64 KB of its waiting answers in `write_s`. Where a limit
    is reached, the connection that has been idle longest makes room. On Linux a new connection counts, and its times
    begin, when it has sent something, or after some seconds.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    admin_token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    workers: int = 0
    threads: int = 1
    max_batch: int = 4
    max_wait_ms: float = 0.0
    queue: int = 256
    pending_bytes: int = 192 * 2**20
    busy_bytes_per_s: float = 48.0 * 2**20
    deadline_s: float = 30.0
    header_s: float = 10.0
    body_s: float = 20.0
    write_s: float = 20.0
    decode_s: float = 2.0
    drain_s: float = 15.0
    connections: int = 1024
    body_bytes: int = 32 * 2**20
    header_bytes: int = 32 * 2**10
    idle_s: float = 20.0
    client_connections: int = 256
    json_depth: int = 32
    json_values: int = 100_000
    json_digits: int = 40
    parts: int = 16
    worker_memory: int = 320 * 2**20
    scaled_decode: bool = False
    refuse: tuple[Reason, ...] = ()
    coverage: float = 0.9
    limits: Limits = field(default_factory=lambda: Limits(pixels=40_000_000, side=16_384, bytes=32 * 2**20))

    def __post_init__(self) -> None:
        for name, low in (("workers", 0), ("threads", 1), ("max_batch", 1), ("queue", 1), ("body_bytes", 1)):
            if getattr(self, name) < low:
                raise UsageError(f"expected {name} of at least {low}, found {getattr(self, name)}", fix="change it")
        for name in (
            "deadline_s",
            "header_s",
            "body_s",
            "write_s",
            "idle_s",
            "decode_s",
            "drain_s",
            "busy_bytes_per_s",
        ):
            if not getattr(self, name) > 0:
                raise UsageError(f"expected {name} above 0, found {getattr(self, name)}", fix="change it")
        for reason in self.refuse:
            if reason not in get_args(Reason):
                known = " or ".join(get_args(Reason))
                raise UsageError(f"expected {known} to refuse predictions for, found {reason!r}", fix="change --refuse")
        if not 0.01 <= self.coverage <= 0.999:
            raise UsageError(f"expected a coverage of 0.01 to 0.999, found {self.coverage}", fix="change --coverage")
        if not 0 <= self.max_wait_ms <= 1000:
            raise UsageError(f"expected max_wait_ms of 0 to 1000, found {self.max_wait_ms}", fix="change it")
        if not 0 <= self.port <= 65_535:
            raise UsageError(f"expected a port of 0 to 65535, found {self.port}", fix="change --port")
        for token in (self.token, self.admin_token):
            if token is not None and len(token) < 8:
                raise UsageError("expected a token of at least 8 characters", fix="use a longer one")
        if not is_loopback(self.host) and self.token is None:
            raise UsageError(
                f"expected a token to listen on {self.host}, which other machines can reach",
                fix="set --token-file or EYEWRIGHT_TOKEN, or leave --host at 127.0.0.1",
                code="token_missing",
            )

    @property
    def n_workers(self) -> int:
        """How many worker processes there are."""
        return self.workers or min(8, usable_cores())


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
