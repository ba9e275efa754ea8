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
    "NAME",
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

PROTOCOL = 1
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


class Task(msgspec.Struct, forbid_unknown_fields=True):
    """What a client has to do: "wait" and ask again, "learn", or nothing more.

    Args:
        round: from 0 on.
        number: of the client, which its random numbers follow from.
        lr: learning rate of each group of weights.
        progress: how far training is, in [0, 1].
        model: SHA-256 of the weights to start from; at the "end", of those that were learnt.
        why: the reason, where the coordinator has "stopped".
    """

    state: Literal["wait", "learn", "end", "stopped"]
    round: int = 0
    number: int = 0
    lr: list[float] = []
    progress: float = 0.0
    model: str = ""
    why: str = ""


class Spent(msgspec.Struct, forbid_unknown_fields=True):
    """What a client's images have spent of their privacy, this update included, as the client counts it."""

    epsilon: float
    delta: float
    noise: float


class Update(msgspec.Struct, forbid_unknown_fields=True):
    """A client's update of a round: float32 numbers, their SHA-256, and that of the weights that it started from.

    `loss` is the mean of the round; None with differential privacy, since epsilon does not cover it.
    """

    round: int
    model: str
    digest: str
    numbers: bytes
    loss: float | None = None
    spent: Spent | None = None


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
