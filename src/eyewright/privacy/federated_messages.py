"""What coordinator and clients of a federation say to each other: JSON for what is small, msgpack for updates.

Weights are float32 numbers, little-endian, in the order of the net's parameters, and travel with their SHA-256. A
message of another form is refused; none of them names code or a file. `docs/concepts/federated.md` describes the
protocol.
"""

__all__ = [
    "PROTOCOL",
    "Description",
    "Join",
    "Joined",
    "Keys",
    "NAME",
    "Revealed",
    "Sealed",
    "Spent",
    "Taken",
    "Task",
    "Update",
    "pack_weights",
    "unpack_weights",
]

import re
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

PROTOCOL = 2
"""Raised with every change that older clients would misread."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a client may be called."""


class Description(msgspec.Struct, forbid_unknown_fields=True):
    """What is learnt, and how: everything that a client builds its net and prepares its images from.

    Args:
        id: SHA-256 of all else; another id is another federation.
        version: of Eyewright.
        recipe: fields of `training.Recipe`.
        preparation: of images, as bundles hold it.
        parameters: how many numbers an update has.
        deadline_s: how long a client has for a round.
    """

    protocol: int
    id: str
    version: str
    recipe: dict[str, Any]
    labels: list[str]
    preparation: dict[str, Any]
    scaling: dict[str, list[float]]
    parameters: int
    deadline_s: float


class Join(msgspec.Struct, forbid_unknown_fields=True):
    """A client that wants to take part; `key` is the one of the first time."""

    protocol: int
    federation: str
    name: str
    images: int
    parameters: int
    groups: int | None = None
    key: str = ""


class Joined(msgspec.Struct, forbid_unknown_fields=True):
    """The key by which a client proves in every further request that it is the one that joined."""

    key: str


class Keys(msgspec.Struct, forbid_unknown_fields=True):
    """The public keys of a client for one round: `sealing` for what others send to it, `masking` for masks."""

    session: str
    sealing: bytes
    masking: bytes


class Sealed(msgspec.Struct, forbid_unknown_fields=True):
    """Shares of a client's two secrets, sealed for each other client by its number, and a commitment to the first."""

    session: str
    commitment: bytes
    shares: dict[int, bytes]


class Revealed(msgspec.Struct, forbid_unknown_fields=True):
    """The shares that a client holds of others' secrets, by their numbers.

    They are of the seeds of those whose updates came (`masks`), and of the keys of those who dropped out. A client that
    reveals nothing says why.
    """

    session: str
    masks: dict[int, bytes] = {}
    keys: dict[int, bytes] = {}
    why: str = ""


class Task(msgspec.Struct, forbid_unknown_fields=True):
    """What a client has to do: "wait" and ask again, "learn", or nothing more.

    With secure aggregation a round has four steps: send "keys", send "shares", "learn", and "reveal" the shares that
    remove the masks of the sum.

    Args:
        round: from 0 on.
        number: of the client, which its random numbers follow from.
        lr: learning rate of each group of weights.
        progress: how far training is, in [0, 1].
        model: SHA-256 of the weights to start from; at the "end", of those that were learnt.
        why: the reason, where the coordinator has "stopped".
        session: of secure aggregation; a repeated round has another.
        images: of all clients together, which an update is weighed by before it is masked.
        threshold: how many clients recover the secrets of one.
        keys: of the clients that take part, by number, for "shares".
        sealed: what others sent to this client, by number, for "learn".
        clients: the numbers of those whose updates came, for "reveal".
    """

    state: Literal["wait", "keys", "shares", "learn", "reveal", "end", "stopped"]
    round: int = 0
    number: int = 0
    lr: list[float] = []
    progress: float = 0.0
    model: str = ""
    why: str = ""
    session: str = ""
    images: int = 0
    threshold: int = 0
    keys: dict[int, Keys] = {}
    sealed: dict[int, bytes] = {}
    clients: list[int] = []


class Spent(msgspec.Struct, forbid_unknown_fields=True):
    """What a client's images have spent of their privacy, this update included, as the client counts it."""

    epsilon: float
    delta: float
    noise: float


class Update(msgspec.Struct, forbid_unknown_fields=True):
    """A client's update of a round: float32 numbers, their SHA-256, and that of the weights that it started from.

    With secure aggregation, numbers are masked: uint64, little-endian. `loss` is the mean of the round; None with
    differential privacy, since epsilon does not cover it, and with secure aggregation, since it is of one client.
    """

    round: int
    model: str
    digest: str
    numbers: bytes
    loss: float | None = None
    spent: Spent | None = None
    session: str = ""


class Taken(msgspec.Struct, forbid_unknown_fields=True):
    """Whether an update is used, and why not."""

    accepted: bool
    why: str = ""


def pack_weights(vector: NDArray[np.floating]) -> bytes:
    """Return weights as they travel.

    >>> pack_weights(np.ones(1)).hex()
    '0000803f'
    """
    return np.ascontiguousarray(vector, "<f4").tobytes()


def unpack_weights(raw: bytes) -> NDArray[np.float32]:
    """Return weights from their bytes, float32 (D,).

    Raises:
        ValueError: no whole number of weights.
    """
    return np.frombuffer(raw, "<f4").astype(np.float32)
