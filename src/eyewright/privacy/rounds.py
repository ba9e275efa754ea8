"""The coordinator's side of a federation between processes: who takes part, and which update came in which round.

Training runs in one thread, and requests are answered in another; both meet here. No torch, no HTTP.
"""

__all__ = ["ConflictError", "ForeignError", "MaskedSum", "Member", "Received", "Rounds"]

import hashlib
import hmac
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, RefusedError
from eyewright.privacy.federated_messages import (
    NAME,
    PROTOCOL,
    Description,
    Join,
    Joined,
    Keys,
    Revealed,
    Sealed,
    Spent,
    Taken,
    Task,
    Update,
    pack_weights,
    unpack_weights,
)
from eyewright.privacy.masked_rounds import Masked, MaskedServer
from eyewright.privacy.updates import UpdateCheck, digest_of

_MOST_IMAGES = 10**9
_MOST_LOSS = 1e6
_LOOK_S = 0.1


class ConflictError(EyewrightError):
    """What a client asks for does not fit to where the federation is: too late, a name that is in use."""

    code = "federation_state"
    exit_code = 4


class ForeignError(EyewrightError):
    """A client that has not joined, or proves to be another than the one that did."""

    code = "not_joined"
    exit_code = 4


@dataclass
class Member:
    """A client that joined: its key as a digest, what it says of its images, and whether the coordinator waits for it.

    `active` turns false where a deadline passes or the client leaves, and true again with its next request.
    """

    name: str
    images: int
    key: str
    groups: int | None = None
    active: bool = True
    epsilon: float | None = None
    delta: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class Received:
    """What a client sent in a round: an update, or why it cannot be used; `sent` bytes left the client."""

    update: NDArray[np.float32] | None
    sent: int
    digest: str
    loss: float | None = None
    why: str = ""


@dataclass
class _Round:
    number: int
    model: bytes
    digest: str
    lr: list[float]
    progress: float
    received: dict[str, Received] = field(default_factory=dict)
    masked: MaskedServer | None = None


@dataclass(frozen=True)
class MaskedSum:
    """The sum of masked updates, modulo 2^64, None where it cannot be computed, and whose updates are in it."""

    total: Masked | None
    received: Mapping[str, Received]
    why: str = ""


