"""One round of secure aggregation between processes (Bonawitz et al. 2017): both sides of it, without HTTP.

Every client draws two keys for the round and a seed of its own, and gives each other client a sealed share of both
secrets. It sends its update plus the mask of its seed, plus or minus a mask for each other client. The masks of pairs
cancel in the sum. In the end the others reveal, for every client, their shares of one secret only: of the seed where
its update came, of the masking key where it did not. The coordinator then removes what is left, and has the sum.

This protects updates from a coordinator that follows the protocol, whatever it does with what it received.
"""

__all__ = ["MaskedClient", "MaskedServer", "Stage", "least_clients"]

import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import RefusedError
from eyewright.privacy.federated_messages import Keys, Revealed, Sealed
from eyewright.privacy.secret_keys import SECRET_BYTES, KeyPair, combine, commitment, mask_of, public_of, split

Stage = Literal["keys", "shares", "learn", "reveal"]

_STAGES: tuple[Stage, ...] = ("keys", "shares", "learn", "reveal")
_LONGEST_SEALED = 256

Masked = NDArray[np.uint64]


def least_clients(clients: int, fraction: float = 0.0) -> int:
    """Return how many of so many clients must recover a secret: more than half, so that never both are recovered.

    A coordinator that tells some clients that another one dropped out, and the rest that it did not, needs this many
    clients for each of its secrets. Each client reveals one of them.

    >>> [least_clients(n) for n in (2, 3, 10)], least_clients(10, 0.75)
    ([2, 2, 6], 8)
    """
    return max(clients // 2 + 1, int(np.ceil(fraction * clients)))


def _purpose(what: str, session: str, a: int, b: int) -> str:
    return f"{what} {session} {a} {b}"


def _pair_mask(keys: KeyPair, other: bytes, session: str, a: int, b: int, size: int) -> Masked:
    """Return the mask that two clients share."""
    return mask_of(keys.agree(other, _purpose("mask", session, min(a, b), max(a, b))), size)


@dataclass
class MaskedClient:
    """A client in one round. Its secrets are in memory only: a client that is killed drops out of the round.

    Args:
        session: of the round, as the coordinator named it.
        number: of this client.
    """

    session: str
    number: int
    _sealing: KeyPair = field(default_factory=KeyPair, repr=False)
    _masking: KeyPair = field(default_factory=KeyPair, repr=False)
    _seed: bytes = field(default_factory=lambda: secrets.token_bytes(SECRET_BYTES), repr=False)
    _keys: Mapping[int, Keys] = field(default_factory=dict)
    _own: tuple[bytes, bytes] = field(default=(b"", b""), repr=False)
    _threshold: int = 0
    _sealed: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    _revealed: Revealed | None = field(default=None, repr=False)

    def keys(self) -> Keys:
        """Return the public keys of this client."""
        return Keys(self.session, self._sealing.public, self._masking.public)

    def shares(self, keys: Mapping[int, Keys], threshold: int) -> Sealed:
        """Return both secrets in sealed shares for all others whose public `keys` are given.

        Raises:
            RefusedError: too few take part, too few could recover a secret, or a key is no key.
        """
        if self.number not in keys or len(keys) < 2:
            raise RefusedError(f"expected this client and others in the round, found clients {sorted(keys)}")
        if keys[self.number] != self.keys():
            raise RefusedError("the coordinator sends other keys for this client than its own")
        if threshold < least_clients(len(keys)) or threshold > len(keys):
            raise RefusedError(
                f"expected {least_clients(len(keys))} to {len(keys)} clients to recover a secret, found {threshold}"
            )
        everyone = sorted(keys)
        of_seed = split(self._seed, everyone, threshold)
        of_key = split(self._masking.private, everyone, threshold)
        self._keys, self._threshold = dict(keys), threshold
        self._own = (of_seed[self.number], of_key[self.number])
        sealed = {
            other: self._sealing.seal(
                of_seed[other] + of_key[other], keys[other].sealing, _purpose("share", self.session, self.number, other)
            )
            for other in everyone
            if other != self.number
        }
        return Sealed(self.session, commitment(self._seed), sealed)

    def mask(self, numbers: Masked, sealed: Mapping[int, bytes]) -> Masked:
        """Return an update that only the sum reveals; `sealed` are the shares that others sent to this client.

        Raises:
            RefusedError: too few others sent shares.
        """
        others = set(sealed) - {self.number}
        if not others <= set(self._keys) or len(others) + 1 < self._threshold:
            raise RefusedError(f"expected shares of {self._threshold - 1} other clients or more, found {len(others)}")
        if self._sealed and self._sealed != sealed:
            raise RefusedError("the coordinator sends other shares than before in the same round")
        self._sealed = dict(sealed)
        masked = numbers + mask_of(self._seed, len(numbers))
        for other in sorted(others):
            mask = _pair_mask(self._masking, self._keys[other].masking, self.session, self.number, other, len(numbers))
            masked = masked + mask if self.number < other else masked - mask
        return masked

    def reveal(self, came: Collection[int]) -> Revealed:
        """Return the secret shares of the seeds of those whose updates `came`, and of the keys of the others.

        Asked again, the answer is the same, whoever is named then: of no client both secrets are revealed.

        Raises:
            RefusedError: too few updates came, this client's not among them, or a share is not from who it says.
        """
        if self._revealed is not None:
            return self._revealed
        there, everyone = set(came), {*self._sealed, self.number}
        if not there <= everyone or self.number not in there or len(there) < self._threshold:
            raise RefusedError(
                f"expected this client's update and those of {self._threshold - 1} others or more to be added, found "
                f"those of clients {sorted(there)[:20]}"
            )
        found = Revealed(self.session)
        for other in sorted(everyone):
            if other == self.number:
                of_seed, of_key = self._own
            else:
                purpose = _purpose("share", self.session, other, self.number)
                both = self._sealing.open(self._sealed[other], self._keys[other].sealing, purpose)
                of_seed, of_key = both[: len(both) // 2], both[len(both) // 2 :]
            if other in there:
                found.masks[other] = of_seed
            else:
                found.keys[other] = of_key
        self._revealed = found
        return found


class MaskedServer:
    """The coordinator's side of one round: what clients sent, who is waited for, and in the end the sum.

    Args:
        clients: the numbers of those that may take part.
        size: how many numbers an update has.
        fraction: of the clients that the sum needs.
    """

    def __init__(self, clients: Iterable[int], size: int, fraction: float) -> None:
        self.session = secrets.token_hex(16)
        self.size, self._fraction = size, fraction
        self.stage: Stage = "keys"
        self.expected = set(clients)
        """Those that take part in this stage."""
        self.gone: set[int] = set()
        """Those that cannot answer any more: they came back without their secrets."""
        self.threshold = 0
        self.keys: dict[int, Keys] = {}
        self._sealed: dict[int, Sealed] = {}
        self._came: dict[int, str] = {}
        self._total = np.zeros(size, np.uint64)
        self._revealed: dict[int, Revealed] = {}
        self.why = ""

    @property
    def missing(self) -> set[int]:
        """The numbers of those that are waited for."""
        have: Mapping[Stage, Collection[int]] = {
            "keys": self.keys, "shares": self._sealed, "learn": self._came, "reveal": self._revealed
        }  # fmt: skip
        return self.expected - self.gone - set(have[self.stage])

    @property
    def is_enough(self) -> bool:
        """Whether the sum can be computed: shares of more clients tell nothing new."""
        usable = sum(not r.why for r in self._revealed.values())
        return self.stage == "reveal" and usable >= self.threshold

    @property
    def came(self) -> list[int]:
        """The numbers of those whose updates came."""
        return sorted(self._came)

    def is_in(self, number: int) -> bool:
        """Whether a client has something to do now."""
        return number in self.missing

    def has_update(self, number: int, session: str, digest: str) -> bool:
        """Whether this very update came before: its sender did not hear of it."""
        return session == self.session and self._came.get(number) == digest

    def sealed_for(self, number: int) -> dict[int, bytes]:
        """Return what others sent to a client."""
        return {k: s.shares[number] for k, s in self._sealed.items() if k in self.expected and k != number}

    def advance(self) -> bool:
        """Begin the next stage with those that answered; return whether there are enough of them."""
        self.expected -= self.missing | self.gone
        # Who has come back without its secrets takes no further part, though an update that came stays in the sum.
        self.keys = {k: v for k, v in self.keys.items() if self.stage != "keys" or k in self.expected}
        self._sealed = {k: v for k, v in self._sealed.items() if self.stage != "shares" or k in self.expected}
        if self.stage == "keys":
            self.threshold = least_clients(len(self.expected), self._fraction)
        if len(self.expected) < max(2, self.threshold):
            self.why = f"expected {max(2, self.threshold)} clients or more, found {len(self.expected)}"
            return False
        self.stage = _STAGES[_STAGES.index(self.stage) + 1]
        return True

    def take_keys(self, number: int, keys: Keys) -> str:
        """Keep the public keys of a client; return why they cannot be used, or nothing."""
        if len(keys.sealing) != SECRET_BYTES or len(keys.masking) != SECRET_BYTES:
            return f"expected keys of {SECRET_BYTES} bytes"
        if number in self.keys:
            return "" if self.keys[number] == keys else "other keys have come already"
        self.keys[number] = keys
        return ""

    def take_shares(self, number: int, sealed: Sealed) -> str:
        """Keep what a client sends to the others; return why it cannot be used, or nothing."""
        if set(sealed.shares) != set(self.keys) - {number}:
            return f"expected shares for clients {sorted(set(self.keys) - {number})[:20]}"
        if len(sealed.commitment) != SECRET_BYTES or any(len(s) > _LONGEST_SEALED for s in sealed.shares.values()):
            return f"expected sealed shares of at most {_LONGEST_SEALED} bytes"
        if number in self._sealed:
            return "" if self._sealed[number] == sealed else "other shares have come already"
        self._sealed[number] = sealed
        return ""

    def take_update(self, number: int, raw: bytes, digest: str) -> str:
        """Add a masked update once; return why it cannot be used, or nothing."""
        if number in self._came:
            return "another update of this round has come already"
        if len(raw) != 8 * self.size:
            return f"expected {self.size:,} masked numbers, found {len(raw)} bytes"
        self._came[number] = digest
        self._total += np.frombuffer(raw, "<u8").astype(np.uint64, copy=False)
        return ""

    def take_revealed(self, number: int, revealed: Revealed) -> str:
        """Keep the shares that a client reveals; return why they cannot be used, or nothing."""
        gone = set(self._sealed) - set(self._came)
        if not revealed.why and (set(revealed.masks) != set(self._came) or set(revealed.keys) != gone):
            return "expected a share for every client of the round"
        self._revealed.setdefault(number, revealed)
        return ""

    def total(self) -> Masked:
        """Return the sum of the updates that came, modulo 2^64.

        Raises:
            RefusedError: too few clients revealed shares, or shares are not of what was committed to.
        """
        usable = {n: r for n, r in sorted(self._revealed.items()) if not r.why}
        if len(usable) < self.threshold:
            whys = "; ".join(sorted({r.why for r in self._revealed.values() if r.why}))
            raise RefusedError(
                f"expected shares of {self.threshold} clients or more to remove the masks, found {len(usable)}"
                + (f": {whys[:300]}" if whys else "")
            )
        total = self._total.copy()
        for number in self._came:
            seed = combine({n: r.masks[number] for n, r in usable.items()})
            if commitment(seed) != self._sealed[number].commitment:
                raise RefusedError(f"the secret shares of client {number + 1} are not of the mask that it used")
            total -= mask_of(seed, self.size)
        for number in set(self._sealed) - set(self._came):
            private = combine({n: r.keys[number] for n, r in usable.items()})
            if public_of(private) != self.keys[number].masking:
                raise RefusedError(f"the secret shares of client {number + 1} are not of the key that it used")
            pair = KeyPair(private)
            for other in self._came:
                mask = _pair_mask(pair, self.keys[other].masking, self.session, number, other, self.size)
                # What `other` did with it is undone.
                total = total - mask if other < number else total + mask
        return total
