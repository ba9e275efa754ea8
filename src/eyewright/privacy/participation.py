"""What a client of a federation keeps on disk: its key, its secret, and what its images have spent.

All of it is written before an update leaves, so that a client that is killed comes back as the same one, repeats noise
only where it repeats the very same update, and never spends more than it says.
"""

__all__ = ["Participation", "read_participation"]

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from eyewright.core.errors import BudgetError, CheckpointError, plain_reason
from eyewright.core.files import checked_output, write_bytes
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular

FILE = "client.json"
_LARGEST = 2**26
_FIX = "join with another --out; what was spent with this one is not counted there"


class Done(msgspec.Struct):
    """A round of this client: what left it, and what it had spent then."""

    round: int
    sent: int
    loss: float | None
    accepted: bool
    why: str
    epsilon: float | None


class Participation(msgspec.Struct):
    """A client in a federation.

    Args:
        images: digest of the images that it learns from.
        secret: in hexadecimal, what private samples and noise follow from; whoever knows it can subtract the noise.
        steps: how many private updates were started.
        round, asked, first: of the last of them: its round, the digest of what it started from, and its number.
        revealed: with secure aggregation, by round, digests of what the update started from and of whose updates were
            added.
    """

    federation: str
    name: str
    images: str
    key: str = ""
    secret: str = ""
    steps: int = 0
    round: int = -1
    asked: str = ""
    first: int = 0
    done: list[Done] = []
    revealed: dict[int, tuple[str, str]] = {}

    def begin(self, number: int, asked: str, steps: int, most: int) -> int:
        """Count the private updates of a round; return the number of the first.

        A round that is repeated with the same weights and rates (`asked`) has the samples and the noise that it had,
        and costs nothing.

        Raises:
            BudgetError: they would be more than `most`, for which the noise was chosen.
        """
        if (self.round, self.asked) == (number, asked):
            return self.first
        if self.steps + steps > most:
            raise BudgetError(
                f"this client's images have spent their epsilon: {self.steps} private updates of {most} are done",
                fix="it takes no further part; the federation continues without it",
            )
        self.first, self.steps, self.round, self.asked = self.steps, self.steps + steps, number, asked
        return self.first

    def note(self, done: Done) -> None:
        """Keep what became of a round; a repeated round replaces what was noted of it."""
        self.done = [d for d in self.done if d.round != done.round] + [done]

    def write(self, folder: Path) -> None:
        """Write it to a folder, readable by its owner alone.

        Raises:
            OutputError: the folder cannot be written.
        """
        path = folder / FILE
        if not folder.exists():
            with checked_output(folder):
                folder.mkdir(parents=True)
                # A file is its owner's alone only after it was written; the folder is from the beginning.
                os.chmod(folder, 0o700)
        write_bytes(path, msgspec.json.format(msgspec.json.encode(self), indent=1))
        os.chmod(path, 0o600)


def read_participation(folder: Path, *, federation: str, name: str, images: str) -> Participation:
    """Return what a folder holds of a client; a new one where nothing is there.

    Raises:
        CheckpointError: it is damaged, or of another federation, client or data.
    """
    path = folder / FILE
    if not path.exists():
        return Participation(federation, name, images)
    raw = read_regular(path, most=_LARGEST, error=CheckpointError, fix=_FIX)
    try:
        found = msgspec.json.decode(raw, type=Participation)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{quoted(path)} is damaged: {plain_reason(error)}", fix=_FIX) from None
    pairs: Sequence[tuple[str, str, str]] = (
        ("federation", found.federation, federation),
        ("name", found.name, name),
        ("images", found.images, images),
    )
    for what, before, now in pairs:
        if before != now:
            shown = f" {before!r}" if what == "name" else ""
            raise CheckpointError(f"{quoted(path)} is of another {what}{shown}", fix=_FIX)
    return found