class Rounds:
    """Members and rounds of a federation. All methods may be called from any thread.

    Args:
        clients: how many must join before the first round.
        names: the only names that may join; empty for any.
        deadline_s: how long a round waits for the clients that take part in it.
        resumes: whether members of a checkpoint are restored before anybody is answered.
        say: called with every line of progress.
    """

    def __init__(
        self,
        clients: int,
        *,
        names: Sequence[str] = (),
        deadline_s: float = 600.0,
        resumes: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.clients, self.names, self.deadline_s, self._say = clients, frozenset(names), deadline_s, say
        self.members: dict[str, Member] = {}
        self._changed = threading.Condition()
        self._description: Description | None = None
        self._ready = not resumes
        self._check = UpdateCheck(0)
        self._open: _Round | None = None
        self._ended = ""
        self._begun = False
        self._end: Task | None = None
        self._final = b""
        self._told: set[str] = set()

    # What the training thread calls.

    def describe(self, description: Description) -> None:
        """Let clients know what is learnt: from now on they can join."""
        with self._changed:
            self._description = description
            self._check = UpdateCheck(description.parameters)

    def restore(self, members: Sequence[Mapping[str, Any]], seen: Sequence[str]) -> None:
        """Continue with the members of a checkpoint, in the order of their numbers; `seen` are digests of updates."""
        with self._changed:
            self.members = {m["name"]: Member(**m) for m in members}
            self._begun, self._ready = bool(self.members), True
            self._check = UpdateCheck(self._check.size, seen)

    def state(self) -> list[dict[str, Any]]:
        """Return what a checkpoint holds of the members, in the order of their numbers."""
        with self._changed:
            return [asdict(m) for m in self.members.values()] if self._begun else []

    def gather(self, wait_s: float, stop: Callable[[], None]) -> list[Member]:
        """Wait until all clients have joined; return them in the order of their names, which numbers them.

        `stop` is called again and again, and may raise.

        Raises:
            RefusedError: they did not come in `wait_s`.
        """
        with self._changed:
            if not self._begun:
                self._wait_for(lambda: len(self.members) >= self.clients, wait_s, stop, "joined", self.clients)
                self.members = {n: self.members[n] for n in sorted(self.members)}
                self._begun = True
            return list(self.members.values())

    def await_active(self, least: int, wait_s: float, stop: Callable[[], None]) -> None:
        """Wait until so many clients are there: a round with fewer would change nothing.

        Raises:
            RefusedError: they did not come in `wait_s`.
        """
        with self._changed:
            here = self._active
            if len(here()) < least:
                self._say(f"waiting for clients: {len(here())} of at least {least} are there")
            self._wait_for(lambda: len(here()) >= least, wait_s, stop, "there", least)

    def _active(self) -> list[Member]:
        return [m for m in self.members.values() if m.active]

    def _wait_for(
        self, ready: Callable[[], bool], wait_s: float, stop: Callable[[], None], what: str, least: int
    ) -> None:
        until = time.monotonic() + wait_s
        while not ready():
            stop()
            if time.monotonic() > until:
                n = len(self._active())
                raise RefusedError(
                    f"expected {least} clients within {wait_s:g} s, found {n} {what}",
                    fix="start the clients, and continue with --resume; --wait gives them more time",
                    code="clients_missing",
                )
            self._changed.wait(_LOOK_S)

    def run(
        self,
        number: int,
        vector: NDArray[np.floating],
        *,
        lr: Sequence[float],
        progress: float,
        stop: Callable[[], None],
    ) -> dict[str, Received]:
        """Offer a round to all members; return all answers until all that are there have answered, or the deadline.

        Members that are there and do not answer in time are no longer waited for, until they ask again.
        """
        model = pack_weights(vector)
        with self._changed:
            now = _Round(number, model, digest_of(model), [float(v) for v in lr], float(progress))
            self._open = now
            self._changed.notify_all()
            until = time.monotonic() + self.deadline_s
            while time.monotonic() < until:
                stop()
                if now.received and all(m.name in now.received for m in self._active()):
                    break
                self._changed.wait(_LOOK_S)
            self._open = None
            self._drop(number, [m for m in self._active() if m.name not in now.received])
            return dict(now.received)

    def _drop(self, number: int, late: Sequence[Member]) -> None:
        for m in late:
            if not m.active:
                continue
            m.active = False
            self._say(f"round {number + 1}: {m.name} sent nothing in {self.deadline_s:g} s and is dropped")

    def run_masked(
        self,
        number: int,
        vector: NDArray[np.floating],
        *,
        lr: Sequence[float],
        progress: float,
        fraction: float,
        stop: Callable[[], None],
    ) -> MaskedSum:
        """Offer a round with secure aggregation; return the sum of the updates of at least `fraction` of the members.

        Each of its four steps waits until all members that are there have answered, or the deadline.
        """
        model = pack_weights(vector)
        with self._changed:
            names = list(self.members)
            server = MaskedServer(
                (k for k, m in enumerate(self.members.values()) if m.active), self._check.size, fraction
            )
            now = _Round(number, model, digest_of(model), [float(v) for v in lr], float(progress), masked=server)
            self._open = now
            try:
                enough = True
                while enough:
                    self._changed.notify_all()
                    self._await_step(server, stop)
                    self._drop(number, [self.members[names[k]] for k in server.missing if not server.is_enough])
                    if server.stage == "reveal":
                        break
                    enough = server.advance()
                received = {n: r for n, r in now.received.items() if not r.why}
                if not enough:
                    return MaskedSum(None, now.received, server.why)
                try:
                    return MaskedSum(server.total(), received)
                except RefusedError as error:
                    return MaskedSum(None, now.received, error.message)
            finally:
                self._open, self._ended = None, server.session

    def _await_step(self, server: MaskedServer, stop: Callable[[], None]) -> None:
        until = time.monotonic() + self.deadline_s
        while time.monotonic() < until and not server.is_enough:
            stop()
            if not any(m.active for k, m in enumerate(self.members.values()) if k in server.missing):
                return
            self._changed.wait(_LOOK_S)

    def finish(self, vector: NDArray[np.floating]) -> None:
        """Tell clients that the last round is over, and give them what was learnt."""
        with self._changed:
            self._final = pack_weights(vector)
            self._end = Task("end", model=digest_of(self._final))

    def stop(self, why: str) -> None:
        """Tell clients that there will be no more rounds, for a reason that they cannot change."""
        with self._changed:
            self._end = Task("stopped", why=why)

    def linger(self, seconds: float) -> None:
        """Wait until every client that is there knows of the end, but no longer than so many seconds."""
        until = time.monotonic() + seconds
        with self._changed:
            while time.monotonic() < until and any(m.name not in self._told for m in self._active()):
                self._changed.wait(_LOOK_S)

    # What requests call.

    @property
    def most_bytes(self) -> int:
        """How long the body of an update may be: masked numbers have 8 bytes."""
        return 8 * self._check.size + 4096

    def description(self) -> Description | None:
        """Return what is learnt; None while that is being prepared."""
        return self._description if self._ready else None

    def join(self, asked: Join) -> Joined:
        """Let a client take part, or come back.

        Raises:
            ConflictError: another protocol, federation or net, a name that is in use or not expected, too late.
            ForeignError: the name has joined with another key.
        """
        found = self._prepared()
        same = f"use eyewright {found.version} on both sides"
        for what, expected, given, fix in (
            ("protocol", PROTOCOL, asked.protocol, same),
            ("federation", found.id, asked.federation, "join the federation that GET /v1/federation describes"),
            ("net of so many numbers", found.parameters, asked.parameters, same),
        ):
            if expected != given:
                raise ConflictError(f"expected {what} {expected}, found {str(given)[:80]}", fix=fix)
        if not NAME.fullmatch(asked.name):
            raise ConflictError(
                f"expected a name of up to 64 letters, digits, '.', '_' and '-', found {asked.name[:80]!r}",
                fix="change --name",
            )
        groups = 1 if asked.groups is None else asked.groups
        if not 1 <= asked.images <= _MOST_IMAGES or not 1 <= groups <= asked.images:
            of = "" if asked.groups is None else f" in {asked.groups:,} groups"
            raise ConflictError(
                f"expected 1 to {_MOST_IMAGES:,} images, in no more groups, found {asked.images:,}{of}",
                fix="check DATA",
            )
        with self._changed:
            known = self.members.get(asked.name)
            if known is not None:
                return self._again(known, asked)
            if self.names and asked.name not in self.names:
                raise ConflictError(f"no client {asked.name!r} is expected", fix="ask who started the coordinator")
            if self._begun or len(self.members) >= self.clients:
                raise ConflictError(
                    f"all {self.clients} clients have joined already", fix="ask who started the coordinator"
                )
            key = secrets.token_urlsafe(24)
            self.members[asked.name] = Member(asked.name, asked.images, _hashed(key), asked.groups)
            self._say(f"{asked.name} joined with {asked.images:,} images ({len(self.members)} of {self.clients})")
            self._changed.notify_all()
            return Joined(key)

    def _prepared(self) -> Description:
        found = self.description()
        if found is None:
            # Nobody is told to be a stranger before it is known who is not.
            raise ConflictError("the federation is being prepared", fix="try again in a second", code="not_ready")
        return found

    def _again(self, known: Member, asked: Join) -> Joined:
        if not hmac.compare_digest(known.key, _hashed(asked.key)):
            raise ForeignError(
                f"a client {known.name!r} has joined already",
                fix="use another --name; to come back, name the --out folder of the first time",
            )
        if (known.images, known.groups) != (asked.images, asked.groups):
            raise ConflictError(
                f"expected the {known.images:,} images that {known.name!r} joined with, found {asked.images:,}",
                fix="use the same images",
            )
        if not known.active:
            self._say(f"{known.name} has reconnected")
        known.active = True
        if self._open is not None and self._open.masked is not None:
            # Who joins again has begun again: the secrets of the round are gone.
            self._open.masked.gone.add(self._number(known))
        self._changed.notify_all()
        return Joined(asked.key)

    def _number(self, member: Member) -> int:
        return list(self.members).index(member.name)

    def task(self, name: str, key: str) -> Task:
        """Return what a client has to do now.

        Raises:
            ForeignError: it has not joined.
        """
        with self._changed:
            member = self._member(name, key)
            if self._end is not None:
                if self._end.state == "stopped":
                    self._note_told(member)
                return self._end
            now = self._open
            if now is None or not self._begun:
                return Task("wait")
            number = self._number(member)
            if now.masked is not None:
                return self._masked_task(now, now.masked, number)
            if member.name in now.received:
                return Task("wait")
            return Task("learn", now.number, number, now.lr, now.progress, now.digest)

    def _masked_task(self, now: _Round, server: MaskedServer, number: int) -> Task:
        if not server.is_in(number):
            return Task("wait")
        task = Task(
            server.stage, now.number, number, now.lr, now.progress, now.digest, session=server.session,
            images=sum(m.images for m in self.members.values()), threshold=server.threshold,
        )  # fmt: skip
        if server.stage == "shares":
            task.keys = server.keys
        elif server.stage == "learn":
            task.sealed = server.sealed_for(number)
        elif server.stage == "reveal":
            task.clients = server.came
        return task

    def take_step(self, name: str, key: str, sent: Keys | Sealed | Revealed) -> Taken:
        """Take what a client sends in a step of secure aggregation that is not its update.

        Raises:
            ForeignError: it has not joined.
            ConflictError: the step is over.
        """
        with self._changed:
            member = self._member(name, key)
            number = self._number(member)
            if isinstance(sent, Revealed) and sent.session == self._ended:
                # Enough others were quicker.
                return Taken(True)
            stages: dict[type, str] = {Keys: "keys", Sealed: "shares", Revealed: "reveal"}
            server = self._masked(stages[type(sent)], sent.session, number)
            if isinstance(sent, Keys):
                why = server.take_keys(number, sent)
            elif isinstance(sent, Sealed):
                why = server.take_shares(number, sent)
            else:
                why = server.take_revealed(number, sent)
            if why:
                self._exclude(server, number, f"{name}: {why}")
            self._changed.notify_all()
            return Taken(not why, why)

    def _exclude(self, server: MaskedServer, number: int, why: str) -> None:
        server.gone.add(number)
        self._say(f"left out of this round: {why}")

    def _masked(self, stage: str, session: str, number: int) -> MaskedServer:
        """Return the open round of secure aggregation, in which this client has something to do."""
        server = None if self._open is None else self._open.masked
        if server is None or session != server.session or stage != server.stage or number not in server.expected:
            raise ConflictError("this step of secure aggregation is over", fix="ask for the next one")
        return server

    def weights(self, name: str, key: str, digest: str) -> bytes:
        """Return the weights of this digest: those of the open round, or at the end those that were learnt.

        Raises:
            ForeignError: the client has not joined.
            ConflictError: they are no longer there.
        """
        with self._changed:
            member = self._member(name, key)
            if self._end is not None and self._end.model == digest and digest:
                self._note_told(member)
                return self._final
            if self._open is not None and self._open.digest == digest:
                return self._open.model
        raise ConflictError("these weights are no longer there: the round is over", fix="ask for the next round")

    def _note_told(self, member: Member) -> None:
        self._told.add(member.name)
        self._changed.notify_all()

    def take(self, name: str, key: str, update: Update) -> Taken:
        """Take an update of a client; the same one twice is taken once. One that cannot be used is refused and noted.

        Raises:
            ForeignError: it has not joined.
            ConflictError: the round is over, the update starts from other weights, or another one came before.
        """
        if digest_of(update.numbers) != update.digest:
            raise ConflictError("the update was damaged on its way", fix="send it again", code="damaged")
        with self._changed:
            member = self._member(name, key)
            now = self._open
            if now is None or update.round != now.number or update.model != now.digest:
                raise ConflictError(
                    f"round {update.round + 1} is over, or began with other weights", fix="ask for the next round"
                )
            if now.masked is not None:
                return self._take_masked(now, member, update)
            before = now.received.get(name)
            if before is not None:
                if before.digest != update.digest:
                    raise ConflictError("an update of this round has come already", fix="ask for the next round")
                return Taken(not before.why, before.why)
            usable, why = None, ""
            if len(update.numbers) % 4:
                why = f"expected {self._check.size:,} numbers, found {len(update.numbers)} bytes"
            else:
                usable = unpack_weights(update.numbers)
                why = self._check(usable)
            # It is shown and averaged, and nobody can check it: a wrong one must not end training.
            loss = update.loss if update.loss is not None and 0 <= update.loss <= _MOST_LOSS else None
            if update.spent is not None:
                _note_spent(member, update.spent)
            now.received[name] = Received(None if why else usable, len(update.numbers), update.digest, loss, why)
            if why:
                self._say(f"round {now.number + 1}: the update of {name} is refused: {why}")
            self._changed.notify_all()
            return Taken(not why, why)

    def _take_masked(self, now: _Round, member: Member, update: Update) -> Taken:
        number = self._number(member)
        if now.masked is not None and now.masked.has_update(number, update.session, update.digest):
            return Taken(True)
        server = self._masked("learn", update.session, number)
        why = server.take_update(number, update.numbers, update.digest)
        if update.spent is not None:
            _note_spent(member, update.spent)
        known = now.received.get(member.name)
        if known is None or known.why:
            # What a single update is cannot be seen, nor whether it has been sent before.
            now.received[member.name] = Received(None, len(update.numbers), "", None, why)
        if why:
            self._exclude(server, number, f"{member.name}: {why}")
        self._changed.notify_all()
        return Taken(not why, why)

    def leave(self, name: str, key: str) -> None:
        """Do not wait for a client until it asks again."""
        with self._changed:
            member = self._member(name, key)
            member.active = False
            self._say(f"{name} left")
            self._changed.notify_all()

    def _member(self, name: str, key: str) -> Member:
        self._prepared()
        member = self.members.get(name)
        # Compared also where there is no such name: how long it takes says nothing.
        same = hmac.compare_digest("0" * 64 if member is None else member.key, _hashed(key))
        if member is None or not same:
            raise ForeignError("this client has not joined", fix="join first")
        if not member.active:
            member.active = True
            self._say(f"{member.name} has reconnected")
            self._changed.notify_all()
        return member


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def _note_spent(member: Member, spent: Spent) -> None:
    """Note what a client says that it has spent; nobody else can compute it."""
    numbers = (spent.epsilon, spent.delta, spent.noise)
    if all(math.isfinite(v) and v >= 0 for v in numbers):
        member.epsilon, member.delta, member.noise = numbers
